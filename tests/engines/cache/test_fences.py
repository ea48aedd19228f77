"""What a deposed holder puts is not kept, as long as the cache remembers."""

import asyncio

import pytest

from bastide.base.fence import FENCES_MAX, TOKEN_MAX, Deposed, Fence, FencesOver
from tests.engines.cache.conftest import Caches


async def put(cache, key, value, token, *, name="lock"):
    await cache.put(key, value, ttl_s=60, fence=Fence(name, token))


async def test_a_token_may_put_until_a_newer_one_has(cache):
    await put(cache, "a", b"one", 9)
    await put(cache, "a", b"two", 10)  # a longer number, and a later one
    with pytest.raises(Deposed) as refused:
        await put(cache, "a", b"late", 9)
    assert refused.value.newest == 10
    assert await cache.get("a") == b"two"
    await put(cache, "a", b"three", 10)
    await put(cache, "a", b"four", 1, name="another")
    await cache.put("a", b"five", ttl_s=60)
    assert await cache.get("a") == b"five"
    await put(cache, "a", b"six", TOKEN_MAX)
    with pytest.raises(Deposed):
        await put(cache, "a", b"late", TOKEN_MAX - 1)
    assert await cache.get("a") == b"six"


async def test_who_races_leaves_the_newest_tokens_value_or_none(cache):
    async def write(token):
        try:
            await put(cache, "a", b"%d" % token, token)
        except Deposed:
            assert token < 9

    for _ in range(10):
        await asyncio.gather(*(write(token) for token in (3, 1, 9, 2, 5, 9, 1, 6)))
        assert await cache.get("a") in (b"9", None)  # puts that race may forget one another


@pytest.mark.engine("redis")
async def test_another_process_is_deposed_too(shared):
    async with shared.open() as one, shared.open() as other:
        await put(one, "a", b"one", 1)
        await put(other, "a", b"two", 2)
        with pytest.raises(Deposed):
            await put(one, "a", b"late", 1)
        assert await one.get("a") == b"two"


@pytest.mark.limit("cache.FENCES_MAX")
async def test_memory_keeps_so_many_fences(monkeypatch):
    caches = Caches("memory://")
    assert FENCES_MAX == 10_000
    monkeypatch.setattr("bastide.engines.cache.backends.memory.FENCES_MAX", 2)
    async with caches.open() as cache:
        await put(cache, "a", b"one", 1, name="x")
        await put(cache, "a", b"two", 1, name="y")
        with pytest.raises(FencesOver):
            await put(cache, "a", b"late", 1, name="z")
        await put(cache, "b", b"three", 2, name="x")
        assert await cache.get("a") == b"two"
