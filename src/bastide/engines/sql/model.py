"""What a backend is to the front, and how it is set."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated, Literal, Protocol, TypeVar, runtime_checkable

import msgspec

from bastide.base.tx import Statement, Value
from bastide.engines.sql.contract import Body, Migrations

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Values = Mapping[str, Value]

WENT_ON = "a body went on after its `tx` had raised an error; let the error through"


class Rerun(Exception):
    """Raised in a body that lost a race with another process: roll it back and run it again."""


class Snapshot(Protocol[T_co]):
    """The rows of one scan, as they were when it began."""

    async def take(self, count: int) -> Sequence[T_co]:
        """The next rows, at most `count`; none at the end.

        Raises:
            ScanCut: the store gave the snapshot up. Also DatabaseAway.
        """
        ...

    def cut(self) -> None:
        """Give the snapshot up, though its reader has not come to the end. Never called during
        `take`."""
        ...


class Store(Protocol):
    """One client's tables on a backend: `Database` without what all backends share."""

    def transact(self, body: Body[T]) -> Awaitable[T]:
        """As `Database.transact`. The body runs in the context of this call."""
        ...

    def write(self, statement: Statement[object], values: Values) -> Awaitable[None]: ...

    def one(self, statement: Statement[T], values: Values) -> Awaitable[T | None]: ...

    def fetch(self, statement: Statement[T], values: Values, *, limit: int) -> Awaitable[list[T]]:
        """The first rows, at most `limit`."""
        ...

    def snapshot(
        self, statement: Statement[T], values: Values
    ) -> AbstractAsyncContextManager[Snapshot[T]]: ...

    async def migrate(self, owner: str, migrations: Migrations) -> None: ...

    async def health(self) -> None: ...


@runtime_checkable
class SqlBackend(Protocol):
    """What one URL names."""

    def store(
        self, client: str, directory: Callable[[], Path], migrations: Migrations
    ) -> AbstractAsyncContextManager[Store]:
        """The tables of `client`, brought to the newest version, until the block ends.

        `directory` makes the place for files that are the client's alone, if they are wanted.

        Raises:
            SchemaNewer, DatabaseAway.
        """
        ...

    @property
    def scan_pause_s(self) -> float: ...


Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]


class SqliteOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sqlite://...?sync=normal&busy_s=2`."""

    sync: Annotated[
        Literal["full", "normal", "off"],
        msgspec.Meta(
            description="full: a commit survives a power cut; normal: it survives kill -9, and a "
            "power cut may take the last ones; off: a power cut may spoil the file"
        ),
    ] = "full"
    busy_s: Annotated[
        Seconds, msgspec.Meta(description="how long to wait while another process writes")
    ] = 5.0
    body_s: Annotated[
        Seconds,
        msgspec.Meta(description="longest body, and longest read; the loop stands still for it"),
    ] = 1.0
    scan_pause_s: Annotated[
        Seconds, msgspec.Meta(description="how long a scan's reader may pause")
    ] = 30.0


class PostgresOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`postgres://user:password@host:5432/name?pool_max=20`."""

    pool_max: Annotated[
        int, msgspec.Meta(ge=1, le=1000, description="connections, shared by all clients")
    ] = 10
    connect_s: Annotated[Seconds, msgspec.Meta(description="how long to wait for a connection")] = (
        5.0
    )
    statement_s: Annotated[Seconds, msgspec.Meta(description="longest statement")] = 5.0
    body_s: Annotated[Seconds, msgspec.Meta(description="longest body, with its statements")] = 5.0
    scan_pause_s: Annotated[
        Seconds, msgspec.Meta(description="how long a scan's reader may pause")
    ] = 30.0
    sslmode: Annotated[
        Literal["disable", "prefer", "require", "verify-ca", "verify-full"],
        msgspec.Meta(description="as libpq has it"),
    ] = "prefer"
