"""One node of the group that keeps the store: its keys and leases, and its members."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from bastide.base.errors import Conflict, Invalid, NotFound, Refusal, Unavailable
from bastide.base.rt.net import Listener
from bastide.engines.coord.contract import (
    Member,
    Standing,
)
from bastide.engines.coord.core.commands import (
    Announce,
    Forget,
    Outcome,
)
from bastide.engines.coord.model import Settings
from bastide.engines.coord.service.asking import RETRY_AFTER_S, Asking, translated
from bastide.engines.coord.service.questions import Regroup
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


class GroupNode(Asking):
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
                await self._do(wanted)
            except Unavailable:
                await asyncio.sleep(RETRY_AFTER_S)

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
        await self._do(Announce(id_, name, peer_address))
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
        await self._do(Forget(member))

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
