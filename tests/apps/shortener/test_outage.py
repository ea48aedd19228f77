"""What a shortener does while its database or its cache is away, and that it heals by itself.

With a shared cache, links that are followed often are redirected without the database: their clicks
wait in the journal. What needs the database refuses, in time.
"""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from bastide.apps.shortener.contract import LINKS
from bastide.testing.town import raised
from tests.apps.shortener.conftest import LONG, Visitor, bearer, bus_of
from tests.base.told import health_of
from tests.engines.cache.kit import eventually
from tests.engines.sql.conftest import own_server, postgres_url  # noqa: F401 (fixtures)
from tests.parts.redis.kit import running

REFUSED_WITHIN_S = 8.0
HEALS_WITHIN_S = 20.0
OTHER = "https://other.example/"


@asynccontextmanager
async def shortener_on(**environ):
    async with raised("shortener", environ=environ) as town:
        yield Visitor(await town.client("shortener"), town)


async def in_time(asked):
    """The reply, which must not be waited for long."""
    started_s = time.monotonic()
    reply = await asked
    assert time.monotonic() - started_s < REFUSED_WITHIN_S
    return reply


def problem(reply):
    return reply.status_code, reply.json()["type"].removeprefix("urn:bastide:")


@pytest.fixture
def redis(tmp_path):
    with running(tmp_path / "redis") as redis:
        yield redis


# The database


@pytest.mark.engine("postgres")
@pytest.mark.engine("redis")
@pytest.mark.shows("shortener.outage")
async def test_without_its_database_hot_links_go_on_and_the_rest_refuses_until_it_is_back(
    own_server,  # noqa: F811 (the fixture)
    redis,
):
    url, server = own_server
    environ = {"BASTIDE_SQL_URL": f"{url}?connect_s=1", "BASTIDE_CACHE_URL": redis.url}
    async with shortener_on(**environ) as visitor:
        hot, cold = await visitor.made(), await visitor.made("https://cold.example/")
        few = await visitor.made("https://few.example/", visits_max=5)
        for made in (hot, few):
            assert (await visitor.follow(made["short_code"])).status_code == 302
        key = hot["manage_key"]
        await asyncio.to_thread(server, "halt")

        for _ in range(3):
            reply = await in_time(visitor.follow(hot["short_code"]))
            assert (reply.status_code, reply.headers.get("location")) == (302, LONG)
        refused = {
            "cold": visitor.follow(cold["short_code"]),
            "missing": visitor.follow("nowhere"),
            "limited": visitor.follow(few["short_code"]),
            "shorten": visitor.shorten("https://new.example/"),
            "change": visitor.change(hot["short_code"], key, disabled=True),
            "delete": visitor.delete(hot["short_code"], key),
            "stats": visitor.client.get(f"/api/{hot['short_code']}/stats", headers=bearer(key)),
            "list": visitor.client.get("/api/links", headers=bearer(key)),
            "import": visitor.import_("https://new.example/"),
        }
        for name, asked in refused.items():
            reply = await in_time(asked)
            assert problem(reply) == (503, "database-away"), name
            assert reply.headers["retry-after"], name
        assert (await health_of(visitor.town, "shortener"))["ok"] is False

        await asyncio.to_thread(server, "start")

        async def is_back():
            return (await visitor.follow(cold["short_code"])).status_code == 302

        await eventually(is_back, within_s=HEALS_WITHIN_S)
        assert (await visitor.shorten("https://new.example/")).status_code == 201
        stats = await visitor.stats(hot["short_code"], key)
        assert (stats["total_clicks"], stats["pending"]) == (4, False), "each answered, once"
        assert (await visitor.follow(few["short_code"])).status_code == 302
        assert (await health_of(visitor.town, "shortener"))["ok"] is True


# The cache


@pytest.mark.engine("redis")
@pytest.mark.shows("shortener.outage")
async def test_without_its_cache_links_are_followed_and_made(redis):
    async with shortener_on(BASTIDE_CACHE_URL=f"{redis.url}?connect_s=0.2") as visitor:
        hot, cold = await visitor.made(), await visitor.made("https://cold.example/")
        await visitor.follow(hot["short_code"])
        redis.stop()
        for made in (hot, cold):
            for _ in range(3):
                reply = await in_time(visitor.follow(made["short_code"]))
                assert reply.headers["location"] == made["original_url"]
        new = await in_time(visitor.shorten("https://new.example/"))
        assert new.status_code == 201
        assert (await visitor.follow(new.json()["short_code"])).status_code == 302
        assert (await visitor.stats(hot["short_code"], hot["manage_key"]))["total_clicks"] == 4
        redis.start()
        assert (await visitor.follow(hot["short_code"])).status_code == 302


@pytest.mark.engine("redis")
@pytest.mark.shows("shortener.outage")
@pytest.mark.parametrize("verb", ["disable", "lead elsewhere", "delete", "block"])
async def test_a_change_that_the_cache_can_not_be_told_is_in_doubt_until_it_can(verb, redis):
    async with shortener_on(BASTIDE_CACHE_URL=f"{redis.url}?connect_s=0.2") as visitor:
        made = await visitor.made()
        code, key = made["short_code"], made["manage_key"]
        await visitor.follow(code)
        redis.stop()
        asked = {
            "disable": lambda: visitor.change(code, key, disabled=True),
            "lead elsewhere": lambda: visitor.change(code, key, original_url=OTHER),
            "delete": lambda: visitor.delete(code, key),
            "block": lambda: visitor.client.put(f"/api/blocked/{code}"),
        }[verb]
        reply = await in_time(asked())
        assert problem(reply) == (503, "cache-away")
        assert reply.json()["facts"]["outcome"] == "unknown"
        redis.start()

        async def is_heard():
            return await bus_of(visitor.town).settled(LINKS, "cache")

        await eventually(is_heard, within_s=HEALS_WITHIN_S)
        for _ in range(3):
            found = await visitor.follow(code)
            assert found.status_code == 410 or found.headers["location"] == OTHER
        assert (await asked()).is_success, "and asked again it is told so"


@pytest.mark.engine("redis")
@pytest.mark.shows("shortener.outage")
async def test_a_cache_that_says_nothing_holds_nobody_up(redis):
    """It is there and stands still: nobody learns at once that it is away."""
    async with shortener_on(BASTIDE_CACHE_URL=f"{redis.url}?connect_s=0.2") as visitor:
        cold = await visitor.made("https://cold.example/")
        redis.pause()
        try:
            assert (await in_time(visitor.follow(cold["short_code"]))).status_code == 302
        finally:
            redis.resume()
