"""A town of a kiosk and a ledger, on whichever engines a test is run."""

from contextlib import asynccontextmanager

import pytest

from bastide.testing.town import raised
from tests.engines.bus.kit import STREET
from tests.engines.sql.conftest import own_server, postgres_url  # noqa: F401 (fixtures)


@pytest.fixture(autouse=True)
def _street(monkeypatch):
    monkeypatch.setattr("bastide.town.SYSTEMS", STREET)


@pytest.fixture
def durable(tmp_path):
    """The settings of a town that finds again what it kept, in `tmp_path`."""
    return {"BASTIDE_SQL_URL": "sqlite://", "BASTIDE_LOG_URL": "file://"}


@pytest.fixture
async def postgres(request):
    """The settings of a town on PostgreSQL, whose rows nobody has used."""
    url = request.getfixturevalue("postgres_url")
    await _drop(url)
    yield {"BASTIDE_SQL_URL": url}
    await _drop(url)


async def _drop(url):
    import asyncpg

    connection = await asyncpg.connect(url)
    for schema in ("kiosk", "ledger"):
        await connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
    await connection.close()


@asynccontextmanager
async def opened(environ=None, data=None):
    async with raised("kiosk", "ledger", environ=environ, data=data) as town:
        yield town.served("kiosk"), town.served("ledger"), town
