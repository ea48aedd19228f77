"""`sqlite://` keeps a file in each client's directory, `sqlite:///directory` all of them there;
`memory://` is the same on a directory that goes when the town closes.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bastide.base.errors import Invalid
from bastide.base.manifest import Use
from bastide.base.rt import runtime
from bastide.base.rt.disk import SystemDisk
from bastide.base.settings import BackendUrl
from bastide.base.tx import Statement
from bastide.engines.sql.backends.sqlite.asked import AskedBody, AskedWrite
from bastide.engines.sql.backends.sqlite.driver import DIALECT, bound
from bastide.engines.sql.backends.sqlite.reader import Reader, Scans, SqliteSnapshot
from bastide.engines.sql.backends.sqlite.writer import Writer
from bastide.engines.sql.contract import Body, Migrations
from bastide.engines.sql.model import SqliteOptions, Values
from bastide.engines.sql.tables import FRAME, VERSION_FIND

T = TypeVar("T")

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (a file system without a disk; the name is random)


@asynccontextmanager
async def open_sqlite(url: BackendUrl, use: Use | None = None) -> AsyncIterator["SqliteBackend"]:
    options = url.options(SqliteOptions)
    if not url.location:
        yield SqliteBackend(options)
        return
    directory = Path(url.location)
    if not directory.is_absolute():
        raise Invalid(f"{url.safe}: sqlite:// or sqlite:///an/absolute/directory is expected")
    runtime.current().disk.make_directory(directory)
    yield SqliteBackend(options, directory)


@asynccontextmanager
async def open_memory(url: BackendUrl, use: Use | None = None) -> AsyncIterator["SqliteBackend"]:
    options = msgspec.structs.replace(url.options(SqliteOptions), sync="off")
    disk = runtime.current().disk
    if not isinstance(disk, SystemDisk):
        places = (Path(f"/memory/{n}") for n in count())
        place = next(place for place in places if not disk.exists(place))  # not one of the dead
        disk.make_directory(place)
        yield SqliteBackend(options, place)
        return
    parent = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="bastide-", dir=parent) as directory:
        yield SqliteBackend(options, Path(directory))


class SqliteBackend:
    """`model.SqlBackend`: where the files lie, and how they are kept."""

    def __init__(self, options: SqliteOptions, directory: Path | None = None) -> None:
        self._options = options
        self._directory = directory

    @property
    def scan_pause_s(self) -> float:
        return self._options.scan_pause_s

    @asynccontextmanager
    async def store(
        self, client: str, directory: Callable[[], Path], migrations: Migrations
    ) -> AsyncIterator["SqliteStore"]:
        path = self._directory / f"{client}.db" if self._directory else directory() / "rows.db"
        store = SqliteStore(client, path, self._options)
        try:
            await store.open(migrations)
            yield store
        finally:
            await store.close()


class SqliteStore:
    """`model.Store`: one file."""

    def __init__(self, client: str, path: Path, options: SqliteOptions) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(path, options)
        self._scans = Scans(client, path, options)
        self._writer = Writer(client, path, options, on_log_over=self._scans.cut_all)

    async def open(self, migrations: Migrations) -> None:
        await self.migrate("frame", FRAME)
        await self.migrate(self._client, migrations)

    async def migrate(self, owner: str, migrations: Migrations) -> None:
        await self._writer.migrate(owner, migrations)

    def transact(self, body: Body[T]) -> Awaitable[T]:
        future: asyncio.Future[T] = self._loop.create_future()
        self._writer.ask(AskedBody(future, body))
        return future

    def write(self, statement: Statement[object], values: Values) -> Awaitable[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        compiled = statement.compiled(DIALECT, None)
        self._writer.ask(AskedWrite(future, compiled.text, bound(compiled, values)))
        return future

    def one(self, statement: Statement[T], values: Values) -> Coroutine[Any, Any, T | None]:
        return self._reader.one(statement, values)

    def fetch(
        self, statement: Statement[T], values: Values, *, limit: int
    ) -> Coroutine[Any, Any, list[T]]:
        return self._reader.fetch(statement, values, limit)

    def snapshot(
        self, statement: Statement[T], values: Values
    ) -> AbstractAsyncContextManager[SqliteSnapshot[T]]:
        return self._scans.snapshot(statement, values)

    async def health(self) -> None:
        await self._writer.open()
        await self._reader.fetch(VERSION_FIND, {"owner": "frame"}, 1)

    async def close(self) -> None:
        await self._scans.close()
        self._reader.close()
        await self._writer.close()
