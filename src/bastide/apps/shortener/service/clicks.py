"""Clicks, each counted once: recorded before the redirect is answered, counted when it is heard.

    redirect ──record──► journal ──► answer
                            │ relay
                            ▼
                     shortener.clicks ──► count: totals and days, in the transaction that says
                                          how far we are ──► the bell rings

Why each once? See the bus: a click has a number from the journal of its process, and whoever counts
it keeps the highest number in the very commit.
"""

from collections.abc import Collection, Sequence

from bastide.apps.shortener.contract import CLICKS, Analytics, Clicked, Stats
from bastide.apps.shortener.core import clicks as core
from bastide.apps.shortener.service.days import Bell, add_days, analytics_of
from bastide.apps.shortener.tables import STATS, TOTALS_RAISE
from bastide.base.tx import Tx
from bastide.engines.bus.contract import After, Bus
from bastide.engines.sql.contract import Database
from bastide.parts.visitor.contract import Visitor

COUNTS = "counts"  # the group that counts


class Clicks:
    """`synced`: a redirect waits until its click is on the disk."""

    def __init__(self, db: Database, bus: Bus, bell: Bell, *, synced: bool) -> None:
        self._db = db
        self._bus = bus
        self._bell = bell
        self._synced = synced

    async def record(self, request_id: str, link_id: int, at_ms: int, visitor: Visitor) -> None:
        """Returns when the click can't be lost, as far as the setting says.

        Raises:
            Unavailable: it may be lost, so the redirect must not be answered.
        """
        client = visitor.client
        click = Clicked(
            str(link_id),
            at_ms,
            request_id,
            client.bot,
            client.device,
            client.system,
            client.browser,
            visitor.country,
            visitor.referrer,
        )
        place = self._bus.record(CLICKS, click)
        if self._synced:
            await self._bus.synced(place)

    async def count(self, tx: Tx, clicks: Sequence[Clicked]) -> After:
        """Adds them to totals and days; what is returned rings the bell for their links."""
        tallied = core.tallies(clicks)
        totals = core.totals(tallied)
        rows = [
            {"link_id": link_id, "more_clicks": one.clicks + one.bots, "more_bots": one.bots}
            for link_id, one in totals.items()
        ]
        await tx.run_many(TOTALS_RAISE, rows)
        await add_days(tx, tallied)
        return self._ringing(totals.keys())

    def _ringing(self, link_ids: Collection[int]) -> After:
        async def ring() -> None:
            await self._bell.ring(link_ids)

        return ring

    async def counted(self, link_id: int) -> Stats | None:
        """Those that were counted so far; None of a link that was deleted."""
        return await self._db.one(STATS, link_id=link_id)

    async def analytics(self, link_id: int, *, days: int) -> Analytics:
        """With every click that was answered before this call; or `pending`."""
        pending = await self.is_pending()
        return await analytics_of(self._db, link_id, days=days, pending=pending)

    async def is_pending(self) -> bool:
        """Waits until what was answered before this call is counted; whether some of it may be
        missing yet.
        """
        return not await self._bus.settled(CLICKS, COUNTS)

    async def health(self) -> None:
        """
        Raises:
            Unavailable: why a click could not be recorded or counted now.
        """
        await self._bus.health()
