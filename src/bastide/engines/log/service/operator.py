"""What whoever runs the town sees of the log, and does to it: for our own doors and pages.

Topics of the town's systems are read here, and not appended to; offsets are moved only while nobody
reads, for a member would move them back.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from bastide.base.errors import Unavailable
from bastide.base.rt import runtime
from bastide.engines.log.contract import (
    READ_BYTES_MAX,
    Ends,
    Entry,
    GroupInUse,
    GroupMissing,
    LogAway,
    OffsetAhead,
    OffsetGone,
    PartitionRefused,
    Place,
    Record,
    Topic,
    TopicOfAnother,
)
from bastide.engines.log.core.assigned import assigned
from bastide.engines.log.core.codes import Code
from bastide.engines.log.core.groups.messages import DescribedMember, State
from bastide.engines.log.service.groups import Committed
from bastide.engines.log.service.lags import Lags
from bastide.engines.log.service.log import PROTOCOL, STATES, View, entries_at, news_of
from bastide.engines.log.service.node import Node
from bastide.engines.log.service.partition import Partition

READ_BYTES = 256 << 10  # looked at in one turn of the loop
TAIL_PAUSE_S = 15.0  # after which a tail looks whether its topic is still there
CONSUMERS = "consumer"  # the protocol type of Kafka's own

To = Literal["first", "end"] | int
States = Literal["empty", "rebalancing", "stable"]


class Serving(Protocol):
    """A backend that stands on a broker of ours: what our doors are bound to."""

    @property
    def node(self) -> Node: ...

    @property
    def lags(self) -> Lags: ...


class TopicSeen(msgspec.Struct, frozen=True):
    """`of_the_town`: only the system that it is named after appends to it."""

    topic: Topic
    ends: Sequence[Ends]
    of_the_town: bool

    @property
    def records(self) -> int:
        """Offsets that are kept; a few of them are of transactions' ends."""
        return sum(one.next - one.first for one in self.ends)

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.ends)


class Progress(msgspec.Struct, frozen=True):
    """How far a group is in a partition, whose records are from `first` to before `next`."""

    topic: str
    partition: int
    committed: int | None
    first: int
    next: int

    @property
    def lag(self) -> int:
        """Offsets that it has before it."""
        return self.next - max(self.first, self.committed or 0)


class MemberSeen(msgspec.Struct, frozen=True):
    id: str
    client: str
    host: str
    partitions: Sequence[tuple[str, int]]


class GroupSeen(msgspec.Struct, frozen=True):
    name: str
    state: States
    generation: int
    members: Sequence[MemberSeen]
    progress: Sequence[Progress]

    @property
    def lag(self) -> int:
        return sum(one.lag for one in self.progress)

    def member_of(self, topic: str, partition: int) -> MemberSeen | None:
        """Who reads it now."""
        return next((m for m in self.members if (topic, partition) in m.partitions), None)


class Found(msgspec.Struct, frozen=True):
    """`next`: the offset to go on at."""

    entries: Sequence[Entry]
    next: int
    ends: Ends


