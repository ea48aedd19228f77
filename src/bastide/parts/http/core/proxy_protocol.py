r"""The PROXY protocol, version 2: who is behind a proxy that passes bytes on (haproxy.org,
proxy-protocol.txt, section 2.2).

    0                     12    13    14      16
    | \r\n\r\n\0\r\nQUIT\n | 2 c | f t | length | addresses | TLV | TLV ... |  then the connection's
    '----- signature ------'  │     │            '----- `length` bytes -----'  own bytes
       version 2, command ────┘     └── family, transport

  command    0 LOCAL: the proxy's own connection, a health check; all that follows is skipped
             1 PROXY: the addresses are the client's, and those that it connected to
  family     0 unspecified, 1 IPv4 (12 bytes), 2 IPv6 (36), 3 UNIX (216)
  transport  1 stream, 2 datagram. The addresses of datagrams and of the unspecified are skipped:
             "the real connection endpoints" count
  TLV        type, 2 bytes of length, value. Skipped but for a CRC32C of the whole header, computed
             with zeros in its own place. A second one is refused: it would say two things.

Whoever may send this header may claim any address. So it is taken only where a setting says that a
proxy is in front, and there it is never optional: guessing whether it is there lets clients in who
write it themselves. Version 1, a line of text, is refused.

A head that can't become right is refused at its first wrong byte, before anything is waited for:
what is known last is only the checksum. Cost: the TLVs are walked once for each piece in which the
header comes, and "the sender must ensure that all the protocol header is sent at once". Who sends
byte by byte is bounded by PROXY_BYTES_MAX times TLVS_MAX, a tenth of a second.
"""

import ipaddress
import struct

import google_crc32c
from msgspec import Struct

from bastide.base.errors import Invalid

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
HEAD_BYTES = 16
PROXY_BYTES_MAX = 4096  # of a header; senders stay below 536, a client's certificate is longer
TLVS_MAX = 32  # of a header; senders know a dozen types

_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_ADDRESS_BYTES = {
    _UNSPECIFIED: 0,
    **dict.fromkeys((_TCP4, 0x12), 12),
    **dict.fromkeys((_TCP6, 0x22), 36),
    **dict.fromkeys((_UNIX, 0x32), 216),
}
_CRC32C = b"\x03"
_CRC_LENGTH = b"\x00\x04"
_TLV_HEAD_BYTES = 3


class ProxyHeaderWrong(Invalid):
    """The connection does not begin with a PROXY header of version 2."""


class Address(Struct, frozen=True):
    """Of TCP; or the path of a UNIX socket, without a port. An abstract one begins with "@", an
    unnamed one is empty.
    """

    host: str
    port: int = 0


class Proxied(Struct, frozen=True):
    """A header of `consumed` bytes. Without addresses the connection's own count."""

    consumed: int
    source: Address | None = None
    destination: Address | None = None


def parse(data: bytes) -> Proxied | None:
    """The header that `data` begins with; None if more bytes are needed.

    Raises:
        ProxyHeaderWrong
    """
    _refuse_wrong_head(data)
    if len(data) < HEAD_BYTES:
        return None
    end = HEAD_BYTES + int.from_bytes(data[14:16])
    family = data[13] if data[12] == _PROXY else _UNSPECIFIED
    crc_at = _crc_at(data, HEAD_BYTES + _ADDRESS_BYTES[family], end) if family else None
    if len(data) < end:
        return None
    if crc_at is not None:
        _refuse_wrong_crc(data[:end], crc_at)
    return Proxied(end, *_addresses(family, data))


