"""The relay of an outbox: from rows to the log.

    fetch       rows that are committed, those first that have a number already
    number      one transaction: each new row gets the source's next number
    append      to the log, durable when it returns
    drop        one transaction: the rows go

Who dies anywhere in this leaves rows behind, and whoever comes next begins with them: their numbers
are kept, so what was appended before is appended again under the same number, and who hears it
skips it.

Why are numbers given here, and not with the rows? They must say in which order rows became visible,
and only who reads them knows that. See `tables.horizon`.

Two relays of one outbox do no harm: each appends all that is numbered and not dropped, in order, so
nothing ever comes into the log before all that has a lower number; and the second of two has
nothing but repetitions. The lock is there to spare these. It costs no commit of its own: `holder`
and `beat` move with the numbers. A holder whose beat stands still for LEASE_S, by the clock of who
looks, is taken for dead.
"""

import asyncio
from collections.abc import Sequence
from math import inf

import msgspec

from bastide.base import faults
from bastide.base.errors import Limited, Unavailable
from bastide.base.rt import runtime
from bastide.base.tx import Tx
from bastide.engines.bus.service.post import Letter, Post, fitting
from bastide.engines.bus.tables import (
    OUTBOX_DROP,
    OUTBOX_FIRST,
    OUTBOX_LAST,
    OUTBOX_NEXT,
    OUTBOX_NUMBER,
    OUTBOX_SPAN,
    RELAY_ADD,
    RELAY_OF_OUTBOX,
    RELAY_STEP,
    UNNUMBERED,
    Relayed,
    Row,
)
from bastide.engines.sql.contract import FETCH_ROWS_MAX, Database

LOOK_FIRST_S = 0.001  # a row may be published, and not committed yet
LOOK_LAST_S = 1.0  # rows of others, who died over them
LEASE_S = 3.0


