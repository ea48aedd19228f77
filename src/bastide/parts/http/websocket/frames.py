"""Frames of RFC 6455, with messages deflated by RFC 7692: bytes in, events out.

      0               1               2 ...           2, 4 or 10      + 4
     +-+-+-+-+-------+-+-------------+---------------+---------------+---------- - -
     |F|R|R|R| op-   |M| length, or  | length, if    | masking key   | payload,
     |I|S|S|S| code  |A| 126, or 127 | 126: 16 bits, | (from clients | masked
     |N|1|2|3|       |S|             | 127: 64 bits  | always)       |
     +-+-+-+-+-------+-+-------------+---------------+---------------+---------- - -

Idea: nearly every frame from a client is one whole small message, told by its first two bytes. So
those have a loop of their own, and all else, which is where the rules are, a slower path beside it.
The masking is C (of `websockets`): the only work that is done for each byte.

Neither side keeps a deflate context from one message to the next. So a message can be encoded once
for any number of receivers, and a socket that is idle has no zlib state.

Bytes may come in any pieces; the events are the same. What is held is at most one frame, and what
one read brought. One `feed` does a little and stops, so that neither thousands of small messages
nor a few bombs hold the loop, or fill memory before somebody has taken what is there.
"""

import codecs
import zlib
from typing import Final, TypeAlias

from msgspec import Struct

from bastide.base.routes.rows import Message, Prepared

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiled wheel for this platform
    from websockets.utils import apply_mask

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN, RSV1, RSV2, RSV3, MASKED = 0x80, 0x40, 0x20, 0x10, 0x80

CONTROL_BYTES_MAX = 125  # RFC 6455, 5.5
REASON_BYTES_MAX = CONTROL_BYTES_MAX - 2
READ_BYTES_MAX = 16 << 10  # looked at in one `feed`, and one frame more
INFLATED_BYTES_MAX = 1 << 20  # made in one `feed`, and one message more

NO_CODE, CUT = 1005, 1006  # never sent: a close without a code; a connection lost without a close
NORMAL, GOING_AWAY, PROTOCOL, PAYLOAD, TOO_BIG, FAULT = 1000, 1001, 1002, 1007, 1009, 1011
# RFC 6455, 7.4.1, and those that IANA has registered since; 3000 to 4999 are for users.
_CODES = frozenset((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014))

# A window of 4 KiB: half the time for a small message, a few per cent more bytes; and any client
# that wants a window of 12 bits or more can have the same frame as the others.
WINDOW_BITS = 12
_DEFLATE_MEMORY, _DEFLATE_LEVEL = 5, 1
DEFLATE_BYTES_MIN = 1024  # below, it costs more time than it saves
DEFLATE_BYTES_MAX = 64 << 10  # above, it holds the loop for over a millisecond
_TRAILER = b"\x00\x00\xff\xff"  # RFC 7692, 7.2.1: the end of a flush, which is not sent


class Ping(Struct, frozen=True):
    payload: bytes


class Pong(Struct, frozen=True):
    payload: bytes


class Close(Struct, frozen=True):
    """The other side closes: `code` is NO_CODE if it gave none."""

    code: int
    reason: str


class Broken(Struct, frozen=True):
    """The other side broke a rule, or went over a limit: close with `code`. Always the last."""

    code: int
    reason: str


Event: TypeAlias = Message | Ping | Pong | Close | Broken


def may_be_sent(code: int) -> bool:
    """Whether a close frame may carry `code` (RFC 6455, 7.4)."""
    return code in _CODES or 3000 <= code <= 4999


_TEXT_HEADS: Final = [bytes((FIN | TEXT, size)) for size in range(126)]
_BINARY_HEADS: Final = [bytes((FIN | BINARY, size)) for size in range(126)]


def message_frame(message: Message) -> bytes:
    """The frame that a server sends for `message`."""
    if isinstance(message, str):
        payload, heads, first = message.encode(), _TEXT_HEADS, FIN | TEXT
    else:
        payload, heads, first = message, _BINARY_HEADS, FIN | BINARY
    if len(payload) < 126:
        return heads[len(payload)] + payload
    return _head(first, len(payload)) + payload


def deflated_frame(message: Message) -> bytes:
    """The same, for who understands RFC 7692: deflated if that makes it smaller."""
    payload = message.encode() if isinstance(message, str) else message
    if DEFLATE_BYTES_MIN <= len(payload) <= DEFLATE_BYTES_MAX:
        packed = _deflated(payload)
        if len(packed) < len(payload):
            opcode = TEXT if isinstance(message, str) else BINARY
            return _head(FIN | RSV1 | opcode, len(packed)) + packed
    return message_frame(message)


def control_frame(opcode: int, payload: bytes = b"") -> bytes:
    assert len(payload) <= CONTROL_BYTES_MAX
    return bytes((FIN | opcode, len(payload))) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    if code == NO_CODE:
        return control_frame(CLOSE)
    return control_frame(CLOSE, code.to_bytes(2, "big") + reason.encode())


