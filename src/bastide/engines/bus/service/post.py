"""The way into the log, for all relays of a client."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from bastide.base import faults
from bastide.base.events import EventTopic
from bastide.base.metrics import Histogram
from bastide.base.rt import runtime
from bastide.engines.bus.core.envelopes import HEADERS, sealed, unpacked
from bastide.engines.log.contract import Log, Record, Topic, TopicExists

POST_BYTES = 1 << 20  # about so much goes at once


class Letter(msgspec.Struct, frozen=True, gc=False):
    """`event` as it waits."""

    topic: str
    key: bytes
    seq: int
    event: bytes


class Post:
    def __init__(
        self, log: Log, topics: Sequence[EventTopic], *, kept_ms: int, lags: Histogram
    ) -> None:
        self._log = log
        self._topics: Mapping[str, EventTopic] = {topic.name: topic for topic in topics}
        self._kept_ms = kept_ms
        self._lags = lags
        self._made: set[str] = set()
        self.sent = 0

    async def send(self, source: str, letters: Sequence[Letter]) -> None:
        """All of them are in the log when this returns. In order within a topic's key. How long it
        took is told of the first, which has waited longest.

        Raises:
            LogAway, TooMuchPending: some may be there.
        """
        by_topic: dict[str, list[Letter]] = {}
        for letter in letters:
            by_topic.setdefault(letter.topic, []).append(letter)
        sending = (self._send(source, *one) for one in by_topic.items())
        for error in await asyncio.gather(*sending, return_exceptions=True):
            if isinstance(error, BaseException):  # none is still at it
                raise error
        self.sent += len(letters)
        lag_ms = runtime.now_ms() - int(unpacked(letters[0].event).at_ms)
        self._lags.observe(max(0, lag_ms) / 1000)

    async def _send(self, source: str, topic: str, letters: Sequence[Letter]) -> None:
        await self.make(topic)
        records = [
            Record(sealed(topic, source, one.seq, one.event), one.key or _spread(one.seq), HEADERS)
            for one in letters
        ]
        await self._log.append(topic, records)

    async def make(self, name: str) -> None:
        """The topic is there, as its publisher wants it if it is new.

        Raises:
            LogAway
        """
        if name in self._made:
            return
        partitions = self._topics[name].partitions if name in self._topics else 1
        with suppress(TopicExists):
            await self._log.create(Topic(name, partitions, kept_ms=self._kept_ms))
        faults.point("bus.made")
        self._made.add(name)


def _spread(seq: int) -> bytes:
    """The key of an event that has none. If it is sent again, it must come into the same partition:
    who hears it knows it again only there.
    """
    return b"%d" % seq


def fitting(letters: Sequence[Letter]) -> Sequence[Letter]:
    """The first, and those behind it while they are together at most POST_BYTES."""
    size = 0
    for count, letter in enumerate(letters):
        size += len(letter.event)
        if count and size > POST_BYTES:
            return letters[:count]
    return letters