class Outbox:
    """`exclusive`: no other process has this database."""

    def __init__(
        self, client: str, db: Database, post: Post, *, exclusive: bool, waiting_max: int
    ) -> None:
        self._client = client
        self._db = db
        self._post = post
        self._exclusive = exclusive
        self._waiting_max = waiting_max
        self._me = runtime.current().chance.token(8).hex()
        self._relayed: Relayed | None = None
        self._seen_beat = -1
        self._seen_s = -inf
        self._wanted = asyncio.Event()
        self.waiting = 0  # rows, as far as we know
        self.error = ""

    @property
    def is_full(self) -> bool:
        return self.waiting >= self._waiting_max

    def published(self, count: int = 1) -> None:
        """So many rows were written in a transaction that may commit."""
        self.waiting += count
        self._wanted.set()

    async def until_sent(self) -> bool:
        """Whether all rows that are committed now are in the log; waits while they go there."""
        last = await self._db.one(OUTBOX_LAST)
        while last is not None:
            first = await self._db.one(OUTBOX_FIRST)
            if first is None or first > last:
                break
            if self.error:
                return False
            self._wanted.set()
            await asyncio.sleep(LOOK_FIRST_S)
        return True

    async def run(self) -> None:
        """Relays until cancelled.

        Raises:
            Unavailable, Limited: the database or the log is away.
        """
        try:
            await self._count()
            self._relayed = await self._db.transact(self._found)
            await self._relay()
        except (Unavailable, Limited) as error:
            self.error = str(error)
            raise

    async def _relay(self) -> None:
        look_s = LOOK_FIRST_S
        while True:
            self._wanted.clear()
            if await self.step():
                look_s = LOOK_FIRST_S
                continue
            await asyncio.sleep(LOOK_FIRST_S)
            try:
                async with asyncio.timeout(look_s):
                    await self._wanted.wait()
                look_s = LOOK_FIRST_S
            except TimeoutError:
                look_s = min(2 * look_s, LOOK_LAST_S)

    async def step(self) -> bool:
        """Whether some rows have left.

        Raises:
            Unavailable, Limited.
        """
        if not await self._is_ours():
            self.error = ""
            return False
        rows = await self._db.fetch(OUTBOX_NEXT, limit=FETCH_ROWS_MAX)
        faults.point("bus.fetched")
        if not rows:
            self.waiting, self.error = 0, ""
            return False
        letters = await self._numbered(rows)
        if not letters:
            return False
        faults.point("bus.numbered")
        assert self._relayed is not None
        await self._post.send(self._relayed.source, letters)
        faults.point("bus.appended")
        sent = letters[-1].seq + 1
        await self._drop(rows[: len(letters)], sent=sent, last=len(rows) < FETCH_ROWS_MAX)
        faults.point("bus.dropped")
        self.error = ""
        return True

    async def _is_ours(self) -> bool:
        """Whether we hold the lock, or may take it."""
        known = self._relayed
        if known is None or not (self._exclusive or known.holder == self._me):
            known = self._relayed = await self._db.transact(self._found)
        if self._exclusive or known.holder in ("", self._me):
            return True
        now_s = runtime.monotonic()
        if known.beat != self._seen_beat:
            self._seen_beat, self._seen_s = known.beat, now_s
        return now_s - self._seen_s > LEASE_S

    async def _found(self, tx: Tx) -> Relayed:
        """The outbox's row, made if absent. Its name is random: a new database must not be taken
        for the one before.
        """
        found = await tx.one(RELAY_OF_OUTBOX)
        if found is None:
            source = f"{self._client}-{runtime.current().chance.token(6).hex()}"
            await tx.run(RELAY_ADD, source=source, kind="outbox", taken=0, sent=0)
            found = Relayed(source, 0, 0, "", 0)
        return found

    async def _numbered(self, rows: Sequence[Row]) -> Sequence[Letter]:
        """As many as are sent at once; none, if somebody else is at them."""
        known = self._relayed
        assert known is not None
        number, letters = known.taken, list[Letter]()
        for row in rows:
            seq = row.seq
            if seq == UNNUMBERED:
                seq, number = number, number + 1
            letters.append(Letter(row.topic, row.key.encode(), seq, row.event))
        letters = list(fitting(letters))
        new = [
            {"at": row.place, "number": letter.seq}
            for row, letter in zip(rows, letters, strict=False)
            if row.seq == UNNUMBERED
        ]
        after = msgspec.structs.replace(
            known, taken=known.taken + len(new), holder=self._me, beat=known.beat + 1
        )

        async def body(tx: Tx) -> bool:
            if not await self._stepped(tx, known, after):
                return False
            await tx.run_many(OUTBOX_NUMBER, new)
            return True

        ours = await self._db.transact(body)
        self._relayed = after if ours else None
        return letters if ours else ()

    async def _drop(self, rows: Sequence[Row], *, sent: int, last: bool) -> None:
        """Nothing, if somebody else has taken a step: what he sends he drops, and on SQLite the
        places may be those of newer rows by now.
        """
        known = self._relayed
        assert known is not None
        holder = "" if last else self._me
        after = msgspec.structs.replace(known, sent=sent, holder=holder, beat=known.beat + 1)

        async def body(tx: Tx) -> bool:
            if not await self._stepped(tx, known, after):
                return False
            await tx.run(OUTBOX_DROP, places=[row.place for row in rows])
            return True

        self._relayed = after if await self._db.transact(body) else None
        self.waiting = max(0, self.waiting - len(rows))
        if not last:
            await self._count()

    async def _stepped(self, tx: Tx, before: Relayed, after: Relayed) -> bool:
        """False: somebody else has taken a step since."""
        done = await tx.run(
            RELAY_STEP,
            of=before.source,
            seen=before.beat,
            taken=after.taken,
            sent=after.sent,
            holder=after.holder,
        )
        return done == 1

    async def _count(self) -> None:
        self.waiting = await self._db.one(OUTBOX_SPAN) or 0
