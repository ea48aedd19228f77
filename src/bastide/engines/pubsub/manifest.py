"""pubsub: messages to whoever listens now."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bastide.base.manifest import Backend, Manifest, Use
from bastide.engines.pubsub.contract import PubSub
from bastide.engines.pubsub.model import PubSubBackend
from bastide.engines.pubsub.service import Exchange, opened

_BACKENDS = "bastide.engines.pubsub.backends"


@asynccontextmanager
async def open_pubsub(use: Use) -> AsyncIterator[Exchange]:
    async with opened(use.backend(PubSubBackend), use.client.name) as pubsub:
        yield pubsub


MANIFEST = Manifest(
    name="pubsub",
    floor="engines",
    summary="Messages to whoever listens now; a slow listener is cut.",
    provides=PubSub,
    open=open_pubsub,
    backends={
        "memory": Backend(f"{_BACKENDS}.memory:open_memory", reach="process"),
        "redis": Backend(f"{_BACKENDS}.redis:open_redis", reach="cluster", extra="redis"),
    },
    backend_default="memory://",
    benches="bastide.engines.pubsub.bench:BENCHES",
    exempt={
        "restart": "nothing is kept: a restart has nothing to bring back",
        "repeat": "there are no keys: what is published twice is heard twice",
    },
)