class Operator:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._broker = node.broker

    # --- topics ---------------------------------------------------------------------------------

    async def topics(self, *, after: str = "", limit: int) -> Sequence[TopicSeen]:
        """By name, behind `after`."""
        names = [name for name in self._broker.topics if name > after][:limit]
        return [await self.topic(name) for name in names]

    async def topic(self, name: str) -> TopicSeen:
        """
        Raises:
            TopicMissing, LogAway
        """
        topic = self._broker.topic(name)
        numbers = range(topic.partitions)
        ends = [_ends(await self._partition(name, number)) for number in numbers]
        return TopicSeen(topic, ends, self._node.is_of_the_town(name))

    async def ends(self, topic: str, number: int) -> Ends:
        """Of one partition. Raises TopicMissing, PartitionRefused, LogAway."""
        return _ends(await self._partition(topic, number))

    async def append(
        self, topic: str, records: Sequence[Record], *, partition: int | None = None
    ) -> Sequence[Place]:
        """As `contract.Log.append`, to any topic that is not of a system of the town."""
        if self._node.is_of_the_town(topic):
            owner = topic.partition(".")[0]
            raise TopicOfAnother(f"{topic} is appended to by {owner} alone")
        if partition is None and all(record.key is None for record in records):
            known = self._broker.has(topic, 0)
            count = (self._broker.topic(topic) if known else self._broker.settings).partitions
            partition = runtime.current().chance.random.randrange(count)
        view = View(self._node, topic.partition(".")[0])  # who may append there
        return await view.append(topic, records, partition=partition)

    # --- records --------------------------------------------------------------------------------

    async def read(self, topic: str, number: int, offset: int, *, limit: int) -> Found:
        """Entries from `offset` on: what is committed, at most `limit` of them, and one or at most
        READ_BYTES_MAX together.

        Raises:
            TopicMissing, PartitionRefused, OffsetGone, OffsetAhead, LogAway
        """
        partition = await self._partition(topic, number)
        entries: list[Entry] = []
        left = READ_BYTES_MAX
        while True:
            there = entries_at(partition, offset, bytes_max=READ_BYTES)
            for entry in there.entries:
                left -= _size(entry)
                if len(entries) == limit or (left < 0 and entries):
                    return Found(entries, entry.offset, _ends(partition))
                entries.append(entry)
            if there.next == offset:
                return Found(entries, offset, _ends(partition))
            offset = there.next
            await asyncio.sleep(0)

    async def newest(self, topic: str, numbers: Sequence[int], *, limit: int) -> Sequence[Entry]:
        """The last of some partitions together, the newest first."""
        found: list[Entry] = []
        for number in numbers:
            partition = await self._partition(topic, number)
            offset = max(partition.first, partition.stable - limit)
            found += (await self.read(topic, number, offset, limit=limit)).entries
        return sorted(found, key=_newness, reverse=True)[:limit]

    async def tail(self, topic: str, number: int | None, start: To) -> AsyncGenerator[Entry, None]:
        """Entries as they come, of one partition or of all, until the topic is deleted.

        Raises:
            TopicMissing, PartitionRefused, OffsetGone, OffsetAhead, LogAway
        """
        places = await self.places(topic, number, start)
        return self._tail(topic, places)

    async def _tail(self, topic: str, places: Mapping[int, int]) -> AsyncGenerator[Entry, None]:
        offsets = dict(places)
        while self._broker.has(topic, max(offsets)):
            moved = False
            opened = [(await self._partition(topic, n), offset) for n, offset in offsets.items()]
            for partition, offset in opened:
                try:
                    there = entries_at(partition, offset, bytes_max=READ_BYTES)
                except OffsetGone as gone:
                    offsets[partition.number] = gone.first
                    continue
                for entry in there.entries:
                    yield entry
                offsets[partition.number] = there.next
                moved = moved or there.next > offset
            if not moved:
                await news_of([(p, offsets[p.number]) for p, _ in opened], TAIL_PAUSE_S)

    async def places(self, topic: str, number: int | None, to: To) -> Mapping[int, int]:
        """Where `to` is, in one partition or in all of a topic: offsets by partition.

        Raises:
            TopicMissing, PartitionRefused, OffsetGone, OffsetAhead, LogAway
        """
        count = self._broker.topic(topic).partitions
        if number is None and count > 1 and isinstance(to, int):
            raise PartitionRefused(
                f"{topic} has {count} partitions: say of which {to} is an offset"
            )
        if number is None:
            numbers: Sequence[int] = range(count)
        else:
            numbers = [number]
        return {n: _place(await self._partition(topic, n), to) for n in numbers}

    # --- groups ---------------------------------------------------------------------------------

    async def groups(self, *, after: str = "", limit: int) -> Sequence[GroupSeen]:
        """By name, behind `after`."""
        names = [name for name in self._node.groups.names() if name > after][:limit]
        return [await self.group(name) for name in names]

    async def group(self, name: str) -> GroupSeen:
        """
        Raises:
            GroupMissing, LogAway
        """
        described = self._node.groups.described(name)
        if described.state == State.DEAD:
            raise GroupMissing(f"there is no group {name[:100]!r}")
        members = [_member(one, described.protocol_type) for one in described.members]
        state: States = STATES.get(described.state, "rebalancing")
        progress = await self._progress(name, members)
        return GroupSeen(name, state, described.generation, members, progress)

    async def _progress(self, name: str, members: Sequence[MemberSeen]) -> Sequence[Progress]:
        committed = self._node.groups.committed(name)
        found = []
        for topic, number in sorted({*committed, *(p for m in members for p in m.partitions)}):
            if self._broker.has(topic, number):
                partition = await self._partition(topic, number)
                known = committed.get((topic, number))
                offset = known.offset if known else None
                found.append(Progress(topic, number, offset, partition.first, partition.next))
        return found

    async def reset(self, group: str, topic: str, number: int | None, to: To) -> None:
        """The group goes on there, in one partition or in all of a topic. Durable when it returns.

        Raises:
            GroupMissing, GroupInUse
            TopicMissing, PartitionRefused, OffsetGone, OffsetAhead, LogAway
        """
        self._check_idle(group)
        places = await self.places(topic, number, to)
        self._check_idle(group)  # one may have come meanwhile
        rows = {(topic, n): Committed(offset) for n, offset in places.items()}
        groups = self._node.groups
        try:
            await groups.kept(groups.commit(group, rows))
        except Unavailable as error:
            raise LogAway(str(error), outcome="unknown") from error

    async def forget(self, group: str, topic: str, number: int | None) -> None:
        """The group has committed nothing in a topic, or in one partition of it.

        Raises:
            GroupMissing, GroupInUse, LogAway
        """
        self._check_idle(group)
        groups = self._node.groups
        known = [place for place in groups.committed(group) if place[0] == topic]
        try:
            await groups.forget(group, [p for p in known if number in (None, p[1])])
        except Unavailable as error:
            raise LogAway(str(error), outcome="unknown") from error

    async def delete_group(self, name: str) -> None:
        """With all that it has committed; also if it was not there.

        Raises:
            GroupInUse, LogAway
        """
        try:
            code = await self._node.groups.delete(name)
        except Unavailable as error:
            raise LogAway(str(error), outcome="unknown") from error
        if code == Code.NON_EMPTY_GROUP:
            raise _in_use(name)

    def _check_idle(self, name: str) -> None:
        described = self._node.groups.described(name)
        if described.state == State.DEAD:
            raise GroupMissing(f"there is no group {name[:100]!r}")
        if described.members:
            raise _in_use(name)

    async def _partition(self, topic: str, number: int) -> Partition:
        try:
            return await self._broker.partition(topic, number)
        except Unavailable as error:
            raise LogAway(str(error)) from error


