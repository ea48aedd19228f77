"""One request that has been sent and the answer to it: from its head until it is over."""

from collections.abc import AsyncIterator
from typing import Self

from bastide.parts.http.client.connection import Connection
from bastide.parts.http.client.contract import AnswerTooLarge, Headers, first_value
from bastide.parts.http.client.origins import Attempt
from bastide.parts.http.client.patience import Patience
from bastide.parts.http.client.pool import Held, Pool
from bastide.parts.http.client.reading import Head


class Exchange:
    """A StreamedAnswer, and the end of it."""

    def __init__(
        self, head: Head, *, held: Held, pool: Pool, attempt: Attempt, patience: Patience
    ) -> None:
        self.status = head.status
        self.headers: Headers = head.headers
        self._held = held
        self._pool = pool
        self._attempt = attempt
        self._patience = patience

    def header(self, name: bytes) -> bytes | None:
        return first_value(self.headers, name)

    def pieces(self) -> AsyncIterator[bytes]:
        return _Pieces(self._held.connection, self._patience)

    async def whole(self, bytes_max: int) -> bytes:
        """
        Raises:
            AnswerTooLarge, and what `pieces` raises.
        """
        pieces, count = [], 0
        async for piece in self.pieces():
            pieces.append(piece)
            count += len(piece)
            if count > bytes_max:
                told = f"the answer has more than {bytes_max} bytes, which is all that is taken"
                raise AnswerTooLarge(told, outcome="unknown")
        return b"".join(pieces)

    async def end(self) -> None:
        """Once. The connection is kept if the answer was read to its end, else it is closed."""
        self._attempt.over()
        await give_back(self._held, self._pool)


class _Pieces:
    """An iterator, and no generator: it can be left in the middle without being closed."""

    def __init__(self, connection: Connection, patience: Patience) -> None:
        self._connection = connection
        self._patience = patience

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._connection.piece(self._patience)
        if not piece:
            raise StopAsyncIteration
        return piece


async def give_back(held: Held, pool: Pool) -> None:
    is_good = False
    try:
        is_good = await held.connection.end()
    finally:
        pool.release(held, is_good=is_good)
