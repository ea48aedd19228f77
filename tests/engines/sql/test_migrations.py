"""Numbered, forward only, each step whole, under a lock; a newer schema is refused."""

import asyncio

import pytest
from sqlalchemy import text

from bastide.base.tx import Once, Statement, changes
from bastide.engines.sql import core, tables
from bastide.engines.sql.contract import Migrations, SchemaNewer
from tests.engines.sql.kit import open_accounts


def steps(*more):
    return Migrations(steps=["CREATE TABLE a (id {key}, v TEXT NOT NULL)", *more])


def on(databases, sql):
    """`sql` as text for this backend: text() names no schema by itself."""
    return sql.replace(
        "{schema}", f'"{databases.client}".' if databases.scheme == "postgres" else ""
    )


async def add(databases, sql, id_):
    statement = changes(
        text(
            on(databases, "INSERT INTO {schema}a (id, v) VALUES (:id, 'old')").replace(
                ":id", str(id_)
            )
        )
    )
    await sql.write(statement)


async def columns(databases, sql, table):
    """name -> (nullable, place in the primary key)"""
    if databases.scheme == "postgres":
        query = f"""
            SELECT c.column_name, c.is_nullable = 'YES', COALESCE(k.ordinal_position, 0)
            FROM information_schema.columns c
            LEFT JOIN information_schema.key_column_usage k
              ON k.table_schema = c.table_schema AND k.table_name = c.table_name
             AND k.column_name = c.column_name AND k.constraint_name LIKE '%_pkey'
            WHERE c.table_schema = '{databases.client}' AND c.table_name = '{table}'"""
    else:
        query = f"SELECT name, NOT \"notnull\", pk FROM pragma_table_info('{table}')"
    statement = Statement(text(query), lambda name, null, key: (name, (bool(null), key)))
    return dict(await sql.fetch(statement))


@pytest.mark.parametrize("table", sorted(tables.METADATA.tables))
async def test_the_migrated_tables_are_those_that_the_statements_know(databases, table):
    async with databases.open() as sql:
        found = await columns(databases, sql, table)
    known = tables.METADATA.tables[table]
    keys = [column.name for column in known.primary_key]
    assert found == {
        column.name: (column.nullable, keys.index(column.name) + 1 if column.name in keys else 0)
        for column in known.columns
    }


@pytest.mark.box("sql.migrations")
async def test_a_later_step_finds_the_rows_of_the_earlier_code(durable):
    async with durable.open(migrations=steps()) as sql:
        await add(durable, sql, 1)
    later = steps("ALTER TABLE a ADD COLUMN w BIGINT;\nUPDATE a SET w = 7;")
    for _ in range(2):
        async with durable.open(migrations=later) as sql:
            found = Statement(text(on(durable, "SELECT w FROM {schema}a")), int)
            assert await sql.fetch(found) == [7]


@pytest.mark.box("sql.migrations")
async def test_a_schema_newer_than_the_code_is_refused(durable):
    async with durable.open(migrations=steps("CREATE TABLE b (id {key})")):
        pass
    with pytest.raises(SchemaNewer, match=r"at version 2; this code knows 1"):
        async with durable.open(migrations=steps()):
            pass


@pytest.mark.box("sql.migrations")
async def test_a_step_that_fails_leaves_nothing_of_itself(durable):
    broken = steps("CREATE TABLE b (id {key});\nCREATE NONSENSE;")
    with pytest.raises(Exception, match=r"(?i)syntax"):
        async with durable.open(migrations=broken):
            pass
    async with durable.open(migrations=steps("CREATE TABLE b (id {key})")) as sql:
        assert set(await columns(durable, sql, "b")) == {"id"}


async def test_two_who_open_at_once_take_each_step_once(databases):
    """On PostgreSQL two processes may; in one process the town opens a client once."""
    async with databases.backend() as backend:

        async def opens():
            async with databases.on(backend, migrations=steps("CREATE TABLE b (id {key})")) as sql:
                await sql.health()

        await asyncio.gather(*(opens() for _ in range(3)))


# Whoever keeps rows in a client's database: `Database.migrate`.

GUEST = "CREATE TABLE guests (id {key}, born {xact}, v TEXT NOT NULL)"


def of_guest(databases, sql, row=int):
    return Statement(text(on(databases, sql)), row)


async def test_a_guest_s_tables_stand_beside_the_client_s_and_share_its_commit(databases, bank):
    async with databases.open() as sql:
        await sql.migrate("guest", Migrations(steps=[GUEST]))
        put = changes(text(on(databases, "INSERT INTO {schema}guests (id, v) VALUES (1, 'a')")))

        async def body(tx):
            await tx.run(bank.open, id=1, owner="ann", balance=1)
            await tx.run(put)
            raise KeyError("not after all")

        with pytest.raises(KeyError):
            await sql.transact(body)
        assert await sql.fetch(of_guest(databases, "SELECT id FROM {schema}guests")) == []
        await sql.write(put)
        assert await sql.fetch(of_guest(databases, "SELECT id FROM {schema}guests")) == [1]
        assert await sql.fetch(bank.all) == []


