"""What is asked again, what is not, and when a server is left alone."""

import asyncio

import pytest

from bastide.base.rt import net, runtime
from bastide.base.rt.clock import ManualClock
from bastide.base.rt.runtime import Runtime
from bastide.parts.http.client.client import Client
from bastide.parts.http.client.contract import (
    AnswerWrong,
    CircuitOpen,
    ConnectFailed,
    ConnectionLost,
    FirstByteLate,
    TotalLate,
)
from bastide.parts.http.core.breaker import BreakerRules
from bastide.parts.http.core.dates import http_date
from bastide.parts.http.core.outliers import OutlierRules
from bastide.parts.http.core.retries import RetryRules
from tests.parts.http.client_kit import answer, answering, late_in, options, saying, serving

SICK = answer(b"sick", status=503)
WELL = answer(b"well")
BRITTLE = BreakerRules(volume_min=2, share=0.5, open_s=5, probes=1)


def rules(**given):
    return RetryRules(**{"statuses": (503,), "backoff_first_s": 0.001, **given})


@pytest.fixture
def clock():
    """Of the breaker and of dates; the loop has its own."""
    clock = ManualClock()
    runtime.run_on(Runtime(clock=clock))
    yield clock
    runtime.run_on(Runtime())


def free_port():
    with net.bind("127.0.0.1", 0) as listening:
        return listening.getsockname()[1]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_on_a_status_that_was_asked_for_what_is_idempotent_is_asked_again(method):
    async with (
        serving(answering(SICK, SICK, WELL)) as server,
        Client(options(retries=rules())) as client,
    ):
        assert (await client.request(method, server.url)).status == 200
        assert len(server.requests) == 3


async def test_a_post_is_asked_again_only_if_it_is_said_to_be_idempotent():
    for idempotent, count in ((None, 1), (False, 1), (True, 2)):
        async with (
            serving(answering(SICK, WELL)) as server,
            Client(options(retries=rules())) as client,
        ):
            found = await client.request("POST", server.url, body=b"x", idempotent=idempotent)
            assert found.status == (503 if count == 1 else 200)
            assert [body for _, body in server.requests] == [b"x"] * count


async def test_a_body_that_can_be_had_only_once_is_not_asked_for_twice():
    async def body():
        yield b"once"

    async with (
        serving(answering(SICK, WELL)) as server,
        Client(options(retries=rules())) as client,
    ):
        assert (await client.request("PUT", server.url, body=body())).status == 503
        assert len(server.requests) == 1


async def test_a_status_that_was_not_asked_for_is_an_answer():
    async with (
        serving(answering(SICK, WELL)) as server,
        Client(options(retries=rules(statuses=(502, 504)))) as client,
    ):
        assert (await client.request("GET", server.url)).status == 503


async def test_there_are_so_many_attempts_and_the_last_answer_is_the_answer():
    async with (
        serving(answering(SICK)) as server,
        Client(options(retries=rules(attempts=4))) as client,
    ):
        found = await client.request("GET", server.url)
        assert (found.status, found.body) == (503, b"sick")
        assert len(server.requests) == 4


async def test_a_stream_is_asked_again_before_its_head_is_handed_out():
    async with (
        serving(answering(SICK, WELL)) as server,
        Client(options(retries=rules())) as client,
        client.stream("GET", server.url) as found,
    ):
        assert found.status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_could_not_be_connected_was_never_sent_and_is_tried_again(method):
    async def body():
        yield b"once"

    port = free_port()
    async with Client(options(retries=rules(attempts=100, backoff_max_s=0.01))) as client:
        asking = asyncio.create_task(
            client.request(method, f"http://127.0.0.1:{port}", body=body())
        )
        await asyncio.sleep(0.02)
        async with serving(answering(WELL), port=port):
            assert (await asking).body == b"well"


async def test_what_can_not_be_connected_at_all_is_told():
    async with Client(options(retries=rules(attempts=3))) as client:
        with pytest.raises(ConnectFailed, match="can't be connected to") as caught:
            await client.request("GET", f"http://127.0.0.1:{free_port()}")
        assert caught.value.outcome == "none"


