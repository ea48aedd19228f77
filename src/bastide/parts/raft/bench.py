"""What a group costs: alone over a bare log, and of three processes.

    bare     seglog: append, wait for `synced`, append. What any durable answer costs here
    alone    a group of one: propose, wait for the machine's result, propose. The same syncs, in
             turns with bare; `added` is the difference
    three    a group of three processes over loopback, each with a log of its own on this disk

Payloads have PAYLOAD_BYTES. Throughput is that of PROPOSERS tasks that each wait for their answer.
"""

import asyncio
import logging
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from bastide.base.manifest import Bench
from bastide.base.rt import runtime
from bastide.base.rt.net import bind
from bastide.parts.raft.contract import Entry, Members
from bastide.parts.raft.host.host import RaftHost, open_host
from bastide.parts.raft.host.machine import StateMachine
from bastide.parts.raft.transport.links import Address, open_transport
from bastide.parts.seglog.core import Record
from bastide.parts.seglog.log import Seglog, open_seglog

PAYLOAD_BYTES = 100
PROPOSERS = 64
TURN_PROPOSALS = 50
HOST = "127.0.0.1"
LED_S = 20

Figures = Mapping[str, float]


class Count(StateMachine[int]):
    """The least that a machine can do."""

    def __init__(self) -> None:
        self.applied = 0

    def apply(self, entries: Sequence[Entry]) -> Sequence[int]:
        first, self.applied = self.applied, self.applied + len(entries)
        return range(first, self.applied)

    def snapshot(self) -> Iterable[bytes]:
        return [b"%d" % self.applied]

    async def restore(self, pieces: AsyncIterator[bytes]) -> None:
        self.applied = int(b"".join([piece async for piece in pieces]))


async def bench_alone(directory: Path, seconds: float) -> Figures:
    """A group of one beside a bare log."""
    payload = runtime.current().chance.token(PAYLOAD_BYTES)
    async with (
        open_seglog(directory / "bare") as log,
        open_host(directory / "alone", Count(), node=1, members=Members((1,))) as host,
    ):
        bare, ours = await _in_turns(log, host, payload, seconds / 2)
        added = [our - its for its, our in zip(bare, ours, strict=True)]
        return {
            "bare_us_p50": statistics.median(bare),
            "alone_us_p50": statistics.median(ours),
            "alone_added_us_p50": statistics.median(added),
            "alone_added_us_min": min(ours) - min(bare),
            "alone_proposals_per_s": await _throughput(host, payload, seconds / 2),
            "alone_read_us_p50": await _read_us(host),
        }


async def _in_turns(
    log: Seglog, host: RaftHost[int], payload: bytes, seconds: float
) -> tuple[list[float], list[float]]:
    bare: list[float] = []
    ours: list[float] = []
    until_s = runtime.monotonic() + seconds
    while not bare or runtime.monotonic() < until_s:
        bare.append(await _us_each(lambda: log.synced(log.append([Record(payload)]))))
        ours.append(await _us_each(lambda: host.propose(payload)))
    return bare, ours


async def _us_each(act: Callable[[], Awaitable[object]]) -> float:
    started = runtime.monotonic()
    for _ in range(TURN_PROPOSALS):
        await act()
    return (runtime.monotonic() - started) / TURN_PROPOSALS * 1e6


async def _read_us(host: RaftHost[int]) -> float:
    return statistics.median([await _us_each(host.read_index) for _ in range(20)])


async def _throughput(host: RaftHost[int], payload: bytes, seconds: float) -> float:
    """Proposals a second."""
    count = 0
    started = runtime.monotonic()

    async def propose() -> None:
        nonlocal count
        while runtime.monotonic() < started + seconds:
            await host.propose(payload)
            count += 1

    await asyncio.gather(*(propose() for _ in range(PROPOSERS)))
    return count / (runtime.monotonic() - started)


class Seat(msgspec.Struct, frozen=True):
    """What a child process is told."""

    node: int
    ports: Sequence[int]
    directory: str
    seconds: float


async def bench_three(directory: Path, seconds: float) -> Figures:
    """Three processes; the one that comes to lead is asked."""
    listeners = [bind(HOST, 0) for _ in range(3)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    children = []
    for node in (1, 2, 3):
        seat = Seat(node, ports, str(directory / f"node-{node}"), seconds)
        told = msgspec.json.encode(seat).decode()
        children.append(
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", __spec__.name, told, stdout=asyncio.subprocess.PIPE
            )
        )
    try:
        return await _first_told(children, LED_S + 4 * seconds)
    finally:
        for child in children:
            if child.returncode is None:
                child.kill()
            await child.wait()


async def _first_told(children: Sequence[asyncio.subprocess.Process], timeout_s: float) -> Figures:
    reading = [asyncio.ensure_future(_line_of(child)) for child in children]
    async with asyncio.timeout(timeout_s):
        done, waiting = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    return msgspec.json.decode(done.pop().result(), type=dict[str, float])


async def _line_of(child: asyncio.subprocess.Process) -> bytes:
    assert child.stdout is not None
    return await child.stdout.readline()


async def _sit(seat: Seat) -> None:
    logging.getLogger("bastide").setLevel(logging.ERROR)  # the others come one after another
    peers = {node: Address(HOST, port) for node, port in enumerate(seat.ports, start=1)}
    payload = runtime.current().chance.token(PAYLOAD_BYTES)
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(
            open_transport(
                seat.node,
                cluster="bench",
                peers=peers,
                listener=bind(HOST, peers[seat.node].port),
            )
        )
        host = await stack.enter_async_context(
            open_host(
                Path(seat.directory),
                Count(),
                node=seat.node,
                members=Members(tuple(peers)),
                transport=transport,
            )
        )
        led = asyncio.Event()
        host.watch(lambda leadership: led.set() if leadership.is_here else None)
        await led.wait()
        await host.read_index()
        lone = [await _us_each(lambda: host.propose(payload)) for _ in range(20)]
        figures = {
            "three_us_p50": statistics.median(lone),
            "three_proposals_per_s": await _throughput(host, payload, seat.seconds),
            "three_read_us_p50": await _read_us(host),
        }
        print(msgspec.json.encode(figures).decode(), flush=True)
        await asyncio.Event().wait()  # the others need us until they are ended


BENCHES = (
    Bench("alone", "a group of one beside a bare log that is synced as often", bench_alone),
    Bench("three", "a group of three processes on this machine", bench_three),
)

if __name__ == "__main__":
    asyncio.run(_sit(msgspec.json.decode(sys.argv[1], type=Seat)))
