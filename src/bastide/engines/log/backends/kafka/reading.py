"""Reads at any offset, by a few consumers that belong to no group.

A consumer that has just read a partition is kept at its place: who goes on reading finds the next
records fetched already. Who reads elsewhere has a new one made, until there are READERS_MAX; then
one that rests is moved. If none rests it waits: who waits for records holds one for a while only.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from confluent_kafka import Consumer, KafkaError, Message
from confluent_kafka import TopicPartition as At

from bastide.base.rt import runtime
from bastide.engines.log.backends.kafka.client import (
    GRACE_S,
    Cluster,
    Worker,
    answered,
)
from bastide.engines.log.backends.kafka.topics import Spot, Topics
from bastide.engines.log.contract import (
    READ_BYTES_MAX,
    WAIT_S_MAX,
    Entry,
    LogAway,
    OffsetAhead,
    OffsetGone,
    Record,
    TopicMissing,
)
from bastide.engines.log.service.checks import size_of

READERS_MAX = 8
TURN_S = 0.25  # of one who waits for records; also how long a cancelled read holds its reader
TAKEN_MAX = 500  # messages, in one call
FETCHED_KB_MAX = 16 << 10  # that a consumer has fetched before it was asked
FETCH_WAIT_MS = 100  # that Kafka holds a fetch: what else is asked on a connection waits for it


class Reads:
    def __init__(self, cluster: Cluster, topics: Topics) -> None:
        self._cluster = cluster
        self._topics = topics
        self._resting: deque[Reader] = deque()
        self._readers: list[Reader] = []
        self._free = asyncio.Semaphore(READERS_MAX)

    async def read(
        self, spot: Spot, offset: int, *, bytes_max: int, wait_s: float
    ) -> Sequence[Entry]:
        """As `contract.Log.read`."""
        await self._topics.check(*spot)
        bytes_max = min(bytes_max, READ_BYTES_MAX)
        until_s = runtime.monotonic() + min(wait_s, WAIT_S_MAX)
        if found := await self._fetched(spot, offset, bytes_max):
            return found
        end = await self._end(spot, offset)
        while True:
            left_s = until_s - runtime.monotonic()
            if offset >= end and left_s <= 0:
                return ()
            async with self._reader(spot, offset) as reader:
                await reader.seek(spot, offset)
                if offset < end:
                    found = await self._there(reader, bytes_max, end)
                    offset = max(offset, min(end, reader.passed))
                else:
                    found = await reader.take(bytes_max, min(left_s, TURN_S))
                lost = reader.is_lost
            if found:
                return found
            if lost:  # retention has passed it, or the topic has gone
                end = await self._end(spot, offset)

    async def close(self) -> None:
        await asyncio.gather(*(reader.close() for reader in self._readers))

    async def _fetched(self, spot: Spot, offset: int, bytes_max: int) -> Sequence[Entry]:
        """What a reader that is there already has, without asking Kafka."""
        if not any(reader.is_at(spot, offset) for reader in self._resting):
            return ()
        async with self._reader(spot, offset) as reader:
            return await reader.take(bytes_max, 0) if reader.is_at(spot, offset) else ()

    async def _end(self, spot: Spot, offset: int) -> int:
        """Below it is what a read can give now.

        Raises:
            OffsetGone, OffsetAhead, TopicMissing, LogAway
        """
        topics = self._topics
        first, end = await asyncio.gather(
            topics.firsts([spot]), topics.nexts([spot], committed=True)
        )
        if spot not in first or spot not in end:
            topics.forget(spot[0])
            raise TopicMissing(f"there is no topic {spot[0]}")
        if offset < first[spot]:
            raise OffsetGone(offset, first[spot])
        if offset > end[spot]:
            next_ = (await topics.nexts([spot]))[spot]
            if offset > next_:
                raise OffsetAhead(offset, next_)
        return end[spot]

    async def _there(self, reader: "Reader", bytes_max: int, end: int) -> Sequence[Entry]:
        """What is there for sure, unless all of it was aborted."""
        until_s = runtime.monotonic() + self._cluster.options.timeout_s
        while reader.passed < end and not reader.is_lost:
            if found := await reader.take(bytes_max, TURN_S):
                return found
            if runtime.monotonic() > until_s:
                raise LogAway(f"Kafka gave nothing within {self._cluster.options.timeout_s} s")
        return ()

    @asynccontextmanager
    async def _reader(self, spot: Spot, offset: int) -> AsyncIterator["Reader"]:
        """The one that is there already, if there is one."""
        async with self._free:
            reader = self._picked(spot, offset)
            try:
                yield reader
            finally:
                self._resting.append(reader)

    def _picked(self, spot: Spot, offset: int) -> "Reader":
        for reader in self._resting:
            if reader.is_at(spot, offset):
                self._resting.remove(reader)
                return reader
        if len(self._readers) < READERS_MAX:
            reader = Reader(self._cluster)
            self._readers.append(reader)
            return reader
        return self._resting.popleft()  # which has rested for longest


class Reader:
    """A consumer of one partition at a time."""

    def __init__(self, cluster: Cluster) -> None:
        self._within_s = cluster.options.timeout_s + GRACE_S
        self._worker = Worker("kafka-read")
        self._consumer = Consumer(
            cluster.config(
                group_id="bastide-reads",  # it enters none, and commits nothing
                enable_auto_commit=False,
                enable_auto_offset_store=False,
                enable_partition_eof=True,
                auto_offset_reset="error",
                isolation_level="read_committed",
                allow_auto_create_topics=False,
                fetch_wait_max_ms=FETCH_WAIT_MS,
                queued_max_messages_kbytes=FETCHED_KB_MAX,
            )
        )
        self._spot: Spot | None = None
        self._next = 0  # what is given next
        self._buffer: deque[Entry] = deque()
        self.passed = 0  # all below was given, or was aborted

    def is_at(self, spot: Spot, offset: int) -> bool:
        return self._spot == spot and self._next == offset

    @property
    def is_lost(self) -> bool:
        """What it reads is not there any more, or not for it."""
        return self._spot is None

    async def seek(self, spot: Spot, offset: int) -> None:
        """
        Raises:
            LogAway
        """
        if self.is_at(spot, offset):
            return
        self._spot = None
        await answered(self._worker.run(lambda: self._move(spot, offset)), self._within_s)
        self._spot, self._next = spot, offset

    async def take(self, bytes_max: int, wait_s: float) -> Sequence[Entry]:
        """The next entries; empty if none came within `wait_s`.

        Raises:
            LogAway
        """
        await answered(self._worker.run(lambda: self._fill(bytes_max, wait_s)), self._within_s)
        found: list[Entry] = []
        size = 0
        while self._buffer:
            size += size_of(self._buffer[0].record)
            if found and size > bytes_max:
                break
            found.append(self._buffer.popleft())
            self._next = found[-1].offset + 1
        self.passed = max(self.passed, self._next) if found else self.passed
        return found

    async def close(self) -> None:
        with suppress(LogAway):
            await answered(self._worker.run(self._consumer.close), self._within_s)
        self._worker.stop()

    # --- in the worker's thread -----------------------------------------------------------------

    def _move(self, spot: Spot, offset: int) -> None:
        self._buffer.clear()
        self.passed = offset
        self._consumer.assign([At(*spot, offset)])

    def _fill(self, bytes_max: int, wait_s: float) -> None:
        held = sum(size_of(entry.record) for entry in self._buffer)
        if held >= bytes_max:
            return
        if self._buffer:
            wait_s = 0
        first = self._consumer.poll(wait_s)
        messages = [] if first is None else [first, *self._consumer.consume(TAKEN_MAX, 0)]
        for message in messages:
            self._note(message)

    def _note(self, message: Message) -> None:
        error = message.error()
        if error is None:
            self._buffer.append(entry_of(message))
        elif error.code() == KafkaError._PARTITION_EOF:
            self.passed = message.offset()
        else:
            self._spot = None


def entry_of(message: Message) -> Entry:
    headers = tuple((name, value or b"") for name, value in message.headers() or ())
    return Entry(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        Record(message.value(), message.key(), headers),
    )
