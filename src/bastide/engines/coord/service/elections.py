"""Elections: a queue whose first one leads, and tells something of itself in its key's value."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bastide.engines.coord.contract import (
    Compare,
    HoldLost,
    Item,
    Leadership,
    Put,
    Range,
    RevisionCompacted,
    Txn,
    Watch,
)
from bastide.engines.coord.core.spans import prefix_end
from bastide.engines.coord.model import Keys
from bastide.engines.coord.service.names import name_bytes
from bastide.engines.coord.service.queues import Queues


class Elections:
    """Those of one client, whose prefix is `prefix`."""

    def __init__(self, keys: Keys, queues: Queues, prefix: bytes) -> None:
        self._keys = keys
        self._queues = queues
        self._prefix = prefix

    def _queue(self, name: str) -> bytes:
        return self._prefix + name_bytes(name) + b"/"

    async def campaign(
        self, name: str, value: bytes, *, lease: int, wait_s: float | None
    ) -> Leadership:
        queue = self._queue(name)
        place = await self._queues.enter(queue, lease, value, wait_s=wait_s, again=False)
        return Leadership(name, place.key, place.created, lease, value)

    async def proclaim(self, leadership: Leadership, value: bytes) -> Leadership:
        leads = Compare("created", "equal", leadership.token, leadership.key)
        put = Put(leadership.key, value, lease=leadership.lease)
        if not (await self._keys.txn(Txn([leads], [put]))).succeeded:
            raise HoldLost(f"the leadership of {leadership.name!r} has ended")
        token, lease = leadership.token, leadership.lease
        return Leadership(leadership.name, leadership.key, token, lease, value)

    async def resign(self, leadership: Leadership) -> None:
        key, token = leadership.key, leadership.token
        await self._queues.leave(lease=leadership.lease, key=key, created=token)

    async def leader(self, name: str) -> Leadership | None:
        leader, _ = await self.first(name)
        return None if leader is None else _leadership(name, leader)

    async def first(self, name: str) -> tuple[Item | None, int]:
        """Who leads, and the revision at which he does."""
        queue = self._queue(name)
        found = await self._keys.range(Range(queue, prefix_end(queue), limit=1, sort_by="created"))
        return (found.items[0] if found.items else None), found.revision

    @asynccontextmanager
    async def observe(self, name: str) -> AsyncIterator[AsyncIterator[Leadership]]:
        self._queue(name)  # refuses what is no name before the block begins
        yield _Observed(self, name)

    async def changed(self, name: str, leader: Item | None, revision: int) -> None:
        """Waits until who leads may be another, or tell another value, than at `revision`."""
        queue = self._queue(name)
        if leader is None:
            watch = Watch(queue, prefix_end(queue), from_revision=revision + 1, deletes=False)
        else:
            watch = Watch(leader.key, from_revision=revision + 1)
        try:
            async with self._keys.watch(watch) as events:
                async for told in events:
                    if told.events:
                        return
        except RevisionCompacted:
            return


class _Observed:
    """For one task."""

    def __init__(self, elections: Elections, name: str) -> None:
        self._elections = elections
        self._name = name
        self._seen: tuple[Item | None, int] | None = None
        self._told: Item | None = None

    def __aiter__(self) -> "_Observed":
        return self

    async def __anext__(self) -> Leadership:
        while True:
            if self._seen is not None:
                await self._elections.changed(self._name, *self._seen)
            leader, revision = await self._elections.first(self._name)
            self._seen = leader, revision
            if leader is not None and leader != self._told:
                self._told = leader
                return _leadership(self._name, leader)


def _leadership(name: str, item: Item) -> Leadership:
    return Leadership(name, item.key, item.created, item.lease, item.value)
