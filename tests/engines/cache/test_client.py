"""A client that is not ours sees what lies in Redis, and what it changes there is heard."""

import pytest

from tests.engines.cache.kit import Loads, eventually, loaded

redis_py = pytest.importorskip(
    "redis", reason="redis-py, a client that is not ours: pip install redis"
)
pytestmark = [pytest.mark.engine("redis"), pytest.mark.shows("cache.client")]


@pytest.fixture
def theirs(shared):
    with redis_py.Redis.from_url(shared.url) as client:
        yield client


@pytest.fixture
def key_of(theirs, shared):
    """The name of a key, as the server has it."""

    def find(kind, key):
        (name,) = theirs.keys(f"bastide:*:{shared.client}:{kind}:{key}")
        return name

    return find


async def test_redis_py_reads_values_absences_sums_and_their_times(shared, theirs, key_of):
    async with shared.open() as cache:
        await cache.put("a", b"\x00value", ttl_s=60)
        await loaded(cache, "b", Loads(value=None), absent_ttl_s=5)
        await cache.increment("n", 41, ttl_s=60)
        await cache.increment("n", ttl_s=60)
        assert theirs.get(key_of("v", "a")) == b"+\x00value"
        assert theirs.get(key_of("v", "b")) == b"-"
        assert theirs.get(key_of("n", "n")) == b"42"
        assert 55 < theirs.ttl(key_of("v", "a")) <= 60
        assert 0 < theirs.ttl(key_of("v", "b")) <= 5
        assert 55 < theirs.ttl(key_of("n", "n")) <= 60
        await cache.invalidate(["a", "b", "n"])
        assert theirs.keys(f"bastide:*:{shared.client}:*") == []


async def test_what_redis_py_writes_and_deletes_is_heard_near(shared, theirs, key_of):
    async with shared.open() as cache:
        await cache.put("a", b"ours", ttl_s=60)

        async def answers(value):
            return await cache.get("a") == value

        await eventually(lambda: answers(b"ours"))
        theirs.set(key_of("v", "a"), b"+theirs", px=60_000)
        await eventually(lambda: answers(b"theirs"))
        theirs.delete(key_of("v", "a"))
        await eventually(lambda: answers(None))
