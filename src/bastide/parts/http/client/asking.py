"""A request, checked and written down (RFC 9112, 3 to 7).

What a caller hands in may come from a stranger: a line break in it would be a header, or a request,
of the stranger's choosing. So nothing is escaped or dropped; it is refused.
"""

import re
from collections.abc import AsyncIterator

from msgspec import Struct

from bastide.parts.http.client.addresses import Origin, parsed
from bastide.parts.http.client.contract import Body, Headers, RequestWrong

TOGETHER_BYTES_MAX = 64 << 10  # a larger body is sent piece by piece

IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))
LENGTH_EXPECTED = frozenset(("POST", "PUT", "PATCH"))  # "user agents SHOULD send" it, also of none
OWN = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding"))
OWN |= frozenset((b"trailer", b"upgrade", b"expect"))

_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_A_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(rb"[0-9]{1,18}")


class Asked(Struct, frozen=True):
    """A request that can be sent as it stands: `head` and, if it is all there and small, the
    `body`; else `pieces`, which are `length` bytes or, with None, chunked.
    """

    origin: Origin
    method: str
    head: bytes
    body: bytes
    pieces: bytes | AsyncIterator[bytes] | None
    length: int | None
    idempotent: bool
    continue_s: float | None

    @property
    def may_be_repeated(self) -> bool:
        """Once something of it was sent: an iterator gives its pieces only once."""
        return self.idempotent and (self.pieces is None or isinstance(self.pieces, bytes))


def asked(
    method: str,
    url: str,
    headers: Headers,
    body: Body,
    *,
    idempotent: bool | None,
    continue_s: float | None,
) -> Asked:
    """
    Raises:
        RequestWrong
    """
    if not _METHOD.fullmatch(method) or method == "CONNECT":
        raise RequestWrong(f"the method {method!r}; a token is expected, and CONNECT is not spoken")
    origin, target = parsed(url)
    names = _checked_names(headers)
    length = _length(method, headers, body)
    lines = [f"{method} {target} HTTP/1.1\r\n".encode()]
    if b"host" not in names:
        lines.append(f"host: {origin.authority}\r\n".encode())
    lines += [b"%b: %b\r\n" % header for header in headers]
    if length is not None and b"content-length" not in names:
        lines.append(b"content-length: %d\r\n" % length)
    elif length is None and body is not None:
        lines.append(b"transfer-encoding: chunked\r\n")
    lines.append(b"expect: 100-continue\r\n\r\n" if continue_s and body else b"\r\n")
    together = isinstance(body, bytes) and len(body) <= TOGETHER_BYTES_MAX and not continue_s
    return Asked(
        origin=origin,
        method=method,
        head=b"".join(lines),
        body=body if together and isinstance(body, bytes) else b"",
        pieces=None if together or not body else body,
        length=length,
        idempotent=method in IDEMPOTENT if idempotent is None else idempotent,
        continue_s=continue_s if body else None,
    )


def _checked_names(headers: Headers) -> set[bytes]:
    """The names in lower case, if all headers can be sent. One look at all of them together is
    enough if they can; `_blamed` finds which one can't.
    """
    if not headers:
        return set()
    names = [name.lower() for name, _ in headers]
    found = set(names)
    together = b"".join([value for _, value in headers])
    if (
        b"" in found
        or not _NAME.fullmatch(b"".join(names))
        or _NOT_IN_A_VALUE.search(together)
        or found & OWN
        or names.count(b"host") > 1
        or names.count(b"content-length") > 1
    ):
        raise _blamed(headers)
    return found


def _blamed(headers: Headers) -> RequestWrong:
    for name, value in headers:
        if not _NAME.fullmatch(name):
            return RequestWrong(f"the header name {name!r}; a token is expected (RFC 9110, 5.6.2)")
        if _NOT_IN_A_VALUE.search(value):
            return RequestWrong(f"the header {name!r}: a control character in {value[:100]!r}")
        if name.lower() in OWN:
            return RequestWrong(f"the header {name!r} is of one connection: the client sets it")
    return RequestWrong("host and content-length may be given once")


def _length(method: str, headers: Headers, body: Body) -> int | None:
    """Of the body; None if it has none, or is sent in chunks."""
    given = next((value for name, value in headers if name.lower() == b"content-length"), None)
    if given is not None and not _LENGTH.fullmatch(given):
        raise RequestWrong(f"content-length {given[:100]!r}; a number is expected")
    if isinstance(body, bytes) or (body is None and (given is not None)):
        count = len(body or b"")
        if given is not None and int(given) != count:
            raise RequestWrong(f"content-length {int(given)}, and the body has {count} bytes")
        return count
    if body is None:
        return 0 if method in LENGTH_EXPECTED else None
    return int(given) if given is not None else None
