"""A member of a group: a consumer that is polled when its reader polls, and only then.

librdkafka's heartbeats go on by themselves; who does not poll for a session leaves the group. Where
a partition is read from is decided here, when it is assigned, and not by `auto.offset.reset`: what
is gone is skipped, and what is ahead of the end waits there, whichever end a group begins at.
"""

import struct
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as At

from bastide.base.rt import runtime
from bastide.engines.log.backends.kafka.client import (
    GRACE_S,
    Cluster,
    Outcome,
    Worker,
    answered,
    check_each,
    code_of,
    error_of,
)
from bastide.engines.log.backends.kafka.reading import FETCH_WAIT_MS, FETCHED_KB_MAX, entry_of
from bastide.engines.log.backends.kafka.topics import Spot
from bastide.engines.log.contract import Entry, LogAway, MemberDeposed, Place, Start

T = TypeVar("T")

TURN_S = 0.25  # of a poll that waits; also how long a cancelled one goes on
TAKEN_MAX = 500
OFFSET_MAX = 1 << 62
SESSION_S_MIN, SESSION_S_MAX = 0.1, 1_800.0
BEATS_A_SESSION = 3
MARK = b"CGMDv2:"  # before the generation, in what librdkafka tells of a member
NO_GENERATION = -1
DEPOSED = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._STATE,
    KafkaError._ASSIGNMENT_LOST,
}
PASSING = {
    KafkaError._MAX_POLL_EXCEEDED,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._PARTITION_EOF,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
}


