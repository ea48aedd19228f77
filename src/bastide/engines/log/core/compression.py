"""How records are compressed in a batch, and how much may come out.

A producer compresses the records of a batch as one; the log keeps them as they came, and only who
reads a record in here unpacks it. What is unpacked is a stranger's: a few kilobytes may stand for a
terabyte. So nothing here makes more than `bytes_max`, nor takes memory for more:

    gzip, zstd   the library stops there
    snappy       the length stands in front of each block: more than is allowed is refused unread
    lz4          no block is larger than its frame says; room is made for as many as there are, but
                 for `bytes_max` at most, and what does not fit in is refused

Snappy has two forms. A bare block is what librdkafka writes; Java's library (xerial's) cuts into
blocks. Java reads nothing else, so that is what is written here:

    | 82 S N A P P Y 0 | 1 i32 | 1 i32 | length i32 | block | length i32 | block | ...

An lz4 frame's blocks may lean on those before them, or not. Java reads only the latter, so that is
what is written here. Of gzip, lz4 and zstd one member, or frame, is read, as producers write them:
a row of tiny ones would cost a copy of the rest for each.

gzip is Python's own, zstd too (from 3.14 on; before, its backport). Snappy and lz4 are cramjam's,
the extra `compression`: what only passes through the log needs neither.
"""

import gzip
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from types import ModuleType
from typing import TypeVar

from bastide.base.errors import Invalid, TooLarge, Unavailable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

T = TypeVar("T")

UNPACKED_BYTES_MAX = 64 << 20
GZIP_LEVEL = 5
ZSTD_LEVEL = 3

XERIAL_MAGIC = b"\x82SNAPPY\x00"
XERIAL = XERIAL_MAGIC + struct.pack(">ii", 1, 1)
XERIAL_BLOCK_BYTES = 32 << 10

LZ4_MAGIC = b"\x04\x22\x4d\x18"
LZ4_HEADER = LZ4_MAGIC + b"\x60\x40\x82"  # independent blocks of at most 64 KiB, no checksums
LZ4_BLOCK_BYTES = 64 << 10
LZ4_RATIO_MAX = 255
LZ4_END = bytes(4)
LZ4_PLAIN = 1 << 31  # of a block's length: it is not compressed

_SIZE = struct.Struct(">i")
_LZ4_SIZE = struct.Struct("<I")


