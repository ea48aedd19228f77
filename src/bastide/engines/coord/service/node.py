"""One node of the group that keeps the store: its keys and leases, and its members."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import msgspec

from bastide.base.errors import Conflict, Invalid, NotFound, Refusal, Unavailable
from bastide.base.rt import runtime
from bastide.base.rt.net import Listener
from bastide.base.work import Breath
from bastide.engines.coord.contract import (
    Delete,
    Deleted,
    Events,
    Found,
    Lease,
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
    Announce,
    Compact,
    Disarm,
    Forget,
    Grant,
    Outcome,
    Revoke,
)
from bastide.engines.coord.core.machine import is_read_only
from bastide.engines.coord.core.snapshots import hashes, snapshot
from bastide.engines.coord.model import Alarm, Hash, Settings
from bastide.engines.coord.service.asking import RETRY_AFTER_S, Asking, translated
from bastide.engines.coord.service.questions import Keep, Kept, Regroup
from bastide.engines.coord.service.replica import Replica
from bastide.parts.raft.contract import Members, NodeId, Options
from bastide.parts.raft.host.host import RaftHost, open_host
from bastide.parts.raft.host.machine import Keeping
from bastide.parts.raft.transport.links import Address, Transport, open_transport

GROUP = 0


class Plan(msgspec.Struct, frozen=True):
    """Which node this is, of which group. `peers` has all that are known when it starts, this one
    too; the first `first` of them are those with which the group began.
    """

    me: NodeId = 1
    peers: Mapping[NodeId, Address] = {}
    first: int = 1
    cluster: str = "alone"

    @property
    def members(self) -> Members:
        return Members(tuple(range(1, self.first + 1)))


@asynccontextmanager
async def open_node(
    directory: Path, settings: Settings, plan: Plan | None = None, listener: Listener | None = None
) -> AsyncIterator["GroupNode"]:
    """The node that is kept in `directory`. With `peers` in its plan it listens to them on
    `listener`. It returns before the group has a leader, unless it is a group of one.

    Raises:
        SegmentDamaged, GroupFailed: what was acknowledged is damaged on this node's disk.
        OSError: the disk refuses.
    """
    plan = plan or Plan()
    replica = Replica()
    options = Options(
        election_s=settings.election_ms / 1000, heartbeat_s=settings.heartbeat_ms / 1000
    )
    keeping = Keeping(snapshot_entries=settings.snapshot_entries)
    async with (
        _transport(plan, settings, listener) as transport,
        open_host(
            directory,
            replica,
            node=plan.me,
            members=plan.members,
            group=GROUP,
            transport=transport,
            options=options,
            keeping=keeping,
        ) as host,
    ):
        node = GroupNode(plan, settings, host, replica, transport)
        try:
            yield node
        finally:
            await node.close()


@asynccontextmanager
async def _transport(
    plan: Plan, settings: Settings, listener: Listener | None
) -> AsyncIterator[Transport | None]:
    if listener is None:
        yield None
        return
    async with open_transport(
        plan.me,
        cluster=plan.cluster,
        peers=plan.peers,
        listener=listener,
        secret=settings.secret.encode(),
    ) as transport:
        yield transport


class KeysNode(Asking):
    """`model.Keys`."""

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
        return await self.do(Compact(revision))

    def watch(self, watch: Watch) -> AbstractAsyncContextManager[AsyncIterator[Events]]:
        return self._replica.watches.opened(watch)

    # --- leases ---------------------------------------------------------------------------------

    async def grant(self, ttl_s: int, id_: int) -> Lease:
        check_grant(ttl_s, id_)
        id_ = id_ or self._free_id()
        await self.do(Grant(id_, ttl_s))
        return Lease(id_, ttl_s, ttl_s)

    def _free_id(self) -> int:
        chance = runtime.current().chance.random
        while (id_ := chance.randint(1, LEASE_ID_MAX)) in self.machine.leases:
            pass
        return id_

    async def keep_alive(self, lease: int) -> Lease:
        kept = await self.ask_leader(Keep(lease))
        assert isinstance(kept, Kept)
        return Lease(lease, kept.ttl_s, kept.left_s)

    async def revoke(self, lease: int) -> int:
        return await self.do(Revoke(lease))

    async def lease(self, lease: int) -> Lease:
        kept = await self.ask_leader(Keep(lease, only_look=True))
        assert isinstance(kept, Kept)
        await self.catch_up()
        return Lease(lease, kept.ttl_s, kept.left_s, self.machine.leases.keys(lease))

    async def leases(self) -> Sequence[int]:
        await self.catch_up()
        return sorted(self.machine.leases)


class GroupNode(KeysNode):
    """`model.Node`."""

    def __init__(
        self,
        plan: Plan,
        settings: Settings,
        host: "RaftHost[Outcome | Refusal]",
        replica: Replica,
        transport: Transport | None,
    ) -> None:
        super().__init__(plan.me, settings, host, replica, transport)
        self.plan = plan
        self._announcing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._announcing is not None:
            self._announcing.cancel()
            await asyncio.gather(self._announcing, return_exceptions=True)
        await super().close()

    # --- the node -------------------------------------------------------------------------------

    async def standing(self) -> Standing:
        status, machine = self.status(), self.machine
        return Standing(
            cluster=machine.cluster,
            member=self.plan.me,
            leader=status.leader,
            term=status.term,
            committed=status.committed,
            applied=self.applied,
            revision=machine.store.revision,
            space_bytes=machine.store.space_bytes,
            members=self._members(status.members),
        )

    def _members(self, members: Members) -> Sequence[Member]:
        found = []
        for id_ in sorted({*members.voters, *members.outgoing, *members.learners}):
            told = self.machine.members.get(id_, Announce(id_))
            peer = told.peer_address or str(self.plan.peers.get(id_, ""))
            is_learner = id_ in members.learners
            name = told.name or f"node{id_}"
            found.append(Member(id_, name, peer, told.client_address, is_learner=is_learner))
        return found

    def announce_soon(self, client_address: str) -> None:
        """Where this node's clients reach it: all are told, once there is a leader."""
        self._announcing = asyncio.get_running_loop().create_task(self._announce(client_address))

    async def _announce(self, client_address: str) -> None:
        peer = str(self.plan.peers.get(self.plan.me, ""))
        wanted = Announce(self.plan.me, f"node{self.plan.me}", peer, client_address)
        while self.machine.members.get(self.plan.me) != wanted:
            try:
                await self.do(wanted)
            except Unavailable:
                await asyncio.sleep(RETRY_AFTER_S)

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
        await self.do(Disarm(alarm.member, alarm.kind))

    async def transfer(self, to: int) -> None:
        with translated():
            await self._host.transfer(to)

    async def add_member(self, name: str, peer_address: str, *, is_learner: bool) -> int:
        """Its number. Start it then, with all addresses, `me` that number and `first` as it was.

        Raises:
            Invalid: no address. Conflict: it is a member's; or another change is under way.
        """
        if self._transport is None:
            raise Invalid("this node is alone: it has no links to others")
        host, _, port = peer_address.rpartition(":")
        if not host or not port.isdigit():
            raise Invalid(f"{peer_address!r}; host:port is expected")
        await self.catch_up()
        known = self._members(self.status().members)
        if peer_address in [member.peer_address for member in known]:
            raise Conflict(f"{peer_address} is a member's address")
        id_ = max([0, *self.machine.members, *(member.id for member in known)]) + 1
        await self.do(Announce(id_, name, peer_address))
        members = self.status().members
        voters, learners = members.voters, members.learners
        if is_learner:
            learners = (*learners, id_)
        else:
            voters = (*voters, id_)
        await self._regroup(voters, learners)
        return id_

    async def remove_member(self, member: int) -> None:
        """
        Raises:
            NotFound: it is none. Conflict: it is the last, or another change is under way.
        """
        members = self.status().members
        if member not in (*members.voters, *members.learners):
            raise NotFound(f"there is no member {member}")
        voters = tuple(one for one in members.voters if one != member)
        learners = tuple(one for one in members.learners if one != member)
        await self._regroup(voters, learners)
        await self.do(Forget(member))

    async def promote_member(self, member: int) -> None:
        """
        Raises:
            NotFound: it is none. Invalid: it votes already. Conflict: another change is under way.
        """
        members = self.status().members
        if member in members.voters:
            raise Invalid(f"member {member} votes already")
        if member not in members.learners:
            raise NotFound(f"there is no member {member}")
        learners = tuple(one for one in members.learners if one != member)
        await self._regroup((*members.voters, member), learners)

    async def health(self) -> None:
        """
        Raises:
            CoordAway
        """
        await self.catch_up()

    async def _regroup(self, voters: tuple[int, ...], learners: tuple[int, ...]) -> None:
        await self.ask_leader(Regroup(voters, learners))
