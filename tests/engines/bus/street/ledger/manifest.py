"""A system that hears another: each sale becomes one row, and what it calls is told apart."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import BigInteger, Column, MetaData, Table, Text, bindparam, insert, select

from bastide.base.events import Consume
from bastide.base.manifest import Manifest, Use
from bastide.base.tx import Statement, changes
from bastide.engines.bus.contract import Bus
from bastide.engines.sql.contract import Database, Migrations
from tests.engines.bus.street.kiosk.contract import SALES
from tests.engines.bus.street.ledger.contract import COPIES, Copied

MIGRATIONS = Migrations(
    steps=["CREATE TABLE lines (place {serial}, item TEXT NOT NULL, number BIGINT NOT NULL);"]
)
lines = Table(
    "lines",
    MetaData(),
    Column("place", BigInteger, primary_key=True),
    Column("item", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
)
LINE_ADD = changes(insert(lines).values(item=bindparam("item"), number=bindparam("number")))
LINES_ALL = Statement(
    select(lines.c.item, lines.c.number).order_by(lines.c.place),
    lambda item, number: (item, number),
)


HATED: set[str] = set()  # items that fail, from the start


class Poison(Exception):
    """The handler can't bear this event."""


class Ledger:
    def __init__(self, db, bus):
        self.db = db
        self.bus = bus
        self.batches = []  # sizes
        self.called = []  # items, at least once each
        self.rung = 0
        self.hates = set(HATED)
        self.failures = 0
        self.away = None  # what `calls` raises
        self.refuses = None  # what the handler raises
        self.slow_s = {}  # by item: how long the handler holds the loop
        self.written = asyncio.Event()

    async def lines(self):
        return [row async for row in self.db.scan(LINES_ALL)]

    async def until(self, count):
        """The lines, when there are `count` of them."""
        async with asyncio.timeout(20):
            while len(found := await self.lines()) < count:
                self.written.clear()
                try:
                    async with asyncio.timeout(0.05):
                        await self.written.wait()
                except TimeoutError:
                    pass
        return found


async def tell(ledger, events):
    if ledger.away is not None:
        raise ledger.away
    ledger.called += [event.item for event in events]


async def write_down(ledger, tx, events):
    for event in events:
        await tx.run(LINE_ADD, item=event.item, number=event.number)
        time.sleep(ledger.slow_s.get(event.item, 0))  # noqa: ASYNC251 (that is what is slow)
        if ledger.refuses is not None:
            raise ledger.refuses
        if event.item in ledger.hates:
            ledger.failures += 1
            raise Poison(f"{event.item} is hated")

    async def ring():
        ledger.rung += 1
        ledger.written.set()

    ledger.batches.append(len(events))
    return ring


async def copy_on(ledger, tx, events):
    """A page at a time: what is left is an event of its own."""
    for event in events:
        await tx.run(LINE_ADD, item=event.book, number=event.left)
        if event.left:
            await ledger.bus.publish(tx, COPIES, Copied(event.book, event.left - 1))

    async def ring():
        ledger.written.set()

    return ring


@asynccontextmanager
async def open_ledger(use: Use) -> AsyncIterator[Ledger]:
    yield Ledger(use(Database), use(Bus))


MANIFEST = Manifest(
    name="ledger",
    floor="apps",
    summary="Hears.",
    provides=Ledger,
    needs=(Database, Bus),
    open=open_ledger,
    migrations="tests.engines.bus.street.ledger.manifest:MIGRATIONS",
    publishes=(COPIES,),
    consumes=(
        Consume(
            topic=COPIES,
            group="copyists",
            handler="tests.engines.bus.street.ledger.manifest:copy_on",
        ),
        Consume(
            topic=SALES,
            group="books",
            handler="tests.engines.bus.street.ledger.manifest:write_down",
            calls="tests.engines.bus.street.ledger.manifest:tell",
        ),
    ),
)
