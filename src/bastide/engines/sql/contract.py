"""Durable rows: what the town needs of a database.

    Refusal
     ├── Invalid      RowsOver, BodyMiswritten (a wiring mistake, but of the caller's code)
     ├── Conflict     Duplicate (base.tx), OnceMismatch
     └── Unavailable  DatabaseAway, Contended, BodyCut, ScanCut, DiskFull

Every client has a database of its own: a file on SQLite, a schema on PostgreSQL. Nothing joins
across two.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from bastide.base.errors import Invalid, Mismatch, Unavailable
from bastide.base.tx import Once, Page, Statement, Tx, Value

T = TypeVar("T")

Body = Callable[[Tx], Awaitable[T]]

FETCH_ROWS_MAX = 100  # outside a body, on the loop; more is for `scan`
ATTEMPTS_MAX = 12  # of a body that loses to a neighbour
WAITING_MAX = 10_000  # bodies; one more is refused


class Migrations(msgspec.Struct, frozen=True):
    """The tables' history: `steps[n]` brings version n to n + 1. Steps are only ever added.

    A step is SQL that both dialects read, but for two words: `{key}` is a 64-bit integer primary
    key, `{bytes}` a byte string; several statements are parted by a semicolon at the end of a line.
    """

    steps: Sequence[str]


class RowsOver(Invalid):
    """A read outside a body gave more than FETCH_ROWS_MAX rows."""


class BodyMiswritten(Invalid):
    """A body awaited something else than its `tx`, or opened a second transaction."""


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
    """The scan's reader paused longer than `scan_pause_s` and lost its snapshot."""


class Database(Protocol):
    """One client's tables. What `transact` returned for survives `kill -9` and a torn write."""

    async def transact(self, body: Body[T], *, once: Once[T] | None = None) -> T:
        """What `body(tx)` returned, after its commit is durable.

        Serializable. The body may run several times, so it has no other effect than through `tx`,
        and it awaits nothing but `tx` (on SQLite such a body never suspends; one that does is
        refused). What it raises rolls it back, alone: neighbours that share its commit are not
        touched. Cost: one commit shared by all that wait; about 15 us of CPU on SQLite.

        Raises:
            Duplicate: a constraint forbids it.
            OnceMismatch: `once.key` was used for another request.
            BodyMiswritten, BodyCut, Contended, DatabaseAway, DiskFull: nothing was kept, unless
                `error.outcome` is 'unknown', when the answer to the commit was lost.
        """
        ...

    async def write(self, statement: Statement[Any], **values: Value) -> None:
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

    async def health(self) -> None:
        """Returns if the database answers.

        Raises:
            DatabaseAway.
        """
        ...
