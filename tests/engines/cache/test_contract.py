"""What every backend keeps: the promises of `engines/cache/contract.py`."""

import asyncio

import pytest

from bastide.engines.cache.contract import (
    COUNT_MAX,
    INVALIDATE_KEYS_MAX,
    KEY_BYTES_MAX,
    TTL_S_MAX,
    VALUE_BYTES_MAX,
    CountRefused,
    KeyRefused,
    TtlRefused,
    ValueTooLarge,
)
from tests.engines.cache.kit import Loads, eventually, loaded


async def test_what_was_put_is_got_until_it_is_deleted(cache):
    assert await cache.get("a") is None
    await cache.put("a", b"one", ttl_s=60)
    assert await cache.get("a") == b"one"
    await cache.put("a", b"", ttl_s=60)
    assert await cache.get("a") == b""
    await cache.delete("a")
    assert await cache.get("a") is None
    await cache.delete("a")


async def test_clients_do_not_see_each_others_keys(caches):
    async with caches.open() as one, caches.open(client=f"{caches.client}b") as other:
        await one.put("a", b"one", ttl_s=60)
        await other.increment("a", ttl_s=60)
        await other.delete("a")
        assert await one.get("a") == b"one"


@pytest.mark.box("cache.one-load")
async def test_of_ten_thousand_that_miss_at_once_exactly_one_loads(cache):
    load = Loads(gate=asyncio.Event())
    waiting = [asyncio.create_task(loaded(cache, "a", load)) for _ in range(10_000)]
    await load.began.wait()
    load.gate.set()
    assert set(await asyncio.gather(*waiting)) == {b"loaded"}
    assert load.count == 1
    assert await cache.get("a") == b"loaded"
    assert await loaded(cache, "a", load) == b"loaded"
    assert load.count == 1


async def test_that_there_is_no_such_thing_is_kept_too(cache):
    load = Loads(value=None)
    assert await loaded(cache, "a", load) is None
    assert await loaded(cache, "a", load) is None
    assert await cache.get("a") is None
    assert load.count == 1
    await cache.put("a", b"now", ttl_s=60)
    assert await loaded(cache, "a", load) == b"now"


@pytest.mark.box("cache.late-load")
@pytest.mark.parametrize("verb", ["delete", "invalidate"])
async def test_a_load_that_ends_after_an_invalidation_is_returned_and_not_kept(cache, verb):
    load = Loads(value=b"old", gate=asyncio.Event())
    waiting = asyncio.create_task(loaded(cache, "a", load))
    await load.began.wait()
    await (cache.delete("a") if verb == "delete" else cache.invalidate(["b", "a"]))
    load.gate.set()
    assert await waiting == b"old"
    assert await cache.get("a") is None
    assert await loaded(cache, "a", Loads(value=b"new")) == b"new"


async def test_who_comes_after_an_invalidation_does_not_wait_for_the_load_before_it(cache):
    load = Loads(value=b"old", gate=asyncio.Event())
    waiting = asyncio.create_task(loaded(cache, "a", load))
    await load.began.wait()
    await cache.invalidate(["a"])
    assert await loaded(cache, "a", Loads(value=b"new")) == b"new"
    load.gate.set()
    assert await waiting == b"old"
    assert await cache.get("a") == b"new"


async def test_what_is_put_while_a_load_runs_stays(cache):
    load = Loads(value=b"old", gate=asyncio.Event())
    waiting = asyncio.create_task(loaded(cache, "a", load))
    await load.began.wait()
    await cache.put("a", b"new", ttl_s=60)
    load.gate.set()
    await waiting
    assert await cache.get("a") == b"new"


async def test_what_a_load_raises_is_raised_by_all_who_wait_and_not_kept(cache):
    load = Loads(gate=asyncio.Event(), error=ValueError("no"))
    waiting = [asyncio.create_task(loaded(cache, "a", load)) for _ in range(5)]
    await load.began.wait()
    load.gate.set()
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(error) for error in errors] == ["no"] * 5
    assert await loaded(cache, "a", Loads()) == b"loaded"


async def test_one_who_gives_up_leaves_the_load_to_the_others(cache):
    load = Loads(gate=asyncio.Event())
    first = asyncio.create_task(loaded(cache, "a", load))
    await load.began.wait()
    second = asyncio.create_task(loaded(cache, "a", load))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    load.gate.set()
    assert await second == b"loaded"
    assert (load.count, load.cancelled) == (1, 0)


async def test_when_all_who_wait_are_cancelled_so_is_the_load(cache):
    load = Loads(gate=asyncio.Event())
    waiting = [asyncio.create_task(loaded(cache, "a", load)) for _ in range(3)]
    await load.began.wait()
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert await loaded(cache, "a", Loads(value=b"again")) == b"again"
    assert load.cancelled == 1


async def test_who_comes_while_a_given_up_load_ends_is_not_cancelled_with_it(cache):
    ends = asyncio.Event()

    async def load():
        try:
            await asyncio.Event().wait()
        finally:
            await ends.wait()

    first = asyncio.create_task(loaded(cache, "a", load))
    await asyncio.sleep(0.01)  # it is up; nothing tells
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert await loaded(cache, "a", Loads(value=b"again")) == b"again"
    ends.set()


