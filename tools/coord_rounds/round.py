"""One round: clients at work, a fault, the time after it, and what there is to be seen of it."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from time import monotonic

from bastide.base.errors import Unavailable
from bastide.engines.coord.backends.etcd.backend import EtcdKeys
from bastide.engines.coord.contract import Put, Range
from bastide.engines.coord.service.front import opened_front
from bastide.parts.histories.contract import Change, Finding
from bastide.parts.histories.recorder import Recorder
from tools.coord_rounds.clients import Clock, Lists, Registers, Watcher, changes_since
from tools.coord_rounds.faults import FAULTS, Field
from tools.coord_rounds.group import Node, Standing, keys_at
from tools.coord_rounds.holders import Holder, Leaser, Resource
from tools.coord_rounds.verdict import Seen

CLIENT_S = 3.0
LIVE_S = 15.0
SETTLE_S = 20.0
LOOK_S = 0.1
CALM, TROUBLE = 0.1, 0.5  # parts of a round: before the fault, and with it


class Clients:
    """Eight of a round, and two who look on. Each begins at another node."""

    def __init__(self, number: int, field: Field, stack: AsyncExitStack) -> None:
        self.prefix = f"round{number}/"
        self.registers, self.lists, self.holds = Recorder(), Recorder(), Recorder()
        self.resource = Resource(f"lock{number}")
        self.holders: list[Holder] = []
        self.leaser: Leaser
        self.watchers: list[Watcher] = []
        self.since = 0
        self._field = field
        self._stack = stack
        self._clock = Clock()
        self._tasks: list[asyncio.Task[None]] = []
        self._watching: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        keys = [await self._client(n) for n in range(8)]
        self.since = (await _until_answered(keys[0])) + 1
        chance = self._field.chance
        works: list[Registers | Lists | Holder | Leaser] = []
        works += [
            Registers(f"r{n}", keys[n], self.registers, _own(chance), self.prefix) for n in range(3)
        ]
        works += [
            Lists(f"a{n}", keys[3 + n], self.lists, _own(chance), self.prefix) for n in range(2)
        ]
        for n in range(2):
            front = await self._stack.enter_async_context(opened_front(keys[5 + n], "rounds"))
            holder = Holder(f"h{n}", front, self.holds, _own(chance), self.resource)
            self.holders.append(holder)
        self.leaser = Leaser("l0", keys[7], self.holds, _own(chance), self.prefix)
        works += [*self.holders, self.leaser]
        self.watchers = [
            Watcher("stays", keys[0], self.prefix, self.since, hops=False),
            Watcher("hops", keys[1], self.prefix, self.since, hops=True),
        ]
        self._watching = [asyncio.create_task(one.run()) for one in self.watchers]
        self._tasks = [asyncio.create_task(work.run(self._clock)) for work in works]

    async def _client(self, n: int) -> EtcdKeys:
        addresses = [node.address for node in self._field.group.members]
        turned = [*addresses[n % 3 :], *addresses[: n % 3]]
        return await self._stack.enter_async_context(keys_at(turned, CLIENT_S))

    async def until_live(self, healed_s: float, until_s: float) -> None:
        """All have come through since, or the time is up; and not before `until_s`."""
        last_s = healed_s + LIVE_S
        while monotonic() < max(until_s, last_s):
            self._check()
            if monotonic() >= until_s and self._all_live(healed_s):
                return
            await asyncio.sleep(LOOK_S)

    def _all_live(self, healed_s: float) -> bool:
        histories = (self.registers, self.lists, self.holds)
        all_ = [operation for recorder in histories for operation in recorder.history()]
        live = {o.process for o in all_ if o.outcome == "ok" and (o.returned or 0) > healed_s}
        return live == {o.process for o in all_}

    def _check(self) -> None:
        """
        Raises:
            What a client did not expect.
        """
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error

    async def standing(self, node: Node) -> Standing | None:
        return await self._field.group.standing(node)

    async def end(self) -> None:
        self._clock.over = True
        await asyncio.gather(*self._tasks)

    async def watched(self, revision: int) -> Sequence[Finding]:
        """Each has been told all, or is a finding."""
        until_s = monotonic() + SETTLE_S
        while monotonic() < until_s and any(w.told < revision for w in self.watchers):  # noqa: ASYNC110 (they tell nobody)
            await asyncio.sleep(LOOK_S)
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        return [
            Finding("watch stuck", f"{w.name} was told up to {w.told} of {revision}: {w.error}")
            for w in self.watchers
            if w.told < revision
        ]


def _own(chance: random.Random) -> random.Random:
    return random.Random(chance.getrandbits(32))  # noqa: S311 (faults, no secrets)


async def run_round(number: int, field: Field, faults: Sequence[str], seconds: float) -> Seen:
    """
    Raises:
        NodeDied: a node did not come back, or ended by itself.
    """
    async with AsyncExitStack() as stack:
        clients = Clients(number, field, stack)
        began_s = monotonic()
        await clients.begin()
        field.tell(f"round {number}: {', '.join(faults)}")
        try:
            await asyncio.sleep(seconds * CALM)
            if "fast-clock" in faults:
                clients.leaser.rate = 2.0
            await asyncio.gather(*(FAULTS[name](field, seconds * TROUBLE) for name in faults))
            healed_s = monotonic()
            field.tell("all is well")
            await clients.until_live(healed_s, began_s + seconds)
        finally:
            await clients.end()
        await clients.leaser.end()
        return await _seen(clients, field, healed_s)


async def _seen(clients: Clients, field: Field, healed_s: float) -> Seen:
    """Once all is written and the nodes agree."""
    nodes = field.group.members
    async with keys_at([node.address for node in nodes], SETTLE_S) as keys:
        await _until_answered(keys)
        put = Put(f"{clients.prefix}end".encode(), b"end")
        revision = (await keys.put(put)).revision
    stuck = await clients.watched(revision)
    committed = {node.number: await _committed(node, clients, revision) for node in nodes}
    hashes = {node.number: await field.group.hash_at(node, revision) for node in nodes}
    leaser = clients.leaser
    return Seen(
        registers=clients.registers.history(),
        lists=clients.lists.history(),
        holds=clients.holds.history(),
        watches=[w for each in clients.watchers for w in each.watches(revision)],
        grants=[grant for holder in clients.holders for grant in holder.grants],
        accesses=clients.resource.accesses,
        committed=committed,
        hashes=hashes,
        healed_s=healed_s,
        found=[*stuck, *leaser.findings, *clients.resource.findings()],
        story=tuple(field.story),
    )


async def _committed(node: Node, clients: Clients, revision: int) -> Sequence[Change]:
    """As this node alone tells it.

    Raises:
        TimeoutError: it does not come that far.
    """
    try:
        async with asyncio.timeout(SETTLE_S), keys_at([node.address], SETTLE_S) as keys:
            return await changes_since(keys, clients.prefix, since=clients.since, until=revision)
    except TimeoutError:
        wanted = f"changes from {clients.since} to {revision}"
        standing = await clients.standing(node)
        raise TimeoutError(f"node {node.number} does not tell {wanted}: {standing}") from None


async def _until_answered(keys: EtcdKeys) -> int:
    """The store's revision, once the group has a leader.

    Raises:
        Unavailable: it has none for SETTLE_S.
    """
    until_s = monotonic() + SETTLE_S
    while True:
        try:
            return (await keys.range(Range(b"any"))).revision
        except Unavailable:
            if monotonic() > until_s:
                raise
            await asyncio.sleep(LOOK_S)
