"""What a backend is to the front."""

from contextlib import AbstractAsyncContextManager
from typing import Annotated, Protocol, runtime_checkable

import msgspec

from bastide.engines.log.contract import Log


@runtime_checkable
class LogBackend(Protocol):
    """What one URL names."""

    def view(self, client: str) -> AbstractAsyncContextManager[Log]:
        """The log as the system `client` sees it: it appends to its own topics alone."""
        ...


class KafkaOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`kafka://host:9092,host:9092?timeout_s=5`."""

    timeout_s: Annotated[
        float, msgspec.Meta(gt=0, le=60, description="longest that Kafka is waited for")
    ] = 10.0
    pending_mb: Annotated[
        int, msgspec.Meta(ge=1, le=1024, description="what may wait to be sent, of all appends")
    ] = 64
    replicas: Annotated[
        int, msgspec.Meta(ge=-1, le=100, description="of a topic made here; -1: as Kafka is set")
    ] = -1
