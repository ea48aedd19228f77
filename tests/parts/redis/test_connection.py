"""One connection, used by everybody at once."""

import asyncio
import time

import pytest

from bastide.parts.redis.connection import Connection
from bastide.parts.redis.contract import (
    CALLS_MAX,
    UNSENT_BYTES_MAX,
    RedisOptions,
    ServerAway,
    ServerRefused,
)
from bastide.parts.redis.core import addresses
from bastide.parts.redis.link import linked

TIMEOUT_S = 0.2
SLACK_S = 0.15  # a shared machine


def behind(proxy, **options):
    (address,) = addresses(f"127.0.0.1:{proxy.port}")
    return linked(address, RedisOptions(**{"timeout_s": TIMEOUT_S, **options}))


async def test_each_of_many_callers_gets_the_reply_to_its_own_command(connection):
    async def ask(n):
        assert await connection.call("ECHO", n) == b"%d" % n
        replies = await connection.call_many([("ECHO", -n), ("INCRBY", "k", 0), ("ECHO", n)])
        assert [replies[0], replies[2]] == [b"%d" % -n, b"%d" % n]

    await asyncio.gather(*(ask(n) for n in range(2_000)))


async def test_what_fifty_tasks_ask_in_one_turn_of_the_loop_is_one_write(connection, redis):
    def reads():
        said = redis.say("INFO", "stats")
        return int(said.partition("total_reads_processed:")[2].split()[0])

    before = reads()
    await asyncio.gather(*(connection.call("SET", f"k{n}", n) for n in range(50)))
    assert reads() - before <= 5, "and our own looks among them"


async def test_a_cancelled_call_is_run_and_takes_nobody_elses_reply(connection):
    cancelled = [connection.call("INCR", "k") for _ in range(3)]
    others = connection.call_many([("INCR", "k"), ("INCR", "k")])
    last = connection.call("INCR", "k")
    for future in cancelled:
        future.cancel()
    others.cancel()
    assert await last == 6
    assert await connection.call("GET", "k") == b"6"


async def test_a_refused_command_is_told_to_who_asked_and_the_others_go_on(connection):
    wrong, right = connection.call("INCR", "k", "k"), connection.call("INCR", "k")
    with pytest.raises(ServerRefused, match="wrong number of arguments"):
        await wrong
    assert await right == 1
    first, refused, last = await connection.call_many([("GET", "k"), ("LPUSH", "k", 1), ("PING",)])
    assert (first, last) == (b"1", b"PONG")
    assert isinstance(refused, ServerRefused)
    assert str(refused).startswith("WRONGTYPE")


async def test_what_can_not_be_sent_leaves_the_replies_in_their_order(connection):
    first = connection.call("ECHO", "first")
    with pytest.raises(TypeError):
        connection.call("ECHO", object())
    with pytest.raises(TypeError):
        connection.call_many([("ECHO", "a"), ("ECHO", object())])
    assert await connection.call("ECHO", "second") == b"second"
    assert await first == b"first"
    assert await connection.call_many([]) == []


async def test_every_kind_of_reply_comes_as_python_has_it(connection):
    await connection.call("HSET", "h", "field", "value")
    assert await connection.call("HGETALL", "h") == {b"field": b"value"}
    assert await connection.call("GET", "none") is None
    assert await connection.call("LRANGE", "none", 0, -1) == []
    assert await connection.call("SET", "b", b"\x00\r\n\xff", "PX", 60_000) == b"OK"
    assert await connection.call("GET", "b") == b"\x00\r\n\xff"
    assert await connection.call("INCRBYFLOAT", "f", 1.5) == b"1.5"


async def test_a_push_is_handed_over_before_who_asked_after_it_goes_on(redis):
    heard = []
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: Connection(timeout_s=5, on_push=lambda items: heard.append(items[1])),
        "127.0.0.1",
        redis.port,
    )
    await connection.call("HELLO", 3)
    await connection.call("CLIENT", "TRACKING", "ON")
    replies = connection.call_many([("GET", "k"), ("SET", "k", 1), ("PING",)])
    assert await replies == [None, b"OK", b"PONG"]
    assert heard == [[b"k"]]
    connection.give_up()


