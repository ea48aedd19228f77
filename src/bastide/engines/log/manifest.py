"""log: records in topics, kept in order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bastide.base.manifest import Address, Backend, Manifest, Use
from bastide.engines.log.contract import Log
from bastide.engines.log.model import LogBackend
from bastide.engines.log.service.broker import Settings

_BACKENDS = "bastide.engines.log.backends"


@asynccontextmanager
async def open_log(use: Use) -> AsyncIterator[Log]:
    async with use.backend(LogBackend).view(use.client.name) as log:
        yield log


MANIFEST = Manifest(
    name="log",
    floor="engines",
    summary="Records in topics, kept in order; Kafka clients speak to it.",
    provides=Log,
    open=open_log,
    settings=Settings,
    backends={
        "file": Backend(f"{_BACKENDS}.file:open_file", reach="machine", serves=True),
        "memory": Backend(f"{_BACKENDS}.file:open_memory", reach="process", serves=True),
        "kafka": Backend(f"{_BACKENDS}.kafka.backend:open_kafka", reach="cluster", extra="kafka"),
    },
    backend_default="file://",
    doors=(
        "bastide.engines.log.api:ROWS",
        "bastide.engines.log.pages:ROWS",
    ),
    commands="bastide.engines.log.commands:COMMANDS",
    address=Address("kafka", 9092),
    wire="bastide.engines.log.wire.server:open_kafka",
    benches="bastide.engines.log.bench:BENCHES",
    try_line="kcat -b {wire} -L",
)
