"""Clicks, each counted once: journalled before the redirect is answered, folded into totals later.

    redirect ──append──► journal (seglog) ──written──► answer
                            │ synced within 10 ms
                            ▼
                          fold: read what is synced ──► one transaction: totals raised,
                                                        and how far we are ("heard")

Why each once? The place in the journal and the counts move in one commit, and the next fold begins
at the place that the database has, whatever an answer that got lost said. Why only what is synced?
A power cut may take the unsynced end, and its offsets are given again: counted before, the clicks
that come to stand there would be skipped.

The journal is a directory with a random name, which is also its name in the database: if it is
lost, a new one begins under a new name, and its clicks are not taken for old ones.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bastide.apps.shortener.contract import JournalBehind, Stats
from bastide.apps.shortener.core import clicks as core
from bastide.apps.shortener.core.clicks import Click
from bastide.apps.shortener.model import DAY_MS, Settings
from bastide.apps.shortener.tables import STATS, TOTALS_RAISE
from bastide.base.errors import Unavailable
from bastide.base.rt import runtime
from bastide.base.tx import Tx
from bastide.engines.sql.contract import Database
from bastide.parts.seglog.contract import Options
from bastide.parts.seglog.core import Batch, Record, entries
from bastide.parts.seglog.log import Seglog, open_seglog

SYNC_WITHIN_S = 0.01
FOLD_BYTES = 64 << 10  # of journal in one transaction: some 1,300 clicks, a few milliseconds
SEGMENT_BYTES = 4 << 20  # a file: some 80,000 clicks
PARTITION = 0

_NAME = re.compile(r"[0-9a-f]{16}")
_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_clicks(
    directory: Path, db: Database, settings: Settings, *, segment_bytes: int = SEGMENT_BYTES
) -> AsyncIterator["Clicks"]:
    """The clicks whose journal is below `directory`, made if absent.

    Raises:
        JournalBehind, SegmentDamaged: the journal is not as it was left.
    """
    journal = _journal_in(directory)
    options = Options(segment_bytes=segment_bytes, sync_within_s=SYNC_WITHIN_S)
    async with open_seglog(journal, options) as log:
        clicks = Clicks(log, journal.name, db, settings)
        await clicks.begin()
        yield clicks


def _journal_in(directory: Path) -> Path:
    disk, chance = runtime.current().disk, runtime.current().chance
    disk.make_directory(directory)
    names = [name for name in disk.list_directory(directory) if _NAME.fullmatch(name)]
    return directory / (names[0] if names else chance.token(8).hex())


class Clicks:
    def __init__(self, log: Seglog, source: str, db: Database, settings: Settings) -> None:
        self._log = log
        self._source = source
        self._db = db
        self._synced = settings.clicks == "synced"
        self._kept_ms = int(settings.clicks_kept_days * DAY_MS)
        self._folded = 0
        self._folding = asyncio.Lock()
        self._failure: Unavailable | None = None

    @property
    def unfolded(self) -> int:
        """Clicks in the journal that the totals don't have yet."""
        return self._log.next_offset - self._folded

    async def begin(self) -> None:
        """Finds how far the totals are."""

        async def body(tx: Tx) -> int:
            return await tx.heard(self._source, PARTITION)

        self._folded = await self._db.transact(body) + 1
        if self._folded > self._log.next_offset:
            raise JournalBehind(
                f"{self._folded} clicks of journal {self._source} are counted, and it holds "
                f"{self._log.next_offset}: put the newest copy back, or move its directory away"
            )
        if self._folded < self._log.first_offset:
            _log.error(
                "clicks %d to %d are in no total, and the journal has trimmed them: is the "
                "database an older copy?",
                *(self._folded, self._log.first_offset - 1),
            )
            self._folded = self._log.first_offset

    async def record(self, click: Click) -> None:
        """Returns when the click can't be lost, as far as the setting says.

        Raises:
            Unavailable: it may be lost, so the redirect must not be answered.
        """
        try:
            offset = self._log.append([Record(core.encode(click))])
            if self._synced:
                await self._log.synced(offset)
            else:
                await self._log.written(offset)
            self._failure = None
        except Unavailable as error:
            self._failure = error
            raise

    async def stats(self, link_id: int) -> Stats:
        """With every click that was answered before this call."""
        await self.fold()
        return await self._db.one(STATS, link_id=link_id) or Stats(0, 0)

    async def fold(self) -> None:
        """Counts every click that is in the journal now."""
        until = self._log.next_offset
        if until > self._folded:
            await self._log.synced(until - 1)
        async with self._folding:
            while self._folded < until:
                await self._fold_some(self._log.read(self._folded, bytes_max=FOLD_BYTES))

    async def _fold_some(self, batches: list[Batch]) -> None:
        durable = self._log.durable_offset
        batches = [batch for batch in batches if batch.next_offset <= durable]
        last = batches[-1].next_offset - 1

        async def body(tx: Tx) -> None:
            first = await tx.heard(self._source, PARTITION) + 1
            records = [entry.value for batch in batches for entry in entries(batch, first)]
            counts = core.tally(record for record in records if record is not None)
            rows = [
                {"link_id": link_id, "more_clicks": count.clicks, "more_bots": count.bots}
                for link_id, count in counts.items()
            ]
            await tx.run_many(TOTALS_RAISE, rows)
            await tx.hear(self._source, PARTITION, last)

        await self._db.transact(body)
        self._folded = last + 1

    async def trim(self) -> None:
        """Drops whole files of clicks that are counted and old enough."""
        old = self._log.offset_at(runtime.now_ms() - self._kept_ms)
        await self._log.trim(below_offset=min(old, self._folded))

    def check(self) -> None:
        """
        Raises:
            Unavailable: the last click could not be journalled.
        """
        if self._failure is not None:
            raise self._failure
