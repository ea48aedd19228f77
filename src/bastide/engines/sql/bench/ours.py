"""Orders and links on our server: `python -m bastide.engines.sql.bench.ours PORT DIRECTORY`."""

import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from bastide.base.errors import NotFound
from bastide.base.gate import anyone
from bastide.base.routes.rows import Reply, Row, redirect, route
from bastide.base.tx import Tx
from bastide.engines.sql.bench.orders import (
    ADD_LINK,
    ADD_ORDER,
    COUNT_ORDERS,
    FIND_LINK,
    LINKS,
    MIGRATIONS,
    NAME_MAX,
    NOTE_MAX,
    QUANTITY_MAX,
)
from bastide.engines.sql.bench.stores import opened_sqlite
from bastide.engines.sql.service import Sql
from bastide.parts.http.bench.serving import run, serve

Name = Annotated[str, Meta(min_length=1, max_length=NAME_MAX)]


class NewOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    customer: Name
    item: Name
    quantity: Annotated[int, Meta(ge=1, le=QUANTITY_MAX)]
    price_cents: Annotated[int, Meta(ge=0)]
    note: Annotated[str, Meta(max_length=NOTE_MAX)] = ""


class Placed(msgspec.Struct, frozen=True):
    id: int


class Counted(msgspec.Struct, frozen=True):
    rows: int


class Shop:
    def __init__(self, sql: Sql) -> None:
        self.sql = sql
        self.ids = count(1)


async def place_order(shop: Shop, order: NewOrder) -> Placed:
    id_ = next(shop.ids)
    await shop.sql.write(
        ADD_ORDER,
        id=id_,
        customer=order.customer,
        item=order.item,
        quantity=order.quantity,
        price_cents=order.price_cents,
        note=order.note,
    )
    return Placed(id_)


async def count_orders(shop: Shop) -> Counted:
    return Counted(await shop.sql.one(COUNT_ORDERS) or 0)


async def follow(shop: Shop, code: str) -> Reply:
    url = await shop.sql.one(FIND_LINK, code=code)
    if url is None:
        raise NotFound(f"no link {code!r}")
    return redirect(url, 302)


ROWS: Sequence[Row] = (
    route("POST", "/orders", place_order, allow=anyone, status=201),
    route("GET", "/orders", count_orders, allow=anyone),
    route("GET", "/links/{code}", follow, allow=anyone),
)


async def serve_shop(directory: Path, port: int) -> None:
    async with opened_sqlite(directory, MIGRATIONS) as sql:
        await sql.transact(_fill)
        await serve(ROWS, Shop(sql), port)


async def _fill(tx: Tx) -> None:
    links = [{"code": str(n), "url": f"https://example.com/{n}"} for n in range(LINKS)]
    await tx.run_many(ADD_LINK, links)


if __name__ == "__main__":
    run(serve_shop(Path(sys.argv[2]), int(sys.argv[1])))
