"""One connection to a server: a request at a time, each with its answer.

    free ── ask ──> a Reader has the bytes ── piece, piece, ... ──> end ──> free, or closed

A connection is used again only if everything is certain: the request was sent to its end before the
answer began, and the reader says that the answer ended where its head says. Bytes on a free
connection are the answer to nothing: they end it.

One task asks and reads; only a long body is sent by a task of its own, so that an answer is heard
while the other side takes no more. Whatever happens wakes the reading task, which looks again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from math import inf
from typing import cast

from bastide.parts.http.client.asking import TOGETHER_BYTES_MAX, Asked
from bastide.parts.http.client.contract import (
    AnswerWrong,
    ConnectionLost,
    ConnectionStale,
    FirstByteLate,
    ReadLate,
    RequestWrong,
    WriteLate,
)
from bastide.parts.http.client.patience import Patience
from bastide.parts.http.client.reading import Head, Reader

UNREAD_BYTES_MAX = 64 << 10  # of a body; with more of it the socket is not read


class Connection(asyncio.Protocol):
    """Open until `lost` is done. `on_lost` is called once, as soon as it can't be used any more."""

    def __init__(
        self, name: str, *, head_bytes_max: int, on_lost: Callable[["Connection"], None]
    ) -> None:
        self.name = name
        self.served = 0  # exchanges that left it free
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self._head_bytes_max = head_bytes_max
        self._on_lost = on_lost
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._error: Exception | None = None
        self._reader: Reader | None = None
        self._is_read = True
        self._waiter: asyncio.Future[None] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._sender: asyncio.Future[None] | None = None
        self._takes = True
        self._is_written = self._is_sent = self._was_early = False

    @property
    def is_free(self) -> bool:
        return self._reader is None and self._error is None

    async def ask(self, asked: Asked, patience: Patience) -> Head:
        """Sends `asked`; the head of its answer.

        Raises:
            WriteLate, FirstByteLate, TotalLate, ConnectionLost, AnswerWrong, RequestWrong, and
            whatever the iterator of its body raises.
        """
        assert self.is_free, f"{self.name} is asked while it is not free"
        self._reader = reader = Reader(asked.method, head_bytes_max=self._head_bytes_max)
        patience.outcome = "unknown"
        self._transport.write(asked.head + asked.body)
        self._is_written = self._is_sent = asked.pieces is None
        self._was_early = False
        if not self._is_sent:
            self._sending = self._loop.create_task(self._send(asked, reader, patience))
        head = await self._answered(reader, patience)
        if head.status >= 300 and self._sending is not None:
            self._sending.cancel()  # it wants no more of it (RFC 9112, 9.5)
        return head

    async def piece(self, patience: Patience) -> bytes:
        """All of the body that is there, at least a byte; b"" at its end.

        Raises:
            ReadLate, TotalLate, ConnectionLost, AnswerWrong
        """
        reader = self._reader
        assert reader is not None, f"{self.name} is read and was not asked"
        if not reader.is_whole:
            patience.check(f"{self.name} did not end its answer")
        end_s = patience.end_of(patience.timeouts.read_s)
        while not reader.pieces:
            if reader.is_whole:
                return b""
            await self._next(end_s, ReadLate, patience)
        taken = reader.take()
        if not self._is_read:
            self._is_read = True
            self._transport.resume_reading()
        return taken

    async def end(self) -> bool:
        """The exchange is over, as far as its caller cares. Is the connection good for another?"""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
            self._sending = None
        reader, self._reader = self._reader, None
        certain = reader is not None and reader.is_whole and reader.keeps and not reader.pieces
        if not certain or self._was_early or self._error is not None:
            self.close()
            return False
        self.served += 1
        return True

    def close(self) -> None:
        """At once: nothing that is still unsent is owed to anybody."""
        self._fail(ConnectionLost(f"the connection to {self.name} was closed", outcome="unknown"))

    # What the loop tells it.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._error is not None:
            return
        reader = self._reader
        if reader is None:
            told = f"{self.name} sent {len(data)} bytes that nobody asked for"
            self._fail(AnswerWrong(told, outcome="unknown"))
            return
        try:
            reader.feed(data)
        except AnswerWrong as error:
            self._fail(error)
            return
        self._weigh(reader)
        self._wake()

    def eof_received(self) -> None:
        if self._reader is not None and self._error is None:
            self._reader.end()
        self._ended(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._ended(error)
        if not self.lost.done():
            self.lost.set_result(None)

    def pause_writing(self) -> None:
        self._takes = False

    def resume_writing(self) -> None:
        self._takes = True
        self._wake_sender()

    def _weigh(self, reader: Reader) -> None:
        """What the bytes that came mean for the connection."""
        if reader.head is not None and not self._is_sent:
            unsent = not self._is_written or self._transport.get_write_buffer_size() > 0
            self._was_early = self._was_early or unsent
        if reader.goes_on:
            self._wake_sender()
        if reader.unread_bytes > UNREAD_BYTES_MAX and self._is_read and not reader.is_whole:
            self._is_read = False
            self._transport.pause_reading()

    def _ended(self, error: Exception | None) -> None:
        """The other side says no more."""
        reader = self._reader
        kind: type[ConnectionLost] = ConnectionLost
        if reader is not None and self.served and not reader.is_heard:
            kind, when = ConnectionStale, "before a byte of an answer, after it had been kept"
        elif reader is None or reader.head is None:
            when = "before the head of its answer was whole"
        else:
            when = "before the body of its answer was whole"
        why = f" ({str(error) or type(error).__name__})" if error is not None else ""
        self._fail(kind(f"{self.name} closed the connection {when}{why}", outcome="unknown"))

    def _fail(self, error: Exception) -> None:
        if self._error is not None:
            return
        self._error = error
        if self._sending is not None and self._sending is not asyncio.current_task():
            self._sending.cancel()
        self._on_lost(self)
        self._wake()
        self._transport.abort()

    # The task that asks, and reads.

    async def _answered(self, reader: Reader, patience: Patience) -> Head:
        while not self._is_sent and reader.head is None:
            await self._next(inf, FirstByteLate, patience)
        end_s = patience.end_of(patience.timeouts.first_byte_s)
        while reader.head is None:
            await self._next(end_s, FirstByteLate, patience)
        return reader.head

    async def _next(
        self, end_s: float, late: type[FirstByteLate | ReadLate], patience: Patience
    ) -> None:
        """Until something happens."""
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        await patience.wait(self._waiter, end_s, late, f"{self.name} was silent for too long")

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The task that sends a long body.

    async def _send(self, asked: Asked, reader: Reader, patience: Patience) -> None:
        assert asked.pieces is not None
        pieces = _cut(asked.pieces) if isinstance(asked.pieces, bytes) else asked.pieces
        try:
            if asked.continue_s is not None:
                await self._told_to_go_on(reader, asked.continue_s)
            await self._send_pieces(pieces, asked.length, patience)
            self._is_sent = True
            self._wake()
        except asyncio.CancelledError:
            if reader.head is None:  # by the iterator, not by who asked
                self._fail(ConnectionLost("its body was given up", outcome="unknown"))
            raise
        except Exception as error:  # also the caller's own, from its iterator: it is told
            self._fail(error)
        finally:
            await _closed(pieces)

    async def _send_pieces(
        self, pieces: AsyncIterator[bytes], length: int | None, patience: Patience
    ) -> None:
        sent = 0
        async for piece in pieces:
            if not piece:
                continue  # an empty chunk would end the body
            sent += len(piece)
            if length is None:
                self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            elif sent <= length:
                self._transport.write(piece)
            else:
                break
            await self._drain(patience)
        if length is None:
            self._transport.write(b"0\r\n\r\n")
        elif sent != length:
            raise RequestWrong(f"content-length {length}, and the body has {sent} bytes or more")
        self._is_written = True
        await self._drain(patience)

    async def _told_to_go_on(self, reader: Reader, within_s: float) -> None:
        """Until 100 Continue. Who does not know it says nothing, and gets the body all the same:
        "a client SHOULD NOT wait for an indefinite period" (RFC 9110, 10.1.1).
        """
        self._sender = self._loop.create_future()
        if not reader.goes_on:
            await asyncio.wait([self._sender], timeout=within_s)

    async def _drain(self, patience: Patience) -> None:
        """Until the socket takes more. It is late if nothing at all was taken in `write_s`."""
        while not self._takes:
            unsent = self._transport.get_write_buffer_size()
            self._sender = self._loop.create_future()
            end_s = patience.end_of(patience.timeouts.write_s)
            try:
                told = f"{self.name} took nothing of the request for too long"
                await patience.wait(self._sender, end_s, WriteLate, told)
            except WriteLate:
                if self._transport.get_write_buffer_size() >= unsent:
                    raise

    def _wake_sender(self) -> None:
        if self._sender is not None and not self._sender.done():
            self._sender.set_result(None)


async def _cut(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), TOGETHER_BYTES_MAX):
        yield body[start : start + TOGETHER_BYTES_MAX]


async def _closed(pieces: AsyncIterator[bytes]) -> None:
    """A generator that was left in the middle ends now, and not when it is collected."""
    close = getattr(pieces, "aclose", None)
    if close is not None:
        await close()
