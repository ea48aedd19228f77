"""The server as any client meets it: order, framing, keep-alive, half-closes, draining, proxies."""

import asyncio
import struct
import subprocess

import pytest
from anyio import to_thread

from bastide.base.gate import anyone
from bastide.base.routes.rows import Chunks, Reply, Request, Stream, json_reply, route
from bastide.parts.http.contract import Limits
from bastide.parts.http.core.proxy_protocol import SIGNATURE
from tests.parts.http.server_kit import eventually
from tests.parts.http.wires import Wire, linger_reset, served


def number(_: object, number: int) -> Reply:
    return Reply(200, b"%d" % number)


async def later(_: object, number: int) -> Reply:
    await asyncio.sleep(0.001 * (number % 3))
    return Reply(200, b"%d" % number)


async def pieces(_: object, count: int = 3) -> Stream:
    async def made():
        for one in range(count):
            yield b"piece %d\n" % one

    return Stream(made(), headers={"content-type": "text/plain"})


async def drink(_: object, request: Request, chunks: Chunks) -> Reply:
    body = b"".join([piece async for piece in chunks])
    return json_reply([request.path, body.decode()])


ROWS = (
    route("GET", "/now/{number}", number, allow=anyone),
    route("GET", "/later/{number}", later, allow=anyone),
    route("GET", "/pieces", pieces, allow=anyone),
    route("POST", "/drink", drink, allow=anyone),
)


async def test_requests_sent_ahead_are_answered_in_their_order_whoever_waits() -> None:
    async with served(*ROWS) as town:
        wire = await town.open()
        paths = [f"/{'later' if n % 3 else 'now'}/{n}" for n in range(60)]
        for path in paths:
            wire.get(path)
        found = [(await wire.hear()).body for _ in paths]
        assert found == [b"%d" % n for n in range(60)]


async def test_what_is_ready_together_is_written_together() -> None:
    """One write a turn of the loop, so one packet for what fits into it."""
    async with served(*ROWS) as town:
        wire = await town.open()
        wire.say(b"".join(b"GET /now/%d HTTP/1.1\r\nhost: a\r\n\r\n" % n for n in range(20)))
        first = await wire.reader.read(65_536)
        assert first.count(b"HTTP/1.1 200 OK") == 20


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
async def test_a_request_may_come_in_pieces_of_any_size(size: int) -> None:
    async with served(*ROWS) as town:
        wire = await town.open()
        wire.writer.transport.get_extra_info("socket").setsockopt(6, 1, 1)  # TCP_NODELAY
        said = b"POST /drink HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        said += b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\ntrailer: dropped\r\n\r\n"
        said += b"GET /now/7 HTTP/1.1\r\nhost: a\r\n\r\n"
        for start in range(0, len(said), size):
            wire.say(said[start : start + size])
            await wire.writer.drain()
            await asyncio.sleep(0)
        assert (await wire.hear()).body == b'["/drink","abcdefg"]'
        assert (await wire.hear()).body == b"7"


async def test_a_trailer_is_no_header_of_the_next_request() -> None:
    async with served(*ROWS) as town:
        wire = await town.open()
        wire.say(b"POST /drink HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n")
        wire.say(b"x-forwarded-for: 192.0.2.1\r\nauthorization: Bearer stolen\r\n\r\n")
        wire.get("/tell")
        assert (await wire.hear()).status == 200
        assert (await wire.hear()).body == b'["/tell","127.0.0.1",false]'


async def test_heads_that_differ_in_one_value_are_told_apart() -> None:
    """The last head of a connection is kept, and compared with."""

    def show(_: object, request: Request) -> Reply:
        return Reply(200, request.headers.get("x-a", "none").encode())

    async with served(route("GET", "/show", show, allow=anyone)) as town:
        wire = await town.open()
        for lines, seen in (
            (("x-a: 1",), b"1"),
            (("x-a: 1",), b"1"),
            (("x-a: 2",), b"2"),
            (("x-b: 2",), b"none"),
            ((), b"none"),
            (("X-A: 2",), b"2"),
            (("x-a: 2", "x-a: 3"), b"2, 3"),
        ):
            wire.get("/show", *lines)
            assert (await wire.hear()).body == seen


async def test_no_connection_sees_another_s_bytes() -> None:
    async with served(*ROWS) as town:

        async def talk(wire: Wire, name: str) -> None:
            for turn in range(40):
                token = f"{name}-{turn}"
                wire.post("/drink", token.encode())
                wire.get(f"/now/{turn}")
                assert (await wire.hear()).body.decode() == f'["/drink","{token}"]'
                assert (await wire.hear()).body == b"%d" % turn

        wires = [await town.open() for _ in range(30)]
        await asyncio.gather(*(talk(wire, f"w{n}") for n, wire in enumerate(wires)))


