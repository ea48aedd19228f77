"""Orders that are posted, and links that are followed: the same tables for all who serve them."""

from sqlalchemy import BigInteger, Column, MetaData, Table, Text, bindparam, func, insert, select

from bastide.base.tx import Statement, changes
from bastide.engines.sql.contract import Migrations

LINKS = 100_000
NAME_MAX, NOTE_MAX, QUANTITY_MAX = 100, 500, 1_000
BODY = (
    '{"customer": "customer #", "item": "item #", "quantity": 3, "price_cents": 1999,'
    ' "note": "please leave it at the back door"}'
)

MIGRATIONS = Migrations(
    steps=[
        "CREATE TABLE links (code TEXT PRIMARY KEY, url TEXT NOT NULL)",
        "CREATE TABLE orders (id {key}, customer TEXT NOT NULL, item TEXT NOT NULL, "
        "quantity BIGINT NOT NULL, price_cents BIGINT NOT NULL, note TEXT NOT NULL)",
    ]
)
METADATA = MetaData()
LINK_ROWS = Table(
    "links",
    METADATA,
    Column("code", Text, primary_key=True),
    Column("url", Text, nullable=False),
)
ORDER_ROWS = Table(
    "orders",
    METADATA,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("customer", Text, nullable=False),
    Column("item", Text, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("price_cents", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
)
ADD_LINK = changes(insert(LINK_ROWS))
ADD_ORDER = changes(insert(ORDER_ROWS))
FIND_LINK = Statement(
    select(LINK_ROWS.c.url).where(LINK_ROWS.c.code == bindparam("code")), lambda url: str(url)
)
COUNT_ORDERS = Statement(select(func.count()).select_from(ORDER_ROWS), int)
