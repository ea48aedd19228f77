"""Background work: counting clicks, dropping what is old, purging what others changed.

A journal that has failed is opened again by the first of them; its crew's back-off is how often.
"""

from bastide.apps.shortener.service.shortener import Shortener
from bastide.base.work import every

FOLD_S = 0.2
TRIM_S = 60.0
PURGE_S = 2.0
CLEAN_S = 6 * 3600.0


async def fold_clicks(shortener: Shortener) -> None:
    await every(FOLD_S, shortener.upkeep.fold_clicks)


async def trim_clicks(shortener: Shortener) -> None:
    await every(TRIM_S, shortener.upkeep.trim_clicks)


async def purge_changed(shortener: Shortener) -> None:
    await every(PURGE_S, shortener.upkeep.purge_changed)


async def clean(shortener: Shortener) -> None:
    await shortener.upkeep.clean()
    await every(CLEAN_S, shortener.upkeep.clean)
