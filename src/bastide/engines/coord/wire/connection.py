"""A client that speaks gRPC: HTTP/2 on its socket, calls above it.

    bytes ──h2.Server──► begun: who it is ──► its messages ──► a task for each call ──► its answer
                                                                  │
              what is ready leaves at the end of the turn ◄───────┘

A malformed frame ends its connection, with a line in the log; a malformed message ends its call.
"""

import asyncio
import logging
from collections import deque
from typing import Any, Protocol, cast

from bastide.base.errors import Refusal
from bastide.engines.coord.core.protocol.messages import Method, methods
from bastide.engines.coord.core.protocol.statuses import (
    STOPPED,
    TOO_MANY,
    CallFailed,
    Code,
    Status,
    status_of,
)
from bastide.engines.coord.wire.desk import Asker, Desk, Streaming, Unary
from bastide.engines.coord.wire.framing import (
    BROKEN_OFF,
    HEAD,
    NOT_GRPC,
    TRAILERS_OK,
    Messages,
    framed,
    timeout_s,
    trailers,
)
from bastide.engines.coord.wire.h2 import Begun, Came, Ended, H2Broken, Reset, Server
from bastide.engines.coord.wire.table import HANDLERS

WRITE_BUFFER_BYTES = 256 << 10
SEND_BYTES = 256 << 10  # of a stream's replies that may wait for its client
ACK_S = 0.005  # that an answer to a ping waits for something to go with
LINGER_S = 0.1
UNSENT_BYTES_MAX = 64 << 20  # of one connection's; over it calls are refused
LATE = Status(Code.DEADLINE_EXCEEDED, "context deadline exceeded")
UNKNOWN_METHOD = "unknown method"
MALFORMED = Status(Code.INTERNAL, "a message that is none of this method")
NO_REQUEST = Status(Code.INTERNAL, "one request is wanted")
_log = logging.getLogger(__name__)


class Place(Protocol):
    """All connections, as one sees them."""

    desk: Desk
    held_bytes: int
    held_bytes_max: int

    def entered(self, connection: Any) -> bool: ...

    def left(self, connection: Any) -> None: ...

    def called(self, method: Method, code: Code) -> None: ...


class Call:
    """One method on its way; `Talk`, if it is a stream."""

    def __init__(self, connection: "Connection", stream: int, method: Method, asker: Asker) -> None:
        self.asker = asker
        self.method = method
        self.stream = stream
        self.incoming = Messages()
        self.came: deque[tuple[bytes, int]] = deque()  # messages, and what of the window is owed
        self.ended = False  # the client sends no more
        self.begun = False  # its reply's head has left
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.late = False
        self._connection = connection
        self._waits: asyncio.Future[None] | None = None

    async def receive(self) -> Any | None:
        while not self.came:
            if self.ended:
                return None
            self._waits = asyncio.get_running_loop().create_future()
            await self._waits
        data, owed = self.came.popleft()
        self._connection.taken(self, owed)
        return self.parsed(data)

    async def send(self, message: Any) -> None:
        await self._connection.send(self, framed(message.SerializeToString()))

    def parsed(self, data: bytes) -> Any:
        from google.protobuf import message

        try:
            return self.method.request.FromString(data)
        except message.DecodeError as error:
            raise CallFailed(MALFORMED) from error

    def wake(self) -> None:
        if self._waits is not None and not self._waits.done():
            self._waits.set_result(None)


class Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, place: Place) -> None:
        self._place = place
        self._h2 = Server()
        self._calls: dict[int, Call] = {}
        self._loop = asyncio.get_running_loop()
        self._flushing = self._acking = False
        self._paused = False
        self._stopping = False
        self.lost = False
        self._room: list[asyncio.Future[None]] = []  # senders that wait
        self.heard_s = self._loop.time()
        self.pinged = False

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        self.peer = self.transport.get_extra_info("peername")
        if not self._place.entered(self):
            self.lost = True
            self.cut()
            return
        self._flush_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._place.left(self)
        for call in tuple(self._calls.values()):
            self._forget(call)
        self._wake()

    def data_received(self, data: bytes) -> None:
        if self.lost:
            return
        self.heard_s = self._loop.time()
        self.pinged = False
        try:
            for happened in self._h2.feed(data):
                self._act(happened)
        except H2Broken as broken:
            self._break(broken)
            return
        if self._room:
            self._wake()
        if self._h2.has_out:
            self._flush_soon()
        elif self._h2.has_acks and not self._acking:
            self._acking = True
            self._loop.call_later(ACK_S, self._flush)

    def pause_writing(self) -> None:
        """Who takes nothing is not listened to: else its pings would fill our memory."""
        self._paused = True
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        if not self.lost:
            self.transport.resume_reading()
        self._wake()

    # Calls

    def _act(self, happened: Begun | Came | Ended | Reset) -> None:
        if type(happened) is Begun:
            self._begin(happened)
            return
        call = self._calls.get(happened.stream)
        if call is None:
            return
        if type(happened) is Came:
            self._feed(call, happened)
        elif type(happened) is Ended:
            self._end(call)
        else:
            self._forget(call)

    def _begin(self, begun: Begun) -> None:
        headers = begun.headers
        stream = begun.stream
        grpc = headers.get("content-type", "").startswith("application/grpc")
        if headers.get(":method") != "POST" or not grpc:
            self._h2.end(stream, NOT_GRPC)
            return
        path = headers.get(":path", "")
        method = methods().get(path)
        if method is None:
            text = f"{UNKNOWN_METHOD} {path[:200]}"
            self._h2.end(stream, HEAD + trailers(Status(Code.UNIMPLEMENTED, text)))
            return
        asker = Asker(
            headers.get("token") or headers.get("authorization", ""),
            headers.get("hasleader") == "true",
        )
        call = self._calls[stream] = Call(self, stream, method, asker)
        try:
            self._set_timer(call, headers.get("grpc-timeout", ""))
        except CallFailed as wrong:
            self._fail(call, wrong.status)
            return
        if self._stopping:
            self._fail(call, STOPPED)
        elif self._h2.unsent_bytes > UNSENT_BYTES_MAX:
            self._fail(call, TOO_MANY)
        elif method.takes_stream or method.gives_stream:
            call.task = self._loop.create_task(self._converse(call))

    def _set_timer(self, call: Call, told: str) -> None:
        if told and (seconds := timeout_s(told)) is not None:
            call.timer = self._loop.call_later(seconds, self._expire, call)

    def _expire(self, call: Call) -> None:
        call.late = True
        if call.task is None:
            self._fail(call, LATE)
        else:
            call.task.cancel()

    def _feed(self, call: Call, came: Came) -> None:
        place, incoming, size = self._place, call.incoming, len(came.data)
        if came.size > size:
            self._h2.taken(call.stream, came.size - size)  # padding
        if place.held_bytes + size > place.held_bytes_max:
            self._fail(call, TOO_MANY)
            return
        owed = incoming.held_bytes + size
        place.held_bytes += size
        try:
            found = incoming.feed(came.data)
        except CallFailed as wrong:
            self._fail(call, wrong.status)
            return
        if not found:
            return
        # What is owed for the rest is so for the last of them.
        owed -= incoming.held_bytes
        for message in found[:-1]:
            call.came.append((message, len(message)))
            owed -= len(message)
        call.came.append((found[-1], owed))
        call.wake()

    def taken(self, call: Call, owed: int) -> None:
        self._place.held_bytes -= owed
        if call.stream in self._calls:
            self._h2.taken(call.stream, owed)
            if self._h2.has_out:
                self._flush_soon()

    def _end(self, call: Call) -> None:
        call.ended = True
        if call.incoming.held_bytes:
            self._fail(call, BROKEN_OFF)
        elif call.task is not None:
            call.wake()
        elif len(call.came) != 1:
            self._fail(call, NO_REQUEST)
        else:
            call.task = self._loop.create_task(self._answer(call))

    async def _answer(self, call: Call) -> None:
        handler = cast(Unary, HANDLERS[call.method.path])
        try:
            data, owed = call.came.popleft()
            self._place.held_bytes -= owed
            reply = await handler(self._place.desk, call.asker, call.parsed(data))
            told = framed(reply.SerializeToString())
        except BaseException as error:
            self._fail_by(call, error)
            return
        stream, h2 = call.stream, self._h2
        h2.head(stream, HEAD)
        h2.send(stream, told)
        self._finish(call, Code.OK, TRAILERS_OK)

    async def _converse(self, call: Call) -> None:
        handler = cast(Streaming, HANDLERS[call.method.path])
        try:
            await handler(self._place.desk, call)
        except BaseException as error:
            self._fail_by(call, error)
            return
        if not call.begun:
            self._h2.head(call.stream, HEAD)
        self._finish(call, Code.OK, TRAILERS_OK)

    async def send(self, call: Call, told: bytes) -> None:
        if not call.begun:
            call.begun = True
            self._h2.head(call.stream, HEAD)
        self._h2.send(call.stream, told)
        self._flush_soon()
        while not self.lost and (self._paused or self._h2.unsent_of(call.stream) > SEND_BYTES):
            room: asyncio.Future[None] = self._loop.create_future()
            self._room.append(room)
            await room

    def _fail_by(self, call: Call, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            status = LATE if call.late else STOPPED
        else:
            status = status_of(error)
            if not isinstance(error, Refusal | CallFailed):
                _log.error("%s failed", call.method.path, exc_info=error)
        self._fail(call, status)

    def _fail(self, call: Call, status: Status) -> None:
        told = trailers(status)
        self._finish(call, status.code, told if call.begun else HEAD + told)

    def _finish(self, call: Call, code: Code, told: bytes) -> None:
        if self._calls.get(call.stream) is not call:
            return
        self._h2.end(call.stream, told)
        self._place.called(call.method, code)
        self._drop(call)
        self._flush_soon()

    def _forget(self, call: Call) -> None:
        """Its client has given it up."""
        self._drop(call)
        self._place.called(call.method, Code.CANCELLED)

    def _drop(self, call: Call) -> None:
        del self._calls[call.stream]
        place = self._place
        place.held_bytes -= call.incoming.held_bytes + sum(owed for _, owed in call.came)
        call.came.clear()
        if call.timer is not None:
            call.timer.cancel()
        if call.task is not None and call.task is not asyncio.current_task():
            call.task.cancel()
        if self._stopping and not self._calls:
            self._leave()

    # Writing

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = self._acking = False
        if not self.lost and (told := self._h2.take()):
            self.transport.write(told)

    def _wake(self) -> None:
        room, self._room = self._room, []
        for one in room:
            if not one.done():
                one.set_result(None)

    # Leaving

    def ping(self) -> None:
        self.pinged = True
        self._h2.ping()
        self._flush_soon()

    def stop(self) -> None:
        """What is under way ends; streams are told to go elsewhere."""
        for call in tuple(self._calls.values()):
            if call.method.takes_stream or call.method.gives_stream:
                self._fail(call, STOPPED)
        self._stopping = True
        self._h2.stop()
        self._flush_soon()
        if not self._calls:
            self._leave()

    def end(self) -> None:
        """The time to finish is over."""
        for call in tuple(self._calls.values()):
            self._fail(call, STOPPED)

    def _leave(self) -> None:
        """In a moment: a client that finds the end of the connection behind its last answer may
        take that for lost.
        """
        self._loop.call_later(LINGER_S, self._close)

    def _close(self) -> None:
        self._flush()
        if not self.lost:
            self.transport.close()

    def _break(self, broken: H2Broken) -> None:
        _log.warning("%s is cut off: %s", self.peer, broken)
        self._h2.close(broken)
        self._close()
        self.lost = True  # nothing more is read, though it may still come
        for call in tuple(self._calls.values()):
            self._forget(call)

    def cut(self) -> None:
        self.transport.abort()
