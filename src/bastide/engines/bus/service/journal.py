"""The journal of a process: events without a row, until they are in the log.

A directory with a random name, which is also the source's: if it is lost, a new one begins under a
new name, and its events are not taken for old ones.
"""

import logging
import re
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

from bastide.base.errors import Limited, Unavailable
from bastide.base.rt import runtime
from bastide.engines.bus.contract import JournalRefuses
from bastide.parts.seglog.contract import Options
from bastide.parts.seglog.core import entries
from bastide.parts.seglog.mending import MendingLog, open_mending

SYNC_WITHIN_S = 0.01
SEGMENT_BYTES = 4 << 20
READ_BYTES = 64 << 10
TAIL_BYTES = 8 << 20  # of records, held in memory
SIZE_EVERY = 256  # records: the size is a sum over all files

_NAME = re.compile(r"[0-9a-f]{16}")
_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_journal(
    directory: Path, *, bytes_max: int, segment_bytes: int = SEGMENT_BYTES
) -> AsyncIterator["Journal"]:
    """The journal below `directory`, made if absent.

    Raises:
        JournalRefuses: it can't be opened. SegmentDamaged: what was recorded is damaged.
    """
    disk, chance = runtime.current().disk, runtime.current().chance
    disk.make_directory(directory)
    names = [name for name in disk.list_directory(directory) if _NAME.fullmatch(name)]
    own = directory / (names[0] if names else chance.token(8).hex())
    options = Options(segment_bytes=segment_bytes, sync_within_s=SYNC_WITHIN_S)
    async with open_mending(own, options) as mending:
        yield Journal(own.name, mending, bytes_max=bytes_max)


class Tail:
    """Records from offset `first` on that are yet to be relayed: so that the relay reads its files
    only for what it did not write, or what was too much.
    """

    def __init__(self, first: int) -> None:
        self.first = first
        self._records: deque[bytes] = deque()
        self._bytes = 0

    def add(self, place: int, record: bytes) -> None:
        """If there is room for it, and none was left out between; or all others are gone."""
        if not self._records:
            self.first = place
        if self._bytes < TAIL_BYTES and place == self.first + len(self._records):
            self._records.append(record)
            self._bytes += len(record)

    def taken(self, first: int, count: int) -> Sequence[bytes]:
        """At most `count` from `first` on; none: they are not here. Those before are let go, and
        these stay: they may be asked for again.
        """
        records = self._records
        while self.first < first and records:
            self._bytes -= len(records.popleft())
            self.first += 1
        return list(islice(records, count)) if self.first == first else ()


class Journal:
    """`bytes_max`: of what is not relayed yet."""

    def __init__(self, name: str, mending: MendingLog, *, bytes_max: int) -> None:
        self.name = name
        self._mending = mending
        self._log = mending.log
        self._bytes_max = bytes_max
        self._tail = Tail(self._log.next_offset)

    @property
    def next(self) -> int:
        """What the next record gets."""
        return self._log.next_offset

    @property
    def first(self) -> int:
        return self._log.first_offset

    @property
    def durable(self) -> int:
        """All below survives a power cut: no more may be relayed, or else a number might be given
        to another event.
        """
        return self._log.durable_offset

    @property
    def size(self) -> int:
        return self._log.size

    def append(self, record: bytes) -> int:
        """Written, and its place.

        Raises:
            JournalRefuses
        """
        if not self._log.next_offset % SIZE_EVERY:
            self._check_size()
        try:
            place = self._log.append_now(record)
        except Limited as error:
            raise JournalRefuses(f"the journal of events takes none: {error}") from error
        except Unavailable as error:
            told = f"the journal of events takes none: {error}"
            raise JournalRefuses(told, outcome=error.outcome) from error
        self._tail.add(place, record)
        return place

    async def synced(self, place: int) -> None:
        try:
            await self._log.synced(place)
        except Unavailable as error:
            raise JournalRefuses(str(error), outcome=error.outcome) from error

    def check(self) -> None:
        """
        Raises:
            JournalRefuses
        """
        self._check_size()
        try:
            self._log.check()
        except Unavailable as error:
            raise JournalRefuses(f"the journal of events: {error}") from error

    def _check_size(self) -> None:
        if self._log.size > self._bytes_max:
            raise JournalRefuses(
                f"{self._log.size >> 20} MB of events wait in the journal for the log; "
                f"{self._bytes_max >> 20} are taken (journal_mb_max)"
            )

    async def mend(self) -> bool:
        """Opens it again if it has failed, and says so.

        Raises:
            Unavailable
        """
        try:
            if not await self._mending.mend():
                return False
        except Unavailable as error:
            raise JournalRefuses(f"the journal of events: {error}") from error
        self._log = self._mending.log
        self._tail = Tail(self._log.next_offset)
        _log.warning("the journal of events had failed, and is open again")
        return True

    def read(self, first: int, until: int, *, count_max: int) -> Sequence[bytes]:
        """Records from `first` on, below `until`, about READ_BYTES of them.

        Raises:
            OffsetGone, Unavailable
        """
        if held := self._tail.taken(first, min(until - first, count_max)):
            return held
        found: list[bytes] = []
        while first < until and not found:
            for batch in self._log.read(first, bytes_max=READ_BYTES):
                for entry in entries(batch, first):
                    if entry.offset >= until or len(found) >= count_max:
                        return found
                    assert entry.value is not None, "the journal has values alone"
                    found.append(entry.value)
                first = batch.next_offset
        return found

    async def trim(self, below: int) -> None:
        """Drops whole files of what is relayed."""
        await self._log.trim(below_offset=below, never_from=below)
