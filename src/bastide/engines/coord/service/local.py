"""The store of one node in memory: what `memory://` is. It is gone with the process.

Whatever is asked is done at once: there is nobody to agree with and nothing to wait for. What the
other backends have too is the Machine and its watches; the leader's clock here is the only one.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from bastide.base.rt import runtime
from bastide.base.work import Breath
from bastide.engines.coord.contract import (
    SPACE_BYTES_MAX,
    AskInvalid,
    CoordAway,
    Delete,
    Deleted,
    Events,
    Found,
    Lease,
    LeaseMissing,
    Member,
    Put,
    PutDone,
    Range,
    Standing,
    Txn,
    TxnDone,
    Watch,
)
from bastide.engines.coord.core.checks import (
    LEASE_ID_MAX,
    check_grant,
    check_put,
    check_range,
    check_txn,
)
from bastide.engines.coord.core.commands import (
    Command,
    Compact,
    Disarm,
    Done,
    Grant,
    Outcome,
    Refused,
    Revoke,
    SetSpace,
    refusal,
)
from bastide.engines.coord.core.leases import Deadlines
from bastide.engines.coord.core.machine import Machine, is_read_only
from bastide.engines.coord.core.snapshots import hashes, snapshot
from bastide.engines.coord.model import Alarm, Hash
from bastide.engines.coord.service.watches import Watches

MEMBER = 1
ALONE = "memory:// is one node"


@asynccontextmanager
async def opened_local(*, space_bytes: int = SPACE_BYTES_MAX) -> AsyncIterator["Local"]:
    local = Local()
    local.apply(SetSpace(space_bytes))
    try:
        yield local
    finally:
        local.close()


class LocalKeys:
    """`model.Keys`, but for `standing`."""

    def __init__(self) -> None:
        self.machine = Machine()
        self._watches = Watches(self.machine.store)
        self._deadlines = Deadlines()
        self._applied = 0
        self._timer: asyncio.TimerHandle | None = None
        self._sweeping: asyncio.Handle | None = None
        self._breath = Breath()

    def close(self) -> None:
        for handle in (self._timer, self._sweeping):
            if handle is not None:
                handle.cancel()
        self._watches.end(CoordAway("the store is closed"))

    # --- keys -----------------------------------------------------------------------------------

    async def range(self, range_: Range) -> Found:
        check_range(range_)
        self.machine.store.check(range_)
        return self.machine.store.range(range_)

    async def put(self, put: Put) -> PutDone:
        check_put(put)
        outcome = self.apply(put)
        assert isinstance(outcome, PutDone)
        await self._breath.taken()
        return outcome

    async def delete(self, delete: Delete) -> Deleted:
        check_range(delete)
        outcome = self.apply(delete)
        assert isinstance(outcome, Deleted)
        await self._breath.taken()
        return outcome

    async def txn(self, txn: Txn) -> TxnDone:
        check_txn(txn)
        if is_read_only(txn):
            return self.machine.read(txn)
        outcome = self.apply(txn)
        assert isinstance(outcome, TxnDone)
        await self._breath.taken()
        return outcome

    async def compact(self, revision: int) -> int:
        return self._do(Compact(revision))

    def watch(self, watch: Watch) -> AbstractAsyncContextManager[AsyncIterator[Events]]:
        return self._watches.opened(watch)

    def apply(self, command: Command) -> Outcome:
        """
        Raises:
            Refusal: what came of it.
        """
        outcome = self.machine.apply(command)
        self._applied += 1
        if isinstance(outcome, Refused):
            raise refusal(outcome)
        self._watches.advance()
        if isinstance(command, Compact):
            self._sweep()
        return outcome

    def _do(self, command: Command) -> int:
        outcome = self.apply(command)
        assert isinstance(outcome, Done)
        return outcome.revision

    def _sweep(self) -> None:
        """In pieces, and others have their turn in between."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        more = self.machine.sweep()
        loop = asyncio.get_running_loop()
        self._sweeping = loop.call_soon(self._sweep) if more else None

    # --- leases ---------------------------------------------------------------------------------

    async def grant(self, ttl_s: int, id_: int) -> Lease:
        check_grant(ttl_s, id_)
        id_ = id_ or self._free_id()
        self.apply(Grant(id_, ttl_s))
        self._deadlines.begin(id_, ttl_s, runtime.monotonic())
        self._plan()
        return Lease(id_, ttl_s, ttl_s)

    def _free_id(self) -> int:
        chance = runtime.current().chance.random
        while (id_ := chance.randint(1, LEASE_ID_MAX)) in self.machine.leases:
            pass
        return id_

    async def keep_alive(self, lease: int) -> Lease:
        ttl_s = self.machine.leases.ttl_s(lease)
        self._deadlines.keep_alive(lease, ttl_s, runtime.monotonic())
        return Lease(lease, ttl_s, ttl_s)

    async def revoke(self, lease: int) -> int:
        return self._revoke(lease)

    def _revoke(self, lease: int) -> int:
        revision = self._do(Revoke(lease))
        self._deadlines.forget(lease)
        return revision

    async def lease(self, lease: int) -> Lease:
        ttl_s, keys = self.machine.leases.ttl_s(lease), self.machine.leases.keys(lease)
        left_s = self._deadlines.left_s(lease, runtime.monotonic())
        if left_s <= 0:
            raise LeaseMissing(f"lease {lease:x} has ended")
        return Lease(lease, ttl_s, left_s, keys)

    async def leases(self) -> Sequence[int]:
        return sorted(self.machine.leases)

    def _plan(self) -> None:
        """When to look for leases that are over."""
        next_s = self._deadlines.next_s()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if next_s is not None:
            wait_s = max(next_s - runtime.monotonic(), 0)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._expire)

    def _expire(self) -> None:
        for lease in self._deadlines.over(runtime.monotonic()):
            self._revoke(lease)
        self._plan()


class Local(LocalKeys):
    """`model.Node`."""

    async def standing(self) -> Standing:
        store = self.machine.store
        return Standing(
            cluster=MEMBER,
            member=MEMBER,
            leader=MEMBER,
            term=1,
            committed=self._applied,
            applied=self._applied,
            revision=store.revision,
            space_bytes=store.space_bytes,
            members=[Member(MEMBER, "memory", "", "")],
        )

    async def hash(self, revision: int = 0) -> Hash:
        store = self.machine.store
        revision, compacted = revision or store.revision, store.compacted
        hash_, breath = 0, Breath()
        for hash_ in hashes(store, revision):  # noqa: B007 (the last one counts)
            await breath.taken()
        return Hash(hash_, revision, compacted)

    async def snapshot(self) -> AsyncIterator[bytes]:
        breath = Breath()
        for piece in snapshot(self.machine):
            yield piece
            await breath.taken()

    async def alarms(self) -> Sequence[Alarm]:
        return [Alarm(member, kind) for member, kind in sorted(self.machine.alarms)]

    async def disarm(self, alarm: Alarm) -> None:
        self.apply(Disarm(alarm.member, alarm.kind))

    async def transfer(self, to: int) -> None:
        if to != MEMBER:
            raise CoordAway(f"{ALONE}; there is no member {to} to lead")

    async def add_member(self, name: str, peer_address: str, *, is_learner: bool) -> int:
        raise AskInvalid(f"{ALONE}; none can be added")

    async def remove_member(self, member: int) -> None:
        raise AskInvalid(f"{ALONE}; none can be removed")

    async def promote_member(self, member: int) -> None:
        raise AskInvalid(f"{ALONE}; it votes")
