"""The relay of a journal: from the process's disk to the log.

    read      what is durable, from where the log has all
    claim     one transaction: the numbers are taken, and those before are in the log
    append    to the log, durable when it returns

A record's number is its offset in the journal. Who dies between the claim and its answer appends
the same again, under the same numbers. Why a claim at all? Two processes on copies of one journal
would give one number to two events, and the second would be skipped by all who hear it. The claim
says so before anything is appended.
"""

import asyncio
import logging
from contextlib import suppress

import msgspec

from bastide.base import faults
from bastide.base.errors import Limited, Unavailable
from bastide.base.rt import runtime
from bastide.base.tx import Tx
from bastide.engines.bus.contract import JournalBehind, JournalShared
from bastide.engines.bus.core.envelopes import unjournalled
from bastide.engines.bus.service.journal import Journal
from bastide.engines.bus.service.post import Letter, Post, fitting
from bastide.engines.bus.tables import RELAY_ADD, RELAY_FIND, RELAY_STEP, Relayed
from bastide.engines.sql.contract import Database

DRAIN_EVENTS = 250  # at once: some 2 ms of the loop
DRAIN_EVENTS_MAX = 4_000  # while many wait: then every turn of the loop is dear
LOOK_S = 0.05  # while nobody asks; what is recorded is synced by then
TRIM_S = 10.0
TRIM_BYTES = 16 << 20

_log = logging.getLogger(__name__)


class Drain:
    def __init__(self, client: str, db: Database, journal: Journal, post: Post) -> None:
        self.source = f"{client}-{journal.name}"
        self._db = db
        self._journal = journal
        self._post = post
        self._relayed: Relayed | None = None
        self._sent_kept = 0
        self._perhaps: set[int] = set()  # beats that the row may have: the answer was lost
        self._stopped: Unavailable | None = None
        self._wanted = asyncio.Event()
        self._moved = asyncio.Event()
        self._trimmed_s = runtime.monotonic()
        self.error = ""

    @property
    def sent(self) -> int:
        """All below is in the log."""
        return self._relayed.sent if self._relayed else self._journal.first

    @property
    def unrelayed(self) -> int:
        return self._journal.next - self.sent

    def check(self) -> None:
        """
        Raises:
            JournalBehind, JournalShared: what is recorded here would be skipped by who hears it.
        """
        if self._stopped is not None:
            raise self._stopped

    async def until(self, place: int) -> bool:
        """Whether all below `place` is in the log; waits while it goes there."""
        while self._relayed is None or self.sent < place:
            if self.error:
                return False
            self._moved.clear()
            self._wanted.set()
            await self._moved.wait()
        return True

    async def begin(self) -> None:
        """Finds how far the log has it.

        Raises:
            JournalBehind, JournalShared. Unavailable: the database is away.
        """
        found = await self._db.transact(self._found)
        known, self._relayed = self._relayed, None
        if known is not None and found.beat not in {known.beat, *self._perhaps}:
            raise self._shared()
        if found.taken > self._journal.next:
            self._stopped = JournalBehind(
                f"{found.taken} events of journal {self._journal.name} were relayed, and it holds "
                f"{self._journal.next}: put the newest copy back, or move its directory away"
            )
            raise self._stopped
        self._sent_kept, sent = found.sent, max(found.sent, known.sent if known else 0)
        if sent < self._journal.first:
            lost = (sent, self._journal.first - 1)
            _log.error("events %d to %d of the journal are gone: is the database older?", *lost)
            sent = self._journal.first
        self._relayed = msgspec.structs.replace(found, sent=sent)
        self._perhaps.clear()
        self._moved.set()

    async def run(self) -> None:
        """Relays until cancelled.

        Raises:
            Unavailable, Limited: the journal, the database or the log refuses.
        """
        try:
            self.check()
            await self._journal.mend()
            await self.begin()
            while True:
                await self._drain()
                self.error = ""
                await self._trim()
                await self._pause()
                if await self._journal.mend():
                    await self.begin()
        except (Unavailable, Limited) as error:
            self.error = str(error)
            self._moved.set()
            raise

    async def _drain(self) -> None:
        wanted = self._wanted.is_set()
        self._wanted.clear()
        if wanted and self._journal.next > self._journal.durable:
            await self._journal.synced(self._journal.next - 1)
        while (until := self._journal.durable) > self.sent:
            await self._step(until)
        if self.sent > self._sent_kept:
            await self._claim(self.sent)  # so that who comes after us repeats nothing
            faults.point("bus.kept")

    async def _step(self, until: int) -> None:
        first = self.sent
        count = min(max(DRAIN_EVENTS, (until - first) // 4), DRAIN_EVENTS_MAX)
        records = self._journal.read(first, until, count_max=count)
        letters = []
        for seq, record in enumerate(records, first):
            topic, key, event = unjournalled(record)
            letters.append(Letter(topic, key, seq, event))
        letters = list(fitting(letters))
        faults.point("bus.read")
        await self._claim(first + len(letters))
        faults.point("bus.claimed")
        await self._post.send(self.source, letters)
        faults.point("bus.drained")
        assert self._relayed is not None
        self._relayed = msgspec.structs.replace(self._relayed, sent=first + len(letters))
        self._moved.set()

    async def _claim(self, taken: int) -> None:
        before = self._relayed
        assert before is not None
        after = msgspec.structs.replace(
            before, taken=max(taken, before.taken), beat=before.beat + 1
        )

        async def body(tx: Tx) -> bool:
            done = await tx.run(
                RELAY_STEP,
                of=self.source,
                seen=before.beat,
                taken=after.taken,
                sent=after.sent,
                holder="",
            )
            return done == 1

        try:
            ours = await self._db.transact(body)
        except Unavailable as error:
            if error.outcome != "none":
                self._perhaps.add(after.beat)
            raise
        if not ours:
            raise self._shared()
        self._relayed, self._sent_kept = after, after.sent

    def _shared(self) -> JournalShared:
        self._stopped = JournalShared(
            f"the journal {self._journal.name} is relayed by somebody else too: one of the two is "
            "a copy; move one away"
        )
        return self._stopped

    async def _found(self, tx: Tx) -> Relayed:
        found = await tx.one(RELAY_FIND, source=self.source)
        if found is None:
            await tx.run(RELAY_ADD, source=self.source, kind="journal", taken=0, sent=0)
            found = Relayed(self.source, 0, 0, "", 0)
        return found

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._wanted.wait()

    async def _trim(self) -> None:
        now_s = runtime.monotonic()
        if now_s - self._trimmed_s > TRIM_S or self._journal.size > TRIM_BYTES:
            self._trimmed_s = now_s
            await self._journal.trim(self._sent_kept)
