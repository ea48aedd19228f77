"""Group commit: the one writer of a database file.

    loop    bodies of group 1 ·      answers 1, bodies of group 2 ·      answers 2, bodies of ...
    thread                    COMMIT 1                            COMMIT 2

Idea: waiting for the disk is what costs, and one wait serves all who are there. Statements take
microseconds and run on the loop: a thread that takes turns with a busy loop starves for the
interpreter lock. Only COMMIT (with checkpoints) is in a thread. While it runs, bodies queue; then
they run one after another inside one BEGIN IMMEDIATE, each in a savepoint, until the loop was held
for GROUP_S. The longer the disk takes, the larger the groups: throughput hardly depends on it.

A body sees what those before it in the group wrote. So nobody is answered before the commit, not
even one who is refused: the refusal may rest on a row that the commit then fails to keep.

Some errors make SQLite roll back the whole transaction (a statement that is interrupted, a full
disk). Then the bodies before are put back into the queue and run again; they have not been
answered. Each such error takes a body out of the queue for good, so this ends.
"""

import asyncio
from collections import deque
from collections.abc import Callable, MutableSequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any, TypeVar

import apsw

from bastide.base import faults
from bastide.base.rt import runtime
from bastide.base.rt.disk import File
from bastide.engines.sql.backends.sqlite.asked import Asked
from bastide.engines.sql.backends.sqlite.driver import (
    PROGRESS_STEPS,
    close,
    opened,
    translated,
)
from bastide.engines.sql.backends.sqlite.schema import migrate
from bastide.engines.sql.backends.sqlite.vfs import vfs_name
from bastide.engines.sql.contract import DatabaseAway, DiskFull, Migrations
from bastide.engines.sql.model import SqliteOptions

T = TypeVar("T")

GROUP_S = 0.001
GROUP_MAX = 1000  # bodies, where a simulated clock stands still meanwhile
CHECKPOINT_PAGES = 4000  # 16 MB of log
LOG_PAGES_MAX = 65_536  # 256 MB: what may pile up behind a scan
LOG_PART_BYTES = 1 << 20
BUSY_FIRST_S = 0.001
BUSY_MAX_S = 0.05


