"""Links by their codes, through the cache: what was taken back is never answered.

    follow ──► cache (near, then shared) ──miss──► the row
    change ──► one commit: the row, and a note that its code is to be purged ──► cache lets go
                                                                        ──► note dropped, answered

Why the note? Who dies between the commit and the cache would leave an old link in it for as long as
entries live. So the note lies in the same commit, and whoever finds an old one purges for him. An
end that comes by itself needs none of this: it stands in the entry, and `follow` looks at the
clock.

A cache that fewer processes share than share the database can't be told what the others change;
then the row is read each time.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache

import msgspec

from bastide.apps.shortener.contract import Link
from bastide.apps.shortener.core.codes import is_code
from bastide.apps.shortener.tables import LINK_BY_CODE, PURGE_ADD, PURGES, PURGES_DROP, Note
from bastide.base.rt import runtime
from bastide.base.tx import Tx
from bastide.engines.cache.contract import INVALIDATE_KEYS_MAX, Cache, CacheAway
from bastide.engines.ids.contract import Ids
from bastide.engines.sql.contract import FETCH_ROWS_MAX, Database

CACHED_S = 24 * 3600.0
ABSENT_S = 5.0
NOTE_YOUNG_MS = 1_000  # whoever made it is at it
START_S = 10.0  # so long notes of an earlier life are looked for, until the last is not young
DECODED_MAX = 4_096  # hot links: what the cache gives is mostly what it gave before
DOUBT_S = 120.0  # since our last note: so long a commit may be on its way whose answer we never had

_encode = msgspec.msgpack.Encoder().encode
_decode = lru_cache(DECODED_MAX)(msgspec.msgpack.Decoder(Link).decode)


class Lookup:
    """`cache` None: none is shared by all who share the database. `crowded`: others may share
    both, and leave notes.
    """

    def __init__(self, db: Database, ids: Ids, cache: Cache | None, *, crowded: bool) -> None:
        self._db = db
        self._ids = ids
        self._cache = cache
        self._crowded = crowded
        self._look_until_s = runtime.monotonic() + START_S

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

    async def note(self, tx: Tx, codes: Sequence[str]) -> Sequence[Note]:
        """In the commit that changes them: they are to be purged. Each has a link."""
        self._look_until_s, now_ms = runtime.monotonic() + DOUBT_S, runtime.now_ms()
        notes = [Note(self._ids.new(), code, now_ms) for code in codes]
        await tx.run_many(PURGE_ADD, [msgspec.structs.asdict(note) for note in notes])
        return notes

    async def purge(self, notes: Sequence[Note]) -> None:
        """After the commit, before its answer: from now on nobody answers with what was true
        before. Only these notes are dropped: who changed the same link meanwhile has his own.

        Raises:
            CacheAway: somebody may; the notes stay.
        """
        if notes:
            await self.let_go([note.code for note in notes])
            await self._db.write(PURGES_DROP, ids=[note.id for note in notes])

    async def purge_old(self) -> None:
        """What was noted and not purged: by others, or by a change of ours whose answer was lost.

        Raises:
            Unavailable
        """
        if not self._crowded and runtime.monotonic() > self._look_until_s:
            return
        while notes := await self._db.fetch(PURGES, limit=FETCH_ROWS_MAX):
            until_ms = runtime.now_ms() - NOTE_YOUNG_MS
            old = [note for note in notes if note.changed_at_ms <= until_ms]
            await self.purge(old)
            if len(old) < FETCH_ROWS_MAX:
                return

    async def appeared(self, codes: Sequence[str]) -> None:
        """Links that were made: that there was none is forgotten. A cache that is away has
        forgotten it after ABSENT_S, whatever happens.
        """
        with suppress(CacheAway):
            await self.let_go(codes)

    async def let_go(self, codes: Sequence[str]) -> None:
        """
        Raises:
            CacheAway
        """
        if self._cache is not None:
            for first in range(0, len(codes), INVALIDATE_KEYS_MAX):
                await self._cache.invalidate(codes[first : first + INVALIDATE_KEYS_MAX])
