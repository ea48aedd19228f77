"""Countries by address: sorted columns of where ranges start, and a byte each for whose they are.

    countries.xz        xz of one msgpack map:
        source          what it was made of
        codes           ["", "AD", "AE", ...]               '' is nobody's
        starts4 owners4 u32, little-endian   u8 of `codes`  149,249 ranges
        starts6 owners6 u64, the upper half  u8 of `codes`  135,328 ranges

    0.0.0.0    1.0.0.0    1.0.1.0    1.0.4.0    ...         bisect: the last start that is not
    ''         AU         CN         AU                     above the address

Each range ends where the next one starts, and neighbours of one country are one range. Of IPv6 the
lower half is a host's own, and never in two countries. `python -m tools.countries` writes the file,
and has cut out what is no public address: private, loopback, multicast, documentation.
"""

import lzma
import pkgutil
import sys
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from ipaddress import AddressValueError, IPv6Address

import msgspec

FILE = "countries.xz"
ADDRESS_CHARACTERS_MAX = 45  # an IPv4 in an IPv6, all of it written out
_MAPPED = 0xFFFF  # ::ffff:0:0/96, an IPv4 as IPv6

Range = tuple[int, str]  # where it starts, and whose it is until the next


class _Packed(msgspec.Struct):
    source: str
    codes: list[str]
    starts4: bytes
    owners4: bytes
    starts6: bytes
    owners6: bytes


class Countries:
    """Where addresses are registered: that is the network's country, and mostly the person's."""

    def __init__(self, packed: bytes) -> None:
        columns = msgspec.msgpack.decode(lzma.decompress(packed), type=_Packed)
        self.source = columns.source
        self._codes = columns.codes
        self._starts4, self._owners4 = _column("I", columns.starts4), columns.owners4
        self._starts6, self._owners6 = _column("Q", columns.starts6), columns.owners6

    def of(self, address: str) -> str:
        """ISO 3166-1, two capitals; '' for what is private, nobody's, or no address."""
        try:
            number, version = _number(address)
        except ValueError:
            return ""
        if version == 4:
            return self._codes[self._owners4[bisect_right(self._starts4, number) - 1]]
        return self._codes[self._owners6[bisect_right(self._starts6, number) - 1]]


def pack(source: str, ipv4: Sequence[Range], ipv6: Sequence[Range]) -> bytes:
    """The file of ranges that are sorted, start at 0, and cover all; IPv6 as their upper halves."""
    codes = sorted({"", *(code for _, code in (*ipv4, *ipv6))})
    index = {code: number for number, code in enumerate(codes)}
    columns = _Packed(
        source,
        codes,
        _bytes("I", ipv4),
        bytes(index[code] for _, code in ipv4),
        _bytes("Q", ipv6),
        bytes(index[code] for _, code in ipv6),
    )
    return lzma.compress(msgspec.msgpack.encode(columns))


@cache
def bundled() -> Countries:
    """Those of the file in this package, loaded once: 25 ms, 4 MB."""
    packed = pkgutil.get_data("bastide.parts.visitor", FILE)
    assert packed is not None, "the package's loader gives its files"
    return Countries(packed)


def _number(address: str) -> tuple[int, int]:
    """The number to look for, and in which version's columns; ValueError if it is no address."""
    if len(address) > ADDRESS_CHARACTERS_MAX or not address.isascii():
        raise ValueError(address)
    if ":" not in address:
        return _ipv4(address), 4
    whole = int(IPv6Address(address.partition("%")[0]))  # % names an interface
    if whole >> 32 == _MAPPED:
        return whole & 0xFFFF_FFFF, 4
    return whole >> 64, 6


def _ipv4(address: str) -> int:
    """A third of the time that `IPv4Address` takes."""
    if not address.replace(".", "").isdigit():
        raise AddressValueError(address)
    first, second, third, fourth = address.split(".")
    return int.from_bytes((int(first), int(second), int(third), int(fourth)))


def _column(typecode: str, content: bytes) -> "array[int]":
    column = array(typecode, content)
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _bytes(typecode: str, ranges: Sequence[Range]) -> bytes:
    column = array(typecode, (start for start, _ in ranges))
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()
