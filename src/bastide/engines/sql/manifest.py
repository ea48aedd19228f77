"""sql: durable rows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from bastide.base.manifest import Backend, Manifest, Use, load
from bastide.engines.sql.contract import Database, Migrations
from bastide.engines.sql.model import SqlBackend
from bastide.engines.sql.service import Sql
from bastide.engines.sql.workers import sweep_once

_BACKENDS = "bastide.engines.sql.backends"
_POSTGRES = Backend(
    f"{_BACKENDS}.postgres.backend:open_postgres", reach="cluster", extra="postgres"
)


@asynccontextmanager
async def open_sql(use: Use) -> AsyncIterator[Sql]:
    dotted = use.client.migrations
    migrations: Migrations = load(dotted) if dotted else Migrations(steps=[])
    backend = use.backend(SqlBackend)
    async with backend.store(use.client.name, use.directory, migrations) as store:
        sql = Sql(store, scan_pause_s=backend.scan_pause_s)
        use.spawn("sweep-once", partial(sweep_once, sql))
        yield sql


MANIFEST = Manifest(
    name="sql",
    floor="engines",
    summary="Durable rows: one transaction a request, many requests a commit.",
    provides=Database,
    open=open_sql,
    backends={
        "sqlite": Backend(f"{_BACKENDS}.sqlite.backend:open_sqlite", reach="machine"),
        "memory": Backend(f"{_BACKENDS}.sqlite.backend:open_memory", reach="process"),
        "postgres": _POSTGRES,
        "postgresql": _POSTGRES,
    },
    backend_default="sqlite://",
    benches="bastide.engines.sql.bench:BENCHES",
)
