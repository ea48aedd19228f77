"""Requests made before, sent as fast as they are answered: the server is measured.

`WINDOW` of them are under way at once, on one connection. Answers are only counted, and looked at
for errors; so a client's own work is next to nothing, for a peer as for us.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import msgspec

from bastide.base.errors import Unavailable
from bastide.base.rt import runtime
from bastide.engines.log.bench.asking import (
    check_produced,
    frames,
    metadata_request,
    produce_request,
)
from bastide.engines.log.contract import Record
from bastide.engines.log.core.batches import made, stamped
from bastide.parts.http.bench.load import Turn
from bastide.parts.http.bench.servers import GENERATOR_CORE, HOST, on_core

WINDOW = 5  # as Java's producer has it
PATIENCE_S = 20.0

Count = Callable[[bytes], int]
"""How many more are answered, by the next bytes.

Raises:
    Unavailable: one was refused.
"""


class Feed(msgspec.Struct, frozen=True):
    """`request` holds `records`, and `answers` come of it. `hello` is sent first, and has one."""

    request: bytes
    records: int
    answers: int
    count: Callable[[], Count]
    hello: bytes = b""


class Feeder(asyncio.Protocol):
    def __init__(self, count: Count) -> None:
        self.transport: asyncio.Transport
        self._count = count
        self._answered = 0
        self._error: Exception | None = None
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._answered += self._count(data)
        except Unavailable as error:
            self._error = error
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._error = self._error or Unavailable("the server has closed the connection")
        self._news.set()

    async def answered(self, count: int) -> None:
        """
        Raises:
            Unavailable: they were not, within PATIENCE_S.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                while self._answered < count:
                    if self._error is not None:
                        raise self._error
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise Unavailable(f"{self._answered} answers of {count}") from None


def feed(port: int, feed: Feed, *, window: int = WINDOW) -> Turn:
    """Records a second, all of them answered."""

    async def turn(seconds: float) -> float:
        with on_core(GENERATOR_CORE):
            loop = asyncio.get_running_loop()
            _, feeder = await loop.create_connection(lambda: Feeder(feed.count()), HOST, port)
            try:
                return await _feed(feeder, feed, seconds, window)
            finally:
                feeder.transport.abort()

    return turn


async def _feed(feeder: Feeder, feed: Feed, seconds: float, window: int) -> float:
    greeted = int(bool(feed.hello))
    if greeted:
        feeder.transport.write(feed.hello)
        await feeder.answered(greeted)
    began_s, sent = runtime.monotonic(), 0
    while sent < window or runtime.monotonic() < began_s + seconds:
        await feeder.answered(greeted + (sent - window + 1) * feed.answers)
        feeder.transport.write(feed.request)
        sent += 1
    await feeder.answered(greeted + sent * feed.answers)
    return sent * feed.records / (runtime.monotonic() - began_s)


# --- what is sent -------------------------------------------------------------------------------


def kafka_feed(topic: str, batch: bytes, records: int, *, acks: int) -> Feed:
    """A Produce request of one batch. The topic is made first."""
    request = produce_request(topic, batch, acks=acks)
    return Feed(request, records, 1, Produced, metadata_request(topic))


def redis_feed(stream: str, value: bytes, records: int) -> Feed:
    """A pipeline of XADD, each answered by the id that it got."""
    words = (b"XADD", stream.encode(), b"*", b"v", value)
    command = b"*5\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    return Feed(command * records, records, records, lambda: _added)


def batch_of(value: bytes, records: int) -> bytes:
    """As a producer sends it."""
    batch = made([Record(value)] * records, now_ms=runtime.now_ms())
    return stamped(batch, base_offset=0, leader_epoch=-1)


# --- what is answered ---------------------------------------------------------------------------


class Produced:
    """The first answers what made the topic."""

    def __init__(self) -> None:
        self._frames = frames()
        self._greeted = False

    def __call__(self, data: bytes) -> int:
        found = self._frames.feed(data)
        for frame in found:
            if self._greeted:
                check_produced(frame)
            self._greeted = True
        return len(found)


def _added(data: bytes) -> int:
    """An id has neither of the two signs."""
    if b"-ERR" in data:
        raise Unavailable(f"redis has refused: {data[:200]!r}")
    return data.count(b"$")
