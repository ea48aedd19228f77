"""Clicks, each counted once: journalled before the redirect is answered, folded into totals later.

    redirect ──written──► journal (seglog) ──► answer
                │            │ synced within 10 ms
                ▼            ▼
              heaps ──────► fold ──► transactions: totals raised, and how far we are ("heard")

Why each once? The place in the journal and the counts move in one commit, and the next fold begins
at the place that the database has, whatever an answer that got lost said: see `fold`.

Why is each click a write of its own? A call to the system that writes some 200 bytes into the page
cache takes about 1 us; to wait for a write that many share costs each of them a turn of the loop, a
time-out and a task to be woken, ten times as much.

The journal is a directory with a random name, which is also its name in the database: if it is
lost, a new one begins under a new name, and its clicks are not taken for old ones. If it is copied,
and two processes write under one name, then the database is not where we left it. Either would
take the other's clicks for its own and skip as many; so it stops counting, and says so.

After a failed write or sync the journal is opened again. That is what its log asks for: opening
writes the unsynced end once more before it syncs it, so that no answered click is taken for safe
because the kernel forgot that it is not.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import msgspec

from bastide.apps.shortener.contract import Analytics, JournalBehind, Stats
from bastide.apps.shortener.core import clicks as core
from bastide.apps.shortener.core.clicks import Click
from bastide.apps.shortener.model import DAY_MS, Settings
from bastide.apps.shortener.service.days import Bell, analytics_of
from bastide.apps.shortener.service.fold import Fold
from bastide.apps.shortener.tables import STATS
from bastide.base.errors import Unavailable
from bastide.base.rt import runtime
from bastide.engines.sql.contract import Database
from bastide.parts.seglog.contract import DiskFull, LogBusy, LogClosed, LogFailed, Options
from bastide.parts.seglog.log import Seglog, open_seglog

SYNC_WITHIN_S = 0.01
SEGMENT_BYTES = 4 << 20  # a file: some 25,000 clicks
PAUSE = 20  # times as long as a fold took: the more it costs, the more clicks the next one heaps
PAUSE_MAX_S = 1.0

_NAME = re.compile(r"[0-9a-f]{16}")
_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_clicks(
    directory: Path,
    db: Database,
    bell: Bell,
    settings: Settings,
    *,
    segment_bytes: int = SEGMENT_BYTES,
) -> AsyncIterator["Clicks"]:
    """The clicks whose journal is below `directory`, made if absent.

    Raises:
        JournalBehind, SegmentDamaged: the journal is not as it was left.
    """
    options = Options(segment_bytes=segment_bytes, sync_within_s=SYNC_WITHIN_S)
    async with open_journal(_journal_in(directory), options) as journal:
        clicks = Clicks(journal, db, bell, settings)
        await clicks.begin()
        yield clicks


def _journal_in(directory: Path) -> Path:
    disk, chance = runtime.current().disk, runtime.current().chance
    disk.make_directory(directory)
    names = [name for name in disk.list_directory(directory) if _NAME.fullmatch(name)]
    return directory / (names[0] if names else chance.token(8).hex())


@asynccontextmanager
async def open_journal(directory: Path, options: Options) -> AsyncIterator["Journal"]:
    async with AsyncExitStack() as opened:
        journal = Journal(directory, options, opened)
        await journal.open()
        yield journal


class Journal:
    """A log that can be opened again in its place. `log` is the one that was opened last."""

    def __init__(self, directory: Path, options: Options, opened: AsyncExitStack) -> None:
        self.name = directory.name
        self._directory = directory
        self._options = options
        self._opened = opened

    async def open(self) -> None:
        """Closes what is open. If this fails, the log stays a closed one, which refuses.

        Raises:
            Unavailable.
        """
        try:
            await self.close()
            log = open_seglog(self._directory, self._options)
            self.log = await self._opened.enter_async_context(log)
        except OSError as error:
            raise Unavailable(f"the journal of clicks can't be opened: {error}") from error

    async def close(self) -> None:
        await self._opened.aclose()


class Clicks:
    def __init__(self, journal: Journal, db: Database, bell: Bell, settings: Settings) -> None:
        self._journal = journal
        self._db = db
        self._bell = bell
        self._synced = settings.clicks == "synced"
        self._kept_ms = int(settings.clicks_kept_days * DAY_MS)
        self._bytes_max = settings.clicks_journal_bytes_max
        self._fold = Fold(journal.name, db)
        self._fold_again_s = 0.0
        self._tending = asyncio.Lock()

    @property
    def _log(self) -> Seglog:
        return self._journal.log

    @property
    def unfolded(self) -> int:
        """Clicks in the journal that the totals don't have yet."""
        return self._log.next_offset - max(self._fold.first, self._log.first_offset)

    async def begin(self) -> None:
        """Finds how far the totals are."""
        await self._fold.begin()
        self._check_it_holds_what_is_counted()
        if self._fold.first < self._log.first_offset:
            _log.error(
                "clicks %d to %d are in no total, and the journal has trimmed them: is the "
                "database an older copy?",
                *(self._fold.first, self._log.first_offset - 1),
            )

    def _check_it_holds_what_is_counted(self) -> None:
        if self._fold.needs > self._log.next_offset:
            raise JournalBehind(
                f"{self._fold.needs} clicks of journal {self._journal.name} are counted, and it "
                f"holds {self._log.next_offset}: put the newest copy back, or move its directory "
                f"away"
            )

    async def record(self, click: Click) -> None:
        """Returns when the click can't be lost, as far as the setting says.

        Raises:
            Unavailable: it may be lost, so the redirect must not be answered.
        """
        told = core.told_by(click.visitor)
        offset = self._log.append_now(core.framed(click, told))
        self._fold.note(offset, click.link_id, click.at_ms, told)
        if self._synced:
            await self._log.synced(offset)

    async def stats(self, link_id: int) -> Stats | None:
        """With every click that was answered before this call; or `pending`. None of a link that
        was deleted.
        """
        pending = await self.is_pending()
        stats = await self.counted(link_id)
        return msgspec.structs.replace(stats, pending=pending) if stats else None

    async def counted(self, link_id: int) -> Stats | None:
        """Those that were counted so far."""
        return await self._db.one(STATS, link_id=link_id)

    async def analytics(self, link_id: int, *, days: int) -> Analytics:
        """As `stats`."""
        pending = await self.is_pending()
        return await analytics_of(self._db, link_id, days=days, pending=pending)

    async def is_pending(self) -> bool:
        """Counts what can be counted now; whether an answered click may be missing yet."""
        try:
            await self.fold()
        except Unavailable:  # the worker meets it too, and health says so
            return True
        return False

    async def tend(self) -> None:
        """Opens the journal again if its log has failed, then folds. Raises as `fold`."""
        try:
            self._log.check()
        except (LogFailed, LogClosed):
            await self._open_again()
        except (DiskFull, LogBusy):
            return  # health asks the log too, and is well with it; who backs off here would lag
        if runtime.monotonic() >= self._fold_again_s:
            took_s = await self._fold_all(rest=1.0)
            self._fold_again_s = runtime.monotonic() + min(PAUSE * took_s, PAUSE_MAX_S)

    async def _open_again(self) -> None:
        async with self._tending:
            self._fold.forget()
            await self._journal.open()
            try:
                self._check_it_holds_what_is_counted()
            except JournalBehind:
                await self._journal.close()
                raise
        _log.warning("the journal of clicks had failed, and is open again")

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[Seglog]:
        """The log, for one who folds or trims: nobody else does, or opens it again, meanwhile."""
        async with self._tending:
            with suppress(DiskFull, LogBusy):  # it can be read; and trimming makes room
                self._log.check()
            yield self._log

    async def fold(self) -> None:
        """Counts every click that is in the journal now.

        Raises:
            Unavailable: the journal or the database refuses. What is not counted stays.
            JournalShared.
        """
        await self._fold_all(rest=0.0)

    async def _fold_all(self, *, rest: float) -> float:
        """The seconds it took. `rest`: how long redirects go on between two transactions, in parts
        of what one took.
        """
        took_s, until = 0.0, self._log.next_offset
        if until > self._fold.first:
            await self._log.synced(until - 1)
        while self._fold.first < until:
            began_s = runtime.monotonic()
            async with self._alone() as log:
                if self._fold.first < until:
                    await self._bell.ring(await self._fold.step(log))
            step_s = runtime.monotonic() - began_s
            took_s += step_s
            if rest:
                await asyncio.sleep(rest * step_s)
        return took_s

    async def trim(self) -> None:
        """Drops whole files of clicks that are counted, and old enough or too many to keep."""
        async with self._alone() as log:
            old = log.offset_at(runtime.now_ms() - self._kept_ms)
            await log.trim(below_offset=old, bytes_max=self._bytes_max, never_from=self._fold.first)

    def check(self) -> None:
        """
        Raises:
            Unavailable: why a click could not be journalled now.
        """
        self._log.check()