@pytest.mark.parametrize(
    ("line", "stays"),
    [("connection: keep-alive", True), ("connection: close", False), ("x: y", False)],
)
async def test_http_1_0_stays_only_if_it_is_asked_to(line: str, *, stays: bool) -> None:
    async with served(*ROWS) as town:
        wire = await town.open()
        wire.say(f"GET /now/1 HTTP/1.0\r\n{line}\r\n\r\n".encode())
        answer = await wire.hear()
        assert answer.status == 200
        assert answer.headers["connection"] == ("keep-alive" if stays else "close")
        if not stays:
            assert await wire.is_closed()


async def test_http_1_0_gets_a_stream_without_chunks_up_to_the_close() -> None:
    async with served(*ROWS) as town:
        wire = await town.open()
        wire.say(b"GET /pieces HTTP/1.0\r\n\r\n")
        answer = await wire.hear()
        assert "transfer-encoding" not in answer.headers
        assert await wire.rest() == b"piece 0\npiece 1\npiece 2\n"


async def test_a_client_that_waits_to_be_told_is_told_once_its_body_is_wanted() -> None:
    async with served(*ROWS) as town:
        wire = await town.open()
        wire.say(b"POST /drink HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n")
        wire.say(b"expect: 100-continue\r\n\r\n")
        assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.say(b"abc")
        assert (await wire.hear()).status == 200
        wire.say(b"POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n")
        wire.say(b"expect: 100-continue\r\n\r\n")
        answer = await wire.hear()
        assert (answer.status, answer.headers["connection"]) == (404, "close")
        assert await wire.is_closed(), "whether the body comes is not clear"


async def test_who_sends_no_more_still_gets_its_answers() -> None:
    async with served(*ROWS) as town:
        wire = await town.open()
        wire.get("/later/2")
        wire.get("/now/3")
        wire.writer.write_eof()
        assert (await wire.hear()).body == b"2"
        assert (await wire.hear()).body == b"3"
        assert await wire.is_closed()


async def test_what_is_ready_leaves_before_a_connection_that_sends_no_more_is_closed() -> None:
    """Some loops tell of both in one turn, at whose end replies would have left."""
    async with served(*ROWS) as town:
        wire = await town.open()
        await eventually(lambda: bool(town.server.connections))
        [connection] = town.server.connections
        connection.data_received(b"GET /now/7 HTTP/1.1\r\nhost: a\r\n\r\n")
        if not connection.eof_received():
            connection.transport.close()
        assert (await wire.hear()).body == b"7"
        assert await wire.is_closed()


async def test_a_body_that_ends_with_the_connection_is_refused() -> None:
    async with served(*ROWS) as town:
        wire = await town.open()
        wire.say(b"POST /drink HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc")
        wire.writer.write_eof()
        assert (await wire.hear()).status == 400


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /later/2 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST /drink HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc",
        b"POST /drink HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab",
        b"GET /pieces?count=100000 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /now",
    ],
)
async def test_a_client_that_breaks_off_leaves_no_task_behind(sent: bytes) -> None:
    async with served(*ROWS) as town:
        before = len(asyncio.all_tasks())
        for _ in range(5):
            wire = await town.open()
            wire.say(sent)
            await eventually(lambda: bool(town.server.connections))
            await asyncio.sleep(0.002)
            linger_reset(wire.writer)
            wire.writer.transport.abort()
            await eventually(lambda: not town.server.connections)
        await eventually(lambda: len(asyncio.all_tasks()) == before)
        assert town.server.in_flight == 0
        assert (await town.ask("/ping")).body == b"pong"


