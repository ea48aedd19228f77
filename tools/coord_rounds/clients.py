"""What clients do in a round: keys, lists, watches. All they ask and are answered is recorded."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic

from bastide.base.errors import Conflict, Refusal, Unavailable
from bastide.engines.coord.backends.etcd.backend import EtcdKeys
from bastide.engines.coord.contract import (
    Compare,
    Delete,
    Event,
    Found,
    Item,
    Op,
    Put,
    Range,
    Txn,
    TxnDone,
    Watch,
)
from bastide.engines.coord.core.spans import prefix_end
from bastide.parts.histories import contract as histories
from bastide.parts.histories.contract import Change, Response
from bastide.parts.histories.recorder import Recorder

KEYS, LISTS = 4, 3
REST_S = 0.05
HOP_S = 1.0


class Clock:
    """When a round's clients are to stop."""

    def __init__(self) -> None:
        self.over = False


async def ask(
    recorder: Recorder,
    process: str,
    kind: str,
    key: str,
    argument: object,
    asking: Callable[[], Awaitable[object]],
) -> object:
    """The result; None if there is none, and then a short rest."""
    call = recorder.invoke(process, kind, monotonic(), key=key, argument=argument)
    try:
        result = await asking()
    except Unavailable as error:
        (call.failed if error.outcome == "none" else call.unknown)(monotonic())
    except Refusal:
        call.failed(monotonic())
    else:
        call.returned(monotonic(), result)
        return result
    await asyncio.sleep(REST_S)
    return None


# --- keys -----------------------------------------------------------------------------------------


class Registers:
    """A client of a few keys: put, get, delete, compare and swap."""

    def __init__(
        self, name: str, keys: EtcdKeys, recorder: Recorder, chance: random.Random, prefix: str
    ) -> None:
        self._name = name
        self._keys = keys
        self._recorder = recorder
        self._chance = chance
        self._prefix = prefix
        self._seen: dict[str, str] = {}
        self._count = 0

    async def run(self, clock: Clock) -> None:
        while not clock.over:
            key = f"{self._prefix}reg/{self._chance.randrange(KEYS)}"
            verbs = (self._get, self._put, self._swap, self._delete)
            (verb,) = self._chance.choices(verbs, (40, 30, 25, 5))
            await verb(key)
            await asyncio.sleep(self._chance.uniform(0, 0.03))

    def _value(self) -> str:
        self._count += 1
        return f"{self._name}.{self._count}"

    async def _ask(
        self, kind: str, key: str, argument: object, asking: Callable[[], Awaitable[object]]
    ) -> object:
        return await ask(self._recorder, self._name, kind, key, argument, asking)

    async def _get(self, key: str) -> None:
        async def get() -> object:
            found = await self._keys.range(Range(key.encode()))
            if found.items:
                self._seen[key] = found.items[0].value.decode()
            return (found.revision, _entry(found))

        await self._ask("get", key, None, get)

    async def _put(self, key: str) -> None:
        value = self._value()

        async def put() -> object:
            return (await self._keys.put(Put(key.encode(), value.encode()))).revision

        await self._ask("put", key, value, put)

    async def _delete(self, key: str) -> None:
        async def delete() -> object:
            done = await self._keys.delete(Delete(key.encode()))
            return (done.revision, done.count)

        await self._ask("delete", key, None, delete)

    async def _swap(self, key: str) -> None:
        value, seen = self._value(), self._seen.get(key, "")

        async def swap() -> object:
            name = key.encode()
            same = Compare("value", "equal", seen.encode(), name)
            done = await self._keys.txn(Txn([same], [Put(name, value.encode())], [Range(name)]))
            answer = None if done.succeeded else _entry(_found(done, 0))
            return (done.revision, done.succeeded, (answer,))

        asked = ((("value", key, "=", seen),), (("put", key, value),), (("get", key),))
        await self._ask("txn", key, asked, swap)


def _found(done: TxnDone, at: int) -> Found:
    found = done.results[at]
    assert isinstance(found, Found)
    return found


def _entry(found: Found) -> object:
    """As `histories.core.models.Keys` has it."""
    if not found.items:
        return None
    item = found.items[0]
    return (item.value.decode(), item.created, item.changed, item.version)


# --- lists ----------------------------------------------------------------------------------------


class Conflicted(Conflict):
    """Somebody else was first; nothing was written."""


