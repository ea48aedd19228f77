"""Sockets to listen on. Everything after `bind` goes through the asyncio loop.

A process that is replaced by another one (exec) hands its sockets on, as systemd hands them to a
service: descriptors from 3 on, their number in LISTEN_FDS, their names in LISTEN_FDNAMES. Who
connects in between waits in the socket's queue, and nobody is refused.
"""

import errno
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress

from bastide.base.rt import runtime

PORTS_SKIPPED_MAX = 20
BACKLOG = 2048
DESCRIPTORS = 65_536  # shells give 1,024, which open streams alone could take
FIRST_HANDED_ON = 3

Listener = socket.socket  # by these names outside, where nobody imports socket
NameUnknown = socket.gaierror
AF_INET = socket.AF_INET
SOCK_STREAM = socket.SOCK_STREAM


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


def bind(host: str, port: int, *, shared: bool = False) -> Listener:
    """A listening socket on `port`; 0 picks any that is free. `shared`: with other processes that
    say so too; the kernel deals connections out among them.

    Raises:
        OSError: the host is not ours, or the port is busy.
    """
    if (ports := runtime.current().ports) is not None:
        return ports.bind(host, port)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows, where REUSEADDR means stealing
            made.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((host, port))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def bind_unix(path: str) -> Listener:
    """A listening socket at `path`, for this user alone. One that nobody listens on is replaced.

    Raises:
        OSError: somebody listens there, or it is no socket.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        made.bind(path)
        os.chmod(path, 0o600)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _clear(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:  # left by a process that was killed
            os.unlink(path)
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def hand_on(sockets: Mapping[str, Listener]) -> None:
    """To the program that this process becomes next, and which it must become now: descriptors that
    others had here are taken.
    """
    above = FIRST_HANDED_ON + len(sockets)
    spare = [_at_least(above, one.fileno()) for one in sockets.values()]
    for number, old in enumerate(spare):
        os.dup2(old, FIRST_HANDED_ON + number, inheritable=True)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(sockets))
    os.environ["LISTEN_FDNAMES"] = ":".join(name or "main" for name in sockets)


def _at_least(least: int, descriptor: int) -> int:
    """A copy with this number or a higher one, out of the way of those that are put below."""
    low = []
    while (copy := os.dup(descriptor)) < least:
        low.append(copy)
    for one in low:
        os.close(one)
    return copy


def handed_on() -> dict[str, Listener]:
    """What the program before this one, or systemd, has handed on, by name; taken once."""
    told = [os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")]
    pid, count, names = told
    if pid != str(os.getpid()) or not count.isdigit():
        return {}
    found: dict[str, Listener] = {}
    for number, name in zip(range(int(count)), names.split(":"), strict=False):
        with suppress(OSError):
            made = socket.socket(fileno=FIRST_HANDED_ON + number)
            made.set_inheritable(False)
            found["" if name == "main" else name] = made
    return found


def allow_many_descriptors() -> int:
    """As many as DESCRIPTORS, if we may; how many we have."""
    if sys.platform == "win32":
        return DESCRIPTORS
    import resource  # which Windows lacks

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = DESCRIPTORS if hard == unlimited else min(DESCRIPTORS, hard)
    if soft != unlimited and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return DESCRIPTORS if soft == unlimited else soft
