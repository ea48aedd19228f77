"""A WebSocket from its handshake to its end, with a client that may do anything."""

import asyncio
import logging

import pytest

from bastide.base.routes.rows import Prepared, SocketClosed
from bastide.parts.http.contract import Limits
from bastide.parts.http.websocket.contract import CloseWrong, Pace
from bastide.parts.http.websocket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    CUT,
    FAULT,
    GOING_AWAY,
    NORMAL,
    PAYLOAD,
    PING,
    PONG,
    PROTOCOL,
    REASON_BYTES_MAX,
    TEXT,
    TOO_BIG,
)
from tests.parts.http.websocket_kit import (
    LONG_S,
    LOOPS,
    client_of,
    deflated,
    frame,
    loop_of,
    serving,
    turns,
)

DEFLATE = {"sec-websocket-extensions": "permessage-deflate"}
SOON = Pace(ping_s=LONG_S, pong_s=LONG_S, close_s=0.05)
BYE = frame(CLOSE, NORMAL.to_bytes(2, "big"))


@pytest.fixture(params=LOOPS)
def anyio_backend(request):
    """Transports differ in what they do once they are closed."""
    return loop_of(request.param)


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def never(socket):
    """Receives nothing, and does not end by itself."""
    await asyncio.Event().wait()


async def closed_within(coroutine):
    """What `coroutine` raises, as a SocketClosed."""
    async with asyncio.timeout(LONG_S):
        with pytest.raises(SocketClosed) as closed:
            await coroutine
    return closed.value


async def test_each_message_is_given_to_the_handler_and_goes_back():
    async with serving(echo) as server, client_of(server) as client:
        client.say(frame(TEXT, b"one"), frame(BINARY, b"two"), frame(TEXT, bytes(70_000)))
        assert await client.hear() == (0x81, b"one")
        assert await client.hear() == (0x82, b"two")
        assert await client.hear() == (0x81, bytes(70_000))


async def test_what_comes_with_the_request_is_read_too():
    split = frame(TEXT, b"split")
    early = frame(TEXT, b"early") + split[:7]
    async with serving(echo) as server, client_of(server, leftover=early) as client:
        client.say(split[7:])
        assert await client.hear() == (0x81, b"early")
        assert await client.hear() == (0x81, b"split")
        client.say(BYE)
        assert await client.hear_close() == NORMAL


async def test_thousands_of_messages_sent_ahead_are_answered_in_order():
    count = 20_000  # more than are read at once, or wait for a handler
    said = b"".join(frame(TEXT, b"%d" % n, key=b"abcd") for n in range(count))
    async with serving(echo) as server, client_of(server) as client:
        client.say(said)
        for n in range(count):
            assert await client.hear() == (0x81, b"%d" % n)
        client.say(BYE)
        assert await client.hear_close() == NORMAL


