"""What clients do, and what they saw of it: recorded as the oracles want it, by the true clock.

Every value is written once. What was refused with nothing done has failed; what was not answered
is unknown; whatever else is refused here is a failure of the run.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial

from bastide.base.errors import Limited, Unavailable
from bastide.base.fence import Fence
from bastide.engines.coord.contract import (
    Compare,
    Coord,
    Delete,
    Events,
    Found,
    HoldLost,
    Item,
    Lease,
    LeaseMissing,
    LockHeld,
    Op,
    Put,
    Range,
    Txn,
    TxnDone,
    Watch,
)
from bastide.engines.coord.model import Keys
from bastide.engines.coord.service.front import opened_front
from bastide.engines.coord.sim.resource import Resource, write
from bastide.engines.coord.sim.servers import Group
from bastide.parts.histories.contract import Change, Grant, Response
from bastide.parts.histories.contract import Watch as Watched
from bastide.parts.histories.recorder import Call, Recorder
from bastide.parts.sim.draws import Tape

REGISTERS, LISTS = 3, 3
OPERATIONS = 25.0  # on average, of each client
REST_S = 1.0
TRIES_MAX = 3
LEASE_TTL_S, LOCK_TTL_S = (1, 2, 5), (2, 3)
WAIT_S = 8.0
DRIFT_MAX = 2.0  # parts/sim's: a leader's clock may run so much faster
SEEN = b"r", b"z"  # the range of all keys that are watched
LAST = b"y/last"


class Story:
    """All that was seen in a run."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.registers = Recorder()
        self.lists = Recorder()
        self.watches: list[Watched] = []
        self.grants: list[Grant] = []
        self.resource = Resource()
        self._number = 0

    @property
    def now_s(self) -> float:
        return self.group.world.now_s

    def unique(self) -> str:
        self._number += 1
        return f"v{self._number}"


Client = Callable[[Story, str, Keys, Tape], Awaitable[None]]


async def lives(story: Story, name: str, number: int, client: Client) -> None:
    """One client, from its first request to its last. Runs on a machine of its own."""
    tape = story.group.world.draws.tape(name)
    async with story.group.keys(1 + number % story.group.count) as keys:
        await client(story, name, keys, tape)


async def _ended(story: Story, call: Call, done: Awaitable[object]) -> None:
    """Records what comes of it."""
    try:
        result = await done
    except Unavailable as error:
        if error.outcome == "unknown":
            call.unknown(story.now_s)
        else:
            call.failed(story.now_s)
    except Limited:
        call.failed(story.now_s)
    else:
        call.returned(story.now_s, result)


# --- registers ------------------------------------------------------------------------------------


async def registers(story: Story, name: str, keys: Keys, tape: Tape) -> None:
    """Reads, writes, deletes and swaps of a few keys."""
    while tape.more("operation", OPERATIONS):
        await asyncio.sleep(tape.real("rest", 0.0, REST_S))
        key = f"r{tape.integer('key', 0, REGISTERS - 1)}"
        kind = tape.pick("kind", ("get", "put", "get", "put", "swap", "delete"))
        if kind == "swap":
            await _swap(story, name, keys, key)
        else:
            await one(story, name, keys, kind, key)


async def one(story: Story, name: str, keys: Keys, kind: str, key: str) -> None:
    value = story.unique() if kind == "put" else None
    call = story.registers.invoke(name, kind, story.now_s, key=key, argument=value)
    asks: Mapping[str, Callable[[Keys, str], Awaitable[object]]] = {
        "get": _get,
        "put": partial(_put, value=value),
        "delete": _delete,
    }
    await _ended(story, call, asks[kind](keys, key))


async def _get(keys: Keys, key: str) -> object:
    found = await keys.range(Range(key.encode()))
    return found.revision, (_entry(found.items[0]) if found.items else None)


async def _put(keys: Keys, key: str, value: str | None) -> object:
    assert value is not None
    return (await keys.put(Put(key.encode(), value.encode()))).revision


async def _delete(keys: Keys, key: str) -> object:
    done = await keys.delete(Delete(key.encode()))
    return done.revision, done.count


