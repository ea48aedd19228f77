"""Brings a schema's tables to the newest version."""

from bastide.engines.sql.backends.postgres.driver import (
    DIALECT,
    ERRORS,
    Connection,
    Connections,
    refuse,
)
from bastide.engines.sql.contract import Migrations
from bastide.engines.sql.core import POSTGRES_WORDS, next_step, statements_of
from bastide.engines.sql.tables import VERSION_DROP, VERSION_FIND, VERSION_KEEP, VERSION_TABLE

STEP_S = 3600.0  # an index on a large table takes its time


async def migrate(
    connections: Connections, schema: str, owner: str, migrations: Migrations
) -> None:
    """
    Raises:
        SchemaNewer, DatabaseAway.
    """
    connection = await connections.connect(STEP_S)
    try:
        while await _step(connection, schema, owner, migrations):
            pass
    except ERRORS as error:
        refuse(error)
    finally:
        await connection.close()


async def _step(connection: Connection, schema: str, owner: str, migrations: Migrations) -> bool:
    """One step in one transaction, its version with it; False if there was none to take.

    Read committed, since a snapshot from before the lock would not show what its last holder did.
    """
    find, drop, keep = (
        statement.compiled(DIALECT, schema).text
        for statement in (VERSION_FIND, VERSION_DROP, VERSION_KEEP)
    )
    async with connection.transaction(isolation="read_committed"):
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", schema)
        await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        await connection.execute(f'SET LOCAL search_path TO "{schema}"')
        await connection.execute(VERSION_TABLE)
        version = await connection.fetchval(find, owner) or 0
        step = next_step(owner, version, migrations)
        if step is not None:
            for statement in statements_of(step, POSTGRES_WORDS):
                await connection.execute(statement)
            await connection.execute(drop, owner)
            await connection.execute(keep, owner, version + 1)
    return step is not None
