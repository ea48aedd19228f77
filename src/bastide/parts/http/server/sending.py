"""How an answer leaves that is more than bytes at hand: one that had to be waited for, a stream, a
file, another protocol.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from functools import partial
from types import CoroutineType
from typing import Any

from bastide.base.errors import Refusal
from bastide.base.routes.rows import Answer, File, Reply, Stream, Upgrade
from bastide.parts.http.heads import WITHOUT_LENGTH, HeadBroken, head_text
from bastide.parts.http.replies import Part, Shaped, is_plain, shaped_reply
from bastide.parts.http.server import files
from bastide.parts.http.server.roles import Channel, Exchange
from bastide.parts.http.websocket.handshake import handshake

COPIED_BYTES_MAX = 32 * 1024  # of a file: a copy costs less than another call of the kernel
LAST_CHUNK = b"0\r\n\r\n"


async def answered(
    connection: Channel, exchange: Exchange, answer: Answer | Coroutine[Any, Any, Answer]
) -> None:
    """The whole life of an exchange that can't be answered by a call. Never raises."""
    try:
        if isinstance(answer, CoroutineType):
            answer = await answer
        if type(answer) is Reply and is_plain(answer):
            connection.reply(exchange, answer.status, answer.headers, answer.body)
            connection.end(exchange)
            return
        try:
            await _sent(connection, exchange, answer)
        except (Refusal, HeadBroken, OSError) as error:  # nothing was sent: a file is gone, say
            await _sent(connection, exchange, connection.server.http.refuse(exchange, error))
    except (Exception, asyncio.CancelledError) as error:
        connection.server.http.log_broken(exchange, error)
        connection.cut("its reply broke off")
    connection.end(exchange)


async def _sent(connection: Channel, exchange: Exchange, answer: Any) -> None:
    match answer:
        case Reply():
            await _send_shaped(connection, exchange, await shaped_reply(answer, exchange))
        case File():
            shaped = await connection.server.files.shaped(answer, exchange)
            try:
                await _send_shaped(connection, exchange, shaped)
            finally:
                if shaped.file is not None:
                    shaped.file.close()
        case Stream():
            await _send_stream(connection, exchange, answer)
        case Upgrade():
            agreed = handshake(exchange.headers, subprotocols=answer.protocols)
            text = head_text(agreed.headers, exchange, None)
            if not connection.lost:
                connection.switch(
                    exchange, text, partial(connection.server.socket, answer.run, agreed)
                )


async def _send_shaped(connection: Channel, exchange: Exchange, shaped: Shaped) -> None:
    length = None if shaped.status in WITHOUT_LENGTH else shaped.length
    text = head_text(shaped.headers, exchange, length)
    connection.begin_reply(exchange, shaped.status, text)
    if exchange.method == "HEAD":
        return
    for piece in shaped.pieces:
        if isinstance(piece, Part):
            await _send_part(connection, exchange, shaped, piece)
        else:
            connection.write(piece)


async def _send_part(connection: Channel, exchange: Exchange, shaped: Shaped, part: Part) -> None:
    assert shaped.file is not None
    descriptor = files.descriptor_of(shaped.file)
    to = connection.transport.get_extra_info("socket")
    try:
        if part.count <= COPIED_BYTES_MAX:
            async for piece in files.read_part(shaped.file, part.at, part.count):
                connection.write(piece)
            return
        if descriptor is None or to is None:
            async for piece in files.read_part(shaped.file, part.at, part.count):
                connection.write(piece)
                await connection.taken()
                if connection.lost:
                    return
            return
        await _emptied(connection)
        if not connection.lost:
            stall_s = connection.server.limits.stall_s
            await files.send_part(to.fileno(), descriptor, part.at, part.count, stall_s=stall_s)
    except OSError:  # the client has gone; a TimeoutError is one, too: it takes nothing
        connection.cut("it left within a file")
    except files.FileShort as short:
        connection.server.http.log_broken(exchange, short, known=True)
        connection.cut("a file became shorter")


async def _emptied(connection: Channel) -> None:
    """Until the kernel has taken all that was written."""
    connection.flush()
    high, low = connection.transport.get_write_buffer_limits()[::-1]
    connection.transport.set_write_buffer_limits(0)
    try:
        await connection.taken()
    finally:
        connection.transport.set_write_buffer_limits(high, low)


async def _send_stream(connection: Channel, exchange: Exchange, stream: Stream) -> None:
    """Piece by piece, each when the one before it is on its way."""
    ending = _Ending()
    has_body = exchange.method != "HEAD" and stream.status not in WITHOUT_LENGTH
    chunked = exchange.version != "1.0" and stream.status not in WITHOUT_LENGTH
    try:
        text = head_text(stream.headers, exchange, None)
    except HeadBroken:
        await stream.pieces.aclose()
        raise
    if has_body and not chunked:
        exchange.closes = True  # its end is the connection's
    connection.quits = ending.end
    try:
        with connection.server.http.streaming(stream, exchange, ending.end):
            async with aclosing(stream.pieces) as pieces:
                framing = "transfer-encoding: chunked\r\n" if chunked else ""
                connection.begin_reply(exchange, stream.status, text + framing)
                if has_body:
                    await _pieces(connection, pieces, chunked=chunked)
    except asyncio.CancelledError:
        if ending.is_cut:
            raise
        ending.uncancel()
        if connection.lost:
            return
        exchange.closes = True
    except Exception as error:
        connection.server.http.log_broken(exchange, error)
        exchange.closes = True
        connection.flush()
        connection.close()
        return
    finally:
        connection.quits = None
    if chunked and has_body:
        connection.write(LAST_CHUNK)


async def _pieces(
    connection: Channel, pieces: AsyncGenerator[bytes, None], *, chunked: bool
) -> None:
    connection.flush()
    async for piece in pieces:
        await connection.taken()
        if connection.lost:
            return
        if piece:
            connection.write(*((b"%x\r\n" % len(piece), piece, b"\r\n") if chunked else (piece,)))
            connection.flush()
    await connection.taken()


class _Ending:
    """Why a stream ends before its pieces do: the town stops, or the client has left."""

    __slots__ = ("_cancelled", "_task")

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._cancelled = False

    @property
    def is_cut(self) -> bool:
        """Cancelled by somebody else."""
        return not self._cancelled

    def uncancel(self) -> None:
        assert self._task is not None
        self._task.uncancel()

    def end(self) -> None:
        if not self._cancelled and self._task is not None:
            self._cancelled = True
            self._task.cancel()
