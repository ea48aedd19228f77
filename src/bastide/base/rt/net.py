"""Sockets to listen on. Everything after `bind` goes through the asyncio loop."""

import errno
import socket

PORTS_SKIPPED_MAX = 20

Listener = socket.socket  # by this name outside, where nobody imports socket


def bind_near(host: str, port: int) -> Listener:
    """A socket on `port`, or on the next free one.

    Raises:
        OSError: the host is not ours, or PORTS_SKIPPED_MAX ports are busy.
    """
    for skipped in range(PORTS_SKIPPED_MAX):
        try:
            return bind(host, port + skipped if port else 0)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or skipped == PORTS_SKIPPED_MAX - 1:
                raise
    raise AssertionError


def bind(host: str, port: int) -> Listener:
    """A listening socket on `port`; 0 picks any that is free.

    Raises:
        OSError: the host is not ours, or the port is busy.
    """
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
