"""Redirects and files, beside nginx and uvicorn."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median, quantiles

from bastide.base.rt import runtime
from bastide.parts.http.bench import load
from bastide.parts.http.bench.load import Requests, Turn, Wrk, at_rate, figures, found_wrk, in_turns
from bastide.parts.http.bench.servers import (
    Running,
    running_module,
    running_nginx,
    running_uvicorn,
)

OURS = "bastide.parts.http.bench.ours"
LINKS = 1_000
WARM_S = 0.5
FILE_CONNECTIONS = 16
FILES = {"file_1_mib": 1 << 20, "file_10_kib": 10 << 10}
# What Firefox says when somebody follows a link from a page of another site.
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Connection": "keep-alive",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "cross-site",
    "Sec-Fetch-User": "?1",
    "Priority": "u=0, i",
}

PLAIN = Requests("/#", LINKS)
LATER = Requests("/later/#", LINKS)
AS_A_BROWSER = Requests("/#", LINKS, headers=BROWSER)


async def redirects(directory: Path, seconds: float) -> Mapping[str, float]:
    wrk = found_wrk(directory)
    if wrk is None:
        return {}
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(running_module(OURS, str(directory)))
        nginx = await stack.enter_async_context(running_nginx(directory))
        uvicorn = await stack.enter_async_context(running_uvicorn(f"{OURS}:asgi", "--factory"))
        ways: dict[str, Turn] = {
            "redirects": wrk.turn(ours, PLAIN),
            "async_redirects": wrk.turn(ours, LATER),
            "browser_redirects": wrk.turn(ours, AS_A_BROWSER),
        }
        if nginx is not None:
            ways["nginx_redirects"] = wrk.turn(nginx, PLAIN)
            ways["nginx_browser_redirects"] = wrk.turn(nginx, AS_A_BROWSER)
        if uvicorn is not None:
            ways["uvicorn_redirects"] = wrk.turn(uvicorn, PLAIN)
        for server in filter(None, (ours, nginx, uvicorn)):
            await wrk.load(server, PLAIN, min(seconds, WARM_S))
        turns = await in_turns(ways, seconds)
    ratios = {
        "beside_nginx": ("redirects", "nginx_redirects"),
        "beside_uvicorn": ("redirects", "uvicorn_redirects"),
        "async_beside_nginx": ("async_redirects", "nginx_redirects"),
        "browser_beside_nginx": ("browser_redirects", "nginx_browser_redirects"),
    }
    return figures(turns, ratios)


async def half_load(directory: Path, seconds: float) -> Mapping[str, float]:
    """The rate is half of what wrk measures first; nginx is asked at the same rate, which tells how
    much of the times is the generator's.
    """
    wrk = found_wrk(directory)
    if wrk is None:
        return {}
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(running_module(OURS, str(directory)))
        nginx = await stack.enter_async_context(running_nginx(directory))
        most = await _most_per_s(wrk, ours, seconds)
        peers = {"": ours} if nginx is None else {"": ours, "nginx_": nginx}
        turns = await _times_ms(peers, most / 2, seconds)
    found = {"at_per_s": most / 2}
    for name, percentiles in turns.items():
        found[f"{name}redirect_ms_p50"] = median(p50 for p50, _ in percentiles)
        found[f"{name}redirect_ms_p99"] = median(p99 for _, p99 in percentiles)
    return found


async def _most_per_s(wrk: Wrk, server: Running, seconds: float) -> float:
    await wrk.load(server, PLAIN, min(seconds, WARM_S))
    return (await wrk.load(server, PLAIN, seconds)).per_s


async def _times_ms(
    servers: Mapping[str, Running], per_s: float, seconds: float
) -> Mapping[str, Sequence[tuple[float, float]]]:
    """p50 and p99 of each turn."""
    paths = [f"/{n}" for n in range(LINKS)]
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in servers}
    for _ in range(load.TURNS):
        for name, server in servers.items():
            waited_s = await at_rate(server, paths, per_s=per_s, seconds=seconds / load.TURNS)
            hundredths = quantiles((one * 1000 for one in waited_s), n=100)
            turns[name].append((hundredths[49], hundredths[98]))
    return turns


async def files(directory: Path, seconds: float) -> Mapping[str, float]:
    wrk = found_wrk(directory, FILE_CONNECTIONS)
    if wrk is None:
        return {}
    for name, size in FILES.items():
        content = runtime.current().chance.token(size)
        await asyncio.to_thread((directory / name).write_bytes, content)
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(running_module(OURS, str(directory)))
        nginx = await stack.enter_async_context(running_nginx(directory))
        ways: dict[str, Turn] = {}
        for name in FILES:
            requests = Requests(f"/files/{name}")
            ways[name] = wrk.turn(ours, requests)
            if nginx is not None:
                ways[f"nginx_{name}"] = wrk.turn(nginx, requests)
        turns = await in_turns(ways, seconds)
    return figures(turns, {f"{name}_beside_nginx": (name, f"nginx_{name}") for name in FILES})
