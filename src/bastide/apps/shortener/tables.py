"""The shortener's tables, and every statement on them.

links           one row for each code ever given out; a deleted link keeps its row, emptied, so that
                the unique index refuses its code for good
links_totals    clicks counted so far; made with the link, so that counting is one UPDATE
reserved_codes  codes that nobody gets: who said so, and when
"""

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    exists,
    insert,
    literal_column,
    select,
    update,
)

from bastide.apps.shortener.contract import Link, Stats
from bastide.apps.shortener.model import Counted, Reserved
from bastide.base.tx import Statement, Value, among, changes
from bastide.engines.sql.contract import Migrations

MIGRATIONS = Migrations(
    steps=[
        """
        CREATE TABLE links (
            id {key}, code TEXT NOT NULL, target TEXT NOT NULL, target_hash TEXT NOT NULL,
            owner TEXT NOT NULL, created_at_ms BIGINT NOT NULL, expires_at_ms BIGINT NOT NULL,
            permanent BOOLEAN NOT NULL, disabled BOOLEAN NOT NULL, custom BOOLEAN NOT NULL,
            deleted BOOLEAN NOT NULL);
        CREATE UNIQUE INDEX links_by_code ON links (code);
        CREATE INDEX links_by_owner ON links (owner, id);
        CREATE INDEX links_by_target ON links (owner, target_hash);
        CREATE TABLE links_totals (
            link_id {key}, clicks BIGINT NOT NULL, bots BIGINT NOT NULL);
        CREATE TABLE reserved_codes (
            code TEXT NOT NULL PRIMARY KEY, reserved_by TEXT NOT NULL,
            reserved_at_ms BIGINT NOT NULL);
        """,
    ]
)

METADATA = MetaData()
links = Table(
    "links",
    METADATA,
    Column("id", BigInteger, primary_key=True),
    Column("code", Text, unique=True, nullable=False),
    Column("target", Text, nullable=False),
    Column("target_hash", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("permanent", Boolean, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("custom", Boolean, nullable=False),
    Column("deleted", Boolean, nullable=False),
)
totals = Table(
    "links_totals",
    METADATA,
    Column("link_id", BigInteger, primary_key=True),
    Column("clicks", BigInteger, nullable=False),
    Column("bots", BigInteger, nullable=False),
)
reserved = Table(
    "reserved_codes",
    METADATA,
    Column("code", Text, primary_key=True),
    Column("reserved_by", Text, nullable=False),
    Column("reserved_at_ms", BigInteger, nullable=False),
)


def _text(value: str) -> str:
    """The row of a statement that gives one text."""
    return value


def row_of(link: Link, target_hash: str) -> dict[str, Value]:
    return {**msgspec.structs.asdict(link), "target_hash": target_hash}


_LINK = tuple(column for column in links.c if column.name != "target_hash")  # as Link has them
_MINE = links.c.owner == bindparam("owner")
_SAME_ID = links.c.id == bindparam("link_id")

LINK_BY_CODE = Statement(select(*_LINK).where(links.c.code == bindparam("code")), Link)
LINKS_OF_OWNER = Statement(
    select(*_LINK, totals.c.clicks, totals.c.bots)
    .join(totals, totals.c.link_id == links.c.id)
    .where(_MINE, links.c.id < bindparam("after"))
    .order_by(links.c.id.desc())
    .limit(bindparam("limit", type_=BigInteger)),
    lambda *columns: Counted(Link(*columns[:-2]), Stats(*columns[-2:])),
)
# The owner's live links by the hash of their target; newest last, so that in a dictionary it stays.
LINKS_TO_TARGETS = Statement(
    select(*_LINK, links.c.target_hash)
    .where(
        _MINE,
        among(links.c.target_hash, "target_hashes"),
        links.c.expires_at_ms > bindparam("now_ms"),
        ~links.c.disabled,
        ~links.c.custom,
    )
    .order_by(links.c.id),
    lambda *columns: (columns[-1], Link(*columns[:-1])),
)
CODES_TAKEN = Statement(select(links.c.code).where(among(links.c.code, "codes")), _text)
CODES_RESERVED = Statement(select(reserved.c.code).where(among(reserved.c.code, "codes")), _text)
# A reserved code changes no row; one that is taken breaks the unique index.
LINK_ADD = changes(
    insert(links).from_select(
        [column.name for column in links.c],
        select(*(bindparam(c.name, type_=c.type) for c in links.c)).where(
            ~exists(select(literal_column("1")).where(reserved.c.code == bindparam("code")))
        ),
    )
)
TOTALS_ADD = changes(insert(totals).values(link_id=bindparam("id"), clicks=0, bots=0))
LINK_CHANGE = changes(
    update(links)
    .where(_SAME_ID)
    .values(disabled=bindparam("disabled"), expires_at_ms=bindparam("expires_at_ms"))
)
LINK_DELETE = changes(
    update(links).where(_SAME_ID).values(target="", target_hash="", owner="", deleted=True)
)
TOTALS_DELETE = changes(delete(totals).where(totals.c.link_id == bindparam("link_id")))
TOTALS_RAISE = changes(
    update(totals)
    .where(totals.c.link_id == bindparam("link_id"))
    .values(
        clicks=totals.c.clicks + bindparam("more_clicks", type_=BigInteger),
        bots=totals.c.bots + bindparam("more_bots", type_=BigInteger),
    )
)
STATS = Statement(
    select(totals.c.clicks, totals.c.bots).where(totals.c.link_id == bindparam("link_id")), Stats
)
RESERVED_ADD = changes(insert(reserved))
RESERVED_DROP = changes(delete(reserved).where(reserved.c.code == bindparam("code")))
RESERVED_AFTER = Statement(
    select(reserved.c.code, reserved.c.reserved_by, reserved.c.reserved_at_ms)
    .where(reserved.c.code > bindparam("after"))
    .order_by(reserved.c.code)
    .limit(bindparam("limit", type_=BigInteger)),
    Reserved,
)