class Lists:
    """Transactions that append to lists and read them. A list is a key with a JSON array: it is
    read, and written back if all that was read is still as it was.
    """

    def __init__(
        self, name: str, keys: EtcdKeys, recorder: Recorder, chance: random.Random, prefix: str
    ) -> None:
        self._name = name
        self._keys = keys
        self._recorder = recorder
        self._chance = chance
        self._prefix = prefix
        self._count = 0

    async def run(self, clock: Clock) -> None:
        while not clock.over:
            steps = self._drawn()

            async def transact(steps: Sequence[tuple[object, ...]] = steps) -> object:
                return await self._transact(steps)

            await ask(self._recorder, self._name, "txn", "", steps, transact)
            await asyncio.sleep(self._chance.uniform(0, 0.03))

    def _drawn(self) -> Sequence[tuple[object, ...]]:
        steps: list[tuple[object, ...]] = []
        for _ in range(self._chance.randint(1, 3)):
            key = f"{self._prefix}list/{self._chance.randrange(LISTS)}"
            if self._chance.random() < 0.5:
                self._count += 1
                steps.append(("append", key, f"{self._name}.{self._count}"))
            else:
                steps.append(("read", key))
        return tuple(steps)

    async def _transact(self, steps: Sequence[tuple[object, ...]]) -> object:
        names = sorted({str(step[1]) for step in steps})
        read = await self._keys.txn(Txn((), [Range(name.encode()) for name in names]))
        items = {name: next(iter(_found(read, at).items), None) for at, name in enumerate(names)}
        lists = {name: _elements(item) for name, item in items.items()}
        result, written = [], set()
        for step in steps:
            name = str(step[1])
            if step[0] == "append":
                lists[name] = [*lists[name], step[2]]
                written.add(name)
                result.append(step)
            else:
                result.append(("read", name, tuple(lists[name])))
        if written:
            await self._write(items, {name: lists[name] for name in written})
        return tuple(result)

    async def _write(
        self, items: Mapping[str, Item | None], lists: Mapping[str, Sequence[object]]
    ) -> None:
        same = [
            Compare("changed", "equal", item.changed if item else 0, name.encode())
            for name, item in items.items()
        ]
        puts: Sequence[Op] = [
            Put(name.encode(), json.dumps(elements).encode()) for name, elements in lists.items()
        ]
        if not (await self._keys.txn(Txn(same, puts))).succeeded:
            raise Conflicted("a list was written meanwhile")


def _elements(item: Item | None) -> Sequence[object]:
    return json.loads(item.value) if item else []


# --- watches --------------------------------------------------------------------------------------


class Watcher:
    """Looks on at all keys of a round, from the revision `since` on. One that hops opens a stream
    anew each HOP_S, behind the last revision that it was told.
    """

    def __init__(self, name: str, keys: EtcdKeys, prefix: str, since: int, *, hops: bool) -> None:
        self.name = name
        self.told = since - 1
        self.error: Exception | None = None
        self._keys = keys
        self._prefix = prefix
        self._since = since
        self._hop_s = HOP_S if hops else None
        self._streams: list[tuple[int, list[Response]]] = []

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._hop_s):
                    await self._look()
            except (TimeoutError, Unavailable):
                await asyncio.sleep(REST_S)
            except Refusal as error:
                self.error = error
                return

    async def _look(self) -> None:
        responses: list[Response] = []
        self._streams.append((self.told + 1, responses))
        watch = Watch(self._prefix.encode(), _end(self._prefix), from_revision=self.told + 1)
        async with self._keys.watch(watch) as stream:
            async for events in stream:
                changes = tuple(map(change_of, events.events))
                responses.append(Response(events.revision, changes))
                self.told = max(self.told, events.revision)

    def watches(self, settled: int) -> Sequence[histories.Watch]:
        """`settled`: up to where it should have been told all by now."""
        last = len(self._streams) - 1
        return [
            histories.Watch(
                watcher=self.name,
                start=self._prefix,
                end=_end(self._prefix).decode(),
                since=since,
                responses=tuple(responses),
                settled=settled if n == last else 0,
            )
            for n, (since, responses) in enumerate(self._streams)
        ]


def _end(prefix: str) -> bytes:
    return prefix_end(prefix.encode())


def change_of(event: Event) -> Change:
    item = event.item
    value = None if event.is_delete else item.value.decode()
    return Change(item.changed, item.key.decode(), value)


async def changes_since(keys: EtcdKeys, prefix: str, *, since: int, until: int) -> Sequence[Change]:
    """All changes, up to the revision `until`, which is one."""
    found: list[Change] = []
    watch = Watch(prefix.encode(), _end(prefix), from_revision=since)
    async with keys.watch(watch) as stream:
        async for events in stream:
            found += map(change_of, events.events)
            if events.revision >= until:
                return found
    raise AssertionError
