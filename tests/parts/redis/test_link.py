"""A connection that is made again whenever it is lost."""

import asyncio
import time

import pytest

from bastide.parts.redis.contract import Address, RedisOptions, ServerAway, ServerRefused
from bastide.parts.redis.core import addresses
from bastide.parts.redis.link import Greeting, linked
from tests.parts.redis.kit import running

QUICK = RedisOptions(timeout_s=1, connect_s=0.2)


class Noting(Greeting):
    """Writes down what it is told; refuses the first `refusals` connections."""

    def __init__(self, refusals=0):
        self.told = []
        self.refusals = refusals
        self.greeted = asyncio.Event()

    async def greet(self, connection):
        self.told.append("greet")
        if self.refusals:
            self.refusals -= 1
            raise ServerRefused("not this one")
        await connection.call("SET", "greeted", 1)
        self.greeted.set()

    def part(self):
        self.told.append("part")
        self.greeted.clear()


def at(redis, **more):
    return Address("127.0.0.1", redis.port, **more)


async def test_while_the_server_is_away_calls_are_refused_at_once_and_it_heals(redis):
    noting = Noting()
    async with linked(at(redis), QUICK, noting) as link:
        await link.health()
        redis.stop()
        with pytest.raises(ServerAway):
            await link.health()
        began_s = time.monotonic()
        for _ in range(100):
            with pytest.raises(ServerAway, match="is away"):
                link.connection.call("PING")
        assert time.monotonic() - began_s < 0.1
        redis.start()
        await asyncio.wait_for(noting.greeted.wait(), 5)
        await link.wait()
        await link.health()
    assert noting.told == ["greet", "part", "greet", "part"]


async def test_a_link_is_opened_without_its_server_within_connect_s(redis):
    redis.stop()
    began_s = time.monotonic()
    async with linked(at(redis), QUICK) as link:
        assert time.monotonic() - began_s < 0.4
        with pytest.raises(ServerAway, match=f"127.0.0.1:{redis.port}/0 is away: .*Connect"):
            await link.health()


async def test_a_server_that_takes_the_connection_and_says_nothing_is_away(redis):
    redis.pause()
    async with linked(at(redis), QUICK) as link:
        with pytest.raises(ServerAway):
            await link.health()
        redis.resume()


async def test_a_connection_that_could_not_be_greeted_is_not_used(redis):
    noting = Noting(refusals=2)
    async with linked(at(redis), RedisOptions(connect_s=5), noting) as link:
        await link.health()
        assert noting.told == ["greet", "part", "greet", "part", "greet"]
        assert await link.connection.call("GET", "greeted") == b"1"


async def test_what_may_be_done_twice_is_asked_again_on_the_next_connection(redis):
    async with linked(at(redis), QUICK) as link:
        asked = []

        async def ask(connection):
            asked.append(connection)
            if len(asked) == 1:
                redis.say("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            return await connection.call("PING")

        assert await link.twice(ask) == b"PONG"
        assert len(set(asked)) == 2


async def test_what_is_asked_twice_is_refused_when_the_time_out_is_over(redis):
    async with linked(at(redis), QUICK) as link:

        async def ask(connection):
            redis.stop()
            return await connection.call("PING")

        began_s = time.monotonic()
        with pytest.raises(ServerAway):
            await link.twice(ask)
        assert time.monotonic() - began_s < QUICK.timeout_s + 0.2


async def test_what_the_server_refuses_is_not_asked_again(redis):
    async with linked(at(redis), QUICK) as link:
        asked = []

        async def ask(connection):
            asked.append(connection)
            return await connection.call("LPOP")

        with pytest.raises(ServerRefused):
            await link.twice(ask)
        assert len(asked) == 1


async def test_a_wrong_password_is_told_without_the_password(tmp_path):
    with running(tmp_path / "redis", "--requirepass", "hush-now") as redis:
        for password in ("", "hush-4711"):
            async with linked(at(redis, password=password), QUICK) as link:
                with pytest.raises(ServerAway, match=r"NOAUTH|WRONGPASS") as caught:
                    await link.health()
                assert "hush" not in str(caught.value)
        async with linked(at(redis, password="hush-now", database=3), QUICK) as link:
            await link.connection.call("SET", "k", "v")
            assert b"db=3" in await link.connection.call("CLIENT", "INFO")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70])
async def test_a_host_that_there_is_not_is_told(host):
    (address,) = addresses(host)
    async with linked(address, RedisOptions(connect_s=0.3)) as link:
        with pytest.raises(ServerAway, match="is away: "):
            await link.health()


async def test_nothing_is_left_of_a_link_that_has_ended(redis):
    async with linked(at(redis), QUICK) as link:
        waiting = link.connection.call("BLPOP", "k", 0)
    with pytest.raises(ServerAway):
        await waiting
    assert redis.say("CLIENT", "LIST").count("name=bastide") == 0
