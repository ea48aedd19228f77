"""A node of a group: its door, its terms and elections. Leading is leader.py, following replica.py.

    timer ──► PreVote ──majority──► RequestVote, term + 1 ──majority──► Leader
      ▲         │ (changes nothing)    │ (vote durable first)              │ newer term, or
      └─────────┴──────────────────────┴─────── follower ◄─────────────────┘ no quorum heard

Every call hands in the time and is O(1) beside the entries that it brings. Nothing is sent, written
or waited for here: `ready` tells what the host shall do.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Protocol

from bastide.parts.raft.contract import (
    COMMITTED_BYTES_MAX,
    NOBODY,
    PAYLOAD_BYTES_MAX,
    AnyMessage,
    Append,
    AppendReply,
    Change,
    ChangeRefused,
    ChunkGiven,
    Durable,
    Entry,
    Kind,
    NodeId,
    NotLeader,
    OptionInvalid,
    Options,
    PayloadTooLarge,
    PreVote,
    PreVoteReply,
    ProposalsOver,
    ReadAsk,
    ReadAt,
    ReadReply,
    ReadsOver,
    Ready,
    RequestVote,
    SnapshotChunk,
    SnapshotMark,
    SnapshotReply,
    Status,
    TimeoutNow,
    Vote,
    VoteReply,
)
from bastide.parts.raft.core.leader import Leader
from bastide.parts.raft.core.log import Log
from bastide.parts.raft.core.members import encode_change, is_voter, left, planned
from bastide.parts.raft.core.outbox import Outbox
from bastide.parts.raft.core.quorum import Poll, agreed
from bastide.parts.raft.core.reads import FollowerReads
from bastide.parts.raft.core.replica import Replica


class Chance(Protocol):
    def random(self) -> float:
        """From 0 up to, but not, 1."""
        ...


class Raft:
    """One node of one group.

    It begins as a follower that has committed what its snapshot has: what else is committed it
    learns from a leader. A group's only voter stands for election at its first tick, which is due
    at once.
    """

    def __init__(
        self, node: NodeId, options: Options, durable: Durable, chance: Chance, now_s: float
    ) -> None:
        self.node = node
        self._options = options
        self._chance = chance
        self._now_s = now_s
        self._log = Log(durable.mark, durable.entries)
        self._outbox = Outbox(durable.vote)
        self._leader = NOBODY
        self._leading: Leader | None = None
        self._poll: Poll | None = None
        self._following = Replica(node, log=self._log, outbox=self._outbox)
        self._asks = FollowerReads(options, first=int(chance.random() * (1 << 53)) << 9)
        self._given = self._applied = durable.mark.index
        # A node that was here before may have told a leader so just before it fell: it grants no
        # vote before that leader's lease is over.
        self._heard_s = now_s if durable.vote.term else -inf
        self._wait_s = 0.0
        self._due_s = now_s
        if not self._may_lead_at_once():
            self._rest()
        self._handlers: dict[type, Callable[[Any], None]] = {
            Append: self._on_append,
            AppendReply: self._on_append_reply,
            SnapshotChunk: self._on_chunk,
            SnapshotReply: self._on_snapshot_reply,
            PreVote: self._on_pre_vote,
            PreVoteReply: self._on_pre_vote_reply,
            RequestVote: self._on_vote,
            VoteReply: self._on_vote_reply,
            ReadAsk: self._on_read_ask,
            ReadReply: self._on_read_reply,
            TimeoutNow: self._on_timeout_now,
        }

    # --- time -------------------------------------------------------------------------------------

    @property
    def next_tick_s(self) -> float:
        """`tick` is to be called then at the latest; any other call may change it."""
        due_s = self._leading.due_s if self._leading else self._due_s
        return min(due_s, self._asks.due_s)

    def tick(self, now_s: float) -> None:
        self._clock(now_s)
        for token in self._asks.dropped(self._now_s):
            self._outbox.reads.append(ReadAt(token, None))
        if self._leading:
            self._leading.tick(self._now_s)
        elif self._now_s >= self._due_s:
            self._campaign()

    def _may_lead_at_once(self) -> bool:
        """A group's only voter waits for nobody, unless it followed a leader that may have a lease
        by its word: one that has just removed itself.
        """
        own = self._outbox.vote.voted_for == self.node or self._term == 0
        return own and self._is_alone

    @property
    def _is_alone(self) -> bool:
        members = self._log.members
        return members.voters == (self.node,) and not members.is_joint

    def _clock(self, now_s: float) -> None:
        """Each call begins here: a leader that was paused must know before it answers anything."""
        self._now_s = max(self._now_s, now_s)
        if self._leading and self._leading.is_deposed(self._now_s):
            self._follow(self._term, NOBODY)

    def _rest(self) -> None:
        """Wait anew before standing for election, for a time that others hardly draw too."""
        self._wait_s = self._options.election_s * (1 + self._chance.random())
        self._due_s = self._now_s + self._wait_s

    # --- what is asked of it ----------------------------------------------------------------------

    def propose(self, now_s: float, payloads: Sequence[bytes]) -> tuple[int, int]:
        """The index of the first and the term of all, at least one; all are taken, or none. Raises
        NotLeader (also while leadership is handed over), ProposalsOver, PayloadTooLarge.
        """
        assert payloads, "an index of nothing would never be applied"
        leading = self._lead_at(now_s)
        if leading.transferee != NOBODY:
            raise NotLeader(leading.transferee)
        self._check_room(payloads)
        return leading.append("payload", payloads), self._term

    def _check_room(self, payloads: Sequence[bytes]) -> None:
        log, options = self._log, self._options
        sizes = [len(payload) for payload in payloads]
        if max(sizes, default=0) > PAYLOAD_BYTES_MAX:
            raise PayloadTooLarge(
                f"a payload of {max(sizes)} bytes; at most {PAYLOAD_BYTES_MAX} are taken"
            )
        count = log.last_index - log.committed + len(sizes)
        bytes_count = log.open_bytes + sum(sizes)
        if count > options.proposed_max or bytes_count > options.proposed_bytes_max:
            raise ProposalsOver(
                f"{count} entries of {bytes_count} bytes would wait for the group; at most "
                f"{options.proposed_max} of {options.proposed_bytes_max} may"
            )

    def read(self, now_s: float, token: int, *, lease: bool = False) -> None:
        """A Ready will have a ReadAt with `token`. By lease it is answered at once if this node
        leads and its lease stands; else it is a read like any other. Raises ReadsOver, and
        OptionInvalid if leases are off.
        """
        self._clock(now_s)
        if lease and (self._options.lease_drift is None or not self._options.check_quorum):
            raise OptionInvalid("reads by lease want a lease_drift and check_quorum")
        if self._leading is None:
            self._ask_leader(token)
        elif lease and self._leading.has_lease(self._now_s):
            self._outbox.reads.append(ReadAt(token, self._log.committed))
        elif self._leading.reads.is_full:
            raise ReadsOver(self._options.reads_max)
        else:
            self._leading.reads.add((NOBODY, token))

    def _ask_leader(self, token: int) -> None:
        if self._leader == NOBODY:
            self._outbox.reads.append(ReadAt(token, None))
            return
        wire = self._asks.add(token, self._now_s)
        self._outbox.send(ReadAsk(to=self._leader, sender=self.node, term=self._term, token=wire))

    def change(self, now_s: float, change: Change) -> int:
        """The index of the entry that begins the change. Raises NotLeader, ChangeRefused,
        PayloadTooLarge.
        """
        leading = self._lead_at(now_s)
        if leading.transferee != NOBODY or not leading.has_committed:
            raise ChangeRefused("leadership is just being taken or handed over; ask again")
        if self._log.members.is_joint or self._log.members_index > self._log.committed:
            raise ChangeRefused("another change is under way")
        if len(change.context) > PAYLOAD_BYTES_MAX >> 1:
            raise PayloadTooLarge(f"a context has at most {PAYLOAD_BYTES_MAX >> 1} bytes")
        members = planned(self._log.members, change)
        if not agreed(members, lambda node: int(leading.is_active(node, self._now_s))):
            raise ChangeRefused(
                f"a majority of {members.voters} is not heard; bring them in as learners first"
            )
        return self._append_change(leading, encode_change(members, change.context))

    def _append_change(self, leading: Leader, payload: bytes) -> int:
        index = leading.append("change", [payload])
        leading.regroup(self._now_s)
        return index

    def transfer(self, now_s: float, to: NodeId) -> None:
        """Hand leadership over to a voter (thesis 3.10). Given up after election_s. Raises
        NotLeader, ChangeRefused.
        """
        leading = self._lead_at(now_s)
        if to == self.node or to not in self._log.members.voters:
            raise ChangeRefused(f"leadership goes to another voter, and {to} is none")
        leading.transfer(to, self._now_s)

    def _lead_at(self, now_s: float) -> Leader:
        self._clock(now_s)
        if self._leading is None:
            raise NotLeader(self._leader)
        return self._leading

    # --- what the host does -----------------------------------------------------------------------

    def ready(self) -> Ready | None:
        """What there is to do; None: nothing. While a write is out there is none to do."""
        outbox = self._outbox
        if self._leading:
            self._leading.flush(self._now_s)
        vote, entries, later = self._take_write()
        given = self._take_chunk()
        wanted, outbox.chunks_wanted = outbox.chunks_wanted, []
        messages, outbox.now = outbox.now, []
        reads, outbox.reads = outbox.reads, []
        committed = self._take_committed()
        if not (messages or vote or entries or later or committed or reads or wanted or given):
            return None
        return Ready(messages, vote, entries, later, committed, reads, wanted, given)

    def _take_write(self) -> tuple[Vote | None, Sequence[Entry], list[AnyMessage]]:
        outbox = self._outbox
        if outbox.is_writing:
            return None, (), []
        vote, entries = outbox.take_vote(), self._log.hand_out()
        outbox.is_writing = vote is not None or bool(entries)
        later, outbox.later = outbox.later, []
        return vote, entries, later

    def _take_committed(self) -> Sequence[Entry]:
        log = self._log
        if self._given >= log.committed:
            return ()
        first = self._given + 1
        last = log.end_of(first, bytes_max=COMMITTED_BYTES_MAX, entries_max=log.committed)
        self._given = min(last, log.committed)
        return log.slice(first, self._given)

    def _take_chunk(self) -> Sequence[ChunkGiven]:
        given = self._outbox.chunk_given
        if given is None or (given.is_last and self._outbox.is_writing):
            return ()  # an installation replaces the log, so nothing is written to it meanwhile
        self._outbox.chunk_given = None
        return (given,)

    def written(self, now_s: float, index: int, term: int) -> None:
        """The write of the last Ready that had one is durable, up to entry `index` of `term`. Both
        are for who looks on: only one write is out, and what counts of it is known here.
        """
        self._clock(now_s)
        if not self._outbox.is_writing:
            return
        self._outbox.wrote()
        self._log.wrote()
        if self._poll and self._outbox.is_settled and not self._poll.is_pre and self._poll.is_won:
            self._lead()  # a group's only voter
        self._commit()

    def applied(self, index: int) -> None:
        self._applied = max(self._applied, index)

    def snapshot_taken(self, mark: SnapshotMark) -> None:
        """The host keeps a snapshot up to an index that it applied. The log in memory loses what
        is more than `kept_behind` entries behind it.
        """
        if mark.index > self._log.mark.index:
            self._log.compact(mark, kept=self._options.kept_behind)

    def mark_at(self, index: int) -> SnapshotMark:
        """The mark of a snapshot up to `index`, which is applied; its size is the host's to add."""
        term = self._log.term_at(index)
        assert term is not None, "what was just applied is in memory"
        return SnapshotMark(index, term, self._log.members_at(index))

    def status(self) -> Status:
        log = self._log
        return Status(
            node=self.node,
            kind=self._kind,
            term=self._term,
            leader=self._leader,
            last_index=log.last_index,
            committed=log.committed,
            applied=self._applied,
            first_index=log.base + 1,
            members=log.members,
            followers=self._leading.seen(self._now_s) if self._leading else (),
        )

    @property
    def _kind(self) -> Kind:
        if self._leading:
            return "leader"
        if self._poll:
            return "candidate"
        return "follower" if is_voter(self._log.members, self.node) else "learner"

    @property
    def _term(self) -> int:
        return self._outbox.vote.term

    # --- terms ------------------------------------------------------------------------------------

    def step(self, now_s: float, message: AnyMessage) -> None:
        """Take what another node said. What is old, doubled or for another node does no harm."""
        self._clock(now_s)
        if message.to != self.node or message.sender == self.node:
            return
        if message.term < self._term:
            self._refuse_older(message)
        elif message.term == self._term or self._admits_newer(message):
            self._handlers[type(message)](message)

    def _admits_newer(self, message: AnyMessage) -> bool:
        """Whether a message of a newer term is heeded; if so this node is in that term now, except
        that a PreVote and its grant are of a term which nobody is in yet.
        """
        if isinstance(message, PreVote):
            return True
        if isinstance(message, PreVoteReply) and message.granted:
            return True
        if isinstance(message, RequestVote) and not message.transfer and self._is_led():
            return False
        self._follow(message.term, NOBODY)
        return True

    def _is_led(self) -> bool:
        """Whether a leader was heard within election_s: who asks for votes then is only cut off
        from it, or removed (thesis 4.2.3), and a lease may stand on it (6.4.1).
        """
        if not self._options.check_quorum:
            return False
        return bool(self._leading) or self._now_s < self._heard_s + self._options.election_s

    def _refuse_older(self, message: AnyMessage) -> None:
        """Tell a node of an older term which one it is, if it believes to lead or wants to."""
        to, me, term = message.sender, self.node, self._term
        if isinstance(message, Append | SnapshotChunk):
            self._outbox.send(
                AppendReply(
                    to=to,
                    sender=me,
                    term=term,
                    previous_index=0,
                    match=0,
                    rejected=True,
                    conflict_term=0,
                    round=0,
                )
            )
        elif isinstance(message, PreVote):
            self._outbox.send(PreVoteReply(to=to, sender=me, term=term, granted=False))
        elif isinstance(message, RequestVote):
            self._outbox.send(VoteReply(to=to, sender=me, term=term, granted=False))

    def _follow(self, term: int, leader: NodeId) -> None:
        if term > self._term:
            self._outbox.set_vote(Vote(term))
        if self._leading:
            leading, self._leading = self._leading, None
            for asked in leading.reads.dropped():
                leading.answer(asked, None)
            self._rest()
        self._poll = None
        self._set_leader(leader)

    def _set_leader(self, leader: NodeId) -> None:
        if leader != self._leader:
            self._leader = leader
            for token in self._asks.dropped(inf):
                self._outbox.reads.append(ReadAt(token, None))

    # --- elections --------------------------------------------------------------------------------

    def _campaign(self) -> None:
        """The timer has run out."""
        self._rest()
        if not self._may_stand():
            return
        if self._is_alone or not self._options.pre_vote:
            self._stand(transfer=False)
            return
        self._set_leader(NOBODY)
        self._poll = Poll(self._log.members, is_pre=True)
        self._poll.count(self.node, granted=True)
        log, me, term = self._log, self.node, self._term + 1
        for node in self._other_voters():
            self._outbox.send(
                PreVote(
                    to=node,
                    sender=me,
                    term=term,
                    last_index=log.last_index,
                    last_term=log.last_term,
                )
            )

    def _may_stand(self) -> bool:
        """Who is removed by an entry that is not committed stands still: it may be the only one
        that has it (thesis 4.2.2). A log that is just being replaced is none to be elected with.
        """
        if self._following.is_installing:
            return False
        return any(is_voter(members, self.node) for members in self._log.members_open())

    def _other_voters(self) -> Sequence[NodeId]:
        members = self._log.members
        return [n for n in sorted({*members.voters, *members.outgoing}) if n != self.node]

    def _stand(self, *, transfer: bool) -> None:
        """Ask for votes in a new term. The own vote is durable before anybody is asked."""
        self._follow(self._term, NOBODY)
        self._outbox.set_vote(Vote(self._term + 1, self.node))
        self._poll = Poll(self._log.members, is_pre=False)
        self._poll.count(self.node, granted=True)
        for node in self._other_voters():
            self._outbox.send(
                RequestVote(
                    to=node,
                    sender=self.node,
                    term=self._term,
                    last_index=self._log.last_index,
                    last_term=self._log.last_term,
                    transfer=transfer,
                )
            )

    def _on_pre_vote(self, message: PreVote) -> None:
        if self._is_led():
            return
        granted = (
            message.term > self._term or self._outbox.vote.voted_for in (NOBODY, message.sender)
        ) and self._log.is_covered_by(last_index=message.last_index, last_term=message.last_term)
        term = message.term if granted else self._term
        self._outbox.send(
            PreVoteReply(to=message.sender, sender=self.node, term=term, granted=granted)
        )

    def _on_pre_vote_reply(self, message: PreVoteReply) -> None:
        poll = self._poll
        if poll is None or not poll.is_pre:
            return
        if message.term == (self._term + 1 if message.granted else self._term):
            poll.count(message.sender, granted=message.granted)
            if poll.is_won:
                self._stand(transfer=False)
            elif poll.is_lost:
                self._poll = None

    def _on_vote(self, message: RequestVote) -> None:
        vote = self._outbox.vote
        if vote.voted_for == NOBODY and self._is_led() and not message.transfer:
            return  # a newer term came from somebody else: the lease of who led stands all the same
        granted = vote.voted_for in (NOBODY, message.sender) and self._log.is_covered_by(
            last_index=message.last_index, last_term=message.last_term
        )
        if granted and vote.voted_for == NOBODY:
            self._outbox.set_vote(Vote(self._term, message.sender))
            self._poll = None
            self._rest()
        self._outbox.send(
            VoteReply(to=message.sender, sender=self.node, term=self._term, granted=granted)
        )

    def _on_vote_reply(self, message: VoteReply) -> None:
        poll = self._poll
        if poll is None or poll.is_pre:
            return
        poll.count(message.sender, granted=message.granted)
        if poll.is_won:
            self._lead()
        elif poll.is_lost:
            self._poll = None

    def _on_timeout_now(self, message: TimeoutNow) -> None:
        if self._leading is None and self._may_stand():
            self._rest()
            self._stand(transfer=True)

    def _lead(self) -> None:
        self._poll = None
        self._set_leader(self.node)
        self._leading = Leader(
            self.node, self._options, log=self._log, outbox=self._outbox, now_s=self._now_s
        )
        self._leading.tick(self._now_s)

    # --- leading ----------------------------------------------------------------------------------

    def _commit(self) -> None:
        """Commit what a quorum has, and what follows from it for the members."""
        leading, log = self._leading, self._log
        if leading is None or not leading.commit() or log.members_index > log.committed:
            return
        if log.members.is_joint:
            self._append_change(leading, encode_change(left(log.members), b""))
        elif self.node not in log.members.voters:
            self._follow(self._term, NOBODY)

    def _on_append_reply(self, message: AppendReply) -> None:
        if self._leading:
            self._leading.answered(message)
            self._commit()

    def _on_snapshot_reply(self, message: SnapshotReply) -> None:
        if self._leading:
            self._leading.snapshot_answered(message)
            self._commit()

    def _on_read_ask(self, message: ReadAsk) -> None:
        leading = self._leading
        if leading and not leading.reads.is_full:
            leading.reads.add((message.sender, message.token))
        else:
            self._outbox.send(
                ReadReply(
                    to=message.sender,
                    sender=self.node,
                    term=self._term,
                    token=message.token,
                    index=0,
                )
            )

    # --- following --------------------------------------------------------------------------------

    def _heard(self, leader: NodeId) -> None:
        """There is one leader in a term, and it has spoken."""
        assert self._leading is None, "two leaders of one term"
        if self._poll or leader != self._leader:
            self._follow(self._term, leader)
            self._rest()
        self._heard_s = self._now_s
        self._due_s = self._now_s + self._wait_s

    def _on_append(self, message: Append) -> None:
        self._heard(message.sender)
        self._following.append(message)

    def _on_chunk(self, message: SnapshotChunk) -> None:
        self._heard(message.sender)
        self._following.chunk(message)

    def chunk_kept(self, now_s: float, mark: SnapshotMark, next_at: int) -> None:
        """All of an incoming snapshot up to byte `next_at` is durable."""
        self._clock(now_s)
        self._following.chunk_kept(mark, next_at, leader=self._leader)

    def installed(self, now_s: float, mark: SnapshotMark) -> None:
        """The snapshot, its mark and a log that begins behind it are durable."""
        self._clock(now_s)
        self._following.installed(mark, leader=self._leader)
        self._given = self._applied = mark.index

    def _on_read_reply(self, message: ReadReply) -> None:
        token = self._asks.answered(message.token)
        if token is not None:
            self._outbox.reads.append(ReadAt(token, message.index or None))
