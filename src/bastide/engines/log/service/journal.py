"""What a broker must not forget beside records: topics, offsets, groups, producers, transactions.

A map from keys to values, and its history in a seglog: `put` changes the map at once and returns a
place; what is at the place is durable once `kept(place)` returns, and one sync serves all who wait.
Opening reads the history. It is compacted when most of it is old.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from bastide.base.errors import Limited, Unavailable
from bastide.parts.seglog.contract import Options
from bastide.parts.seglog.core import Record
from bastide.parts.seglog.log import Seglog
from bastide.parts.seglog.mending import MendingLog, open_mending

Key = tuple[str | int, ...]
T = TypeVar("T")

SEGMENT_BYTES = 1 << 20
COMPACT_BYTES_MIN = 4 << 20
COMPACT_SHARE = 4  # of the bytes that are alive
NOTHING: dict[Key, bytes] = {}


@asynccontextmanager
async def open_journal(directory: Path) -> AsyncIterator["Journal"]:
    async with open_mending(directory, Options(segment_bytes=SEGMENT_BYTES)) as mending:
        journal = Journal(mending)
        for key, value in (await _history(mending.log)).items():
            journal.set(key, value)
        yield journal
        await journal.rest()


async def _history(log: Seglog) -> dict[Key, bytes]:
    """What it comes to."""
    found: dict[Key, bytes] = {}
    async for entry in log.scan(log.first_offset):
        key: Key = msgspec.msgpack.decode(entry.key or b"", type=tuple)
        if entry.value is None:
            found.pop(key, None)
        else:
            found[key] = entry.value
    return found


class Journal:
    """Keys are found by all of them, or by their first two parts."""

    def __init__(self, mending: MendingLog) -> None:
        self._mending = mending
        self._log = mending.log
        self._shelves: dict[Key, dict[Key, bytes]] = {}  # by the first two
        self._live_bytes = 0
        self._compacting: asyncio.Task[int] | None = None

    def get(self, key: Key, type_: type[T]) -> T | None:
        value = self._shelves.get(key[:2], NOTHING).get(key)
        return None if value is None else msgspec.msgpack.decode(value, type=type_)

    def items(
        self, kind: str, type_: type[T], *, name: str | None = None
    ) -> Iterator[tuple[Key, T]]:
        """Of all keys that begin with `kind`, and `name` if it is given."""
        if name is not None:
            shelves = [self._shelves.get((kind, name), NOTHING)]
        else:
            shelves = [shelf for first, shelf in self._shelves.items() if first[0] == kind]
        for shelf in shelves:
            for key, value in list(shelf.items()):
                yield key, msgspec.msgpack.decode(value, type=type_)

    def put(self, key: Key, value: object) -> int:
        """`value` None: the key is gone. Returns the place to wait for.

        Raises:
            Unavailable: the disk refuses; nothing is changed.
        """
        encoded = None if value is None else msgspec.msgpack.encode(value)
        try:
            place = self._log.append([Record(encoded, key=msgspec.msgpack.encode(key))])
        except Limited as error:
            raise Unavailable(f"too much waits for the disk: {error}") from error
        self.set(key, encoded)
        if self._log.size > COMPACT_BYTES_MIN + COMPACT_SHARE * self._live_bytes:
            self._compact()
        return place

    def set(self, key: Key, value: bytes | None) -> None:
        """In the map alone."""
        shelf = self._shelves.setdefault(key[:2], {})
        self._live_bytes += len(value or b"") - len(shelf.get(key, b""))
        if value is not None:
            shelf[key] = value
            return
        shelf.pop(key, None)
        if not shelf:
            del self._shelves[key[:2]]

    async def kept(self, place: int) -> None:
        """
        Raises:
            Unavailable: with `outcome` unknown.
        """
        await self._log.synced(place)

    async def rest(self) -> None:
        if self._compacting is not None:
            await asyncio.gather(self._compacting, return_exceptions=True)

    def check(self) -> None:
        """Raises what `put` would."""
        self._log.check()

    async def mend(self) -> bool:
        """Opens it again if it has failed, and says so: then it holds what the map holds.

        Raises:
            Unavailable
        """
        if not await self._mending.mend():
            return False
        self._log = self._mending.log
        kept = await _history(self._log)
        live = {key: value for shelf in self._shelves.values() for key, value in shelf.items()}
        changed = {key: value for key, value in live.items() if kept.get(key) != value}
        for key, value in (changed | dict.fromkeys(kept.keys() - live.keys())).items():
            self._log.append([Record(value, key=msgspec.msgpack.encode(key))])
        await self._log.synced(self._log.next_offset - 1)
        return True

    def _compact(self) -> None:
        if self._compacting is None or self._compacting.done():
            now_ms = 1 << 62  # every tombstone: who reads the history reads it from its beginning
            self._compacting = asyncio.create_task(self._log.compact(tombstones_before_ms=now_ms))
