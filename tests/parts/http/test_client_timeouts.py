"""Each phase has its own time-out, and its own error, which tells what can have been done."""

import asyncio
import time

import pytest

from bastide.base.rt import net
from bastide.parts.http.client.client import Client
from bastide.parts.http.client.contract import (
    ConnectFailed,
    ConnectLate,
    FirstByteLate,
    ReadLate,
    TimedOut,
    TotalLate,
    WriteLate,
)
from tests.parts.http.client_kit import (
    answer,
    answering,
    late_in,
    one_connection,
    options,
    saying,
    serving,
)

SOON_S = 0.03


async def endless():
    while True:
        yield bytes(65_536)


async def asked(server, client, late, *, outcome, body=None, **timeouts):
    with pytest.raises(late) as caught:
        await client.request("POST", server.url, body=body, timeouts=late_in(**timeouts))
    assert type(caught.value) is late
    assert isinstance(caught.value, TimedOut)
    assert caught.value.outcome == outcome
    assert caught.value.status == 504


async def test_a_connection_that_is_not_taken_is_late():
    listening = net.bind("127.0.0.1", 0)
    listening.listen(0)
    port = listening.getsockname()[1]
    filling = []
    loop = asyncio.get_running_loop()
    try:
        async with Client(options()) as client:
            while True:  # until the queue of those who wait to be taken is full
                made = loop.create_connection(asyncio.Protocol, "127.0.0.1", port)
                try:
                    filling.append((await asyncio.wait_for(made, 0.2))[0])
                except TimeoutError:
                    break
            with pytest.raises(ConnectLate, match="could not be connected to") as caught:
                await client.request(
                    "GET", f"http://127.0.0.1:{port}", timeouts=late_in(connect_s=SOON_S)
                )
            assert caught.value.outcome == "none"
    finally:
        for transport in filling:
            transport.abort()
        await asyncio.sleep(0)
        listening.close()


async def test_a_tls_handshake_that_does_not_come_is_a_connection_that_is_late():
    async def script(peer):
        await peer.gone()

    async with serving(script) as server, Client(options()) as client:
        url = server.url.replace("http", "https")
        with pytest.raises(ConnectLate) as caught:
            await client.request("GET", url, timeouts=late_in(connect_s=SOON_S))
        assert caught.value.outcome == "none"


async def test_a_server_that_takes_nothing_of_a_body_is_late():
    async def script(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.writer.transport.pause_reading()
        await stop.wait()

    stop = asyncio.Event()
    async with serving(script) as server, Client(options()) as client:
        await asked(server, client, WriteLate, outcome="unknown", body=endless(), write_s=SOON_S)
        body = bytes(64 << 20)
        await asked(server, client, WriteLate, outcome="unknown", body=body, write_s=SOON_S)
        stop.set()


async def test_a_server_that_takes_a_body_slowly_is_not_late():
    async def script(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        for _ in range(16 << 4):
            await peer.reader.readexactly(65_536)
            await asyncio.sleep(0.001)
        peer.say(answer(b"done"))

    async with serving(script) as server, Client(options()) as client:
        found = await client.request(
            "POST", server.url, body=bytes(16 << 20), timeouts=late_in(write_s=5)
        )
        assert found.body == b"done"


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 103 Early\r\n\r\n", b"HTTP/1.1 200 OK\r\n"], ids=["no", "1xx", "half"]
)
async def test_an_answer_whose_head_does_not_come_is_late(said):
    async with serving(saying(said, then_waits=True)) as server, Client(options()) as client:
        await asked(server, client, FirstByteLate, outcome="unknown", first_byte_s=SOON_S)


async def test_a_head_that_comes_a_byte_at_a_time_is_late():
    async def script(peer):
        await peer.heard()
        peer.say(b"HTTP/1.1 200 OK\r\na: ")
        while True:
            await peer.say_all(b"b")
            await asyncio.sleep(0.002)

    async with serving(script) as server, Client(options()) as client:
        await asked(server, client, FirstByteLate, outcome="unknown", first_byte_s=SOON_S)


async def test_the_time_to_the_first_byte_begins_when_the_body_is_sent():
    async def body():
        for _ in range(10):
            await asyncio.sleep(0.01)
            yield b"x"

    async with serving(answering(answer(b"ok"))) as server, Client(options()) as client:
        found = await client.request(
            "POST", server.url, body=body(), timeouts=late_in(first_byte_s=10)
        )
        assert found.body == b"ok"


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 10\r\n\r\nhello",
        b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"\r\nhello",
    ],
)
async def test_a_body_that_stops_is_late(head):
    async with (
        serving(saying(b"HTTP/1.1 200 OK\r\n" + head, then_waits=True)) as server,
        Client(options()) as client,
    ):
        await asked(server, client, ReadLate, outcome="unknown", read_s=SOON_S)


