"""What a node does with what its leader says: its log, and a snapshot that comes in chunks.

    Append ──► previous is here? ──no──► rejected, with where it may agree
                    │ yes
                    ▼
               merge ──► answered once it is written;  committed up to what is known to be equal

A heartbeat is answered at once, with what is durable by then, so that a slow disk does not look
like a dead node.

**Snapshots** (thesis 5.1). One chunk is with the host at a time. What a sender says again is
answered with where to go on, which is how it resumes after a loss. Another sender begins anew: two
nodes' files of one snapshot need not be equal byte by byte. It is installed only if the log does
not have the mark's entry, so that the whole log is replaced; from when the last chunk is taken
until that is done nothing is appended.
"""

from bastide.parts.raft.contract import (
    Append,
    AppendReply,
    ChunkGiven,
    NodeId,
    SnapshotChunk,
    SnapshotMark,
    SnapshotReply,
)
from bastide.parts.raft.core.log import Log
from bastide.parts.raft.core.outbox import Outbox


class Incoming:
    """A snapshot on its way here."""

    def __init__(self, sender: NodeId, mark: SnapshotMark) -> None:
        self.sender = sender
        self.mark = mark
        self.next_at = 0
        self.is_keeping = False  # a chunk is with the host
        self.is_installing = False  # it was the last one

    def take(self, chunk: SnapshotChunk) -> ChunkGiven:
        self.is_keeping = True
        self.is_installing = chunk.at + len(chunk.content) >= self.mark.bytes_count
        return ChunkGiven(self.mark, chunk.at, chunk.content, self.is_installing)


class Replica:
    def __init__(self, node: NodeId, *, log: Log, outbox: Outbox) -> None:
        self._node = node
        self._log = log
        self._outbox = outbox
        self._incoming: Incoming | None = None
        self._round = 0  # of the last chunk

    @property
    def is_installing(self) -> bool:
        return self._incoming is not None and self._incoming.is_installing

    # --- entries ----------------------------------------------------------------------------------

    def append(self, message: Append) -> None:
        log, previous = self._log, message.previous_index
        if self.is_installing:
            self._answer(message, previous=0, match=0)
        elif previous > log.committed and log.term_at(previous) != message.previous_term:
            self._reject(message)
        elif message.entries:
            log.merge(message.entries)
            self._commit(min(message.committed, message.entries[-1].index))
            self._answer(message, previous=previous, match=message.entries[-1].index)
        else:
            self._commit(min(message.committed, previous))
            self._answer(message, previous=previous, match=min(previous, log.written))

    def _commit(self, index: int) -> None:
        self._log.committed = max(self._log.committed, min(index, self._log.last_index))

    def _reject(self, message: Append) -> None:
        """Say which of its own entries may be the leader's too: none of a later term is."""
        hint = self._log.last_at_most(message.previous_index, message.previous_term)
        self._outbox.send(
            AppendReply(
                to=message.sender,
                sender=self._node,
                term=message.term,
                previous_index=message.previous_index,
                match=hint,
                rejected=True,
                conflict_term=self._log.term_at(hint) or 0,
                round=message.round,
            )
        )

    def _answer(self, message: Append, *, previous: int, match: int) -> None:
        reply = AppendReply(
            to=message.sender,
            sender=self._node,
            term=message.term,
            previous_index=previous,
            match=match,
            rejected=False,
            conflict_term=0,
            round=message.round,
        )
        if match <= self._log.written:
            self._outbox.send(reply)
        else:
            self._outbox.send_later(reply)

    # --- snapshots --------------------------------------------------------------------------------

    def chunk(self, message: SnapshotChunk) -> None:
        if self.is_installing:
            return
        log, mark = self._log, message.mark
        self._round = message.round
        if mark.index <= log.committed or log.term_at(mark.index) == mark.term:
            self._commit(mark.index)
            self._incoming = None
            self._tell(message.sender, mark, next_at=mark.bytes_count, installed=True)
            return
        incoming = self._incoming
        if incoming is None or (incoming.sender, incoming.mark) != (message.sender, mark):
            incoming = self._incoming = Incoming(message.sender, mark)
        if incoming.is_keeping:
            return
        if message.at == incoming.next_at:
            self._outbox.chunk_given = incoming.take(message)
        else:
            self._tell(message.sender, mark, next_at=incoming.next_at, installed=False)

    def chunk_kept(self, mark: SnapshotMark, next_at: int, *, leader: NodeId) -> None:
        incoming = self._incoming
        if incoming is None or incoming.mark != mark or not incoming.is_keeping:
            return
        incoming.next_at = next_at
        incoming.is_keeping = False
        if incoming.sender == leader:
            self._tell(leader, mark, next_at=next_at, installed=False)

    def installed(self, mark: SnapshotMark, *, leader: NodeId) -> None:
        incoming, self._incoming = self._incoming, None
        self._log.restore(mark)
        if incoming is not None and incoming.sender == leader:
            self._tell(leader, mark, next_at=mark.bytes_count, installed=True)

    def _tell(self, to: NodeId, mark: SnapshotMark, *, next_at: int, installed: bool) -> None:
        reply = SnapshotReply(
            to=to,
            sender=self._node,
            term=self._outbox.vote.term,
            index=mark.index,
            next_at=next_at,
            installed=installed,
            round=self._round,
        )
        if installed and mark.index > self._log.written:
            self._outbox.send_later(reply)
        else:
            self._outbox.send(reply)
