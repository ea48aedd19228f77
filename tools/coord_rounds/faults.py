"""What is done to the nodes in a round. Each fault lasts `seconds`, and all is well behind it.

A fault of the nodes and one of the links may act at the same time.
"""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from time import monotonic
from typing import Any

from msgspec import Struct

from bastide.base.errors import Refusal
from bastide.engines.coord.core.protocol.messages import messages
from bastide.parts.http.bench.servers import HOST
from tools.coord_rounds import disks
from tools.coord_rounds.group import FIRST, Group, Node, NodeDied, asked
from tools.coord_rounds.links import Way

FAST_RATE = 1.5
JUMPS_S = (3600, -3600, 86_400, -86_400, 30 * 86_400, 5, -5)
LIBRARY = "faketime/libfaketime.so.1"
CHANGE_S = 10.0


class Field:
    """What a fault acts on, and the story that it writes."""

    def __init__(self, group: Group, chance: random.Random, small: Node | None) -> None:
        self.group = group
        self.chance = chance
        self.small = small  # on a disk of its own
        self.story: list[str] = []
        self.rate = 1.0  # of the fastest clock
        self._began_s = monotonic()

    def tell(self, said: str) -> None:
        self.story.append(f"{monotonic() - self._began_s:7.3f} {said}")

    def any(self) -> Node:
        return self.chance.choice(self.group.members)

    async def leader(self) -> Node:
        return await self.group.leader() or self.any()

    async def follower(self) -> Node:
        leader = await self.leader()
        return self.chance.choice([node for node in self.group.members if node is not leader])

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(self.chance.uniform(0.3, 1.0) * seconds)


Act = Callable[[Field, float], Awaitable[None]]


# --- processes ------------------------------------------------------------------------------------


async def kill_leader(field: Field, seconds: float) -> None:
    await _kill(field, [await field.leader()], seconds)


async def kill_follower(field: Field, seconds: float) -> None:
    await _kill(field, [await field.follower()], seconds)


async def kill_all(field: Field, seconds: float) -> None:
    await _kill(field, field.group.members, seconds)


async def _kill(field: Field, nodes: Sequence[Node], seconds: float) -> None:
    for node in nodes:
        node.kill()
        field.tell(f"node {node.number} was killed")
    await field.pause(seconds)
    for node in nodes:
        field.group.start(node)
    for node in nodes:
        await field.group.ready(node)
        field.tell(f"node {node.number} is there again")


async def pause(field: Field, seconds: float) -> None:
    """Two, one behind the other: mostly who leads then."""
    for _ in range(2):
        node = await field.leader() if field.chance.random() < 0.7 else field.any()
        node.send(signal.SIGSTOP)
        field.tell(f"node {node.number} was stopped")
        try:
            await field.pause(seconds / 2)
        finally:
            node.send(signal.SIGCONT)
        field.tell(f"node {node.number} goes on")


# --- clocks ---------------------------------------------------------------------------------------


async def wall_clock(field: Field, seconds: float) -> None:
    """The leader's jumps, again and again. Nothing may depend on it."""
    node = await field.leader()
    told = field.group.directory / "clock"
    told.write_text("+0")
    words = {"FAKETIME_TIMESTAMP_FILE": str(told), "FAKETIME_NO_CACHE": "1"}
    await field.group.restart(node, _faked({**words, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}))
    until_s = monotonic() + seconds
    while monotonic() < until_s:
        jump_s = field.chance.choice(JUMPS_S)
        told.write_text(f"{jump_s:+d}")
        field.tell(f"the clock of node {node.number} is {jump_s:+d} s off")
        await asyncio.sleep(0.3)
    await field.group.restart(node)


async def fast_clock(field: Field, seconds: float) -> None:
    """All of one node's clocks run faster: the monotonic one too."""
    field.rate = FAST_RATE
    node = await field.leader()
    await field.group.restart(node, _faked({"FAKETIME": f"+0 x{FAST_RATE:g}"}))
    field.tell(f"the clocks of node {node.number} run {FAST_RATE:g} times as fast")
    await asyncio.sleep(seconds)
    await field.group.restart(node)


