"""Replies a second to fifty tasks that each wait for one before they ask again.

ours     one connection, on which all fifty are in flight at once
peer     redis-py's asyncio client with hiredis, if it is installed: a connection for each task,
from
         its pool

In turns in one run, against the server at a URL; each figure is the median of TURNS.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from importlib.util import find_spec
from statistics import median
from typing import Any

from bastide.base.manifest import load
from bastide.base.rt import runtime
from bastide.base.settings import parse_url
from bastide.parts.redis.contract import RedisOptions
from bastide.parts.redis.core import addresses
from bastide.parts.redis.link import linked

TURNS = 5
TASKS = 50
KEY, VALUE = "bastide:bench", b"v" * 100

Get = Callable[[], Awaitable[Any]]


async def bench_client(url: str, seconds: float) -> Mapping[str, float]:
    """`url` is redis://...; `seconds` are shared by all turns."""
    (address,) = addresses(parse_url(url).location)
    found: dict[str, list[float]] = {}
    async with linked(address, RedisOptions(timeout_s=5)) as link:
        await link.connection.call("SET", KEY, VALUE, "EX", 60)
        connection = link.connection
        ways: dict[str, Get] = {"ours_per_s": lambda: connection.call("GET", KEY)}
        peer: Any = None
        if find_spec("redis"):
            peer = load("redis.asyncio:Redis").from_url(url)
            ways["peer_redis_py_per_s"] = lambda: peer.get(KEY)
        for _ in range(TURNS):
            for name, get in ways.items():
                found.setdefault(name, []).append(await _turn(get, seconds / TURNS / len(ways)))
        if peer is not None:
            await peer.aclose()
    figures = {name: median(turns) for name, turns in found.items()}
    if peer is not None:
        figures["beside_redis_py_ratio"] = figures["ours_per_s"] / figures["peer_redis_py_per_s"]
    return figures


async def _turn(get: Get, seconds: float) -> float:
    began_s = runtime.monotonic()
    counts = await asyncio.gather(*(_ask(get, began_s + seconds) for _ in range(TASKS)))
    return sum(counts) / (runtime.monotonic() - began_s)


async def _ask(get: Get, until_s: float) -> int:
    count = 0
    while runtime.monotonic() < until_s:
        for _ in range(20):
            await get()
        count += 20
    return count
