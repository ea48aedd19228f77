"""Durable rows: what the town needs of a database.

    Refusal
     ├── Invalid      RowsOver, ValueRefused; mistakes in the caller's code: BodyMiswritten,
     │                SchemaNewer
     ├── Conflict     Duplicate (base.tx), Deposed (base.fence), OnceMismatch
     └── Unavailable  DatabaseAway, Contended, BodyCut, ScanCut, DiskFull

Every client has a database of its own: a file on SQLite, a schema on PostgreSQL. Nothing joins
across two.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import msgspec

from bastide.base.errors import Invalid, Mismatch, Unavailable
from bastide.base.fence import Fence
from bastide.base.tx import Once, Page, Statement, Tx, Value

T = TypeVar("T")

Body = Callable[[Tx], Awaitable[T]]

FETCH_ROWS_MAX = 100  # outside a body, on the loop; more is for `scan`
ATTEMPTS_MAX = 12  # of a body that loses to a neighbour
WAITING_MAX = 10_000  # bodies and writes; one more is refused
SCANS_MAX = 4  # at once, of one database; one more waits


class Migrations(msgspec.Struct, frozen=True):
    """The tables' history: `steps[n]` brings version n to n + 1. Steps are only ever added.

    A step is SQL that both dialects read, but for four words: `{key}` is a 64-bit integer primary
    key, `{serial}` one that the database counts, `{bytes}` a byte string, `{xact}` a column that
    fills itself with the transaction's number (PostgreSQL's; 0 where there is one writer at a
    time). Several statements are parted by a semicolon at the end of a line. Write BIGINT:
    PostgreSQL's INTEGER has 32 bits.
    """

    steps: Sequence[str]


class RowsOver(Invalid):
    """A read outside a body gave more than FETCH_ROWS_MAX rows."""


class ValueRefused(Invalid):
    """A value does not fit the engine: an integer over 64 bits, on PostgreSQL a NUL in a text."""


class BodyMiswritten(Invalid):
    """A body awaited something else than its `tx`, used the database beside it, kept `tx`, or went
    on after an error of it; or a statement that writes was given to a verb that reads.
    """


class SchemaNewer(Invalid):
    """The tables were brought to a version that this code doesn't know. It ends the start."""


class OnceMismatch(Mismatch):
    """The key was used before, for another request."""


class DatabaseAway(Unavailable):
    """The database did not answer within its time-out. It is tried again at every call."""


class DiskFull(Unavailable):
    """There is no room for the write. Reads are served; writes are taken again when there is."""


class Contended(Unavailable):
    """The body lost to its neighbours ATTEMPTS_MAX times, or too many wait."""


class BodyCut(Unavailable):
    """The body, or one statement of it, took longer than `body_s`; nothing of it was kept."""


class ScanCut(Unavailable):
    """The scan's reader paused longer than `scan_pause_s`, or so long a log piled up behind its
    snapshot that the snapshot was given up.
    """


class Database(Protocol):
    """One client's tables. What `transact` returned for survives `kill -9` and a torn write."""

    async def transact(
        self, body: Body[T], *, once: Once[T] | None = None, fence: Fence | None = None
    ) -> T:
        """What `body(tx)` returned, after its commit is durable.

        Serializable. The body may run several times, so it has no other effect than through `tx`,
        and it awaits nothing but `tx` (on SQLite such a body never suspends; one that does is
        refused). What it raises rolls it back, alone: neighbours that share its commit are not
        touched. Cost: one commit shared by all that wait; about 10 us of CPU on SQLite.

        A caller cancelled while it waits can't know: a body that has not begun does not run, one
        that has run may commit. `once` makes asking again safe.

        Raises:
            Duplicate: a constraint forbids it.
            ValueRefused: a value does not fit.
            OnceMismatch: `once.key` was used for another request.
            BodyMiswritten, BodyCut, Contended, DatabaseAway, DiskFull: nothing was kept, unless
                `error.outcome` is 'unknown', when the answer to the commit was lost.
        """
        ...

    async def write(self, statement: Statement[object], **values: Value) -> None:
        """`transact` for one statement whose result nobody reads. On PostgreSQL it also shares the
        round trip.

        Raises: as `transact`.
        """
        ...

    async def one(self, statement: Statement[T], **values: Value) -> T | None:
        """The first row by an index, or None. Sees every commit that returned before. 10 us on
        SQLite.

        Raises:
            DatabaseAway, BodyCut.
        """
        ...

    async def fetch(self, statement: Statement[T], **values: Value) -> list[T]:
        """At most FETCH_ROWS_MAX rows, by an index: on SQLite it runs on the loop.

        Raises:
            RowsOver: there are more; nothing is returned. Also DatabaseAway, BodyCut.
        """
        ...

    async def page(
        self,
        statement: Statement[T],
        place: Callable[[T], int | str],
        *,
        first: int | str,
        cursor: str | None = None,
        limit: int = 50,
        **values: Value,
    ) -> Page[T]:
        """A part of a list: `statement` binds `after` and `limit` and is ordered by `place`.

        `first` is what `after` is without a cursor. `limit` is cut to PAGE_ITEMS_MAX.

        Raises:
            Invalid: the cursor is not ours, or `limit` is below 1. Also as `fetch`.
        """
        ...

    def scan(self, statement: Statement[T], **values: Value) -> AsyncIterator[T]:
        """Every row, in the statement's order, on one snapshot, read off the loop.

        Raises:
            ScanCut: the caller paused too long. Also DatabaseAway.
        """
        ...

    async def migrate(self, owner: str, migrations: Migrations) -> None:
        """Brings the tables of `owner`, who keeps rows in this client's database, to the newest
        version. While systems open, before anybody writes.

        Raises:
            SchemaNewer, DatabaseAway.
        """
        ...

    async def health(self) -> None:
        """Returns if the database answers.

        Raises:
            DatabaseAway.
        """
        ...
