"""Watches of a node's own store, as iterators that wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bastide.base.errors import Refusal
from bastide.engines.coord.contract import Events, Watch
from bastide.engines.coord.core.checks import check_range
from bastide.engines.coord.core.store import Store
from bastide.engines.coord.core.watching import Watcher, Watching

PROGRESS_S = 600.0
"""How often a watch that asks for it is told how far it has seen, if nothing else comes."""


class Watches:
    """Whoever changes the store calls `advance` afterwards, and then sweeps it."""

    def __init__(self, store: Store) -> None:
        self._watching = Watching(store)
        self._open: dict[Watcher, _Stream] = {}

    def __len__(self) -> int:
        return len(self._open)

    @asynccontextmanager
    async def opened(self, watch: Watch) -> AsyncIterator[AsyncIterator[Events]]:
        """
        Raises:
            AskInvalid, AskTooLarge, RevisionCompacted, TooMany.
        """
        check_range(watch)
        watcher = self._watching.add(watch)
        stream = self._open[watcher] = _Stream(self._watching, watcher)
        try:
            yield stream
        finally:
            del self._open[watcher]
            self._watching.remove(watcher)

    def advance(self) -> None:
        for watcher in self._watching.advance():
            self._open[watcher].wake()

    def restart(self, store: Store) -> None:
        """From now on of another store, that of a snapshot."""
        for watcher in self._watching.restart(store):
            self._open[watcher].wake()

    def end(self, error: Refusal) -> None:
        """All are raised `error`, after what they have pending."""
        for stream in self._open.values():
            stream.end(error)


class _Stream:
    """For one task."""

    def __init__(self, watching: Watching, watcher: Watcher) -> None:
        self._watching = watching
        self._watcher = watcher
        self._news = asyncio.Event()
        self._late: Refusal | None = None

    def wake(self) -> None:
        self._news.set()

    def end(self, error: Refusal) -> None:
        self._late = error
        self._news.set()

    def __aiter__(self) -> "_Stream":
        return self

    async def __anext__(self) -> Events:
        while True:
            events = self._watching.take(self._watcher)
            if events is not None:
                return events
            if self._watcher.is_ready:  # it reads from history, and others want their turn too
                await asyncio.sleep(0)
            elif self._late is not None:
                raise self._late
            elif (progress := await self._rest()) is not None:
                return progress

    async def _rest(self) -> Events | None:
        """Until there is news; or how far all is told, if that is wanted and nothing comes."""
        self._news.clear()
        try:
            async with asyncio.timeout(PROGRESS_S if self._watcher.watch.progress else None):
                await self._news.wait()
        except TimeoutError:
            return self._watching.progress(self._watcher)
        return None