def _entry(item: Item) -> tuple[str, int, int, int]:
    return item.value.decode(), item.created, item.changed, item.version


async def _swap(story: Story, name: str, keys: Keys, key: str) -> None:
    """Writes, if it is still what it was; else reads."""
    try:
        found = await keys.range(Range(key.encode()))
    except Unavailable:
        return
    changed = found.items[0].changed if found.items else 0
    value = story.unique()
    argument = (
        (("modified", key, "=", changed),),
        (("put", key, value),),
        (("get", key),),
    )
    call = story.registers.invoke(name, "txn", story.now_s, key=key, argument=argument)
    await _ended(story, call, _swapped(keys, key.encode(), changed, value.encode()))


async def _swapped(keys: Keys, key: bytes, changed: int, value: bytes) -> object:
    same = Compare("changed", "equal", changed, key)
    done = await keys.txn(Txn([same], [Put(key, value)], [Range(key)]))
    if done.succeeded:
        return done.revision, True, (None,)
    items = _found(done, 0).items
    return done.revision, False, ((_entry(items[0]) if items else None),)


def _found(done: TxnDone, place: int) -> Found:
    found = done.results[place]
    assert isinstance(found, Found)
    return found


# --- lists ----------------------------------------------------------------------------------------


async def lists(story: Story, name: str, keys: Keys, tape: Tape) -> None:
    """Transactions that append to some lists and read others, on what they saw before."""
    while tape.more("operation", OPERATIONS / 2):
        await asyncio.sleep(tape.real("rest", 0.0, REST_S))
        steps: list[tuple[str, ...]] = []
        for key in [f"s{n}" for n in range(LISTS) if tape.chance("touched", 0.6)] or ["s0"]:
            append = tape.chance("append", 0.5)
            steps.append(("append", key, story.unique()) if append else ("read", key))
        call = story.lists.invoke(name, "txn", story.now_s, argument=steps)
        await _ended(story, call, _transacted(keys, steps))


async def _transacted(keys: Keys, steps: Sequence[tuple[str, ...]]) -> object:
    """
    Raises:
        Unavailable: with nothing done, also if others were faster TRIES_MAX times.
    """
    for _ in range(TRIES_MAX):
        try:
            seen = await keys.txn(Txn((), [Range(step[1].encode()) for step in steps]))
        except Unavailable as error:
            raise Unavailable(str(error)) from error
        items = [_found(seen, place).items for place in range(len(steps))]
        before = [each[0].value.decode() if each else "" for each in items]
        puts: list[Op] = [
            Put(step[1].encode(), f"{value},{step[2]}".strip(",").encode())
            for step, value in zip(steps, before, strict=True)
            if step[0] == "append"
        ]
        compares = [
            Compare("changed", "equal", each[0].changed if each else 0, step[1].encode())
            for step, each in zip(steps, items, strict=True)
        ]
        if not puts or (await keys.txn(Txn(compares, puts))).succeeded:
            return [_saw(step, value) for step, value in zip(steps, before, strict=True)]
    raise Unavailable("others were faster")


def _saw(step: tuple[str, ...], before: str) -> tuple[object, ...]:
    return (
        step if step[0] == "append" else ("read", step[1], tuple(filter(None, before.split(","))))
    )


# --- watches --------------------------------------------------------------------------------------


async def watches(story: Story, name: str, keys: Keys, tape: Tape) -> None:
    """Goes on from where the last stream ended, until LAST is told."""
    since = 1
    while True:
        responses: list[Response] = []
        with suppress(Unavailable):
            async with keys.watch(Watch(SEEN[0], SEEN[1], from_revision=since)) as events:
                await _follow(story, events, responses, tape)
        is_over = any(change.key == LAST.decode() for r in responses for change in r.changes)
        story.watches.append(_stream(name, since, responses))
        since = max([since, *(r.revision + 1 for r in responses)])
        if is_over:
            return
        await asyncio.sleep(tape.real("rest", 0.05, REST_S))


