"""apsw, as this engine uses it: connections, bound values, and its errors as ours."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import apsw
from sqlalchemy.dialects import sqlite

from bastide.base.tx import Compiled, Duplicate, Statement
from bastide.engines.sql.backends.sqlite.vfs import DiskConnection, second_errors_untold
from bastide.engines.sql.contract import BodyCut, DatabaseAway, DiskFull, ValueRefused
from bastide.engines.sql.model import SqliteOptions, Values

T = TypeVar("T")

# Names, not question marks: apsw takes the caller's mapping as it is.
DIALECT = sqlite.dialect(paramstyle="named")
STATEMENTS_CACHED = 500
PROGRESS_STEPS = 20_000  # of SQLite's machine, some 200 us, between two looks at the clock
OPENING_PAUSE_S = 0.01
LOG_BYTES_KEPT = 64 << 20  # of the write-ahead log's file, once it is empty again


async def opened(
    thread: ThreadPoolExecutor, path: Path, vfs: str | None, options: SqliteOptions
) -> apsw.Connection:
    """A connection. Of those who open a new file at once, all but one are told that it is busy.

    Raises:
        DatabaseAway: the file can't be opened, or is held by another process for `busy_s`.
    """
    loop = asyncio.get_running_loop()
    until_s = loop.time() + options.busy_s
    while True:
        try:
            return await loop.run_in_executor(thread, connect, path, vfs, options)
        except apsw.BusyError as error:
            if loop.time() > until_s:
                refuse(error)
        except apsw.Error as error:
            refuse(error)
        await asyncio.sleep(OPENING_PAUSE_S)


def connect(path: Path, vfs: str | None, options: SqliteOptions) -> apsw.Connection:
    kind = apsw.Connection if vfs is None else DiskConnection
    with nullcontext() if vfs is None else second_errors_untold():
        return _set(kind(str(path), vfs=vfs, statementcachesize=STATEMENTS_CACHED), options)


def _set(connection: apsw.Connection, options: SqliteOptions) -> apsw.Connection:
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {options.sync}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES_KEPT}")
        connection.wal_autocheckpoint(0)
    except BaseException:
        close(connection)
        raise
    return connection


def close(connection: apsw.Connection) -> None:
    """The last one moves the log into the file. What can't be moved stays in the log."""
    with suppress(apsw.Error):
        connection.close(True)


def bound(compiled: Compiled, values: Values) -> Values:
    """`values` as the driver takes them.

    Raises:
        ValueRefused: one can't be written down, as a list with a text that is no Unicode.
    """
    if not compiled.binds and not compiled.constants:
        return values
    found = {**compiled.constants, **values}
    try:
        for name, process in compiled.binds.items():
            found[name] = process(found[name])
    except (OverflowError, UnicodeEncodeError) as error:
        refuse(error)
    return found


def made(statement: Statement[T], compiled: Compiled, columns: tuple[Any, ...]) -> T:
    """The row that the driver's columns stand for."""
    if compiled.results:
        changed = list(columns)
        for place, process in compiled.results:
            changed[place] = process(changed[place])
        return statement.row(*changed)
    return statement.row(*columns)


# What the driver raises for a value, beside its own errors.
ERRORS = (apsw.Error, OverflowError, UnicodeEncodeError)


def translated(error: Exception) -> Exception:
    """`error` as the contract names it; itself if it is a mistake in our own code."""
    match error:
        case apsw.ConstraintError():
            return Duplicate(str(error))
        case apsw.InterruptError():
            return BodyCut("the statement took too long")
        case apsw.FullError():
            return DiskFull("there is no room for the write")
        case apsw.IOError() if _extended(error) == apsw.SQLITE_IOERR_SHMSIZE:
            return DiskFull("there is no room for the write")
        case apsw.IOError() | apsw.CantOpenError() | apsw.BusyError() | apsw.LockedError():
            return DatabaseAway(f"the database does not answer: {error}")
        case apsw.TooBigError() | OverflowError() | UnicodeEncodeError():
            return ValueRefused(str(error))
    return error


def _extended(error: apsw.Error) -> int:
    """SQLite's finer code; apsw sets it, but its types don't know."""
    return int(getattr(error, "extendedresult", 0))


def refuse(error: Exception) -> NoReturn:
    """Raises `error` as the contract names it."""
    told = translated(error)
    if told is error:
        raise error
    raise told from error
