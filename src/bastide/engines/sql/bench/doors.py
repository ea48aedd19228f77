"""Durable rows and reads behind HTTP, each request one of them.

http_writes   JSON of five fields, validated, one row, durable before 201; beside the same on
              FastAPI, SQLAlchemy's async engine and aiosqlite. At the end the rows are counted
http_reads    a redirect, read by key from 100,000 links each time; beside nginx, which answers
              without reading anything
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from bastide.base.errors import Unavailable
from bastide.engines.sql.bench.orders import BODY, LINKS
from bastide.parts.http.bench.load import (
    CONNECTIONS,
    Requests,
    Turn,
    Wrk,
    figures,
    found_wrk,
    in_turns,
)
from bastide.parts.http.bench.servers import (
    HOST,
    Running,
    installed,
    running_module,
    running_nginx,
    running_uvicorn,
)

BENCH = "bastide.engines.sql.bench"
PLACE = Requests(
    "/orders", 1_000, method="POST", headers={"Content-Type": "application/json"}, body=BODY
)
FOLLOW = Requests("/links/#", LINKS)


class Counted(msgspec.Struct, frozen=True):
    rows: int


class Placing:
    """Orders that a server has answered, held against the rows that it has in the end."""

    def __init__(self, wrk: Wrk, server: Running) -> None:
        self._wrk = wrk
        self._server = server
        self._answered = self._turns = 0

    async def turn(self, seconds: float) -> float:
        loaded = await self._wrk.load(self._server, PLACE, seconds)
        self._answered += loaded.answered
        self._turns += 1
        return loaded.per_s

    async def check(self) -> None:
        """
        Raises:
            Unavailable: a row is missing; or there are more than what was under way when a turn
                ended explains.
        """
        from httpx import AsyncClient  # takes a tenth of a second to import

        async with AsyncClient(timeout=30) as client:
            reply = await client.get(f"http://{HOST}:{self._server.port}/orders")
        rows = msgspec.json.decode(reply.raise_for_status().content, type=Counted).rows
        most = self._answered + self._turns * CONNECTIONS
        if not self._answered <= rows <= most:
            raise Unavailable(f"{rows} rows of {self._answered} orders that were answered")


async def http_writes(directory: Path, seconds: float) -> Mapping[str, float]:
    wrk = found_wrk(directory)
    if wrk is None:
        return {}
    async with AsyncExitStack() as stack:
        servers = {"orders": await _running_shop(stack, directory)}
        fastapi = await _running_fastapi(stack, directory)
        if fastapi is not None:
            servers["fastapi_orders"] = fastapi
        placing = {name: Placing(wrk, server) for name, server in servers.items()}
        turns = await in_turns({name: one.turn for name, one in placing.items()}, seconds)
        for one in placing.values():
            await one.check()
    return figures(turns, {"beside_fastapi": ("orders", "fastapi_orders")})


async def http_reads(directory: Path, seconds: float) -> Mapping[str, float]:
    wrk = found_wrk(directory)
    if wrk is None:
        return {}
    async with AsyncExitStack() as stack:
        ours = await _running_shop(stack, directory)
        nginx = await stack.enter_async_context(running_nginx(directory))
        ways: dict[str, Turn] = {"redirects": wrk.turn(ours, FOLLOW)}
        if nginx is not None:
            ways["nginx_constant_redirects"] = wrk.turn(nginx, FOLLOW)
        turns = await in_turns(ways, seconds)
    return figures(turns, {"beside_nginx": ("redirects", "nginx_constant_redirects")})


async def _running_shop(stack: AsyncExitStack, directory: Path) -> Running:
    return await stack.enter_async_context(running_module(f"{BENCH}.ours", str(directory)))


async def _running_fastapi(stack: AsyncExitStack, directory: Path) -> Running | None:
    if not installed("fastapi", "aiosqlite"):
        return None
    environ = {"BENCH_DATABASE": str(directory / "fastapi.db")}
    return await stack.enter_async_context(
        running_uvicorn(f"{BENCH}.on_fastapi:app", environ=environ)
    )
