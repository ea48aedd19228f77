"""What waits for the writer: a body, or a single statement."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from copy import copy
from typing import Any, TypeVar

import apsw

from bastide.base.tx import Tx
from bastide.engines.sql.backends.sqlite.driver import ERRORS, translated
from bastide.engines.sql.backends.sqlite.tx import SqliteTx
from bastide.engines.sql.contract import Body, BodyCut, BodyMiswritten
from bastide.engines.sql.model import WENT_ON, Values

T = TypeVar("T")


class Asked(ABC):
    """How it ended is kept until the commit, and then told."""

    __slots__ = ("error", "future", "result")

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None

    @abstractmethod
    def run(self, connection: apsw.Connection, overdue: Callable[[], bool]) -> None:
        """Leaves its effect in the open transaction and sets `result`, or leaves none and sets
        `error`.
        """

    def answer(self, failure: Exception | None) -> None:
        """`failure` is the commit's."""
        if self.future.done():  # its caller was cancelled
            return
        if failure is not None:
            self.future.set_exception(copy(failure))
        elif self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class AskedBody(Asked):
    """Runs in the context of who asked, in a savepoint."""

    __slots__ = ("_body", "_context")

    def __init__(self, future: asyncio.Future[Any], body: Body[Any]) -> None:
        super().__init__(future)
        self._body = body
        self._context = copy_context()

    def run(self, connection: apsw.Connection, overdue: Callable[[], bool]) -> None:
        tx = SqliteTx(connection)
        connection.execute("SAVEPOINT body")
        try:
            self.result = self._context.run(_stepped, self._body, tx)
            if tx.failed:
                raise BodyMiswritten(WENT_ON)
            if overdue():
                raise BodyCut("the body took too long")
            self.error = None
        except BaseException as error:
            self.error = error
            if not connection.in_transaction:
                return
            connection.execute("ROLLBACK TO body")
        finally:
            tx.end()
        connection.execute("RELEASE body")


class AskedWrite(Asked):
    """Needs no savepoint: SQLite itself takes back a statement that fails."""

    __slots__ = ("_text", "_values")

    def __init__(self, future: asyncio.Future[Any], text: str, values: Values) -> None:
        super().__init__(future)
        self._text = text
        self._values = values

    def run(self, connection: apsw.Connection, overdue: Callable[[], bool]) -> None:
        try:
            for _ in connection.execute(self._text, self._values):
                pass
            self.error = None
        except ERRORS as error:
            self.error = translated(error)
        except Exception as error:
            self.error = error


def _stepped(body: Body[T], tx: Tx) -> T:
    """What `body` returns. On this backend nothing in `tx` suspends, so one step is all of it."""
    steps = body(tx).__await__()
    try:
        next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    with suppress(Exception):  # what a body raises while it is closed is of no interest any more
        steps.close()
    raise BodyMiswritten("a body awaited something else than its `tx`")
