"""Nodes with a disk each and a network between them, all in memory, one step at a time."""

from collections.abc import Iterator, Sequence
from random import Random

import msgspec

from bastide.parts.raft.contract import (
    AnyMessage,
    ChunkGiven,
    ChunkWanted,
    Durable,
    Entry,
    Members,
    NodeId,
    Options,
    ReadAt,
    Ready,
    SnapshotChunk,
    SnapshotMark,
    Vote,
)
from bastide.parts.raft.core.raft import Raft

OPTIONS = Options()
HEARTBEAT_S = OPTIONS.heartbeat_s
ELECTION_S = OPTIONS.election_s


def mark_of(members: Members, index: int = 0, term: int = 0) -> SnapshotMark:
    return SnapshotMark(index, term, members)


def log_of(*terms: int) -> list[Entry]:
    """Entries from 1 on with these terms, as figures of the paper draw them."""
    return [Entry(i, t, "payload", b"%d" % i) for i, t in enumerate(terms, 1)]


class Node:
    """A host that does at once what a Ready says, except that writes can be held."""

    def __init__(
        self,
        node: NodeId,
        members: Members,
        *,
        options: Options = OPTIONS,
        term: int = 0,
        entries: Sequence[Entry] = (),
    ) -> None:
        self.node = node
        self.options = options
        self.vote = Vote(term)
        self.mark = mark_of(members)
        self.log = list(entries)
        self.image = b""
        self.images: dict[int, bytes] = {}  # of each snapshot that may still be sent
        self.partial = b""
        self.applied: list[Entry] = []
        self.reads: list[ReadAt] = []
        self.outbox: list[AnyMessage] = []
        self.is_disk_slow = False
        self.held: Ready | None = None

    def start(self, now_s: float, seed: int = 0) -> None:
        durable = Durable(self.vote, self.mark, tuple(self.log))
        self.applied = msgspec.msgpack.decode(self.image, type=list[Entry]) if self.image else []
        self.held, self.outbox, self.partial = None, [], b""
        self.core = Raft(self.node, self.options, durable, Random(seed * 100 + self.node), now_s)

    def pump(self, now_s: float) -> None:
        """Do what is to be done until nothing is."""
        while ready := self.core.ready():
            self._do(ready, now_s)

    def _do(self, ready: Ready, now_s: float) -> None:
        self.outbox += ready.messages
        if ready.must_sync:
            assert self.held is None, "one write is out at a time"
            self.held = ready
            if not self.is_disk_slow:
                self.finish_write(now_s)
        else:
            self.outbox += ready.messages_later
        for entry in ready.committed:
            self.applied.append(entry)
        if ready.committed:
            self.core.applied(ready.committed[-1].index)
        self.reads += ready.reads
        for wanted in ready.chunks_wanted:
            self.outbox.append(self._chunk(wanted))
        for given in ready.chunks_given:
            self._keep(given, now_s)

    def finish_write(self, now_s: float) -> None:
        ready, self.held = self.held, None
        if ready is None:
            return
        self.vote = ready.vote or self.vote
        if ready.entries:
            kept = ready.entries[0].index - 1 - self.mark.index
            assert 0 <= kept <= len(self.log), "the log on disk has no gap"
            self.log[kept:] = ready.entries
        self.outbox += ready.messages_later
        last = ready.entries[-1] if ready.entries else None
        self.core.written(now_s, last.index if last else 0, last.term if last else 0)

    def take_snapshot(self) -> SnapshotMark:
        """Of all that is applied; the log on disk and in memory is shortened."""
        at = self.core.mark_at(self.applied[-1].index)
        self.image = msgspec.msgpack.encode(self.applied)
        self.images[at.index] = self.image
        kept = [e for e in self.log if e.index > at.index]
        self.mark = msgspec.structs.replace(at, bytes_count=len(self.image))
        self.log = kept
        self.core.snapshot_taken(self.mark)
        return self.mark

    def _chunk(self, wanted: ChunkWanted) -> SnapshotChunk:
        return SnapshotChunk(
            to=wanted.to,
            sender=self.node,
            term=wanted.term,
            mark=wanted.mark,
            at=wanted.at,
            content=self.images[wanted.mark.index][wanted.at : wanted.end],
            round=wanted.round,
        )

    def _keep(self, given: ChunkGiven, now_s: float) -> None:
        self.partial = self.partial[: given.at] + given.content
        if not given.is_last:
            self.core.chunk_kept(now_s, given.mark, len(self.partial))
            return
        assert len(self.partial) == given.mark.bytes_count
        self.image = self.images[given.mark.index] = self.partial
        self.applied = msgspec.msgpack.decode(self.image, type=list[Entry])
        self.mark, self.log = given.mark, []
        self.core.installed(now_s, given.mark)


