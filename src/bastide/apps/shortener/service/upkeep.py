"""What must be done from time to time, whoever asks or not."""

from bastide.apps.shortener.model import DAY_MS, Settings
from bastide.apps.shortener.service.clicks import Clicks
from bastide.apps.shortener.service.lookup import Lookup
from bastide.apps.shortener.tables import CODES_ENDED, DAY_DELETE, DAYS_OLD
from bastide.base.rt import runtime
from bastide.base.tx import Tx
from bastide.engines.sql.contract import FETCH_ROWS_MAX, Database

CLEANED_MAX = 10_000  # of each, in one run


class Upkeep:
    def __init__(self, settings: Settings, db: Database, clicks: Clicks, lookup: Lookup) -> None:
        self._days_kept = settings.days_kept
        self._db = db
        self._clicks = clicks
        self._lookup = lookup
        self._ended_until_ms = 0

    async def fold_clicks(self) -> None:
        """Counts the clicks that are journalled, and sees to it that their journal is open.

        Raises:
            Unavailable: they wait in the journal; or it can't be opened.
        """
        await self._clicks.tend()

    async def trim_clicks(self) -> None:
        """Drops journalled clicks that are counted, and old."""
        await self._clicks.trim()

    async def purge_changed(self) -> None:
        """Sees to it that the cache lets go of what was changed by somebody who died over it.

        Raises:
            Unavailable
        """
        await self._lookup.purge_old()

    async def clean(self) -> None:
        """Drops counts of days that are too old, and makes room in the cache: links that have ended
        since the last run need none. Links and totals stay: who ended may live again.

        Raises:
            Unavailable
        """
        await self._drop_days()
        await self._let_ended_go()

    async def _drop_days(self) -> None:
        below = int((runtime.now_ms() - self._days_kept * DAY_MS) // DAY_MS)
        for _ in range(CLEANED_MAX // FETCH_ROWS_MAX):
            old = await self._db.fetch(DAYS_OLD, below=below, limit=FETCH_ROWS_MAX)
            rows = [{"link_id": row.link_id, "day": row.day} for row in old]

            async def body(tx: Tx, rows: list[dict[str, int]] = rows) -> None:
                await tx.run_many(DAY_DELETE, rows)

            await self._db.transact(body)
            if len(rows) < FETCH_ROWS_MAX:
                return

    async def _let_ended_go(self) -> None:
        now_ms = runtime.now_ms()
        for _ in range(CLEANED_MAX // FETCH_ROWS_MAX):
            ended = await self._db.fetch(
                CODES_ENDED, since_ms=self._ended_until_ms, now_ms=now_ms, limit=FETCH_ROWS_MAX
            )
            await self._lookup.let_go([code for code, _ in ended])
            if len(ended) < FETCH_ROWS_MAX:
                self._ended_until_ms = now_ms
                return
            self._ended_until_ms = ended[-1][1] + 1