class GroupMember:
    """`contract.Member`."""

    def __init__(
        self, cluster: Cluster, group: str, topics: Sequence[str], *, start: Start, session_s: float
    ) -> None:
        if not SESSION_S_MIN <= session_s <= SESSION_S_MAX:
            taken = f"{SESSION_S_MIN} to {SESSION_S_MAX} are taken, if Kafka is set so"
            raise LogAway(f"a session of {session_s} s; {taken}")
        self._timeout_s = cluster.options.timeout_s
        self._session_s = session_s
        self._topics = list(topics)
        self._start = start
        self._worker = Worker("kafka-member")
        self._assigned: Sequence[Spot] = ()
        self._generation = NO_GENERATION
        self._buffer: deque[Entry] = deque()
        self._next: dict[Spot, int] = {}  # behind what was taken, of each partition
        self._sought: dict[Spot, int] = {}
        self._is_placed = True
        self._is_away = False  # all brokers were, when it was last heard of
        session_ms = round(session_s * 1000)
        self._consumer = Consumer(
            cluster.config(
                group_id=group,
                error_cb=self._heard,
                session_timeout_ms=session_ms,
                max_poll_interval_ms=session_ms,
                heartbeat_interval_ms=max(1, session_ms // BEATS_A_SESSION),
                partition_assignment_strategy="range",
                enable_auto_commit=False,
                enable_auto_offset_store=False,
                auto_offset_reset="error",
                isolation_level="read_committed",
                allow_auto_create_topics=False,
                fetch_wait_max_ms=FETCH_WAIT_MS,
                queued_max_messages_kbytes=FETCHED_KB_MAX,
            )
        )

    @property
    def generation(self) -> int:
        return self._generation

    @property
    def partitions(self) -> Sequence[Spot]:
        return self._assigned

    async def enter(self) -> None:
        """
        Raises:
            LogAway: or it was not let in, though all others have had the time to join anew.
        """
        await self._run(self._subscribe, self._timeout_s)
        until_s = runtime.monotonic() + self._timeout_s + 2 * self._session_s
        while self._generation == NO_GENERATION or not self._is_placed:
            await self._fill(1, TURN_S)
            if runtime.monotonic() > until_s:
                raise LogAway("Kafka has not let this member into its group in time")

    async def leave(self) -> None:
        with suppress(LogAway):
            await self._run(self._consumer.close, self._timeout_s)
        self._worker.stop()

    async def poll(self, *, entries_max: int = 500, wait_s: float = 1.0) -> Sequence[Entry]:
        until_s = runtime.monotonic() + wait_s
        while True:
            left_s = until_s - runtime.monotonic()
            await self._fill(entries_max, max(0.0, min(left_s, TURN_S)))
            count = min(entries_max, len(self._buffer))
            if count:
                return [self._buffer.popleft() for _ in range(count)]
            if left_s <= 0:
                await self._check_away()
                return ()

    async def commit(self, places: Sequence[Place]) -> None:
        for place in places:
            if (place.topic, place.partition) not in self._assigned:
                raise MemberDeposed(f"{place.topic} {place.partition} is somebody else's")
        if not places:
            return
        wanted = [At(p.topic, p.partition, _in_range(p.offset)) for p in places]
        await self._run(lambda: self._commit(wanted), self._timeout_s, "unknown")

    def seek(self, place: Place) -> None:
        assert (place.topic, place.partition) in self._assigned
        self._sought[place.topic, place.partition] = _in_range(place.offset)

    async def _fill(self, count: int, wait_s: float) -> None:
        """The buffer, with `count` entries at most, if any come within `wait_s`."""
        await self._run(lambda: self._take(count, wait_s), self._timeout_s + wait_s)

    async def _check_away(self) -> None:
        """Nothing has come: is there anybody to send it?

        Raises:
            LogAway
        """
        if self._is_away:
            within_s = self._timeout_s
            await self._run(lambda: self._consumer.list_topics(timeout=within_s), within_s)
            self._is_away = False

    async def _run(self, call: Callable[[], T], within_s: float, outcome: Outcome = "none") -> T:
        return await answered(self._worker.run(call), within_s + GRACE_S, outcome)

    # --- in the worker's thread -----------------------------------------------------------------

    def _subscribe(self) -> None:
        self._consumer.subscribe(
            self._topics, on_assign=self._got, on_revoke=self._lost, on_lost=self._lost
        )

    def _got(self, consumer: Consumer, partitions: Sequence[At]) -> None:
        """Within a poll. Where they are read from is asked for by the next one."""
        self._drop()
        self._assigned = sorted((one.topic, one.partition) for one in partitions)
        self._generation = self._generation_now()
        self._is_placed = False
        consumer.assign([])

    def _lost(self, _: Consumer, __: Sequence[At]) -> None:
        self._drop()

    def _drop(self) -> None:
        self._assigned = ()
        self._is_placed = True
        self._buffer.clear()
        self._sought.clear()
        self._next.clear()

    def _take(self, count: int, wait_s: float) -> None:
        if not self._is_placed:
            self._place()
        self._move()
        first = self._consumer.poll(0 if self._buffer else wait_s)
        room = min(count - len(self._buffer) - 1, TAKEN_MAX)
        more = self._consumer.consume(room, 0) if first is not None and room > 0 else ()
        for message in (first, *more):
            if message is not None:
                self._note(message)

    def _note(self, message: Message) -> None:
        error = message.error()
        if error is None:
            entry = entry_of(message)
            self._buffer.append(entry)
            self._next[entry.topic, entry.partition] = entry.offset + 1
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._is_placed = False  # retention has passed one of them
        elif error.code() not in PASSING:
            raise KafkaException(error)

    def _place(self) -> None:
        """Each at its place, or as near as there is anything."""
        wanted = [At(*spot) for spot in self._assigned if spot not in self._next]
        if wanted:
            found = self._consumer.committed(wanted, timeout=self._timeout_s)
            check_each(found)
            self._next |= {(one.topic, one.partition): one.offset for one in found}
        placed = [self._near(spot, self._next[spot]) for spot in self._assigned]
        self._assign([(spot, offset) for spot, offset in placed if offset is not None])
        self._is_placed = True

    def _near(self, spot: Spot, offset: int) -> tuple[Spot, int | None]:
        """None: it has gone."""
        try:
            first, end = self._consumer.get_watermark_offsets(At(*spot), timeout=self._timeout_s)
        except KafkaException as error:
            if code_of(error) in PASSING - {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}:
                return spot, None
            raise
        if offset < 0:
            return spot, end if self._start == "end" else first
        return spot, min(max(offset, first), end)

    def _move(self) -> None:
        """To where it was sought. What was taken and not given is taken again."""
        sought, self._sought = self._sought, {}
        if not sought:
            return
        for entry in reversed(self._buffer):
            self._next[entry.topic, entry.partition] = entry.offset
        self._buffer.clear()
        self._next.update(sought)
        self._assign([(spot, self._next[spot]) for spot in self._assigned if spot in self._next])

    def _assign(self, placed: Sequence[tuple[Spot, int]]) -> None:
        self._next.update(placed)
        self._consumer.assign([At(*spot, offset) for spot, offset in placed])

    def _commit(self, wanted: Sequence[At]) -> None:
        if self._generation_now() != self._generation:
            raise MemberDeposed("the group has gone on without this member")
        try:
            check_each(self._consumer.commit(offsets=list(wanted), asynchronous=False))
        except KafkaException as error:
            if code_of(error) in DEPOSED:
                told = error_of(error).name()
                raise MemberDeposed(f"the group has gone on without this member: {told}") from error
            raise

    def _generation_now(self) -> int:
        """-1: it is in none."""
        told: bytes = self._consumer.consumer_group_metadata()
        assert told.startswith(MARK), f"librdkafka tells of a member in another way: {told[:8]!r}"
        (generation,) = struct.unpack_from("=i", told, len(MARK))
        return int(generation)

    def _heard(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._is_away = True


def _in_range(offset: int) -> int:
    """Below and above, numbers mean something else to librdkafka, or nothing."""
    return min(max(0, offset), OFFSET_MAX)
