"""A system that publishes with its rows, records without, and hears itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import BigInteger, Column, MetaData, Table, Text, bindparam, func, insert, select

from bastide.base.errors import NotFound
from bastide.base.events import Consume
from bastide.base.manifest import Manifest, Use
from bastide.base.tx import Statement, changes
from bastide.engines.bus.contract import Bus
from bastide.engines.sql.contract import Database, Migrations
from tests.engines.bus.street.kiosk.contract import NOTES, PASSERS, SALES, Passed, Sold

MIGRATIONS = Migrations(
    steps=[
        """
        CREATE TABLE sales (item TEXT NOT NULL, number BIGINT NOT NULL,
            PRIMARY KEY (item, number));
        CREATE TABLE passers (place {serial}, who TEXT NOT NULL);
        """
    ]
)
_METADATA = MetaData()
sales = Table(
    "sales",
    _METADATA,
    Column("item", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True),
)
passers = Table(
    "passers",
    _METADATA,
    Column("place", BigInteger, primary_key=True),
    Column("who", Text, nullable=False),
)
SALE_ADD = changes(insert(sales))
SOLD_COUNT = Statement(
    select(func.count()).select_from(sales).where(sales.c.item == bindparam("item")), int
)
SOLD_ALL = Statement(
    select(sales.c.item, sales.c.number).order_by(sales.c.item, sales.c.number),
    lambda item, number: (item, number),
)
PASSER_ADD = changes(insert(passers).values(who=bindparam("who")))
PASSED_ALL = Statement(select(passers.c.who).order_by(passers.c.place), str)


class Kiosk:
    def __init__(self, db, bus):
        self.db = db
        self.bus = bus

    async def sell(self, item, *, regret=False):
        """The number of the sale; with `regret` it is undone at the last moment."""

        async def body(tx):
            number = await tx.one(SOLD_COUNT, item=item)
            await tx.run(SALE_ADD, item=item, number=number)
            await self.bus.publish(tx, SALES, Sold(item, number))
            if regret:
                raise NotFound("not sold after all")
            return number

        return await self.db.transact(body)

    def passes(self, who):
        return self.bus.record(PASSERS, Passed(who))

    async def sold(self):
        return [row async for row in self.db.scan(SOLD_ALL)]

    async def passed(self):
        return [who async for who in self.db.scan(PASSED_ALL)]


async def note_passers(kiosk, tx, events):
    await tx.run_many(PASSER_ADD, [{"who": event.who} for event in events])


@asynccontextmanager
async def open_kiosk(use: Use) -> AsyncIterator[Kiosk]:
    yield Kiosk(use(Database), use(Bus))


MANIFEST = Manifest(
    name="kiosk",
    floor="apps",
    summary="Sells.",
    provides=Kiosk,
    needs=(Database, Bus),
    open=open_kiosk,
    migrations="tests.engines.bus.street.kiosk.manifest:MIGRATIONS",
    publishes=(SALES, PASSERS, NOTES),
    consumes=(
        Consume(
            topic=PASSERS,
            group="counts",
            handler="tests.engines.bus.street.kiosk.manifest:note_passers",
        ),
    ),
)
