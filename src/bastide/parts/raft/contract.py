"""What the nodes of a group say to one another, and what a node's core and its host say.

    host (effects)                                         core (pure)
      tick(now), step(now, message), propose, read, ...  ──►
      ◄── ready(): messages, what to write, what to apply, which reads may be answered
      written(...), applied(...), installed(...)         ──►

The core does no I/O and knows no clock: times are handed in, in seconds of the host's own monotonic
clock, and chance is an object that it is given. The host writes and syncs, sends, applies.

    Refusal
     ├── Invalid      OptionInvalid, PayloadTooLarge
     ├── NotFound     SessionGone
     ├── Conflict     ChangeRefused
     ├── Limited      ProposalsOver, ReadsOver
     └── Unavailable  NotLeader, LeadershipLost, GroupFailed

Source: Ongaro, "Consensus: bridging theory and practice" (2014), called "the thesis" here, and
Ongaro and Ousterhout, "In search of an understandable consensus algorithm" (extended version).
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from bastide.base.errors import Conflict, Gone, Invalid, Limited, TooLarge, Unavailable

PAYLOAD_BYTES_MAX = 2 << 20
"""One entry's."""
APPEND_BYTES_MAX = 1 << 20
"""The payloads of one Append together; a single entry may always go."""
APPEND_ENTRIES_MAX = 4_096
APPENDS_OUT_MAX = 64
"""Appends to one follower that are not answered yet."""
PROPOSED_BYTES_MAX = 64 << 20
"""Payloads that a leader holds and that are not committed yet."""
PROPOSED_MAX = 65_536
COMMITTED_BYTES_MAX = 4 << 20
"""The payloads that one Ready hands out to be applied; a single entry may always go."""
READS_MAX = 65_536
"""Reads that wait for a leader's confirmation."""
MEMBERS_MAX = 15
GROUPS_MAX = 10_000
SESSIONS_MAX = 4_096
REPLIES_MAX = 64
"""Of one session that are remembered."""
REPLIES_BYTES_MAX = 64 << 10
"""The same, together; the newest always is."""
CHUNK_BYTES_MAX = 1 << 20
KEPT_BEHIND_MAX = 1 << 20
NODE_MAX = (1 << 63) - 1

NodeId = int
"""1 to NODE_MAX. A node that lost its disk comes back under another number."""
NOBODY: NodeId = 0

Kind = Literal["follower", "candidate", "leader", "learner"]


# --- errors ---------------------------------------------------------------------------------------


class OptionInvalid(Invalid):
    pass


class PayloadTooLarge(TooLarge):
    """More than PAYLOAD_BYTES_MAX."""


class ChangeRefused(Conflict):
    """A change of members: another one is under way, or it would change nothing, or a majority
    would be gone at once.
    """


class SessionGone(Gone):
    """The session was the least recently used of too many, or what is asked of it is longer ago
    than it remembers. Nothing was done now; whether it was done before is not known any more.
    """


class ProposalsOver(Limited):
    """More than PROPOSED_MAX or PROPOSED_BYTES_MAX wait for the group; nothing was proposed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after_s=0.1)


class ReadsOver(Limited):
    """More than READS_MAX reads wait already."""

    def __init__(self, reads_max: int) -> None:
        super().__init__(f"{reads_max} reads wait already; no more are taken", retry_after_s=0.1)


class NotLeader(Unavailable):
    """Nothing was done. `leader` is who was last heard of, or NOBODY."""

    def __init__(self, leader: NodeId) -> None:
        super().__init__(f"this node does not lead; {leader or 'nobody known'} does")
        self.facts = {**self.facts, "leader": leader}
        self.leader = leader


class LeadershipLost(Unavailable):
    """The leader fell before it knew: what was proposed may come to be committed, or not."""

    def __init__(self) -> None:
        super().__init__("the leader fell before the entry was committed", outcome="unknown")


class GroupFailed(Unavailable):
    """The node's disk failed; it takes part again when it is opened again."""


# --- members --------------------------------------------------------------------------------------


class Members(msgspec.Struct, frozen=True, array_like=True):
    """Who votes. While `outgoing` is not empty the group is joint (thesis 4.3): an election or a
    commit needs a majority of `voters` and one of `outgoing`. `coming` are outgoing voters that
    become learners when the joint phase ends. All are ascending and without doubles.
    """

    voters: tuple[NodeId, ...]
    outgoing: tuple[NodeId, ...] = ()
    learners: tuple[NodeId, ...] = ()
    coming: tuple[NodeId, ...] = ()

    @property
    def is_joint(self) -> bool:
        return bool(self.outgoing)


