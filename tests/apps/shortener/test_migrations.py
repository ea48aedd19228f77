"""A database that an earlier shortener left, with links in it, opened by the present one."""

import os
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from sqlalchemy import BigInteger, Boolean, Column, MetaData, Table, Text, insert

from bastide.apps.shortener import tables
from bastide.apps.shortener.core.owners import key_of, owner_of_key
from bastide.apps.shortener.core.targets import parse
from bastide.apps.shortener.tables import MIGRATIONS
from bastide.base.settings import parse_url
from bastide.base.tx import changes
from bastide.engines.sql.backends.sqlite.backend import open_sqlite
from bastide.engines.sql.contract import Migrations
from bastide.engines.sql.service import Sql
from bastide.testing.town import raised
from tests.apps.shortener.conftest import POSTGRES_URL, Visitor, bearer
from tests.engines.sql.test_migrations import columns

KEY = key_of(bytes(16))
CREATED_MS, NOW_MS, YEAR_MS = 1_790_000_000_000, 1_800_000_000_000, 365 * 24 * 3600 * 1000
LINKS = 300

# As the first step made them.
_METADATA = MetaData()
links = Table(
    "links",
    _METADATA,
    Column("id", BigInteger),
    *(Column(name, Text) for name in ("code", "target", "target_hash", "owner")),
    *(Column(name, BigInteger) for name in ("created_at_ms", "expires_at_ms")),
    *(Column(name, Boolean) for name in ("permanent", "disabled", "custom", "deleted")),
)
totals = Table(
    "links_totals",
    _METADATA,
    *(Column(name, BigInteger) for name in ("link_id", "clicks", "bots")),
)
reserved = Table(
    "reserved_codes",
    _METADATA,
    *(Column(name, Text) for name in ("code", "reserved_by")),
    Column("reserved_at_ms", BigInteger),
)


def old_link(number, *, code=None, **facts):
    target = facts.pop("target", f"https://{number}.example/")
    plain = {
        "id": number,
        "code": code or f"old{number}",
        "target": target,
        "target_hash": parse(target).hash if target else "",
        "owner": owner_of_key(KEY),
        "created_at_ms": CREATED_MS,
        "expires_at_ms": NOW_MS + YEAR_MS,
        **dict.fromkeys(("permanent", "disabled", "custom", "deleted"), False),
    }
    return {**plain, **facts}


OLD = [
    *(old_link(number) for number in range(1, LINKS + 1)),
    old_link(1_001, code="always", permanent=True),
    old_link(1_002, code="off", disabled=True),
    old_link(1_003, code="ended", expires_at_ms=NOW_MS - 1),
    old_link(1_004, code="spring", custom=True),
    old_link(1_005, code="deleted", target="", owner="", deleted=True),
]
REAL = pytest.param("postgres", marks=pytest.mark.engine("postgres"))


@asynccontextmanager
async def opened(scheme, url, migrations):
    """The shortener's rows."""
    if scheme == "postgres":
        from bastide.engines.sql.backends.postgres.backend import open_postgres as open_
    else:
        open_ = open_sqlite
    async with (
        open_(parse_url(url)) as backend,
        backend.store("shortener", lambda: None, migrations) as store,
    ):
        yield Sql(store, scan_pause_s=backend.scan_pause_s)


@pytest.fixture(params=["sqlite", REAL])
async def place(request, tmp_path):
    """A scheme, and the URL of a database without a shortener."""
    if request.param == "sqlite":
        yield "sqlite", f"sqlite://{tmp_path}"
        return
    assert POSTGRES_URL or os.environ.get("BASTIDE_TEST_ENGINES_REQUIRED") != "1"
    if not POSTGRES_URL:
        pytest.skip("BASTIDE_TEST_POSTGRES_URL is not set: scripts/engines start")
    import asyncpg

    connection = await asyncpg.connect(POSTGRES_URL)
    await connection.execute("DROP SCHEMA IF EXISTS shortener, ids CASCADE")
    yield "postgres", POSTGRES_URL
    await connection.execute("DROP SCHEMA IF EXISTS shortener, ids CASCADE")
    await connection.close()


