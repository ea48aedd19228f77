"""Reads beside the writer: they see the last commit, and never wait for it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import apsw

from bastide.base.rt import runtime
from bastide.base.tx import Statement
from bastide.engines.sql.backends.sqlite.driver import (
    DIALECT,
    ERRORS,
    PROGRESS_STEPS,
    bound,
    close,
    connect,
    made,
    opened,
    refuse,
)
from bastide.engines.sql.backends.sqlite.vfs import vfs_name
from bastide.engines.sql.contract import SCANS_MAX, DatabaseAway, ScanCut
from bastide.engines.sql.model import SqliteOptions, Values

T = TypeVar("T")

BUSY_S = 0.005
SCAN_STEPS = 50 * PROGRESS_STEPS  # some 10 ms: each look costs the thread a turn at the lock
CLOSED = "the database is closed"


class Reader:
    """Reads by an index, on the loop: a thread's hop would cost ten times the read."""

    def __init__(self, path: Path, options: SqliteOptions) -> None:
        self._path = path
        self._vfs = vfs_name(runtime.current().disk)
        self._options = options
        self._body_s = options.body_s
        self._monotonic = runtime.current().clock.monotonic
        self._deadline_s = inf
        self._connection: apsw.Connection | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def one(self, statement: Statement[T], values: Values) -> T | None:
        """The hot read: `fetch` of one row, in one frame."""
        connection = self._connection
        if connection is not None:
            compiled = statement.compiled(DIALECT, None)
            self._deadline_s = self._monotonic() + self._body_s
            try:
                for columns in connection.execute(compiled.text, bound(compiled, values)):
                    return made(statement, compiled, columns)
                return None
            except apsw.BusyError:
                pass
            except ERRORS as error:
                self._fail(error)
        found = await self.fetch(statement, values, 1)
        return found[0] if found else None

    async def fetch(self, statement: Statement[T], values: Values, limit: int) -> list[T]:
        compiled = statement.compiled(DIALECT, None)
        values = bound(compiled, values)
        connection = self._connection or await self._open()
        try:
            found = self._fetched(connection, compiled.text, values, limit)
        except apsw.BusyError:
            found = await self._fetched_later(compiled.text, values, limit)
        except ERRORS as error:
            self._fail(error)
        return [made(statement, compiled, columns) for columns in found]

    def close(self) -> None:
        self._closed = True
        self._drop()

    def _fetched(
        self, connection: apsw.Connection, text: str, values: Values, limit: int
    ) -> list[tuple[Any, ...]]:
        self._deadline_s = self._monotonic() + self._body_s
        return list(islice(connection.execute(text, values), limit))

    async def _fetched_later(self, text: str, values: Values, limit: int) -> list[tuple[Any, ...]]:
        """Another process recovers the log, or holds the file for itself. Meanwhile another read
        may have failed, and dropped the connection.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._options.busy_s
        while loop.time() < until_s:
            await asyncio.sleep(BUSY_S)
            connection = self._connection or await self._open()
            try:
                return self._fetched(connection, text, values, limit)
            except apsw.BusyError:
                continue
            except ERRORS as error:
                self._fail(error)
        raise DatabaseAway(f"another process holds the file since {self._options.busy_s} s")

    async def _open(self) -> apsw.Connection:
        async with self._opening:
            if self._closed:
                raise DatabaseAway(CLOSED)
            if self._connection is None:
                with ThreadPoolExecutor(1) as thread:
                    connection = await opened(thread, self._path, self._vfs, self._options)
                connection.execute("PRAGMA query_only = ON")
                connection.set_progress_handler(self._overdue, PROGRESS_STEPS)
                self._connection = connection
        return self._connection

    def _fail(self, error: Exception) -> NoReturn:
        if isinstance(error, apsw.IOError | apsw.CantOpenError):
            self._drop()  # the next read opens the file again
        refuse(error)

    def _drop(self) -> None:
        if self._connection is not None:
            close(self._connection)
            self._connection = None

    def _overdue(self) -> bool:
        return self._monotonic() > self._deadline_s


class Scans:
    """Long reads, each on a connection and a snapshot of its own, in threads."""

    def __init__(self, client: str, path: Path, options: SqliteOptions) -> None:
        self._path = path
        self._vfs = vfs_name(runtime.current().disk)
        self._options = options
        self._threads = ThreadPoolExecutor(SCANS_MAX, thread_name_prefix=f"{client}-scan")
        self._open: set[SqliteSnapshot[Any]] = set()
        self._closed = False

    @asynccontextmanager
    async def snapshot(
        self, statement: Statement[T], values: Values
    ) -> AsyncIterator["SqliteSnapshot[T]"]:
        if self._closed:
            raise DatabaseAway(CLOSED)
        snapshot = SqliteSnapshot(statement, values, self._threads)
        self._open.add(snapshot)
        try:
            await snapshot.open(self._path, self._vfs, self._options)
            yield snapshot
        finally:
            self._open.discard(snapshot)
            snapshot.close()

    def cut_all(self) -> None:
        for snapshot in self._open:
            snapshot.cut()

    async def close(self) -> None:
        self._closed = True
        self.cut_all()
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)


class SqliteSnapshot(Generic[T]):
    """A cursor in a thread. Between two `take`s no thread knows of it."""

    def __init__(
        self, statement: Statement[T], values: Values, threads: ThreadPoolExecutor
    ) -> None:
        self._statement = statement
        self._compiled = statement.compiled(DIALECT, None)
        self._values = bound(self._compiled, values)
        self._threads = threads
        self._connection: apsw.Connection | None = None
        self._cursor: apsw.Cursor | None = None
        self._in_use = False
        self._cut = False

    async def open(self, path: Path, vfs: str | None, options: SqliteOptions) -> None:
        await self._in_thread(self._begin, path, vfs, options)

    async def take(self, count: int) -> Sequence[T]:
        found: list[T] = await self._in_thread(self._next, count)
        return found

    def cut(self) -> None:
        """Ends it now, or as soon as its thread is back."""
        self._cut = True
        if self._in_use:
            self._interrupt()
        else:
            self.close()

    def close(self) -> None:
        if self._connection is not None:
            close(self._connection)
            self._connection = None

    def _interrupt(self) -> None:
        """At once if a statement runs. One that begins only now hears of `_cut` by itself."""
        if self._connection is not None:
            self._connection.interrupt()

    def _begin(self, path: Path, vfs: str | None, options: SqliteOptions) -> None:
        self._connection = connect(path, vfs, options)
        self._connection.execute("PRAGMA query_only = ON")
        self._connection.set_progress_handler(lambda: self._cut, SCAN_STEPS)
        self._cursor = self._connection.execute(self._compiled.text, self._values)

    def _next(self, count: int) -> list[T]:
        assert self._cursor is not None
        found = islice(self._cursor, count)
        return [made(self._statement, self._compiled, columns) for columns in found]

    async def _in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """A thread can't be cancelled: the statement is interrupted, and the thread waited for."""
        self._refuse_cut()
        self._in_use = True
        job = asyncio.get_running_loop().run_in_executor(self._threads, function, *args)
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            self._cut = True
            self._interrupt()
            await asyncio.gather(job, return_exceptions=True)
            raise
        except ERRORS as error:
            self._refuse_cut()
            refuse(error)
        finally:
            self._in_use = False

    def _refuse_cut(self) -> None:
        if self._cut:
            raise ScanCut("the scan's reader paused too long, or the log behind it grew too large")
