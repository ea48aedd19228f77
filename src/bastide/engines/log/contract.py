"""The log: records in topics, kept in order, read by as many as like, as often as they like.

    Refusal
     ├── Invalid      TopicRefused, PartitionRefused, GroupRefused, RecordRefused, FenceMissing
     │    └── RecordTooLarge
     ├── Denied       TopicOfAnother
     ├── NotFound     TopicMissing, GroupMissing, OffsetAhead
     │    └── Gone    OffsetGone
     ├── Conflict     TopicExists, GroupInUse, MemberDeposed, Deposed (base.fence)
     ├── Limited      TooMuchPending, FencesOver (base.fence)
     └── Unavailable  LogAway

A topic's name is global, and begins with the system that appends to it: `shortener.clicks`. All may
read it. A topic is made when it is first used, with one partition, unless it was created before.
Order holds within a partition; records of one key share one.

A group reads a topic together: each of its members has partitions of its own, and each partition
one member. Who leaves, or is silent for long, loses them to the others: a rebalance. Every
rebalance raises the group's generation, and what a deposed member commits is refused.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

import msgspec

from bastide.base.errors import (
    Conflict,
    Denied,
    Gone,
    Invalid,
    Limited,
    NotFound,
    TooLarge,
    Unavailable,
)
from bastide.base.fence import Fence

TOPIC_BYTES_MAX = 249  # of its name: letters, digits, `.`, `_` and `-`
GROUP_BYTES_MAX = 255
PARTITIONS_MAX = 1_000  # of a topic
TOPICS_MAX = 10_000
RECORD_BYTES_MAX = 1 << 20  # of key, value and headers together
APPEND_RECORDS_MAX = 10_000  # of one append
READ_BYTES_MAX = 8 << 20
WAIT_S_MAX = 60.0  # of a read that finds nothing
SESSION_S = 10.0  # of silence, after which a member is taken for gone

Start = Literal["first", "end"]


class TopicRefused(Invalid):
    """A name that is none, or too many partitions or topics."""


class PartitionRefused(Invalid):
    """The topic has no such partition."""


class GroupRefused(Invalid):
    """A name that is none."""


class RecordRefused(Invalid):
    """A header's name has a NUL in it, which Kafka's clients in C end it at."""


class FenceMissing(Invalid):
    """The log behind this URL keeps no fences, so that it can't refuse a deposed writer."""


class RecordTooLarge(TooLarge):
    """A record is larger than RECORD_BYTES_MAX, or there are more than APPEND_RECORDS_MAX."""


class TopicOfAnother(Denied):
    """Only the system that a topic is named after appends to it."""


class TopicMissing(NotFound):
    pass


class GroupMissing(NotFound):
    pass


class OffsetAhead(NotFound):
    """`next` is what the partition's next record gets."""

    def __init__(self, offset: int, next_offset: int) -> None:
        super().__init__(f"offset {offset} is ahead of the end at {next_offset}", next=next_offset)
        self.next = next_offset


class OffsetGone(Gone):
    """Retention has dropped it; `first` is the first that is kept."""

    def __init__(self, offset: int, first: int) -> None:
        super().__init__(f"offset {offset} is gone; the first kept is {first}", first=first)
        self.first = first


class TopicExists(Conflict):
    pass


class GroupInUse(Conflict):
    """It has members, who alone move its offsets."""


class MemberDeposed(Conflict):
    """The group has rebalanced, or this member was silent for too long: its partitions are
    somebody else's. Enter the group anew.
    """


class TooMuchPending(Limited):
    """More is appended than the disk takes."""


class LogAway(Unavailable):
    """The log did not answer within its time-out, or its disk refuses. With `outcome` unknown, what
    was appended may be there.
    """


class Record(msgspec.Struct, frozen=True):
    """What is appended. `value` None, with a key, says that the key is gone (a tombstone)."""

    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()


class Entry(msgspec.Struct, frozen=True):
    """A record at its place. `stamp_ms` is when it was appended, as who appended it says."""

    topic: str
    partition: int
    offset: int
    stamp_ms: int
    record: Record


class Place(msgspec.Struct, frozen=True, order=True):
    """Where a record is, or is to be read from."""

    topic: str
    partition: int
    offset: int


class Topic(msgspec.Struct, frozen=True):
    """`kept_ms` and `kept_bytes` (of a partition): what is older, or more, may be dropped, oldest
    first; None: nothing is.
    """

    name: str
    partitions: int = 1
    kept_ms: int | None = 7 * 24 * 3600 * 1000
    kept_bytes: int | None = None


class Ends(msgspec.Struct, frozen=True):
    """Of a partition: the first offset that is kept, what the next record gets, bytes in all; 0
    where they are not told (`kafka://`).
    """

    first: int
    next: int
    bytes: int


