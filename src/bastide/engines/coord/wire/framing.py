"""gRPC's own framing on HTTP/2: messages behind five bytes, heads and trailers, time-outs."""

from struct import Struct
from urllib.parse import quote

from bastide.engines.coord.core.protocol.statuses import CallFailed, Code, Status

MESSAGE_BYTES_MAX = 2 << 20  # a request; etcd takes 1.5 MB and half a one for its frame
TIMEOUT_S_MAX = 1e8
PREFIX = Struct(">BI")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_STATUS_200 = b"\x88"  # a line of the static table
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")

MESSAGE_OVER = Status(Code.RESOURCE_EXHAUSTED, f"a message of over {MESSAGE_BYTES_MAX} bytes")
PACKED = Status(Code.UNIMPLEMENTED, "packed messages are not taken here")
BROKEN_OFF = Status(Code.INTERNAL, "a message is broken off")


class Messages:
    """Bytes of one stream, cut into messages. Pieces of a large one are joined once."""

    __slots__ = ("_pieces", "_wanted", "held_bytes")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._wanted = PREFIX.size  # before there is anything new to see
        self.held_bytes = 0  # of a message that is not whole

    def feed(self, data: bytes) -> list[bytes]:
        """Those that are whole now.

        Raises:
            CallFailed: MESSAGE_OVER, PACKED.
        """
        self._pieces.append(data)
        self.held_bytes += len(data)
        if self.held_bytes < self._wanted:
            return []
        held = data if len(self._pieces) == 1 else b"".join(self._pieces)
        found, at, self._wanted = [], 0, PREFIX.size
        while len(held) - at >= PREFIX.size:
            packed, length = PREFIX.unpack_from(held, at)
            if packed:
                raise CallFailed(PACKED)
            if length > MESSAGE_BYTES_MAX:
                raise CallFailed(MESSAGE_OVER)
            end = at + PREFIX.size + length
            if end > len(held):
                self._wanted = end - at
                break
            found.append(held[at + PREFIX.size : end])
            at = end
        rest = held[at:]
        self._pieces = [rest] if rest else []
        self.held_bytes = len(rest)
        return found


def framed(message: bytes) -> bytes:
    return PREFIX.pack(0, len(message)) + message


def timeout_s(text: str) -> float | None:
    """What `grpc-timeout` says; None for what is none.

    Raises:
        CallFailed
    """
    unit = _UNITS.get(text[-1:])
    if unit is None or not text[:-1].isdecimal() or len(text) > 9:
        raise CallFailed(Status(Code.INTERNAL, f"grpc-timeout: {text[:20]!r}"))
    return min(int(text[:-1]) * unit, TIMEOUT_S_MAX)


def _field(name: bytes, value: bytes) -> bytes:
    """A header that nobody is to remember (RFC 7541, section 6.2.2)."""
    return b"\0" + _string(name) + _string(value)


def _string(text: bytes) -> bytes:
    size = len(text)
    if size < 127:
        return bytes((size,)) + text
    size -= 127
    told = b"\x7f"
    while size >= 128:
        told += bytes((size % 128 + 128,))
        size //= 128
    return told + bytes((size,)) + text


HEAD = _STATUS_200 + _field(b"content-type", b"application/grpc")
TRAILERS_OK = _field(b"grpc-status", b"0")
NOT_GRPC = b"\x08\x03415"  # `:status: 415`, its name from the static table


def trailers(status: Status) -> bytes:
    told = quote(status.text, safe=_PRINTABLE)[:4_096]
    return _field(b"grpc-status", b"%d" % status.code) + _field(b"grpc-message", told.encode())
