"""A database as a town would open it, on SQLite."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bastide.base.manifest import load
from bastide.base.settings import parse_url
from bastide.engines.sql.contract import Migrations
from bastide.engines.sql.service import Sql


@asynccontextmanager
async def opened_sqlite(directory: Path, migrations: Migrations) -> AsyncIterator[Sql]:
    opener = load("bastide.engines.sql.backends.sqlite.backend:open_sqlite")
    async with (
        opener(parse_url(f"sqlite://{directory}")) as backend,
        backend.store("bench", lambda: directory, migrations) as store,
    ):
        yield Sql(store, scan_pause_s=backend.scan_pause_s)
