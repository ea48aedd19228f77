"""Where a URL leads: `user:password@one:6379,two:6379/0` are two servers with one login."""

from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from bastide.parts.redis.contract import Address, LocationWrong

PORT = 6379


def addresses(location: str) -> Sequence[Address]:
    """The servers that a URL's location names, at least one.

    Raises:
        LocationWrong
    """
    login, _, place = location.rpartition("@")
    hosts, _, database = place.partition("/")
    user, _, password = login.partition(":")
    if database and not database.isdecimal():
        raise LocationWrong(f"database {database!r}; a number is expected, as in redis://host/0")
    found = [
        Address(*_host(host), unquote(user), unquote(password), int(database or 0))
        for host in (hosts or "127.0.0.1").split(",")
    ]
    if len({a.name for a in found}) < len(found):
        raise LocationWrong(f"{hosts}: a server is named twice")
    return found


def _host(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        raise LocationWrong(f"{text!r} is no server; host or host:port is expected")
    return host, port or PORT