async def test_a_guest_s_steps_are_taken_once_and_each_owner_counts_its_own(durable):
    one, two = GUEST, "ALTER TABLE guests ADD COLUMN w BIGINT"
    async with durable.open() as sql:
        for _ in range(2):
            await sql.migrate("guest", Migrations(steps=[one]))
    async with durable.open() as sql:
        for _ in range(2):
            await sql.migrate("guest", Migrations(steps=[one, two]))
        assert set(await columns(durable, sql, "guests")) == {"id", "born", "v", "w"}
        versions = of_guest(durable, "SELECT owner, version FROM {schema}version", lambda *row: row)
        assert dict(await sql.fetch(versions)) == {
            "frame": len(tables.FRAME.steps),
            durable.client: len(durable.migrations.steps),
            "guest": 2,
        }


async def test_a_guest_newer_than_its_code_is_refused_and_the_client_goes_on(databases, bank):
    async with databases.open() as sql:
        await sql.migrate("guest", Migrations(steps=[GUEST, "CREATE TABLE more (id {key})"]))
        with pytest.raises(
            SchemaNewer, match=r"tables of guest are at version 2; this code knows 1"
        ):
            await sql.migrate("guest", Migrations(steps=[GUEST]))
        await open_accounts(sql, bank, 3)
        assert await sql.one(bank.count) == 3


async def test_a_guest_may_come_while_others_write(databases, bank):
    async with databases.open() as sql:
        await open_accounts(sql, bank, 1, balance=0)

        async def body(tx):
            await tx.run(bank.add, of=1, amount=1)

        async def writes():
            for _ in range(30):
                await sql.transact(body)

        steps = [GUEST, *(f"CREATE TABLE more{n} (id {{key}})" for n in range(5))]
        writing = [asyncio.create_task(writes()) for _ in range(4)]
        for count in range(1, len(steps) + 1):
            await sql.migrate("guest", Migrations(steps=steps[:count]))
        await asyncio.gather(*writing)
        assert (await sql.one(bank.get, id=1)).balance == 120
        assert set(await columns(databases, sql, "more4")) == {"id"}


async def test_a_row_knows_the_transaction_that_made_it(databases):
    """On PostgreSQL: rows of one have one number, and a later one's is higher. Elsewhere 0."""
    async with databases.open() as sql:
        await sql.migrate("guest", Migrations(steps=[GUEST]))
        put = changes(text(on(databases, "INSERT INTO {schema}guests (id, v) VALUES (:id, 'a')")))

        async def body(tx, first):
            for id_ in (first, first + 1):
                await tx.run(put, id=id_)

        for first in (1, 3):
            await sql.transact(lambda tx, first=first: body(tx, first))
        born = await sql.fetch(of_guest(databases, "SELECT born FROM {schema}guests ORDER BY id"))
    if databases.scheme == "postgres":
        assert born[0] == born[1] < born[2] == born[3]
    else:
        assert born == [0, 0, 0, 0]


@pytest.mark.shows("sql.migrate")
async def test_a_database_of_the_first_release_keeps_its_replies(durable, monkeypatch):
    """The second step of the frame drops tables that nothing had written to."""

    async def body(tx):
        return 7

    with monkeypatch.context() as patched:
        first = Migrations(steps=tables.FRAME.steps[:1])
        for module in ("sqlite", "postgres"):
            patched.setattr(f"bastide.engines.sql.backends.{module}.backend.FRAME", first)
        async with durable.open() as sql:
            await sql.transact(body, once=Once("k", b"f", int))
            assert await columns(durable, sql, "outbox")
    async with durable.open() as sql:
        assert not await columns(durable, sql, "outbox")
        assert not await columns(durable, sql, "heard")

        async def never(tx):
            raise AssertionError("it was answered before")

        assert await sql.transact(never, once=Once("k", b"f", int)) == 7


def test_a_step_is_parted_by_a_semicolon_at_the_end_of_a_line():
    step = "CREATE TABLE a (\n  id {key}, b {bytes}\n);\nINSERT INTO a VALUES (';', 1); \n\n"
    assert core.statements_of(step, core.SQLITE_WORDS) == [
        "CREATE TABLE a (\n  id INTEGER PRIMARY KEY NOT NULL, b BLOB\n)",
        "INSERT INTO a VALUES (';', 1)",
    ]
    assert "BYTEA" in core.statements_of(step, core.POSTGRES_WORDS)[0]


def test_the_next_step_is_the_one_after_the_version():
    migrations = Migrations(steps=["one", "two"])
    assert [core.next_step("x", n, migrations) for n in range(3)] == ["one", "two", None]
    with pytest.raises(SchemaNewer):
        core.next_step("x", 3, migrations)
