"""A log that is opened again in its place, after it has failed.

That is what a failed log asks for: opening writes the unsynced end once more before it syncs it, so
that nothing written is taken for safe because the kernel forgot that it is not.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from bastide.base.errors import Unavailable
from bastide.parts.seglog.contract import DiskFull, LogBusy, LogClosed, LogFailed, Options
from bastide.parts.seglog.log import Seglog, open_seglog


@asynccontextmanager
async def open_mending(directory: Path, options: Options) -> AsyncIterator["MendingLog"]:
    """Raises as `open_seglog`; OSError: it can't be opened."""
    async with AsyncExitStack() as opened:
        mending = MendingLog(directory, options, opened)
        await mending.open()
        yield mending


class MendingLog:
    """`log` is the one that was opened last; if opening failed, a closed one, which refuses."""

    log: Seglog

    def __init__(self, directory: Path, options: Options, opened: AsyncExitStack) -> None:
        self._directory = directory
        self._options = options
        self._opened = opened

    async def open(self) -> None:
        """Closes what is open, and opens."""
        await self._opened.aclose()
        log = open_seglog(self._directory, self._options)
        self.log = await self._opened.enter_async_context(log)

    async def close(self) -> None:
        await self._opened.aclose()

    @property
    def has_failed(self) -> bool:
        """Whether only opening it again can help."""
        try:
            with suppress(DiskFull, LogBusy):  # what is there can be read, and trimming makes room
                self.log.check()
        except (LogFailed, LogClosed):
            return True
        return False

    async def mend(self) -> bool:
        """Whether it had failed; then it is open again, and what was not written before is gone.

        Raises:
            Unavailable: it can't be opened now.
        """
        if not self.has_failed:
            return False
        try:
            await self.open()
        except OSError as error:
            raise Unavailable(f"{self._directory.name} can't be opened: {error}") from error
        return True
