"""Links by their codes, through the cache: what was taken back is never answered.

    follow ──► cache (near, then shared) ──miss──► the row
    change ──► one commit: the row, and an event ──► cache lets go ──► answered
                                       └──► bus ──► cache lets go, if nobody lived to do it

Who dies between the commit and the cache would leave an old link in it for as long as entries
live. So whoever hears of a change lets go, too: mostly for nothing. An end that comes by itself
needs none of this: it stands in the entry, and `follow` looks at the clock.

A cache that fewer processes share than share the database can't be told what the others change;
then the row is read each time.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache

import msgspec

from bastide.apps.shortener.contract import Link
from bastide.apps.shortener.core.codes import is_code
from bastide.apps.shortener.tables import LINK_BY_CODE
from bastide.engines.cache.contract import INVALIDATE_KEYS_MAX, Cache, CacheAway
from bastide.engines.sql.contract import Database

CACHED_S = 24 * 3600.0
ABSENT_S = 5.0
DECODED_MAX = 4_096  # hot links: what the cache gives is mostly what it gave before

_encode = msgspec.msgpack.Encoder().encode
_decode = lru_cache(DECODED_MAX)(msgspec.msgpack.Decoder(Link).decode)


class Lookup:
    """`cache` None: none is shared by all who share the database."""

    def __init__(self, db: Database, cache: Cache | None) -> None:
        self._db = db
        self._cache = cache

    async def get(self, code: str) -> Link | None:
        """As of some moment since this call began; what is only shown (title, tags) left out if it
        comes from the cache.
        """
        if not is_code(code):
            return None
        if self._cache is None:
            return await self._db.one(LINK_BY_CODE, code=code)

        async def load() -> bytes | None:
            link = await self._db.one(LINK_BY_CODE, code=code)
            return _encode(msgspec.structs.replace(link, title="", tags=())) if link else None

        found = await self._cache.get_or_load(code, load, ttl_s=CACHED_S, absent_ttl_s=ABSENT_S)
        return None if found is None else _decode(found)

    async def appeared(self, codes: Sequence[str]) -> None:
        """Links that were made: that there was none is forgotten. A cache that is away has
        forgotten it after ABSENT_S, whatever happens.
        """
        with suppress(CacheAway):
            await self.let_go(codes)

    async def let_go(self, codes: Sequence[str]) -> None:
        """After the commit that changes them: from now on nobody answers with what was true before.

        Raises:
            CacheAway: somebody may, until the cache is back and the change was heard.
        """
        if self._cache is not None:
            for first in range(0, len(codes), INVALIDATE_KEYS_MAX):
                await self._cache.invalidate(codes[first : first + INVALIDATE_KEYS_MAX])
