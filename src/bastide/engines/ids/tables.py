"""The rows: who may stamp what, what was counted, which keys are made, what is kept for good."""

from sqlalchemy import (
    BigInteger,
    Column,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    case,
    func,
    insert,
    literal_column,
    select,
    update,
)

from bastide.base.tx import Statement, among, changes
from bastide.engines.ids.core.lease import Worker
from bastide.engines.sql.contract import Migrations

MIGRATIONS = Migrations(
    steps=[
        """
        CREATE TABLE workers (worker {key}, holder TEXT NOT NULL, fence_ms BIGINT NOT NULL);
        CREATE TABLE counters (series TEXT NOT NULL PRIMARY KEY, next BIGINT NOT NULL);
        CREATE TABLE keys (
            series TEXT NOT NULL, key TEXT NOT NULL, used BIGINT NOT NULL,
            PRIMARY KEY (series, key));
        CREATE INDEX keys_unused ON keys (series) WHERE used = 0;
        CREATE TABLE kept (name TEXT NOT NULL PRIMARY KEY, value {bytes} NOT NULL);
        """,
    ]
)

METADATA = MetaData()
workers = Table(
    "workers",
    METADATA,
    Column("worker", BigInteger, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("fence_ms", BigInteger, nullable=False),
)
counters = Table(
    "counters",
    METADATA,
    Column("series", Text, primary_key=True),
    Column("next", BigInteger, nullable=False),
)
keys = Table(
    "keys",
    METADATA,
    Column("series", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("used", BigInteger, nullable=False),
)
kept = Table(
    "kept",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)


def number(value: int) -> int:
    return value


def word(value: str) -> str:
    return value


def octets(value: bytes) -> bytes:
    return value


_this_worker = workers.c.worker == bindparam("id")
WORKERS_LIST = Statement(
    select(workers.c.worker, workers.c.holder, workers.c.fence_ms)
    .order_by(workers.c.worker)
    .limit(bindparam("limit", type_=BigInteger)),
    Worker,
)
WORKER_ADD = changes(insert(workers))
WORKER_TAKE = changes(
    update(workers)
    .where(_this_worker)
    .values(holder=bindparam("holder"), fence_ms=bindparam("fence_ms"))
)
_held_by_me = _this_worker & (workers.c.holder == bindparam("me"))
# A fence only rises, also when an extension whose answer was lost is committed after a later one.
_fence_ms = bindparam("fence_ms", type_=BigInteger)
_higher_ms = case((workers.c.fence_ms > _fence_ms, workers.c.fence_ms), else_=_fence_ms)
WORKER_EXTEND = changes(update(workers).where(_held_by_me).values(fence_ms=_higher_ms))
WORKER_RELEASE = changes(update(workers).where(_held_by_me).values(holder=""))

_this_series = counters.c.series == bindparam("name")
COUNTER_FIND = Statement(select(counters.c.next).where(_this_series), number)
COUNTER_RAISE = changes(
    update(counters)
    .where(_this_series)
    .values(next=counters.c.next + bindparam("count", type_=BigInteger))
)
COUNTER_ADD = changes(insert(counters))
COUNTERS_COUNT = Statement(select(func.count()).select_from(counters), number)

_this_pool = keys.c.series == bindparam("pool")
# `used = 0` is written out: an index with a condition is found by its text.
_unused = keys.c.used == literal_column("0")
KEYS_UNUSED = Statement(
    select(keys.c.key).where(_this_pool, _unused).limit(bindparam("limit", type_=BigInteger)), word
)
KEYS_UNUSED_COUNT = Statement(
    select(func.count()).select_from(keys).where(_this_pool, _unused), number
)
KEYS_PRESENT = Statement(select(keys.c.key).where(_this_pool, among(keys.c.key, "words")), word)
KEYS_USE = changes(update(keys).where(_this_pool, among(keys.c.key, "words")).values(used=1))
KEY_ADD = changes(insert(keys))

KEPT_FIND = Statement(select(kept.c.value).where(kept.c.name == bindparam("id")), octets)
KEPT_ADD = changes(insert(kept))
