"""The backend in this process: its clock, its bounds, its speed near."""

import subprocess
import sys
from pathlib import Path

import pytest

from bastide.base.rt.clock import ManualClock
from bastide.base.rt.runtime import Runtime, current, run_on
from bastide.base.settings import parse_url
from bastide.engines.cache.backends.memory import MemoryStore, open_memory
from bastide.engines.cache.service import opened
from tests.engines.cache.kit import Loads, loaded

GROWS = Path(__file__).with_name("grows.py")


@pytest.fixture
async def clock():
    before, clock = current(), ManualClock()
    run_on(Runtime(clock=clock))
    yield clock
    run_on(before)


@pytest.fixture
async def cache(clock):
    async with open_memory(parse_url("memory://")) as backend, opened(backend, "shop") as cache:
        yield cache


async def test_a_value_ends_with_its_time(cache, clock):
    await cache.put("a", b"value", ttl_s=10)
    clock.advance(9.999)
    assert await cache.get("a") == b"value"
    clock.advance(0.002)
    assert await cache.get("a") is None


async def test_that_there_is_no_such_thing_ends_with_its_own_time(cache, clock):
    load = Loads(value=None)
    await loaded(cache, "a", load, ttl_s=60, absent_ttl_s=5)
    clock.advance(4.9)
    await loaded(cache, "a", load)
    clock.advance(0.2)
    await loaded(cache, "a", load)
    assert load.count == 2


async def test_a_sum_ends_with_the_time_of_its_first_increment(cache, clock):
    assert await cache.increment("a", ttl_s=10) == 1
    clock.advance(6)
    assert await cache.increment("a", ttl_s=10) == 2
    clock.advance(5)
    assert await cache.increment("a", ttl_s=10) == 1


@pytest.mark.box("cache.clock-steps")
@pytest.mark.parametrize("step_s", [365 * 24 * 3600, -365 * 24 * 3600])
async def test_a_wall_clock_that_jumps_expires_nothing_and_prolongs_nothing(cache, clock, step_s):
    await cache.put("a", b"value", ttl_s=10)
    await cache.increment("a", ttl_s=10)
    clock.step(step_s)
    assert await cache.get("a") == b"value"
    assert await cache.increment("a", ttl_s=10) == 2
    clock.advance(10)
    assert await cache.get("a") is None
    assert await cache.increment("a", ttl_s=10) == 1


async def test_a_full_cache_goes_on_and_stays_within_its_bytes(clock):
    store = MemoryStore(1 << 20)
    for n in range(5_000):
        await store.put(f"k{n}", bytes(n % 900), 60)
        await store.increment(f"k{n}", 1, 60)
        assert store.near_bytes <= 1 << 20
    assert store.near("k4999") == bytes(4999 % 900)
    assert store.near("k0") is None


@pytest.mark.box("cache.bytes")
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells how large a process is")
@pytest.mark.parametrize("value_bytes_max", [100, 3000])
def test_the_process_grows_by_what_is_accounted_give_or_take_15_percent(value_bytes_max):
    ran = subprocess.run(
        [sys.executable, str(GROWS), str(value_bytes_max)], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    bound, accounted, grown = map(int, ran.stdout.split())
    print(f"bound {bound}, accounted {accounted}, grown {grown}")
    assert accounted <= bound
    assert 0.85 < grown / accounted < 1.15
