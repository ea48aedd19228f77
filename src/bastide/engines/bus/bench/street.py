"""Two systems on one log, each with its own database: a till that rings, and books that hear it.

Put together from what a town opens, on files below one directory. When an event's effect is
committed, and when its record is durable in the log, is noted as it happens.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import BigInteger, Column, MetaData, Table, bindparam, insert

from bastide.base.errors import Unavailable
from bastide.base.events import Consume, Event, EventTopic
from bastide.base.manifest import load
from bastide.base.rt import runtime
from bastide.base.settings import parse_url
from bastide.base.tx import Tx, changes
from bastide.engines.bus.contract import After
from bastide.engines.bus.model import MB, Settings
from bastide.engines.bus.service.bus import ClientBus
from bastide.engines.bus.service.journal import open_journal
from bastide.engines.bus.tables import MIGRATIONS
from bastide.engines.log.contract import Log, Record
from bastide.engines.sql.contract import Database, Migrations

OPEN_SQLITE = "bastide.engines.sql.backends.sqlite.backend:open_sqlite"
SQL = "bastide.engines.sql.service:Sql"
OPEN_NODE = "bastide.engines.log.service.node:open_node"
LOG_SETTINGS = "bastide.engines.log.service.broker:Settings"
VIEW = "bastide.engines.log.service.log:View"
KEYS = 100
HEARD_S = 60.0

ROWS = Migrations(steps=["CREATE TABLE rung (place {serial}, number BIGINT NOT NULL)"])
rung = Table(
    "rung",
    MetaData(),
    Column("place", BigInteger, primary_key=True),
    Column("number", BigInteger, nullable=False),
)
ADD = changes(insert(rung).values(number=bindparam("number", type_=BigInteger)))


class Rung(Event, frozen=True):
    """Some hundred bytes as JSON."""

    kind: ClassVar[str] = "rung"

    number: int
    item: str = "a loaf of bread, half a pound of butter, and tea for two"
    price_cents: int = 1_250

    @property
    def key(self) -> str:
        return str(self.number % KEYS)


TOPIC = EventTopic("till.rung", (Rung,))
ROW = Consume(topic=TOPIC, group="books", handler="-")


class Street:
    """`durable_s` and `effect_s` are when each event was in the log, and had its effect."""

    def __init__(self, db: Database, till: ClientBus, books: ClientBus) -> None:
        self.db = db
        self.till = till
        self.books = books
        self.heard = 0
        self.batches: list[tuple[float, Sequence[Record]]] = []
        self.effect_s: dict[int, float] = {}
        self._moved = asyncio.Event()

    async def ring(self, *numbers: int) -> None:
        """A row and its event each, in one transaction."""

        async def body(tx: Tx) -> None:
            await tx.run_many(ADD, [{"number": number} for number in numbers])
            await self.till.publish(tx, TOPIC, *map(Rung, numbers))

        await self.db.transact(body)

    async def keep(self, *numbers: int) -> None:
        """The rows alone."""

        async def body(tx: Tx) -> None:
            await tx.run_many(ADD, [{"number": number} for number in numbers])

        await self.db.transact(body)

    async def hear(self, tx: Tx, events: Sequence[Any]) -> After:
        await tx.run_many(ADD, [{"number": event.number} for event in events])

        async def note() -> None:
            now_s = runtime.monotonic()
            self.heard += len(events)
            self.effect_s.update((event.number, now_s) for event in events)
            self._moved.set()

        return note

    async def moved(self) -> None:
        """Returns when something has been heard since it was last asked."""
        await self._moved.wait()
        self._moved.clear()

    async def until_heard(self, count: int) -> None:
        """
        Raises:
            Unavailable: some have not come.
        """
        try:
            async with asyncio.timeout(HEARD_S):
                while self.heard < count:
                    await self.moved()
        except TimeoutError:
            raise Unavailable(f"{self.heard} of {count} events have come") from None
        if self.heard > count:
            raise Unavailable(f"{self.heard} effects of {count} events")

    def durable_s(self) -> Mapping[int, float]:
        decode: Any = load("msgspec.json:decode")
        return {
            decode(record.value)["data"]["number"]: at_s
            for at_s, records in self.batches
            for record in records
        }


class Noting:
    """The till's log, that notes when an append has returned: it is durable then."""

    def __init__(self, log: Log, batches: list[tuple[float, Sequence[Record]]]) -> None:
        self._log = log
        self._batches = batches

    async def append(self, topic: str, records: Sequence[Record]) -> object:
        places = await self._log.append(topic, records)
        self._batches.append((runtime.monotonic(), records))
        return places

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


@asynccontextmanager
async def opened_street(directory: Path, *, relays: bool = True) -> AsyncIterator[Street]:
    """`relays`: what is rung leaves at once; else when `running` says so."""
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(
            load(OPEN_NODE)(directory / "log", load(LOG_SETTINGS)(), systems=("till", "books"))
        )
        batches: list[tuple[float, Sequence[Record]]] = []
        noting: Any = Noting(load(VIEW)(node, "till"), batches)
        db, till = await _client(stack, directory, "till", [TOPIC], noting)
        _, books = await _client(stack, directory, "books", [], load(VIEW)(node, "books"))
        street = Street(db, till, books)
        street.batches = batches
        if relays:
            await stack.enter_async_context(running(street))
        yield street


async def _client(
    stack: AsyncExitStack, directory: Path, name: str, topics: Sequence[EventTopic], log: Log
) -> tuple[Database, ClientBus]:
    backend = await stack.enter_async_context(
        load(OPEN_SQLITE)(parse_url(f"sqlite://{directory / 'rows'}"))
    )
    store = await stack.enter_async_context(backend.store(name, lambda: directory, ROWS))
    db: Database = load(SQL)(store, scan_pause_s=backend.scan_pause_s)
    await db.migrate("bus", MIGRATIONS)
    settings = Settings()
    journal = await stack.enter_async_context(
        open_journal(directory / name / "bus", bytes_max=settings.journal_mb_max * MB)
    )
    return db, ClientBus(name, topics, db, log, journal, settings, exclusive=True)


@asynccontextmanager
async def running(street: Street) -> AsyncIterator[None]:
    """The relays relay, and the books hear."""
    work = (
        street.till.outbox.run(),
        street.till.drain.run(),
        street.books.outbox.run(),
        street.books.consume(ROW, street.hear, None),
    )
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
