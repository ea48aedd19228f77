"""Heads of replies, as text.

What is the same for every reply with these header names is put together once; a hot reply then
costs one formatting. A header value with a line break in it would be a header of somebody else's
choosing: it is counted after the fact, since a count is cheaper than a look at each.
"""

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus

from bastide.base.routes.fields import is_token
from bastide.base.routes.rows import Request

ALWAYS = {
    "cache-control": "no-store",  # unless the reply says otherwise
    "x-content-type-options": "nosniff",
    "referrer-policy": "strict-origin-when-cross-origin",
}
ALWAYS_FOR_PAGES = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'",
    "x-frame-options": "DENY",
}
OURS = frozenset(("date", "transfer-encoding", "x-request-id"))  # no reply says them itself
PREFIXES_REMEMBERED = 1_024
NO_COOKIES: Sequence[str] = ()
WITHOUT_LENGTH = frozenset((204, 304))  # and no body (RFC 9110, sections 15.3.5 and 15.4.5)

_status_lines = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}
_prefixes: dict[tuple[tuple[str, ...], bool], tuple[str, int]] = {}


class HeadBroken(Exception):
    """A fault of ours: a header that can't be sent, or would be read as more than one."""


def status_line(status: int) -> str:
    return _status_lines.get(status) or f"HTTP/1.1 {status} \r\n"


def head_text(headers: Mapping[str, str], request: Request, length: int | None) -> str:
    """Every header line of a reply, without its end. `length` None: there is no body, or its end
    is shown otherwise. What a reply to HEAD leaves out it may count itself.

    Raises:
        HeadBroken
    """
    if "set-cookie" in headers:
        headers, cookies = _without_cookies(headers)
    else:
        cookies = NO_COOKIES
    names = tuple(headers)
    page = headers["content-type"][:9] == "text/html" if "content-type" in headers else False
    key = (names, page)
    prefix, lines = _prefixes.get(key) or _prefix(key)
    text = f"{prefix}x-request-id: {request.id}\r\n" + "".join(
        [f"{name}: {value}\r\n" for name, value in headers.items()]
    )
    if cookies:
        text += "".join([f"set-cookie: {cookie}\r\n" for cookie in cookies])
        lines += len(cookies)
    if "content-length" in headers:
        if length != 0 or request.method != "HEAD":
            raise HeadBroken("content-length is counted by the server")
    elif length is not None:
        text += f"content-length: {length}\r\n"
        lines += 1
    lines += len(names)
    if text.count("\n") != lines or text.count("\r") != lines or "\0" in text:
        raise HeadBroken(f"a line break in one of the headers {', '.join(names)}")
    if not text.isascii():
        _check_encodable(text)
    return text


def _without_cookies(headers: Mapping[str, str]) -> tuple[Mapping[str, str], Sequence[str]]:
    """Set-Cookie is the one header that can't be joined by commas (RFC 9110, section 5.3)."""
    left = dict(headers)
    return left, left.pop("set-cookie").split("\n")


def _prefix(key: tuple[tuple[str, ...], bool]) -> tuple[str, int]:
    names, page = key
    for name in names:
        if not is_token(name) or name != name.lower() or name in OURS:
            raise HeadBroken(f"{name[:100]!r} is no header of a reply, or not in lower case")
    wanted = {**ALWAYS, **(ALWAYS_FOR_PAGES if page else {})}
    left = {name: value for name, value in wanted.items() if name not in names}
    made = "".join(f"{name}: {value}\r\n" for name, value in left.items()), len(left) + 1
    if len(_prefixes) < PREFIXES_REMEMBERED:
        _prefixes[key] = made
    return made


def _check_encodable(text: str) -> None:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise HeadBroken(f"{text[error.start]!r} in a header, which takes Latin-1") from error


def pairs_of(text: str) -> Iterable[tuple[bytes, bytes]]:
    """The lines of `head_text`, as ASGI has them."""
    for line in text.split("\r\n")[:-1]:
        name, _, value = line.partition(": ")
        yield name.encode("latin-1"), value.encode("latin-1")
