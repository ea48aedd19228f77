"""What a connection costs that does nothing: the growth of a fresh server by 10,000 of them."""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from bastide.base.rt.net import allow_many_descriptors
from bastide.parts.http.bench.servers import Running
from bastide.parts.http.bench.websocket import (
    SWITCHED,
    UPGRADE,
    Client,
    close,
    opened,
    servers_of_sockets,
)

CONNECTIONS = 10_000
WARM = 100
SPARE_DESCRIPTORS = 500
STATUS = "/proc/{}/statm"

KINDS: Mapping[str, Callable[[], Client]] = {
    "connection": partial(Client, b"GET /1 HTTP/1.1\r\nhost: localhost\r\n\r\n", b"302"),
    "websocket": partial(Client, UPGRADE % b"/sockets/echo", SWITCHED),
}


async def idle(directory: Path, seconds: float) -> Mapping[str, float]:
    """kB for each: one that was answered a request and is kept, one that became a WebSocket."""
    if not _tells_memory():
        print("left out: without /proc nobody tells the memory of a process", file=sys.stderr)
        return {}
    most = allow_many_descriptors()
    if most < CONNECTIONS + SPARE_DESCRIPTORS:
        print(f"left out: {most} descriptors are too few for {CONNECTIONS}", file=sys.stderr)
        return {}
    found: dict[str, float] = {}
    for kind, make in KINDS.items():
        async with AsyncExitStack() as stack:
            for name, server in (await servers_of_sockets(stack, directory)).items():
                found[f"{name}{kind}_kb"] = await _kb_each(server, make)
    return found


async def _kb_each(server: Running, make: Callable[[], Client]) -> float:
    await close(await opened(server, WARM, make))
    before = _resident_bytes(server)
    clients = await opened(server, CONNECTIONS, make)
    grown = _resident_bytes(server) - before
    await close(clients)
    return grown / CONNECTIONS / 1000


def _tells_memory() -> bool:
    return Path(STATUS.format("self")).exists()


def _resident_bytes(server: Running) -> int:
    pages = Path(STATUS.format(server.process.pid)).read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
