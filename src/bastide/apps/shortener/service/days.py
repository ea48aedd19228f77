"""Clicks by day, and who is told that there are more of them."""

import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import msgspec

from bastide.apps.shortener.contract import PLACES_MAX, Analytics, Day, Kind
from bastide.apps.shortener.core.clicks import DAY_MS, Shares, Tally, merge, shown
from bastide.apps.shortener.tables import (
    DAY_ADD,
    DAY_CHANGE,
    DAYS_OF_LINK,
    DAYS_OF_LINKS,
    LINKS_THERE,
    DayRow,
)
from bastide.base.errors import Unavailable
from bastide.base.rt import runtime
from bastide.base.tx import Tx, Value
from bastide.engines.pubsub.contract import PubSub
from bastide.engines.sql.contract import Database

CHANNEL = "counted"
PLACES_OF_ALL_DAYS_MAX = 1 << 16  # more than DAYS_SHOWN_MAX days can have of one kind

_decode = msgspec.json.Decoder(dict[Kind, dict[str, int]]).decode
_encode = msgspec.json.Encoder().encode


async def add_days(tx: Tx, tallies: Mapping[tuple[int, int], Tally]) -> None:
    """In the commit that counts them. A link that was deleted meanwhile gets none."""
    link_ids, numbers = [link for link, _ in tallies], [day for _, day in tallies]
    there = set(await tx.fetch(LINKS_THERE, link_ids=link_ids))
    first, last = min(numbers), max(numbers)
    rows = await tx.fetch(DAYS_OF_LINKS, link_ids=link_ids, first=first, last=last)
    known = {(row.link_id, row.day): row for row in rows}
    new: list[Mapping[str, Value]] = []
    changed: list[Mapping[str, Value]] = []
    for place, tally in tallies.items():
        if place[0] in there:
            row = known.get(place)
            (changed if row else new).append(_row(place, row, tally))
    await tx.run_many(DAY_ADD, new)
    await tx.run_many(DAY_CHANGE, changed)


def _row(place: tuple[int, int], row: DayRow | None, tally: Tally) -> Mapping[str, Value]:
    shares: Shares = dict(_decode(row.shares)) if row else {}
    merge(shares, tally.shares, names_max=PLACES_MAX)
    return {
        "link_id": place[0],
        "day": place[1],
        "clicks": tally.clicks + (row.clicks if row else 0),
        "bots": tally.bots + (row.bots if row else 0),
        "shares": _encode(shares).decode(),
    }


async def analytics_of(db: Database, link_id: int, *, days: int, pending: bool) -> Analytics:
    today = runtime.now_ms() // DAY_MS
    first = today - days + 1
    rows = {row.day: row for row in await db.fetch(DAYS_OF_LINK, link_id=link_id, first=first)}
    shares: Shares = {}
    for row in rows.values():
        merge(shares, _decode(row.shares), names_max=PLACES_OF_ALL_DAYS_MAX)
    told = [_day(day, rows.get(day)) for day in range(first, today + 1)]
    return Analytics(told, shown(shares), pending)


def _day(number: int, row: DayRow | None) -> Day:
    date = datetime.fromtimestamp(number * DAY_MS / 1000, UTC).date().isoformat()
    return Day(date, row.clicks, row.bots) if row else Day(date, 0, 0)


class Bell:
    """Rings when clicks were counted, in every process; a ring may be lost."""

    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub

    async def ring(self, link_ids: Collection[int]) -> None:
        with suppress(Unavailable):
            await self._pubsub.publish(CHANNEL, struct.pack(f"<{len(link_ids)}q", *link_ids))

    @asynccontextmanager
    async def listening(self, link_id: int) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """What is yielded returns when clicks of this link were counted.

        Raises:
            Unavailable: here or there: no ring can be heard any more.
        """
        mark = struct.pack("<q", link_id)
        async with self._pubsub.subscribe(CHANNEL) as rings:

            async def rung() -> None:
                async for ring in rings:
                    if mark in ring.value:
                        return

            yield rung
