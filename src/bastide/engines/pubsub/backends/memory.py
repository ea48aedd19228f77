"""`memory://`: to whoever listens in this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bastide.base.manifest import Use
from bastide.base.settings import BackendUrl
from bastide.engines.pubsub.contract import MESSAGE_BYTES_MAX, PENDING_BYTES_MAX, PENDING_MAX
from bastide.engines.pubsub.core.glob import Glob, is_literal
from bastide.engines.pubsub.model import Ears, MemoryOptions

# A publisher who never waits would let nobody hear: after this share of what may be pending, in
# messages or in bytes, others have their turn. So it takes thirty who publish at once to cut a
# subscriber that does nothing but take.
BREATH = 1 / 32
ONE, BYTE = 1 / PENDING_MAX, 1 / PENDING_BYTES_MAX
assert MESSAGE_BYTES_MAX * BYTE < 1


@asynccontextmanager
async def open_memory(url: BackendUrl, use: Use | None = None) -> AsyncIterator["MemoryBackend"]:
    url.options(MemoryOptions)
    yield MemoryBackend()


class MemoryBackend:
    """`model.PubSubBackend`."""

    @asynccontextmanager
    async def carrier(self, client: str, ears: Ears) -> AsyncIterator["MemoryCarrier"]:
        yield MemoryCarrier(ears)


class MemoryCarrier:
    """`model.Carrier`. Channels are looked up, patterns are tried one by one."""

    def __init__(self, ears: Ears) -> None:
        self._ears = ears
        self._channels: set[str] = set()
        self._patterns: dict[str, Glob] = {}
        self._breath = 0.0

    async def publish(self, channel: str, value: bytes) -> None:
        if channel in self._channels:
            self._ears.hear(channel, channel, value)
        if self._patterns:
            name = channel.encode()
            for pattern, glob in self._patterns.items():
                if glob.matches(name):
                    self._ears.hear(pattern, channel, value)
        self._breath += ONE + len(value) * BYTE
        if self._breath >= BREATH:
            self._breath = 0.0
            await asyncio.sleep(0)

    async def listen(self, pattern: str) -> None:
        if is_literal(pattern):
            self._channels.add(pattern)
        elif pattern not in self._patterns:
            self._patterns[pattern] = Glob(pattern)

    def unlisten(self, pattern: str) -> None:
        self._channels.discard(pattern)
        self._patterns.pop(pattern, None)

    async def health(self) -> None:
        """Memory is always there."""
