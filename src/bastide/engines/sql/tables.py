"""The tables that every database has, and the verbs on `tx` that stand on them.

once     the replies to requests that may be repeated, kept with their effect
outbox   events that leave if, and only if, the transaction commits
heard    how far the events of others have had their effect here
version  how far each owner's migrations have come: the frame's, and the client's
"""

from abc import ABC, abstractmethod
from typing import TypeVar

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

from bastide.base.tx import Duplicate, Statement, Value, changes
from bastide.engines.sql.contract import Migrations
from bastide.engines.sql.model import Rerun

T = TypeVar("T")

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
outbox = Table(
    "outbox",
    METADATA,
    Column("place", BigInteger, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("event", LargeBinary, nullable=False),
)
heard = Table(
    "heard",
    METADATA,
    Column("source", Text, primary_key=True),
    Column("partition", BigInteger, primary_key=True),
    Column("seq", BigInteger, nullable=False),
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
OUTBOX_ADD = changes(
    insert(outbox).values(topic=bindparam("topic"), key=bindparam("key"), event=bindparam("event"))
)
_here = (heard.c.source == bindparam("source")) & (heard.c.partition == bindparam("partition"))
HEARD_FIND = Statement(select(heard.c.seq).where(_here), number)
HEARD_RAISE = changes(
    update(heard).where(_here, heard.c.seq < bindparam("seq")).values(seq=bindparam("seq"))
)
HEARD_FIRST = changes(
    insert(heard).from_select(
        ["source", "partition", "seq"],
        select(
            bindparam("source", type_=Text),
            bindparam("partition", type_=BigInteger),
            bindparam("seq", type_=BigInteger),
        ).where(~exists(select(heard.c.seq).where(_here))),
    )
)
VERSION_FIND = Statement(
    select(version.c.version).where(version.c.owner == bindparam("owner")), number
)
VERSION_DROP = changes(delete(version).where(version.c.owner == bindparam("owner")))
VERSION_KEEP = changes(insert(version))


class FrameTx(ABC):
    """The part of a Tx that is the same on every backend."""

    @abstractmethod
    async def one(self, statement: Statement[T], **values: Value) -> T | None: ...

    @abstractmethod
    async def run(self, statement: Statement[object], **values: Value) -> int: ...

    async def publish(self, topic: str, key: str, event: bytes) -> None:
        await self.run(OUTBOX_ADD, topic=topic, key=key, event=event)

    async def hear(self, source: str, partition: int, seq: int) -> bool:
        if await self.run(HEARD_RAISE, source=source, partition=partition, seq=seq):
            return True
        try:
            first = await self.run(HEARD_FIRST, source=source, partition=partition, seq=seq)
        except Duplicate as error:  # somebody hears the same source for the first time, too
            raise Rerun from error
        return first == 1

    async def heard(self, source: str, partition: int) -> int:
        seq = await self.one(HEARD_FIND, source=source, partition=partition)
        return -1 if seq is None else seq
