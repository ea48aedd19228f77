"""What a body does on PostgreSQL: each verb is a round trip."""

from collections.abc import Mapping, Sequence
from typing import NoReturn, TypeVar

from bastide.base.tx import Compiled, Statement, Value
from bastide.engines.sql.backends.postgres.driver import (
    DIALECT,
    ERRORS,
    Connection,
    arguments,
    lost_connection,
    lost_race,
    made,
    refuse,
)
from bastide.engines.sql.contract import BodyMiswritten
from bastide.engines.sql.model import WENT_ON

T = TypeVar("T")


class PostgresTx:
    """`base.tx.Tx` on a connection with a transaction open, until `end`."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self._refusal = ""
        self.failed = False

    def end(self) -> None:
        """A `tx` that was kept does nothing any more: the connection is somebody else's."""
        self._refusal = "a `tx` was used after its body had ended"

    async def one(self, statement: Statement[T], **values: Value) -> T | None:
        compiled = self._compiled(statement)
        try:
            record = await self._connection.fetchrow(compiled.text, *arguments(compiled, values))
        except ERRORS as error:
            self._fail(error)
        return None if record is None else made(statement, compiled, record)

    async def fetch(self, statement: Statement[T], **values: Value) -> list[T]:
        compiled = self._compiled(statement)
        try:
            found = await self._connection.fetch(compiled.text, *arguments(compiled, values))
        except ERRORS as error:
            self._fail(error)
        return [made(statement, compiled, record) for record in found]

    async def run(self, statement: Statement[object], **values: Value) -> int:
        compiled = self._compiled(statement)
        try:
            status = await self._connection.execute(compiled.text, *arguments(compiled, values))
        except ERRORS as error:
            self._fail(error)
        return int(status.rpartition(" ")[2])  # "INSERT 0 1", "UPDATE 3"

    async def run_many(
        self, statement: Statement[object], rows: Sequence[Mapping[str, Value]]
    ) -> None:
        compiled = self._compiled(statement)
        bound = [arguments(compiled, row) for row in rows]
        try:
            await self._connection.executemany(compiled.text, bound)
        except ERRORS as error:
            self._fail(error)

    def _compiled(self, statement: Statement[object]) -> Compiled:
        if self._refusal:
            raise BodyMiswritten(self._refusal)
        return statement.compiled(DIALECT, self._schema)

    def _fail(self, error: Exception) -> NoReturn:
        """The server takes nothing more in this transaction. A lost race goes through as it is:
        the store looks for it.
        """
        self.failed, self._refusal = True, WENT_ON
        if lost_race(error) or lost_connection(error):
            raise error
        refuse(error)
