"""A cache, on whichever backend a test is run."""

import secrets
from contextlib import asynccontextmanager

import pytest

from bastide.base.settings import parse_url
from bastide.engines.cache.backends.memory import open_memory
from bastide.engines.cache.service import opened
from tests.parts.redis.kit import running, shared_url

REAL = pytest.param("redis", marks=pytest.mark.engine("redis"))


def opener(url):
    if url.startswith("memory:"):
        return open_memory(parse_url(url))
    from bastide.engines.cache.backends.redis.backend import open_redis

    return open_redis(parse_url(url))


class Caches:
    """Opens caches on one URL, each on a backend of its own, as in a process of its own. A client's
    keys are the test's alone.
    """

    def __init__(self, url):
        self.url = url
        self.client = f"shop{secrets.token_hex(4)}"

    @asynccontextmanager
    async def open(self, *, client=None, options=""):
        async with (
            opener(self.url + options) as backend,
            opened(backend, client or self.client) as cache,
        ):
            yield cache


@pytest.fixture(params=["memory", REAL])
def caches(request):
    return Caches("memory://" if request.param == "memory" else shared_url())


@pytest.fixture
async def cache(caches):
    async with caches.open() as cache:
        yield cache


@pytest.fixture
def shared():
    return Caches(shared_url())


@pytest.fixture
def redis(tmp_path):
    """A server of the test's own."""
    with running(tmp_path / "redis") as redis:
        yield redis


@pytest.fixture
def own(redis):
    return Caches(redis.url)
