"""The key pool: random keys made ahead, marked used when a process claims a block of them.

    made ──────────> unused (POOL of them at least, after each filling) ──claim of BLOCK──> used

A used row stays: that is what keeps its key from being made again. What a process had claimed when
it died is lost, as numbers are. A pool has a counter's row too (`key7:links`), which counts the
keys made, so that pools are counted among the series.
"""

import asyncio

from bastide.base.rt import runtime
from bastide.base.tx import Tx, Value
from bastide.engines.ids.contract import SeriesSpent
from bastide.engines.ids.core.radix import BASE62, encode
from bastide.engines.ids.service.codes import checked_length
from bastide.engines.ids.service.counters import checked, claim
from bastide.engines.ids.service.rows import agreed
from bastide.engines.ids.tables import (
    KEY_ADD,
    KEYS_PRESENT,
    KEYS_UNUSED,
    KEYS_UNUSED_COUNT,
    KEYS_USE,
)
from bastide.engines.sql.contract import Database

POOL = 1_000
BLOCK = 100  # claimed, or made, in one commit: about a millisecond of the loop

SPARE_BYTES = 16  # more than a word needs, so that a remainder prefers none by over 2^-128


def random_word(length: int) -> str:
    token = runtime.current().chance.token(length + SPARE_BYTES)
    return encode(int.from_bytes(token) % 62**length, BASE62, width=length)


class KeyPool:
    def __init__(self, db: Database) -> None:
        self._db = db
        self._claimed: dict[str, list[str]] = {}
        self._claiming = asyncio.Lock()
        self._low: dict[str, int] = {}  # pools to fill, and their keys' length
        self._wanted = asyncio.Event()

    async def next(self, series: str, length: int) -> str:
        pool = f"key{checked_length(length)}:{checked(series)}"
        while not (words := self._claimed.get(pool)):
            await self._claim(pool, length)
        return words.pop()

    async def _claim(self, pool: str, length: int) -> None:
        async with self._claiming:
            if self._claimed.get(pool):  # by whoever was before us at the lock
                return
            while not (words := await self._taken(pool)):
                # A new pool, or one that others empty faster than it is filled.
                if not await self._make(pool, length):
                    raise SeriesSpent(f"{pool}: hardly a key of {length} characters is left")
            self._claimed[pool] = words
        self._low[pool] = length
        self._wanted.set()

    async def _taken(self, pool: str) -> list[str]:
        async def body(tx: Tx) -> list[str]:
            words = await tx.fetch(KEYS_UNUSED, pool=pool, limit=BLOCK)
            if words:
                await tx.run(KEYS_USE, pool=pool, words=words)
            return words

        return await self._db.transact(body)

    async def _make(self, pool: str, length: int) -> int:
        """How many of BLOCK random keys were new."""
        await claim(self._db, pool, BLOCK)
        words = list(dict.fromkeys(random_word(length) for _ in range(BLOCK)))

        async def body(tx: Tx) -> int:
            present = set(await tx.fetch(KEYS_PRESENT, pool=pool, words=words))
            rows: list[dict[str, Value]] = [
                {"series": pool, "key": w, "used": 0} for w in words if w not in present
            ]
            await tx.run_many(KEY_ADD, rows)
            return len(rows)

        return await agreed(self._db, body)

    async def keep_filled(self) -> None:
        """Fills what was claimed from, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._low:
                await self._fill(*self._low.popitem())

    async def _fill(self, pool: str, length: int) -> None:
        made = BLOCK
        while made and (await self._db.one(KEYS_UNUSED_COUNT, pool=pool) or 0) < POOL:
            made = await self._make(pool, length)
