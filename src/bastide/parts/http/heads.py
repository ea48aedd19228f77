"""Heads of replies, as text.

What is the same for every reply with these header names is put together once; a hot reply then
costs one formatting. A header value with a line break in it would be a header of somebody else's
choosing: no value passes that has one.
"""

from collections.abc import Iterable, Mapping
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
TEMPLATES_REMEMBERED = 1_024
WITHOUT_LENGTH = frozenset((204, 304))  # and no body (RFC 9110, sections 15.3.5 and 15.4.5)

_templates: dict[tuple[tuple[str, ...], bool, bool], str] = {}


class HeadBroken(Exception):
    """A fault of ours: a header that can't be sent, or would be read as more than one."""


class _StatusLines(dict[int, str]):
    def __missing__(self, status: int) -> str:
        return f"HTTP/1.1 {status} \r\n"


STATUS_LINES = _StatusLines(
    {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
)


def head_text(headers: Mapping[str, str], request: Request, length: int | None) -> str:
    """Every header line of a reply, without its end. `length` None: there is no body, or its end
    is shown otherwise. What a reply to HEAD leaves out it may count itself.

    Raises:
        HeadBroken
    """
    if "set-cookie" in headers:
        headers, cookies = _without_cookies(headers)
    else:
        cookies = ""
    page = headers["content-type"][:9] == "text/html" if "content-type" in headers else False
    counted = length is not None
    if "content-length" in headers:
        if length != 0 or request.method != "HEAD":
            raise HeadBroken("content-length is counted by the server")
        counted = False
    key = (tuple(headers), page, counted)
    template = _templates.get(key) or _template(key)
    values = headers.values()
    for value in values:
        if not (value.isascii() and value.isprintable()):
            _check(value)
    if counted:
        return template % (request.id, *values, length) + cookies
    return template % (request.id, *values) + cookies


def _without_cookies(headers: Mapping[str, str]) -> tuple[Mapping[str, str], str]:
    """Set-Cookie is the one header that can't be joined by commas (RFC 9110, section 5.3)."""
    left = dict(headers)
    cookies = left.pop("set-cookie").split("\n")
    for cookie in cookies:
        _check(cookie)
    return left, "".join([f"set-cookie: {cookie}\r\n" for cookie in cookies])


def _template(key: tuple[tuple[str, ...], bool, bool]) -> str:
    names, page, counted = key
    for name in names:
        if not is_token(name) or name != name.lower() or name in OURS:
            raise HeadBroken(f"{name[:100]!r} is no header of a reply, or not in lower case")
    wanted = {**ALWAYS, **(ALWAYS_FOR_PAGES if page else {})}
    lines = [f"{name}: {value}" for name, value in wanted.items() if name not in names]
    lines.append("x-request-id: %s")
    lines += [f"{name.replace('%', '%%')}: %s" for name in names]
    if counted:
        lines.append("content-length: %d")
    made = "".join([f"{line}\r\n" for line in lines])
    if len(_templates) < TEMPLATES_REMEMBERED:
        _templates[key] = made
    return made


def _check(value: str) -> None:
    if "\n" in value or "\r" in value or "\0" in value:
        raise HeadBroken(f"a line break, or a NUL, in the header {value[:100]!r}")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError as error:
        raise HeadBroken(f"{value[error.start]!r} in a header, which takes Latin-1") from error


def pairs_of(text: str) -> Iterable[tuple[bytes, bytes]]:
    """The lines of `head_text`, as ASGI has them."""
    for line in text.split("\r\n")[:-1]:
        name, _, value = line.partition(": ")
        yield name.encode("latin-1"), value.encode("latin-1")