class Group:
    """Nodes and what is on its way between them. Nothing moves by itself."""

    def __init__(self, nodes: Sequence[Node], *, seed: int = 0) -> None:
        self.now_s = 0.0
        self.nodes = {n.node: n for n in nodes}
        self.wire: list[AnyMessage] = []
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.down: set[NodeId] = set()
        for node in nodes:
            node.start(self.now_s, seed)

    def __getitem__(self, node: NodeId) -> Node:
        return self.nodes[node]

    def core(self, node: NodeId) -> Raft:
        return self.nodes[node].core

    @property
    def up(self) -> Iterator[Node]:
        return (n for n in self.nodes.values() if n.node not in self.down)

    def collect(self) -> None:
        """Put on the wire what the nodes have to say."""
        for node in self.up:
            node.pump(self.now_s)
            self.wire += node.outbox
            node.outbox = []

    def deliver(self, message: AnyMessage) -> None:
        if (message.sender, message.to) in self.cut or message.to in self.down:
            return
        if message.to in self.nodes:
            self.nodes[message.to].core.step(self.now_s, message)

    def settle(self) -> None:
        """Until nothing is on its way any more."""
        self.collect()
        while self.wire:
            self.deliver(self.wire.pop(0))
            self.collect()

    def pass_s(self, seconds: float) -> None:
        """Let time pass, tick by tick, all delivered."""
        end_s = self.now_s + seconds
        while True:
            self.settle()
            next_s = min(n.core.next_tick_s for n in self.up)
            if next_s > end_s:
                break
            self.now_s = max(self.now_s, next_s)
            for node in self.up:
                if node.core.next_tick_s <= self.now_s:
                    node.core.tick(self.now_s)
        self.now_s = end_s
        for node in self.up:
            node.core.tick(self.now_s)
        self.settle()

    def elect(self, node: NodeId) -> None:
        """Have `node` lead: its timer runs out before all others'."""
        for _ in range(100):
            if self.leader == node:
                return
            self.now_s = max(self.now_s, self.core(node).next_tick_s)
            self.core(node).tick(self.now_s)
            self.settle()
        raise AssertionError(f"{node} was not elected")

    def win(self, node: NodeId) -> None:
        """Have `node` just elected, with its first Appends still on the wire."""
        self.now_s = max(self.now_s, self.core(node).next_tick_s)
        self.core(node).tick(self.now_s)
        self.collect()
        while self.core(node).status().kind != "leader":
            self.deliver(self.wire.pop(0))
            self.collect()

    @property
    def leader(self) -> NodeId:
        """Who leads in the newest term, or 0."""
        led = [n.core.status() for n in self.up]
        leaders = [s for s in led if s.kind == "leader"]
        return max(leaders, key=lambda s: s.term).node if leaders else 0

    def isolate(self, node: NodeId) -> None:
        for other in self.nodes:
            self.cut |= {(node, other), (other, node)}

    def heal(self) -> None:
        self.cut.clear()

    def crash(self, node: NodeId) -> None:
        """What was not written is gone, and what it had not sent."""
        self.down.add(node)

    def restart(self, node: NodeId, seed: int = 1) -> None:
        self.down.discard(node)
        self.nodes[node].start(self.now_s, seed)


def group_of(*nodes: NodeId, options: Options = OPTIONS, seed: int = 0) -> Group:
    members = Members(tuple(nodes))
    return Group([Node(n, members, options=options) for n in nodes], seed=seed)


def payloads_of(node: Node) -> list[bytes]:
    return [e.payload for e in node.applied if e.kind == "payload"]
