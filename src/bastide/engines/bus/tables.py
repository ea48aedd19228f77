"""The bus's rows in its client's database, and every statement on them.

bus_outbox   events that leave if, and only if, their transaction commits
bus_relays   for each source how far its numbers are, and who relays it
bus_offsets  where each group reads on, in each partition of each topic of each log
bus_heard    the highest number of each source that had its effect, for each group and partition
bus_settled  dead letters that were replayed or discarded

`seq` of an outbox row is UNNUMBERED until a relay takes it. On PostgreSQL the order in which rows
become visible is neither that of `place` nor that in which transactions began: a row with a low
place may be committed last. So only rows are taken whose transaction is below `horizon`, the oldest
that still runs: whatever becomes visible later is above it. A row that is seen, and whose
transaction is not even begun (`beyond`), was restored from a backup of another server.
"""

from typing import Any, Literal

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
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from bastide.base.tx import Statement, among, changes
from bastide.engines.sql.contract import Migrations

UNNUMBERED = (1 << 63) - 1

MIGRATIONS = Migrations(
    steps=[
        f"""
        CREATE TABLE bus_outbox (
            place {{serial}}, seq BIGINT NOT NULL DEFAULT {UNNUMBERED}, xact {{xact}},
            topic TEXT NOT NULL, key TEXT NOT NULL, event {{bytes}} NOT NULL);
        CREATE INDEX bus_outbox_by_seq ON bus_outbox (seq, place);
        CREATE TABLE bus_relays (
            source TEXT NOT NULL PRIMARY KEY, kind TEXT NOT NULL, taken BIGINT NOT NULL,
            sent BIGINT NOT NULL, holder TEXT NOT NULL, beat BIGINT NOT NULL);
        CREATE TABLE bus_offsets (
            log TEXT NOT NULL, topic TEXT NOT NULL, consumer TEXT NOT NULL,
            partition BIGINT NOT NULL, next BIGINT NOT NULL, generation BIGINT NOT NULL,
            PRIMARY KEY (log, topic, consumer, partition));
        CREATE TABLE bus_heard (
            topic TEXT NOT NULL, consumer TEXT NOT NULL, partition BIGINT NOT NULL,
            source TEXT NOT NULL, seq BIGINT NOT NULL,
            PRIMARY KEY (topic, consumer, partition, source));
        CREATE TABLE bus_settled (
            source TEXT NOT NULL, seq BIGINT NOT NULL,
            state TEXT NOT NULL, settled_at_ms BIGINT NOT NULL,
            PRIMARY KEY (source, seq));
        """,
    ]
)

