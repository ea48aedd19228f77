"""HTTP/2 (RFC 9113), a server's half of one connection, without a socket.

    bytes ──feed()──► frames ──► what has come: a call begun, its data, its end, its reset
    reply(), send() ──► what may leave now ──take()──► bytes
                    └──► what the client has no window for waits at its stream

A general library makes an object of every frame and costs 250 us for each call; here a call whose
request and reply are short costs a dozen slices. We send no header that would need a table: the few
that gRPC has are constants. The other side's tables are `hpack`'s affair; a block that only points
into the table, as nearly all do, is remembered until the table changes.

What a client may do to us is bounded: the size of a frame and of a head, streams at once, bytes
that a stream may have on the way, streams that are begun and given up again and again. What it has
sent and the server hasn't taken is bounded by the windows: a stream's grows only as it is taken.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from enum import IntEnum
from struct import Struct
from typing import Any

import msgspec

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES_MAX = 16_384
HEAD_BYTES_MAX = 16_384  # as it comes, and as it is listed
PIECE_BYTES = 64  # that each piece of a head counts for besides: empty ones end, too
STREAMS_MAX = 1_024
STREAM_WINDOW_BYTES = (2 << 20) + 65_536
WINDOW_BYTES = 16 << 20
WINDOW_TOP = (1 << 31) - 1
RESETS_MAX = 200  # more than calls that were answered
BLOCKS_REMEMBERED = 64
CHUNK_BYTES_MAX = 65_536

_HEAD = Struct(">BHBBI")
_PAIR = Struct(">HI")
_WORD = Struct(">I")
_WORDS = Struct(">II")
_MASK = 0x7FFF_FFFF


class Kind(IntEnum):
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Fault(IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Setting(IntEnum):
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


END_STREAM = ACK = 1
END_HEADERS = 4
PADDED = 8
PRIORITIZED = 32


class H2Broken(Exception):
    """The client does not speak HTTP/2, or too much of it: the connection ends."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class Begun(msgspec.Struct, frozen=True):
    stream: int
    headers: Mapping[str, str]


class Came(msgspec.Struct, frozen=True):
    """`taken` is owed for `size`, which may be more than the data: padding counts too."""

    stream: int
    data: bytes
    size: int


class Ended(msgspec.Struct, frozen=True):
    """The client sends no more on it."""

    stream: int


class Reset(msgspec.Struct, frozen=True):
    """The client has given it up."""

    stream: int


Happened = Begun | Came | Ended | Reset


def frame(kind: int, flags: int, stream: int, body: bytes | memoryview = b"") -> bytes:
    size = len(body)
    return _HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + body


class _Stream:
    __slots__ = ("finishing", "open", "owed", "room", "unsent", "unsent_bytes", "window")

    def __init__(self, window: int) -> None:
        self.window = window  # of the client: what we may send
        self.room = STREAM_WINDOW_BYTES  # of ours: what the client may send
        self.owed = 0  # of ours: taken, and not yet told
        self.open = True  # the client may still send
        self.unsent: deque[memoryview] = deque()  # so that cutting one copies nothing
        self.unsent_bytes = 0
        self.finishing: bytes | None = None  # trailers, behind what is unsent


