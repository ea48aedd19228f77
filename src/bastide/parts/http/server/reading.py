"""Bytes in, exchanges out: what llhttp makes of a connection, and what is not let through.

What keeps two readers from seeing two things in the same bytes: llhttp takes no leniency, and what
it leaves open is refused before the request is passed on (`core.framing`). Nothing is repaired.
What is refused is an exchange too, the last one: those before it are answered first.

A client mostly says the same of itself each time: the last head is kept. And a request that is one
plain line, with the very bytes behind it that llhttp took the last time, is not read again
(`core.repeats`).
"""

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import httptools

from bastide.base.errors import Invalid, Refusal, TooLarge
from bastide.base.routes.heads import Head
from bastide.base.routes.rows import HeadersTooLarge, UriTooLong
from bastide.parts.http.core.framing import VersionRefused, framed, origin_form
from bastide.parts.http.core.repeats import Repeat
from bastide.parts.http.server.body import Body, WholeBody
from bastide.parts.http.server.roles import Exchange, Place

HEAD_SLACK_BYTES = 16 * 1024  # above the limits, so that what is wrong can be said
BLANK_BYTES_MAX = 8  # before a request line (RFC 9112, section 2.2)
LINGER_BYTES_MAX = 32 << 20
FIELD_BYTES_REMEMBERED = 2_048
REST_BYTES_MAX = 64 * 1024  # behind a request for another protocol, before it is answered
METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")}
# What llhttp takes too, and only one way to read it: RFC 9112, section 3; RFC 3986, section 3.3.
REQUEST_LINE = re.compile(
    rb"(%b) (/[-0-9A-Za-z._~!$&'()*+,;=:@/%%?]*) HTTP/1\.1\r\n" % b"|".join(METHODS)
)
_log = logging.getLogger(__name__)


class _Enough(Exception):
    """The rest of these bytes is not looked at."""


