"""What must be done from time to time, whoever asks or not."""

from bastide.apps.shortener.model import DAY_MS, Settings
from bastide.apps.shortener.service.teller import Teller
from bastide.apps.shortener.tables import DAY_DELETE, DAYS_OLD
from bastide.base.rt import runtime
from bastide.base.tx import Tx
from bastide.engines.sql.contract import FETCH_ROWS_MAX, Database

CLEANED_MAX = 10_000  # of each, in one run


class Upkeep:
    def __init__(self, settings: Settings, db: Database, teller: Teller) -> None:
        self._days_kept = settings.days_kept
        self._db = db
        self._teller = teller

    async def announce_ended(self) -> None:
        """Tells of links whose end has come.

        Raises:
            Unavailable
        """
        await self._teller.announce_ended()

    async def clean(self) -> None:
        """Drops counts of days that are too old. Links and totals stay: who ended may live again.

        Raises:
            Unavailable
        """
        below = int((runtime.now_ms() - self._days_kept * DAY_MS) // DAY_MS)
        for _ in range(CLEANED_MAX // FETCH_ROWS_MAX):
            old = await self._db.fetch(DAYS_OLD, below=below, limit=FETCH_ROWS_MAX)
            rows = [{"link_id": row.link_id, "day": row.day} for row in old]

            async def body(tx: Tx, rows: list[dict[str, int]] = rows) -> None:
                await tx.run_many(DAY_DELETE, rows)

            await self._db.transact(body)
            if len(rows) < FETCH_ROWS_MAX:
                return
