"""From the journal's clicks to totals and days, in small steps, each click once.

    journal   ...first ················ until ········ now
                   '---- a stretch ----'
    heaps     by link and day, in order: | d | d | d | d | d | d | d | d | d | d | d |
                                           counted ──────┘ done │ the next step ┘

A stretch is counted day by day (a link's), each step some days in one transaction, together with
how far that leads. So a link's rows are read and written once for all its clicks of the stretch,
and the loop is held for no longer than a step takes. Where we are has three numbers that only rise,
kept in `heard`, each in a partition of its own:

    0  all below is counted                            (the stretch's first offset, less one)
    1  where the stretch ends that is being counted    (if that is above the first, one is)
    2  the first offset, and how many of its days are done

Who dies within a stretch heaps the same clicks again, from the journal, and so has the same days in
the same order. A stretch that fits into one step needs only the first number.

Which clicks? Those that this process wrote are heaped when they are written, so that the journal is
read only by one that comes after it. What is not synced is not counted: a power cut may take it,
and its offsets are given again; counted before, the clicks that come to stand there would be
skipped.
"""

from collections import deque
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing

import msgspec

from bastide.apps.shortener.contract import JournalShared
from bastide.apps.shortener.core import clicks as core
from bastide.apps.shortener.core.clicks import LinkDay, Stretch, Tally
from bastide.apps.shortener.service.days import add_days
from bastide.apps.shortener.tables import TOTALS_RAISE
from bastide.base.errors import Unavailable
from bastide.base.tx import Tx, Value
from bastide.base.work import Breath
from bastide.engines.sql.contract import Database
from bastide.parts.seglog.core import entries
from bastide.parts.seglog.log import Seglog

STEP_DAYS = 40  # in one transaction: some 2 ms
STEP_TOLD = 500
READ_BYTES = 32 << 10  # of journal between two looks at the clock
STRETCHES_HELD_MAX = 4  # 20 MB at the very most; what is beyond is read from the journal


class Place(msgspec.Struct, frozen=True):
    """How far the totals are: see above."""

    first: int
    until: int
    mark: int

    @property
    def done(self) -> int:
        """Days of the stretch that begins at `first`."""
        return max(0, self.mark - self.first) if self.is_within else 0

    @property
    def is_within(self) -> bool:
        return self.until > self.first

    @property
    def seqs(self) -> Sequence[int]:
        """As they are heard, by partition."""
        return self.first - 1, self.until, self.mark

    def after(self, stretch: Stretch, done: int) -> "Place":
        if done >= len(stretch.heaps):
            return msgspec.structs.replace(self, first=stretch.until)
        return Place(self.first, stretch.until, self.first + done)