BROKEN = {
    "not masked": (b"\x81\x00", PROTOCOL),
    "a reserved bit": (frame(TEXT, first=0xA1), PROTOCOL),
    "a reserved opcode": (frame(3), PROTOCOL),
    "a control frame in pieces": (frame(PING, first=PING), PROTOCOL),
    "a long control frame": (frame(PING, bytes(126)), PROTOCOL),
    "continued without a beginning": (frame(CONTINUATION), PROTOCOL),
    "a code of one byte": (frame(CLOSE, b"\x03"), PROTOCOL),
    "a reserved code": (frame(CLOSE, b"\x03\xed"), PROTOCOL),
    "a reason that is not UTF-8": (frame(CLOSE, b"\x03\xe8\xff"), PAYLOAD),
    "text that is not UTF-8": (frame(TEXT, b"\xff"), PAYLOAD),
    "a long frame": (frame(BINARY, bytes(1_001)), TOO_BIG),
    "a long message": (
        frame(BINARY, bytes(1_000), first=BINARY)
        + frame(CONTINUATION, bytes(1_000), first=CONTINUATION) * 2,
        TOO_BIG,
    ),
    "a bomb": (frame(BINARY, deflated(bytes(1 << 20)), first=0xC2), TOO_BIG),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_whoever_breaks_a_rule_is_told_which_kind_and_the_handler_hears_of_it(name):
    said, code = BROKEN[name]
    ended = asyncio.get_running_loop().create_future()

    async def handler(socket):
        assert await socket.receive() == "before"
        ended.set_result(await closed_within(socket.receive()))

    limits = Limits(frame_bytes=1_000, message_bytes=2_000)
    async with (
        serving(handler, limits=limits) as server,
        client_of(server, headers=DEFLATE) as client,
    ):
        client.say(frame(TEXT, b"before"), said, frame(TEXT, b"after"))
        assert await client.hear_close() == code
        assert (await ended).code == code


@pytest.mark.parametrize("headers", [None, DEFLATE])
async def test_a_message_at_the_limit_is_taken_and_one_byte_more_is_1009(headers):
    limits = Limits(frame_bytes=2_000, message_bytes=2_000)
    ways = [lambda size: frame(BINARY, bytes(size))]
    if headers:
        ways += [lambda size: frame(BINARY, deflated(bytes(size)), first=0xC2)]
    for way in ways:
        async with (
            serving(echo, limits=limits) as server,
            client_of(server, headers=headers) as client,
        ):
            client.say(way(2_000))
            assert (await client.hear())[0] & 0x0F == BINARY
            client.say(way(2_001))
            assert await client.hear_close() == TOO_BIG


async def test_a_ping_is_answered_with_what_it_said():
    # RFC 6455, 5.5.3: "identical "Application data" as found in the message body of the Ping"
    async with serving(never) as server, client_of(server) as client:
        client.say(frame(PING, b"a"), frame(TEXT, b"begun", first=TEXT), frame(PING, b"b" * 125))
        assert await client.hear() == (0x8A, b"a")
        assert await client.hear() == (0x8A, b"b" * 125)


async def test_what_came_before_a_close_is_received_and_then_the_code_and_reason():
    heard = asyncio.get_running_loop().create_future()
    client_has_gone = asyncio.Event()

    async def handler(socket):
        await client_has_gone.wait()
        messages = [message async for message in socket]
        closed = await closed_within(socket.receive())
        with pytest.raises(SocketClosed, match="4321 enough"):
            await socket.send("too late")
        heard.set_result((messages, closed.code, closed.reason, socket.offer(Prepared("too"))))

    async with serving(handler) as server, client_of(server) as client:
        bye = frame(CLOSE, (4321).to_bytes(2, "big") + b"enough")
        client.say(frame(TEXT, b"one"), frame(TEXT, b"two"), bye)
        # RFC 6455, 5.5.1: "it typically echos the status code it received"
        assert await client.hear() == (0x88, (4321).to_bytes(2, "big"))
        client_has_gone.set()
        assert await heard == (["one", "two"], 4321, "enough", False)


async def test_a_close_without_a_code_is_answered_without_one():
    async with serving(echo) as server, client_of(server) as client:
        client.say(frame(CLOSE))
        assert await client.hear() == (0x88, b"")
        assert await client.hear() is None


async def test_a_handler_that_returns_closes_with_1000():
    async def handler(socket):
        await socket.send("bye")

    async with serving(handler) as server, client_of(server) as client:
        assert await client.hear() == (0x81, b"bye")
        client.say(BYE)
        assert await client.hear_close() == NORMAL


async def test_a_handler_that_fails_closes_with_1011_and_is_logged_once(caplog):
    async def handler(socket):
        raise ZeroDivisionError

    async with serving(handler) as server, client_of(server) as client:
        client.say(BYE)
        assert await client.hear_close() == FAULT
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info[0] is ZeroDivisionError


async def test_a_handler_that_finds_its_own_socket_closed_has_not_failed(caplog):
    async def handler(socket):
        while True:
            await socket.receive()

    async with serving(handler) as server:
        async with client_of(server) as client:
            client.say(BYE)
            assert await client.hear_close() == NORMAL
        await server.until(lambda s: s.lost == 1)
    assert not caplog.records


async def test_a_handler_closes_with_a_code_and_reason_of_its_own():
    states = []

    async def handler(socket):
        await socket.close(4_000, "r" * REASON_BYTES_MAX)
        states.append(socket.closed)
        await socket.close()  # again: nothing

    async with serving(handler) as server, client_of(server) as client:
        expected = (4_000).to_bytes(2, "big") + b"r" * REASON_BYTES_MAX
        assert await client.hear() == (0x88, expected)
        client.say(frame(TEXT, b"dropped"), frame(PING), frame(CLOSE, expected[:2]))
        assert await client.hear() is None
        await server.until(lambda s: s.lost == 1)
    assert states == [True]


@pytest.mark.limit("http.REASON_BYTES_MAX")
async def test_a_close_that_may_not_be_sent_is_refused_and_the_socket_stays_open():
    async def handler(socket):
        for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000):
            with pytest.raises(CloseWrong, match=f"code {code}"):
                await socket.close(code)
        with pytest.raises(CloseWrong, match="124 bytes; at most 123"):
            await socket.close(1000, "é" * 62)
        await socket.send("open" if not socket.closed else "closed")

    async with serving(handler) as server, client_of(server) as client:
        assert await client.hear() == (0x81, b"open")


async def test_a_close_that_is_not_answered_is_cut():
    async with serving(never, pace=SOON) as server, client_of(server) as client:
        (protocol,) = server.protocols
        async with asyncio.timeout(LONG_S):
            await protocol.close()
        assert await client.hear() == (0x88, NORMAL.to_bytes(2, "big"))
        assert await client.hear() is None


async def test_a_handler_that_does_not_notice_the_end_is_cancelled():
    ended = asyncio.Event()

    async def handler(socket):
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with serving(handler, pace=SOON) as server:
        async with client_of(server):
            pass
        async with asyncio.timeout(LONG_S):
            await ended.wait()
        await server.until(lambda s: s.lost == 1)


