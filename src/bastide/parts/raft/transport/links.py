"""The links of a node with its peers: dialled again for ever, bounded, many groups on each.

    group 7 ─┐                   ┌─ peer 2 ── Dialled ──TCP──► AcceptedFrom ─┐   ┌─ group 7
    group 8 ─┼─ send ─► (tick) ──┤                                           ├───┼─ group 8
    group 9 ─┘        one frame  └─ peer 3 ── Dialled ──TCP──► ...           ┘   └─ group 9

Nothing is promised: what finds no connection, or a full one, is dropped and counted; Raft sends
again.
"""

import asyncio
import logging
from asyncio import Task, TimerHandle
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec

from bastide.base import faults
from bastide.base.rt import runtime
from bastide.base.rt.net import Listener
from bastide.parts.raft.contract import MEMBERS_MAX, AnyMessage, NodeId, OptionInvalid
from bastide.parts.raft.transport import frames
from bastide.parts.raft.transport.connection import AcceptedFrom, Badge, Dialled
from bastide.parts.raft.transport.frames import CLUSTER_BYTES_MAX, Addressed

CONNECTIONS_MAX = 4 * MEMBERS_MAX
"""Accepted ones, also those that have not said yet who they are."""
BEAT_S = 0.5
SILENT_S = 2.0
"""Who is silent that long is dialled anew: TCP itself may wait for minutes after a partition."""
DIAL_S = 2.0
BACK_OFF_S = 0.05
BACK_OFF_S_MAX = 2.0

Receive = Callable[[Sequence[AnyMessage]], None]

_log = logging.getLogger(__name__)


class Address(msgspec.Struct, frozen=True):
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@asynccontextmanager
async def open_transport(
    node: NodeId,
    *,
    cluster: str,
    peers: Mapping[NodeId, Address],
    listener: Listener | None,
    secret: bytes = b"",
) -> AsyncIterator["Transport"]:
    """Listens on `listener`, dials `peers`; this node may be among them. Who has another `cluster`
    or `secret`, or is none of `peers`, is refused.

    Raises:
        OptionInvalid: a `cluster` longer than CLUSTER_BYTES_MAX.
    """
    if len(cluster.encode()) > CLUSTER_BYTES_MAX:
        raise OptionInvalid(
            f"a cluster's name of {len(cluster.encode())} bytes; {CLUSTER_BYTES_MAX} are taken"
        )
    transport = Transport(Badge(node, cluster, secret))
    try:
        if listener:
            await transport.serve(listener)
        for peer, address in peers.items():
            transport.set_peer(peer, address)
        yield transport
    finally:
        await transport.close()


