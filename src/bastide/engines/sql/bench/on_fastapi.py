"""Orders on FastAPI, SQLAlchemy's async engine and aiosqlite, for uvicorn; in the file that
BENCH_DATABASE names.

It has one connection: with the pool's default it is no faster, since writers then meet at SQLite's
lock, where they sleep.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import event, func, insert, select
from sqlalchemy.ext.asyncio import create_async_engine

from bastide.engines.sql.bench.orders import (
    METADATA,
    NAME_MAX,
    NOTE_MAX,
    ORDER_ROWS,
    QUANTITY_MAX,
)

Name = Annotated[str, Field(min_length=1, max_length=NAME_MAX)]

_ids = count(1)
_engine = create_async_engine(
    f"sqlite+aiosqlite:///{os.environ['BENCH_DATABASE']}", pool_size=1, max_overflow=0
)


@event.listens_for(_engine.sync_engine, "connect")
def _(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


@asynccontextmanager
async def _life(_: FastAPI) -> AsyncIterator[None]:
    async with _engine.begin() as connection:
        await connection.run_sync(METADATA.create_all)
    yield
    await _engine.dispose()


app = FastAPI(lifespan=_life)


class NewOrder(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    customer: Name
    item: Name
    quantity: Annotated[int, Field(ge=1, le=QUANTITY_MAX)]
    price_cents: Annotated[int, Field(ge=0)]
    note: Annotated[str, Field(max_length=NOTE_MAX)] = ""


class Placed(BaseModel):
    id: int


class Counted(BaseModel):
    rows: int


@app.post("/orders", status_code=201)
async def place_order(order: NewOrder) -> Placed:
    id_ = next(_ids)
    async with _engine.begin() as connection:
        await connection.execute(insert(ORDER_ROWS), {"id": id_, **order.model_dump()})
    return Placed(id=id_)


@app.get("/orders")
async def count_orders() -> Counted:
    async with _engine.connect() as connection:
        found = await connection.execute(select(func.count()).select_from(ORDER_ROWS))
        return Counted(rows=found.scalar_one())
