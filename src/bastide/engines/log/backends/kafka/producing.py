"""Appends: one idempotent producer for all, acks=all.

    append ──produce()──► librdkafka's queue ──batches──► Kafka's replicas
       ▲                                                       │
       └──one wake-up of the loop for all that came── poll() ◄─┘   (a thread)

Idempotence: Kafka drops what is sent again after a lost answer, and keeps the order. Records of one
append mostly travel in one batch, but nothing sees to it: of one that is not acknowledged, some may
be there. What waits is counted here, so that librdkafka's own limit never cuts an append in two.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from threading import Event, Lock, Thread

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from bastide.base.rt import runtime
from bastide.engines.log.backends.kafka.client import (
    BATCH_BYTES_MAX,
    GRACE_S,
    Cluster,
    answered,
    away,
    error_of,
)
from bastide.engines.log.contract import LogAway, Place, Record, RecordTooLarge, TooMuchPending
from bastide.engines.log.service.checks import size_of

Share = Sequence[
    tuple[int, Record]
]  # of one partition: records, each with its number in the append

POLL_S = 0.1
LINGER_MS = 1
RETRY_AFTER_S = 0.1
RECORD_COST_BYTES = 200  # what a record takes in memory beside its bytes
BREATH_RECORDS = 1_000  # handed over in one turn of the loop
NEVER = (1 << 31) - 1  # librdkafka's limits, which ours come before
TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}
# After these nothing of the record is there.
REFUSALS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.INVALID_RECORD,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
}


class Pending:
    """An append on its way. The polling thread notes places, and the first error."""

    def __init__(self, topic: str, count: int, size: int) -> None:
        self.topic = topic
        self.size = size
        self.count = self.left = count
        self.places: list[Place | None] = [None] * count
        self.error: KafkaError | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Appends:
    """One for all systems of the town."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._line: Line | None = None
        self._pending_bytes = 0
        self._entering = asyncio.Lock()  # so that each append keeps together

    async def append(self, topic: str, shares: Mapping[int, Share]) -> Sequence[Place]:
        """Where each record is, once all have all replicas that are in sync.

        Raises:
            RecordTooLarge, TooMuchPending, LogAway
        """
        records = [record for share in shares.values() for _, record in share]
        size = sum(size_of(record) + RECORD_COST_BYTES for record in records)
        most = self._cluster.options.pending_mb << 20
        if self._pending_bytes and self._pending_bytes + size > most:
            told = f"{self._pending_bytes} bytes wait for Kafka; at most {most} may"
            raise TooMuchPending(told, retry_after_s=RETRY_AFTER_S)
        self._pending_bytes += size
        pending = Pending(topic, len(records), size)
        async with self._entering:
            await self._enter(pending, shares)
        within_s = self._cluster.options.timeout_s + GRACE_S
        await answered(pending.done, within_s, "unknown")
        if pending.error is not None:
            raise _refusal(pending.error)
        return [place for place in pending.places if place is not None]

    async def close(self) -> None:
        """What is still on its way has its time to arrive."""
        if self._line is not None:
            await self._line.close(self._cluster.options.timeout_s + GRACE_S)

    async def _enter(self, pending: Pending, shares: Mapping[int, Share]) -> None:
        if self._line is None or self._line.is_broken:
            self._line = Line(self._cluster, self._settle)
        line, now_ms, entered = self._line, runtime.now_ms(), 0
        try:
            for number, share in shares.items():
                for n, record in share:
                    line.enter(pending, n, record, number, now_ms)
                    entered += 1
                    if entered % BREATH_RECORDS == 0:
                        await asyncio.sleep(0)
        except KafkaException as error:
            line.give_up(pending, pending.count - entered, error_of(error))
        except BaseException:
            line.give_up(pending, pending.count - entered, None)
            raise

    def _settle(self, settled: Sequence[Pending]) -> None:
        for pending in settled:
            self._pending_bytes -= pending.size
            if not pending.done.done():  # or who waited has gone
                pending.done.set_result(None)


class Line:
    """A producer, and the thread that hears what became of its records."""

    def __init__(self, cluster: Cluster, settle: Callable[[Sequence[Pending]], None]) -> None:
        within_ms = round(cluster.options.timeout_s * 1000)
        self.is_broken = False  # by what librdkafka calls fatal: it takes nothing more
        self._producer = Producer(
            cluster.config(
                enable_idempotence=True,
                acks="all",
                linger_ms=LINGER_MS,
                message_timeout_ms=within_ms,
                request_timeout_ms=within_ms,
                message_max_bytes=BATCH_BYTES_MAX,
                queue_buffering_max_messages=0,  # no limit but ours
                queue_buffering_max_kbytes=NEVER,
            )
        )
        self._settle = settle
        self._loop = asyncio.get_running_loop()
        self._settled: list[Pending] = []
        self._counting = Lock()
        self._closing = Event()
        self._thread = Thread(target=self._poll, name="kafka-appends", daemon=True)
        self._thread.start()

    def enter(
        self, pending: Pending, n: int, record: Record, partition: int, stamp_ms: int
    ) -> None:
        """
        Raises:
            KafkaException
        """
        self._producer.produce(
            pending.topic,
            record.value,
            record.key,
            partition,
            on_delivery=partial(self._told, pending, n),
            timestamp=stamp_ms,
            headers=list(record.headers),
        )

    def give_up(self, pending: Pending, count: int, error: KafkaError | None) -> None:
        """So many of its records were not entered."""
        with self._counting:
            pending.error = pending.error or error
            self._count(pending, count)

    async def close(self, within_s: float) -> None:
        self._closing.set()
        await asyncio.to_thread(self._thread.join, within_s)

    def _told(self, pending: Pending, n: int, error: KafkaError | None, message: Message) -> None:
        with self._counting:
            if error is None:
                pending.places[n] = Place(pending.topic, message.partition(), message.offset())
            else:
                pending.error = pending.error or error
                self.is_broken = self.is_broken or error.fatal()
            self._count(pending, 1)

    def _count(self, pending: Pending, count: int) -> None:
        pending.left -= count
        if pending.left == 0:
            self._settled.append(pending)

    def _poll(self) -> None:
        while not (self._closing.is_set() or self.is_broken) or len(self._producer):
            self._producer.poll(POLL_S)
            with self._counting:
                settled, self._settled = self._settled, []
            if settled:
                with suppress(RuntimeError):  # the loop was closed: nobody waits
                    self._loop.call_soon_threadsafe(self._settle, settled)


def _refusal(error: KafkaError) -> RecordTooLarge | LogAway:
    if error.code() in TOO_LARGE:
        return RecordTooLarge(f"Kafka takes no record as large: {error.str()}")
    return away(error, "none" if error.code() in REFUSALS else "unknown")
