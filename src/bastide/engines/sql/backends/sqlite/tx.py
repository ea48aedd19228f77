"""What a body does on SQLite: each verb runs at once and never suspends."""

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, TypeVar

import apsw

from bastide.base.tx import Statement, Value
from bastide.engines.sql.backends.sqlite.driver import DIALECT, ERRORS, bound, made, refuse
from bastide.engines.sql.contract import BodyMiswritten
from bastide.engines.sql.model import WENT_ON

T = TypeVar("T")


class SqliteTx:
    """`base.tx.Tx` on the writer's connection, until `end`."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._execute: Callable[..., apsw.Cursor] = connection.execute
        self.failed = False

    def end(self) -> None:
        """A `tx` that was kept does nothing any more: the connection is the next body's."""
        self._execute = _refuse_ended

    async def one(self, statement: Statement[T], **values: Value) -> T | None:
        compiled = statement.compiled(DIALECT, None)
        try:
            columns = self._execute(compiled.text, bound(compiled, values)).fetchone()
        except ERRORS as error:
            self._fail(error)
        return None if columns is None else made(statement, compiled, columns)

    async def fetch(self, statement: Statement[T], **values: Value) -> list[T]:
        compiled = statement.compiled(DIALECT, None)
        try:
            found = self._execute(compiled.text, bound(compiled, values)).fetchall()
        except ERRORS as error:
            self._fail(error)
        return [made(statement, compiled, columns) for columns in found]

    async def run(self, statement: Statement[object], **values: Value) -> int:
        compiled = statement.compiled(DIALECT, None)
        try:
            for _ in self._execute(compiled.text, bound(compiled, values)):
                pass  # rows of a RETURNING; the count of changes stands after the last one
        except ERRORS as error:
            self._fail(error)
        return self._connection.changes()

    async def run_many(
        self, statement: Statement[object], rows: Sequence[Mapping[str, Value]]
    ) -> None:
        for row in rows:
            await self.run(statement, **row)

    def _fail(self, error: Exception) -> NoReturn:
        """Some errors end the transaction, and what came after would stand outside of any."""
        self.failed = True
        self._execute = _refuse_failed
        refuse(error)


def _refuse_ended(*_: object) -> NoReturn:
    raise BodyMiswritten("a `tx` was used after its body had ended")


def _refuse_failed(*_: object) -> NoReturn:
    raise BodyMiswritten(WENT_ON)