class Compression(IntEnum):
    """As Kafka numbers them."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


class PackedBroken(Invalid):
    """The bytes are not what the compression makes."""


class PackedTooLarge(TooLarge):
    """More comes out than is allowed."""


class CodecMissing(Unavailable):
    """Nothing here reads or writes this compression."""


def packed(data: bytes, compression: int) -> bytes:
    """
    Raises:
        CodecMissing
    """
    return _codec(_PACKING, compression)(data)


def unpacked(data: bytes, compression: int, *, bytes_max: int = UNPACKED_BYTES_MAX) -> bytes:
    """
    Raises:
        PackedBroken, PackedTooLarge, CodecMissing
    """
    return _codec(_UNPACKING, compression)(data, bytes_max)


def _codec(codecs: Mapping[int, T], compression: int) -> T:
    if compression not in codecs:
        raise CodecMissing(f"compression {compression}; 0 to {max(codecs)} are known")
    return codecs[compression]


def _cramjam() -> ModuleType:
    try:
        import cramjam
    except ImportError as error:
        raise CodecMissing("snappy and lz4 need cramjam: bastide[compression]") from error
    return cramjam


def _too_large(bytes_max: int) -> PackedTooLarge:
    return PackedTooLarge(f"more than {bytes_max} bytes come out", bytes_max=bytes_max)


def _plain(data: bytes, bytes_max: int) -> bytes:
    if len(data) > bytes_max:
        raise _too_large(bytes_max)
    return data


# --- gzip and zstd ------------------------------------------------------------------------------


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, GZIP_LEVEL, mtime=0)


def _gunzip(data: bytes, bytes_max: int) -> bytes:
    reading = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        found = reading.decompress(data, bytes_max + 1)
    except zlib.error as error:
        raise PackedBroken(f"no gzip: {error}") from error
    return _whole("gzip", found, bytes_max, ended=reading.eof, rest=reading.unused_data)


def _zstd(data: bytes) -> bytes:
    return zstd.compress(data, ZSTD_LEVEL)


def _unzstd(data: bytes, bytes_max: int) -> bytes:
    reading = zstd.ZstdDecompressor()
    try:
        found = reading.decompress(data, bytes_max + 1)
    except zstd.ZstdError as error:
        raise PackedBroken(f"no zstd: {error}") from error
    return _whole("zstd", found, bytes_max, ended=reading.eof, rest=reading.unused_data)


def _whole(name: str, found: bytes, bytes_max: int, *, ended: bool, rest: bytes) -> bytes:
    if len(found) > bytes_max:
        raise _too_large(bytes_max)
    if not ended:
        raise PackedBroken(f"{name} that does not end")
    if rest:
        raise PackedBroken(f"{len(rest)} bytes behind the end of {name}")
    return found


# --- snappy -------------------------------------------------------------------------------------


def _snappy(data: bytes) -> bytes:
    compress = _cramjam().snappy.compress_raw
    pieces = [XERIAL]
    for at in range(0, len(data), XERIAL_BLOCK_BYTES):
        block = bytes(compress(data[at : at + XERIAL_BLOCK_BYTES]))
        pieces += (_SIZE.pack(len(block)), block)
    return b"".join(pieces)


def _unsnappy(data: bytes, bytes_max: int) -> bytes:
    cramjam = _cramjam()
    blocks = list(_xerial_blocks(data)) if data.startswith(XERIAL_MAGIC) else [data]
    if sum(map(_snappy_bytes, blocks)) > bytes_max:
        raise _too_large(bytes_max)
    try:
        return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)
    except cramjam.DecompressionError as error:
        raise PackedBroken(f"no snappy: {error}") from error


def _xerial_blocks(data: bytes) -> Iterator[bytes]:
    at = len(XERIAL)
    while at < len(data):
        size = _SIZE.unpack_from(data, at)[0] if at + _SIZE.size <= len(data) else -1
        start, at = at + _SIZE.size, at + _SIZE.size + size
        if size < 0 or at > len(data):
            raise PackedBroken("a block of snappy that is not whole")
        yield data[start:at]


def _snappy_bytes(block: bytes) -> int:
    """What comes out of a block, as it says itself: a varint of at most 32 bits."""
    found = 0
    for place, byte in enumerate(block[:5]):
        found |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return found
    raise PackedBroken("snappy without a length")


# --- lz4 ----------------------------------------------------------------------------------------


def _lz4(data: bytes) -> bytes:
    compress = _cramjam().lz4.compress_block
    pieces = [LZ4_HEADER]
    for at in range(0, len(data), LZ4_BLOCK_BYTES):
        plain = data[at : at + LZ4_BLOCK_BYTES]
        block = bytes(compress(plain, store_size=False))
        if len(block) < len(plain):
            pieces += (_LZ4_SIZE.pack(len(block)), block)
        else:
            pieces += (_LZ4_SIZE.pack(len(plain) | LZ4_PLAIN), plain)
    pieces.append(LZ4_END)
    return b"".join(pieces)


def _unlz4(data: bytes, bytes_max: int) -> bytes:
    cramjam = _cramjam()
    room = _lz4_bytes_most(data)
    found = bytearray(min(room, bytes_max))
    try:
        size = cramjam.lz4.decompress_into(data, memoryview(found))
    except cramjam.DecompressionError as error:
        if room > bytes_max:
            raise _too_large(bytes_max) from error
        raise PackedBroken(f"no lz4: {error}") from error
    return bytes(memoryview(found)[:size])


def _lz4_bytes_most(data: bytes) -> int:
    """What comes out of a frame, or more than that, from its header and its blocks' lengths."""
    try:
        flags, limit = data[4], data[5] >> 4
        if data[:4] != LZ4_MAGIC or flags >> 6 != 1 or not 4 <= limit <= 7:
            raise PackedBroken("no lz4 frame")
        at = 7 + (8 if flags & 0x08 else 0) + (4 if flags & 0x01 else 0)
        checksum_bytes, block_bytes_max, found = (4 if flags & 0x10 else 0), 1 << 8 + 2 * limit, 0
        while size := _LZ4_SIZE.unpack_from(data, at)[0]:
            taken = size & ~LZ4_PLAIN
            at += _LZ4_SIZE.size + taken + checksum_bytes
            found += min(taken if size & LZ4_PLAIN else taken * LZ4_RATIO_MAX, block_bytes_max)
        at += _LZ4_SIZE.size + (4 if flags & 0x04 else 0)
    except (IndexError, struct.error):
        raise PackedBroken("lz4 that does not end") from None
    if at != len(data):
        raise PackedBroken(f"an lz4 frame of {at} bytes in {len(data)}")
    return found


_PACKING: Mapping[int, Callable[[bytes], bytes]] = {
    Compression.NONE: bytes,
    Compression.GZIP: _gzip,
    Compression.SNAPPY: _snappy,
    Compression.LZ4: _lz4,
    Compression.ZSTD: _zstd,
}
_UNPACKING: Mapping[int, Callable[[bytes, int], bytes]] = {
    Compression.NONE: _plain,
    Compression.GZIP: _gunzip,
    Compression.SNAPPY: _unsnappy,
    Compression.LZ4: _unlz4,
    Compression.ZSTD: _unzstd,
}