async def test_a_connection_that_is_lost_is_told_as_1006():
    heard = asyncio.get_running_loop().create_future()

    async def handler(socket):
        heard.set_result(await closed_within(socket.receive()))

    for way in ("abort", "write_eof"):
        heard = asyncio.get_running_loop().create_future()
        async with serving(handler) as server, client_of(server) as client:
            getattr(client.writer.transport, way)()
            assert (await heard).code == CUT
            await server.until(lambda s: s.lost == 1)


async def test_a_socket_that_stops_goes_away_with_1001():
    async with serving(echo) as server, client_of(server) as client:
        (protocol,) = server.protocols
        stopping = asyncio.create_task(protocol.stop(LONG_S))
        first, payload = await client.hear()
        assert (first, payload[:2]) == (0x88, GOING_AWAY.to_bytes(2, "big"))
        client.say(frame(CLOSE, payload))
        assert await client.hear() is None
        await stopping
        assert server.lost == 1


async def test_stopping_waits_no_longer_than_it_is_told():
    async with serving(never) as server, client_of(server) as client:
        (protocol,) = server.protocols
        async with asyncio.timeout(LONG_S):
            await protocol.stop(0.05)
        await server.until(lambda s: s.lost == 1)
        assert (await client.hear())[0] == 0x88
        assert await client.hear() is None


async def test_a_client_that_says_nothing_is_pinged_and_cut():
    heard = asyncio.get_running_loop().create_future()

    async def handler(socket):
        heard.set_result(await closed_within(socket.receive()))

    pace = Pace(ping_s=0.05, pong_s=0.05)
    async with serving(handler, pace=pace) as server, client_of(server) as client:
        assert await client.hear() == (0x89, b"")
        assert await client.hear() is None
        assert (await heard).code == CUT


async def test_a_client_that_answers_pings_stays():
    pace = Pace(ping_s=0.05, pong_s=1)
    async with serving(never, pace=pace) as server, client_of(server) as client:
        for _ in range(2):
            assert await client.hear() == (0x89, b"")
            client.say(frame(PONG))
        client.say(BYE)
        assert await client.hear_close() == NORMAL


async def test_send_waits_for_a_slow_client_and_offer_does_not():
    size, count = 1 << 18, 64
    sent, refused = [], asyncio.Event()
    prepared = Prepared(bytes(size))

    async def handler(socket):
        while socket.offer(prepared):
            sent.append("offered")
        refused.set()
        for _ in range(count):
            await socket.send(bytes(size))
            sent.append("sent")

    async with serving(handler) as server, client_of(server) as client:
        async with asyncio.timeout(LONG_S):
            await refused.wait()
        assert len(sent) < count
        offered = len(sent)
        for _ in range(offered + count):
            assert len((await client.hear())[1]) == size
        assert len(sent) == offered + count
        client.say(BYE)
        assert await client.hear_close() == NORMAL


async def test_a_client_that_takes_nothing_is_cut_and_the_sender_told():
    heard = asyncio.get_running_loop().create_future()

    async def send_on(socket):
        while True:
            await socket.send(bytes(1 << 18))

    async def handler(socket):
        heard.set_result(await closed_within(send_on(socket)))

    limits = Limits(stall_s=0.05)
    async with serving(handler, limits=limits) as server, client_of(server, limit=1_024):
        assert (await heard).code == CUT
        await server.until(lambda s: s.lost == 1)


async def test_a_handler_that_takes_nothing_is_not_read_for_and_later_gets_everything():
    taking = asyncio.Event()
    size, count = 1 << 18, 100

    async def handler(socket):
        await taking.wait()
        messages = [message async for message in socket]
        assert messages == [bytes(size)] * count
        taken.set_result(None)

    taken = asyncio.get_running_loop().create_future()
    async with serving(handler) as server, client_of(server) as client:
        client.say(*([frame(BINARY, bytes(size))] * count), BYE)
        (protocol,) = server.protocols
        await turns(100)
        assert not protocol.closed, "its close stands behind what is not read"
        taking.set()
        assert await client.hear_close() == NORMAL
        await taken


async def test_a_message_prepared_once_is_understood_by_all():
    text = "a line that many get " * 100
    sockets = []

    async def handler(socket):
        sockets.append(socket)
        await socket.receive()
        prepared = Prepared(text)
        assert [socket.offer(prepared) for socket in sockets] == [True, True]

    async with (
        serving(handler) as server,
        client_of(server) as plain,
        client_of(server, headers=DEFLATE) as deflating,
    ):
        plain.say(frame(TEXT, b"go"))
        assert await plain.hear() == (0x81, text.encode())
        first, payload = await deflating.hear()
        assert first == 0xC1
        assert len(payload) < 100


async def test_a_long_message_is_deflated_for_who_asked_for_it():
    async def handler(socket):
        await socket.send("x" * 10_000)
        await socket.send(Prepared("x" * 10_000))
        await socket.send("short")

    async with serving(handler) as server, client_of(server, headers=DEFLATE) as client:
        first, payload = await client.hear()
        assert (first, len(payload) < 100) == (0xC1, True)
        assert await client.hear() == (0xC1, payload)
        assert await client.hear() == (0x81, b"short")
