"""A shortener in a town in this process; the verbs a test needs, as HTTP."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest
from httpx import AsyncClient, Response

from bastide.apps.shortener.contract import CLICKS, LINKS
from bastide.testing.town import RaisedTown, raised
from tests.engines.cache.kit import eventually

RaisedWith = Callable[..., Awaitable["Visitor"]]
LONG = "https://example.com/a/long/address?with=query"


class Visitor:
    """Speaks to the shortener as a program would; `key` is the bearer it shows, if it has one."""

    def __init__(self, client: AsyncClient, town: RaisedTown) -> None:
        self.client = client
        self.town = town

    async def shorten(
        self, url: str = LONG, *, key: str | None = None, repeat: str | None = None, **more: Any
    ) -> Response:
        headers = bearer(key) | ({"idempotency-key": repeat} if repeat else {})
        asked = {"original_url": url, **more}
        return await self.client.post("/api/shorten", json=asked, headers=headers)

    async def made(self, url: str = LONG, *, key: str | None = None, **more: Any) -> dict[str, Any]:
        reply = await self.shorten(url, key=key, **more)
        assert reply.status_code in (200, 201), reply.text
        made: dict[str, Any] = reply.json()
        return made

    async def follow(
        self, code: str, *, agent: str = "Mozilla/5.0", method: str = "GET"
    ) -> Response:
        return await self.client.request(method, f"/{code}", headers={"user-agent": agent})

    async def stats(self, code: str, key: str) -> dict[str, Any]:
        reply = await self.client.get(f"/api/{code}/stats", headers=bearer(key))
        assert reply.status_code == 200, reply.text
        stats: dict[str, Any] = reply.json()
        return stats

    async def change(self, code: str, key: str | None, **changes: Any) -> Response:
        return await self.client.patch(f"/api/{code}", json=changes, headers=bearer(key))

    async def delete(self, code: str, key: str | None) -> Response:
        return await self.client.delete(f"/api/{code}", headers=bearer(key))

    async def import_(self, *lines: str | dict[str, str], **more: Any) -> Response:
        links = [{"original_url": line} if isinstance(line, str) else line for line in lines]
        key, repeat = more.pop("key", None), more.pop("repeat", None)
        headers = bearer(key) | ({"idempotency-key": repeat} if repeat else {})
        asked = {"links": links, **more}
        return await self.client.post("/api/links/import", json=asked, headers=headers)


def bus_of(town: RaisedTown) -> Any:
    """The shortener's own."""
    opened = [(o.manifest.name, o.client.name, o.served) for o in town.town.opened]
    return next(served for name, client, served in opened if (name, client) == ("bus", "shortener"))


async def settle(town: RaisedTown) -> None:
    """Returns when clicks are counted, and the cache has heard of every change."""
    for topic, group in ((CLICKS, "counts"), (LINKS, "cache")):
        await eventually(partial(bus_of(town).settled, topic, group))


def bearer(key: str | None) -> dict[str, str]:
    return {} if key is None else {"authorization": f"Bearer {key}"}


POSTGRES_URL = os.environ.get("BASTIDE_TEST_POSTGRES_URL", "")
REDIS_URL = os.environ.get("BASTIDE_TEST_REDIS_URL", "")
REQUIRED = os.environ.get("BASTIDE_TEST_ENGINES_REQUIRED") == "1"
ON_ENGINES = (
    *("test_create", "test_codes", "test_manage", "test_clicks", "test_import", "test_follow"),
    *("test_rules", "test_edit", "test_cache", "test_days", "test_moderation", "test_files"),
)
ENGINES = (pytest.mark.engine("postgres"), pytest.mark.engine("redis"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What meets database or cache is run on PostgreSQL with Redis too, if they are there."""
    if "environ" in metafunc.fixturenames:
        backends: list[Any] = ["memory"]
        if ((POSTGRES_URL and REDIS_URL) or REQUIRED) and metafunc.module.__name__.endswith(
            ON_ENGINES
        ):
            backends.append(pytest.param("engines", marks=ENGINES))
        metafunc.parametrize("environ", backends, indirect=True)


@pytest.fixture
async def environ(request: pytest.FixtureRequest) -> AsyncIterator[Mapping[str, str]]:
    """The settings of a town on the backend, which knows nothing of earlier tests."""
    if request.param == "memory":
        yield {}
        return
    async with clean_engines() as settings:
        yield settings


@asynccontextmanager
async def clean_engines() -> AsyncIterator[Mapping[str, str]]:
    """The settings of towns on PostgreSQL and Redis, in which nothing of ours is."""
    assert POSTGRES_URL, "BASTIDE_TEST_POSTGRES_URL is not set: scripts/engines start"
    assert REDIS_URL, "BASTIDE_TEST_REDIS_URL is not set: scripts/engines start"
    import asyncpg
    from redis.asyncio import Redis

    connection = await asyncpg.connect(POSTGRES_URL)
    await connection.execute("DROP SCHEMA IF EXISTS shortener, ids CASCADE")
    async with Redis.from_url(REDIS_URL) as redis:
        await redis.flushdb()
    yield {
        "BASTIDE_SQL_URL": POSTGRES_URL,
        "BASTIDE_CACHE_URL": REDIS_URL,
        "BASTIDE_PUBSUB_URL": REDIS_URL,
    }
    await connection.execute("DROP SCHEMA IF EXISTS shortener, ids CASCADE")
    await connection.close()


@pytest.fixture
async def town(environ: Mapping[str, str]) -> AsyncIterator[RaisedTown]:
    async with raised("shortener", environ=environ) as town:
        yield town


@pytest.fixture
async def visitor(town: RaisedTown) -> Visitor:
    return Visitor(await town.client("shortener"), town)


@pytest.fixture
async def raised_with(environ: Mapping[str, str]) -> AsyncIterator[RaisedWith]:
    """`await raised_with(BASTIDE_...="...")` is a visitor of a town with these settings."""
    async with AsyncExitStack() as stack:

        async def raise_(**more: str) -> Visitor:
            settings = {**environ, **more}
            town = await stack.enter_async_context(raised("shortener", environ=settings))
            return Visitor(await town.client("shortener"), town)

        yield raise_