async def _follow(
    story: Story, events: AsyncIterator[Events], responses: list[Response], tape: Tape
) -> None:
    """Until the last; or, by choice, not so long."""
    async for told in events:
        responses.append(Response(told.revision, tuple(changes_of(told))))
        if any(event.item.key == LAST for event in told.events) or tape.chance("leave", 0.05):
            return


def changes_of(told: Events) -> Sequence[Change]:
    return [
        Change(e.item.changed, e.item.key.decode(), None if e.is_delete else e.item.value.decode())
        for e in told.events
    ]


def _stream(name: str, since: int, responses: Sequence[Response]) -> Watched:
    """What it was told of, it was told whole: that is what `Events.revision` promises."""
    first, end = (bound.decode() for bound in SEEN)
    settled = max((response.revision for response in responses), default=0)
    return Watched(
        watcher=name, start=first, end=end, since=since, responses=tuple(responses), settled=settled
    )


# --- leases ---------------------------------------------------------------------------------------


async def leases(story: Story, name: str, keys: Keys, tape: Tape) -> None:
    """Keys that are kept alive for a while, and must neither go early nor stay."""
    while tape.more("lease", 4.0):
        await asyncio.sleep(tape.real("rest", 0.0, REST_S))
        with suppress(Unavailable):
            await _one_lease(story, keys, tape, f"t/{story.unique()}".encode())


async def _one_lease(story: Story, keys: Keys, tape: Tape, key: bytes) -> None:
    sent_s = story.now_s
    lease = await keys.grant(tape.pick("ttl", LEASE_TTL_S), 0)
    try:
        await keys.put(Put(key, b"there", lease=lease.id))
        while tape.more("keep alive", 5.0):
            await asyncio.sleep(tape.real("beat", 0.0, lease.ttl_s / 2))
            sent_s = await _kept(story, keys, lease, sent_s)
    except LeaseMissing:
        _check_not_early(story, lease, sent_s)
        return
    if not (await keys.range(Range(key))).items:
        _check_not_early(story, lease, sent_s)


async def _kept(story: Story, keys: Keys, lease: Lease, before_s: float) -> float:
    """When the last request was sent that was answered."""
    sent_s = story.now_s
    try:
        await keys.keep_alive(lease.id)
    except Unavailable:
        return before_s
    return sent_s


def _check_not_early(story: Story, lease: Lease, sent_s: float) -> None:
    left_s = sent_s + lease.ttl_s / DRIFT_MAX - story.now_s
    assert left_s <= 0, f"lease {lease.id:x} of {lease.ttl_s} s has ended {left_s} s too early"


# --- locks and elections --------------------------------------------------------------------------


async def locks(story: Story, name: str, keys: Keys, tape: Tape) -> None:
    """Holds a lock, or leads, and writes to what that protects."""
    async with AsyncExitStack() as stack:
        front = await stack.enter_async_context(opened_front(keys, "sim"))
        while tape.more("hold", 5.0):
            await asyncio.sleep(tape.real("rest", 0.0, REST_S))
            with suppress(Unavailable, HoldLost, LockHeld, LeaseMissing):
                async with front.session(ttl_s=tape.pick("ttl", LOCK_TTL_S)) as session:
                    await _hold(story, name, front, session.lease, tape)


async def _hold(story: Story, name: str, front: Coord, lease: int, tape: Tape) -> None:
    asked_s = story.now_s
    if tape.chance("election", 0.5):
        lock = "election"
        token = (await front.campaign(lock, name.encode(), lease=lease, wait_s=WAIT_S)).token
    else:
        lock = "lock"
        token = (await front.acquire(lock, lease=lease, wait_s=WAIT_S)).token
    story.grants.append(
        Grant(lock=lock, holder=name, asked=asked_s, acquired=story.now_s, token=token)
    )
    while tape.more("write", 3.0):
        await asyncio.sleep(tape.real("work", 0.0, REST_S))
        await write(name, Fence(lock, token))


WORKLOADS: Sequence[tuple[Client, int]] = (
    (registers, 3),
    (lists, 3),
    (watches, 2),
    (leases, 1),
    (locks, 3),
)
"""And how many clients of each."""
