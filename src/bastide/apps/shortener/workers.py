"""Background work: counting clicks, letting the cache go, telling of ends, dropping what is old."""

from collections.abc import Sequence

from bastide.apps.shortener.contract import EXPIRED_S, Clicked, LinkEvent
from bastide.apps.shortener.service.shortener import Shortener
from bastide.base.tx import Tx
from bastide.base.work import every
from bastide.engines.bus.contract import After

CLEAN_S = 6 * 3600.0


async def count_clicks(shortener: Shortener, tx: Tx, clicks: Sequence[Clicked]) -> After:
    return await shortener.clicks.count(tx, clicks)


async def let_changed_go(shortener: Shortener, events: Sequence[LinkEvent]) -> None:
    await shortener.lookup.let_go(list({event.code: None for event in events}))


async def announce_ended(shortener: Shortener) -> None:
    await every(EXPIRED_S, shortener.upkeep.announce_ended)


async def clean(shortener: Shortener) -> None:
    await shortener.upkeep.clean()
    await every(CLEAN_S, shortener.upkeep.clean)
