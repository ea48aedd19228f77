"""`memory://?bytes_max=67108864`: a bounded mapping for each client, in this process alone."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bastide.base.fence import FENCES_MAX, Fence, FencesOver
from bastide.base.manifest import Use
from bastide.base.rt import runtime
from bastide.base.settings import BackendUrl
from bastide.engines.cache.contract import COUNT_MAX, CountRefused
from bastide.engines.cache.core.kept import Kept, cost, count_cost
from bastide.engines.cache.core.s3fifo import S3Fifo
from bastide.engines.cache.model import Entry, Forget, Hearing, MemoryOptions

COUNTS_SHARE = 8  # one part in so many is for sums
NO_TOKEN = b""  # nobody takes a key back but through the front, which knows the loads that run


@asynccontextmanager
async def open_memory(url: BackendUrl, use: Use | None = None) -> AsyncIterator["MemoryBackend"]:
    yield MemoryBackend(url.options(MemoryOptions))


class MemoryBackend:
    """`model.CacheBackend`."""

    def __init__(self, options: MemoryOptions) -> None:
        self._options = options

    @asynccontextmanager
    async def store(self, client: str, forget: Forget) -> AsyncIterator["MemoryStore"]:
        yield MemoryStore(self._options.bytes_max)


class MemoryStore:
    """`model.Store`."""

    def __init__(self, bytes_max: int) -> None:
        counts_bytes = bytes_max // COUNTS_SHARE
        self._entries: S3Fifo[Kept[Entry]] = S3Fifo(bytes_max - counts_bytes)
        self._counts: S3Fifo[Kept[int]] = S3Fifo(counts_bytes)
        self._fences: dict[str, int] = {}  # the newest token of each
        self._monotonic = runtime.current().clock.monotonic

    @property
    def near_bytes(self) -> int:
        return self._entries.bytes_used + self._counts.bytes_used

    def near(self, key: str) -> Entry | None:
        kept = self._entries.get(key)
        if kept is None:
            return None
        if kept.expires_s <= self._monotonic():
            self._entries.remove(key)
            return None
        return kept.value

    def hearing(self, key: str) -> Hearing:
        return self

    def lasts(self) -> bool:
        """`model.Hearing`: all that happens to the keys goes through the front."""
        return True

    async def get(self, key: str) -> Entry | None:
        return None  # or it would have been near

    async def put(self, key: str, value: bytes, ttl_s: float, fence: Fence | None = None) -> None:
        if fence is not None:
            self._admit(fence)
        self._put(key, value, ttl_s)

    async def begin(self, key: str) -> bytes | None:
        return NO_TOKEN

    async def keep(self, key: str, entry: Entry, ttl_s: float, *, token: bytes) -> None:
        self._put(key, entry, ttl_s)

    async def increment(self, key: str, amount: int, ttl_s: float) -> int:
        now_s = self._monotonic()
        kept = self._counts.get(key)
        if kept is None or kept.expires_s <= now_s:
            kept = Kept(0, now_s + ttl_s)
        if abs(kept.value + amount) > COUNT_MAX:
            raise CountRefused(f"{kept.value} and {amount} are beyond {COUNT_MAX}")
        counted = Kept(kept.value + amount, kept.expires_s)
        self._counts.put(key, counted, count_cost(key))
        return counted.value

    async def invalidate(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._entries.remove(key)
            self._counts.remove(key)

    async def health(self) -> None:
        """Memory is always there."""

    def _admit(self, fence: Fence) -> None:
        fence.check(self._fences.get(fence.name, 0))
        if fence.name not in self._fences and len(self._fences) >= FENCES_MAX:
            raise FencesOver
        self._fences[fence.name] = fence.token

    def _put(self, key: str, entry: Entry, ttl_s: float) -> None:
        self._entries.put(key, Kept(entry, self._monotonic() + ttl_s), cost(key, entry))