class Fold:
    def __init__(self, source: str, db: Database) -> None:
        self._source = source
        self._db = db
        self._place = Place(0, 0, 0)
        self._perhaps: frozenset[Place] = frozenset()
        """Where the database may be too: a commit would have led there, and its answer was lost."""
        self._stretch = Stretch(0)
        self._days: Sequence[LinkDay] = ()
        self._held: deque[Stretch] = deque(maxlen=STRETCHES_HELD_MAX)

    @property
    def first(self) -> int:
        """All clicks below are in the totals."""
        return self._place.first

    @property
    def needs(self) -> int:
        """All clicks below were in the journal when we were here last."""
        return max(self._place.first, self._place.until)

    async def begin(self) -> None:
        """Finds how far the totals are."""
        self._place = await self._db.transact(self._found)

    def note(self, offset: int, link_id: int, at_ms: int, told: bytes) -> None:
        """A click was written at `offset`."""
        held = self._held
        if not held or held[-1].is_full or held[-1].until != offset:
            held.append(Stretch(offset))
        held[-1].add(link_id, at_ms, told)

    def forget(self) -> None:
        """What was noted may not be what the journal holds: read it there."""
        self._held.clear()

    async def step(self, log: Seglog) -> Collection[int]:
        """Counts some of the clicks that follow; returns their links.

        Raises:
            Unavailable: the journal or the database refuses. What is not counted stays.
            JournalShared.
        """
        stretch, place = await self._current(log), self._place
        days = self._next_days(stretch)
        after = place.after(stretch, place.done + len(days))

        async def body(tx: Tx) -> Place:
            found = await self._found(tx)
            if found != place:
                if found in self._perhaps:
                    return found
                raise self._shared(found.first)
            if days:
                await _count(tx, {day: core.tally(stretch.heaps[day]) for day in days})
            await self._keep(tx, after)
            return after

        may_be = self._perhaps
        self._perhaps = may_be | {after}
        try:
            self._place = await self._db.transact(body)
        except Unavailable as error:
            if error.outcome == "none":
                self._perhaps = may_be
            raise
        self._perhaps = frozenset()
        return {link_id for link_id, _ in days}

    async def _current(self, log: Seglog) -> Stretch:
        if self._stretch.first != self._place.first or not self._days:
            self._stretch = await self._next_stretch(log)
            self._days = sorted(self._stretch.heaps)
        return self._stretch

    async def _next_stretch(self, log: Seglog) -> Stretch:
        place, held = self._place, self._held
        if place.first < log.first_offset:  # gone; and who knows which days of it are counted
            gone = Stretch(place.first)
            gone.until = max(log.first_offset, place.until)
            return gone
        if place.is_within:
            return await _read(log, place.first, place.until)
        while held and held[0].first < place.first:
            held.popleft()
        if held and held[0].first == place.first:
            stretch = held.popleft()
            await log.synced(stretch.until - 1)
            return stretch
        until = min(held[0].first, log.durable_offset) if held else log.durable_offset
        return await _read_some(log, place.first, until)

    def _next_days(self, stretch: Stretch) -> Sequence[LinkDay]:
        days, told = [], 0
        for day in self._days[self._place.done :][:STEP_DAYS]:
            days.append(day)
            told += len(stretch.heaps[day])
            if told >= STEP_TOLD:
                break
        return days

    async def _found(self, tx: Tx) -> Place:
        below, until, mark = [await tx.heard(self._source, partition) for partition in range(3)]
        return Place(below + 1, until, mark)

    async def _keep(self, tx: Tx, place: Place) -> None:
        for partition, (seq, before) in enumerate(zip(place.seqs, self._place.seqs, strict=True)):
            if seq != before:
                await tx.hear(self._source, partition, seq)

    def _shared(self, counted: int) -> JournalShared:
        return JournalShared(
            f"{counted} clicks of journal {self._source} are counted, and we have counted "
            f"{self._place.first}: does another process run with a copy of it? Stop this one and "
            f"move its journal away; it keeps the clicks that are in no total"
        )


async def _count(tx: Tx, tallies: Mapping[LinkDay, Tally]) -> None:
    totals = core.totals(tallies)
    await tx.run_many(TOTALS_RAISE, [_total_row(*total) for total in totals.items()])
    await add_days(tx, tallies)


def _total_row(link_id: int, tally: Tally) -> Mapping[str, Value]:
    return {
        "link_id": link_id,
        "more_clicks": tally.clicks + tally.bots,
        "more_bots": tally.bots,
    }


async def _read(log: Seglog, first: int, until: int) -> Stretch:
    stretch = Stretch(first)
    async for record in _records(log, first, until):
        stretch.add_record(record)
    return stretch


async def _read_some(log: Seglog, first: int, until: int) -> Stretch:
    """As much as a stretch takes."""
    stretch = Stretch(first)
    async with aclosing(_records(log, first, until)) as records:
        async for record in records:
            stretch.add_record(record)
            if stretch.is_full:
                break
    return stretch


async def _records(log: Seglog, offset: int, until: int) -> AsyncGenerator[bytes, None]:
    breath = Breath()
    while offset < until:
        for batch in log.read(offset, bytes_max=READ_BYTES):
            for entry in entries(batch, offset):
                if entry.offset == until:
                    return
                assert entry.value is not None
                yield entry.value
            offset = batch.next_offset
        await breath.taken()
