"""The tables that every database has.

once     the replies to requests that may be repeated, kept with their effect
fences   the newest token of each fence, so that a deposed holder's write is refused
version  how far each owner's migrations have come: the frame's, the client's, and those of whoever
         keeps rows in the client's database
"""

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    exists,
    insert,
    literal,
    select,
    update,
)

from bastide.base.tx import Statement, changes
from bastide.engines.sql.contract import Migrations

FRAME = Migrations(
    steps=[
        """
        CREATE TABLE once (
            key TEXT NOT NULL PRIMARY KEY, fingerprint {bytes} NOT NULL, reply {bytes} NOT NULL,
            at_ms BIGINT NOT NULL);
        CREATE INDEX once_by_age ON once (at_ms);
        CREATE TABLE outbox (
            place {serial}, topic TEXT NOT NULL, key TEXT NOT NULL, event {bytes} NOT NULL);
        CREATE TABLE heard (
            source TEXT NOT NULL, partition BIGINT NOT NULL, seq BIGINT NOT NULL,
            PRIMARY KEY (source, partition));
        """,
        """
        DROP TABLE outbox;
        DROP TABLE heard;
        """,
        """
        CREATE TABLE fences (name TEXT NOT NULL PRIMARY KEY, token BIGINT NOT NULL);
        """,
    ]
)
VERSION_TABLE = """
CREATE TABLE IF NOT EXISTS version (owner TEXT NOT NULL PRIMARY KEY, version BIGINT NOT NULL)
"""

METADATA = MetaData()
once = Table(
    "once",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("reply", LargeBinary, nullable=False),
    Column("at_ms", BigInteger, nullable=False, index=True),
)
fences = Table(
    "fences",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("token", BigInteger, nullable=False),
)
version = Table(
    "version",
    METADATA,
    Column("owner", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
)


class Kept(msgspec.Struct, frozen=True):
    """The reply to a request that was made before."""

    fingerprint: bytes
    reply: bytes


def number(value: int) -> int:
    """The row of a statement that gives one number."""
    return value


ONCE_FIND = Statement(
    select(once.c.fingerprint, once.c.reply).where(once.c.key == bindparam("key")), Kept
)
ONCE_CLAIM = changes(  # no row, if the key is taken
    insert(once).from_select(
        ["key", "fingerprint", "reply", "at_ms"],
        select(
            bindparam("key", type_=Text),
            bindparam("fingerprint", type_=LargeBinary),
            literal(b"", LargeBinary),
            bindparam("at_ms", type_=BigInteger),
        ).where(~exists(select(once.c.key).where(once.c.key == bindparam("key")))),
    )
)
ONCE_REPLY = changes(
    update(once).where(once.c.key == bindparam("of", type_=Text)).values(reply=bindparam("reply"))
)
ONCE_SWEEP = changes(
    delete(once).where(
        once.c.key.in_(
            select(once.c.key)
            .where(once.c.at_ms < bindparam("before_ms"))
            .order_by(once.c.at_ms)
            .limit(bindparam("limit", type_=BigInteger))
        )
    )
)
FENCE_FIND = Statement(select(fences.c.token).where(fences.c.name == bindparam("name")), number)
FENCE_ADD = changes(insert(fences))
FENCE_RAISE = changes(
    update(fences)
    .where(fences.c.name == bindparam("of", type_=Text))
    .values(token=bindparam("token"))
)
VERSION_FIND = Statement(
    select(version.c.version).where(version.c.owner == bindparam("owner")), number
)
VERSION_DROP = changes(delete(version).where(version.c.owner == bindparam("owner")))
VERSION_KEEP = changes(insert(version))
