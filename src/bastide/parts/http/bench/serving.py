"""Rows on our server, in a process that `servers.running_module` starts."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from bastide.base.manifest import load
from bastide.base.routes.binding import Endpoint
from bastide.base.routes.http import Http, Site
from bastide.base.routes.rows import Row
from bastide.base.rt import runtime
from bastide.base.rt.net import allow_many_descriptors, bind
from bastide.parts.http.bench.servers import HOST
from bastide.parts.http.contract import Limits
from bastide.parts.http.server.server import Server

# A generator is one address, and keeps its connections for as long as it measures.
LIMITS = Limits(
    first_byte_s=3600.0,
    idle_s=3600.0,
    requests=1 << 40,
    connections=12_000,
    connections_of_one=12_000,
)


def http_of(rows: Sequence[Row], served: object) -> Http:
    """Doors with all that every door owes, and nothing before them."""
    site = Site()
    endpoints = [Endpoint("bench", row, served, {}) for row in rows]
    site.mount("", endpoints, runtime.current().metrics)
    return Http(site, {}, limits=LIMITS)


async def serve(rows: Sequence[Row], served: object, port: int) -> None:
    """Until the process is ended."""
    allow_many_descriptors()
    listener = bind(HOST, port)
    await Server(http_of(rows, served), LIMITS).start([listener])
    await asyncio.Event().wait()


def run(main: Coroutine[Any, Any, None]) -> None:
    """On the loop that the town runs on."""
    try:
        start: Callable[[Coroutine[Any, Any, None]], None] = load("uvloop:run")
    except ImportError:
        start = asyncio.run
    start(main)
