"""One client: requests in their order, replies in the same order.

    bytes ──Reader──► exchanges, in a row ──► the first is answered
                                                 │ at once: what follows it, too,
                                                 │ and all of it is written together
                                                 └ it waits: the rest waits behind it

A client that is late is found by the server's sweep: each connection says what it waits for and
until when, which costs a request nothing but two assignments.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from enum import Enum, auto
from math import inf
from typing import Any, cast

from bastide.base.errors import Refusal, Unavailable
from bastide.base.routes.rows import BodyLate, Reply
from bastide.parts.http.core.framing import HeadLate
from bastide.parts.http.heads import STATUS_LINES, WITHOUT_LENGTH, HeadBroken, head_text
from bastide.parts.http.replies import is_plain
from bastide.parts.http.server import sending
from bastide.parts.http.server.host import Host
from bastide.parts.http.server.reading import Reader
from bastide.parts.http.server.roles import Exchange, Place, Stalled, Successor

WRITE_BUFFER_BYTES = 64 * 1024
HELD_BYTES_MAX = 16 * 1024
LINGER_S = 2.0  # for what nobody wants any more, so that its sender reads why
SWITCHING = 101
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_log = logging.getLogger(__name__)


class Waits(Enum):
    """What a connection waits for."""

    FIRST_BYTE = auto()
    HEAD = auto()
    BODY = auto()
    ANSWER = auto()
    TAKER = auto()  # the client, to take what was sent
    REQUEST = auto()
    LEAVING = auto()


FIRST_BYTE, HEAD, BODY, ANSWER, TAKER, REQUEST, LEAVING = Waits  # by name alone: half the cost


class Connection(asyncio.Protocol):
    __slots__ = (
        *("_busy", "_drained", "_eof", "_host", "_loop", "_out", "_paused", "_proxied", "_reader"),
        *("_requests", "_unsent", "_waits", "address", "due_s", "lost", "quits", "server"),
        "transport",
    )
    transport: asyncio.Transport
    _reader: Reader

    def __init__(self, server: Place, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self._loop = loop
        self._out: list[bytes] = []
        self._host: Host | None = None
        self._busy = False  # the first exchange is being answered
        self._eof = False  # nothing more comes in
        self._proxied: bytes | None = b"" if server.proxied else None
        self._requests = 0
        self._drained: asyncio.Future[None] | None = None
        self.quits: Callable[[], None] | None = None  # ends what is streamed, if nobody takes it
        self.lost = self._paused = False
        self._unsent = 0  # bytes, when we looked last
        self._waits, self.due_s = FIRST_BYTE, server.now_s + server.limits.first_byte_s

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        self.address = _host_in(transport.get_extra_info("peername"))
        self._reader = Reader(
            self.server,
            self._loop,
            peer=self.address,
            port=_port_in(transport.get_extra_info("sockname")),
            pause=self._pause_reading,
            resume=self._resume_reading,
            proceed=self._proceed,
        )
        refusal = self.server.entered(self)
        if refusal is not None:
            self._refuse(refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.due_s = inf
        self.server.left(self)
        self._reader.close()
        self._wake()
        if self.quits is not None:
            self.quits()
        elif self._host is not None and not self._busy:
            self._host.close()

    def eof_received(self) -> bool:
        """Who sends no more may still listen, and gets its answers. A stream ends: for all that can
        be seen its client has left.
        """
        self._eof = True
        self.flush()  # what is ready would leave at the end of this turn, and this may be the last
        self._reader.close()
        if self._waits is LEAVING:
            return False
        if self.quits is not None:
            self.quits()
            return False
        return self._busy or bool(self._reader.exchanges)

    def pause_writing(self) -> None:
        self._paused = True
        self._await_taker()

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()
        if self._busy:
            self._await_next()
        else:
            self._advance()

    def data_received(self, data: bytes) -> None:
        if self._proxied is not None:
            data = self._introduced(data)
        if not self._reader.feed(data):
            self.cut("sent more than anybody reads")
        self._advance()

    def _introduced(self, data: bytes) -> bytes:
        """Behind what the proxy says of its client (PROXY protocol, version 2)."""
        assert self._proxied is not None
        self._proxied += data
        try:
            told = self.server.introduction(self._proxied)
        except Refusal as refusal:
            _log.warning("%s: %s", self.address, refusal)
            self.cut("no PROXY header")
            return b""
        if told is None:
            return b""
        rest, self._proxied = self._proxied[told.consumed :], None
        if told.source is not None:
            self._reader.peer = told.source.host
        return rest

    def _pause_reading(self) -> None:
        if not self.lost:
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self.lost:
            self.transport.resume_reading()

    def _proceed(self) -> None:
        self._out.append(CONTINUE)
        self.flush()

    def _wake(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # Answering

    def _advance(self) -> None:
        """Answers what can be answered now."""
        exchanges = self._reader.exchanges
        while exchanges and not (self._busy or self._paused or self.lost):
            self._begin(exchanges[0])
        if self._out:
            self.server.flush_soon(self)
        self._await_next()

    def _begin(self, exchange: Exchange) -> None:
        server = self.server
        if exchange.error is not None:
            answer: Any = server.http.refuse(exchange, exchange.error)
        elif server.in_flight >= server.limits.in_flight:
            most = server.limits.in_flight
            answer = server.http.refuse(exchange, Unavailable(f"{most} requests are answered now"))
        else:
            answer = server.http.begin(exchange, exchange.head, self._step)
        if type(answer) is Reply and is_plain(answer):
            self.reply(exchange, answer.status, answer.headers, answer.body)
            self.end(exchange)
            return
        self._busy = True
        server.in_flight += 1
        self._hosted().step(sending.answered(self, exchange, answer))

    def _hosted(self) -> Host:
        if self._host is None:
            self._host = Host(self._loop, self._advance)
        return self._host

    def _step(self, work: Coroutine[Any, Any, Any]) -> Any:
        return (self._host or self._hosted()).first(work)

    def reply(
        self, exchange: Exchange, status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        """Whole, to be written with what else is ready."""
        length = None if status in WITHOUT_LENGTH else len(body)
        try:
            text = head_text(headers, exchange, length)
        except HeadBroken as fault:
            told = self.server.http.refuse(exchange, fault)
            status, body = told.status, told.body
            text = head_text(told.headers, exchange, len(body))
        self.begin_reply(exchange, status, text)
        if body and exchange.method != "HEAD" and status not in WITHOUT_LENGTH:
            self.write(body)

    def begin_reply(self, exchange: Exchange, status: int, text: str) -> None:
        server = self.server
        self._requests += 1
        if (
            exchange.closes
            or server.stopping
            or not exchange.incoming.complete
            or self._requests >= server.limits.requests
        ):
            exchange.closes = True
            connection = "connection: close\r\n"
        else:
            connection = "" if exchange.version == "1.1" else "connection: keep-alive\r\n"
        server.http.done(exchange, status)
        head = f"{STATUS_LINES[status]}{text}{server.date_line}{connection}\r\n"
        self._out.append(head.encode("latin-1"))

    def write(self, *pieces: bytes) -> None:
        """To leave with what else is ready; a large one at once, so that we hear of it if the
        client takes nothing.
        """
        self._out += pieces
        if len(pieces[-1]) > HELD_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        out = self._out
        if out:
            self._out = []
            if not self.lost:
                self.transport.write(out[0] if len(out) == 1 else b"".join(out))

    async def taken(self) -> None:
        """Until the client has taken most of what it was sent."""
        self.flush()
        while self._paused and not self.lost:
            self._drained = self._loop.create_future()
            await self._drained

    def end(self, exchange: Exchange) -> None:
        """It is answered; the next one's turn."""
        if self._busy:
            self._busy = False
            self.server.in_flight -= 1
        exchanges = self._reader.exchanges
        if exchanges and exchanges[0] is exchange:
            exchanges.popleft()
        if self.lost:
            if self._host is not None:
                self._host.close()
            return
        if exchange.closes or (self._eof and not exchanges):
            self._leave(politely=exchange.incoming.complete and exchange.error is None)

    def switch(self, exchange: Exchange, text: str, to: Callable[[str], Successor]) -> None:
        """From here on the transport belongs to another protocol, and this connection is done."""
        self.server.http.done(exchange, SWITCHING)
        self._out.append(
            f"{STATUS_LINES[SWITCHING]}{text}{self.server.date_line}\r\n".encode("latin-1")
        )
        self.flush()
        self.lost = True
        self.due_s = inf
        self.server.left(self)
        self._reader.close()
        successor = to(self.address)
        self.transport.set_protocol(cast(asyncio.BaseProtocol, successor))
        successor.begin(self.transport, exchange.rest)
        if self._host is not None:
            self._host.close()

    # Waiting

    def sweep(self, now_s: float) -> None:
        """What it waited for did not come in time."""
        limits = self.server.limits
        match self._waits:
            case Waits.FIRST_BYTE | Waits.REQUEST:
                self.close()
            case Waits.HEAD:
                self._refuse(HeadLate(f"a head is to arrive within {limits.head_s:g} s"))
            case Waits.BODY:
                self._judge_body(now_s)
            case Waits.TAKER:
                self._judge_taker()
            case Waits.LEAVING:
                self.cut("its time to leave is over")
            case Waits.ANSWER:
                self.due_s = inf

    def _judge_body(self, now_s: float) -> None:
        reader, limits = self._reader, self.server.limits
        self.due_s = now_s
        if reader.body is None or reader.body.is_held or reader.body_since_s == inf:
            return
        over_s = now_s - reader.body_since_s - limits.body_s
        if over_s > 0 and reader.body.size < over_s * limits.body_rate:
            least = f"{limits.body_rate} bytes a second after its first {limits.body_s:g} s"
            reader.ended = True
            reader.break_body(BodyLate(f"a body is to keep to {least}"))

    def _judge_taker(self) -> None:
        left = self.transport.get_write_buffer_size()
        if not left or left < self._unsent:
            self._await_taker()
            return
        stalled = Stalled(f"the client took nothing for {self.server.limits.stall_s:g} s")
        if self._busy:
            self.server.http.log_broken(self._reader.exchanges[0], stalled, known=True)
        self.cut(str(stalled))

    def _await_next(self) -> None:
        if self.lost or self._paused or self._waits is LEAVING or self.transport.is_closing():
            return
        server, reader = self.server, self._reader
        if self._busy or reader.exchanges:
            judged = reader.body is not None
            self._waits = BODY if judged else ANSWER
            self.due_s = server.now_s if judged else inf
        elif reader.begun:
            if self._waits is not HEAD:
                self._waits, self.due_s = HEAD, server.now_s + server.limits.head_s
        elif self._requests:
            self._waits, self.due_s = REQUEST, server.now_s + server.limits.idle_s

    def _await_taker(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self._waits = TAKER
        self.due_s = self.server.now_s + self.server.limits.stall_s if self._unsent else inf

    # Leaving

    def cut(self, reason: str) -> None:
        """Ends it here and now: what was written and not taken is lost."""
        _log.debug("%s is cut off: %s", self.address, reason)
        self._reader.ended = True
        if not self.lost:
            self.transport.abort()

    def close(self) -> None:
        """Behind what was written."""
        self.flush()
        self._reader.ended = True
        if not self.lost:
            self.transport.close()
            self._await_taker()

    def close_when_idle(self, *, asked: int) -> None:
        """The server stops: after what is under way. Who has asked for less than `asked` times may
        have its first request on the way.
        """
        reader = self._reader
        under_way = self._busy or reader.exchanges or reader.begun or reader.body
        if not under_way and self._requests >= asked:
            self.close()

    def cancel(self) -> None:
        """The time to finish is over."""
        if self._host is not None and self._busy:
            self._host.cancel()
        else:
            self.cut("the time to finish is over")

    def _refuse(self, refusal: Refusal) -> None:
        self._reader.refuse(refusal)
        self._advance()

    def _leave(self, *, politely: bool) -> None:
        """Closes behind what was written. Who may still be sending gets a moment to read why: a
        close with bytes unread would take the reply back (RFC 9112, section 9.6).
        """
        self._reader.ended = True
        self._reader.exchanges.clear()
        self.flush()
        if politely or self._eof:
            self.close()
            return
        self._waits, self.due_s = LEAVING, self.server.now_s + LINGER_S
        if not self.lost and self.transport.can_write_eof():
            self._resume_reading()
            with suppress(OSError):  # the client has reset it already
                self.transport.write_eof()


def _host_in(name: Any) -> str:
    """Of a peer: "" if it came by a Unix socket."""
    return name[0] if isinstance(name, tuple) else ""


def _port_in(name: Any) -> int:
    return name[1] if isinstance(name, tuple) else 0
