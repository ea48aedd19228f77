"""How long a request is, and what it asks for: what two readers could see differently is refused.

Request smuggling lives where a proxy and a server end a request at different bytes, or take it
for different hosts. RFC 9112 lets a recipient repair much of that (section 6.3, rule 3:
Transfer-Encoding overrides Content-Length; section 3.2.2: an absolute target overrides Host). We
repair nothing: one way to frame, one host, or 400 and a closed connection.

    neither header                           no body
    Content-Length: digits, once             so many bytes
    Transfer-Encoding: chunked, once, 1.1    chunks
    anything else                            refused
"""

from collections.abc import Sequence

import msgspec

from bastide.base.errors import Invalid
from bastide.base.routes.heads import Shape

LENGTH_DIGITS_MAX = 18
SCHEMES = (b"http", b"https")


class FramingWrong(Invalid):
    """Nobody can be sure where this request ends."""

    title = "The request is not clear"


class VersionRefused(Invalid):
    status = 505
    title = "This version of HTTP is not spoken here"


class ExpectationFailed(Invalid):
    status = 417


class HeadLate(Invalid):
    status = 408
    title = "The request took too long to arrive"


class Framing(msgspec.Struct, frozen=True):
    """`length` None: chunks. `waits`: the client wants to be told before it sends the body
    (RFC 9110, section 10.1.1). `upgrades`: it asks for another protocol.
    """

    length: int | None = 0
    waits: bool = False
    upgrades: bool = False


def framed(shape: Shape, values: Sequence[bytes], version: str) -> Framing:
    """
    Raises:
        FramingWrong, ExpectationFailed.
    """
    found: dict[str, list[bytes]] = {}
    for name, value in zip(shape.names, values, strict=True):
        if name in ("content-length", "transfer-encoding", "expect", "upgrade", "connection"):
            found.setdefault(name, []).append(value.strip(b" \t"))
    length = _length(found.get("content-length", ()), found.get("transfer-encoding", ()), version)
    upgrades = "upgrade" in found and _names_upgrade(found.get("connection", ()))
    if upgrades and shape.framed:
        raise FramingWrong("a request with a body can't be an upgrade")
    return Framing(length, _waits(found.get("expect", ()), version) and length != 0, upgrades)


def _length(lengths: Sequence[bytes], codings: Sequence[bytes], version: str) -> int | None:
    if codings:
        if lengths:
            raise FramingWrong("Content-Length and Transfer-Encoding are not taken together")
        if version == "1.0":
            raise FramingWrong("HTTP/1.0 has no Transfer-Encoding")
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            raise FramingWrong("Transfer-Encoding is taken once, and chunked is the only one")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1:
        raise FramingWrong("Content-Length is taken once")
    [text] = lengths
    if not text.isdigit() or len(text) > LENGTH_DIGITS_MAX:
        raise FramingWrong("Content-Length is a whole number")
    return int(text)


def _names_upgrade(values: Sequence[bytes]) -> bool:
    tokens = b",".join(values).lower().split(b",")
    return any(token.strip() == b"upgrade" for token in tokens)


def _waits(expected: Sequence[bytes], version: str) -> bool:
    if not expected:
        return False
    if len(expected) > 1 or expected[0].lower() != b"100-continue":
        raise ExpectationFailed("100-continue is all that may be expected")
    return version != "1.0"


def origin_form(method: str, target: bytes, shape: Shape, values: Sequence[bytes]) -> bytes:
    """The target as a path and query. An absolute one must name the host that Host names.

    Raises:
        Invalid
    """
    if target[:1] == b"/":
        return target
    if target == b"*" and method == "OPTIONS":
        return b"/"
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in SCHEMES:
        raise Invalid("the target is a path, or http:// and an address")
    authority = rest.partition(b"/")[0].partition(b"?")[0]
    hosts = [v for n, v in zip(shape.names, values, strict=True) if n == "host"]
    if len(hosts) != 1 or authority.lower() != hosts[0].lower() or b"@" in authority:
        raise Invalid("the target names another host than Host does")
    path = rest[len(authority) :]
    return path if path[:1] == b"/" else b"/" + path
