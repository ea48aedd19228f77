"""A WebSocket from the reply 101 to the end of its connection.

    data_received -> Reader -> receiver, or inbox -> handler -> send -> transport
                       |                                         ^
                       └ ping, close ────────────────────────────┘

    open ── either side says close, or breaks a rule ──> closed ── the connection goes ──> lost

There is one task for a socket, its handler's, and nothing else that waits: a message goes straight
to the handler if that waits for one; the inbox, the list of replies and the futures are there only
while they are needed. What is sent while messages still wait in the inbox leaves together, once a
turn of the loop. Time-outs are one row in the server's `Watch`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

from bastide.base.routes.rows import Message, Prepared, SocketClosed
from bastide.base.work import jittered
from bastide.parts.http.contract import Limits
from bastide.parts.http.websocket.contract import CloseWrong, Handler, Pace
from bastide.parts.http.websocket.frames import (
    CUT,
    DEFLATE_BYTES_MIN,
    FAULT,
    GOING_AWAY,
    NORMAL,
    PING,
    PONG,
    REASON_BYTES_MAX,
    Broken,
    Close,
    Event,
    Ping,
    Reader,
    close_frame,
    control_frame,
    deflated_frame,
    deflated_frame_of,
    may_be_sent,
    message_frame,
    plain_frame_of,
)
from bastide.parts.http.websocket.handshake import Handshake
from bastide.parts.http.websocket.watch import Watch

INBOX_MESSAGES_MAX = 64  # above, nothing more is read from the client,
INBOX_CHARACTERS_MAX = 256 << 10  # until the handler has taken all of them
UNSENT_BYTES_MAX = 64 << 10  # put together for one write
END_S = 1.0  # for a handler that was cancelled

_log = logging.getLogger(__name__)


class WebSocketProtocol(asyncio.Protocol):
    """The connection's protocol, and the `Socket` (base.routes.rows) of its handler."""

    __slots__ = (
        *("_ahead", "_code", "_deflates", "_handled", "_handler", "_heard", "_inbox", "_limits"),
        *("_loop", "_lost", "_on_lost", "_pace", "_paused", "_pinged", "_pong", "_reader"),
        *("_reading", "_reason", "_receiver", "_subprotocol", "_task", "_transport", "_unsent"),
        *("_unsent_bytes", "_untaken", "_waiters", "_watch", "tick"),
    )

    def __init__(
        self,
        handler: Handler,
        handshake: Handshake,
        limits: Limits,
        *,
        watch: Watch,
        pace: Pace,
        on_lost: "Callable[[WebSocketProtocol], None]",
    ) -> None:
        """`on_lost` is called once, when the connection is gone and the handler has ended."""
        self._loop = asyncio.get_running_loop()
        self._handler = handler
        self._limits = limits
        self._watch = watch
        self._pace = pace
        self._on_lost = on_lost
        self._subprotocol = handshake.subprotocol
        self._deflates = handshake.deflates
        self._reader = Reader(
            frame_bytes=limits.frame_bytes,
            message_bytes=limits.message_bytes,
            inflates=handshake.deflates,
        )
        self._transport: asyncio.Transport
        self._task: asyncio.Task[None]
        self._code = 0  # why it is closed; 0 while it is open
        self._reason = ""
        self._lost = False
        self._handled = False  # the handler has ended
        self._receiver: asyncio.Future[Message | None] | None = None
        self._inbox: deque[Message] | None = None  # never empty
        self._ahead = 0  # characters that came since the inbox was empty
        self._unsent: list[bytes] | None = None
        self._unsent_bytes = 0
        self._waiters: list[asyncio.Future[None]] | None = None  # for whatever changes below
        self._paused = False  # the transport takes no more
        self._untaken = 0  # bytes that it had when we looked last
        self._pong: bytes | None = None  # owed as soon as it does
        self._reading = True
        self._heard = False  # since the last ping
        self._pinged = False
        self.tick = 0

    def begin(self, transport: asyncio.Transport, leftover: bytes) -> None:
        """Starts the handler. The reply 101 was written; `leftover` is what came behind the
        request.
        """
        self._transport = transport
        _, high = transport.get_write_buffer_limits()
        self._watch.put(self, jittered(self._pace.ping_s))  # not all at once
        if transport.get_write_buffer_size() > high:
            self.pause_writing()
        if not transport.is_reading() and not transport.is_closing():
            transport.resume_reading()
        self._task = self._loop.create_task(self._handler(self))
        self._task.add_done_callback(self._end_of_handler)
        if leftover:
            self.data_received(leftover)

    async def stop(self, within_s: float) -> None:
        """Closes with 1001. Who is not gone `within_s`, socket or handler, is cut."""
        self._say_close(GOING_AWAY, "the server stops")
        try:
            async with asyncio.timeout(within_s):
                while not (self._lost and self._handled):
                    await self._changed()
        except TimeoutError:
            self._transport.abort()
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=END_S)

    # What a handler sees: contract.Socket.

    @property
    def subprotocol(self) -> str | None:
        return self._subprotocol

    @property
    def closed(self) -> bool:
        return self._code != 0

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        if self._inbox is not None:
            return self._taken(self._inbox)
        if self._code:
            raise StopAsyncIteration
        assert self._receiver is None, "one task receives"
        receiver: asyncio.Future[Message | None] = self._loop.create_future()
        self._receiver = receiver
        try:
            message = await receiver
        except asyncio.CancelledError:
            if receiver.done() and not receiver.cancelled():
                self._put_back(receiver.result())
            raise
        finally:
            self._receiver = None
        if message is None:
            raise StopAsyncIteration
        return message

    async def receive(self) -> Message:
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            raise SocketClosed(self._code, self._reason) from None

    async def send(self, message: Message | Prepared) -> None:
        while self._paused and not self._code:
            await self._changed()
        if self._code:
            raise SocketClosed(self._code, self._reason)
        if isinstance(message, Prepared):
            self._write(self._frame_of(message))
        elif self._deflates and len(message) >= DEFLATE_BYTES_MIN:
            self._write(deflated_frame(message))
        else:
            self._write(message_frame(message))

    def offer(self, prepared: Prepared) -> bool:
        if self._code or self._paused:
            return False
        self._write(self._frame_of(prepared))
        return True

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        if not may_be_sent(code):
            raise CloseWrong(f"close code {code}; 1000 to 1014 but 1004 to 1006, or 3000 to 4999")
        size = len(reason.encode())
        if size > REASON_BYTES_MAX:
            raise CloseWrong(f"a reason of {size} bytes; at most {REASON_BYTES_MAX} are sent")
        self._say_close(code, reason)
        while not self._lost:
            await self._changed()

    # What the transport says.

    def data_received(self, data: bytes) -> None:
        self._heard = True
        events = self._reader.feed(data)
        receiver = self._receiver
        if len(events) == 1 and receiver is not None and not receiver.done():
            event = events[0]
            if event.__class__ is str or event.__class__ is bytes:
                receiver.set_result(event)
                if self._reader.stopped:
                    self._steady()
                return
        self._take(events)

    def eof_received(self) -> None:
        """The transport closes: nobody is there to read what we might say."""

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._unsent = None
        if not self._code:
            self._shut(CUT, "the connection was lost")
        self._wake()
        if self._handled:
            self._forget()
        else:
            self._watch.put(self, self._pace.close_s)

    def pause_writing(self) -> None:
        self._paused = True
        self._untaken = self._transport.get_write_buffer_size()
        if not self._code:
            self._watch.put(self, self._limits.stall_s)

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()
        if self._code:
            return
        self._pinged = False
        self._watch.put(self, self._pace.ping_s)
        if self._pong is not None:
            self._write(control_frame(PONG, self._pong))
            self._pong = None

    # What the watch asks.

    def look(self) -> float:
        if self._lost:
            self._task.cancel()
            return self._pace.close_s
        if self._code:
            return self._cut()
        return self._look_at_stall() if self._paused else self._beat()

    def _look_at_stall(self) -> float:
        untaken = self._transport.get_write_buffer_size()
        if untaken >= self._untaken:
            return self._cut()
        self._untaken = untaken
        return self._limits.stall_s

    def _beat(self) -> float:
        ping_s, pong_s = self._pace.ping_s, self._pace.pong_s
        if self._pinged:
            if not self._heard and self._reading:  # while we don't read, nobody is heard
                return self._cut()
            if ping_s > pong_s:
                self._pinged = False
                return ping_s - pong_s
        self._pinged, self._heard = True, False
        self._write(control_frame(PING))
        return pong_s

    def _cut(self) -> float:
        if not self._code:
            self._shut(CUT, "the connection was cut")
        self._transport.abort()
        return 0.0

    # Reading.

    def _take(self, events: Sequence[Event]) -> None:
        """Messages first: a Close or a Broken is the last of them, and a Ping doesn't mind."""
        messages = [e for e in events if e.__class__ is str or e.__class__ is bytes]
        if messages and not self._code:
            self._keep(messages)
        if len(messages) < len(events):
            if len(events) > 1:
                self._gather()  # pongs
            for event in events:
                self._obey(event)
        self._steady()

    def _keep(self, messages: Sequence[Message]) -> None:
        receiver = self._receiver
        if self._inbox is None:
            if receiver is not None and not receiver.done():
                receiver.set_result(messages[0])
                messages = messages[1:]
            if messages:
                self._inbox = deque(messages)
        else:
            self._inbox.extend(messages)
        self._ahead += sum(map(len, messages))

    def _obey(self, event: Event) -> None:
        match event:
            case Ping(payload) if not self._code and self._paused:
                self._pong = payload  # RFC 6455, 5.5.3: the most recent one is enough
            case Ping(payload) if not self._code:
                self._write(control_frame(PONG, payload))
            case Close(code, reason):
                if not self._code:
                    self._shut(code, reason)
                    self._write_last(close_frame(code))
                self._transport.close()
            case Broken(code, reason) if not self._code:
                self._say_close(code, reason)
                if self._transport.can_write_eof():
                    self._transport.write_eof()
            case Broken():
                self._cut()

    def _steady(self) -> None:
        """Reads on, or no further."""
        if self._transport.is_closing():
            return
        taking = self._inbox is None or self._code
        if self._reader.stopped:
            self._pause_reading()
            if taking:
                self._loop.call_soon(self._read_on)
        elif taking:
            self._resume_reading()
        elif self._is_full():
            self._pause_reading()

    def _is_full(self) -> bool:
        inbox = self._inbox
        return inbox is not None and (
            len(inbox) > INBOX_MESSAGES_MAX or self._ahead > INBOX_CHARACTERS_MAX
        )

    def _pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def _read_on(self) -> None:
        if self._reader.stopped and (self._inbox is None or self._code):
            self._take(self._reader.feed(b""))

    def _taken(self, inbox: deque[Message]) -> Message:
        message = inbox.popleft()
        if not inbox:
            self._inbox = None
            self._ahead = 0
            if not self._reading:
                self._steady()
        return message

    def _put_back(self, message: Message | None) -> None:
        if message is None:
            return
        if self._inbox is None:
            self._inbox = deque((message,))
        else:
            self._inbox.appendleft(message)

    # Writing.

    def _frame_of(self, prepared: Prepared) -> bytes:
        return deflated_frame_of(prepared) if self._deflates else plain_frame_of(prepared)

    def _write(self, frame: bytes) -> None:
        if self._inbox is not None:
            self._gather()
        if self._unsent is None:
            self._transport.write(frame)
            return
        self._unsent.append(frame)
        self._unsent_bytes += len(frame)
        if self._unsent_bytes > UNSENT_BYTES_MAX:
            self._flush()

    def _gather(self) -> None:
        """What is written from here to the next turn of the loop leaves in one write."""
        if self._unsent is None:
            self._unsent, self._unsent_bytes = [], 0
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._unsent:
            frames, self._unsent = self._unsent, None
            self._transport.write(b"".join(frames))

    def _write_last(self, frame: bytes) -> None:
        self._write(frame)
        self._flush()
        self._watch.put(self, self._pace.close_s)

    # The end.

    def _say_close(self, code: int, reason: str) -> None:
        if not self._code:
            self._shut(code, reason)
            self._write_last(close_frame(code, reason))
            self._steady()  # nobody will take what comes now, but the other side's close

    def _shut(self, code: int, reason: str) -> None:
        self._code, self._reason = code, reason
        receiver = self._receiver
        if receiver is not None and not receiver.done():
            receiver.set_result(None)
        self._wake()

    def _end_of_handler(self, task: asyncio.Task[None]) -> None:
        self._handled = True
        self._inbox = None
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            self._say_close(GOING_AWAY, "")
        elif error is None or (isinstance(error, SocketClosed) and self._code):
            self._say_close(NORMAL, "")
        else:
            _log.error("the handler of a WebSocket failed", exc_info=error)
            self._say_close(FAULT, "")
        if self._lost:
            self._forget()
        self._wake()

    def _forget(self) -> None:
        self._watch.drop(self)
        self._on_lost(self)

    async def _changed(self) -> None:
        """Until the transport takes more, the socket is closed or lost, or the handler ended."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if self._waiters is not None and waiter in self._waiters:
                self._waiters.remove(waiter)
            raise

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)