async def test_closing_the_cache_ends_loads_that_run(caches):
    """Also one that is not kept any more."""
    load = Loads(gate=asyncio.Event())
    async with caches.open() as cache:
        waiting = [asyncio.create_task(loaded(cache, key, load)) for key in ("a", "b")]

        async def both():
            return load.count == 2

        await eventually(both)
        await cache.invalidate(["a"])
    for one in waiting:
        with pytest.raises(asyncio.CancelledError):
            await one
    assert load.cancelled == 2


async def test_sums_beyond_53_bits_are_exact(cache):
    """Trap: a number in Lua, or in JavaScript, holds 53 bits."""
    assert await cache.increment("a", 2**53, ttl_s=60) == 2**53
    assert await cache.increment("a", 1, ttl_s=60) == 2**53 + 1


@pytest.mark.box("cache.increment")
async def test_increments_from_two_places_are_all_counted(caches):
    async with caches.open() as one:
        counted = await asyncio.gather(*(one.increment("a", 2, ttl_s=60) for _ in range(100)))
        assert sorted(counted) == list(range(2, 202, 2))
        assert await one.increment("a", -200, ttl_s=60) == 0
        assert await one.get("a") is None, "sums have keys of their own"
        await one.put("a", b"value", ttl_s=60)
        assert await one.increment("a", 5, ttl_s=60) == 5
        await one.delete("a")
        assert await one.increment("a", ttl_s=60) == 1


@pytest.mark.limit("cache.COUNT_MAX")
async def test_a_sum_stays_within_64_bits(cache):
    assert await cache.increment("a", COUNT_MAX, ttl_s=60) == COUNT_MAX
    with pytest.raises(CountRefused):
        await cache.increment("a", 1, ttl_s=60)
    with pytest.raises(CountRefused):
        await cache.increment("b", COUNT_MAX + 1, ttl_s=60)
    assert await cache.increment("b", -COUNT_MAX, ttl_s=60) == -COUNT_MAX
    for _ in range(2):
        with pytest.raises(CountRefused):
            await cache.increment("b", -1, ttl_s=60)
    assert await cache.increment("b", COUNT_MAX, ttl_s=60) == 0


@pytest.mark.limit("cache.KEY_BYTES_MAX")
@pytest.mark.parametrize("letter", ["k", "é", "𝄞"])
async def test_a_key_of_the_longest_length_is_taken_and_one_byte_more_refused(cache, letter):
    longest = letter * (KEY_BYTES_MAX // len(letter.encode()))
    await cache.put(longest, b"value", ttl_s=60)
    assert await cache.get(longest) == b"value"
    for key in (longest + "k", ""):
        with pytest.raises(KeyRefused):
            await cache.get(key)
        with pytest.raises(KeyRefused):
            await cache.put(key, b"value", ttl_s=60)
        with pytest.raises(KeyRefused):
            await loaded(cache, key, Loads())
        with pytest.raises(KeyRefused):
            await cache.increment(key, ttl_s=60)
        with pytest.raises(KeyRefused):
            await cache.invalidate([key])


@pytest.mark.limit("cache.VALUE_BYTES_MAX")
async def test_the_largest_value_is_kept_and_one_byte_more_refused(cache):
    largest = bytes(VALUE_BYTES_MAX)
    await cache.put("a", largest, ttl_s=60)
    assert await cache.get("a") == largest
    assert await loaded(cache, "b", Loads(value=largest)) == largest
    with pytest.raises(ValueTooLarge):
        await cache.put("a", largest + b"x", ttl_s=60)
    with pytest.raises(ValueTooLarge):
        await loaded(cache, "c", Loads(value=largest + b"x"))


@pytest.mark.limit("cache.TTL_S_MAX")
async def test_the_longest_life_is_taken_and_a_longer_one_refused(cache):
    await cache.put("a", b"value", ttl_s=TTL_S_MAX)
    assert await cache.get("a") == b"value"
    for ttl_s in (TTL_S_MAX + 1, 0, -1, float("nan")):
        with pytest.raises(TtlRefused):
            await cache.put("a", b"value", ttl_s=ttl_s)
        with pytest.raises(TtlRefused):
            await cache.increment("a", ttl_s=ttl_s)
        with pytest.raises(TtlRefused):
            await loaded(cache, "x", Loads(), ttl_s=ttl_s)
        with pytest.raises(TtlRefused):
            await loaded(cache, "x", Loads(), absent_ttl_s=ttl_s)


@pytest.mark.limit("cache.INVALIDATE_KEYS_MAX")
async def test_so_many_keys_are_taken_back_at_once_and_no_more(cache):
    keys = [f"k{n}" for n in range(INVALIDATE_KEYS_MAX)]
    await asyncio.gather(*(cache.put(key, b"value", ttl_s=60) for key in keys))
    await cache.invalidate(keys)
    assert set(await asyncio.gather(*(cache.get(key) for key in keys))) == {None}
    with pytest.raises(KeyRefused):
        await cache.invalidate([*keys, "one more"])
    await cache.invalidate([])


async def test_it_is_well(cache):
    await cache.health()
