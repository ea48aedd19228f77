"""A client that is not ours: `websockets`."""

import asyncio
import http.client

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.protocol import State

from bastide.base.routes.rows import Prepared
from bastide.parts.http.contract import Limits
from bastide.parts.http.websocket.contract import Pace
from tests.parts.http.websocket_kit import LONG_S, LOOPS, loop_of, serving

MESSAGES = ["", "grüße", b"", b"\x00\xff", "x" * 3_000, "é" * 70_000, bytes(200_000)]


@pytest.fixture(params=LOOPS)
def anyio_backend(request):
    """Transports differ in what they do once they are closed."""
    return loop_of(request.param)


async def echo(socket):
    async for message in socket:
        await socket.send(message)


def factory(**parameters):
    return ClientPerMessageDeflateFactory(**parameters)


OFFERS = {
    "none": {"compression": None},
    "its own": {},
    "no context": {"extensions": [factory(client_no_context_takeover=True)]},
    "our window": {"extensions": [factory(server_max_window_bits=12)]},
    "a smaller window": {"extensions": [factory(server_max_window_bits=10)]},
    "a small window of its own": {"extensions": [factory(client_max_window_bits=9)]},
}


@pytest.mark.parametrize("offer", OFFERS)
async def test_every_message_goes_both_ways_whatever_it_offers(offer):
    async with serving(echo) as server, connect(server.url, **OFFERS[offer]) as client:
        for message in MESSAGES:
            await client.send(message)
        for message in MESSAGES:
            assert await client.recv() == message
        await client.send(["in ", "some ", "é" * 2_000])
        assert await client.recv() == "in some " + "é" * 2_000
        await (await client.ping())
    assert (client.close_code, client.close_reason) == (1000, "")


async def test_a_subprotocol_is_agreed_on():
    async def handler(socket):
        await socket.send(socket.subprotocol)

    async with (
        serving(handler, subprotocols=["b", "a"]) as server,
        connect(server.url, subprotocols=["a", "b"]) as client,
    ):
        assert client.subprotocol == "b"
        assert await client.recv() == "b"


async def test_it_understands_how_a_handler_and_a_server_close():
    async def closes(socket):
        await socket.close(4001, "enough")

    async def fails(socket):
        raise ZeroDivisionError

    for handler, code, reason in ((closes, 4001, "enough"), (fails, 1011, "")):
        async with serving(handler) as server, connect(server.url) as client:
            with pytest.raises(ConnectionClosedError):
                await client.recv()
            assert (client.close_code, client.close_reason) == (code, reason)
    async with serving(echo) as server, connect(server.url) as client:
        (protocol,) = server.protocols
        await protocol.stop(LONG_S)
        with pytest.raises(ConnectionClosedOK):
            await client.recv()
        assert client.close_code == 1001


async def test_it_is_told_that_its_message_is_too_big():
    for compression in (None, "deflate"):
        async with (
            serving(echo, limits=Limits(message_bytes=1_000)) as server,
            connect(server.url, compression=compression) as client,
        ):
            await client.send("x" * 1_000)
            assert await client.recv() == "x" * 1_000
            await client.send("x" * 1_001)
            with pytest.raises(ConnectionClosedError):
                await client.recv()
            assert client.close_code == 1009


async def test_it_answers_our_pings():
    pace = Pace(ping_s=0.02, pong_s=1)
    async with serving(echo, pace=pace) as server, connect(server.url, ping_interval=None) as one:
        await asyncio.sleep(0.1)
        await one.send("still here")
        assert await one.recv() == "still here"
        assert one.state is State.OPEN


async def test_one_message_is_made_once_for_many():
    members = set()

    async def handler(socket):
        members.add(socket)
        async for message in socket:
            prepared = Prepared(message)
            assert all(member.offer(prepared) for member in members)

    text = "for all of you " * 200
    async with serving(handler) as server:
        clients = [await connect(server.url) for _ in range(50)]
        await clients[0].send(text)
        assert [await client.recv() for client in clients] == [text] * len(clients)
        await asyncio.gather(*(client.close() for client in clients))


async def test_a_request_that_is_none_is_answered_in_http():
    async with serving(echo) as server:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(server.url, origin="https://elsewhere.example"):
                pass
        assert refused.value.response.status_code == 403
        reply = await asyncio.to_thread(_asked_for_version_8, server.port)
        assert reply.status == 426
        assert reply.headers["sec-websocket-version"] == "13"


def _asked_for_version_8(port):
    asking = http.client.HTTPConnection("127.0.0.1", port, timeout=LONG_S)
    headers = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "8"}
    asking.request("GET", "/", headers=headers)
    reply = asking.getresponse()
    reply.read()
    asking.close()
    return reply
