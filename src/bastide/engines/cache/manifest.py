"""cache: what is read often, kept near."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bastide.base.manifest import Backend, Manifest, Use
from bastide.engines.cache.contract import Cache
from bastide.engines.cache.model import CacheBackend
from bastide.engines.cache.service import LoadingCache, opened

_BACKENDS = "bastide.engines.cache.backends"


@asynccontextmanager
async def open_cache(use: Use) -> AsyncIterator[LoadingCache]:
    async with opened(use.backend(CacheBackend), use.client.name) as cache:
        yield cache


MANIFEST = Manifest(
    name="cache",
    floor="engines",
    summary="What is read often, kept near, and never answered after it was taken back.",
    provides=Cache,
    open=open_cache,
    backends={
        "memory": Backend(f"{_BACKENDS}.memory:open_memory", reach="process"),
        "redis": Backend(f"{_BACKENDS}.redis.backend:open_redis", reach="cluster", extra="redis"),
    },
    backend_default="memory://",
    benches="bastide.engines.cache.bench:BENCHES",
    exempt={
        "restart": "a cache acknowledges nothing as kept: after a restart everything may be a miss",
    },
)
