"""What the town shows of it: calls, errors, times by owner; health; and no secret."""

import logging

import pytest

from bastide.engines.cache.contract import Cache, CacheAway, KeyRefused
from bastide.testing.town import raised
from tests.base.owner import list_owner
from tests.base.told import figures_of, told_by
from tests.engines.cache.kit import Loads, eventually, loaded
from tests.parts.redis.kit import running

WORD = "open-sesame-7f3a"


@pytest.fixture
def listed(monkeypatch):
    list_owner(monkeypatch, "cache", Cache)


@pytest.mark.shows("cache.watch")
async def test_calls_errors_times_hits_misses_and_loads_are_counted_for_their_owner(listed):
    async with raised() as town:
        cache = town.served("owner").engine
        await loaded(cache, "a", Loads())
        await loaded(cache, "a", Loads())
        for _ in range(3):
            assert await cache.get("a") == b"loaded"
        assert await cache.get("b") is None
        with pytest.raises(KeyRefused):
            await cache.get("")
        found = await figures_of(town)
    call = 'client="owner",system="cache",verb="get"'
    assert found[f"bastide_calls_total{{{call}}}"] == 5
    assert found[f"bastide_call_seconds_count{{{call}}}"] == 5
    error = 'client="owner",outcome="KeyRefused",system="cache",verb="get"'
    assert found[f"bastide_calls_failed_total{{{error}}}"] == 1
    own = {name: found[f'bastide_cache_{name}{{client="owner"}}'] for name in OWN}
    assert own.pop("near_bytes") > 200
    assert list(own.values()) == [4, 0, 2, 1]


OWN = ("near_hits_total", "far_hits_total", "misses_total", "loads_total", "near_bytes")


@pytest.mark.shows("cache.watch")
@pytest.mark.engine("redis")
async def test_health_tells_of_an_outage_and_nothing_tells_the_password(listed, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    with running(tmp_path / "redis", "--requirepass", WORD) as redis:
        url = redis.url.replace("redis://", f"redis://default:{WORD}@")
        async with raised(environ={"BASTIDE_CACHE_URL": url}) as town:
            client = await town.client()
            cache = town.served("owner").engine
            await cache.put("a", b"value", ttl_s=60)
            assert await cache.get("a") == b"value"
            assert (await client.get("/healthz")).json()["systems"]["cache"]["ok"]
            assert (await figures_of(town))['bastide_cache_far_hits_total{client="owner"}'] == 1
            said = [await told(town)]
            redis.stop()
            with pytest.raises(CacheAway) as away:
                await cache.invalidate(["a"])
            with pytest.raises(CacheAway) as lost:
                await cache.increment("a", ttl_s=60)
            health = await client.get("/healthz")
            assert health.status_code == 503
            assert "is away" in health.json()["systems"]["cache"]["error"]
            error = 'client="owner",outcome="CacheAway",system="cache",verb="invalidate"'
            assert (await figures_of(town))[f"bastide_calls_failed_total{{{error}}}"] == 1
            said += [await told(town), caplog.text, str(away.value), str(lost.value)]
            redis.start()

            async def well():
                return (await client.get("/healthz")).json()["systems"]["cache"]["ok"]

            await eventually(well)
    assert "redis://127.0.0.1" in said[0]
    assert WORD not in "".join(said)


@pytest.mark.engine("redis")
async def test_a_wrong_password_is_told_without_it(listed, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    with running(tmp_path / "redis", "--requirepass", "another") as redis:
        url = redis.url.replace("redis://", f"redis://default:{WORD}@") + "?connect_s=0.2"
        async with raised(environ={"BASTIDE_CACHE_URL": url}) as town:
            client = await town.client()
            health = await client.get("/healthz")
            assert "WRONGPASS" in health.json()["systems"]["cache"]["error"]
            assert WORD not in await told(town) + caplog.text


async def told(town):
    """All that doors and console say."""
    return "".join((await told_by(town)).values())