async def test_chunks_that_carry_nothing_do_not_keep_a_body_from_being_late():
    async def script(peer):
        await peer.heard()
        peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;")
        while True:
            await peer.say_all(b"x")
            await asyncio.sleep(0.002)

    async with serving(script) as server, Client(options()) as client:
        await asked(server, client, ReadLate, outcome="unknown", read_s=SOON_S)


async def test_the_total_is_over_whatever_the_phase():
    async def drips(peer):
        await peer.heard()
        peer.say(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await peer.say_all(b"x")
            await asyncio.sleep(0.002)

    async with serving(drips) as server, Client(options()) as client:
        await asked(server, client, TotalLate, outcome="unknown", total_s=SOON_S)
    async with serving(saying(b"", then_waits=True)) as server, Client(options()) as client:
        await asked(server, client, TotalLate, outcome="unknown", total_s=SOON_S)
        await asked(server, client, TotalLate, outcome="unknown", body=endless(), total_s=SOON_S)
        url = server.url.replace("http", "https")
        with pytest.raises(TotalLate) as caught:
            await client.request("GET", url, timeouts=late_in(total_s=SOON_S))
        assert caught.value.outcome == "none"


async def test_the_total_is_over_also_for_what_always_has_more_to_say():
    async def script(peer):
        await peer.heard()
        peer.say(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await peer.say_all(bytes(65_536))

    timeouts = late_in(total_s=0.1)
    async with (
        serving(script) as server,
        Client(options()) as client,
        client.stream("GET", server.url, timeouts=timeouts) as found,
    ):
        with pytest.raises(TotalLate):
            assert not [None async for piece in found.pieces() if not piece]


async def test_the_total_is_over_while_waiting_for_a_connection():
    pool = one_connection()
    async with (
        serving(saying(b"HTTP/1.1 200 OK\r\n\r\n", then_waits=True)) as server,
        Client(options(pool=pool)) as client,
        client.stream("GET", server.url),
    ):
        await asked(server, client, TotalLate, outcome="none", total_s=SOON_S)


async def test_a_stream_without_a_total_goes_on():
    async def script(peer):
        await peer.heard()
        peer.say(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(20):
            await peer.say_all(b"x")
            await asyncio.sleep(0.002)

    timeouts = late_in(total_s=None)
    async with (
        serving(script) as server,
        Client(options()) as client,
        client.stream("GET", server.url, timeouts=timeouts) as found,
    ):
        assert sum([len(piece) async for piece in found.pieces()]) == 20


async def test_an_answer_that_was_there_when_the_loop_stood_still_is_not_late():
    async def script(peer):
        await peer.heard()
        peer.say(answer(b"here"))
        until_s = time.monotonic() + 0.4
        while time.monotonic() < until_s:
            pass
        await peer.gone()

    async with serving(script) as server, Client(options()) as client:
        found = await client.request("GET", server.url, timeouts=late_in(first_byte_s=0.2))
        assert found.body == b"here"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70])
async def test_a_name_that_there_is_not_is_told(host):
    async with Client(options()) as client:
        with pytest.raises(ConnectFailed, match="can't be connected to") as caught:
            await client.request("GET", f"http://{host}/")
        assert caught.value.outcome == "none"
        assert caught.value.status == 502
