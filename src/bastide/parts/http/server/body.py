"""What follows a head, on its way from a connection to a handler.

    socket ──► pieces waiting here ──► whole(), or pieces() one by one
                  over BUFFER_BYTES: the connection reads no more until they are taken

Whoever takes it learns the worst: that it is too large, too late, or that the client left.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable

from bastide.base.errors import Refusal, TooLarge

BUFFER_BYTES = 256 * 1024


class Body:
    """`pause` and `resume` are the connection's reading; `wanted` is called when it is first asked
    for, so that a client that waits to be told may begin (RFC 9110, section 10.1.1).
    """

    __slots__ = (
        *("_claimed", "_error", "_held", "_loop", "_paused", "_pieces", "_waiter", "complete"),
        *("length", "pause", "resume", "size", "wanted"),
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        length: int | None,
        pause: Callable[[], None],
        resume: Callable[[], None],
        wanted: Callable[[], None],
    ) -> None:
        self._loop = loop
        self.length = length  # None: it comes in chunks
        self.pause = pause
        self.resume = resume
        self.wanted = wanted
        self.complete = False
        self.size = 0  # bytes that came
        self._held = 0  # of them wait here
        self._claimed = 0  # of them may wait here, since somebody wants the whole
        self._pieces: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._error: Refusal | None = None
        self._paused = False

    @property
    def is_held(self) -> bool:
        """It is we who let the client wait."""
        return self._paused

    def feed(self, piece: bytes) -> None:
        self.size += len(piece)
        if self._error is not None:
            return
        self._pieces.append(piece)
        self._held += len(piece)
        if self._held > max(self._claimed, BUFFER_BYTES) and not self._paused:
            self._paused = True
            self.pause()
        self._wake()

    def end(self) -> None:
        self.complete = True
        self._wake()

    def break_off(self, error: Refusal) -> None:
        """There will be no more of it: whoever waits for it gets `error`."""
        if not self.complete and self._error is None:
            self._error = error
            self._wake()

    def at_once(self, limit: int) -> bytes | None:
        if not self.complete:
            return None
        self._refuse_more(self.size, limit)
        return b"".join(self._pieces) if len(self._pieces) != 1 else self._pieces[0]

    async def whole(self, limit: int) -> bytes:
        self._begin(limit)
        self._claimed = limit + 1
        self._go_on()
        while not self.complete:
            self._refuse_more(self.size, limit)
            await self._more()
        self._refuse_more(self.size, limit)
        return b"".join(self._pieces) if len(self._pieces) != 1 else self._pieces[0]

    async def pieces(self, limit: int) -> AsyncGenerator[bytes, None]:
        self._begin(limit)
        passed = 0
        while True:
            pieces, self._pieces = self._pieces, []
            self._held = 0
            for piece in pieces:
                passed += len(piece)
                self._refuse_more(passed, limit)
                yield piece
            if self._pieces:
                continue
            if self.complete:
                return
            self._go_on()
            await self._more()

    def _begin(self, limit: int) -> None:
        if self.length is not None and self.length > limit:
            raise TooLarge(f"a body of {self.length} bytes; at most {limit} are taken")
        if not self.complete:
            self.wanted()

    def _refuse_more(self, size: int, limit: int) -> None:
        if size > limit:
            raise TooLarge(f"a body of more than {limit} bytes is not taken")

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._error is not None:
            raise self._error

    def _go_on(self) -> None:
        if self._paused:
            self._paused = False
            self.resume()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class WholeBody:
    """One that came in one piece with its head."""

    __slots__ = ("_bytes",)
    complete = True

    def __init__(self, bytes_: bytes) -> None:
        self._bytes = bytes_

    def at_once(self, limit: int) -> bytes:
        if len(self._bytes) > limit:
            raise TooLarge(f"a body of {len(self._bytes)} bytes; at most {limit} are taken")
        return self._bytes

    async def whole(self, limit: int) -> bytes:
        return self.at_once(limit)

    async def pieces(self, limit: int) -> AsyncGenerator[bytes, None]:
        if self._bytes:
            yield self.at_once(limit)


NO_BODY = WholeBody(b"")
