"""What a durable transaction and a read cost, beside what they would cost otherwise.

In turns, on the same disk, in the same table: ours through the contract; one sync for each row, as
SQLite does it by itself; SQLAlchemy's async engine on aiosqlite, if it is installed, with its own
pool and one commit a row. The loop is idle, or a task burns 8 of every 10 ms of it. Each figure is
the median of ROUNDS. The read is a median over all reads.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from shutil import rmtree
from statistics import median
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    MetaData,
    Table,
    Text,
    bindparam,
    event,
    insert,
    select,
    text,
)

from bastide.base.rt import runtime
from bastide.base.tx import Statement, Tx, changes
from bastide.engines.sql.bench.stores import opened_sqlite
from bastide.engines.sql.contract import Migrations

ROUNDS = 5
TASKS = 200
BURN_S, REST_S = 0.008, 0.002

MIGRATIONS = Migrations(steps=["CREATE TABLE links (id {key}, url TEXT NOT NULL)"])
CREATE = "CREATE TABLE links (id INTEGER PRIMARY KEY NOT NULL, url TEXT NOT NULL)"
URL = "https://example.org/" + 30 * "x"
_links = Table(
    "links",
    MetaData(),
    Column("id", BigInteger, primary_key=True),
    Column("url", Text, nullable=False),
)
ADD = changes(insert(_links))
FIND = Statement(
    select(_links.c.id, _links.c.url).where(_links.c.id == bindparam("id")), lambda *row: row
)

Write = Callable[[int], Awaitable[None]]


async def writes(directory: Path, seconds: float) -> Mapping[str, float]:
    """Durable single-row transactions a second: 200 tasks; one sync each has one task, since a
    second could only wait for it.
    """
    ways = {"transact": _transact, "write": _write, "one_sync_each": _one_sync_each}
    if _importable("aiosqlite"):
        ways["sqlalchemy_aiosqlite"] = _sqlalchemy
    slot_s = seconds / ROUNDS
    found: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for busy in (False, True):
            for name, way in ways.items():
                place = directory / name
                place.mkdir(parents=True)
                async with way(place) as write:
                    tasks = 1 if way is _one_sync_each else TASKS
                    rate = await _rate(write, tasks=tasks, seconds=slot_s, busy=busy)
                found.setdefault(f"{name}_{'busy' if busy else 'idle'}_per_s", []).append(rate)
                rmtree(place)
    medians = {name: median(rates) for name, rates in found.items()}
    return medians | dict(_ratios(medians))


async def reads(directory: Path, seconds: float) -> Mapping[str, float]:
    """A read by key through the contract, in microseconds; 100,000 rows."""
    rows = 100_000
    times_us: list[float] = []
    async with opened_sqlite(directory, MIGRATIONS) as sql:

        async def fill(tx: Tx) -> None:
            await tx.run_many(ADD, [{"id": n, "url": URL} for n in range(rows)])

        await sql.transact(fill)
        chance, end_s = runtime.current().chance.random, runtime.monotonic() + seconds
        while runtime.monotonic() < end_s:
            id_ = int(chance.random() * rows)
            began_s = runtime.monotonic()
            await sql.one(FIND, id=id_)
            times_us.append((runtime.monotonic() - began_s) * 1e6)
    times_us.sort()
    return {
        "read_us_p50": times_us[len(times_us) // 2],
        "read_us_p99": times_us[len(times_us) * 99 // 100],
    }


def _ratios(medians: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    for verb in ("transact", "write"):
        for peer in ("one_sync_each", "sqlalchemy_aiosqlite"):
            for loop in ("idle", "busy"):
                theirs = medians.get(f"{peer}_{loop}_per_s")
                if theirs:
                    yield f"{verb}_over_{peer}_{loop}", medians[f"{verb}_{loop}_per_s"] / theirs


async def _rate(write: Write, *, tasks: int, seconds: float, busy: bool) -> float:
    ids, done = count(1), 0
    began_s = runtime.monotonic()
    end_s = began_s + seconds

    async def keep_writing() -> None:
        nonlocal done
        while runtime.monotonic() < end_s:
            await write(next(ids))
            done += 1

    burner = asyncio.create_task(_burn()) if busy else None
    await asyncio.gather(*(keep_writing() for _ in range(tasks)))
    elapsed_s = runtime.monotonic() - began_s
    if burner is not None:
        burner.cancel()
        await asyncio.gather(burner, return_exceptions=True)
    return done / elapsed_s


async def _burn() -> None:
    while True:
        until_s = runtime.monotonic() + BURN_S
        while runtime.monotonic() < until_s:
            pass
        await asyncio.sleep(REST_S)


@asynccontextmanager
async def _transact(directory: Path) -> AsyncIterator[Write]:
    async with opened_sqlite(directory, MIGRATIONS) as sql:

        async def write(id_: int) -> None:
            async def body(tx: Tx) -> None:
                await tx.run(ADD, id=id_, url=URL)

            await sql.transact(body)

        yield write


@asynccontextmanager
async def _write(directory: Path) -> AsyncIterator[Write]:
    async with opened_sqlite(directory, MIGRATIONS) as sql:

        async def write(id_: int) -> None:
            await sql.write(ADD, id=id_, url=URL)

        yield write


@asynccontextmanager
async def _one_sync_each(directory: Path) -> AsyncIterator[Write]:
    connection = sqlite3.connect(directory / "one.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(CREATE)

    async def write(id_: int) -> None:
        connection.execute("INSERT INTO links (id, url) VALUES (?, ?)", (id_, URL))
        await asyncio.sleep(0)

    yield write
    connection.close()


@asynccontextmanager
async def _sqlalchemy(directory: Path) -> AsyncIterator[Write]:
    from sqlalchemy.ext.asyncio import create_async_engine  # needs what only benches need

    engine = create_async_engine(f"sqlite+aiosqlite:///{directory / 'alchemy.db'}")

    @event.listens_for(engine.sync_engine, "connect")
    def _(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    async with engine.begin() as opened:
        await opened.execute(text(CREATE))

    async def write(id_: int) -> None:
        async with engine.begin() as connection:
            await connection.execute(insert(_links), {"id": id_, "url": URL})

    yield write
    await engine.dispose()


def _importable(name: str) -> bool:
    return find_spec(name) is not None
