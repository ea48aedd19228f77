"""Numbered, forward only, each step whole, under a lock; a newer schema is refused."""

import asyncio

import pytest
from sqlalchemy import text

from bastide.base.tx import Statement, changes
from bastide.engines.sql import core, tables
from bastide.engines.sql.contract import Migrations, SchemaNewer


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
