"""The engine as the town opens it."""

import subprocess
import sys

import pytest

from bastide.base.manifest import Manifest, Miswired, Use, load
from bastide.base.rt.runtime import Runtime
from bastide.base.settings import parse_url
from bastide.base.tx import Once
from bastide.engines.sql.backends.sqlite.backend import open_sqlite
from bastide.engines.sql.contract import Database, Migrations
from bastide.engines.sql.manifest import MANIFEST, open_sql

MIGRATIONS = Migrations(steps=["CREATE TABLE things (id {key})"])


def use_of(tmp_path, backend, migrations):
    client = Manifest(
        name="shop",
        floor="apps",
        summary="",
        provides=object,
        open=open_sql,
        needs=(Database,),
        migrations=migrations,
    )
    return Use(
        MANIFEST,
        client=client,
        granted={},
        environ={},
        data=tmp_path,
        runtime=Runtime(),
        town=None,
        backend=backend,
    )


async def test_a_client_gets_its_own_file_its_tables_and_a_sweeper(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "shop_tables", sys.modules[__name__])
    async with open_sqlite(parse_url("sqlite://")) as backend:
        use = use_of(tmp_path, backend, "shop_tables:MIGRATIONS")
        async with open_sql(use) as sql:
            await sql.health()
            assert (tmp_path / "shop" / "rows.db").exists()
            assert use.crew.tasks["sweep-once"].state == "running"
            await use.crew.stop()


async def test_a_client_without_tables_has_the_frames(tmp_path):
    async with open_sqlite(parse_url("sqlite://")) as backend:
        use = use_of(tmp_path, backend, "")
        async with open_sql(use) as sql:

            async def body(tx):
                return 7

            replies = [await sql.transact(body, once=Once("a", b"f", int)) for _ in range(2)]
            assert replies == [7, 7]
            await use.crew.stop()


async def test_migrations_that_are_not_there_are_a_wiring_mistake(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "shop_tables", sys.modules[__name__])
    async with open_sqlite(parse_url("sqlite://")) as backend:
        with pytest.raises(Miswired):
            async with open_sql(use_of(tmp_path, backend, "shop_tables:NOTHING")):
                pass


@pytest.mark.parametrize("scheme", ["sqlite", "memory"])
def test_the_backends_that_need_no_extra_are_there(scheme):
    assert callable(load(MANIFEST.backends[scheme].opener))
    assert not MANIFEST.backends[scheme].extra


def test_without_the_extra_everything_but_postgres_is_imported():
    program = """
import sys
sys.modules["asyncpg"] = None
from bastide.base.manifest import load
from bastide.engines.sql.manifest import MANIFEST
load(MANIFEST.backends["sqlite"].opener)
try:
    load(MANIFEST.backends["postgres"].opener)
except ImportError as error:
    print(MANIFEST.backends["postgres"].extra)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "postgres\n", done.stderr