METADATA = MetaData()
outbox = Table(
    "bus_outbox",
    METADATA,
    Column("place", BigInteger, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("xact", BigInteger, nullable=False),
    Column("topic", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("event", LargeBinary, nullable=False),
)
relays = Table(
    "bus_relays",
    METADATA,
    Column("source", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("taken", BigInteger, nullable=False),
    Column("sent", BigInteger, nullable=False),
    Column("holder", Text, nullable=False),
    Column("beat", BigInteger, nullable=False),
)
offsets = Table(
    "bus_offsets",
    METADATA,
    Column("log", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("consumer", Text, primary_key=True),
    Column("partition", BigInteger, primary_key=True),
    Column("next", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
)
heard = Table(
    "bus_heard",
    METADATA,
    Column("topic", Text, primary_key=True),
    Column("consumer", Text, primary_key=True),
    Column("partition", BigInteger, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
)
settled = Table(
    "bus_settled",
    METADATA,
    Column("source", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("state", Text, nullable=False),
    Column("settled_at_ms", BigInteger, nullable=False),
)


class horizon(GenericFunction[int]):  # noqa: N801 (reads as SQL in a statement)
    """The oldest transaction that still runs; above any number where there is one writer."""

    type = BigInteger()
    inherit_cache = True


@compiles(horizon, "postgresql")
def _horizon_postgresql(element: horizon, compiler: SQLCompiler, **options: Any) -> str:
    return "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"


class beyond(GenericFunction[int]):  # noqa: N801 (as above)
    """The first transaction that nobody has begun."""

    type = BigInteger()
    inherit_cache = True


@compiles(beyond, "postgresql")
def _beyond_postgresql(element: beyond, compiler: SQLCompiler, **options: Any) -> str:
    return "pg_snapshot_xmax(pg_current_snapshot())::text::bigint"


@compiles(horizon, "sqlite")
@compiles(beyond, "sqlite")
def _above_all_sqlite(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    return "1"


class Row(msgspec.Struct, frozen=True, gc=False):
    """Of the outbox."""

    place: int
    seq: int
    topic: str
    key: str
    event: bytes


class Relayed(msgspec.Struct, frozen=True):
    """A source. Numbers below `taken` are given; those below `sent` are in the log. `holder`
    relays it, or nobody, if it is ""; every step of a holder raises `beat`.
    """

    source: str
    taken: int
    sent: int
    holder: str
    beat: int


class Settled(msgspec.Struct, frozen=True):
    seq: int
    state: Literal["replayed", "discarded"]


class Offset(msgspec.Struct, frozen=True):
    next: int
    generation: int


def number(value: int) -> int:
    """The row of a statement that gives one number."""
    return value


OUTBOX_ADD = changes(
    insert(outbox).values(topic=bindparam("topic"), key=bindparam("key"), event=bindparam("event"))
)
OUTBOX_NEXT = Statement(
    select(outbox.c.place, outbox.c.seq, outbox.c.topic, outbox.c.key, outbox.c.event)
    .where(or_(outbox.c.seq < UNNUMBERED, outbox.c.xact < horizon(), outbox.c.xact >= beyond()))
    .order_by(outbox.c.seq, outbox.c.place)
    .limit(bindparam("limit", type_=BigInteger)),
    Row,
)
OUTBOX_NUMBER = changes(
    update(outbox)
    .where(outbox.c.place == bindparam("at", type_=BigInteger))
    .values(seq=bindparam("number", type_=BigInteger))
)
OUTBOX_DROP = changes(delete(outbox).where(among(outbox.c.place, "places")))
OUTBOX_FIRST = Statement(select(outbox.c.place).order_by(outbox.c.place).limit(1), number)
OUTBOX_LAST = Statement(select(outbox.c.place).order_by(outbox.c.place.desc()).limit(1), number)
OUTBOX_SPAN = Statement(
    select(func.coalesce(func.max(outbox.c.place) - func.min(outbox.c.place) + 1, 0)).select_from(
        outbox
    ),
    number,
)

_RELAYED = (relays.c.source, relays.c.taken, relays.c.sent, relays.c.holder, relays.c.beat)
RELAY_OF_OUTBOX = Statement(select(*_RELAYED).where(relays.c.kind == "outbox"), Relayed)
RELAY_FIND = Statement(select(*_RELAYED).where(relays.c.source == bindparam("source")), Relayed)
RELAY_ADD = changes(
    insert(relays).values(
        source=bindparam("source"),
        kind=bindparam("kind"),
        taken=bindparam("taken", type_=BigInteger),
        sent=bindparam("sent", type_=BigInteger),
        holder="",
        beat=0,
    )
)
RELAY_STEP = changes(
    update(relays)
    .where(
        relays.c.source == bindparam("of", type_=Text),
        relays.c.beat == bindparam("seen", type_=BigInteger),
    )
    .values(
        taken=bindparam("taken"),
        sent=bindparam("sent"),
        holder=bindparam("holder"),
        beat=relays.c.beat + 1,
    )
)

_offset_here = (
    (offsets.c.log == bindparam("of_log", type_=Text))
    & (offsets.c.topic == bindparam("of_topic", type_=Text))
    & (offsets.c.consumer == bindparam("of_consumer", type_=Text))
    & (offsets.c.partition == bindparam("of_partition", type_=BigInteger))
)
OFFSET_FIND = Statement(select(offsets.c.next, offsets.c.generation).where(_offset_here), Offset)
OFFSET_ADD = changes(
    insert(offsets).values(
        log=bindparam("of_log"),
        topic=bindparam("of_topic"),
        consumer=bindparam("of_consumer"),
        partition=bindparam("of_partition"),
        next=bindparam("next"),
        generation=bindparam("generation"),
    )
)
OFFSET_CLAIM = changes(  # `from_generation`: the one that was read
    update(offsets)
    .where(_offset_here, offsets.c.generation == bindparam("from_generation", type_=BigInteger))
    .values(next=bindparam("next"), generation=bindparam("generation"))
)
OFFSET_MOVE = changes(
    update(offsets)
    .where(
        _offset_here,
        offsets.c.next == bindparam("from_next", type_=BigInteger),
        offsets.c.generation == bindparam("from_generation", type_=BigInteger),
    )
    .values(next=bindparam("next"))
)

_heard_here = (
    (heard.c.topic == bindparam("of_topic", type_=Text))
    & (heard.c.consumer == bindparam("of_consumer", type_=Text))
    & (heard.c.partition == bindparam("of_partition", type_=BigInteger))
    & (heard.c.source == bindparam("of_source", type_=Text))
)
HEARD_FIND = Statement(select(heard.c.seq).where(_heard_here), number)
HEARD_RAISE = changes(update(heard).where(_heard_here).values(seq=bindparam("seq")))
HEARD_ADD = changes(
    insert(heard).values(
        topic=bindparam("of_topic"),
        consumer=bindparam("of_consumer"),
        partition=bindparam("of_partition"),
        source=bindparam("of_source"),
        seq=bindparam("seq"),
    )
)

SETTLED_FIND = Statement(
    select(settled.c.state).where(
        settled.c.source == bindparam("source"), settled.c.seq == bindparam("seq")
    ),
    str,
)
SETTLED_OF = Statement(
    select(settled.c.seq, settled.c.state).where(
        settled.c.source == bindparam("source"), among(settled.c.seq, "seqs")
    ),
    Settled,
)
SETTLED_ADD = changes(insert(settled))
