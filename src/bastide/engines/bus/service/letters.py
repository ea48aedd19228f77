"""Dead letters of one client: shown, replayed, discarded.

A relay that dies between its append and its answer leaves a letter twice in the topic. What became
of it is kept under its source and number, so that a copy is as settled as the first, and is not
shown beside it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from bastide.base.errors import Invalid
from bastide.base.rt import runtime
from bastide.base.tx import Duplicate, Tx, Value
from bastide.engines.bus.contract import After, DeadLetterMissing, DeadLetterSettled, EventRefused
from bastide.engines.bus.core.envelopes import Unreadable, opened
from bastide.engines.bus.core.letters import (
    DeadLettered,
    Shelved,
    State,
    dead_topic_of,
    value_of,
)
from bastide.engines.bus.core.reading import Reader
from bastide.engines.bus.service.consumer import Consumer
from bastide.engines.bus.tables import SETTLED_ADD, SETTLED_FIND, SETTLED_OF
from bastide.engines.log.contract import Entry, Log, OffsetAhead, OffsetGone, TopicMissing
from bastide.engines.sql.contract import Database

PAGE_MAX = 100
Effect = Callable[[Tx], Awaitable[After | None]]
PARTITION = 0  # the topic of dead letters has one


class Found(msgspec.Struct, frozen=True):
    offset: int
    letter: DeadLettered
    source: str
    seq: int


class DeadLetters:
    """`consumers` by group."""

    def __init__(
        self, client: str, db: Database, log: Log, consumers: Mapping[str, Consumer]
    ) -> None:
        self._topic = dead_topic_of(client)
        self._reader = Reader(self._topic)
        self._db = db
        self._log = log
        self._consumers = consumers

    async def page(self, *, before: int | None = None, limit: int = 50) -> Sequence[Shelved]:
        """The newest first, those below offset `before`; at most PAGE_MAX.

        Raises:
            LogAway. Unavailable: the database is away.
        """
        try:
            [ends, *_] = await self._log.ends(self._topic.name)
        except TopicMissing:
            return ()
        limit = min(max(limit, 1), PAGE_MAX)
        last = ends.next if before is None else min(max(before, ends.first), ends.next)
        first = max(ends.first, last - limit)
        firsts: dict[tuple[str, int], int] = {}
        found = await self._between(first, last)
        for offset, one in found.items():
            firsts.setdefault((one.source, one.seq), offset)
        states = await self._states(list(firsts))
        return [
            Shelved(offset, found[offset].letter, states.get(name, "waiting"))
            for name, offset in reversed(firsts.items())
        ]

    async def replay(self, offset: int) -> None:
        """The letter's event has its effect now, in one transaction with a note that it had.

        Raises:
            DeadLetterMissing, DeadLetterSettled.
            EventRefused: it can't be read, or nobody here is of its group.
            Whatever the handler raises: it stays a dead letter.
        """
        found = await self._found(offset)
        letter = found.letter
        consumer = self._consumers.get(letter.group)
        if consumer is None or (consumer.handler is None and consumer.calls is None):
            raise EventRefused(f"no group {letter.group!r} hears {letter.topic} here")
        try:
            event = consumer.reader.event_in(opened(value_of(letter)))
        except Unreadable as error:
            raise EventRefused(str(error)) from error
        handler = consumer.handler
        await self._check_waiting(found)
        if consumer.calls is not None:
            await consumer.calls([event])

        async def effect(tx: Tx) -> After | None:
            return await handler(tx, [event]) if handler is not None else None

        after = await self._settle(found, "replayed", effect)
        if after is not None:
            await consumer.ring(after)

    async def discard(self, offset: int) -> None:
        """It will have no effect.

        Raises:
            DeadLetterMissing, DeadLetterSettled.
        """
        found = await self._found(offset)

        async def nothing(tx: Tx) -> None:
            return None

        await self._settle(found, "discarded", nothing)

    async def _settle(self, found: Found, state: State, effect: Effect) -> After | None:
        now_ms = runtime.now_ms()

        async def body(tx: Tx) -> After | None:
            known = await tx.one(SETTLED_FIND, source=found.source, seq=found.seq)
            if known is not None:
                raise DeadLetterSettled(f"the dead letter {found.offset} was {known} before")
            after = await effect(tx)
            note: Mapping[str, Value] = {"source": found.source, "seq": found.seq, "state": state}
            await tx.run(SETTLED_ADD, **note, settled_at_ms=now_ms)
            return after

        try:
            return await self._db.transact(body)
        except Duplicate as error:
            await self._check_waiting(found)  # somebody else was at it
            raise Invalid(f"its handler: {error}") from error

    async def _check_waiting(self, found: Found) -> None:
        known = await self._db.one(SETTLED_FIND, source=found.source, seq=found.seq)
        if known is not None:
            raise DeadLetterSettled(f"the dead letter {found.offset} was {known} before")

    async def _found(self, offset: int) -> Found:
        try:
            found = await self._between(offset, offset + 1)
        except (TopicMissing, OffsetGone, OffsetAhead):
            found = {}
        if offset not in found:
            raise DeadLetterMissing(f"there is no dead letter {offset} in {self._topic.name}")
        return found[offset]

    async def _between(self, first: int, end: int) -> Mapping[int, Found]:
        """By offset, from `first` to `end` (exclusive)."""
        found: dict[int, Found] = {}
        while first < end:
            entries = await self._log.read(self._topic.name, PARTITION, first)
            if not entries:
                break
            for entry in entries:
                letter = self._letter_in(entry)
                if letter is not None and entry.offset < end:
                    found[entry.offset] = letter
            first = entries[-1].offset + 1
        return found

    def _letter_in(self, entry: Entry) -> Found | None:
        """None: somebody else's, on a log where anybody may append."""
        try:
            envelope = opened(entry.record.value)
            event = self._reader.event_in(envelope)
        except Unreadable:
            return None
        assert isinstance(event, DeadLettered), "the topic knows no other event"
        return Found(entry.offset, event, envelope.source, int(envelope.id))

    async def _states(self, names: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], State]:
        found: dict[tuple[str, int], State] = {}
        for source in {source for source, _ in names}:
            seqs = [seq for one, seq in names if one == source]
            rows = await self._db.fetch(SETTLED_OF, source=source, seqs=seqs)
            found |= {(source, row.seq): row.state for row in rows}
        return found
