"""A group's member in one process: batches from the log to the handler, each event's effect once.

    poll ──► calls ──► one transaction: where the group reads on moves, if it is where we think
                       it is; what was heard before is left out; the handler has its effect;
                       the highest number of each source is kept ──► after

The offset is in the database and not in the log, because there it moves with the effect. The log is
told, too, now and then: that is for who looks at its groups.

Beside the offset stands the group's generation. Who has a lower one was deposed by a rebalance: its
partitions are somebody else's, and it can't move the offset. A lower one may also mean that the
group was made anew, and counts from the beginning: then the log takes a commit of ours, as it takes
none of a deposed member, and the row gets our number.

An event that fails in a batch is found by taking them one by one. It is tried again, later and
later, while those behind it wait, for they may be of its key; after that it is a dead letter, in
the very transaction that moves on.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from itertools import groupby

import msgspec

from bastide.base import faults
from bastide.base.errors import Limited, Unavailable
from bastide.base.events import Consume, Event
from bastide.base.rt import runtime
from bastide.base.tx import Duplicate, Tx
from bastide.base.work import Breath, jittered
from bastide.engines.bus.contract import After, Calls, Handler
from bastide.engines.bus.core.envelopes import Envelope, Unreadable, opened, packed
from bastide.engines.bus.core.letters import (
    DeadLettered,
    dead_topic_of,
    reason_of,
    shown_key,
    shown_value,
)
from bastide.engines.bus.core.reading import Reader
from bastide.engines.bus.core.turns import BATCH_EVENTS_MIN, next_batch, wait_s
from bastide.engines.bus.model import Settings
from bastide.engines.bus.tables import (
    HEARD_ADD,
    HEARD_FIND,
    HEARD_RAISE,
    OFFSET_ADD,
    OFFSET_CLAIM,
    OFFSET_FIND,
    OFFSET_MOVE,
    OUTBOX_ADD,
    Offset,
)
from bastide.engines.log.contract import Ends, Entry, Log, Member, MemberDeposed, Place
from bastide.engines.sql.contract import BodyCut, Database

POLL_S = 1.0
SESSION_S = 15.0  # a batch may take so long, and a town that was killed is waited for as long
TELL_S = 1.0
REST_MAX_S = 0.1

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class Deposed(Exception):
    """The group has gone on without us."""


class Told(msgspec.Struct, frozen=True, gc=False):
    """An entry of the log that was read."""

    entry: Entry
    envelope: Envelope
    event: Event

    @property
    def seq(self) -> int:
        return int(self.envelope.id)


class Consumer:
    """`published` is called when a dead letter was put into the outbox."""

    def __init__(
        self,
        client: str,
        row: Consume,
        db: Database,
        log: Log,
        settings: Settings,
        published: Callable[[], None],
    ) -> None:
        self.row = row
        self.group = f"{client}.{row.group}"
        self.reader = Reader(row.topic)
        self.handler: Handler | None = None
        self.calls: Calls | None = None
        self.handled = self.repeated = self.dead = 0
        self.error = ""
        self._client = client
        self._db = db
        self._log = log
        self._settings = settings
        self._published = published
        self._log_id = ""
        self._generation = -1
        self._next: dict[int, int] = {}
        self._batch = BATCH_EVENTS_MIN
        self._tried: dict[int, tuple[int, int]] = {}  # offset and tries, by partition
        self._told: dict[int, int] = {}
        self._told_s = runtime.monotonic()
        self._hurried = asyncio.Event()
        self._moved: set[asyncio.Future[None]] = set()

    # --- for who waits --------------------------------------------------------------------------

    async def moved(self) -> None:
        """Returns when some effect was committed here; it does not rest meanwhile."""
        self._hurried.set()
        waiting = asyncio.get_running_loop().create_future()
        self._moved.add(waiting)
        try:
            await waiting
        finally:
            self._moved.discard(waiting)

    async def reads_on_at(self, partition: int) -> int | None:
        """Where the group reads on, whoever of it does; None: it has not begun."""
        found = await self._db.one(OFFSET_FIND, **self._here(partition))
        return None if found is None else found.next

    async def identify(self) -> None:
        """Finds which log it is.

        Raises:
            LogAway
        """
        if not self._log_id:
            self._log_id = await self._log.identity()

    # --- hearing --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Hears until cancelled.

        Raises:
            Unavailable, Limited: the log, the database, or what a handler uses is away, or takes
                no more.
        """
        try:
            self._log_id = await self._log.identity()
            topics, self._generation = [self.row.topic.name], -1
            async with self._log.member(self.group, topics, session_s=SESSION_S) as member:
                while True:
                    await self._turn(member)
        except (Unavailable, Limited) as error:
            self.error = str(error)
            raise

    async def _turn(self, member: Member) -> None:
        entries = await member.poll(entries_max=self._batch, wait_s=POLL_S)
        began_s = runtime.monotonic()
        faults.point("bus.polled")
        try:
            if member.generation != self._generation:
                await self._take_places(member)
                return  # what was read may not be what follows
            for partition, part in groupby(entries, key=lambda entry: entry.partition):
                await self._deal(partition, list(part))
            await self._tell(member)
            self.error = ""
            await self._rest(len(entries), runtime.monotonic() - began_s)
        except (Deposed, MemberDeposed):
            self._generation = -1

    async def _rest(self, came: int, took_s: float) -> None:
        """Who is behind lets others go on for as long as a batch took: they may not be able to
        wait.
        """
        is_behind = came >= self._batch
        self._batch = next_batch(self._batch, came)
        if is_behind and took_s > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(took_s, REST_MAX_S)):
                    await self._hurried.wait()
        self._hurried.clear()

    async def _take_places(self, member: Member) -> None:
        """Its partitions, in the database and in the log."""
        self._next, self._told = {}, {}
        ends = await self._log.ends(self.row.topic.name)
        for topic, partition in member.partitions:
            self._next[partition] = await self._claimed(member, partition, ends[partition])
            faults.point("bus.placed")
            member.seek(Place(topic, partition, self._next[partition]))
        self._generation = member.generation

    async def _claimed(self, member: Member, partition: int, ends: Ends) -> int:
        """Where it reads on. From now on whoever had the partition before moves nothing."""
        here, generation = self._here(partition), member.generation
        found = await self._db.one(OFFSET_FIND, **here)
        if found is not None and found.generation > generation:
            await member.commit([Place(self.row.topic.name, partition, ends.first)])
        next_ = self._sane(partition, found, ends)

        async def body(tx: Tx) -> bool:
            if found is None:
                await tx.run(OFFSET_ADD, **here, next=next_, generation=generation)
                return True
            known = {"from_generation": found.generation, "generation": generation}
            return await tx.run(OFFSET_CLAIM, **here, **known, next=next_) == 1

        try:
            if await self._db.transact(body):
                return next_
        except Duplicate as error:
            raise Deposed from error
        raise Deposed

    def _sane(self, partition: int, found: Offset | None, ends: Ends) -> int:
        if found is None:
            return ends.first
        place = f"{self.row.topic.name} {partition}"
        if found.next > ends.next:
            _log.error("%s of %s ends before what was read: it was made anew", place, self.group)
            return ends.first
        if found.next < ends.first:
            _log.error("%s: the log dropped what %s has not heard", place, self.group)
            return ends.first
        return found.next

    def _here(self, partition: int) -> dict[str, str | int]:
        return {
            "of_log": self._log_id,
            "of_topic": self.row.topic.name,
            "of_consumer": self.row.group,
            "of_partition": partition,
        }

    # --- effects --------------------------------------------------------------------------------

    async def _deal(self, partition: int, entries: Sequence[Entry]) -> None:
        try:
            if len(entries) > 1:
                told, breath = list[Told](), Breath()
                for entry in entries:
                    told.append(self.read(entry))
                    await breath.taken()
                await self._apply(partition, told, entries[-1].offset + 1)
                return
        except Exception as error:
            if _is_passing(error):
                raise
        for entry in entries:
            await self._deal_with_one(partition, entry)

    def read(self, entry: Entry) -> Told:
        """
        Raises:
            Unreadable
        """
        envelope = opened(entry.record.value)
        return Told(entry, envelope, self.reader.event_in(envelope))

    async def _deal_with_one(self, partition: int, entry: Entry) -> None:
        """Its tries are counted on if it is read again, as by a member that was deposed meanwhile:
        else one whose tries take longer than a session would never come to an end.
        """
        place, tries = self._tried.get(partition, (-1, 0))
        if place != entry.offset:
            tries = 0
        while True:
            tries += 1
            self._tried[partition] = (entry.offset, tries)
            try:
                told = [self.read(entry)]
                await self._apply(partition, told, entry.offset + 1)
                break
            except Unreadable as error:
                await self._bury(partition, entry, error, tries=0)
                break
            except Exception as error:
                if _is_passing(error):
                    self._tried[partition] = (entry.offset, tries - 1)
                    raise
                if tries >= self._settings.tries:
                    await self._bury(partition, entry, error, tries=tries)
                    break
                self.error = reason_of(error)
            await asyncio.sleep(jittered(wait_s(tries, self._settings.retry_s)))

    async def _apply(self, partition: int, told: Sequence[Told], next_: int) -> None:
        if self.calls is not None:
            await self.calls([one.event for one in told])
            faults.point("bus.called")

        async def body(tx: Tx) -> tuple[int, After | None]:
            await self._move(tx, partition, next_)
            fresh = await self._fresh(tx, partition, told)
            faults.point("bus.moved")
            after = None
            if fresh and self.handler is not None:
                after = await self.handler(tx, [one.event for one in fresh])
            faults.point("bus.handled")
            return len(fresh), after

        count, after = await self._db.transact(body)
        faults.point("bus.committed")
        self._next[partition] = next_
        self.handled += count
        self.repeated += len(told) - count
        self._wake()
        if after is not None:
            await self.ring(after)
            faults.point("bus.rung")

    async def _move(self, tx: Tx, partition: int, next_: int) -> None:
        """
        Raises:
            Deposed: the offset is not where we left it, or somebody else's.
        """
        known = {"from_next": self._next[partition], "from_generation": self._generation}
        if not await tx.run(OFFSET_MOVE, **self._here(partition), **known, next=next_):
            raise Deposed

    async def _fresh(self, tx: Tx, partition: int, told: Sequence[Told]) -> Sequence[Told]:
        """What was not heard before. Within a source numbers rise, but for repetitions."""
        fresh, highest = list[Told](), dict[str, int]()
        for one in told:
            source = one.envelope.source
            if source not in highest:
                found = await tx.one(HEARD_FIND, **self._from(partition, source))
                highest[source] = -1 if found is None else found
            if one.seq > highest[source]:
                highest[source] = one.seq
                fresh.append(one)
        for source in {one.envelope.source for one in fresh}:
            await self._keep_heard(tx, partition, source, highest[source])
        return fresh

    async def _keep_heard(self, tx: Tx, partition: int, source: str, seq: int) -> None:
        here = self._from(partition, source)
        if not await tx.run(HEARD_RAISE, **here, seq=seq):
            await tx.run(HEARD_ADD, **here, seq=seq)

    def _from(self, partition: int, source: str) -> dict[str, str | int]:
        return {
            "of_topic": self.row.topic.name,
            "of_consumer": self.row.group,
            "of_partition": partition,
            "of_source": source,
        }

    async def _bury(self, partition: int, entry: Entry, error: Exception, *, tries: int) -> None:
        value, is_base64 = shown_value(entry.record.value)
        letter = DeadLettered(
            topic=entry.topic,
            partition=partition,
            offset=entry.offset,
            group=self.row.group,
            record_key=shown_key(entry.record.key),
            value=value,
            base64=is_base64,
            reason=reason_of(error),
            tries=tries,
            at_ms=runtime.now_ms(),
        )
        waiting = packed("dead.v1", letter.at_ms, _encode(letter))
        topic = dead_topic_of(self._client).name
        told = _named(entry)

        async def body(tx: Tx) -> None:
            await self._move(tx, partition, entry.offset + 1)
            if not told or await self._fresh(tx, partition, told):
                await tx.run(OUTBOX_ADD, topic=topic, key=letter.key, event=waiting)

        await self._db.transact(body)
        faults.point("bus.buried")
        self._next[partition] = entry.offset + 1
        self.dead += 1
        self._published()
        self._wake()
        _log.error(
            "%s heard %s %d at %d and made it a dead letter: %s",
            *(self.group, entry.topic, partition, entry.offset, letter.reason),
        )

    def _wake(self) -> None:
        for waiting in self._moved:
            if not waiting.done():
                waiting.set_result(None)

    async def ring(self, after: After) -> None:
        """Calls what a handler returned; if that fails, the effect stands all the same."""
        try:
            await after()
        except Exception:
            _log.warning("what %s does after a commit failed", self.group, exc_info=True)

    async def _tell(self, member: Member) -> None:
        """The log's groups show how far we are."""
        now_s = runtime.monotonic()
        if self._next == self._told or now_s - self._told_s < TELL_S:
            return
        topic, places = self.row.topic.name, dict(self._next)
        await member.commit([Place(topic, number, next_) for number, next_ in places.items()])
        faults.point("bus.told")
        self._told, self._told_s = places, now_s


def _named(entry: Entry) -> Sequence[Told]:
    """Its source and number, if it has such: what comes twice is no second dead letter."""
    try:
        return [Told(entry, opened(entry.record.value), Event())]
    except Unreadable:
        return []


_PASSING: Collection[type[Exception]] = (Unavailable, Limited, Deposed, MemberDeposed)


def _is_passing(error: Exception) -> bool:
    """It is not the event's fault, and will be well again. A body that takes too long is one."""
    return isinstance(error, tuple(_PASSING)) and not isinstance(error, BodyCut)