class Reader:
    """`exchanges` are those not yet answered, in their order. `pause` and `resume` are reading from
    the socket, `proceed` tells the client to send its body.
    """

    __slots__ = (
        *("_blank", "_head", "_head_bytes", "_head_names", "_head_values", "_lingered", "_loop"),
        *("_names", "_parser", "_pause", "_place", "_proceed", "_repeat", "_resume", "_target"),
        *("_values", "begun", "body", "body_since_s", "ended", "exchanges", "peer", "port"),
    )

    def __init__(
        self,
        place: Place,
        loop: asyncio.AbstractEventLoop,
        *,
        peer: str,
        port: int,
        pause: Callable[[], None],
        resume: Callable[[], None],
        proceed: Callable[[], None],
    ) -> None:
        self.peer = peer
        self.port = port
        self.exchanges: deque[Exchange] = deque()
        self.begun = False  # a head has begun, and not ended
        self.ended = False  # what comes in is not looked at any more
        self.body: Body | None = None  # what is coming in now
        self.body_since_s = 0.0  # when it was to begin; inf: it may not yet
        self._place = place
        self._loop = loop
        self._pause = pause
        self._resume = resume
        self._proceed = proceed
        self._parser: Any = httptools.HttpRequestParser(self)
        self._head: Head | None = None
        self._head_names: list[bytes] = []
        self._head_values: list[bytes] = []
        self._repeat: tuple[Repeat, Head] | None = None  # of what came last, in one piece
        self._names: list[bytes] = []
        self._values: list[bytes] = []
        self._target = b""
        self._blank = self._head_bytes = self._lingered = 0

    def feed(self, data: bytes) -> bool:
        """Never raises. False: the connection is to be cut."""
        alone = not (self.begun or self.ended or self.body)
        if not (alone and self._repeated(data)):
            before = len(self.exchanges)
            if not self._parse(data):
                return False
            if alone and len(self.exchanges) == before + 1:
                self._remember(self.exchanges[-1], data)
        return len(self.exchanges) <= self._place.limits.pipelined

    def _repeated(self, data: bytes) -> bool:
        """It is one request, made of what was read before, and is taken as that was."""
        if self._repeat is None:
            return False
        repeat, head = self._repeat
        line = REQUEST_LINE.match(data)
        if line is None:
            return False
        body = repeat.body_in(data, line.end())
        if body is None or len(body) > self._place.limits.body_bytes:
            return False
        method, target = line.groups()
        exchange = Exchange(METHODS[method], target, "1.1", self.port, closes=False)
        if body:
            head = head.with_length(len(body))
            exchange.incoming = WholeBody(body)
        exchange.head = head
        self.exchanges.append(exchange)
        return True

    def _remember(self, exchange: Exchange, data: bytes) -> None:
        """It came alone. If it came whole, and nothing came with it, it may come again."""
        self._repeat = None
        line = REQUEST_LINE.match(data)
        if (
            line is None
            or exchange.error is not None
            or exchange.closes
            or self.begun
            or self.body is not None
            or not (exchange.head.shape.is_plain or exchange.head.shape.sized)
        ):
            return
        fields = data[line.end() : data.find(b"\r\n\r\n") + 4]
        if len(fields) > FIELD_BYTES_REMEMBERED:
            return
        repeat = Repeat(fields, sized=exchange.head.shape.sized)
        if repeat.body_in(data, line.end()) is not None:
            self._repeat = repeat, exchange.head

    def _parse(self, data: bytes) -> bool:
        if self.ended:
            return self._discarded(data)
        if data[:1] < b"!" and self._is_blank(data):
            return True
        if data.find(b" HTTP/", 0, data.find(b"\n") + 1) < 0 and self._is_foreign(data):
            return True
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._hold(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not self.ended:
                self.refuse(_told(error))
        if self.begun or self.body is not None:
            self._watch_bytes()
        return True

    def refuse(self, refusal: Refusal) -> None:
        """What came is answered so, after what came before it."""
        if self.body is not None:
            self._refuse_exchange(self.exchanges[-1] if self.exchanges else None, refusal)
            return
        refused = Exchange("", b"", "1.1", self.port, closes=True)
        self.exchanges.append(refused)
        self._refuse_exchange(refused, refusal)

    def close(self) -> None:
        """Nothing more comes in."""
        self.ended = True
        self._parser = None  # it knows us, and we know it
        self.break_body(Invalid("the connection ended inside the body"))

    def break_body(self, refusal: Refusal) -> None:
        if self.body is not None:
            self.body.break_off(refusal)
            self.body = None

    # What llhttp calls

    def on_message_begin(self) -> None:
        if self.ended:
            raise _Enough
        self.begun = True

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self._names) <= self._place.headers_max:  # one too many tells that there are
            self._names.append(name)
            self._values.append(value)

    def on_headers_complete(self) -> None:
        parser = self._parser
        method = parser.get_method()
        exchange = Exchange(
            METHODS.get(method) or method.decode("ascii"),
            self._target,
            parser.get_http_version(),
            self.port,
            closes=not parser.should_keep_alive(),
        )
        names, values = self._names, self._values
        self._names, self._values, self._target = [], [], b""
        self.begun = False
        self.exchanges.append(exchange)
        try:
            head = self._head
            if head is None or values != self._head_values or names != self._head_names:
                head = self._head = self._place.http.head(names, values, self.peer)
                self._head_names, self._head_values = names, values
            exchange.head = head
            if not head.shape.is_plain or exchange.target[:1] != b"/" or exchange.version != "1.1":
                self._frame(exchange, values)
        except Refusal as refusal:
            self._refuse_exchange(exchange, refusal)

    def on_body(self, piece: bytes) -> None:
        body = self.body
        if body is not None:
            self._head_bytes = 0
            body.feed(piece)
            most = self._place.limits.body_bytes
            if body.size > most:
                body.break_off(TooLarge(f"a body of more than {most} bytes is not taken"))

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        if self.body is not None:
            self.body.end()
            self.body = None
            self._names, self._values = [], []  # trailers: nobody has asked for them
        if self.exchanges and self.exchanges[-1].closes:
            self.ended = True

    def _frame(self, exchange: Exchange, values: Sequence[bytes]) -> None:
        """What is no plain request in HTTP/1.1."""
        version, head = exchange.version, exchange.head
        if version not in ("1.1", "1.0"):
            raise VersionRefused(f"HTTP/{version} is not spoken here; 1.1 and 1.0 are")
        framing = framed(head.shape, values, version)
        exchange.target = origin_form(exchange.method, exchange.target, head.shape, values)
        exchange.upgrades, exchange.rest = framing.upgrades, b""
        if framing.length != 0:
            self.body = exchange.incoming = Body(
                self._loop,
                length=framing.length,
                pause=self._pause,
                resume=self._resume_body,
                wanted=self._proceed_now if framing.waits else _nothing,
            )
            self.body_since_s = inf if framing.waits else self._place.now_s

    def _refuse_exchange(self, exchange: Exchange | None, refusal: Refusal) -> None:
        if exchange is not None:
            exchange.error, exchange.closes = refusal, True
        self.ended, self.begun = True, False
        self.break_body(refusal)

    def _watch_bytes(self) -> None:
        """What came since the last piece of a body is part of a head, or of what frames a body."""
        limits = self._place.limits
        most = limits.target_bytes + limits.header_bytes + HEAD_SLACK_BYTES
        if self._head_bytes <= most:
            return
        if self.body is not None:
            self.refuse(Invalid(f"{self._head_bytes} bytes, and no piece of the body"))
        elif len(self._target) > limits.target_bytes:
            self.refuse(UriTooLong(f"the address is longer than {limits.target_bytes} bytes"))
        else:
            self.refuse(HeadersTooLarge(f"headers of more than {limits.header_bytes} bytes"))

    def _is_blank(self, data: bytes) -> bool:
        """Empty lines before a request are skipped, a few of them; nothing else is."""
        if not data:
            return True
        if self.begun or self.body is not None:
            return False
        rest = data.lstrip(b"\r\n")
        blank = data[: len(data) - len(rest)]
        self._blank = self._blank + len(blank) if not rest else 0
        if max(self._blank, len(blank)) > BLANK_BYTES_MAX or blank.replace(b"\r\n", b""):
            self.refuse(Invalid("a request begins with its method"))
            return True
        return not rest

    def _is_foreign(self, data: bytes) -> bool:
        """llhttp reads RTSP and ICE too, and HTTP/0.9, which has no version. What comes in pieces,
        or behind another request, is read so: it can mean nothing else than it does in HTTP.
        """
        line, end, _ = data.lstrip(b"\r\n").partition(b"\n")
        if self.begun or self.body is not None or not end or b" HTTP/" in line:
            return False
        self.refuse(Invalid("this is no request in HTTP/1.1"))
        return True

    def _hold(self, rest: bytes) -> None:
        """Behind a request for another protocol nothing is HTTP, until it is decided."""
        self.ended = True
        if self.exchanges and self.exchanges[-1].error is None:
            self.exchanges[-1].closes = True
            self.exchanges[-1].rest = rest

    def _discarded(self, data: bytes) -> bool:
        """What comes behind the end; of an upgrade that is not decided yet, it is kept."""
        last = self.exchanges[-1] if self.exchanges else None
        if last is not None and last.error is None and last.upgrades:
            last.rest += data
            return len(last.rest) <= REST_BYTES_MAX
        self._lingered += len(data)
        return self._lingered <= LINGER_BYTES_MAX

    def _resume_body(self) -> None:
        self._resume()
        if self.body is not None:  # it was we who let it wait: its time begins anew
            sent_s = self.body.size / self._place.limits.body_rate
            self.body_since_s = self._place.now_s - sent_s

    def _proceed_now(self) -> None:
        self.body_since_s = self._place.now_s
        self._proceed()


def _nothing() -> None:
    """Nobody waits to be told."""


def _told(error: httptools.HttpParserError) -> Refusal:
    if isinstance(error, httptools.HttpParserCallbackError):
        _log.error("a request could not be read", exc_info=error)
    return Invalid(f"this is no request in HTTP/1.1: {str(error)[:100]}")