def _head(first: int, size: int) -> bytes:
    if size < 126:
        return bytes((first, size))
    if size < 1 << 16:
        return bytes((first, 126)) + size.to_bytes(2, "big")
    return bytes((first, 127)) + size.to_bytes(8, "big")


def _deflated(payload: bytes) -> bytes:
    packer = zlib.compressobj(_DEFLATE_LEVEL, zlib.DEFLATED, -WINDOW_BITS, _DEFLATE_MEMORY)
    return (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[: -len(_TRAILER)]


def plain_frame_of(prepared: Prepared) -> bytes:
    """`message_frame`, made once."""
    if prepared.plain is None:
        prepared.plain = message_frame(prepared.message)
    return prepared.plain


def deflated_frame_of(prepared: Prepared) -> bytes:
    """`deflated_frame`, made once."""
    if prepared.deflated is None:
        prepared.deflated = deflated_frame(prepared.message)
    return prepared.deflated


class _Broken(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.told = Broken(code, reason)


class Reader:
    """What a server reads from one client. After a Close or a Broken nothing more comes."""

    __slots__ = (
        *("_at", "_frame_bytes", "_held", "_inflated", "_inflates", "_message", "_message_bytes"),
        *("_over", "_rest", "_small", "_wanted", "stopped"),
    )

    def __init__(self, *, frame_bytes: int, message_bytes: int, inflates: bool) -> None:
        self._frame_bytes = frame_bytes
        self._message_bytes = message_bytes
        self._inflates = inflates
        self._small = MASKED | min(CONTROL_BYTES_MAX, frame_bytes, message_bytes)
        self._held: bytearray | None = None  # the beginning of a frame
        self._wanted = 0  # bytes of it before anything can be said
        self._rest = b""  # from `_at` on: what is not looked at yet
        self._at = 0
        self._inflated = 0  # bytes, in this `feed`
        self._message: _Message | None = None  # of which some frames came
        self._over = False
        self.stopped = False  # whether `feed(b"")` goes on with what is here

    def feed(self, data: bytes) -> list[Event]:
        """The events that end within `data`, in order, or the first of them: see `stopped`."""
        at = 0
        if self._over:
            return []
        if self.stopped:
            data, at = (self._rest[self._at :] + data, 0) if data else (self._rest, self._at)
            self._rest, self.stopped = b"", False
        elif self._held is not None:
            self._held += data
            if len(self._held) < self._wanted:
                return []
            data, self._held = bytes(self._held), None
        events: list[Event] = []
        try:
            self._read(data, at, events)
        except _Broken as broken:
            events.append(broken.told)
            self._end()
        except UnicodeDecodeError:
            events.append(Broken(PAYLOAD, "text that is not UTF-8"))
            self._end()
        return events

    def _end(self) -> None:
        self._over = True
        self._message = None

    def _read(self, data: bytes, at: int, events: list[Event]) -> None:
        small, size = self._small, len(data)
        pause_at = min(size - 1, at + READ_BYTES_MAX)
        self._wanted = 2
        self._inflated = 0
        while at < pause_at:
            first, second = data[at], data[at + 1]
            if (first == 0x81 or first == 0x82) and 128 <= second <= small and not self._message:
                payload_at = at + 6
                end = payload_at + second - 128
                if end > size:
                    self._wanted = end - at
                    break
                payload = apply_mask(data[payload_at:end], data[at + 2 : payload_at])
                events.append(payload.decode() if first == 0x81 else payload)
                at = end
            else:
                end = self._read_frame(data, at, events)
                if end == at:  # it is not whole
                    break
                at = end
                if self._over:
                    return
                if self._inflated > INFLATED_BYTES_MAX:
                    pause_at = at
        if at < pause_at or at == size - 1:
            self._held = bytearray(memoryview(data)[at:])
        elif at < size:
            self._rest, self._at, self.stopped = data, at, True

    def _read_frame(self, data: bytes, at: int, events: list[Event]) -> int:
        """Where the frame at `at` ends; `at` itself if `data` ends before it does."""
        first, second = data[at], data[at + 1]
        if self._message is not None or first not in _WHOLE or second < MASKED:
            self._check(first, second)
        key_at = at + _LENGTH_ENDS[second & 0x7F]
        if key_at > len(data):
            self._wanted = key_at - at
            return at
        length = _length(second & 0x7F, data[at + 2 : key_at])
        self._admit(first, length)
        end = key_at + 4 + length
        if end > len(data):
            self._wanted = end - at
            return at
        masked = memoryview(data)[key_at + 4 : end] if length > 4096 else data[key_at + 4 : end]
        payload = apply_mask(masked, data[key_at : key_at + 4])
        if first & 0x08:
            events.append(_control(first & 0x0F, payload))
            if first & 0x0F == CLOSE:
                self._end()
        else:
            self._take(first, payload, events)
        return end

    def _check(self, first: int, second: int) -> None:
        """What the first two bytes tell."""
        opcode = first & 0x0F
        if not second & MASKED:
            raise _Broken(PROTOCOL, "a frame that is not masked")
        if opcode not in _OPCODES:
            raise _Broken(PROTOCOL, f"opcode {opcode} is reserved")
        if first & (RSV2 | RSV3):
            raise _Broken(PROTOCOL, "a reserved bit is set")
        if first & RSV1 and not (self._inflates and opcode in (TEXT, BINARY)):
            raise _Broken(PROTOCOL, "RSV1 is set where nothing is deflated")
        if opcode & 0x08:
            if not first & FIN:
                raise _Broken(PROTOCOL, "a control frame in pieces")
            if second & 0x7F > CONTROL_BYTES_MAX:
                raise _Broken(PROTOCOL, f"a control frame over {CONTROL_BYTES_MAX} bytes")
        elif opcode == CONTINUATION and self._message is None:
            raise _Broken(PROTOCOL, "a message is continued that was not begun")
        elif opcode != CONTINUATION and self._message is not None:
            raise _Broken(PROTOCOL, "a message begins within another")

    def _admit(self, first: int, length: int) -> None:
        """Before the payload is waited for. Control frames have a limit of their own."""
        if first & 0x08:
            return
        if length > self._frame_bytes:
            told = f"a frame of {length} bytes; at most {self._frame_bytes} are taken"
            raise _Broken(TOO_BIG, told)
        if not first & RSV1:
            before = self._message.size if self._message is not None else 0
            deflated = self._message is not None and self._message.deflated
            if not deflated and before + length > self._message_bytes:
                raise _too_big(self._message_bytes)

    def _take(self, first: int, payload: bytes, events: list[Event]) -> None:
        """A frame of a message: most often all of it."""
        whole = first & FIN and self._message is None
        if whole and not first & RSV1:
            events.append(payload.decode() if first & 0x0F == TEXT else payload)
            return
        message = self._message or _Message(first, self._message_bytes)
        self._inflated += message.add(payload, final=bool(first & FIN))
        if first & FIN:
            self._message = None
            events.append(message.whole())
        else:
            self._message = message


_WHOLE = frozenset((FIN | TEXT, FIN | BINARY))
_OPCODES = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))
_LENGTH_ENDS = [2] * 126 + [4, 10]  # by the seven bits of the length