async def leave(place, *, steps):
    """What a shortener of so many steps would have left."""
    counts = [{"link_id": one["id"], "clicks": 7, "bots": 2} for one in OLD if not one["deleted"]]

    async def body(tx):
        await tx.run_many(changes(insert(links)), OLD)
        await tx.run_many(changes(insert(totals)), counts)
        await tx.run(
            changes(insert(reserved)), code="kept", reserved_by="me", reserved_at_ms=CREATED_MS
        )

    async with opened(*place, Migrations(steps=MIGRATIONS.steps[:steps])) as sql:
        await sql.transact(body)


@pytest.fixture(params=range(1, len(MIGRATIONS.steps)))
async def visitor(request, place, tmp_path):
    await leave(place, steps=request.param)
    environ = {"BASTIDE_SQL_URL": place[1]}
    async with raised("shortener", environ=environ, data=tmp_path / "town") as town:
        yield Visitor(await town.client("shortener"), town)


@pytest.mark.shows("shortener.migrate")
async def test_every_link_of_an_earlier_shortener_leads_where_it_led(visitor):
    for number in range(1, LINKS + 1):
        reply = await visitor.follow(f"old{number}")
        assert reply.status_code == 302
        assert reply.headers["location"] == f"https://{number}.example/"
    found = {}
    for code in ("always", "off", "ended", "spring", "deleted", "none"):
        reply = await visitor.follow(code)
        gone = reply.status_code >= 400 and reply.json()["type"].removeprefix("urn:bastide:")
        found[code] = (reply.status_code, gone)
    assert found == {
        "always": (301, False),
        "off": (410, "link-disabled"),
        "ended": (410, "link-expired"),
        "spring": (302, False),
        "deleted": (410, "link-deleted"),
        "none": (404, "link-missing"),
    }


@pytest.mark.shows("shortener.migrate")
async def test_owners_keep_their_links_counts_and_keys(visitor):
    await visitor.follow("spring")
    stats = await visitor.stats("spring", KEY)
    assert (stats["total_clicks"], stats["bot_clicks"], stats["days"][-1]["clicks"]) == (8, 2, 1)
    listed, cursor = [], {}
    while cursor is not None:
        reply = await visitor.client.get(
            "/api/links", params={"limit": 100, **cursor}, headers=bearer(KEY)
        )
        listed += reply.json()["items"]
        cursor = {"cursor": reply.json()["next"]} if reply.json()["next"] else None
    assert len(listed) == LINKS + 4
    assert {(one["title"], tuple(one["tags"]), one["visits_max"]) for one in listed} == {
        ("", (), 0)
    }
    again = await visitor.shorten("https://1.example/", key=KEY)
    assert (again.status_code, again.json()["short_code"]) == (200, "old1")


@pytest.mark.shows("shortener.migrate")
async def test_old_links_take_what_is_new(visitor):
    changed = await visitor.change("old1", KEY, title="Old", tags=["old"], visits_max=1)
    assert changed.status_code == 200, changed.text
    assert [(await visitor.follow("old1")).status_code for _ in range(2)] == [302, 410]
    assert (await visitor.client.put("/api/blocked/old2")).json()["blocked"] is True
    assert (await visitor.follow("old2")).json()["type"] == "urn:bastide:link-blocked"
    assert (await visitor.change("ended", KEY, expires_days=1)).status_code == 200
    assert (await visitor.follow("ended")).status_code == 302


@pytest.mark.shows("shortener.migrate")
async def test_codes_that_were_given_or_kept_are_not_given_again(visitor):
    for code, refusal in (("old1", "code-taken"), ("deleted", "code-taken")):
        reply = await visitor.shorten(custom_code=code)
        assert reply.json()["type"] == f"urn:bastide:{refusal}"
    assert (await visitor.shorten(custom_code="kept")).json()["type"] == "urn:bastide:code-reserved"


@pytest.mark.parametrize("table", sorted(tables.METADATA.tables))
async def test_the_migrated_tables_are_those_that_the_statements_know(place, table):
    scheme, url = place
    async with opened(scheme, url, MIGRATIONS) as sql:
        found = await columns(SimpleNamespace(scheme=scheme, client="shortener"), sql, table)
    known = tables.METADATA.tables[table]
    keys = [column.name for column in known.primary_key]
    assert found == {
        column.name: (column.nullable, keys.index(column.name) + 1 if column.name in keys else 0)
        for column in known.columns
    }
