"""The verbs of a store of ours, whatever it is agreed by: `model.Keys`, and what lies beside it."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

from bastide.base.rt import runtime
from bastide.base.work import Breath
from bastide.engines.coord.contract import (
    Delete,
    Deleted,
    Events,
    Found,
    Lease,
    Put,
    PutDone,
    Range,
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
    Revoke,
)
from bastide.engines.coord.core.machine import Machine, is_read_only
from bastide.engines.coord.core.snapshots import hashes, snapshot
from bastide.engines.coord.model import Alarm, Hash
from bastide.engines.coord.service.questions import Kept
from bastide.engines.coord.service.watches import Watches


class Verbs(ABC):
    # --- what it stands on ----------------------------------------------------------------------

    @property
    @abstractmethod
    def machine(self) -> Machine:
        """The store as it is here. To be read; another one after a snapshot was installed."""

    @property
    @abstractmethod
    def watches(self) -> Watches: ...

    @abstractmethod
    async def agree(self, command: Command) -> Outcome:
        """What comes of it, once a majority has it.

        Raises:
            Refusal: what came of it. CoordAway: `outcome` tells whether it may have been done.
        """

    @abstractmethod
    async def catch_up(self) -> None:
        """Returns once all is applied here that was acknowledged anywhere before the call."""

    @abstractmethod
    async def kept(self, lease: int, *, only_look: bool) -> Kept:
        """How long the lease lasts, its full time again unless one `only_look`s.

        Raises:
            LeaseMissing, CoordAway.
        """

    async def _do(self, command: Command) -> int:
        outcome = await self.agree(command)
        assert isinstance(outcome, Done)
        return outcome.revision

    # --- keys -----------------------------------------------------------------------------------

    async def range(self, range_: Range) -> Found:
        check_range(range_)
        if not range_.serializable:
            await self.catch_up()
        store = self.machine.store
        store.check(range_)
        return store.range(range_)

    async def put(self, put: Put) -> PutDone:
        check_put(put)
        outcome = await self.agree(put)
        assert isinstance(outcome, PutDone)
        return outcome

    async def delete(self, delete: Delete) -> Deleted:
        check_range(delete)
        outcome = await self.agree(delete)
        assert isinstance(outcome, Deleted)
        return outcome

    async def txn(self, txn: Txn) -> TxnDone:
        check_txn(txn)
        if is_read_only(txn):
            await self.catch_up()
            return self.machine.read(txn)
        outcome = await self.agree(txn)
        assert isinstance(outcome, TxnDone)
        return outcome

    async def compact(self, revision: int) -> int:
        return await self._do(Compact(revision))

    def watch(self, watch: Watch) -> AbstractAsyncContextManager[AsyncIterator[Events]]:
        return self.watches.opened(watch)

    # --- leases ---------------------------------------------------------------------------------

    async def grant(self, ttl_s: int, id_: int) -> Lease:
        check_grant(ttl_s, id_)
        id_ = id_ or self._free_id()
        await self._do(Grant(id_, ttl_s))
        return Lease(id_, ttl_s, ttl_s)

    def _free_id(self) -> int:
        chance = runtime.current().chance.random
        while (id_ := chance.randint(1, LEASE_ID_MAX)) in self.machine.leases:
            pass
        return id_

    async def keep_alive(self, lease: int) -> Lease:
        kept = await self.kept(lease, only_look=False)
        return Lease(lease, kept.ttl_s, kept.left_s)

    async def revoke(self, lease: int) -> int:
        return await self._do(Revoke(lease))

    async def lease(self, lease: int) -> Lease:
        kept = await self.kept(lease, only_look=True)
        await self.catch_up()
        return Lease(lease, kept.ttl_s, kept.left_s, self.machine.leases.keys(lease))

    async def leases(self) -> Sequence[int]:
        await self.catch_up()
        return sorted(self.machine.leases)

    # --- the store ------------------------------------------------------------------------------

    async def hash(self, revision: int = 0) -> Hash:
        store = self.machine.store
        revision, compacted = revision or store.revision, store.compacted
        hash_, breath = 0, Breath()
        for hash_ in hashes(store, revision):  # noqa: B007 (the last one counts)
            await breath.taken()
        return Hash(hash_, revision, compacted)

    async def snapshot(self) -> AsyncIterator[bytes]:
        await self.catch_up()
        breath = Breath()
        for piece in snapshot(self.machine):
            yield piece
            await breath.taken()

    async def alarms(self) -> Sequence[Alarm]:
        await self.catch_up()
        return [Alarm(member, kind) for member, kind in sorted(self.machine.alarms)]

    async def disarm(self, alarm: Alarm) -> None:
        await self._do(Disarm(alarm.member, alarm.kind))