class Transport:
    def __init__(self, badge: Badge) -> None:
        self._badge = badge
        self._peers: dict[NodeId, Peer] = {}
        self._groups: dict[int, Receive] = {}
        self._accepted: dict[AcceptedFrom, None] = {}
        self._server: asyncio.Server | None = None
        self._loop = asyncio.get_running_loop()
        self._flush_due = False
        self._beat: TimerHandle = self._loop.call_later(BEAT_S, self._beat_all)
        metrics = runtime.current().metrics
        self.sent = metrics.counter("bastide_raft_frames_total", "frames sent to other nodes")
        self.dropped = metrics.counter(
            "bastide_raft_messages_dropped_total",
            "messages without a free connection",
        )

    async def serve(self, listener: Listener) -> None:
        self._server = await self._loop.create_server(self._accept, sock=listener)

    def _accept(self) -> AcceptedFrom:
        connection = AcceptedFrom(self._badge, self, lambda: len(self._accepted) <= CONNECTIONS_MAX)
        self._accepted[connection] = None
        return connection

    async def close(self) -> None:
        self._beat.cancel()
        if self._server:
            self._server.close()
        for connection in tuple(self._accepted):
            connection.cut()
        peers, self._peers = self._peers, {}
        for peer in peers.values():
            await peer.close()
        if self._server:
            await self._server.wait_closed()

    # --- who is who -----------------------------------------------------------------------------

    @property
    def node(self) -> NodeId:
        return self._badge.node

    def set_peer(self, node: NodeId, address: Address) -> None:
        """From here on `node` is known, and dialled at `address`."""
        old = self._peers.get(node)
        if node == self.node or (old and old.address == address):
            return
        self.remove_peer(node)
        self._peers[node] = Peer(self._badge, node, address)

    def remove_peer(self, node: NodeId) -> None:
        if peer := self._peers.pop(node, None):
            peer.cut()
        for connection in tuple(self._accepted):
            if connection.node == node:
                connection.cut()

    def connected(self) -> list[NodeId]:
        """Those that would get what is sent now."""
        return sorted(node for node, peer in self._peers.items() if peer.is_ready)

    def join(self, group: int, receive: Receive) -> None:
        """`receive` is called with what comes for `group`, a frame's messages at once."""
        self._groups[group] = receive

    def leave(self, group: int) -> None:
        self._groups.pop(group, None)

    # --- sending --------------------------------------------------------------------------------

    def send(self, group: int, messages: Sequence[AnyMessage]) -> None:
        """All that is given in one tick goes out at its end, a frame for each peer."""
        for message in messages:
            if peer := self._peers.get(message.to):
                peer.waiting.append((group, message))
            else:
                self.dropped.add()
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        faults.point("raft.before_send")
        for peer in self._peers.values():
            if peer.waiting:
                messages, peer.waiting = peer.waiting, []
                if peer.is_ready:
                    self.sent.add(peer.send(messages))
                else:
                    self.dropped.add(len(messages))
        faults.point("raft.after_send")

    def _beat_all(self) -> None:
        silent_since_s = self._loop.time() - SILENT_S
        for connection in tuple(self._accepted):
            connection.beat(silent_since_s)
        for peer in self._peers.values():
            peer.beat(silent_since_s)
        self._beat = self._loop.call_later(BEAT_S, self._beat_all)

    # --- what accepted connections ask ----------------------------------------------------------

    def knows(self, node: NodeId) -> bool:
        return node in self._peers

    def greeted(self, connection: AcceptedFrom) -> None:
        """The newest from a node counts; and who dials can be dialled."""
        for other in tuple(self._accepted):
            if other.node == connection.node and other is not connection:
                other.cut()
        self._peers[connection.node].dial_now()

    def deliver(self, node: NodeId, messages: Sequence[Addressed]) -> None:
        faults.point("raft.received")
        by_group: dict[int, list[AnyMessage]] = {}
        for group, message in messages:
            by_group.setdefault(group, []).append(message)
        for group, its in by_group.items():
            if receive := self._groups.get(group):
                receive(its)

    def gone(self, connection: AcceptedFrom) -> None:
        self._accepted.pop(connection, None)


class Peer:
    """One other node: its address, what waits for this tick's end, and the task that dials it."""

    def __init__(self, badge: Badge, node: NodeId, address: Address) -> None:
        self.address = address
        self.waiting: list[Addressed] = []
        self._badge = badge
        self._node = node
        self._connection: Dialled | None = None
        self._hurry = asyncio.Event()
        self._told = ""
        self._dialling: Task[None] = asyncio.get_running_loop().create_task(self._keep_dialling())

    @property
    def is_ready(self) -> bool:
        connection = self._connection
        return connection is not None and connection.is_ready and not connection.is_full

    def send(self, messages: Sequence[Addressed]) -> int:
        assert self._connection is not None
        contents = list(frames.frame_messages(messages))
        self._connection.transport.write(b"".join(contents))
        return len(contents)

    def beat(self, silent_since_s: float) -> None:
        if self._connection and not self._connection.is_lost:
            self._connection.beat(silent_since_s)

    def dial_now(self) -> None:
        self._hurry.set()

    def cut(self) -> None:
        self._dialling.cancel()
        if self._connection:
            self._connection.cut()

    async def close(self) -> None:
        self.cut()
        await asyncio.wait([self._dialling])

    async def _keep_dialling(self) -> None:
        random = runtime.current().chance.random
        delay_s = BACK_OFF_S
        while True:
            reason = await self._dial()
            if not reason:
                delay_s = BACK_OFF_S  # it was there a moment ago
            self._tell(reason)
            self._hurry.clear()
            try:
                async with asyncio.timeout(delay_s * random.uniform(0.5, 1.0)):
                    await self._hurry.wait()
            except TimeoutError:
                delay_s = min(delay_s * 2, BACK_OFF_S_MAX)

    async def _dial(self) -> str:
        """Returns when the connection has ended: why, or "" if it had stood."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(DIAL_S):
                _, self._connection = await loop.create_connection(
                    lambda: Dialled(self._badge, self._node), self.address.host, self.address.port
                )
        except (OSError, TimeoutError) as error:
            return str(error) or "no answer"
        ended = await self._connection.ended
        if not ended:
            _log.info("node %s at %s is lost", self._node, self.address)
        return ended

    def _tell(self, reason: str) -> None:
        """Once for each reason, for it is dialled again and again."""
        if reason and reason != self._told:
            _log.warning("node %s at %s can't be reached: %s", self._node, self.address, reason)
        self._told = reason