class Writer:
    """`ask` and wait for the future. Its task lives while anybody waits."""

    def __init__(
        self, client: str, path: Path, options: SqliteOptions, *, on_log_over: Callable[[], None]
    ) -> None:
        self._path = path
        self._disk = runtime.current().disk
        self._vfs = vfs_name(self._disk)
        self._options = options
        self._on_log_over = on_log_over
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"{client}-commit")
        self._loop = asyncio.get_running_loop()
        self._monotonic = runtime.current().clock.monotonic
        self._waiting: deque[Asked] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._group: list[Asked] = []
        self._deadline_s = inf
        self._log_pages = 0
        self._checkpoint_at = CHECKPOINT_PAGES
        self._connection: apsw.Connection | None = None
        metrics = runtime.current().metrics
        self._commits = metrics.histogram(
            "bastide_sql_commit_seconds", "Time of a commit.", client=client
        )
        self._bodies = metrics.counter(
            "bastide_sql_bodies_total", "Bodies and writes that were run.", client=client
        )

    def ask(self, asked: Asked) -> None:
        if self._closed:
            raise DatabaseAway("the database is closed")
        self._waiting.append(asked)
        if self._task is None:
            self._task = self._loop.create_task(self._serve())

    async def migrate(self, owner: str, migrations: Migrations) -> None:
        """Alone on the connection: who asks meanwhile waits.

        Raises:
            SchemaNewer, DatabaseAway.
        """
        while self._task is not None:
            await asyncio.wait([self._task])
        self._task = self._loop.create_task(self._migrate(owner, migrations))
        await asyncio.shield(self._task)

    async def open(self) -> apsw.Connection:
        """The writer's connection: the one there is, or a new one after a failure.

        Raises:
            DatabaseAway.
        """
        if self._connection is None:
            connection = await opened(self._thread, self._path, self._vfs, self._options)
            connection.set_progress_handler(self._overdue, PROGRESS_STEPS)
            connection.set_wal_hook(self._logged)
            try:
                await self._write_log_again(connection)
            except (OSError, apsw.Error) as error:
                await self._off_loop(close, connection)
                raise DatabaseAway(f"the log can't be made durable: {error}") from error
            self._connection = connection
        return self._connection

    async def _write_log_again(self, connection: apsw.Connection) -> None:
        """What an earlier process left in the log is made durable before anything stands behind it.

        If a sync has failed there, the kernel calls pages clean that the disk never got. They are
        read, so SQLite recovers them; but no later sync brings them down, and a power cut would
        take them and every commit behind them. Written once more they are dirty again.
        """
        log = self._path.with_name(f"{self._path.name}-wal")
        if not self._disk.exists(log):
            return
        try:
            connection.execute("BEGIN IMMEDIATE")  # so that nobody else writes to the log
        except apsw.BusyError:
            return  # the process that does has made it durable
        file = self._disk.open(log)
        try:
            await self._off_loop(_write_again, file)
            await file.sync()
        finally:
            file.close()
        connection.execute("ROLLBACK")

    async def close(self) -> None:
        self._closed = True
        while self._task is not None:
            await asyncio.wait([self._task])
        await self._drop()
        self._thread.shutdown()

    async def _migrate(self, owner: str, migrations: Migrations) -> None:
        busy_ms = round(self._options.busy_s * 1000)
        try:
            await self._off_loop(migrate, await self.open(), owner, migrations, busy_ms)
        finally:
            self._task = self._loop.create_task(self._serve()) if self._waiting else None

    async def _serve(self) -> None:
        try:
            while self._waiting:
                await self._serve_group()
        finally:
            self._task = None

    async def _serve_group(self) -> None:
        try:
            connection = await self._begun()
            self._run_waiting(connection)
            failure = await self._commit(connection) if connection.in_transaction else None
            self._answer(self._group, failure)
            if self._log_pages >= self._checkpoint_at:
                await self._checkpoint(connection)
        except DatabaseAway as error:
            self._answer(self._waiting, error)
        except Exception as error:  # the connection is in a state that nothing here expects
            self._answer(self._group, translated(error))
            self._answer(self._waiting, translated(error))
            await self._drop()

    async def _begun(self) -> apsw.Connection:
        """The connection, with a transaction open and the file's write lock held."""
        connection = await self.open()
        began_s, pause_s = self._loop.time(), BUSY_FIRST_S
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return connection
            except apsw.BusyError as error:
                if self._loop.time() - began_s > self._options.busy_s:
                    waited = f"another process writes since {self._options.busy_s} s"
                    raise DatabaseAway(waited) from error
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, BUSY_MAX_S)

    def _run_waiting(self, connection: apsw.Connection) -> None:
        """Runs a group. If there is no transaction afterwards, the group is the one whose error
        undid the whole, and the others wait again.
        """
        now_s = self._monotonic()
        held_until_s = now_s + GROUP_S
        while self._waiting and now_s < held_until_s and len(self._group) < GROUP_MAX:
            asked = self._waiting.popleft()
            if asked.future.done():  # cancelled before it began
                continue
            self._group.append(asked)
            self._deadline_s = now_s + self._options.body_s
            asked.run(connection, self._overdue)
            if asked.error is not None and not connection.in_transaction:
                self._waiting.extendleft(reversed(self._group[:-1]))
                self._group = [asked]
                break
            now_s = self._monotonic()
        self._deadline_s = inf
        self._bodies.add(len(self._group))

    async def _commit(self, connection: apsw.Connection) -> Exception | None:
        """What those who wait for the commit must be told; None if it is durable."""
        began_s = self._monotonic()
        try:
            faults.point("sql.before_commit")
            await self._off_loop(connection.execute, "COMMIT")
            faults.point("sql.after_commit")
        except Exception as error:
            return await self._not_committed(connection, error)
        self._commits.observe(self._monotonic() - began_s)
        return None

    async def _not_committed(self, connection: apsw.Connection, error: Exception) -> Exception:
        told = translated(error)
        if isinstance(error, apsw.FullError):  # the log lacks its last frame: not committed
            with suppress(apsw.Error):  # SQLite may have rolled back by itself
                connection.execute("ROLLBACK")
            return told
        await self._drop()
        if isinstance(told, DiskFull):  # the log has its last frame, but its index had no room
            return DiskFull(str(told), outcome="unknown")
        return DatabaseAway(f"the answer to the commit was lost: {error}", outcome="unknown")

    async def _checkpoint(self, connection: apsw.Connection) -> None:
        """Moves what the log holds into the file, up to where the oldest reader stands. The next
        commit then begins the log anew, if nobody reads it any more.
        """
        with suppress(apsw.Error):  # a full disk: the log grows on, until writes are refused
            pages, moved = await self._off_loop(connection.wal_checkpoint)
            self._checkpoint_at = CHECKPOINT_PAGES if pages == moved else pages + CHECKPOINT_PAGES
            if pages > LOG_PAGES_MAX:
                self._on_log_over()

    def _answer(self, group: MutableSequence[Asked], failure: Exception | None) -> None:
        for asked in group:
            asked.answer(failure)
        group.clear()

    async def _drop(self) -> None:
        """Close the connection; the next group opens one."""
        dropped, self._connection = self._connection, None
        if dropped is not None:
            await self._off_loop(close, dropped)

    async def _off_loop(self, function: Callable[..., T], *args: Any) -> T:
        return await self._loop.run_in_executor(self._thread, function, *args)

    def _overdue(self) -> bool:
        return self._monotonic() > self._deadline_s

    def _logged(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        """Called by SQLite after each commit, in the thread."""
        self._log_pages = pages
        return apsw.SQLITE_OK


def _write_again(file: File) -> None:
    for at in range(0, file.size(), LOG_PART_BYTES):
        file.write([file.read(LOG_PART_BYTES, at=at)], at=at)