def _refuse_wrong_head(data: bytes) -> None:
    start = data[: len(SIGNATURE)]
    if start != SIGNATURE[: len(start)]:
        given = "of version 1 (text)" if start.startswith(b"PROXY") else f"that begins {start!r}"
        raise ProxyHeaderWrong(f"a PROXY header {given}; version 2 (binary) is taken")
    if len(data) > 12 and data[12] not in (_LOCAL, _PROXY):
        told = f"version and command {data[12]:#04x}"
        raise ProxyHeaderWrong(f"{told}; {_LOCAL:#x} (LOCAL) and {_PROXY:#x} (PROXY) are taken")
    proxy = len(data) > 13 and data[12] == _PROXY
    if proxy and data[13] not in _ADDRESS_BYTES:
        known = ", ".join(f"{family:#04x}" for family in _ADDRESS_BYTES)
        raise ProxyHeaderWrong(f"family and transport {data[13]:#04x}; one of {known} is taken")
    _refuse_wrong_length(data, _ADDRESS_BYTES[data[13]] if proxy else 0)


def _refuse_wrong_length(data: bytes, least: int) -> None:
    length = int.from_bytes(data[14:16].ljust(2, b"\0"))  # at least, if one byte is there
    if HEAD_BYTES + length > PROXY_BYTES_MAX:
        told = f"a PROXY header of {HEAD_BYTES + length} bytes or more"
        raise ProxyHeaderWrong(f"{told}; at most {PROXY_BYTES_MAX} are taken")
    if len(data) >= HEAD_BYTES and length < least:
        raise ProxyHeaderWrong(f"{length} bytes of addresses; this family has {least}")


def _crc_at(data: bytes, at: int, end: int) -> int | None:
    """Where the CRC32C stands, walking from TLV to TLV as far as they have come."""
    crc_at, count = None, 0
    while at < end:
        if (count := count + 1) > TLVS_MAX:
            raise ProxyHeaderWrong(f"more than {TLVS_MAX} TLVs in a PROXY header")
        head = data[at : at + _TLV_HEAD_BYTES]
        length = int.from_bytes(head[1:].ljust(2, b"\0"))  # at least, if one byte is there
        if at + _TLV_HEAD_BYTES + length > end:
            raise ProxyHeaderWrong(f"a TLV of {length} bytes at {at} in a header of {end}")
        if head[:1] == _CRC32C:
            if crc_at is not None or not _CRC_LENGTH.startswith(head[1:]):
                raise ProxyHeaderWrong(f"a second CRC32C at {at}, or one that has not 4 bytes")
            crc_at = at + _TLV_HEAD_BYTES
        if len(head) < _TLV_HEAD_BYTES:
            break
        at += _TLV_HEAD_BYTES + length
    return crc_at


def _refuse_wrong_crc(header: bytes, at: int) -> None:
    told = int.from_bytes(header[at : at + 4])
    found: int = google_crc32c.value(header[:at] + bytes(4) + header[at + 4 :])
    if found != told:
        raise ProxyHeaderWrong(f"the PROXY header says CRC32C {told:#010x}; it has {found:#010x}")


def _addresses(family: int, data: bytes) -> tuple[Address, Address] | tuple[()]:
    match family:
        case 0x11:
            *hosts, source, destination = struct.unpack_from(">4s4sHH", data, HEAD_BYTES)
        case 0x21:
            *hosts, source, destination = struct.unpack_from(">16s16sHH", data, HEAD_BYTES)
        case 0x31:
            paths = struct.unpack_from("108s108s", data, HEAD_BYTES)
            return Address(_path(paths[0])), Address(_path(paths[1]))
        case _:
            return ()
    return Address(_host(hosts[0]), source), Address(_host(hosts[1]), destination)


def _host(packed: bytes) -> str:
    """An IPv4 address inside an IPv6 one, which proxies send if only one end has IPv4, as IPv4."""
    address = ipaddress.ip_address(packed)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)


def _path(padded: bytes) -> str:
    abstract = padded[:1] == b"\0" and padded.strip(b"\0") != b""
    name = padded[abstract:].partition(b"\0")[0]
    return ("@" if abstract else "") + name.decode("utf-8", "backslashreplace")
