"""A system whose handler fails for what it hates, until it is told to bear it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from sqlalchemy import BigInteger, Column, MetaData, Table, Text, bindparam, insert, select

from bastide.base.errors import Unavailable
from bastide.base.events import Consume
from bastide.base.gate import operator
from bastide.base.manifest import Manifest, Use
from bastide.base.routes.rows import route
from bastide.base.tx import Statement, changes
from bastide.engines.bus.contract import Bus
from bastide.engines.sql.contract import Database, Migrations
from tests.engines.bus.doors.stall.contract import SALES, Sold

MIGRATIONS = Migrations(steps=["CREATE TABLE lines (place {serial}, item TEXT NOT NULL);"])
lines = Table(
    "lines",
    MetaData(),
    Column("place", BigInteger, primary_key=True),
    Column("item", Text, nullable=False),
)
LINE_ADD = changes(insert(lines).values(item=bindparam("item")))
LINES_ALL = Statement(select(lines.c.item).order_by(lines.c.place), str)


class Poison(Exception):
    """The handler can't bear this event."""


class Stall:
    def __init__(self, db, bus):
        self.db = db
        self.bus = bus
        self.hates = True  # what begins with "bad"
        self.is_away = False

    async def sell(self, *items, note=""):
        async def body(tx):
            for item in items:
                await self.bus.publish(tx, SALES, Sold(item, note))

        await self.db.transact(body)

    async def lines(self):
        return [row async for row in self.db.scan(LINES_ALL)]


async def write_down(stall, tx, events):
    for event in events:
        await tx.run(LINE_ADD, item=event.item)
        if stall.is_away:
            raise Unavailable("the scales are away")
        if stall.hates and event.item.startswith("bad"):
            raise Poison(f"{event.item} is hated")


class Sale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    items: list[str]
    note: str = ""


async def sell_items(stall: Stall, body: Sale) -> None:
    await stall.sell(*body.items, note=body.note)


def bear_all(stall: Stall) -> None:
    stall.hates = False


ROWS = (
    route("POST", "/api/sales", sell_items, allow=operator),
    route("POST", "/api/bear", bear_all, allow=operator),
)


@asynccontextmanager
async def open_stall(use: Use) -> AsyncIterator[Stall]:
    yield Stall(use(Database), use(Bus))


MANIFEST = Manifest(
    name="stall",
    floor="apps",
    summary="Sells.",
    provides=Stall,
    needs=(Database, Bus),
    open=open_stall,
    migrations="tests.engines.bus.doors.stall.manifest:MIGRATIONS",
    doors=("tests.engines.bus.doors.stall.manifest:ROWS",),
    publishes=(SALES,),
    consumes=(
        Consume(
            topic=SALES,
            group="books",
            handler="tests.engines.bus.doors.stall.manifest:write_down",
        ),
    ),
)
