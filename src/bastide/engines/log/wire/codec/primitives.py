"""The protocol's smallest parts: what a value of each type looks like in bytes.

                    classic                       compact, in flexible versions
    string          int16 length, UTF-8           uvarint of length + 1, UTF-8
    bytes, records  int32 length, the bytes       uvarint of length + 1, the bytes
    array           int32 count, the elements     uvarint of count + 1, the elements
    null            length or count is -1         the uvarint is 0

A flexible version ends each struct with tagged fields: how many, and of each its tag, its size and
so many bytes. Who does not know a tag skips it.

A uvarint has 7 bits a byte, the lowest first; the highest bit says that another byte follows. A
varint is a uvarint of a number folded (zigzag), so that small negative ones are short too: 0, -1,
1, -2 become 0, 1, 2, 3.

What a decoder that is generated does thousands of times a request it does in place; `reading` and
`writing` have that. Here is what needs a call.
"""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from bastide.engines.log.wire.codec.errors import Malformed

Bytes: TypeAlias = bytes | bytearray | memoryview

STRING_BYTES_MAX = 32_767  # what an int16 can say; held for compact strings too
UVARINT_BYTES_MAX = 5
UVARLONG_BYTES_MAX = 10


class Fixed(NamedTuple):
    """A type whose values have all the same size: `code` is what `struct` calls it."""

    code: str
    size_bytes: int


FIXED = {
    "bool": Fixed("?", 1),
    "int8": Fixed("b", 1),
    "int16": Fixed("h", 2),
    "int32": Fixed("i", 4),
    "int64": Fixed("q", 8),
    "uint16": Fixed("H", 2),
    "uint32": Fixed("I", 4),
    "float64": Fixed("d", 8),
    "uuid": Fixed("16s", 16),
}
# A type of variable size: how many bytes its length has in a classic version.
VARIABLE = {"string": 2, "bytes": 4, "records": 4}

UVARINT_SHORT = tuple(bytes([n]) for n in range(128))  # that of each number below 128


def uvarint(number: int) -> bytes:
    if number < 128:
        return UVARINT_SHORT[number]
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def varint(number: int) -> bytes:
    return uvarint((number << 1 ^ number >> 31) & 0xFFFF_FFFF)


def varlong(number: int) -> bytes:
    return uvarint((number << 1 ^ number >> 63) & 0xFFFF_FFFF_FFFF_FFFF)


def read_uvarint(given: Bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and where it ends.

    Raises:
        Malformed: it is cut off, or longer than 32 bits need.
    """
    return _read_groups(given, at, UVARINT_BYTES_MAX)


def read_varint(given: Bytes, at: int) -> tuple[int, int]:
    folded, at = _read_groups(given, at, UVARINT_BYTES_MAX)
    return folded >> 1 ^ -(folded & 1), at


def read_varlong(given: Bytes, at: int) -> tuple[int, int]:
    folded, at = _read_groups(given, at, UVARLONG_BYTES_MAX)
    return folded >> 1 ^ -(folded & 1), at


def _read_groups(given: Bytes, at: int, bytes_max: int) -> tuple[int, int]:
    """Bits above those of the type are refused: two spellings of a number would be two numbers."""
    number = 0
    groups = given[at : at + bytes_max]
    for index, group in enumerate(groups):
        number |= (group & 127) << 7 * index
        if group < 128:
            if number >> (32 if bytes_max == UVARINT_BYTES_MAX else 64):
                raise Malformed(f"a number at byte {at} has too many bits")
            return number, at + index + 1
    if len(groups) < bytes_max:
        raise Malformed(f"a number at byte {at} is cut off")
    raise Malformed(f"a number at byte {at} has more than {bytes_max} bytes")


def read_array(given: Bytes, at: int, count: int, code: str) -> list[Any]:
    """`count` values of fixed size; the caller has seen that they are there."""
    return list(struct.unpack_from(_repeated(code, count), given, at))


def array(values: Sequence[Any], code: str) -> bytes:
    return struct.pack(_repeated(code, len(values)), *values)


def _repeated(code: str, count: int) -> str:
    """What `struct` calls so many. A code of a number's own, as 16s, takes no other in front."""
    return f">{count}{code}" if len(code) == 1 else ">" + code * count


def skip_tags(given: Bytes, at: int, count: int) -> int:
    """Where a struct ends whose `count` tagged fields begin at `at`."""
    for _ in range(count):
        _, at = read_uvarint(given, at)
        size, at = read_uvarint(given, at)
        at += size
        if at > len(given):
            raise Malformed(f"a tagged field of {size} bytes goes beyond the end")
    return at


def tags(fields: list[tuple[int, list[Bytes]]]) -> bytes:
    """The end of a struct with these tagged fields, by tag: the pieces of each."""
    out = [uvarint(len(fields))]
    for tag, pieces in fields:
        value = b"".join(pieces)
        out += (uvarint(tag), uvarint(len(value)), value)
    return b"".join(out)
