"""One answer, out of the bytes of a connection, however they are cut.

    head ──┬──> counted ─────┐
    ^ │    ├──> chunked ─────┤
    └─┘    ├──> until close ─┤
    1xx    └──> (no body) ───┴──> whole

`feed` hands its bytes to whoever reads now: the boxes are methods, and `_reads` is the current one.
A head is cut out by its empty line before the parser sees it, so that it is known to the byte where
the body begins; the bytes of a counted body are counted here, and parsed by nobody.

A reader reads one answer and is thrown away: nothing of it can show in the next. Only what is
certain `keeps` its connection: HTTP/1.1 that ended where its head says, and not a byte behind it.
"""

from collections import deque
from collections.abc import Callable

import httptools
from msgspec import Struct

from bastide.parts.http.client.contract import AnswerTooLarge, AnswerWrong, Headers
from bastide.parts.http.client.framing import framing_of

HEAD_END = b"\r\n\r\n"


class Head(Struct, frozen=True):
    status: int
    headers: Headers


class Reader:
    """`head` once it is there, `pieces` of the body that nobody took yet, `is_whole` at its end."""

    def __init__(self, method: str, *, head_bytes_max: int) -> None:
        self.head: Head | None = None
        self.pieces: deque[bytes] = deque()
        self.unread_bytes = 0
        self.is_whole = self.keeps = self.goes_on = False
        self.is_heard = False  # a byte came
        self._method = method
        self._head_bytes_max = head_bytes_max
        self._head_bytes = 0  # of interim heads too
        self._headers: list[tuple[bytes, bytes]] = []
        self._parser: httptools.HttpResponseParser
        self._is_begun = self._is_parsed = False
        self._tail = b""  # of what was read last, where what is looked for may be cut in two
        self._left = 0
        self._idle_bytes = 0
        self._reads: Callable[[bytes], None] = self._read_head
        self._expect_head()

    def feed(self, data: bytes) -> None:
        """
        Raises:
            AnswerWrong: nothing that comes later on this connection means anything.
        """
        self.is_heard = True
        try:
            self._reads(data)
        except httptools.HttpParserUpgrade:
            raise _wrong("it switches protocols unasked") from None
        except httptools.HttpParserError as error:
            raise _wrong(str(error)) from None

    def end(self) -> None:
        """The other side says no more, and said so in order: what has no length is whole then."""
        if self._reads == self._read_endless:
            self._finish()

    def take(self) -> bytes:
        """All of the body that is there."""
        taken = self.pieces.popleft() if len(self.pieces) == 1 else b"".join(self.pieces)
        self.pieces.clear()
        self.unread_bytes = 0
        return taken

    # Who reads.

    def _read_head(self, data: bytes) -> None:
        while data and self._reads == self._read_head:
            data = self._head_taken(data)
        if data:
            self._reads(data)

    def _head_taken(self, data: bytes) -> bytes:
        """Feeds the parser up to the empty line; what is behind it."""
        if not self._is_begun and data[:1] != b"H":  # the parser would skip empty lines
            raise _wrong(f"it begins with {data[:40]!r}")
        self._is_begun = True
        joined = self._tail + data
        found = joined.find(HEAD_END)
        cut = len(data) if found < 0 else found + len(HEAD_END) - len(self._tail)
        self._head_bytes += cut
        if self._head_bytes > self._head_bytes_max:
            told = f"its head has over {self._head_bytes_max} bytes"
            raise AnswerTooLarge(told, outcome="unknown")
        self._parser.feed_data(data[:cut])
        self._tail = joined[-3:] if found < 0 else b""
        if self._is_parsed != (found >= 0):
            raise _wrong("its head does not end with an empty line")
        if self._is_parsed:
            self._end_head()
        return data[cut:]

    def _end_head(self) -> None:
        status, version = self._parser.get_status_code(), self._parser.get_http_version()
        framing = framing_of(self._method, status=status, version=version, headers=self._headers)
        if status < 200:
            self._interim(status)
            return
        self.keeps = framing.keeps
        self.head = Head(status, self._headers)
        match framing.body:
            case "chunked":
                self._reads = self._read_chunked
            case "until-close":
                self._reads = self._read_endless
            case "counted" if framing.length:
                self._left, self._reads = framing.length, self._read_counted
            case _:
                self._finish()

    def _interim(self, status: int) -> None:
        """ "A client MUST be able to parse one or more" 1xx before the answer (RFC 9110, 15.2)."""
        if status == 101:
            raise _wrong("it switches protocols unasked")
        self.goes_on = self.goes_on or status == 100
        self._expect_head()

    def _expect_head(self) -> None:
        self._is_begun = self._is_parsed = False
        self._headers = []
        self._parser = httptools.HttpResponseParser(self)

    def _read_counted(self, data: bytes) -> None:
        piece = data[: self._left]
        self._left -= len(piece)
        self._hold(piece)
        if not self._left:
            self._finish()
            if len(piece) < len(data):
                self.keeps = False

    def _read_endless(self, data: bytes) -> None:
        self._hold(data)

    def _read_chunked(self, data: bytes) -> None:
        before = self.unread_bytes
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if not self.is_whole:
                raise
            self.keeps = False  # what is behind the end is no answer
        self._tail = (self._tail + data[-6:])[-6:]
        if self.is_whole and self._tail == b"\r\n\r\n\r\n":
            self.keeps = False  # the parser skips empty lines behind the end
        self._idle_bytes = 0 if self.unread_bytes > before else self._idle_bytes + len(data)
        if self._idle_bytes > self._head_bytes_max:
            told = f"over {self._head_bytes_max} bytes of chunks and trailers carry nothing"
            raise AnswerTooLarge(told, outcome="unknown")

    def _read_nothing(self, data: bytes) -> None:
        self.keeps = False

    def _hold(self, piece: bytes) -> None:
        self.pieces.append(piece)
        self.unread_bytes += len(piece)

    def _finish(self) -> None:
        self.is_whole = True
        self._reads = self._read_nothing
        del self._parser  # it knows us, and we know it

    # What the parser tells. It also tells of bodies that are none of its business.

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head is None:  # trailers "MUST NOT" be merged unasked (RFC 9110, 6.5.1)
            self._headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self._is_parsed = True

    def on_body(self, body: bytes) -> None:
        if self._reads == self._read_chunked:
            self._hold(body)

    def on_message_begin(self) -> None:
        if self.is_whole:
            self.keeps = False

    def on_message_complete(self) -> None:
        if self._reads == self._read_chunked:
            self._finish()


def _wrong(told: str) -> AnswerWrong:
    return AnswerWrong(f"the answer is not HTTP/1.1 as it should be: {told}", outcome="unknown")