class Change(msgspec.Struct, frozen=True, array_like=True):
    """What a group's members shall become. One that adds or removes a single voter, or only
    learners, is made in one entry (thesis 4.1); any other goes through a joint phase, which the
    leader leaves by itself once its beginning is committed. `context` is the host's (an address).
    """

    voters: tuple[NodeId, ...]
    learners: tuple[NodeId, ...] = ()
    context: bytes = b""


# --- what is kept ---------------------------------------------------------------------------------

EntryKind = Literal["payload", "change", "empty"]
"""`empty` is what a new leader writes first (thesis 6.4); `change` has encoded Members in front."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    index: int  # from 1, without gaps
    term: int
    kind: EntryKind
    payload: bytes


class Vote(msgspec.Struct, frozen=True, array_like=True):
    """Durable before any message of this term goes out (figure 2: persistent state)."""

    term: int = 0
    voted_for: NodeId = NOBODY


class SnapshotMark(msgspec.Struct, frozen=True, array_like=True):
    """A snapshot stands for all entries up to `index`."""

    index: int
    term: int
    members: Members
    bytes_count: int = 0  # of the snapshot's file


class Durable(msgspec.Struct, frozen=True):
    """What a node found on its disk. `entries` follow on `mark.index` without a gap."""

    vote: Vote
    mark: SnapshotMark
    entries: Sequence[Entry] = ()


# --- messages -------------------------------------------------------------------------------------


class Message(msgspec.Struct, frozen=True, array_like=True, tag_field="kind", kw_only=True):
    """`term` is the sender's; of a PreVote and its granted reply the one that it would have."""

    to: NodeId
    sender: NodeId
    term: int


class PreVote(Message, frozen=True, kw_only=True, tag="pre_vote"):
    """Would you vote for me (thesis 9.6)? It changes nothing at either."""

    last_index: int
    last_term: int


class PreVoteReply(Message, frozen=True, kw_only=True, tag="pre_voted"):
    granted: bool


class RequestVote(Message, frozen=True, kw_only=True, tag="vote"):
    """`transfer`: the leader asked for it, so that a lease does not stand against it."""

    last_index: int
    last_term: int
    transfer: bool = False


class VoteReply(Message, frozen=True, kw_only=True, tag="voted"):
    granted: bool


class Append(Message, frozen=True, kw_only=True, tag="append"):
    """Entries, or none: then it is a heartbeat. `round` is echoed: what was sent before the echo
    was asked for by a leader that then still led (ReadIndex, leases, CheckQuorum).
    """

    previous_index: int
    previous_term: int
    entries: tuple[Entry, ...]
    committed: int
    round: int


class AppendReply(Message, frozen=True, kw_only=True, tag="appended"):
    """`match`: the follower's log equals the leader's up to here, durably. If `rejected`, `match`
    is a hint where it may (thesis 3.6: the last entry of the conflicting term, and that term).
    `previous_index` is the Append's that is answered: rejected, it tells a stale answer; else the
    follower has that entry at least in memory.
    """

    previous_index: int
    match: int
    rejected: bool
    conflict_term: int
    round: int


class SnapshotChunk(Message, frozen=True, kw_only=True, tag="chunk"):
    """`content` begins at byte `at` of the snapshot's file. The sender's host fills it in."""

    mark: SnapshotMark
    at: int
    content: bytes
    round: int


class SnapshotReply(Message, frozen=True, kw_only=True, tag="chunked"):
    """All up to byte `next_at` of the snapshot of `index` is kept; all of it is installed if
    `installed`.
    """

    index: int
    next_at: int
    installed: bool
    round: int


class ReadAsk(Message, frozen=True, kw_only=True, tag="read"):
    """A follower asks the leader up to where it must have applied to answer a read (thesis 6.4)."""

    token: int


class ReadReply(Message, frozen=True, kw_only=True, tag="read_at"):
    """`index` 0: the sender does not lead, ask again."""

    token: int
    index: int


class TimeoutNow(Message, frozen=True, kw_only=True, tag="timeout_now"):
    """Begin an election at once (thesis 3.10)."""


class Ask(Message, frozen=True, kw_only=True, tag="ask"):
    """From host to host, beside the group: a core never sees it. See transport/calls.py."""

    token: int
    payload: bytes


class Answer(Message, frozen=True, kw_only=True, tag="answer"):
    """To the Ask of the same token."""

    token: int
    payload: bytes


AnyMessage = (
    PreVote
    | PreVoteReply
    | RequestVote
    | VoteReply
    | Append
    | AppendReply
    | SnapshotChunk
    | SnapshotReply
    | ReadAsk
    | ReadReply
    | TimeoutNow
    | Ask
    | Answer
)


# --- core and host --------------------------------------------------------------------------------


