"""`postgres://user:password@host:5432/name?pool_max=10`: a schema for each client, named as it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from bastide.base import faults
from bastide.base.manifest import Use
from bastide.base.settings import BackendUrl
from bastide.base.tx import Statement
from bastide.engines.sql.backends.postgres import scan
from bastide.engines.sql.backends.postgres.driver import (
    DIALECT,
    ERRORS,
    Connection,
    Connections,
    arguments,
    lost_connection,
    lost_race,
    made,
    refuse,
)
from bastide.engines.sql.backends.postgres.retry import Retry
from bastide.engines.sql.backends.postgres.schema import migrate
from bastide.engines.sql.backends.postgres.tx import PostgresTx
from bastide.engines.sql.backends.postgres.writes import Writes
from bastide.engines.sql.contract import (
    Body,
    BodyCut,
    BodyMiswritten,
    DatabaseAway,
    Migrations,
)
from bastide.engines.sql.model import WENT_ON, PostgresOptions, Values
from bastide.engines.sql.tables import FRAME, VERSION_FIND

T = TypeVar("T")

OPENING_PAUSE_S = 0.1


@asynccontextmanager
async def open_postgres(
    url: BackendUrl, use: Use | None = None
) -> AsyncIterator["PostgresBackend"]:
    backend = PostgresBackend(url, url.options(PostgresOptions))
    try:
        yield backend
    finally:
        backend.close()


class PostgresBackend:
    """`model.SqlBackend`: the pool that all clients share."""

    def __init__(self, url: BackendUrl, options: PostgresOptions) -> None:
        self._options = options
        self._connections = Connections(url, options)

    @property
    def scan_pause_s(self) -> float:
        return self._options.scan_pause_s

    @asynccontextmanager
    async def store(
        self, client: str, directory: Callable[[], Path], migrations: Migrations
    ) -> AsyncIterator["PostgresStore"]:
        await self._wait_for_server()
        store = PostgresStore(self._connections, client, self._options)
        try:
            await store.migrate("frame", FRAME)
            await store.migrate(client, migrations)
            yield store
        finally:
            await store.close()

    def close(self) -> None:
        self._connections.close()

    async def _wait_for_server(self) -> None:
        """It may still be starting, as we are. Raises DatabaseAway after `connect_s`."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._options.connect_s
        while True:
            try:
                async with self._connections.lend():
                    return
            except DatabaseAway:
                if loop.time() > until_s:
                    raise
            await asyncio.sleep(OPENING_PAUSE_S)


class PostgresStore:
    """`model.Store`: one schema."""

    def __init__(self, connections: Connections, schema: str, options: PostgresOptions) -> None:
        self._connections = connections
        self._schema = schema
        self._options = options
        self._retry = Retry()
        self._writes = Writes(connections, schema, self._retry)

    async def migrate(self, owner: str, migrations: Migrations) -> None:
        await migrate(self._connections, self._schema, owner, migrations)

    def transact(self, body: Body[T]) -> Awaitable[T]:
        return self._retry(partial(self._attempt, body))

    def write(self, statement: Statement[object], values: Values) -> Awaitable[None]:
        return self._writes.ask(statement, values)

    async def one(self, statement: Statement[T], values: Values) -> T | None:
        compiled = statement.compiled(DIALECT, self._schema)
        bound = arguments(compiled, values)
        record = await self._read(lambda c: c.fetchrow(compiled.text, *bound))
        return None if record is None else made(statement, compiled, record)

    async def fetch(self, statement: Statement[T], values: Values, *, limit: int) -> list[T]:
        compiled = statement.compiled(DIALECT, self._schema)
        bound = arguments(compiled, values)
        text = f"SELECT * FROM ({compiled.text}) AS bounded LIMIT {limit}"  # noqa: S608 (our text)
        found = await self._read(lambda c: c.fetch(text, *bound))
        return [made(statement, compiled, record) for record in found]

    def snapshot(
        self, statement: Statement[T], values: Values
    ) -> AbstractAsyncContextManager[scan.PostgresSnapshot[T]]:
        pause_s = self._options.scan_pause_s
        return scan.snapshot(self._connections, self._schema, statement, values, pause_s)

    async def health(self) -> None:
        await self.one(VERSION_FIND, {"owner": "frame"})

    async def close(self) -> None:
        await self._writes.close()

    async def _read(self, read: Callable[[Connection], Awaitable[T]]) -> T:
        async def attempt() -> T:
            async with self._connections.lend() as connection:
                return await read(connection)

        try:
            return await self._retry(attempt)
        except ERRORS as error:
            refuse(error)

    async def _attempt(self, body: Body[T]) -> T:
        async with self._connections.lend() as connection:
            tx = PostgresTx(connection, self._schema)
            try:
                result = await self._run(body, connection, tx)
            except BaseException:
                await self._roll_back(connection)
                raise
            finally:
                tx.end()
            await self._commit(connection)
            return result

    async def _run(self, body: Body[T], connection: Connection, tx: PostgresTx) -> T:
        cut = asyncio.timeout(self._options.body_s)
        try:
            async with cut:
                await _begin(connection)
                result = await body(tx)
        except TimeoutError as error:
            if cut.expired():
                raise BodyCut(f"the body took longer than {self._options.body_s} s") from error
            raise
        if tx.failed:
            raise BodyMiswritten(WENT_ON)
        return result

    async def _roll_back(self, connection: Connection) -> None:
        """Whatever goes wrong here: the connection is thrown away, and the server rolls back.

        Not in a transaction means that the answer to BEGIN has not been seen. It may still take
        effect, and whoever had the connection next would be in a transaction without knowing.
        """
        if not connection.is_in_transaction():
            connection.terminate()
            return
        try:
            await connection.execute("ROLLBACK")
        except ERRORS:
            connection.terminate()

    async def _commit(self, connection: Connection) -> None:
        try:
            faults.point("sql.before_commit")
            await connection.execute("COMMIT")
            faults.point("sql.after_commit")
        except ERRORS as error:
            if lost_connection(error) or isinstance(error, OSError):
                lost = f"the answer to the commit was lost: {error}"
                raise DatabaseAway(lost, outcome="unknown") from error
            if lost_race(error):
                raise
            refuse(error)


async def _begin(connection: Connection) -> None:
    try:
        await connection.execute("BEGIN")
    except ERRORS as error:
        if lost_connection(error):
            raise
        refuse(error)
