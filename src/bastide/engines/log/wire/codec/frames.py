"""A stream of bytes, cut into frames: each has its length in front, 4 bytes, itself not counted.

Each byte of a frame that comes in large pieces is copied once, when the frame is whole. Small
pieces are gathered first: as objects of their own a frame in pieces of a byte would take 40 times
its size.
"""

import struct

from bastide.engines.log.wire.codec.errors import FrameBroken

PIECE_BYTES_MIN = 16 << 10  # of a piece that is kept as it came

_length = struct.Struct(">i").unpack_from


class Frames:
    """Of one connection. After FrameBroken it is of no use."""

    def __init__(self, *, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._length = b""  # the first bytes of a length, less than 4
        self._pieces: list[bytes | bytearray] = []
        self._missing_bytes = 0  # of the frame that has begun

    @property
    def pending_bytes(self) -> int:
        """What is held of a frame that has begun."""
        return len(self._length) + sum(map(len, self._pieces))

    def feed(self, piece: bytes) -> list[bytes]:
        """The frames that are whole now, in order.

        Raises:
            FrameBroken: also if whole frames came before it in the same piece; they are lost.
        """
        frames: list[bytes] = []
        at = 0
        if self._missing_bytes:
            at = min(len(piece), self._missing_bytes)
            self._hold(piece[:at])
            if self._missing_bytes:
                return frames
            frames.append(b"".join(self._pieces))
            self._pieces.clear()
        elif self._length:
            piece = self._length + piece
            self._length = b""
        self._cut(piece, at, frames)
        return frames

    def _cut(self, piece: bytes, at: int, frames: list[bytes]) -> None:
        """The frames in `piece`, of which one begins at `at`; the rest is held."""
        while len(piece) - at >= 4:
            (size,) = _length(piece, at)
            if not 0 <= size <= self._frame_bytes_max:
                raise FrameBroken(size, self._frame_bytes_max)
            at += 4
            if at + size > len(piece):
                self._missing_bytes = size
                self._hold(piece[at:])
                return
            frames.append(piece[at : at + size])
            at += size
        self._length = piece[at:]

    def _hold(self, piece: bytes) -> None:
        self._missing_bytes -= len(piece)
        last = self._pieces[-1] if self._pieces else b""
        if len(piece) >= PIECE_BYTES_MIN:
            self._pieces.append(piece)
        elif isinstance(last, bytearray) and len(last) < PIECE_BYTES_MIN:
            last += piece
        elif piece:
            self._pieces.append(bytearray(piece))