def _length(short: int, long: bytes) -> int:
    if short < 126:
        return short
    length = int.from_bytes(long, "big")
    if length >> 63:
        raise _Broken(PROTOCOL, "the highest bit of a 64-bit length is set")
    if length < (126 if short == 126 else 1 << 16):
        raise _Broken(PROTOCOL, f"length {length} in more bytes than it needs")
    return length


def _control(opcode: int, payload: bytes) -> Event:
    if opcode == PING:
        return Ping(payload)
    if opcode == PONG:
        return Pong(payload)
    if not payload:
        return Close(NO_CODE, "")
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1:
        raise _Broken(PROTOCOL, "a close code of one byte")
    if not may_be_sent(code):
        raise _Broken(PROTOCOL, f"close code {code} is reserved")
    return Close(code, payload[2:].decode())


def _too_big(most: int) -> _Broken:
    return _Broken(TOO_BIG, f"a message over {most} bytes")


class _Message:
    """A message in pieces, or a deflated one. Text is checked as it comes: RFC 6455, 8.1, lets
    nobody wait for its end.
    """

    __slots__ = ("_bytes", "_most", "_text", "_unpacker", "_utf8")

    def __init__(self, first: int, most: int) -> None:
        self._bytes = bytearray()
        self._most = most
        self._text = first & 0x0F == TEXT
        self._utf8 = codecs.getincrementaldecoder("utf-8")() if self._text else None
        self._unpacker = zlib.decompressobj(-zlib.MAX_WBITS) if first & RSV1 else None

    @property
    def size(self) -> int:
        return len(self._bytes)

    @property
    def deflated(self) -> bool:
        return self._unpacker is not None

    def add(self, payload: bytes, *, final: bool) -> int:
        """How many bytes came out of inflating."""
        if self._unpacker is not None:
            payload = self._unpacked(self._unpacker, payload, final=final)
        if self._utf8 is not None:
            self._utf8.decode(payload, final)
        self._bytes += payload
        return len(payload) if self._unpacker is not None else 0

    def whole(self) -> str | bytes:
        return self._bytes.decode() if self._text else bytes(self._bytes)

    def _unpacked(self, unpacker: "zlib._Decompress", payload: bytes, *, final: bool) -> bytes:
        """Never makes more than a byte over what is taken, however much is packed."""
        left = self._most - len(self._bytes)
        try:
            out = unpacker.decompress(payload, left + 1)
            if final and len(out) <= left and not unpacker.eof:
                out += unpacker.decompress(_TRAILER, left + 1 - len(out))
        except zlib.error as error:
            raise _Broken(PAYLOAD, "what does not inflate") from error
        if len(out) > left:
            raise _too_big(self._most)
        if unpacker.unused_data not in (b"", b"\x00"):  # RFC 7692, 7.2.3.4: after a last block
            raise _Broken(PAYLOAD, "bytes behind the end of what is deflated")
        return out