class Options(msgspec.Struct, frozen=True):
    """Times in seconds. A follower waits `election_s` to twice that, drawn anew each time.

    `lease_drift`: how much faster one node's clock may run than another's; a leader's lease lasts
    `election_s * (1 - lease_drift)` from when it sent what a majority has answered (thesis 6.4.1).
    0.0 to 0.5; reads by lease are refused at None.
    """

    election_s: float = 1.0
    heartbeat_s: float = 0.1
    lease_drift: float | None = 0.1
    pre_vote: bool = True
    check_quorum: bool = True
    append_bytes_max: int = APPEND_BYTES_MAX
    appends_out_max: int = APPENDS_OUT_MAX
    proposed_bytes_max: int = PROPOSED_BYTES_MAX
    proposed_max: int = PROPOSED_MAX
    reads_max: int = READS_MAX
    chunk_bytes: int = 256 << 10
    kept_behind: int = 5_000  # entries kept in memory behind a snapshot, for who is a bit late

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_s * 2 <= self.election_s:
            raise OptionInvalid(
                f"election_s is {self.election_s} and heartbeat_s {self.heartbeat_s}; "
                "at least two heartbeats in an election's time are needed"
            )
        if self.lease_drift is not None and not 0 <= self.lease_drift <= 0.5:
            raise OptionInvalid(f"lease_drift is {self.lease_drift}; 0 to 0.5 is taken")
        for name, (least, most) in _BOUNDS.items():
            if not least <= getattr(self, name) <= most:
                raise OptionInvalid(f"{name} is {getattr(self, name)}; {least} to {most} is taken")


_BOUNDS = {
    "append_bytes_max": (1, APPEND_BYTES_MAX),
    "appends_out_max": (1, APPENDS_OUT_MAX),
    "proposed_bytes_max": (1, PROPOSED_BYTES_MAX),
    "proposed_max": (1, PROPOSED_MAX),
    "reads_max": (1, READS_MAX),
    "chunk_bytes": (1, CHUNK_BYTES_MAX),
    "kept_behind": (0, KEPT_BEHIND_MAX),
}


class ChunkWanted(msgspec.Struct, frozen=True):
    """Send `to` bytes `at` to `end` of the snapshot of `mark`, as a SnapshotChunk of `term` and
    `round`. A transfer goes on with the snapshot that it began with, so the host keeps its file as
    long as Status names it (`snapshot_index`), also when a newer one is there.
    """

    to: NodeId
    mark: SnapshotMark
    at: int
    end: int
    term: int
    round: int


class ChunkGiven(msgspec.Struct, frozen=True):
    """Keep `content` at byte `at` of an incoming snapshot, durably, then call `chunk_kept`. If
    `is_last`, install it instead: the state machine, the mark and the log that begins behind it,
    durable together; then call `installed`.
    """

    mark: SnapshotMark
    at: int
    content: bytes
    is_last: bool


class ReadAt(msgspec.Struct, frozen=True):
    """The read of `token` may be answered once `index` is applied. None: ask again."""

    token: int
    index: int | None


class Ready(msgspec.Struct, frozen=True):
    """What the host does, in this order. One write is out at a time: `ready` may be called before
    `written` was, and hands out nothing to write and no `messages_later` meanwhile.

    1. `messages` may go at once, before anything is written: a leader's Appends go out while its
       own disk still syncs (thesis 10.2.1).
    2. Write `vote` if not None, cut the log behind `entries[0].index - 1` if it has more, write
       `entries`, sync. Then `messages_later` may go, and if it `must_sync` call
       `written(now, last index, its term)`, once. If not, they may go at once.
    3. Apply `committed` in order, then call `applied(index)`. They may be applied before they are
       written here, since a majority has them; never before they were handed out as committed.
    4. Answer `reads` once their index is applied.
    5. Do what `chunks_wanted` and `chunks_given` ask for.

    A proposal is known by its index and term: applied with that term it was taken; once another
    term's entry is applied there it never will be.
    """

    messages: Sequence[AnyMessage] = ()
    vote: Vote | None = None
    entries: Sequence[Entry] = ()
    messages_later: Sequence[AnyMessage] = ()
    committed: Sequence[Entry] = ()
    reads: Sequence[ReadAt] = ()
    chunks_wanted: Sequence[ChunkWanted] = ()
    chunks_given: Sequence[ChunkGiven] = ()

    @property
    def must_sync(self) -> bool:
        return self.vote is not None or bool(self.entries)


class Follower(msgspec.Struct, frozen=True):
    """How far a leader knows one of the others to be."""

    node: NodeId
    match: int
    is_active: bool  # heard within election_s
    is_probing: bool
    snapshot_index: int  # 0: none is on its way


class Status(msgspec.Struct, frozen=True):
    node: NodeId
    kind: Kind
    term: int
    leader: NodeId
    last_index: int
    committed: int
    applied: int
    first_index: int
    members: Members
    followers: Sequence[Follower] = ()