def _faked(words: Mapping[str, str]) -> Mapping[str, str]:
    return {**words, "LD_PRELOAD": str(_library()), "DONT_FAKE_MONOTONIC": _no(words)}


def _no(words: Mapping[str, str]) -> str:
    return words.get("FAKETIME_DONT_FAKE_MONOTONIC", "0")


def _library() -> Path | None:
    return next((path for path in Path("/usr/lib").glob(f"*/{LIBRARY}")), None)


# --- disks ----------------------------------------------------------------------------------------


async def full_disk(field: Field, seconds: float) -> None:
    node = field.small
    assert node is not None
    filler = disks.fill(node.directory.parent)
    field.tell(f"the disk of node {node.number} is full")
    try:
        await asyncio.sleep(seconds)
    finally:
        filler.unlink()
    field.tell("it has room again")


async def torn_tail(field: Field, seconds: float) -> None:
    node = field.any()
    node.kill()
    field.tell(
        f"node {node.number} was killed: {disks.tear(_kept(field, node), field.chance)}",
    )
    await field.pause(seconds / 2)
    field.group.start(node)
    await field.group.ready(node)
    field.tell(f"node {node.number} is there again")


async def flipped_bit(field: Field, seconds: float) -> None:
    """The node may start only if it loses nothing by it."""
    node = field.any()
    node.kill()
    flipped = disks.flip(_kept(field, node), field.chance)
    field.tell(f"node {node.number} was killed, a bit flipped: {flipped}")
    field.group.start(node)
    try:
        await field.group.ready(node)
        field.tell(f"node {node.number} started with it")
    except NodeDied as died:
        field.tell(f"node {node.number} refused: {died.told.splitlines()[-1:]}")
        assert flipped is not None
        await field.pause(seconds / 2)
        disks.flip_back(*flipped)
        field.group.start(node)
        await field.group.ready(node)


def _kept(field: Field, node: Node) -> Path:
    return node.directory


# --- members --------------------------------------------------------------------------------------


async def members(field: Field, seconds: float) -> None:
    """A fourth learns, votes, and is removed."""
    group = field.group
    asks = group.members[field.chance.randrange(len(FIRST))].address
    newcomer = await group.add(max(group.nodes) + 1)
    peer = f"http://{HOST}:{group.links.ports[newcomer.number]}"
    added = await _changed(asks, "MemberAdd", peerURLs=[peer], isLearner=True)
    number = added.member.ID
    if number != newcomer.number:
        raise AssertionError(f"the group calls {newcomer.number} {number}")
    field.tell(f"node {number} learns")
    group.start(newcomer)
    try:
        await group.ready(newcomer)
        await field.pause(seconds / 2)
        await _changed(asks, "MemberPromote", ID=number)
        field.tell(f"node {number} votes")
        await field.pause(seconds / 2)
        await _changed(asks, "MemberRemove", ID=number)
        field.tell(f"node {number} was removed")
    finally:
        newcomer.kill()


async def _changed(address: str, method: str, **words: object) -> Any:
    """Asked again while the group elects, or a change before it is under way."""
    until_s = monotonic() + CHANGE_S
    while True:
        wanted = getattr(messages(), f"{method}Request")(**words)
        try:
            return await asked(address, f"Cluster/{method}", wanted)
        except Refusal:
            if monotonic() > until_s:
                raise
            await asyncio.sleep(0.2)


# --- links ----------------------------------------------------------------------------------------


async def cut_leader(field: Field, seconds: float) -> None:
    number = (await field.leader()).number
    await _cut(field, [w for w in _ways() if number in w], seconds, f"node {number} is alone")


async def cut_all(field: Field, seconds: float) -> None:
    await _cut(field, _ways(), seconds, "all are alone")


