"""Connections: how many, for how long, and who gets the next one."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from bastide.base.errors import Unavailable
from bastide.parts.http.client.addresses import parsed
from bastide.parts.http.client.client import Client
from bastide.parts.http.client.contract import ConnectionStale, PoolFull, PoolLate, PoolLimits
from bastide.parts.http.client.origins import ORIGINS_MAX, Standings
from tests.parts.http.client_kit import (
    answer,
    answering,
    late_in,
    one_connection,
    options,
    saying,
    serving,
)


class Gate:
    """A script that answers each request once it is let go, in the order in which they came."""

    def __init__(self):
        self.asked = []
        self.goes = asyncio.Semaphore(0)
        self.open = self.open_max = 0
        self.came = asyncio.Condition()

    async def __call__(self, peer):
        self.open += 1
        self.open_max = max(self.open_max, self.open)
        try:
            while head := (await peer.heard())[0]:
                async with self.came:
                    self.asked.append(head.split()[1].decode())
                    self.came.notify_all()
                await self.goes.acquire()
                peer.say(answer(b"x"))
        finally:
            self.open -= 1

    def let(self, count):
        for _ in range(count):
            self.goes.release()

    async def heard(self, count):
        async with self.came:
            await self.came.wait_for(lambda: len(self.asked) >= count)


async def turns(count=20):
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_hundred_requests_at_once_share_ten_connections():
    async def script(peer):
        nonlocal most, now
        now += 1
        most = max(most, now)
        while (await peer.heard())[0]:
            await asyncio.sleep(0.001)
            peer.say(answer(b"x"))
        now -= 1

    most = now = 0
    limits = PoolLimits(connections_of_one_origin=10)
    async with serving(script) as server, Client(options(pool=limits)) as client:
        asking = [client.request("GET", f"{server.url}/{n}") for n in range(100)]
        assert {found.status for found in await asyncio.gather(*asking)} == {200}
        assert len(server.requests) == 100
        assert most == server.connections == 10


@pytest.mark.parametrize("limit", ["connections_max", "connections_of_one_origin"])
async def test_so_many_are_in_flight_and_one_more_waits(limit):
    gate = Gate()
    limits = PoolLimits(**{limit: 3})
    async with serving(gate) as server, Client(options(pool=limits)) as client:
        asking = [asyncio.create_task(client.request("GET", server.url)) for _ in range(4)]
        await gate.heard(3)
        await turns()
        assert len(gate.asked) == 3
        gate.let(1)
        await gate.heard(4)
        gate.let(3)
        await asyncio.gather(*asking)
        assert gate.open_max == 3


async def test_who_waits_longest_is_next():
    gate = Gate()
    async with serving(gate) as server, Client(options(pool=one_connection())) as client:
        asking = []
        for n in range(10):
            asking.append(asyncio.create_task(client.request("GET", f"{server.url}/{n}")))
            await turns()
        gate.let(10)
        await asyncio.gather(*asking)
        assert gate.asked == [f"/{n}" for n in range(10)]
        assert server.connections == 1


async def test_who_waits_for_a_busy_origin_is_passed_by_who_does_not_and_by_nobody_else():
    busy, idle = Gate(), Gate()
    limits = PoolLimits(connections_max=2, connections_of_one_origin=1)
    async with (
        serving(busy) as first,
        serving(idle) as second,
        Client(options(pool=limits)) as client,
    ):
        asking = [asyncio.create_task(client.request("GET", f"{first.url}/a")) for _ in range(2)]
        await busy.heard(1)
        asking.append(asyncio.create_task(client.request("GET", f"{second.url}/b")))
        await idle.heard(1)
        busy.let(2)
        await busy.heard(2)
        idle.let(1)
        await asyncio.gather(*asking)


async def test_the_oldest_waits_no_longer_because_others_use_what_is_kept():
    """Two origins share one connection: each release goes to who has waited longest."""
    one, two = Gate(), Gate()
    async with (
        serving(one) as first,
        serving(two) as second,
        Client(options(pool=one_connection())) as client,
    ):
        order, asking = [], []

        async def ask(name, url):
            await client.request("GET", f"{url}/{name}")
            order.append(name)

        for name, url in (("a", first.url), ("b", second.url), ("c", first.url), ("d", second.url)):
            asking.append(asyncio.create_task(ask(name, url)))
            await turns()
        one.let(2)
        two.let(2)
        await asyncio.gather(*asking)
        assert order == ["a", "b", "c", "d"]


async def test_who_waits_too_long_is_refused_and_its_place_in_the_queue_is_gone():
    gate = Gate()
    limits = options(pool=one_connection(waiting_max=1))
    async with serving(gate) as server, Client(limits) as client:
        first = asyncio.create_task(client.request("GET", server.url))
        await gate.heard(1)
        with pytest.raises(PoolLate, match="1 are busy") as caught:
            await client.request("GET", server.url, timeouts=late_in(pool_s=0.02))
        assert caught.value.outcome == "none"
        assert caught.value.status == 504
        third = asyncio.create_task(client.request("GET", f"{server.url}/third"))
        await turns()
        gate.let(2)
        await asyncio.gather(first, third)
        assert gate.asked == ["/", "/third"]


async def test_so_many_may_wait_and_one_more_is_refused_at_once():
    gate = Gate()
    limits = options(pool=one_connection(waiting_max=2))
    async with serving(gate) as server, Client(limits) as client:
        asking = [asyncio.create_task(client.request("GET", server.url)) for _ in range(3)]
        await gate.heard(1)
        with pytest.raises(PoolFull, match="at most 2 may") as caught:
            await client.request("GET", server.url)
        assert caught.value.outcome == "none"
        gate.let(3)
        await asyncio.gather(*asking)


async def test_who_waits_and_is_cancelled_takes_nothing_with_it():
    gate = Gate()
    async with serving(gate) as server, Client(options(pool=one_connection())) as client:
        asking = [asyncio.create_task(client.request("GET", f"{server.url}/{n}")) for n in range(4)]
        await gate.heard(1)
        asking[1].cancel()
        await turns()
        gate.let(1)  # the second is gone, the third is next, and goes as it is served
        await asking[0]
        asking[2].cancel()
        gate.let(2)
        assert (await asking[3]).status == 200
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(found[1], asyncio.CancelledError)
        assert isinstance(found[2], asyncio.CancelledError)


async def test_the_place_of_one_that_was_cancelled_as_it_was_served_is_the_next_ones():
    """Every moment at which it may be cancelled, around the one at which it is served."""
    limits = options(pool=one_connection())
    for moment in range(30):
        async with serving(answering(answer())) as server, Client(limits) as client:
            first = asyncio.create_task(client.request("GET", server.url))
            second = asyncio.create_task(client.request("GET", server.url))
            await turns(moment)
            second.cancel()
            await first
            await asyncio.gather(second, return_exceptions=True)
            assert (await client.request("GET", server.url)).status == 200


async def test_the_newest_kept_connection_is_used_first():
    async def script(peer):
        name = b"%d" % server.connections
        while (await peer.heard())[0]:
            peer.say(answer(name))

    async with serving(script) as server, Client(options()) as client:
        async with AsyncExitStack() as stack:
            for _ in range(3):
                found = await stack.enter_async_context(client.stream("GET", server.url))
                assert [piece async for piece in found.pieces()]
        # They were given back in reverse: the first is the newest.
        assert [(await client.request("GET", server.url)).body for _ in range(3)] == [b"1"] * 3


async def test_a_connection_that_nobody_uses_gives_way_to_another_origin():
    limits = PoolLimits(connections_max=2)
    async with (
        serving(answering(answer(b"a"))) as first,
        serving(answering(answer(b"b"))) as second,
        serving(answering(answer(b"c"))) as third,
        Client(options(pool=limits)) as client,
    ):
        for server in (first, second, third):
            await client.request("GET", server.url)
        await client.request("GET", second.url)
        await client.request("GET", first.url)
        assert (first.connections, second.connections, third.connections) == (2, 1, 1)


async def test_a_kept_connection_is_closed_when_it_was_idle_for_long():
    async def script(peer):
        await peer.heard()
        peer.say(answer())
        assert await peer.heard() == (b"", b"")
        gone.set()

    gone = asyncio.Event()
    limits = PoolLimits(idle_s=0.02)
    async with serving(script) as server, Client(options(pool=limits)) as client:
        await client.request("GET", server.url)
        await gone.wait()
        await client.request("GET", server.url)
        assert server.connections == 2


async def test_an_old_connection_is_not_used_again_however_busy_it_was():
    limits = PoolLimits(age_s=0.02)
    async with serving(answering(answer())) as server, Client(options(pool=limits)) as client:
        for _ in range(5):
            await client.request("GET", server.url)
            await asyncio.sleep(0.05)
        assert server.connections == 5


async def test_a_server_that_restarts_between_requests_costs_nobody_a_request():
    async with serving(answering(answer())) as server, Client(options()) as client:
        for n in range(3):
            asking = [client.request("GET", server.url) for _ in range(5)]
            assert {found.status for found in await asyncio.gather(*asking)} == {200}
            await server.stop()
            await server.start()
            assert n * 5 < server.connections <= (n + 1) * 5


async def test_what_is_idempotent_is_asked_again_if_a_kept_connection_was_closed():
    async def script(peer):
        await peer.heard()
        peer.say(answer())
        await peer.heard()  # it is asked once more, and closes instead

    async with serving(script) as server, Client(options()) as client:
        for n in range(1, 4):
            assert (await client.request("PUT", server.url, body=b"x")).status == 200
            assert server.connections == n
        async with serving(script) as other:
            assert (await client.request("POST", other.url)).status == 200
            with pytest.raises(ConnectionStale, match="after it had been kept") as caught:
                await client.request("POST", other.url)
            assert caught.value.outcome == "unknown"
            assert (await client.request("POST", other.url)).status == 200
            assert (await client.request("POST", other.url, idempotent=True)).status == 200


async def test_a_connection_that_failed_before_it_was_kept_is_no_stale_one():
    async with serving(saying(b"")) as server, Client(options()) as client:
        with pytest.raises(Unavailable):
            await client.request("GET", server.url)
        assert server.connections == 1


def test_so_many_origins_are_remembered_and_of_one_more_the_oldest_that_is_not_busy_is_forgotten():
    standings = Standings(options())
    names = [parsed(f"http://h{n}/")[0] for n in range(ORIGINS_MAX + 2)]
    found = [standings.of(name) for name in names[:ORIGINS_MAX]]
    assert standings.of(names[0]) is found[0]
    standings.of(names[ORIGINS_MAX])
    assert standings.of(names[0]) is found[0], "it was asked for after the second"
    assert standings.of(names[1]) is not found[1]


async def test_when_the_client_closes_what_is_in_flight_ends_and_who_waits_is_told():
    gate = Gate()
    async with serving(gate) as server:
        async with Client(options(pool=one_connection())) as client:
            asking = [asyncio.create_task(client.request("GET", server.url)) for _ in range(3)]
            await gate.heard(1)
        for found in await asyncio.gather(*asking, return_exceptions=True):
            assert isinstance(found, Unavailable)
            assert "closed" in str(found)
        with pytest.raises(Unavailable, match="the client is closed"):
            await client.request("GET", server.url)
        gate.let(10)
