"""What a head says: headers by name, a query, a host, and who is asking.

Most heads have a shape that was seen before: the same client sends the same names in the same
order. A shape is read once and remembered by its names as they came: which are repeated, whether a
proxy has added some, whether a body follows. And who asks twice on one connection mostly says the
same of itself: a server below keeps the last Head, and asks for a new one only if it differs.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from urllib.parse import parse_qsl, unquote_to_bytes

from bastide.base.errors import Invalid
from bastide.base.gate import Credentials, stranger
from bastide.base.routes.limits import HeadLimits
from bastide.base.routes.rows import NOTHING, HeadersTooLarge, UriTooLong

QUERY_PARAMETERS_MAX = 64
ADDRESSES_REMEMBERED = 4_096
SHAPES_REMEMBERED = 1_024
SHAPE_BYTES_MAX = 1_024  # of names; what is longer is read anew
HOST_BYTES_REMEMBERED = 256

# Two of them would mean two things to two readers.
SINGLE_HEADERS = frozenset(("authorization", "content-type", "host", "idempotency-key", "origin"))
# What a proxy adds, also one on this machine: who comes through it is not the operator.
PROXY_HEADERS = frozenset(("cf-connecting-ip", "forwarded", "true-client-ip", "via", "x-real-ip"))
FRAMING_HEADERS = frozenset(("content-length", "transfer-encoding"))

PORT_MAX = 65_535
# RFC 3986, section 3.2.2; but a comma, which a host may have, is what a joined list would have.
_HOST = re.compile(
    r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~!$&'()*+;=-]+)(?::(?P<port>[0-9]{0,5}))?"
)
_BROKEN_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})|%00")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Shape:
    """The names of a head, in their order."""

    __slots__ = ("forwarded", "framed", "is_plain", "name_bytes", "names", "repeats", "sized")

    def __init__(self, raw: Sequence[bytes]) -> None:
        self.names = tuple([name.decode("latin-1").lower() for name in raw])
        known = frozenset(self.names)
        self.name_bytes = sum(map(len, raw))
        self.repeats = len(known) < len(self.names)
        self.forwarded = any(n in PROXY_HEADERS or n.startswith("x-forwarded-") for n in known)
        self.framed = not FRAMING_HEADERS.isdisjoint(known)
        switches = not known.isdisjoint(("expect", "upgrade"))
        self.is_plain = not self.framed and not switches
        self.sized = "content-length" in known and "transfer-encoding" not in known and not switches


_shapes: dict[tuple[bytes, ...], Shape] = {}


def shape_of(raw: Sequence[bytes]) -> Shape:
    key = tuple(raw)
    found = _shapes.get(key)
    if found is None:
        found = Shape(key)
        if found.name_bytes <= SHAPE_BYTES_MAX:
            if len(_shapes) >= SHAPES_REMEMBERED:
                _shapes.clear()
            _shapes[key] = found
    return found


def headers_of(shape: Shape, values: Sequence[bytes], limits: HeadLimits) -> Mapping[str, str]:
    """By lower-case name; a repeated header's values are joined by commas (RFC 9110, section 5.3).

    Raises:
        HeadersTooLarge, Invalid: one that must stand alone is repeated.
    """
    decoded = [value.decode("latin-1").rstrip(" \t") for value in values]
    if len(decoded) > limits.headers or shape.name_bytes + sum(map(len, decoded)) > (
        limits.header_bytes
    ):
        raise HeadersTooLarge(
            f"at most {limits.headers} headers of together {limits.header_bytes} bytes are taken"
        )
    if not shape.repeats:
        return dict(zip(shape.names, decoded, strict=True))
    headers: dict[str, str] = {}
    for name, value in zip(shape.names, decoded, strict=True):
        if name not in headers:
            headers[name] = value
        elif name in SINGLE_HEADERS:
            raise Invalid(f"{name} is sent twice")
        else:
            headers[name] += ("; " if name == "cookie" else ", ") + value
    return headers


class Head:
    """What names and values say, as they were sent."""

    __slots__ = ("caller", "credentials", "headers", "origin", "shape")

    def __init__(
        self,
        names: Sequence[bytes],
        values: Sequence[bytes],
        *,
        peer: str,
        limits: HeadLimits,
        trusted: Sequence[Network],
        scheme: str,
    ) -> None:
        """
        Raises:
            HeadersTooLarge, Invalid.
        """
        self.shape = shape_of(names)
        self.headers = headers_of(self.shape, values, limits)
        text = self.headers.get("host", "")
        host = host_of(text) if len(text) < HOST_BYTES_REMEMBERED else Host(text)
        self.origin = f"{scheme}://{text}" if text else ""  # HTTP/1.0 may do without a host
        self.credentials = _credentials(self.shape, self.headers, peer, host, trusted)
        self.caller = stranger(self.credentials)

    def with_length(self, length: int) -> "Head":
        """The same, but for Content-Length."""
        made = Head.__new__(Head)
        made.caller = self.caller
        made.credentials = self.credentials
        made.headers = {**self.headers, "content-length": str(length)}
        made.origin = self.origin
        made.shape = self.shape
        return made


def path_and_query(target: bytes, limits: HeadLimits) -> tuple[str, Mapping[str, str]]:
    """Of a target in origin form. Text that is not UTF-8 is refused, not repaired.

    Raises:
        UriTooLong, Invalid.
    """
    if not target.isascii() or b"#" in target:
        raise Invalid("what is special in an address is percent-encoded")
    if len(target) > limits.target_bytes:
        raise UriTooLong(f"the address is longer than {limits.target_bytes} bytes")
    raw, mark, query = target.partition(b"?")
    if b"%" in raw and _BROKEN_PERCENT.search(raw):
        raise Invalid("the path is not percent-encoded UTF-8")
    try:
        path = (unquote_to_bytes(raw) if b"%" in raw else raw).decode()
    except UnicodeDecodeError as error:
        raise Invalid("the path is not percent-encoded UTF-8") from error
    return path, _query(query) if mark else NOTHING


def _query(raw: bytes) -> Mapping[str, str]:
    """The first value of each parameter."""
    if raw.count(b"&") >= QUERY_PARAMETERS_MAX:
        raise Invalid(f"at most {QUERY_PARAMETERS_MAX} query parameters are taken")
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict")
    except (UnicodeDecodeError, ValueError) as error:
        raise Invalid("the query is not percent-encoded UTF-8") from error
    return dict(reversed(pairs))


class Host:
    """What a Host header says; `loopback`: it is a loopback name. A name that somebody else points
    here (DNS rebinding) is not.
    """

    __slots__ = ("loopback", "text")

    def __init__(self, text: str) -> None:
        """
        Raises:
            Invalid
        """
        match = _HOST.fullmatch(text)
        if text and (match is None or int(match["port"] or 0) > PORT_MAX):
            raise Invalid("Host is no host")
        name = match["name"].lower() if match else ""
        if name[:1] == "[":
            name = name[1:-1]
            if not _is_address(name) or "." in name.partition(":")[0]:
                raise Invalid("Host is no host")
        self.text = text
        self.loopback = name == "localhost" or is_loopback(name)


host_of = lru_cache(ADDRESSES_REMEMBERED)(Host)


def _credentials(
    shape: Shape, headers: Mapping[str, str], peer: str, host: Host, trusted: Sequence[Network]
) -> Credentials:
    address = client_address(peer, headers.get("x-forwarded-for"), trusted)
    kind, _, key = headers.get("authorization", "").partition(" ")
    bearer = key.strip() if kind.lower() == "bearer" else ""
    direct = is_loopback(peer) and not _is_in(peer, trusted) and not shape.forwarded
    return Credentials(address, direct and host.loopback, bearer or None)


def client_address(peer: str, forwarded: str | None, trusted: Sequence[Network]) -> str:
    """The address of who asks: the last in X-Forwarded-For that no trusted proxy of ours added.

    Without a trusted `peer` the header is somebody's claim, and the peer itself counts.
    """
    hops = [peer, *reversed([h.strip() for h in (forwarded or "").split(",") if h.strip()])]
    for hop, following in pairwise(hops):
        if not _is_in(hop, trusted):
            return hop
        if not _is_address(following):
            return hop
    return hops[-1]


def _is_in(text: str, networks: Sequence[Network]) -> bool:
    return _is_address(text) and any(ipaddress.ip_address(text) in n for n in networks)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@lru_cache(ADDRESSES_REMEMBERED)
def is_loopback(text: str) -> bool:
    return _is_address(text) and ipaddress.ip_address(text).is_loopback