async def cut_outward(field: Field, seconds: float) -> None:
    """The leader hears, and isn't heard."""
    number = (await field.leader()).number
    ways = [way for way in _ways() if way[0] == number]
    await _cut(field, ways, seconds, f"node {number} is not heard")


async def cut_inward(field: Field, seconds: float) -> None:
    """The leader is heard, and hears nobody."""
    number = (await field.leader()).number
    ways = [way for way in _ways() if way[1] == number]
    await _cut(field, ways, seconds, f"node {number} hears nobody")


async def cut_pair(field: Field, seconds: float) -> None:
    """Two don't reach each other; the third is the bridge."""
    one, other = field.chance.sample(FIRST, 2)
    told = f"nodes {one} and {other} don't reach each other"
    await _cut(field, [(one, other), (other, one)], seconds, told)


async def _cut(field: Field, ways: Sequence[Way], seconds: float, told: str) -> None:
    field.group.links.cut(ways)
    field.tell(told)
    await asyncio.sleep(seconds)
    field.group.links.mend(ways)
    field.tell("the links are well")


async def slow(field: Field, seconds: float) -> None:
    """Each way by a time of its own: some for longer than an election takes."""
    for way in _ways():
        field.group.links.slow(way, field.chance.choice((0.02, 0.1, 0.3, 0.7)))
    field.tell("the links are slow")
    await asyncio.sleep(seconds)
    field.group.links.heal()


def _ways() -> Sequence[Way]:
    return list(permutations(FIRST, 2))


# --- which ----------------------------------------------------------------------------------------

OF_NODES: Mapping[str, Act] = {
    "kill-leader": kill_leader,
    "kill-follower": kill_follower,
    "kill-all": kill_all,
    "pause": pause,
    "wall-clock": wall_clock,
    "fast-clock": fast_clock,
    "full-disk": full_disk,
    "torn-tail": torn_tail,
    "flipped-bit": flipped_bit,
    "members": members,
}
OF_LINKS: Mapping[str, Act] = {
    "cut-leader": cut_leader,
    "cut-all": cut_all,
    "cut-outward": cut_outward,
    "cut-inward": cut_inward,
    "cut-pair": cut_pair,
    "slow": slow,
}
FAULTS: Mapping[str, Act] = {**OF_NODES, **OF_LINKS}
ALONE = ("members", "flipped-bit")  # they must come through


class Skipped(Struct, frozen=True):
    fault: str
    why: str


def skipped(no_small_disk: str) -> Sequence[Skipped]:
    """Which faults can't be had on this machine."""
    found = []
    if _library() is None:
        why = "libfaketime is not installed (apt-get install faketime)"
        found += [Skipped("wall-clock", why), Skipped("fast-clock", why)]
    if no_small_disk:
        found.append(Skipped("full-disk", no_small_disk))
    if os.name != "posix":
        found.append(Skipped("pause", "there are no signals"))
    return found


class Draw:
    """Which faults a round has. All come by before one comes again."""

    def __init__(self, names: Sequence[str], chance: random.Random) -> None:
        self._all = {
            kind: [name for name in names if name in of]
            for kind, of in (("nodes", OF_NODES), ("links", OF_LINKS))
        }
        self._left: dict[str, list[str]] = {"nodes": [], "links": []}
        self._chance = chance

    def next(self) -> Sequence[str]:
        """One of the nodes, or of the links, or both."""
        kinds = [kind for kind in self._all if self._all[kind]]
        if len(kinds) == 2:
            kinds = self._chance.choice((["nodes"], ["links"], kinds, kinds))
        drawn = [self._of(kind) for kind in kinds]
        return drawn[:1] if drawn[0] in ALONE else drawn

    def _of(self, kind: str) -> str:
        if not self._left[kind]:
            self._left[kind] = self._chance.sample(self._all[kind], len(self._all[kind]))
        return self._left[kind].pop()
