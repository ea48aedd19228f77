"""The front of every pubsub: checks, subscribers, and their cutting.

    publish ──> carrier ── memory or Redis ──> hear ─┬─> pending ──> iterator
                                                     ├─> pending ──> iterator
                                                     └─> full: cut

`hear` never waits, so no publisher and no neighbour does. A subscriber's error is kept behind what
is pending: `late`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bastide.base.errors import Refusal, Unavailable
from bastide.base.rt import runtime
from bastide.engines.pubsub.contract import (
    CHANNEL_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    PENDING_BYTES_MAX,
    PENDING_MAX,
    SUBSCRIBERS_MAX,
    ChannelRefused,
    Message,
    MessageTooLarge,
    PubSubAway,
    SubscriberCut,
    TooManySubscribers,
)
from bastide.engines.pubsub.core import glob
from bastide.engines.pubsub.core.pending import Pending
from bastide.engines.pubsub.model import Carrier, PubSubBackend

RETRY_AFTER_S = 1.0
PENDING = f"more than {PENDING_MAX} messages or {PENDING_BYTES_MAX} bytes"


@asynccontextmanager
async def opened(backend: PubSubBackend, client: str) -> AsyncIterator["Exchange"]:
    """The channels of `client` on `backend`."""
    audience = Audience(client)
    async with backend.carrier(client, audience) as carrier:
        try:
            yield Exchange(carrier, audience)
        finally:
            audience.lose("the town closes")


class Audience:
    """The subscribers of one client in this process: `model.Ears`."""

    def __init__(self, client: str) -> None:
        self._client = client
        self._by_pattern: dict[str, dict[_Subscriber, None]] = {}
        self._count = 0
        self._metrics = runtime.current().metrics
        self._metrics.gauge(
            "bastide_pubsub_subscribers",
            "Subscribers in this process.",
            lambda: self._count,
            client=client,
        )
        self._delivered = self._metrics.counter(
            "bastide_pubsub_deliveries_total", "Messages given to subscribers.", client=client
        )

    def enter(self, pattern: str) -> "_Subscriber":
        try:
            self._check(pattern)
        except Refusal as error:
            self._failed(error)
            raise
        subscriber = _Subscriber(pattern)
        self._by_pattern.setdefault(pattern, {})[subscriber] = None
        self._count += 1
        return subscriber

    def leave(self, subscriber: "_Subscriber") -> bool:
        """Whether nobody is left who listens to its pattern."""
        alike = self._by_pattern[subscriber.pattern]
        del alike[subscriber]
        self._count -= 1
        if not alike:
            del self._by_pattern[subscriber.pattern]
        return not alike

    def end(self, subscriber: "_Subscriber", error: Unavailable) -> None:
        """After what is pending; the first error counts."""
        if subscriber.late is None:
            subscriber.end(error)
            self._failed(error)

    def hear(self, pattern: str, channel: str, value: bytes) -> None:
        message = Message(channel, value)
        given = 0
        for subscriber in self._by_pattern.get(pattern, ()):
            if subscriber.late is not None:
                continue
            if subscriber.give(message):
                given += 1
            else:
                self.end(subscriber, SubscriberCut(f"{PENDING} were pending on {pattern!r}"))
        self._delivered.add(given)

    def lose(self, reason: str) -> None:
        for alike in self._by_pattern.values():
            for subscriber in alike:
                self.end(subscriber, PubSubAway(f"{reason}; subscribe again"))

    def _check(self, pattern: str) -> None:
        _check_name(pattern)
        glob.check(pattern)
        if self._count >= SUBSCRIBERS_MAX:
            raise TooManySubscribers(
                f"{SUBSCRIBERS_MAX} are subscribed already", retry_after_s=RETRY_AFTER_S
            )

    def _failed(self, error: Refusal) -> None:
        """`counted` sees a subscription being asked for, and not how it goes on."""
        self._metrics.counter(
            "bastide_pubsub_subscriptions_failed_total",
            "Subscriptions that were refused, cut or lost.",
            client=self._client,
            outcome=type(error).__name__,
        ).add()


class Exchange:
    """One client's channels: `contract.PubSub`."""

    def __init__(self, carrier: Carrier, audience: Audience) -> None:
        self._carrier = carrier
        self._audience = audience

    async def publish(self, channel: str, value: bytes) -> None:
        _check_name(channel)
        if len(value) > MESSAGE_BYTES_MAX:
            given = f"message of {len(value)} bytes"
            raise MessageTooLarge(f"{given}; at most {MESSAGE_BYTES_MAX} are taken")
        await self._carrier.publish(channel, value)

    @asynccontextmanager
    async def subscribe(self, pattern: str) -> AsyncIterator[AsyncIterator[Message]]:
        subscriber = self._audience.enter(pattern)
        try:
            await self._listen(subscriber)
            yield subscriber
        finally:
            if self._audience.leave(subscriber):
                self._carrier.unlisten(pattern)

    async def health(self) -> None:
        await self._carrier.health()

    async def _listen(self, subscriber: "_Subscriber") -> None:
        try:
            await self._carrier.listen(subscriber.pattern)
        except Unavailable as error:
            self._audience.end(subscriber, error)
            raise


class _Subscriber:
    """An iterator for one task. `late` is the error that comes after what is pending."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.late: Unavailable | None = None
        self._pending = Pending()
        self._news = asyncio.Event()

    def give(self, message: Message) -> bool:
        """Whether it was taken: there was place for it."""
        taken = self._pending.put(message)
        if taken:
            self._news.set()
        return taken

    def end(self, error: Unavailable) -> None:
        self.late = error
        self._news.set()

    def __aiter__(self) -> "_Subscriber":
        return self

    async def __anext__(self) -> Message:
        while not self._pending:
            if self.late is not None:
                raise self.late
            self._news.clear()
            await self._news.wait()
        return self._pending.take()


def _check_name(name: str) -> None:
    """Of a channel or pattern."""
    try:
        bytes_ = len(name.encode())
    except UnicodeEncodeError as error:
        raise ChannelRefused(f"{name!r} is no text: it has half of a surrogate pair") from error
    if not 0 < bytes_ <= CHANNEL_BYTES_MAX:
        given = f"a channel or pattern of {bytes_} bytes"
        raise ChannelRefused(f"{given}; 1 to {CHANNEL_BYTES_MAX} are taken")
