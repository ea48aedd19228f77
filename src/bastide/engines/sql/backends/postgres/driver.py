"""asyncpg, as this engine uses it: connections, bound values, and its errors as ours."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeAlias, TypeVar

import asyncpg
from sqlalchemy.dialects.postgresql import asyncpg as dialects

from bastide.base.settings import BackendUrl
from bastide.base.tx import Compiled, Duplicate, Statement
from bastide.engines.sql.contract import (
    BodyCut,
    BodyMiswritten,
    Contended,
    DatabaseAway,
    DiskFull,
    ValueRefused,
)
from bastide.engines.sql.model import PostgresOptions, Rerun, Values

T = TypeVar("T")
Connection: TypeAlias = asyncpg.Connection

DIALECT = dialects.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy leaves it untyped
STATEMENTS_CACHED = 500  # prepared, a connection
GRACE_S = 1.0  # how much longer we wait than the server should take to cut a statement
ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)

_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InternalClientError,
    ConnectionError,
)
_LOSERS = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.InvalidCachedStatementError,  # a newer process moved the schema meanwhile
    Rerun,
)
_DEMOTED = "the server takes no writes any more"


def lost_race(error: Exception) -> bool:
    """The transaction is undone, and may well succeed when it is run again."""
    return isinstance(error, _LOSERS)


def lost_connection(error: Exception) -> bool:
    if isinstance(error, asyncpg.QueryCanceledError):
        return False
    closed = isinstance(error, asyncpg.InterfaceError) and "closed" in str(error)
    return closed or isinstance(error, _LOST) or demoted(error)


def demoted(error: Exception) -> bool:
    """The server became a standby: nothing was done, and its connections lead to the wrong one.

    A standby that has no serializable transactions says so with a general code; asked for is the
    function in the server that refuses, since its message is in the server's language.
    """
    if isinstance(error, asyncpg.FeatureNotSupportedError):
        place = getattr(error, "server_source_function", None)
        return place == "GetSerializableTransactionSnapshot"
    return isinstance(error, asyncpg.ReadOnlySQLTransactionError)


def translated(error: Exception) -> Exception:
    """`error` as the contract names it; itself if it is a mistake in our own code."""
    match error:
        case asyncpg.IntegrityConstraintViolationError():
            return Duplicate(_message(error))
        case asyncpg.DataError() | asyncpg.ProgramLimitExceededError():
            return ValueRefused(_message(error))
        case asyncpg.QueryCanceledError():
            return BodyCut("the statement took too long")
        case asyncpg.DiskFullError():
            return DiskFull("there is no room for the write")
        case asyncpg.InsufficientResourcesError() | OSError():  # TimeoutError is an OSError
            return DatabaseAway(f"the database does not answer: {_message(error)}")
    if isinstance(error, asyncpg.InterfaceError) and "another operation" in str(error):
        return BodyMiswritten("a body awaited two verbs of its `tx` at once")
    if demoted(error):
        return DatabaseAway(f"{_DEMOTED}: {_message(error)}")
    if lost_connection(error):
        return DatabaseAway(f"the connection was lost: {_message(error)}")
    return error


def refuse(error: Exception) -> NoReturn:
    """Raises `error` as the contract names it."""
    told = translated(error)
    if told is error:
        raise error
    raise told from error


def _message(error: Exception) -> str:
    """Without the DETAIL line, which shows the row's values."""
    return str(error).partition("\nDETAIL:")[0] or type(error).__name__


def arguments(compiled: Compiled, values: Values) -> Sequence[Any]:
    """`values` in the order that the text counts them."""
    if compiled.binds or compiled.constants:
        found = {**compiled.constants, **values}
        for name, process in compiled.binds.items():
            found[name] = process(found[name])
        values = found
    return [values[name] for name in compiled.order]


def made(statement: Statement[T], compiled: Compiled, record: asyncpg.Record) -> T:
    """The row that the driver's record stands for."""
    if not compiled.results:
        return statement.row(*record)
    changed = list(record)
    for place, process in compiled.results:
        changed[place] = process(changed[place])
    return statement.row(*changed)


class Connections:
    """A pool. A connection whose state is not certain is thrown away, so that one that is lent is
    as good as new; one that the server has dropped meanwhile is noticed by its first user.
    """

    def __init__(self, url: BackendUrl, options: PostgresOptions) -> None:
        self._url = url
        self._options = options
        self._idle: list[Connection] = []
        self._places = asyncio.Semaphore(options.pool_max)

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Connection]:
        """
        Raises:
            DatabaseAway: nobody answers at the URL. Contended: all connections are in use.
        """
        await self._wait_for_place()
        try:
            connection = self._take() or await self.connect(self._options.statement_s)
            try:
                yield connection
            except (asyncio.CancelledError, OSError, asyncpg.InterfaceError):
                connection.terminate()  # a statement may still be on its way
                raise
            except asyncpg.PostgresError as error:
                if demoted(error):
                    connection.terminate()
                    self.close()  # those that wait lead to the same server
                raise
            finally:
                self._give_back(connection)
        finally:
            self._places.release()

    async def connect(self, statement_s: float) -> Connection:
        """A connection beside the pool, whose statements are cut after `statement_s`."""
        settings = {
            "application_name": "bastide",
            "default_transaction_isolation": "serializable",
            "statement_timeout": str(round(statement_s * 1000)),
        }
        try:
            async with asyncio.timeout(self._options.connect_s):
                connection: Connection = await asyncpg.connect(
                    f"postgres://{self._url.location}",
                    ssl=self._options.sslmode,
                    server_settings=settings,
                    command_timeout=statement_s + GRACE_S,
                    statement_cache_size=STATEMENTS_CACHED,
                    max_cached_statement_lifetime=0,
                )
                return connection
        except ERRORS as error:
            raise DatabaseAway(f"{self._url.safe} does not answer: {_message(error)}") from error

    def close(self) -> None:
        for connection in self._idle:
            connection.terminate()
        self._idle.clear()

    async def _wait_for_place(self) -> None:
        try:
            async with asyncio.timeout(self._options.connect_s):
                await self._places.acquire()
        except TimeoutError as error:
            used = f"all {self._options.pool_max} connections are in use"
            raise Contended(f"{used} since {self._options.connect_s} s") from error

    def _take(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def _give_back(self, connection: Connection) -> None:
        if connection.is_closed():
            return
        if connection.is_in_transaction():
            connection.terminate()
        else:
            self._idle.append(connection)
