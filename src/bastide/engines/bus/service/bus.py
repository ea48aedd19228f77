"""One client's bus: what it publishes, and what it hears."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from bastide.base import faults
from bastide.base.errors import Unavailable
from bastide.base.events import Consume, Event, EventTopic, name_of
from bastide.base.rt import runtime
from bastide.base.tx import Tx, Value
from bastide.engines.bus.contract import (
    EVENT_BYTES_MAX,
    KEY_BYTES_MAX,
    WITHIN_S,
    Calls,
    EventRefused,
    Handler,
    TooMuchWaiting,
)
from bastide.engines.bus.core.envelopes import journalled, packed
from bastide.engines.bus.model import Heard, Outlet, Settings
from bastide.engines.bus.service.consumer import Consumer
from bastide.engines.bus.service.drain import Drain
from bastide.engines.bus.service.journal import Journal
from bastide.engines.bus.service.letters import DeadLetters
from bastide.engines.bus.service.outbox import Outbox
from bastide.engines.bus.service.post import Post
from bastide.engines.bus.tables import OUTBOX_ADD
from bastide.engines.log.contract import Log, OffsetGone, TopicMissing
from bastide.engines.sql.contract import Database

RETRY_AFTER_S = 1.0
PREPARE_S = 2.0
LOOK_S = 0.02  # at the group's offsets, if it is another process that moves them

_encode = msgspec.json.Encoder().encode


class ClientBus:
    """`contract.Bus`."""

    def __init__(
        self,
        client: str,
        topics: Sequence[EventTopic],
        db: Database,
        log: Log,
        journal: Journal,
        settings: Settings,
        *,
        exclusive: bool,
    ) -> None:
        self.client = client
        self.topics = topics
        self.consumers: dict[str, Consumer] = {}
        lags = runtime.current().metrics.histogram(
            "bastide_bus_relay_seconds", "From an event to the log.", client=client
        )
        self._post = Post(log, topics, kept_ms=settings.kept_ms, lags=lags)
        self.outbox = Outbox(
            client, db, self._post, exclusive=exclusive, waiting_max=settings.waiting_max
        )
        self.drain = Drain(client, db, journal, self._post)
        self.letters = DeadLetters(client, db, log, self.consumers)
        self._db = db
        self._log = log
        self._journal = journal
        self._settings = settings
        self._names: Mapping[type[Event], tuple[str, str]] = {
            event: (topic.name, name_of(event)) for topic in topics for event in topic.events
        }

    async def prepare(self) -> None:
        """Its topics are there, before who hears them makes them otherwise: with one partition. If
        the log is away, they are made with the first event.
        """
        with suppress(TimeoutError, Unavailable):
            async with asyncio.timeout(PREPARE_S):
                for topic in self.topics:
                    await self._post.make(topic.name)

    # --- publishing -----------------------------------------------------------------------------

    async def publish(self, tx: Tx, topic: EventTopic, *events: Event) -> None:
        if self.outbox.is_full:
            told = f"{self.outbox.waiting} events wait in the outbox (waiting_max)"
            raise TooMuchWaiting(told, retry_after_s=RETRY_AFTER_S)
        rows: list[Mapping[str, Value]] = []
        for event in events:
            key, waiting = self._packed(topic, event)
            rows.append({"topic": topic.name, "key": key, "event": waiting})
        await tx.run_many(OUTBOX_ADD, rows)
        faults.point("bus.published")
        self.outbox.published(len(rows))

    def record(self, topic: EventTopic, event: Event) -> int:
        self.drain.check()
        key, waiting = self._packed(topic, event)
        return self._journal.append(journalled(topic.name, key, waiting))

    async def synced(self, place: int) -> None:
        await self._journal.synced(place)

    def _packed(self, topic: EventTopic, event: Event) -> tuple[str, bytes]:
        """Its key, and the event as it waits."""
        known = self._names.get(type(event))
        if known is None or known[0] != topic.name:
            told = f"{type(event).__name__} is not published in {topic.name} by {self.client}"
            raise EventRefused(told)
        try:
            key, data = event.key, _encode(event)
            key_bytes = key.encode()
        except (UnicodeEncodeError, OverflowError) as error:  # half a surrogate pair; over 64 bits
            raise EventRefused(f"an event that is no JSON: {error}") from error
        if len(data) > EVENT_BYTES_MAX:
            raise EventRefused(f"an event of {len(data)} bytes; {EVENT_BYTES_MAX} are taken")
        if len(key_bytes) > KEY_BYTES_MAX:
            raise EventRefused(f"a key of {len(key_bytes)} bytes; {KEY_BYTES_MAX} are taken")
        if "\0" in key:
            raise EventRefused("a key with a NUL, which no database takes for text")
        return key, packed(known[1], runtime.now_ms(), data)

    # --- hearing --------------------------------------------------------------------------------

    def subscribe(self, row: Consume) -> Consumer:
        """What hears `row`; nothing is heard yet."""
        found = self.consumers.get(row.group)
        if found is None:
            found = self.consumers[row.group] = Consumer(
                self.client, row, self._db, self._log, self._settings, self.outbox.published
            )
        return found

    async def consume(self, row: Consume, handler: Handler | None, calls: Calls | None) -> None:
        consumer = self.subscribe(row)
        consumer.handler, consumer.calls = handler, calls
        await consumer.run()

    async def settled(self, topic: EventTopic, group: str, *, within_s: float = WITHIN_S) -> bool:
        consumer = self.consumers.get(group)
        if consumer is None:
            return False
        try:
            async with asyncio.timeout(within_s):
                journalled = self.drain.until(self._journal.next)
                if not all(await asyncio.gather(journalled, self.outbox.until_sent())):
                    return False
                await self._heard(topic.name, consumer)
        except (TimeoutError, Unavailable):
            return False
        return True

    async def _heard(self, topic: str, consumer: Consumer) -> None:
        """Returns when the group has all that is in the topic now."""
        try:
            ends = await self._log.ends(topic)
        except TopicMissing:
            return
        await consumer.identify()
        for partition, end in enumerate(ends):
            while not await self._is_through(topic, partition, end.next, consumer):
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await consumer.moved()

    async def _is_through(self, topic: str, partition: int, end: int, consumer: Consumer) -> bool:
        at = await consumer.reads_on_at(partition)
        if at is None:
            return end == 0
        if at >= end:
            return True
        try:
            unread = await self._log.read(topic, partition, at, bytes_max=1)
        except OffsetGone:  # before the group has seen that
            return False
        return not unread  # but marks of transactions

    # --- for the operator -----------------------------------------------------------------------

    async def health(self) -> None:
        self.drain.check()
        self._journal.check()
        for error in (self.outbox.error, self.drain.error):
            if error:
                raise Unavailable(f"events of {self.client} don't leave: {error}")
        for consumer in self.consumers.values():
            if consumer.error:
                raise Unavailable(f"{consumer.group} hears nothing: {consumer.error}")

    def outlet(self) -> Outlet:
        return Outlet(
            client=self.client,
            waiting=self.outbox.waiting,
            unrelayed=self.drain.unrelayed,
            journal_bytes=self._journal.size,
            relayed=self._post.sent,
            error=self.outbox.error or self.drain.error,
        )

    async def heard(self) -> Sequence[Heard]:
        """How far each group is."""
        return [await self._heard_by(consumer) for consumer in self.consumers.values()]

    async def _heard_by(self, consumer: Consumer) -> Heard:
        lag: int | None = 0
        try:
            await consumer.identify()
            ends = await self._log.ends(consumer.row.topic.name)
            for partition, end in enumerate(ends):
                at = await consumer.reads_on_at(partition)
                lag = (lag or 0) + end.next - (end.first if at is None else min(at, end.next))
        except TopicMissing:
            lag = 0
        except Unavailable:
            lag = None
        return Heard(
            client=self.client,
            group=consumer.row.group,
            topic=consumer.row.topic.name,
            handled=consumer.handled,
            repeated=consumer.repeated,
            dead=consumer.dead,
            lag=lag,
            error=consumer.error,
        )
