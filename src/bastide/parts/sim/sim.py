"""A small system under the simulator: one node keeps a number, clients raise it and read it.

It is what the shortest simulation looks like: a program, clients on nodes of their own, a nemesis,
and what must hold: who reads never sees less than what was acknowledged before.
"""

import asyncio
from pathlib import Path

from bastide.base import faults
from bastide.base.rt import runtime
from bastide.base.rt.disk import File
from bastide.parts.sim.draws import Tape
from bastide.parts.sim.nemesis import Nemesis
from bastide.parts.sim.simulation import Simulation
from bastide.parts.sim.world import World

PORT = 7000
PLACE = Path("/var/register")
PATIENCE_S = 1.0
CALM_S = 30.0  # after the faults, within which all is well again


class Register:
    """The program: a file with a number in its first eight bytes."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._number = int.from_bytes(file.read(8, at=0), "big")
        self._raising = asyncio.Lock()
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve(self) -> None:
        async with await asyncio.start_server(self._answer, "0.0.0.0", PORT):  # noqa: S104 (a node's)
            await self._broken

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                wanted = int(line)
                if wanted:
                    await self._raise_to(wanted)
                writer.write(b"%d\n" % self._number)
                await writer.drain()
        except ConnectionError:
            pass  # the client has gone
        except OSError as error:  # the disk: what it has now is not known until it is read anew
            if not self._broken.done():
                self._broken.set_exception(error)
        finally:
            writer.close()

    async def _raise_to(self, wanted: int) -> None:
        async with self._raising:
            if wanted > self._number:
                self._file.write([wanted.to_bytes(8, "big")], at=0)
                faults.point("register.before_sync")
                await self._file.sync()
                self._number = wanted


async def keep() -> None:
    disk = runtime.current().disk
    if not disk.exists(PLACE):
        disk.make_directory(PLACE.parent)
        disk.open(PLACE, create=True).close()
        await disk.sync_directory(PLACE.parent)
    file = disk.open(PLACE)
    await file.sync()  # what was written but not synced before is read, so it must last
    await Register(file).serve()


async def ask(number: int) -> int:
    """Raise it to `number`, or with 0 just read it."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("keeper", PORT)
        try:
            writer.write(b"%d\n" % number)
            return int(await reader.readline())
        finally:
            writer.close()


async def _client(world: World, number: int, state: list[int]) -> None:
    """`state` holds the highest number that was acknowledged, and the last that was asked for."""
    node, tape = world.node(f"client {number}"), world.draws.tape(f"client {number}")
    while tape.more("request", 40):
        await asyncio.sleep(tape.real("rest", 0.0, 1.0))
        await _one_request(world, node.name, tape, state)


async def _one_request(world: World, name: str, tape: Tape, state: list[int]) -> None:
    acknowledged, wanted = state[0], 0
    if tape.chance("raise", 0.5):
        state[1] += 1
        wanted = state[1]
    try:
        found = await world.node(name).call(ask, wanted)
    except (OSError, ValueError):  # cut off, or closed before an answer
        return
    least = max(acknowledged, wanted)
    assert found >= least, f"{name} sees {found}, after {least} was acknowledged"
    state[0] = max(state[0], wanted)


async def register(world: World) -> None:
    keeper = world.node("keeper")
    keeper.start(keep, again_s=0.5)
    nemesis = Nemesis(world, [keeper])
    state = [0, 0]
    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(_client(world, number, state))
        await nemesis.torment(for_s=30)
    async with asyncio.timeout(CALM_S):
        while not await _answers(world):  # noqa: ASYNC110 (nobody tells when)
            await asyncio.sleep(0.1)


async def _answers(world: World) -> bool:
    try:
        return await world.outside.call(ask, 0) >= 0
    except (OSError, ValueError):
        return False


SIMULATIONS = (Simulation("register", "one node keeps what it has acknowledged", register),)
