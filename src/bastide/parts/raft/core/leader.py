"""What only a leader has, for one term: made when an election is won, dropped when it ends.

    propose ──► log ──► flush: Appends to each follower, as far as its window allows ──► outbox
                          ▲                                                             │
    commit ◄── quorum of matches, the own one is `written` ◄── answered ◄───────────────┘

Appends are made when a Ready is taken, so all that was proposed since the last one goes together.
Only an entry of the leader's own term is committed by counting (paper 5.4.2, figure 8): what an
earlier leader left behind is committed with the first one that is.
"""

from collections.abc import Iterable
from math import inf

from bastide.parts.raft.contract import (
    APPEND_ENTRIES_MAX,
    NOBODY,
    Append,
    AppendReply,
    ChunkWanted,
    Entry,
    EntryKind,
    Follower,
    NodeId,
    Options,
    ReadAt,
    ReadReply,
    SnapshotReply,
    TimeoutNow,
)
from bastide.parts.raft.core.log import Log
from bastide.parts.raft.core.members import everyone
from bastide.parts.raft.core.outbox import Outbox
from bastide.parts.raft.core.progress import Progress, SnapshotSending
from bastide.parts.raft.core.quorum import agreed
from bastide.parts.raft.core.reads import Asked, LeaderReads, Rounds


