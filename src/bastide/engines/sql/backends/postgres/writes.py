"""Writes that wait share a round trip and a commit.

    caller    w1 w2 w3 w4 ...        answers 1-3     answers 4-9
    server        [ w1 w2 w3 ]  [ w4 ... w9 ]        one transaction each

While a group is on its way, the next writes of the same statement queue. A group that is refused
is undone whole; it is halved and tried again, down to the one that is to blame, so that a refusal
touches no neighbour: log2(group) round trips more for each of the guilty.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from copy import copy
from functools import partial
from typing import Any

from bastide.base.tx import Duplicate, Statement
from bastide.engines.sql.backends.postgres.driver import (
    DIALECT,
    ERRORS,
    Connections,
    arguments,
    demoted,
    lost_connection,
    lost_race,
    refuse,
)
from bastide.engines.sql.backends.postgres.retry import Retry
from bastide.engines.sql.contract import DatabaseAway, ValueRefused
from bastide.engines.sql.model import Values

GROUP_MAX = 500

Asked = tuple[asyncio.Future[None], Sequence[Any]]


class Writes:
    """A queue for each statement that anybody waits for, and a task that empties it."""

    def __init__(self, connections: Connections, schema: str, retry: Retry) -> None:
        self._connections = connections
        self._schema = schema
        self._retry = retry
        self._queues: dict[Statement[object], deque[Asked]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, statement: Statement[object], values: Values) -> asyncio.Future[None]:
        compiled = statement.compiled(DIALECT, self._schema)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asked = (future, arguments(compiled, values))
        if statement in self._queues:
            self._queues[statement].append(asked)
        else:
            self._queues[statement] = deque([asked])
            task = asyncio.create_task(self._serve(statement, compiled.text))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return future

    async def close(self) -> None:
        """After what was asked has been answered."""
        await asyncio.gather(*self._tasks)

    async def _serve(self, statement: Statement[object], text: str) -> None:
        queue = self._queues[statement]
        try:
            while queue:
                count = min(len(queue), GROUP_MAX)
                await self._write(text, [queue.popleft() for _ in range(count)])
        finally:  # else the next write would queue where nobody serves
            del self._queues[statement]

    async def _write(self, text: str, group: Sequence[Asked]) -> None:
        group = [asked for asked in group if not asked[0].done()]  # without who was cancelled
        try:
            if group:
                await self._retry(partial(self._send, text, [values for _, values in group]))
        except (Duplicate, ValueRefused) as error:
            if len(group) == 1:
                _answer(group, error)
                return
            half = len(group) // 2
            await self._write(text, group[:half])
            await self._write(text, group[half:])
        except Exception as error:
            _answer(group, error)
        else:
            _answer(group, None)

    async def _send(self, text: str, rows: Sequence[Sequence[Any]]) -> None:
        async with self._connections.lend() as connection:
            try:
                await connection.executemany(text, rows)
            except ERRORS as error:
                if lost_race(error) or demoted(error):
                    raise
                if lost_connection(error) or isinstance(error, OSError):
                    connection.terminate()
                    lost = f"the answer to the write was lost: {error}"
                    raise DatabaseAway(lost, outcome="unknown") from error
                refuse(error)
            if connection.is_in_transaction():
                connection.terminate()
                inside = "the write ran inside a transaction that was left open"
                raise DatabaseAway(inside, outcome="unknown")


def _answer(group: Sequence[Asked], error: Exception | None) -> None:
    for future, _ in group:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(copy(error))
