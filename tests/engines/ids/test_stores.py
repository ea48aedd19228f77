"""What processes share, on every store that they can share it on."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path

import pytest

from bastide.base.rt.runtime import Chance
from bastide.base.settings import parse_url
from bastide.engines.ids.model import Settings
from bastide.engines.ids.service.id_mint import IdMint
from bastide.engines.ids.tables import MIGRATIONS
from bastide.engines.sql.contract import Database
from bastide.engines.sql.service import Sql

OPENERS = {
    "memory": "bastide.engines.sql.backends.sqlite.backend:open_memory",
    "postgres": "bastide.engines.sql.backends.postgres.backend:open_postgres",
}
MINTS = 6


@asynccontextmanager
async def opened(url: str, client: str, directory: Path) -> AsyncIterator[Database]:
    module, _, name = OPENERS[url.partition(":")[0]].partition(":")
    async with (
        getattr(import_module(module), name)(parse_url(url)) as backend,
        backend.store(client, lambda: directory, MIGRATIONS) as store,
    ):
        yield Sql(store, scan_pause_s=backend.scan_pause_s)


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.engine("postgres"))])
async def mints(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[IdMint]]:
    """As of MINTS processes on one store, all started at once."""
    url = "memory://" if request.param == "memory" else postgres_url()
    client = f"ids_{Chance().token(4).hex()}"
    async with opened(url, client, tmp_path) as db:
        found = [IdMint(Settings(), db=db) for _ in range(MINTS)]
        await asyncio.gather(*(mint.start() for mint in found))
        yield found
        await asyncio.gather(*(mint.stop() for mint in found))
    if request.param == "postgres":
        await drop(url, client)


def postgres_url() -> str:
    url = os.environ.get("BASTIDE_TEST_POSTGRES_URL", "")
    if not url:
        reason = "BASTIDE_TEST_POSTGRES_URL is not set: scripts/engines start"
        if os.environ.get("BASTIDE_TEST_ENGINES_REQUIRED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return url


async def drop(url: str, schema: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url)
    await connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
    await connection.close()


async def test_processes_that_start_at_once_hold_different_worker_ids(mints: list[IdMint]) -> None:
    assert len({mint.decode(mint.new()).worker for mint in mints}) == MINTS


async def test_processes_that_start_at_once_agree_on_the_secret(mints: list[IdMint]) -> None:
    assert len({mint.deployment for mint in mints}) == 1


async def test_no_number_is_had_twice(mints: list[IdMint]) -> None:
    made = await asyncio.gather(*(mints[n % MINTS].number("rows") for n in range(3000)))
    assert len(set(made)) == 3000


async def test_no_code_is_had_twice(mints: list[IdMint]) -> None:
    made = await asyncio.gather(*(mints[n % MINTS].code("links", length=7) for n in range(600)))
    assert len(set(made)) == 600


async def test_no_key_is_had_twice(mints: list[IdMint]) -> None:
    made = await asyncio.gather(*(mints[n % MINTS].key("links", length=7) for n in range(900)))
    assert len(set(made)) == 900