async def test_a_late_server_is_given_up_with_all_who_wait_for_it(redis, proxy):
    async with behind(proxy) as link:
        connection = link.connection
        proxy.words.clear()
        began_s = time.monotonic()
        waiting = [connection.call("PING") for _ in range(3)]
        several = connection.call_many([("PING",), ("PING",)])
        for error in await asyncio.gather(*waiting, several, return_exceptions=True):
            assert isinstance(error, ServerAway)
            assert error.outcome == "unknown"
        assert TIMEOUT_S <= time.monotonic() - began_s < TIMEOUT_S + SLACK_S
        with pytest.raises(ServerAway) as caught:
            connection.call("PING")
        assert caught.value.outcome == "none", "it was not sent"


async def test_an_idle_connection_is_not_given_up(redis, proxy):
    async with behind(proxy, timeout_s=0.02) as link:
        connection = link.connection
        await connection.call("PING")
        await asyncio.sleep(0.1)  # five time-outs, of nothing
        assert await connection.call("PING") == b"PONG"
        assert link.connection is connection


async def test_a_loop_that_stood_still_finds_its_reply_and_keeps_the_connection(redis, proxy):
    async with behind(proxy, timeout_s=0.05) as link:
        connection = link.connection
        reply = connection.call("PING")
        await asyncio.sleep(0)  # it is sent
        until_s = time.monotonic() + 0.2
        while time.monotonic() < until_s:
            pass
        assert await reply == b"PONG"
        assert link.connection is connection


@pytest.mark.limit("redis.CALLS_MAX")
async def test_so_many_calls_may_wait_and_one_more_is_refused_at_once(connection):
    waiting = [connection.call("PING") for _ in range(CALLS_MAX - 2)]
    several = connection.call_many([("PING",), ("PING",)])
    with pytest.raises(ServerAway, match="at most 50000"):
        connection.call("PING")
    with pytest.raises(ServerAway, match="at most 50000"):
        connection.call_many([("PING",)])
    assert set(await asyncio.gather(*waiting)) == {b"PONG"}
    assert await several == [b"PONG", b"PONG"]
    with pytest.raises(ServerAway):
        connection.call_many([("PING",)] * (CALLS_MAX + 1))
    assert len(await connection.call_many([("PING",)] * CALLS_MAX)) == CALLS_MAX


@pytest.mark.limit("redis.UNSENT_BYTES_MAX")
async def test_so_many_bytes_may_be_unsent_and_one_more_is_refused_at_once(connection):
    around = len(b"*2\r\n$4\r\nECHO\r\n$67108864\r\n\r\n")
    fits = bytes(UNSENT_BYTES_MAX - around)
    with pytest.raises(ServerAway, match="at most 67108864"):
        connection.call("ECHO", fits + b"x")
    echoed = connection.call("ECHO", fits)
    with pytest.raises(ServerAway, match="at most 67108864"):
        connection.call("PING")
    assert len(await echoed) == len(fits)
    assert await connection.call("PING") == b"PONG", "what was taken counts no more"


async def test_bytes_that_the_socket_has_not_taken_count_too(redis, proxy):
    async with behind(proxy, timeout_s=5) as link:
        connection = link.connection
        proxy.commands.clear()
        half = connection.call("ECHO", bytes(UNSENT_BYTES_MAX * 3 // 4))
        await asyncio.sleep(0)  # it is written, and most of it waits
        with pytest.raises(ServerAway, match="at most 67108864"):
            connection.call("ECHO", bytes(UNSENT_BYTES_MAX // 2))
        proxy.commands.set()
        assert len(await half) == UNSENT_BYTES_MAX * 3 // 4
        assert len(await connection.call("ECHO", bytes(UNSENT_BYTES_MAX // 2)))


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+PONG\r\n+unasked\r\n", b"$-7\r\n"]
)
async def test_a_server_that_speaks_something_else_is_given_up(said):
    async def serve(reader, writer):
        await reader.read(100)
        writer.write(said)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(timeout_s=5, on_push=print), "127.0.0.1", port
        )
        reply = connection.call("PING")
        await asyncio.wait_for(connection.lost, 5)
        if said.startswith(b"+PONG"):
            assert await reply == b"PONG"
        else:
            with pytest.raises(ServerAway):
                await reply