class Server:
    """One connection."""

    def __init__(self) -> None:
        self.streams: dict[int, _Stream] = {}
        self.window = 65_535  # of the client, for all streams
        self._blocked: dict[int, _Stream] = {}  # those with something unsent
        self.unsent_bytes = 0
        self._initial_window = 65_535
        self._chunk_bytes = FRAME_BYTES_MAX
        self._room = WINDOW_BYTES
        self._owed = 0
        self._rest = b""
        self._greeted = False
        self._settled = False  # the first frame was its settings
        self._last = 0
        self._resets = 0
        self._stopping = False
        self._head: tuple[int, int, list[bytes]] | None = None  # one that goes on: stream, flags
        self._head_bytes = 0
        self._blocks: dict[bytes, Mapping[str, str]] = {}
        self._decoder: Any = None
        self._acks: list[bytes] = []
        self._happened: list[Happened] = []
        settings = {
            Setting.MAX_CONCURRENT_STREAMS: STREAMS_MAX,
            Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
            Setting.MAX_HEADER_LIST_SIZE: HEAD_BYTES_MAX,
        }
        told = b"".join(_PAIR.pack(*pair) for pair in settings.items())
        self._out = [
            frame(Kind.SETTINGS, 0, 0, told),
            frame(Kind.WINDOW_UPDATE, 0, 0, _WORD.pack(WINDOW_BYTES - 65_535)),
        ]

    # What comes

    def feed(self, data: bytes) -> Sequence[Happened]:
        """
        Raises:
            H2Broken: `close` tells the client; nothing more is to be fed.
        """
        if self._rest:
            data = self._rest + data
        at, size = 0, len(data)
        if not self._greeted:
            if not self._takes_preface(data):
                self._rest = data
                return []
            at = len(PREFACE)
        while size - at >= 9:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            length = high << 16 | low
            if length > FRAME_BYTES_MAX:
                raise H2Broken(Fault.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            end = at + 9 + length
            if end > size:
                break
            self._take_frame(kind, flags, stream & _MASK, data[at + 9 : end])
            at = end
        self._rest = data[at:]
        happened, self._happened = self._happened, []
        return happened

    def _takes_preface(self, data: bytes) -> bool:
        """Whether it is whole."""
        if not data.startswith(PREFACE[: len(data)]):
            raise H2Broken(Fault.PROTOCOL_ERROR, "no preface")
        self._greeted = len(data) >= len(PREFACE)
        return self._greeted

    def _take_frame(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if not self._settled:
            self._settled = True
            if kind != Kind.SETTINGS or flags & ACK:
                raise H2Broken(Fault.PROTOCOL_ERROR, "no settings behind the preface")
        if self._head is not None and (kind != Kind.CONTINUATION or stream != self._head[0]):
            raise H2Broken(Fault.PROTOCOL_ERROR, "a head is broken off")
        take = _FRAMES.get(kind)
        if take is not None:  # others are ignored (section 4.1)
            take(self, flags, stream, body)

    def _take_data(self, flags: int, stream: int, body: bytes) -> None:
        size = len(body)
        self._room -= size
        if self._room < 0:
            raise H2Broken(Fault.FLOW_CONTROL_ERROR, "more than the connection's window")
        self._owed += size
        if self._owed > WINDOW_BYTES // 2:
            self._out.append(frame(Kind.WINDOW_UPDATE, 0, 0, _WORD.pack(self._owed)))
            self._room += self._owed
            self._owed = 0
        found = self.streams.get(stream)
        if found is None:
            if stream == 0 or stream > self._last:
                raise H2Broken(Fault.PROTOCOL_ERROR, "data of a stream that never began")
            return  # it is over here, and the client didn't know
        if not found.open:
            raise H2Broken(Fault.STREAM_CLOSED, "data behind a stream's end")
        found.room -= size
        if found.room < 0:
            raise H2Broken(Fault.FLOW_CONTROL_ERROR, "more than a stream's window")
        if flags & PADDED:
            body = _unpadded(body)
        self._happened.append(Came(stream, body, size))
        if flags & END_STREAM:
            self._end(found, stream)

    def _take_headers(self, flags: int, stream: int, body: bytes) -> None:
        if flags & PADDED:
            body = _unpadded(body)
        if flags & PRIORITIZED:
            if len(body) < 5:
                raise H2Broken(Fault.FRAME_SIZE_ERROR, "no room for a priority")
            body = body[5:]
        if flags & END_HEADERS:
            self._take_head(flags, stream, body)
        else:
            self._head = stream, flags, [body]
            self._head_bytes = len(body)

    def _take_continuation(self, flags: int, stream: int, body: bytes) -> None:
        if self._head is None:
            raise H2Broken(Fault.PROTOCOL_ERROR, "nothing to go on with")
        _, first_flags, pieces = self._head
        pieces.append(body)
        self._head_bytes += len(body) + PIECE_BYTES
        if self._head_bytes > HEAD_BYTES_MAX:
            raise H2Broken(Fault.ENHANCE_YOUR_CALM, f"a head of over {HEAD_BYTES_MAX} bytes")
        if flags & END_HEADERS:
            self._head = None
            self._take_head(first_flags, stream, b"".join(pieces))

    def _take_head(self, flags: int, stream: int, block: bytes) -> None:
        headers = self._blocks.get(block) or self._decoded(block)
        found = self.streams.get(stream)
        if found is not None:  # trailers
            if not (flags & END_STREAM and found.open):
                raise H2Broken(Fault.PROTOCOL_ERROR, "a second head")
            self._end(found, stream)
            return
        if stream % 2 == 0 or stream <= self._last:
            raise H2Broken(Fault.PROTOCOL_ERROR, f"stream {stream} behind {self._last}")
        self._last = stream
        if self._stopping or len(self.streams) >= STREAMS_MAX:
            self._out.append(_reset(stream, Fault.REFUSED_STREAM))
            return
        made = self.streams[stream] = _Stream(self._initial_window)
        self._happened.append(Begun(stream, headers))
        if flags & END_STREAM:
            self._end(made, stream)

    def _decoded(self, block: bytes) -> Mapping[str, str]:
        from hpack import Decoder, HPACKError

        if self._decoder is None:
            self._decoder = Decoder(max_header_list_size=HEAD_BYTES_MAX)
        try:
            pairs = self._decoder.decode(block)
        except (HPACKError, UnicodeDecodeError) as error:
            raise H2Broken(Fault.COMPRESSION_ERROR, f"a head: {error}") from error
        headers: dict[str, str] = {}
        for name, value in pairs:
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        if block and min(block) >= 0x80 and 0xFF not in block:  # it points into the table, no more
            if len(self._blocks) < BLOCKS_REMEMBERED:
                self._blocks[block] = headers
        else:
            self._blocks.clear()
        return headers

    def _end(self, found: _Stream, stream: int) -> None:
        found.open = False
        self._happened.append(Ended(stream))

    def _take_reset(self, flags: int, stream: int, body: bytes) -> None:
        if len(body) != 4:
            raise H2Broken(Fault.FRAME_SIZE_ERROR, "a reset of another size")
        if stream == 0 or stream > self._last:
            raise H2Broken(Fault.PROTOCOL_ERROR, "a reset of a stream that never began")
        if stream not in self.streams:
            return
        self._resets += 1
        if self._resets > RESETS_MAX:
            raise H2Broken(Fault.ENHANCE_YOUR_CALM, "calls are begun and given up")
        self._drop(stream)
        self._happened.append(Reset(stream))

    def _take_settings(self, flags: int, stream: int, body: bytes) -> None:
        if stream or len(body) % 6 or (flags & ACK and body):
            raise H2Broken(Fault.FRAME_SIZE_ERROR, "settings of another size")
        if flags & ACK:
            return
        for at in range(0, len(body), 6):
            self._set(*_PAIR.unpack_from(body, at))
        self._out.append(frame(Kind.SETTINGS, ACK, 0))

    def _set(self, name: int, value: int) -> None:
        if name == Setting.MAX_FRAME_SIZE:
            if not FRAME_BYTES_MAX <= value < 1 << 24:
                raise H2Broken(Fault.PROTOCOL_ERROR, f"frames of {value} bytes")
            self._chunk_bytes = min(value, CHUNK_BYTES_MAX)
        elif name == Setting.INITIAL_WINDOW_SIZE:
            if value > WINDOW_TOP:
                raise H2Broken(Fault.FLOW_CONTROL_ERROR, f"a window of {value}")
            more = value - self._initial_window
            self._initial_window = value
            for stream, found in list(self.streams.items()):
                found.window += more
                if found.window > WINDOW_TOP:
                    raise H2Broken(Fault.FLOW_CONTROL_ERROR, "a window too large")
                self._send_on(stream, found)

    def _take_ping(self, flags: int, stream: int, body: bytes) -> None:
        if stream or len(body) != 8:
            raise H2Broken(Fault.FRAME_SIZE_ERROR, "a ping of another size")
        if not flags & ACK:
            self._acks.append(frame(Kind.PING, ACK, 0, body))

    def _take_window(self, flags: int, stream: int, body: bytes) -> None:
        if len(body) != 4:
            raise H2Broken(Fault.FRAME_SIZE_ERROR, "a window update of another size")
        more = _WORD.unpack(body)[0] & _MASK
        if stream == 0:
            self.window += more
            if not more or self.window > WINDOW_TOP:
                raise H2Broken(Fault.FLOW_CONTROL_ERROR, f"a window of {self.window}")
            for number, found in list(self._blocked.items()):
                self._send_on(number, found)
            return
        found_one = self.streams.get(stream)
        if found_one is None:
            if stream > self._last:
                raise H2Broken(Fault.PROTOCOL_ERROR, "a window of a stream that never began")
            return
        found_one.window += more
        if not more or found_one.window > WINDOW_TOP:
            self.reset(stream, Fault.FLOW_CONTROL_ERROR)
            self._happened.append(Reset(stream))
            return
        self._send_on(stream, found_one)

    def _take_push(self, flags: int, stream: int, body: bytes) -> None:
        raise H2Broken(Fault.PROTOCOL_ERROR, "a client pushes nothing")

    # What goes

    def head(self, stream: int, block: bytes) -> None:
        """The beginning of a reply."""
        if stream in self.streams:
            self._out.append(frame(Kind.HEADERS, END_HEADERS, stream, block))

    def send(self, stream: int, data: bytes) -> None:
        """A piece of it; one that the client has no window for waits."""
        found = self.streams.get(stream)
        if found is None:
            return
        size = len(data)
        if found.unsent or size > min(found.window, self.window, self._chunk_bytes):
            found.unsent.append(memoryview(data))
            found.unsent_bytes += size
            self.unsent_bytes += size
            self._blocked[stream] = found
            self._send_on(stream, found)
            return
        found.window -= size
        self.window -= size
        self._out.append(frame(Kind.DATA, 0, stream, data))

    def end(self, stream: int, block: bytes) -> None:
        """Trailers, behind all that was sent."""
        found = self.streams.get(stream)
        if found is None:
            return
        if found.unsent:
            found.finishing = block
        else:
            self._finish(stream, found, block)

    def _finish(self, stream: int, found: _Stream, block: bytes) -> None:
        self._out.append(frame(Kind.HEADERS, END_HEADERS | END_STREAM, stream, block))
        if found.open:  # it need send no more
            self._out.append(_reset(stream, Fault.NO_ERROR))
        self._drop(stream)
        if self._resets:
            self._resets -= 1

    def _send_on(self, stream: int, found: _Stream) -> None:
        unsent = found.unsent
        while unsent:
            most = min(found.window, self.window, self._chunk_bytes)
            if most <= 0:
                return
            piece = unsent[0]
            if len(piece) > most:
                unsent[0] = piece[most:]
                piece = piece[:most]
            else:
                unsent.popleft()
            size = len(piece)
            found.window -= size
            self.window -= size
            found.unsent_bytes -= size
            self.unsent_bytes -= size
            self._out.append(frame(Kind.DATA, 0, stream, piece))
        self._blocked.pop(stream, None)
        if found.finishing is not None:
            self._finish(stream, found, found.finishing)

    def taken(self, stream: int, size: int) -> None:
        """The stream's client may send as much again."""
        found = self.streams.get(stream)
        if found is None or not found.open:
            return
        found.owed += size
        if found.owed > STREAM_WINDOW_BYTES // 2:
            self._out.append(frame(Kind.WINDOW_UPDATE, 0, stream, _WORD.pack(found.owed)))
            found.room += found.owed
            found.owed = 0

    def reset(self, stream: int, fault: Fault) -> None:
        if stream in self.streams:
            self._out.append(_reset(stream, fault))
            self._drop(stream)

    def _drop(self, stream: int) -> None:
        self.unsent_bytes -= self.streams.pop(stream).unsent_bytes
        self._blocked.pop(stream, None)

    def unsent_of(self, stream: int) -> int:
        found = self.streams.get(stream)
        return found.unsent_bytes if found else 0

    def ping(self) -> None:
        self._out.append(frame(Kind.PING, 0, 0, b"are you?"))

    def stop(self) -> None:
        """What is under way goes on; nothing new is begun."""
        if not self._stopping:
            self._stopping = True
            self._out.append(frame(Kind.GOAWAY, 0, 0, _WORDS.pack(self._last, Fault.NO_ERROR)))

    def close(self, broken: H2Broken) -> None:
        words = _WORDS.pack(self._last, broken.fault) + str(broken).encode()[:200]
        self._out.append(frame(Kind.GOAWAY, 0, 0, words))

    def take(self) -> bytes:
        """What is to be written."""
        out = self._acks + self._out
        self._acks, self._out = [], []
        return b"".join(out)

    @property
    def has_out(self) -> bool:
        """Whether there is something that somebody waits for."""
        return bool(self._out)

    @property
    def has_acks(self) -> bool:
        """Whether there are answers to pings, which may wait for company: Go's clients send a ping
        behind nearly every answer, to measure their window.
        """
        return bool(self._acks)


_FRAMES: Mapping[int, Any] = {
    Kind.DATA: Server._take_data,
    Kind.HEADERS: Server._take_headers,
    Kind.RST_STREAM: Server._take_reset,
    Kind.SETTINGS: Server._take_settings,
    Kind.PUSH_PROMISE: Server._take_push,
    Kind.PING: Server._take_ping,
    Kind.WINDOW_UPDATE: Server._take_window,
    Kind.CONTINUATION: Server._take_continuation,
}


def _reset(stream: int, fault: Fault) -> bytes:
    return frame(Kind.RST_STREAM, 0, stream, _WORD.pack(fault))


def _unpadded(body: bytes) -> bytes:
    if not body or body[0] >= len(body):
        raise H2Broken(Fault.PROTOCOL_ERROR, "more padding than frame")
    return body[1 : len(body) - body[0]]