class Lag(msgspec.Struct, frozen=True):
    """How far a group is in a partition. `committed` None: it has committed nothing there."""

    topic: str
    partition: int
    committed: int | None
    next: int


class Group(msgspec.Struct, frozen=True):
    """`members` by id: the partitions that each has. `generation` -1: it is not told
    (`kafka://`).
    """

    name: str
    state: Literal["empty", "rebalancing", "stable"]
    generation: int
    members: Mapping[str, Sequence[tuple[str, int]]]


class Member(Protocol):
    """One reader of a group, for one task."""

    @property
    def generation(self) -> int:
        """Of the group, as this member knows it: who keeps offsets of its own keeps it beside them,
        and refuses a lower one.
        """
        ...

    @property
    def partitions(self) -> Sequence[tuple[str, int]]:
        """Topic and partition of each that this member has now."""
        ...

    async def poll(self, *, entries_max: int = 500, wait_s: float = 1.0) -> Sequence[Entry]:
        """The next entries of its partitions; empty if none came within `wait_s`.

        In order within a partition. Reading goes on behind what was given, whether or not it was
        committed. A rebalance happens in here: then it goes on from what the group has committed.

        Who was silent for longer than its session is taken for gone; it comes back here by itself.

        Raises:
            LogAway
        """
        ...

    async def commit(self, places: Sequence[Place]) -> None:
        """The group has dealt with all below these offsets. Durable when it returns.

        Raises:
            MemberDeposed: one of them is not this member's any more; nothing is kept.
            LogAway
        """
        ...

    def seek(self, place: Place) -> None:
        """The next `poll` reads from there. Only of a partition that it has."""
        ...


class Log(Protocol):
    async def append(
        self,
        topic: str,
        records: Sequence[Record],
        *,
        partition: int | None = None,
        fence: Fence | None = None,
    ) -> Sequence[Place]:
        """Where each record is. Durable when it returns, all or none of those of one partition; on
        `kafka://` some may be there of an append of several that ended with `outcome` unknown.

        Records with a key go where Kafka's clients put them (murmur2 of the key), others to a
        partition of their own choosing, all to the same; or all to `partition`. Appends that wait
        at once share a sync.

        With a `fence` nothing is appended once a newer token of it was seen by this log, in
        whatever topic: that is durable before the first record under the newer one is.

        Raises:
            TopicRefused, PartitionRefused, RecordRefused, RecordTooLarge, TopicOfAnother
            TooMuchPending, LogAway
            Deposed: a newer token was seen; nothing was appended.
            FencesOver; FenceMissing: `kafka://` keeps no fences.
        """
        ...

    async def read(
        self,
        topic: str,
        partition: int,
        offset: int,
        *,
        bytes_max: int = 1 << 20,
        wait_s: float = 0.0,
    ) -> Sequence[Entry]:
        """Entries from `offset` on, in order: one at least if there is any, then while they are
        together at most `bytes_max`. Empty: nothing came within `wait_s`.

        What a transaction has not committed is not given, nor what is behind it; nor what a power
        cut could take: an offset that was read is never given to another record.

        Raises:
            TopicMissing, PartitionRefused, OffsetGone, OffsetAhead, LogAway
        """
        ...

    async def offset_at(self, topic: str, partition: int, stamp_ms: int) -> int:
        """The first offset of a record appended at `stamp_ms` or later; the end, if there is none.

        Raises:
            TopicMissing, PartitionRefused, LogAway
        """
        ...

    async def ends(self, topic: str) -> Sequence[Ends]:
        """Of each partition, in order.

        Raises:
            TopicMissing, LogAway
        """
        ...

    async def create(self, topic: Topic) -> None:
        """
        Raises:
            TopicRefused, TopicExists, TopicOfAnother, LogAway
        """
        ...

    async def topics(self) -> Sequence[Topic]:
        """By name."""
        ...

    def member(
        self,
        group: str,
        topics: Sequence[str],
        *,
        start: Start = "first",
        session_s: float = SESSION_S,
    ) -> AbstractAsyncContextManager[Member]:
        """Enters a group, and leaves it. `start`: where it reads a partition of which the group has
        committed nothing.

        Raises:
            GroupRefused, TopicRefused, LogAway
        """
        ...

    async def groups(self) -> Sequence[Group]:
        """By name."""
        ...

    async def lag(self, group: str) -> Sequence[Lag]:
        """By topic and partition, of all where it has committed or has members."""
        ...

    async def identity(self) -> str:
        """Names this log, of all that there are: the same after a restart, another one once its
        directory was emptied. Who keeps offsets elsewhere keeps this beside them; those of another
        log mean nothing here. Durable when it returns; up to 64 letters, digits, `-` and `_`.

        Raises:
            LogAway
        """
        ...

    async def health(self) -> None:
        """
        Raises:
            LogAway
        """
        ...
