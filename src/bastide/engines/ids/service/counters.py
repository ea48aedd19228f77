"""Numbers of series: a row holds the next one, and a process claims a thousand at a time."""

import asyncio
import re
from collections.abc import Iterator

from bastide.base.tx import Tx
from bastide.engines.ids.contract import (
    SERIES_CHARACTERS_MAX,
    SERIES_MAX,
    SeriesOver,
    SeriesWrong,
)
from bastide.engines.ids.service.rows import agreed
from bastide.engines.ids.tables import COUNTER_ADD, COUNTER_FIND, COUNTER_RAISE, COUNTERS_COUNT
from bastide.engines.sql.contract import Database

BLOCK = 1_000

_series = re.compile(r"[a-z][a-z0-9._-]*", re.ASCII)


def checked(series: str) -> str:
    """
    Raises:
        SeriesWrong.
    """
    if not _series.fullmatch(series) or len(series) > SERIES_CHARACTERS_MAX:
        raise SeriesWrong(
            f"the series {series[:SERIES_CHARACTERS_MAX]!r}: a name is a lower-case letter, then "
            f"letters, digits, '.', '_', '-', in all at most {SERIES_CHARACTERS_MAX}"
        )
    return series


class Counters:
    """A row is named kind:series, so that the numbers and the codes of a series don't mix."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._left: dict[str, Iterator[int]] = {}
        self._claiming = asyncio.Lock()

    async def next(self, name: str) -> int:
        number = next(self._left.get(name, _NONE), None)
        return await self._claimed(name) if number is None else number

    async def _claimed(self, name: str) -> int:
        async with self._claiming:  # whoever waited here may find a block claimed meanwhile
            number = next(self._left.get(name, _NONE), None)
            if number is not None:
                return number
            first = await claim(self._db, name, BLOCK)
            self._left[name] = iter(range(first + 1, first + BLOCK))
            return first


async def claim(db: Database, name: str, count: int) -> int:
    """The first of `count` numbers that are the caller's alone.

    Raises:
        SeriesOver. Also as `Database.transact`.
    """

    async def body(tx: Tx) -> int:
        first = await tx.one(COUNTER_FIND, name=name)
        if first is not None:
            await tx.run(COUNTER_RAISE, name=name, count=count)
            return first
        if (await tx.one(COUNTERS_COUNT) or 0) >= SERIES_MAX:
            raise SeriesOver(f"there are {SERIES_MAX} counters already: no new one for {name}")
        await tx.run(COUNTER_ADD, series=name, next=count)
        return 0

    return await agreed(db, body)


_NONE: Iterator[int] = iter(())
