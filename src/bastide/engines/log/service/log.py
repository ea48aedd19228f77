"""The broker as a system of the town sees it: `contract.Log`."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar

import msgspec

from bastide.base.errors import Limited, TooLarge, Unavailable
from bastide.base.fence import Fence
from bastide.base.rt import runtime
from bastide.engines.log.contract import (
    READ_BYTES_MAX,
    SESSION_S,
    WAIT_S_MAX,
    Ends,
    Entry,
    Group,
    Lag,
    LogAway,
    MemberDeposed,
    OffsetAhead,
    OffsetGone,
    Place,
    Record,
    RecordTooLarge,
    Start,
    TooMuchPending,
    Topic,
)
from bastide.engines.log.core.assignment import ranges
from bastide.engines.log.core.batches import Header, entries_of, header_of, made
from bastide.engines.log.core.codes import Code
from bastide.engines.log.core.groups.messages import Claim, Described, Join, Leaving, State, Sync
from bastide.engines.log.core.producers import Aborted
from bastide.engines.log.service.checks import (
    check_member,
    check_own,
    check_records,
    fitting,
    shares_of,
)
from bastide.engines.log.service.groups import Committed
from bastide.engines.log.service.node import Node
from bastide.engines.log.service.partition import Partition

PROTOCOL = "town"  # of members that are systems of a town; Kafka's clients are "consumer"
BATCH_BYTES_MAX = 1 << 20
READS_MAX = 4  # of a partition, each of BATCH_BYTES_MAX, for one poll
RETRY_AFTER_S = 0.1
BEATS_A_SESSION = 3
BEAT_MAX_S = 1.0
STATES: Mapping[State, Literal["empty", "rebalancing", "stable"]] = {
    State.EMPTY: "empty",
    State.STABLE: "stable",
}

T = TypeVar("T")
Assigned = Sequence[tuple[str, int]]


class View:
    """For the system `client`."""

    def __init__(self, node: Node, client: str) -> None:
        self._node = node
        self._broker = node.broker
        self._client = client
        self._turn = 0

    # --- records --------------------------------------------------------------------------------

    async def append(
        self,
        topic: str,
        records: Sequence[Record],
        *,
        partition: int | None = None,
        fence: Fence | None = None,
    ) -> Sequence[Place]:
        check_own(self._client, topic)
        check_records(records)
        count = (await self._broker.ensure(topic)).partitions
        self._turn += partition is None
        shares = shares_of(records, count, partition=partition, turn=self._turn)
        opened = {number: await self._broker.partition(topic, number) for number in shares}
        if fence is not None:
            await self._broker.fences.admit(fence)
            self._broker.fences.check(fence)
        bases = {}
        for number, share in shares.items():  # nobody else comes in between: one look is enough
            bases[number] = _begin(opened[number], share)
        places: dict[int, Place] = {}
        for number, share in shares.items():
            places |= await _ended(opened[number], bases[number], share)
        return [places[n] for n in range(len(records))]

    async def read(
        self,
        topic: str,
        partition: int,
        offset: int,
        *,
        bytes_max: int = 1 << 20,
        wait_s: float = 0.0,
    ) -> Sequence[Entry]:
        opened = await self._broker.partition(topic, partition)
        bytes_max = min(bytes_max, READ_BYTES_MAX)
        until_s = runtime.monotonic() + min(wait_s, WAIT_S_MAX)
        while True:
            found = entries_at(opened, offset, bytes_max=bytes_max, durable=True)
            if found.entries:
                return fitting(found.entries, bytes_max)
            if found.next > offset:
                offset = found.next
                await asyncio.sleep(0)
                continue
            left_s = until_s - runtime.monotonic()
            if left_s <= 0:
                return ()
            await news_of([(opened, offset)], left_s, durable=True)

    async def offset_at(self, topic: str, partition: int, stamp_ms: int) -> int:
        opened = await self._broker.partition(topic, partition)
        found = await opened.place_at(stamp_ms)
        end = opened.durable()
        return end if found is None else min(found[0], end)

    async def ends(self, topic: str) -> Sequence[Ends]:
        return [Ends(p.first, p.durable(), p.size) for p in await self._broker.partitions(topic)]

    # --- topics ---------------------------------------------------------------------------------

    async def create(self, topic: Topic) -> None:
        check_own(self._client, topic.name)
        await self._broker.create(topic)

    async def topics(self) -> Sequence[Topic]:
        return list(self._broker.topics.values())

    # --- groups ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def member(
        self,
        group: str,
        topics: Sequence[str],
        *,
        start: Start = "first",
        session_s: float = SESSION_S,
    ) -> AsyncIterator["GroupMember"]:
        check_member(group, topics)
        made = GroupMember(self._node, group, topics, start=start, session_s=session_s)
        try:
            await made.enter()
            yield made
        finally:
            await made.leave()

    async def groups(self) -> Sequence[Group]:
        groups = self._node.groups
        return [_shown(name, groups.described(name)) for name in groups.names()]

    async def lag(self, group: str) -> Sequence[Lag]:
        committed = self._node.groups.committed(group)
        shown = _shown(group, self._node.groups.described(group))
        places = {*committed, *(p for has in shown.members.values() for p in has)}
        found = []
        for topic, number in sorted(places):
            if self._broker.has(topic, number):
                opened = await self._broker.partition(topic, number)
                known = committed.get((topic, number))
                found.append(Lag(topic, number, known.offset if known else None, opened.durable()))
        return found

    async def identity(self) -> str:
        return self._broker.cluster_id

    async def health(self) -> None:
        self._broker.check()


class GroupMember:
    """`contract.Member`. Its heartbeats go on by themselves while it is polled often enough."""

    def __init__(
        self, node: Node, group: str, topics: Sequence[str], *, start: Start, session_s: float
    ) -> None:
        self._node = node
        self._group = group
        self._topics = list(topics)
        self._start = start
        self._session_s = session_s
        self._id = ""
        self._generation = -1
        self._assigned: Assigned = ()
        self._offsets: dict[tuple[str, int], int] = {}
        self._held: dict[tuple[str, int], There] = {}
        self._counts: Sequence[int] = ()  # partitions of its topics when it joined
        self._first = 0  # the partition that is read first at the next poll
        self._rejoins = False
        self._polled_s = runtime.monotonic()
        self._beating: asyncio.Task[None] | None = None

    @property
    def generation(self) -> int:
        return self._generation

    @property
    def partitions(self) -> Sequence[tuple[str, int]]:
        return self._assigned

    async def enter(self) -> None:
        for topic in self._topics:
            await self._node.broker.ensure(topic)
        await self._join()
        self._beating = asyncio.create_task(self._beat())

    async def leave(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        if self._id:
            self._node.groups.leave(self._group, [Leaving(member_id=self._id)])

    async def poll(self, *, entries_max: int = 500, wait_s: float = 1.0) -> Sequence[Entry]:
        until_s = runtime.monotonic() + wait_s
        while True:
            self._polled_s = runtime.monotonic()
            if self._rejoins or self._counts != self._counts_now():
                await self._join()
            found = await self._read(entries_max)
            if found is None:
                await asyncio.sleep(0)
                continue
            left_s = until_s - runtime.monotonic()
            if found or left_s <= 0:
                return found
            opened = [
                (await self._node.broker.partition(*place), self._offsets[place])
                for place in self._assigned
                if self._node.broker.has(*place)
            ]
            seconds = min(left_s, self._session_s / BEATS_A_SESSION)
            await news_of(opened, seconds, durable=True)

    async def commit(self, places: Sequence[Place]) -> None:
        for place in places:
            if (place.topic, place.partition) not in self._assigned:
                raise MemberDeposed(f"{place.topic} {place.partition} is somebody else's")
        code = self._node.groups.fence(self._group, self._claim())
        if code != Code.NONE:
            self._rejoins = True
            raise MemberDeposed(f"the group has gone on without this member: {code.name}")
        rows = {(p.topic, p.partition): Committed(p.offset) for p in places}
        try:
            await self._node.groups.kept(self._node.groups.commit(self._group, rows))
        except Unavailable as error:
            raise LogAway(str(error), outcome="unknown") from error

    def seek(self, place: Place) -> None:
        assert (place.topic, place.partition) in self._assigned
        self._offsets[place.topic, place.partition] = place.offset

    async def _read(self, entries_max: int) -> Sequence[Entry] | None:
        """From the partitions in turns, so that none waits for the others. None: what was aborted
        was passed over, and there may be more.
        """
        found: list[Entry] = []
        passed = False
        count = len(self._assigned)
        for n in range(count):
            place = self._assigned[(self._first + n) % count]
            if not self._node.broker.has(*place):  # deleted: the next poll joins anew
                continue
            opened = await self._node.broker.partition(*place)
            for _ in range(READS_MAX):
                offset = self._offsets[place]
                found += self._taken(opened, offset, entries_max - len(found))
                if offset == self._offsets[place] or len(found) >= entries_max:
                    break
            passed = passed or offset != self._offsets[place]
            if len(found) >= entries_max:
                break
        self._first = (self._first + 1) % max(1, count)
        return None if passed and not found else found

    def _taken(self, opened: Partition, offset: int, entries_max: int) -> Sequence[Entry]:
        """Some entries from `offset` on; its place is then behind them."""
        place = (opened.topic, opened.number)
        try:
            there = self._there(opened, offset)
        except OffsetGone as gone:
            self._offsets[place] = gone.first
            return ()
        except OffsetAhead as ahead:  # a power cut took what was read, and was not synced
            self._offsets[place] = ahead.next
            return ()
        if left := there.entries[entries_max:]:
            self._held[place] = There(left, there.next)
        self._offsets[place] = left[0].offset if left else there.next
        return there.entries[:entries_max]

    def _there(self, opened: Partition, offset: int) -> "There":
        """What was read before and not given yet, if it is that; a batch is not read twice."""
        held = self._held.pop((opened.topic, opened.number), None)
        if held is not None and held.entries[0].offset == offset:
            return held
        return entries_at(opened, offset, bytes_max=BATCH_BYTES_MAX, durable=True)

    async def _join(self) -> None:
        """Until it has its share of a generation."""
        groups = self._node.groups
        while True:
            self._rejoins, self._counts = False, self._counts_now()
            asked = Join(
                member_id=self._id,
                new_id=groups.new_member_id("town"),
                session_s=self._session_s,
                rebalance_s=self._session_s,
                protocol_type=PROTOCOL,
                protocols=[("range", msgspec.msgpack.encode((self._topics, self._counts)))],
                client_id="town",
            )
            try:
                joined = await _available(groups.join(self._group, asked))
            except LogAway:  # it may be a member all the same, whom the others would wait for
                groups.leave(self._group, [Leaving(member_id=self._id or asked.new_id)])
                self._id = ""
                raise
            if joined.code == Code.UNKNOWN_MEMBER_ID:
                self._id = ""
                continue
            self._id = joined.member_id
            if joined.code != Code.NONE:
                raise LogAway(f"the group does not take this member: {joined.code.name}")
            wanted = {one.member_id: _decoded(one.metadata) for one in joined.roster}
            claim = Sync(
                member_id=self._id,
                generation=joined.generation,
                assignments=self._shares(wanted),
            )
            synced = await _available(groups.sync(self._group, claim))
            if synced.code == Code.NONE:
                break
        self._generation = joined.generation
        self._assigned = [(str(t), int(n)) for t, n in msgspec.msgpack.decode(synced.assignment)]
        await self._place()

    def _counts_now(self) -> Sequence[int]:
        """Part of what it joins with: so whoever sees a change has all share anew."""
        return [self._node.broker.count(topic) for topic in self._topics]

    def _shares(self, wanted: Mapping[str, Sequence[str]]) -> Mapping[str, bytes]:
        broker = self._node.broker
        counts = {name: topic.partitions for name, topic in broker.topics.items()}
        return {m: msgspec.msgpack.encode(has) for m, has in ranges(wanted, counts).items()}

    async def _place(self) -> None:
        """Where each of its partitions is read from."""
        self._offsets, self._held = {}, {}
        for topic, number in self._assigned:
            if not self._node.broker.has(topic, number):
                continue
            committed = self._node.groups.committed_at(self._group, topic, number)
            opened = await self._node.broker.partition(topic, number)
            if committed is not None:
                self._offsets[topic, number] = committed.offset
            else:
                at_end = self._start == "end"
                self._offsets[topic, number] = opened.next if at_end else opened.first

    async def _beat(self) -> None:
        """While it is polled: who does not ask for long is taken for gone. And it hears of a
        rebalance by this.
        """
        while True:
            await asyncio.sleep(min(self._session_s / BEATS_A_SESSION, BEAT_MAX_S))
            if runtime.monotonic() - self._polled_s > self._session_s:
                self._rejoins = True
                continue
            code = self._node.groups.heartbeat(self._group, self._claim())
            if code != Code.NONE:
                self._rejoins = True

    def _claim(self) -> Claim:
        return Claim(member_id=self._id, generation=self._generation)


def _begin(partition: Partition, share: Sequence[tuple[int, Record]]) -> int:
    """The offset of the first of them; nothing is durable yet."""
    batch = made([record for _, record in share], now_ms=runtime.now_ms())
    try:
        return partition.append(batch, header_of(batch))
    except TooLarge as error:
        raise RecordTooLarge(str(error)) from error
    except Limited as error:
        raise TooMuchPending(str(error), retry_after_s=RETRY_AFTER_S) from error
    except Unavailable as error:
        raise LogAway(str(error)) from error


async def _ended(
    partition: Partition, base: int, share: Sequence[tuple[int, Record]]
) -> Mapping[int, Place]:
    """Where each of them is, durable."""
    try:
        await partition.synced(base + len(share) - 1)
    except Unavailable as error:
        raise LogAway(str(error), outcome="unknown") from error
    topic, number = partition.topic, partition.number
    return {n: Place(topic, number, base + at) for at, (n, _) in enumerate(share)}


class There(msgspec.Struct, frozen=True):
    """`next` is where reading goes on: what lies before it, and is not among the entries, was
    aborted, or is a marker.
    """

    entries: Sequence[Entry]
    next: int


def entries_at(
    partition: Partition, offset: int, *, bytes_max: int, durable: bool = False
) -> There:
    """What is committed from `offset` on, without what was aborted."""
    stretch = partition.read(offset, bytes_max=bytes_max, committed=True, durable=durable)
    found: list[Entry] = []
    next_ = offset
    for batch in stretch.batches:
        header = header_of(batch)
        next_ = header.base_offset + header.offset_count
        if header.is_control or (header.is_transactional and _is_aborted(header, stretch.aborted)):
            continue
        for at, stamp_ms, record in entries_of(batch, from_offset=offset):
            found.append(Entry(partition.topic, partition.number, at, stamp_ms, record))
    return There(found, next_)


def _is_aborted(header: Header, aborted: Sequence[Aborted]) -> bool:
    return any(
        gone.producer_id == header.producer_id
        and gone.first_offset <= header.base_offset < gone.last_offset
        for gone in aborted
    )


async def news_of(
    places: Sequence[tuple[Partition, int]], seconds: float, *, durable: bool = False
) -> None:
    """Until there may be something to read at one of these places, but no longer than `seconds`."""
    if not places:
        await asyncio.sleep(seconds)
        return
    tasks = [
        asyncio.ensure_future(one.news(offset, committed=True, durable=durable))
        for one, offset in places
    ]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _available(asked: Coroutine[Any, Any, T]) -> T:
    try:
        return await asked
    except Unavailable as error:
        raise LogAway(str(error)) from error


def _decoded(metadata: bytes) -> Sequence[str]:
    topics, _ = msgspec.msgpack.decode(metadata, type=tuple[list[str], list[int]])
    return topics


def _shown(name: str, found: Described) -> Group:
    members: dict[str, Assigned] = {}
    for one in found.members:
        rows = []
        if found.protocol_type == PROTOCOL and one.assignment:
            rows = msgspec.msgpack.decode(one.assignment, type=list[tuple[str, int]])
        members[one.member_id] = rows
    state: Literal["empty", "rebalancing", "stable"] = STATES.get(found.state, "rebalancing")
    return Group(name, state, found.generation, members)
