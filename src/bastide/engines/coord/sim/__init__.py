"""Whole nodes and their clients in a world full of faults, and what must hold of it all.

    faults, clients ──► healed ──► a last round ──► all lose power ──► started again ──► judged

After the faults every node has the same history, and after a power failure of all at once still
has it; no client saw what no single store could have answered.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

from bastide.base.errors import Unavailable
from bastide.engines.coord.contract import Put, Watch
from bastide.engines.coord.sim.clients import (
    LAST,
    REGISTERS,
    WORKLOADS,
    Story,
    changes_of,
    lives,
    one,
)
from bastide.engines.coord.sim.resource import NAME
from bastide.engines.coord.sim.servers import Group, opened_beside
from bastide.parts.histories.contract import Change, Operation
from bastide.parts.histories.core import appends, linearizability, locks, watches
from bastide.parts.histories.core.models import Keys
from bastide.parts.sim.nemesis import Nemesis
from bastide.parts.sim.simulation import Simulation
from bastide.parts.sim.world import World

TORMENT_S = 20.0
CALM_S = 60.0
"""In which all is well again after the faults, and all clients come to an end."""
STEPS_MAX = 100_000


async def _coord(world: World, *, by_wire: bool) -> None:
    group = Group(world, by_wire=by_wire)
    story = Story(group)
    world.node(NAME).start(story.resource.serve)
    group.start()
    async with asyncio.TaskGroup() as clients:
        number = 0
        for client, count in WORKLOADS:
            for _ in range(count):
                number += 1
                name = f"{client.__name__}{number}"
                life = world.node(name).call(lives, story, name, number, client)
                clients.create_task(_awaited(name, life))
        await Nemesis(world, group.machines).torment(for_s=TORMENT_S)
        async with asyncio.timeout(CALM_S):
            await _last_round(story)
    before = await _agreed(group)
    for machine in group.machines:
        machine.crash()
    for machine in group.machines:
        machine.restart()
    async with asyncio.timeout(CALM_S):
        await _last_round(story)
    after = await _agreed(group)
    assert after[: len(before)] == before, "a power failure of all nodes lost what was acknowledged"
    _judge(story, after)


async def _awaited(name: str, life: "asyncio.Future[None]") -> None:
    done, _ = await asyncio.wait([life], timeout=TORMENT_S + 4 * CALM_S)
    assert done, f"{name} does not come to an end"
    life.result()


async def _last_round(story: Story) -> None:
    """Every register is read, and the last key is put, which ends the watches."""
    async with opened_beside(story.group, 1) as keys:
        while True:
            try:
                await keys.put(Put(LAST, b"last"))
                break
            except Unavailable:
                await asyncio.sleep(0.1)
        for number in range(REGISTERS):
            await one(story, "last", keys, "get", f"r{number}")


async def _agreed(group: Group) -> Sequence[Change]:
    """The whole history, which is that of every node."""
    async with asyncio.timeout(CALM_S):
        while True:
            try:
                standings = [await group.node(n).standing() for n in group.numbers]
                hashes = {(await group.node(n).hash()).hash for n in group.numbers}
                if len({each.revision for each in standings}) == 1:
                    break
            except Unavailable:
                pass
            await asyncio.sleep(0.1)
    assert len(hashes) == 1, f"nodes differ at revision {standings[0].revision}"
    return await group.machine(1).call(partial(_history, group, standings[0].revision))


async def _history(group: Group, revision: int) -> Sequence[Change]:
    found: list[Change] = []
    async with group.node(1).watch(Watch(b"\0", b"\0", from_revision=1)) as events:
        async for told in events:
            found += changes_of(told)
            if told.revision >= revision:
                break
    return found


def _judge(story: Story, committed: Sequence[Change]) -> None:
    registers = story.registers.history()
    own = [change for change in committed if change.key.startswith("r")]
    findings = [
        *watches.check_commits(registers, own),
        *watches.check(story.watches, [c for c in committed if "r" <= c.key < "z"]),
        *appends.check_strict(story.lists.history()),
        *locks.check_tokens(story.grants),
        *locks.check_fence(story.resource.accesses),
    ]
    assert not findings, findings[0]
    _judge_order(watches.resolved(registers, own))


def _judge_order(registers: Sequence[Operation]) -> None:
    """`undecided` is no violation: too much was of unknown outcome for the search."""
    verdict = linearizability.check(registers, Keys(), steps_max=STEPS_MAX)
    assert verdict.answer != "violated", verdict.witnesses[0].stuck


SIMULATIONS = (
    Simulation("coord", "etcd's protocol, on nodes that fail", partial(_coord, by_wire=True)),
    Simulation("coord-nodes", "nodes that fail, asked directly", partial(_coord, by_wire=False)),
)