async def test_what_was_sent_and_got_no_answer_is_not_asked_again():
    async with (
        serving(saying(b"")) as server,
        Client(options(retries=rules())) as client,
    ):
        with pytest.raises(ConnectionLost):
            await client.request("GET", server.url)
        assert len(server.requests) == 1


async def test_retry_after_is_waited_for_up_to_a_limit_and_more_is_not_asked_again(clock):
    for asked, count in ((b"0", 2), (b"1", 1), (b"9999999", 1), (b"x", 2)):
        sick = answer(status=503, headers=[b"retry-after: %b\r\n" % asked])
        some = options(retries=rules(retry_after_max_s=0.5))
        async with serving(answering(sick, WELL)) as server, Client(some) as client:
            await client.request("GET", server.url)
            assert len(server.requests) == count
    past = http_date(clock.now_ms() // 1000 - 5).encode()
    sick = answer(status=503, headers=[b"Retry-After: %b\r\n" % past])
    some = options(retries=rules())
    async with serving(answering(sick, WELL)) as server, Client(some) as client:
        assert (await client.request("GET", server.url)).status == 200


async def test_a_pause_that_would_end_after_the_total_is_not_begun():
    sick = answer(status=503, headers=[b"retry-after: 50\r\n"])
    some = options(retries=rules(retry_after_max_s=100), timeouts=late_in(total_s=40))
    async with serving(answering(sick, WELL)) as server, Client(some) as client:
        assert (await client.request("GET", server.url)).status == 503


async def test_retries_are_no_more_than_their_budget_whatever_fails():
    """An outage: each request fails, and all of them want three attempts."""
    some = options(retries=rules(share=0.2, reserve=5), breaker=BreakerRules(volume_min=10_000))
    async with serving(answering(SICK)) as server, Client(some) as client:
        for _ in range(100):
            await client.request("GET", server.url)
        assert len(server.requests) == 100 + 5 + 19  # the first earns nothing: nothing was spent


async def test_calls_that_fail_open_the_circuit_and_a_probe_closes_it(clock):
    some = options(breaker=BRITTLE)
    async with serving(answering(SICK)) as server, Client(some) as client:
        for _ in range(2):
            assert (await client.request("GET", server.url)).status == 503
        clock.advance(1)
        with pytest.raises(CircuitOpen, match="none for 4 s") as caught:
            await client.request("GET", server.url)
        assert caught.value.retry_after_s == 4
        assert caught.value.facts == {"outcome": "none", "retry_after_s": 4}
        assert len(server.requests) == 2, "it is left alone"
        clock.advance(4)
        assert (await client.request("GET", server.url)).status == 503
        with pytest.raises(CircuitOpen):
            await client.request("GET", server.url)
        clock.advance(5)
        await server.stop()
        server.script = answering(WELL)
        await server.start()
        for _ in range(3):
            assert (await client.request("GET", server.url)).status == 200


async def test_one_origin_that_fails_is_nothing_to_another(clock):
    some = options(breaker=BRITTLE)
    async with (
        serving(answering(SICK)) as sick,
        serving(answering(WELL)) as well,
        Client(some) as client,
    ):
        for _ in range(2):
            await client.request("GET", sick.url)
        with pytest.raises(CircuitOpen):
            await client.request("GET", sick.url)
        assert (await client.request("GET", well.url)).status == 200


@pytest.mark.parametrize(
    ("said", "waits", "late", "error"),
    [
        (b"", False, {}, ConnectionLost),
        (b"SSH", False, {}, AnswerWrong),
        (b"", True, {"first_byte_s": 0.02}, FirstByteLate),
        (b"", True, {"total_s": 0.02}, TotalLate),
    ],
)
async def test_a_server_that_breaks_off_says_nonsense_or_nothing_opens_the_circuit(
    clock, said, waits, late, error
):
    async with (
        serving(saying(said, then_waits=waits)) as server,
        Client(options(breaker=BRITTLE)) as client,
    ):
        for _ in range(2):
            with pytest.raises(error):
                await client.request("GET", server.url, timeouts=late_in(**late))
        with pytest.raises(CircuitOpen):
            await client.request("GET", server.url)


async def test_a_probe_that_its_caller_gave_up_makes_room_for_the_next(clock):
    async def silent(peer):
        await peer.heard()
        heard.set()
        await peer.gone()

    heard = asyncio.Event()
    given = options(breaker=BRITTLE)
    async with serving(saying(SICK)) as server, Client(given) as client:
        for _ in range(2):
            await client.request("GET", server.url)
        server.script = silent
        clock.advance(5)
        probe = asyncio.create_task(client.request("GET", server.url))
        await heard.wait()
        with pytest.raises(CircuitOpen):
            await client.request("GET", server.url)
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        server.script = answering(WELL)
        assert (await client.request("GET", server.url)).status == 200


async def test_what_the_caller_got_wrong_or_the_pool_refused_is_no_failure_of_the_server(clock):
    async def body():
        yield b"x"
        raise LookupError

    async with serving(answering(WELL)) as server, Client(options(breaker=BRITTLE)) as client:
        for _ in range(4):
            with pytest.raises(LookupError):
                await client.request("PUT", server.url, body=body())
        assert (await client.request("GET", server.url)).status == 200


async def test_of_several_addresses_each_gets_its_turn_with_the_name_that_was_asked_for():
    async with serving(answering(WELL)) as one, serving(answering(WELL)) as two:
        at = [f"127.0.0.1:{server.port}" for server in (one, two)]
        async with Client(options(endpoints={"http://shop": at})) as client:
            for _ in range(6):
                await client.request("GET", "http://shop/prices")
        assert one.heads == two.heads == [b"GET /prices HTTP/1.1\r\nhost: shop\r\n\r\n"] * 3
        assert one.connections == two.connections == 1


async def test_an_address_that_fails_is_left_out_and_tried_again_later(clock):
    some = OutlierRules(failures=2, eject_s=10)
    async with serving(answering(SICK)) as sick, serving(answering(WELL)) as well:
        at = [f"127.0.0.1:{server.port}" for server in (sick, well)]
        given = options(
            endpoints={"http://shop": at}, outliers=some, breaker=BreakerRules(volume_min=1000)
        )
        async with Client(given) as client:

            async def statuses(count):
                return [(await client.request("GET", "http://shop/")).status for _ in range(count)]

            assert await statuses(3) == [503, 200, 503]
            assert await statuses(4) == [200] * 4
            clock.advance(10)
            assert sorted(await statuses(2)) == [200, 503]


async def test_who_is_away_is_passed_over_for_who_is_there():
    async with serving(answering(WELL)) as well:
        at = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{well.port}"]
        given = options(endpoints={"http://shop": at}, retries=rules())
        async with Client(given) as client:
            for _ in range(4):
                assert (await client.request("POST", "http://shop/", body=b"x")).status == 200


async def test_the_least_busy_address_is_asked():
    async with (
        serving(saying(b"HTTP/1.1 200 OK\r\n\r\n", then_waits=True)) as slow,
        serving(answering(WELL)) as quick,
    ):
        at = [f"127.0.0.1:{server.port}" for server in (slow, quick)]
        balance = OutlierRules(balance="least-in-flight")
        given = options(endpoints={"http://shop": at}, outliers=balance)
        async with Client(given) as client, client.stream("GET", "http://shop/"):
            for _ in range(4):
                assert (await client.request("GET", "http://shop/")).body == b"well"
        assert len(slow.requests) == 1


async def test_requests_are_counted_by_how_they_ended():
    here = Runtime()
    runtime.run_on(here)
    async with (
        serving(answering(SICK, WELL)) as server,
        Client(options(name="shop", retries=rules(attempts=2, backoff_first_s=0))) as client,
    ):
        await client.request("GET", server.url)
        with pytest.raises(ConnectFailed):
            await client.request("GET", f"http://127.0.0.1:{free_port()}")
        found = {
            (family.name.removeprefix("bastide_http_client_"), dict(labels).get("outcome")): series
            for family in here.metrics.families()
            for labels, series in family.series.items()
            if dict(labels)["client"] == "shop"
        }
        assert found["requests_total", "answered"].value == 1
        assert found["requests_total", "ConnectFailed"].value == 1
        assert found["retries_total", None].value == 2
        assert found["connections", None].read() == 1
    assert found["connections", None].read() == 0
