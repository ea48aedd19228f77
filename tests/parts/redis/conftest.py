import pytest

from bastide.parts.redis.contract import RedisOptions
from bastide.parts.redis.core import addresses
from bastide.parts.redis.link import linked
from tests.parts.redis.kit import proxied, running

PATIENT = RedisOptions(timeout_s=5)


@pytest.fixture
def redis(tmp_path):
    """A server of the test's own."""
    with running(tmp_path / "redis") as redis:
        yield redis


@pytest.fixture
async def proxy(redis):
    async with proxied(redis.port) as proxy:
        yield proxy


@pytest.fixture
async def link(redis):
    (address,) = addresses(f"127.0.0.1:{redis.port}")
    async with linked(address, PATIENT) as link:
        yield link


@pytest.fixture
def connection(link):
    return link.connection
