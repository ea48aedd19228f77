"""The front of every backend: what one client of the town has of coordination.

    /bastide/<client>/keys/<key>                   range, put, txn, watch ...
    /bastide/<client>/locks/<name>/<lease>         acquire, release
    /bastide/<client>/elections/<name>/<lease>     campaign, resign, observe
    /bastide/<client>/services/<name>/<instance>   register, instances

Below it is any `model.Keys`: one of our nodes, or an etcd. Locks and elections are made of keys
here (service/queues.py), so that they are the same on each.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from bastide.engines.coord.contract import (
    NO_LEASE,
    Delete,
    Events,
    Found,
    Hold,
    HoldLost,
    Instance,
    Item,
    Leadership,
    Lease,
    LeaseMissing,
    Put,
    Range,
    Session,
    Standing,
    Txn,
    TxnDone,
    Watch,
)
from bastide.engines.coord.core.checks import (
    check_grant,
    check_put,
    check_range,
    check_txn,
)
from bastide.engines.coord.model import Keys
from bastide.engines.coord.service.elections import Elections
from bastide.engines.coord.service.names import name_bytes
from bastide.engines.coord.service.queues import Queues
from bastide.engines.coord.service.registry import Registry
from bastide.engines.coord.service.sessions import opened_session
from bastide.engines.coord.service.views import View, ViewedEvents

SPACE = b"/bastide/"


@asynccontextmanager
async def opened_front(keys: Keys, client: str) -> AsyncIterator["Front"]:
    """What `client` has of `keys`."""
    queues = Queues(keys)
    try:
        yield Front(keys, queues, client)
    finally:
        await queues.close()


class KeysFront:
    """Keys and leases. Checks come first, on what the client has written; the backend's own see the
    whole key.
    """

    def __init__(self, keys: Keys, queues: Queues, client: str) -> None:
        self._keys = keys
        self._queues = queues
        self._prefix = SPACE + client.encode() + b"/"
        self._view = View(self._prefix + b"keys/")

    async def range(self, range_: Range) -> Found:
        check_range(range_)
        return self._view.found(await self._keys.range(self._view.range(range_)))

    async def get(self, key: bytes) -> Item | None:
        found = await self.range(Range(key))
        return found.items[0] if found.items else None

    async def put(self, key: bytes, value: bytes, *, lease: int = NO_LEASE) -> int:
        put = Put(key, value, lease=lease)
        check_put(put)
        return (await self._keys.put(self._view.put(put))).revision

    async def delete(self, key: bytes) -> bool:
        delete = Delete(key)
        check_range(delete)
        return (await self._keys.delete(self._view.delete(delete))).count > 0

    async def txn(self, txn: Txn) -> TxnDone:
        check_txn(txn)
        return self._view.done(await self._keys.txn(self._view.txn(txn)))

    @asynccontextmanager
    async def watch(self, watch: Watch) -> AsyncIterator[AsyncIterator[Events]]:
        check_range(watch)
        async with self._keys.watch(self._view.watch(watch)) as events:
            yield ViewedEvents(self._view, events)

    async def compact(self, revision: int) -> None:
        await self._keys.compact(revision)

    async def grant(self, ttl_s: int, *, id_: int = 0) -> Lease:
        check_grant(ttl_s, id_)
        return await self._keys.grant(ttl_s, id_)

    async def keep_alive(self, lease: int) -> Lease:
        try:
            return await self._keys.keep_alive(lease)
        except LeaseMissing:
            self._queues.forget(lease)
            raise

    async def revoke(self, lease: int) -> None:
        await self._keys.revoke(lease)
        self._queues.forget(lease)

    async def lease(self, lease: int) -> Lease:
        return self._view.lease(await self._keys.lease(lease))

    @asynccontextmanager
    async def session(self, *, ttl_s: int = 10) -> AsyncIterator[Session]:
        check_grant(ttl_s, 0)
        async with opened_session(self._keys, ttl_s) as session:
            try:
                yield session
            finally:
                self._queues.forget(session.lease)


class Front(KeysFront):
    """One client's coordination: `contract.Coord`."""

    def __init__(self, keys: Keys, queues: Queues, client: str) -> None:
        super().__init__(keys, queues, client)
        self._elections = Elections(keys, queues, self._prefix + b"elections/")
        self._registry = Registry(keys, self._prefix + b"services/")

    async def acquire(
        self, name: str, *, lease: int, wait_s: float | None = None, again: bool = False
    ) -> Hold:
        queue = self._prefix + b"locks/" + name_bytes(name) + b"/"
        place = await self._queues.enter(queue, lease, b"", wait_s=wait_s, again=again)
        return Hold(name, place.key, place.created, lease)

    async def release(self, hold: Hold) -> None:
        await self._queues.leave(lease=hold.lease, key=hold.key, created=hold.token)

    async def check(self, hold: Hold | Leadership) -> None:
        found = await self._keys.range(Range(hold.key, keys_only=True))
        if [item.created for item in found.items] != [hold.token]:
            raise HoldLost(f"{hold.name!r} is not held since revision {hold.token} any more")

    async def campaign(
        self, name: str, value: bytes, *, lease: int, wait_s: float | None = None
    ) -> Leadership:
        return await self._elections.campaign(name, value, lease=lease, wait_s=wait_s)

    async def proclaim(self, leadership: Leadership, value: bytes) -> Leadership:
        return await self._elections.proclaim(leadership, value)

    async def resign(self, leadership: Leadership) -> None:
        await self._elections.resign(leadership)

    async def leader(self, name: str) -> Leadership | None:
        return await self._elections.leader(name)

    def observe(self, name: str) -> AbstractAsyncContextManager[AsyncIterator[Leadership]]:
        return self._elections.observe(name)

    async def register(self, service: str, instance: str, value: bytes, *, lease: int) -> Instance:
        return await self._registry.register(service, instance, value, lease=lease)

    async def unregister(self, instance: Instance) -> None:
        await self._registry.unregister(instance)

    async def instances(self, service: str) -> Sequence[Instance]:
        return await self._registry.instances(service)

    async def standing(self) -> Standing:
        return await self._keys.standing()

    async def health(self) -> None:
        await self._keys.range(Range(SPACE, count_only=True))
