"""Background work: counting clicks, and dropping those that are counted and old.

A journal that has failed is opened again by the first of them; its crew's back-off is how often.
"""

from bastide.apps.shortener.service.shortener import Shortener
from bastide.base.work import every

FOLD_S = 0.2
TRIM_S = 60.0


async def fold_clicks(shortener: Shortener) -> None:
    await every(FOLD_S, shortener.fold_clicks)


async def trim_clicks(shortener: Shortener) -> None:
    await every(TRIM_S, shortener.trim_clicks)
