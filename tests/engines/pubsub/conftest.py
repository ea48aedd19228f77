"""Channels, on whichever backend a test is run."""

import secrets
from contextlib import asynccontextmanager

import pytest

from bastide.base.settings import parse_url
from bastide.engines.pubsub.backends.memory import open_memory
from bastide.engines.pubsub.service import opened
from tests.parts.redis.kit import running, shared_url

REAL = pytest.param("redis", marks=pytest.mark.engine("redis"))


def opener(url):
    if url.startswith("memory:"):
        return open_memory(parse_url(url))
    from bastide.engines.pubsub.backends.redis import open_redis

    return open_redis(parse_url(url))


class Places:
    """Opens backends at one URL, each as in a process of its own. A client's channels are the
    test's alone.
    """

    def __init__(self, url):
        self.url = url
        self.client = f"chat{secrets.token_hex(4)}"

    @asynccontextmanager
    async def backend(self, options=""):
        async with opener(self.url + options) as backend:
            yield backend

    @asynccontextmanager
    async def open(self, *, client=None, options=""):
        async with (
            self.backend(options) as backend,
            opened(backend, client or self.client) as pubsub,
        ):
            yield pubsub

    def named(self, channel):
        """What another client of the same server calls it."""
        return f"bastide:0:{self.client}:{channel}"


@pytest.fixture(params=["memory", REAL])
def places(request):
    return Places("memory://" if request.param == "memory" else shared_url())


@pytest.fixture
async def pubsub(places):
    async with places.open() as pubsub:
        yield pubsub


@pytest.fixture
def shared():
    return Places(shared_url())


@pytest.fixture
def redis(tmp_path):
    """A server of the test's own."""
    with running(tmp_path / "redis") as redis:
        yield redis


@pytest.fixture
def own(redis):
    return Places(redis.url)
