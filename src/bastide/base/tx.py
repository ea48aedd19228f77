"""What a piece of code may do inside somebody's database transaction.

`engines/sql` opens the transaction (`db.transact(body)`) and passes a `Tx` into the body. Parts
with rows (holds, counters, threads) take that `tx` too, and so share the caller's commit.

A `Statement` is written once, in SQLAlchemy Core, and knows the type of its rows. It is compiled
once per dialect and schema, so that running it costs what the driver costs.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from sqlalchemy import ClauseElement, Column, ColumnElement, Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.types import Boolean, UserDefinedType

from bastide.base.errors import Conflict, Invalid

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R")
Value = str | int | float | bool | bytes | None | Sequence[str] | Sequence[int]

PAGE_ITEMS_MAX = 100


class Duplicate(Conflict):
    """A row with this key is there already, or a row that this one names is not."""


class Statement(Generic[T_co]):
    """One SQL statement; each row it returns becomes `row(*columns)`.

    `Statement(select(links).where(links.c.code == bindparam("code")), Link)`. Bound parameters are
    passed by name when it runs. A statement that changes rows has `writes`.
    """

    def __init__(self, clause: ClauseElement, row: Callable[..., T_co]) -> None:
        self.clause = clause
        self.row = row
        self.writes = isinstance(clause, UpdateBase)
        self._compiled: dict[tuple[str, str | None], Compiled] = {}

    def compiled(self, dialect: Dialect, schema: str | None) -> "Compiled":
        """The text for `dialect`, its tables in `schema`; worked out at the first call."""
        key = (dialect.name, schema)
        found = self._compiled.get(key)
        if found is None:
            found = self._compiled[key] = _compile(self.clause, dialect, schema)
        return found


class Compiled(msgspec.Struct, frozen=True):
    """Text for a driver. `order`: names by position, for drivers that count; `binds` and `results`:
    what must be converted, by name and by column, mostly nothing."""

    text: str
    order: Sequence[str]
    constants: Mapping[str, Any]
    binds: Mapping[str, Callable[[Any], Any]]
    results: Sequence[tuple[int, Callable[[Any], Any]]]


def changes(clause: ClauseElement) -> Statement[tuple[Any, ...]]:
    """A statement whose rows don't matter: an insert, update or delete."""
    return Statement(clause, lambda *columns: columns)


def _compile(clause: ClauseElement, dialect: Dialect, schema: str | None) -> Compiled:
    options: dict[str, Any] = {"dialect": dialect}
    if schema is not None:
        options |= {"schema_translate_map": {None: schema}, "render_schema_translate": True}
    made = clause.compile(**options)
    assert isinstance(made, SQLCompiler)
    binds = {
        name: process
        for name, bind in made.binds.items()
        if (process := bind.type.dialect_impl(dialect).bind_processor(dialect))
    }
    results = [
        (place, process)
        for place, column in enumerate(getattr(clause, "exported_columns", ()))
        if (process := column.type.dialect_impl(dialect).result_processor(dialect, None))
    ]
    constants = {n: bind.effective_value for n, bind in made.binds.items() if not bind.required}
    return Compiled(str(made), made.positiontup or list(made.binds), constants, binds, results)


class among(ColumnElement[bool]):  # noqa: N801 (reads as SQL in a statement)
    """`among(links.c.code, "codes")`: the column is one of a sequence bound when the statement
    runs.

    One text for every length, so that it stays compiled: ANY on PostgreSQL, json_each on SQLite.
    """

    inherit_cache = False
    type = Boolean()
    _is_implicitly_boolean = True  # else SQLite gets `... = 1`, and no index is used

    def __init__(self, column: Column[Any], name: str) -> None:
        self.column = column
        self.bind: BindParameter[Any] = BindParameter(name, required=True, type_=Listed())


class Listed(UserDefinedType[Sequence[Any]]):
    """A sequence of scalars: an array for PostgreSQL, JSON text for SQLite."""

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        return list if dialect.name == "postgresql" else lambda v: msgspec.json.encode(v).decode()


@compiles(among, "postgresql")
def _among_postgresql(element: among, compiler: SQLCompiler, **options: Any) -> str:
    array = "BIGINT[]" if element.column.type.python_type is int else "TEXT[]"
    column, bind = compiler.process(element.column, **options), compiler.process(element.bind)
    return f"{column} = ANY (CAST({bind} AS {array}))"


@compiles(among, "sqlite")
def _among_sqlite(element: among, compiler: SQLCompiler, **options: Any) -> str:
    column, bind = compiler.process(element.column, **options), compiler.process(element.bind)
    return f"{column} IN (SELECT value FROM json_each({bind}))"  # noqa: S608 (names, no values)


class Tx(Protocol):
    """One serializable transaction, until its body ends: keep no `tx`, await nothing but it."""

    async def one(self, statement: Statement[T], **values: Value) -> T | None:
        """The first row, or None."""
        ...

    async def fetch(self, statement: Statement[T], **values: Value) -> list[T]:
        """All rows: bound them by a LIMIT."""
        ...

    async def run(self, statement: Statement[object], **values: Value) -> int:
        """Change rows; how many it were.

        Raises:
            Duplicate: a constraint forbids it. The transaction must not go on: let the error
            through.
        """
        ...

    async def run_many(
        self, statement: Statement[object], rows: Sequence[Mapping[str, Value]]
    ) -> None:
        """`run` for each of `rows`, in one round trip where the engine can."""
        ...


class Once(msgspec.Struct, Generic[R], frozen=True):
    """A request that may be repeated: `key` names it, `fingerprint` is a hash of all it asks for.

    `transact(body, once=...)` answers a repetition with the first reply, a `reply` stored with the
    effect.
    """

    key: str
    fingerprint: bytes
    reply: type[R]


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A part of a list. `next` is the cursor of the following part; None at the end."""

    items: list[T]
    next: str | None = None


def cursor_of(*place: int | str) -> str:
    """Where a page ended, as an opaque word for the client."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def place_of(cursor: str, types: type[T]) -> T:
    """What `cursor_of` was given; `types` is its tuple type.

    Raises:
        Invalid: the word was not made by `cursor_of`.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return msgspec.json.decode(base64.urlsafe_b64decode(padded), type=types)
    except (ValueError, msgspec.MsgspecError) as error:
        raise Invalid("this cursor was not given by us; begin without one") from error