class Leader:
    def __init__(
        self, node: NodeId, options: Options, *, log: Log, outbox: Outbox, now_s: float
    ) -> None:
        self.node = node
        self.term = outbox.vote.term
        self.followers: dict[NodeId, Progress] = {}
        self.reads = LeaderReads(options.reads_max)
        self._heartbeat_due_s = now_s
        self._quorum_due_s = inf
        self.transferee = NOBODY
        self._transfer_due_s = inf
        self._options = options
        self._log = log
        self._outbox = outbox
        self._rounds = Rounds(options.election_s)
        self._is_told = False  # the transferee was, this time
        self._has_let_go = False  # a TimeoutNow of this term may still be on its way
        self._slice: tuple[int, int, tuple[Entry, ...]] = (0, 0, ())
        self.regroup(now_s)
        self.first_index = self.append("empty", [b""])

    # --- entries ----------------------------------------------------------------------------------

    def append(self, kind: EntryKind, payloads: Iterable[bytes]) -> int:
        first = self._log.last_index + 1
        term = self.term
        self._log.append([Entry(i, term, kind, p) for i, p in enumerate(payloads, first)])
        return first

    def regroup(self, now_s: float) -> None:
        """The members in force have changed."""
        next_index = self._log.last_index + 1
        self.followers = {
            node: self.followers.get(node) or Progress(node, next_index=next_index, now_s=now_s)
            for node in everyone(self._log.members)
            if node != self.node
        }
        self._quorum_due_s = now_s + self._options.election_s if self.followers else inf
        if self.transferee not in self._log.members.voters:
            self.transferee = NOBODY

    def commit(self) -> bool:
        """Whether more is committed than before."""
        log = self._log
        index = agreed(log.members, self._match_of)
        if index <= log.committed or log.term_at(index) != self.term:
            return False
        log.committed = index
        return True

    def _match_of(self, node: NodeId) -> int:
        return self._log.written if node == self.node else self.followers[node].match

    @property
    def has_committed(self) -> bool:
        """Whether it committed an entry of its term, and so knows what is committed."""
        return self._log.committed >= self.first_index

    # --- what followers say -----------------------------------------------------------------------

    def answered(self, reply: AppendReply) -> None:
        follower = self.followers.get(reply.sender)
        if follower is None:
            return
        follower.echoed(reply.round, self._rounds.began_s(reply.round))
        if not reply.rejected:
            follower.accepted(reply.match, reply.previous_index)
        elif not follower.is_stale(reply.previous_index):
            follower.rejected(self._log.last_at_most(reply.match, reply.conflict_term))
        self._confirm()

    def snapshot_answered(self, reply: SnapshotReply) -> None:
        follower = self.followers.get(reply.sender)
        if follower is None:
            return
        follower.echoed(reply.round, self._rounds.began_s(reply.round))
        sending = follower.snapshot
        if reply.installed:
            follower.accepted(reply.index, reply.index)
        elif sending and sending.mark.index == reply.index and sending.at != reply.next_at:
            sending.at = min(reply.next_at, sending.mark.bytes_count)
            sending.sent_s = None
        self._confirm()

    # --- time -------------------------------------------------------------------------------------

    @property
    def due_s(self) -> float:
        """A group of one has nothing to do by time."""
        due_s = min(self._heartbeat_due_s if self.followers else inf, self._transfer_due_s)
        return min(due_s, self._quorum_due_s) if self._options.check_quorum else due_s

    def tick(self, now_s: float) -> None:
        if now_s >= self._transfer_due_s:
            self.transferee, self._transfer_due_s = NOBODY, inf
        if now_s >= self._heartbeat_due_s:
            self._heartbeat_due_s = now_s + self._options.heartbeat_s
            self._rounds.begin(now_s)

    def is_deposed(self, now_s: float) -> bool:
        """Whether no quorum has echoed what was sent within election_s (CheckQuorum)."""
        if now_s < self._quorum_due_s or not self._options.check_quorum:
            return False
        heard_s = agreed(self._log.members, self._heard_s_of)
        self._quorum_due_s = heard_s + self._options.election_s
        return now_s >= self._quorum_due_s

    def _heard_s_of(self, node: NodeId) -> float:
        return inf if node == self.node else self.followers[node].heard_s

    def has_lease(self, now_s: float) -> bool:
        """Whether nobody else can have been elected yet. Not once it has asked another to take
        over, for the rest of the term: that message may come late.
        """
        drift = self._options.lease_drift
        if drift is None or self._has_let_go or not self.has_committed:
            return False
        echo_s = agreed(self._log.members, self._echo_s_of)
        return now_s < echo_s + self._options.election_s * (1 - drift)

    def _echo_s_of(self, node: NodeId) -> float:
        return inf if node == self.node else self.followers[node].echo_s

    def is_active(self, node: NodeId, now_s: float) -> bool:
        if node == self.node:
            return True
        follower = self.followers.get(node)
        return follower is not None and follower.echo_s + self._options.election_s > now_s

    def seen(self, now_s: float) -> list[Follower]:
        return [
            Follower(
                node=f.node,
                match=f.match,
                is_active=self.is_active(f.node, now_s),
                is_probing=f.is_probing,
                snapshot_index=f.snapshot.mark.index if f.snapshot else 0,
            )
            for f in self.followers.values()
        ]

    # --- reads ------------------------------------------------------------------------------------

    def _confirm(self) -> None:
        oldest = self.reads.oldest_round
        if oldest is None:
            return
        number = agreed(self._log.members, self._round_of)
        if number >= oldest:
            for index, asked in self.reads.confirmed(number):
                self.answer(asked, index)

    def _round_of(self, node: NodeId) -> int:
        return self._rounds.number if node == self.node else self.followers[node].round

    def answer(self, asked: Asked, index: int | None) -> None:
        node, token = asked
        if node == NOBODY:
            self._outbox.reads.append(ReadAt(token, index))
        else:
            self._outbox.send(
                ReadReply(to=node, sender=self.node, term=self.term, token=token, index=index or 0)
            )

    # --- what goes out ----------------------------------------------------------------------------

    def transfer(self, to: NodeId, now_s: float) -> None:
        if to != self.transferee:
            self.transferee = to
            self._is_told = False
            self._transfer_due_s = now_s + self._options.election_s

    def flush(self, now_s: float) -> None:
        """Put into the outbox all that may be sent now."""
        if self.reads.has_waiting and self.has_committed:
            self._rounds.begin(now_s)
            self.reads.begin(self._rounds.number, self._log.committed)
            self._confirm()
        for follower in self.followers.values():
            self._serve(follower, now_s)

    def _serve(self, follower: Progress, now_s: float) -> None:
        if follower.snapshot is None and follower.next <= self._log.base:
            follower.begin_snapshot(self._log.mark)
        if follower.snapshot is not None:
            self._want_chunk(follower.node, follower.snapshot, now_s)
        elif follower.next <= self._log.last_index:
            self._send_entries(follower)
        if follower.round_sent < self._rounds.number or self._has_news(follower):
            self._send_append(follower, ())
        if follower.node == self.transferee and follower.match == self._log.last_index:
            self._let_go(follower.node)

    def _has_news(self, follower: Progress) -> bool:
        known = min(self._log.committed, follower.next - 1)
        return not follower.is_probing and follower.committed_sent < known

    def _send_entries(self, follower: Progress) -> None:
        log, options = self._log, self._options
        while follower.next <= log.last_index and follower.may_send(options.appends_out_max):
            first = follower.next
            last = log.end_of(
                first, bytes_max=options.append_bytes_max, entries_max=APPEND_ENTRIES_MAX
            )
            if self._slice[:2] != (first, last):  # followers mostly get the same
                self._slice = (first, last, log.slice(first, last))
            self._send_append(follower, self._slice[2])
            follower.sent(last)

    def _send_append(self, follower: Progress, entries: tuple[Entry, ...]) -> None:
        previous = 0 if follower.snapshot is not None else follower.next - 1
        term = self._log.term_at(previous) if previous else 0
        assert term is not None, "what is behind the log goes by snapshot"
        committed = self._log.committed
        follower.round_sent = self._rounds.number
        follower.committed_sent = min(committed, previous + len(entries))
        self._outbox.send(
            Append(
                to=follower.node,
                sender=self.node,
                term=self.term,
                previous_index=previous,
                previous_term=term,
                entries=entries,
                committed=committed,
                round=follower.round_sent,
            )
        )

    def _want_chunk(self, node: NodeId, sending: SnapshotSending, now_s: float) -> None:
        """One at a time; again if no answer came within election_s."""
        if sending.sent_s is not None and now_s < sending.sent_s + self._options.election_s:
            return
        sending.sent_s = now_s
        end = min(sending.at + self._options.chunk_bytes, sending.mark.bytes_count)
        self._outbox.chunks_wanted.append(
            ChunkWanted(node, sending.mark, sending.at, end, self.term, self._rounds.number)
        )

    def _let_go(self, node: NodeId) -> None:
        """Have `node` begin an election; once, and again if the transfer is asked for anew."""
        if not self._is_told:
            self._is_told = self._has_let_go = True
            self._outbox.send(TimeoutNow(to=node, sender=self.node, term=self.term))