async def test_a_body_is_taken_no_faster_than_its_handler_wants_it() -> None:
    wanted = asyncio.Event()

    async def slow(_: object, chunks: Chunks) -> Reply:
        await wanted.wait()
        return Reply(200, b"%d" % sum([len(piece) async for piece in chunks]))

    size = 40 << 20
    row = route("POST", "/slow", slow, allow=anyone, body_max=size)
    async with served(row) as town:
        wire = await town.open()
        wire.say(b"POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size)
        sending = asyncio.create_task(_send(wire, size))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await asyncio.shield(sending)
        wanted.set()
        assert (await wire.hear()).body == b"%d" % size
        await sending


async def _send(wire: Wire, size: int) -> None:
    for _ in range(size >> 16):
        wire.say(b"x" * (1 << 16))
        await wire.writer.drain()


async def test_a_stop_finishes_what_is_under_way_and_takes_nothing_new() -> None:
    gate = asyncio.Event()

    async def wait(_: object) -> Reply:
        await gate.wait()
        return Reply(200, b"done")

    async with served(route("GET", "/wait", wait, allow=anyone)) as town:
        busy, idle = await town.open(), await town.open()
        busy.get("/wait")
        idle.get("/ping")
        await idle.hear()
        await eventually(lambda: town.server.in_flight == 1)
        stopping = asyncio.create_task(town.server.stop(10))
        assert await idle.is_closed()
        with pytest.raises(OSError):
            await town.open()
        gate.set()
        answer = await busy.hear()
        assert (answer.body, answer.headers["connection"]) == (b"done", "close")
        await stopping


async def test_what_is_not_done_when_the_time_to_drain_is_over_is_told_so() -> None:
    async def forever(_: object) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    async with served(route("GET", "/forever", forever, allow=anyone)) as town:
        wire = await town.open()
        wire.get("/forever")
        await eventually(lambda: town.server.in_flight == 1)
        await town.server.stop(0.05)
        answer = await wire.hear()
        assert answer.status == 503
        assert b'"outcome":"unknown"' in answer.body


async def test_a_slow_door_is_cut_off_and_the_connection_goes_on() -> None:
    async def slow(_: object) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    async with served(route("GET", "/slow", slow, allow=anyone, timeout_s=0.05)) as town:
        wire = await town.open()
        for _ in range(2):
            wire.get("/slow")
            assert (await wire.hear()).status == 503
        wire.get("/ping")
        assert (await wire.hear()).body == b"pong"


# A proxy in front


def proxied(address: bytes = bytes([192, 0, 2, 7])) -> bytes:
    addresses = address + bytes([127, 0, 0, 1]) + struct.pack(">HH", 50_000, 80)
    return SIGNATURE + bytes([0x21, 0x11]) + struct.pack(">H", len(addresses)) + addresses


async def test_the_client_is_who_the_proxy_says_and_never_the_operator() -> None:
    async with served(*ROWS, proxied=True) as town:
        wire = await town.open()
        wire.say(proxied())
        wire.say(b"GET /tell HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert (await wire.hear()).body == b'["/tell","192.0.2.7",false]'


@pytest.mark.parametrize("size", [1, 5, 27, 28, 29])
async def test_a_proxy_header_may_come_in_pieces(size: int) -> None:
    async with served(*ROWS, proxied=True) as town:
        wire = await town.open()
        said = proxied() + b"GET /tell HTTP/1.1\r\nhost: localhost\r\n\r\n"
        for start in range(0, len(said), size):
            wire.say(said[start : start + size])
            await wire.writer.drain()
            await asyncio.sleep(0)
        assert b"192.0.2.7" in (await wire.hear()).body


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /ping HTTP/1.1\r\nhost: a\r\n\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 5 80\r\n",
        b"\r\n\r\n\0x",
    ],
)
async def test_who_does_not_come_through_the_proxy_is_cut_off(sent: bytes) -> None:
    async with served(*ROWS, proxied=True) as town:
        wire = await town.open()
        wire.say(sent)
        assert await wire.is_closed()


# Traces, and what many threads see


async def test_a_fault_is_logged_with_the_trace_that_it_belongs_to(caplog) -> None:
    async def break_(_: object) -> Reply:
        raise KeyError("of our own")

    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with served(route("GET", "/break", break_, allow=anyone)) as town:
        answer = await town.ask("/break", f"traceparent: 00-{trace}-00f067aa0ba902b7-01")
        assert answer.status == 500
        assert trace in caplog.text
        assert answer.headers["x-request-id"] in caplog.text


async def test_curl_is_answered() -> None:
    def ask(port: int) -> bytes:
        command = ["curl", "-sS", "-d", "abc", f"http://127.0.0.1:{port}/drink"]
        return subprocess.run(command, capture_output=True, check=True, timeout=20).stdout

    async with served(*ROWS) as town:
        assert await to_thread.run_sync(ask, town.port) == b'["/drink","abc"]'


async def test_a_reply_is_held_while_its_reader_is_slow_and_the_next_waits_for_it() -> None:
    made = []

    def big(_: object, number: int) -> Reply:
        made.append(number)
        return Reply(200, b"x" * (8 << 20))

    row = route("GET", "/big/{number}", big, allow=anyone)
    async with served(row, limits=Limits(stall_s=60)) as town:
        wire = await town.open()
        wire.writer.transport.pause_reading()
        for n in range(20):
            wire.get(f"/big/{n}")
        await eventually(lambda: bool(made))
        await asyncio.sleep(0.1)
        assert len(made) < 5, "replies that nobody takes are not piled up"
        wire.writer.transport.resume_reading()
        for _ in range(20):
            assert len((await wire.hear()).body) == 8 << 20
        assert made == list(range(20))
