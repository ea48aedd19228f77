"""Long reads, each on a connection and a snapshot of its own: a scan never takes from the pool."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from asyncpg.cursor import Cursor

from bastide.base.tx import Compiled, Statement
from bastide.engines.sql.backends.postgres.driver import (
    DIALECT,
    ERRORS,
    GRACE_S,
    Connection,
    Connections,
    arguments,
    made,
    refuse,
)
from bastide.engines.sql.contract import ScanCut
from bastide.engines.sql.model import Values

T = TypeVar("T")


class PostgresSnapshot(Generic[T]):
    """A server-side cursor in a read-only transaction."""

    def __init__(
        self, connection: Connection, cursor: Cursor, statement: Statement[T], compiled: Compiled
    ) -> None:
        self._connection = connection
        self._cursor = cursor
        self._statement = statement
        self._compiled = compiled
        self._cut = False

    async def take(self, count: int) -> Sequence[T]:
        if self._cut:
            raise ScanCut("the scan's reader paused too long")
        try:
            found = await self._cursor.fetch(count)
        except ERRORS as error:
            refuse(error)
        return [made(self._statement, self._compiled, record) for record in found]

    def cut(self) -> None:
        self._cut = True
        self._connection.terminate()


@asynccontextmanager
async def snapshot(
    connections: Connections,
    schema: str,
    statement: Statement[T],
    values: Values,
    statement_s: float,
) -> AsyncIterator[PostgresSnapshot[T]]:
    compiled = statement.compiled(DIALECT, schema)
    connection = await connections.connect(statement_s)
    try:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor = await connection.cursor(compiled.text, *arguments(compiled, values))
        yield PostgresSnapshot(connection, cursor, statement, compiled)
    except ERRORS as error:
        refuse(error)
    finally:
        if not connection.is_closed():
            await connection.close(timeout=GRACE_S)
