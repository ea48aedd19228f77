"""What a backend is to the front."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from bastide.engines.log.contract import Log


@runtime_checkable
class LogBackend(Protocol):
    """What one URL names."""

    def view(self, client: str) -> AbstractAsyncContextManager[Log]:
        """The log as the system `client` sees it: it appends to its own topics alone."""
        ...
