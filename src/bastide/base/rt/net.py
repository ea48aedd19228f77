"""Sockets to listen on. Everything after `bind` goes through the asyncio loop."""

import errno
import socket

PORTS_SKIPPED_MAX = 20


def bind(host: str, port: int) -> socket.socket:
    """A bound socket on `port`, or on the next free one; 0 picks any.

    Raises:
        OSError: the host is not ours, or PORTS_SKIPPED_MAX ports are busy.
    """
    for skipped in range(PORTS_SKIPPED_MAX):
        try:
            return _bound(host, port + skipped if port else 0)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or skipped == PORTS_SKIPPED_MAX - 1:
                raise
    raise AssertionError


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows, where REUSEADDR means stealing
            made.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(2048)
    except OSError:
        made.close()
        raise
    return made
