"""What a URL says: whom to ask (its origin), and for what (the target)."""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import Literal

from msgspec import Struct

from bastide.parts.http.client.contract import ClientOptions, RequestWrong

PORTS = {"http": 80, "https": 443}

_VISIBLE = re.compile(r"[\x21-\x7e]+")  # no spaces, no line breaks, nothing beyond ASCII
_URL = re.compile(r"(?i:(https?))://([^/?#]*)([^#]*)(?:#.*)?")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~-]+)(?::([0-9]{1,5}))?")


class Address(Struct, frozen=True):
    """Where to connect to: a host and its port, or the path of a unix socket."""

    name: str
    host: str = ""
    port: int = 0
    path: str = ""


class Origin(Struct, frozen=True):
    """Scheme, host and port (RFC 9110, 4.3.1). `host` without brackets; `authority` as the Host
    header has it.
    """

    name: str
    scheme: Literal["http", "https"]
    host: str
    port: int
    authority: str


def parsed(url: str) -> tuple[Origin, str]:
    """The origin and the target of `url`. The fragment is nobody's business but the caller's.

    Raises:
        RequestWrong
    """
    match = _URL.fullmatch(url) if _VISIBLE.fullmatch(url) else None
    if match is None:
        raise RequestWrong(f"{url!r} is no http:// or https:// URL of visible ASCII characters")
    scheme, authority, target = match.groups()
    return origin_of(scheme.lower(), authority), target if target[:1] == "/" else f"/{target}"


@lru_cache(1024)
def origin_of(scheme: Literal["http", "https"], authority: str) -> Origin:
    """
    Raises:
        RequestWrong
    """
    host, port = _host_and_port(authority, PORTS[scheme])
    shown = f"[{host}]" if ":" in host else host
    if port != PORTS[scheme]:
        shown = f"{shown}:{port}"
    return Origin(f"{scheme}://{shown}", scheme, host, port, shown)


def address_of(text: str) -> Address:
    """Of "host:port", "[::1]:port" or "unix:/path".

    Raises:
        RequestWrong
    """
    if text.startswith("unix:/") and "\0" not in text:
        return Address(text, path=text.removeprefix("unix:"))
    host, port = _host_and_port(text, 0)
    return Address(text, host, port)


def addresses_of(origin: Origin, options: ClientOptions) -> Sequence[Address]:
    named = options.endpoints.get(origin.name, ()) or ((options.via,) if options.via else ())
    if not named:
        return (Address(origin.name, origin.host, origin.port),)
    return [address_of(text) for text in named]


def checked(options: ClientOptions) -> ClientOptions:
    """`options`, if its endpoints can be read: each origin by the name that it has itself.

    Raises:
        RequestWrong
    """
    for name, texts in options.endpoints.items():
        if parsed(name)[0].name != name:
            raise RequestWrong(f"the endpoints of {name!r}; its name is {parsed(name)[0].name!r}")
        if not texts or len(set(texts)) < len(texts):
            raise RequestWrong(f"the endpoints of {name}: {list(texts)}; some, and none twice")
    for text in (*sum(map(tuple, options.endpoints.values()), ()), *filter(None, [options.via])):
        address_of(text)
    return options


def _host_and_port(authority: str, port: int) -> tuple[str, int]:
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise RequestWrong(f"{authority!r} is no host or host:port; a user has no place there")
    host, given = match[1].lower(), int(match[2] or port)
    if not 1 <= given <= 65535:
        raise RequestWrong(f"{authority!r}: port {given}; from 1 to 65535")
    if host[0] == "[":
        host = host[1:-1]
        try:
            IPv6Address(host)
        except AddressValueError as error:
            raise RequestWrong(f"{authority!r} is no IPv6 address: {error}") from None
    return host, given