def _in_use(name: str) -> GroupInUse:
    return GroupInUse(f"group {name[:100]!r} has members: stop them first")


def _ends(partition: Partition) -> Ends:
    return Ends(partition.first, partition.next, partition.size)


def _size(entry: Entry) -> int:
    record = entry.record
    headers = sum(len(name) + len(value) for name, value in record.headers)
    return len(record.value or b"") + len(record.key or b"") + headers


def _newness(entry: Entry) -> tuple[int, int, int]:
    return entry.stamp_ms, entry.partition, entry.offset


def _place(partition: Partition, to: To) -> int:
    match to:
        case "first":
            return partition.first
        case "end":
            return partition.next
    if to < partition.first:
        raise OffsetGone(to, partition.first)
    if to > partition.next:
        raise OffsetAhead(to, partition.next)
    return to


def _member(member: DescribedMember, protocol_type: str) -> MemberSeen:
    partitions: Sequence[tuple[str, int]] = ()
    if protocol_type == PROTOCOL and member.assignment:
        partitions = msgspec.msgpack.decode(member.assignment, type=list[tuple[str, int]])
    elif protocol_type == CONSUMERS:
        partitions = assigned(member.assignment)
    host = member.host.removeprefix("/")
    return MemberSeen(member.member_id, member.client_id, host, partitions)
