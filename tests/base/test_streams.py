"""Replies piece by piece, on real sockets: one at a time, no faster than they are taken, and never
a part that looks whole.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http.client import HTTPConnection, IncompleteRead

import msgspec
import pytest

from bastide.app import DRAIN_S
from bastide.base.errors import Unavailable
from bastide.base.gate import anyone
from bastide.base.metrics import Registry
from bastide.base.routes import http, rows
from bastide.base.routes.binding import Endpoint
from bastide.base.routes.http import Http, Site
from bastide.base.routes.rows import STREAMS_MAX, STREAMS_OF_ONE_MAX, Stream, events, route
from bastide.parts.http.contract import Limits
from bastide.parts.http.server.server import Server
from tests.engines.cache.kit import eventually
from tests.town.conftest import RunningTown

WITHIN_S = 10
BUFFERS_BYTES_MAX = 32 << 20  # what the kernel may keep between two ends


class Count(msgspec.Struct):
    number: int


class Pieces:
    """A generator that is watched. `more` lets it go on behind each piece."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        self.pieces = pieces
        self.error = error
        self.made = 0
        self.more = asyncio.Semaphore(0)
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()

    async def __aiter__(self):
        self.begun.set()
        try:
            for piece in self.pieces:
                self.made += 1
                yield piece
                await self.more.acquire()
            if self.error:
                raise self.error
        finally:
            self.ended.set()


class Flood(Pieces):
    """Without an end."""

    async def __aiter__(self):
        try:
            while True:
                self.made += 1
                yield b"x" * 100_000
        finally:
            self.ended.set()


class Wired:
    """A server on a socket of this machine, and what it serves at /."""

    def __init__(self, port: int, server: Server, pieces: Pieces) -> None:
        self.port = port
        self.server = server
        self.pieces = pieces

    async def opened(self, sent: bytes = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        return reader, writer

    async def read(self) -> bytes:
        """The body, by a client of the standard library."""

        def ask() -> bytes:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=WITHIN_S)
            try:
                connection.request("GET", "/")
                return connection.getresponse().read()
            finally:
                connection.close()

        return await asyncio.to_thread(ask)


@asynccontextmanager
async def wired(
    pieces: Pieces, make: Callable[[Pieces], Stream], *, stall_s: float = WITHIN_S
) -> AsyncIterator[Wired]:
    async def handle(_: object) -> Stream:
        return make(pieces)

    site = Site()
    row = route("GET", "/", handle, allow=anyone)
    site.mount("", [Endpoint("mill", row, None, {})], Registry())
    server = Server(Http(site, {}), Limits(stall_s=stall_s))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        await server.start([listening])
        try:
            async with asyncio.timeout(WITHIN_S):
                yield Wired(listening.getsockname()[1], server, pieces)
        finally:
            await server.stop(WITHIN_S)


def plain(pieces: Pieces) -> Stream:
    return Stream(aiter(pieces))


def as_events(pieces: Pieces) -> Stream:
    async def counts():
        async for piece in pieces:
            yield Count(int(piece))

    return events(counts())


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def test_pieces_arrive_one_by_one() -> None:
    async with wired(Pieces(b"one", b"two"), plain) as town:
        reader, writer = await town.opened()
        assert b"transfer-encoding: chunked" in await head_of(reader)
        for number, piece in enumerate(town.pieces.pieces, start=1):
            assert await reader.readexactly(8) == b"3\r\n" + piece + b"\r\n"
            assert town.pieces.made == number
            town.pieces.more.release()
        assert await reader.readexactly(5) == b"0\r\n\r\n"
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await head_of(reader)).startswith(b"HTTP/1.1 200"), "the connection goes on"
        writer.close()


async def test_who_reads_nothing_stops_what_is_made_and_is_given_up(caplog) -> None:
    async with wired(Flood(), plain, stall_s=0.2) as town:
        reader, writer = await town.opened()
        writer.transport.pause_reading()
        await town.pieces.ended.wait()
        assert town.pieces.made * 100_000 < BUFFERS_BYTES_MAX
        writer.transport.resume_reading()
        taken = await reader.read()
        assert not taken.endswith(b"0\r\n\r\n"), "a part must not look whole"
        writer.close()
    assert "broke off" in caplog.text
    assert "the client took nothing for 0.2 s" in caplog.text
    assert "Traceback" not in caplog.text


async def test_who_does_not_take_the_last_piece_is_given_up_too(monkeypatch) -> None:
    monkeypatch.setattr(http, "STREAMS_MAX", 1)
    pieces = Pieces(b"x" * BUFFERS_BYTES_MAX)
    pieces.more.release()
    async with wired(pieces, plain, stall_s=0.5) as town:
        _, writer = await town.opened()
        writer.transport.pause_reading()
        await pieces.ended.wait()
        assert b" 429 " in await said(town)

        async def has_room():
            return b" 200 " in await said(town)

        await eventually(has_room)
        writer.transport.abort()


async def test_who_takes_nothing_keeps_no_connection() -> None:
    pieces = Pieces(b"x" * BUFFERS_BYTES_MAX)
    pieces.more.release()
    async with wired(pieces, plain, stall_s=0.2) as town:
        _, writer = await town.opened()
        writer.transport.pause_reading()
        await pieces.ended.wait()

        async def is_gone():
            return not town.server.connections

        await eventually(is_gone)
        writer.transport.abort()


async def said(town: Wired) -> bytes:
    reader, writer = await town.opened(b"HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


async def test_who_goes_away_ends_what_is_made_without_a_word(caplog) -> None:
    async with wired(Pieces(b"one", b"two"), plain) as town:
        reader, writer = await town.opened()
        await head_of(reader)
        writer.close()
        await town.pieces.ended.wait()
        assert town.pieces.made == 1
    assert caplog.text == ""


@pytest.mark.parametrize("make", [plain, as_events])
async def test_events_and_pieces_end_when_nobody_listens(make) -> None:
    async with wired(Pieces(b"1", b"2"), make) as town:
        reader, writer = await town.opened()
        await head_of(reader)
        writer.transport.abort()
        await town.pieces.ended.wait()


async def test_a_refusal_in_the_middle_breaks_the_connection_off(caplog) -> None:
    pieces = Pieces(b"some", error=Unavailable("the mill stands still"))
    pieces.more.release()
    async with wired(pieces, plain) as town:
        with pytest.raises(IncompleteRead):
            await town.read()
    [record] = [r for r in caplog.records if r.name == http.__name__]
    assert record.getMessage().startswith("GET / broke off (")
    assert record.getMessage().endswith("): the mill stands still")
    assert "Traceback" not in caplog.text


async def test_a_fault_in_the_middle_is_told_once_with_its_place(caplog) -> None:
    pieces = Pieces(b"some", error=ValueError("of our own"))
    pieces.more.release()
    async with wired(pieces, plain) as town:
        with pytest.raises(IncompleteRead):
            await town.read()
    assert caplog.text.count("ValueError: of our own") == 1


async def test_a_head_is_asked_for_without_its_pieces() -> None:
    async with wired(Pieces(b"one"), plain) as town:
        answer = await said(town)
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"\r\n\r\n")
        assert not town.pieces.begun.is_set()


async def test_events_show_that_they_live(monkeypatch) -> None:
    monkeypatch.setattr(rows, "BEAT_S", 0.02)
    async with wired(Pieces(b"1", b"2"), as_events) as town:
        reader, writer = await town.opened()
        assert b"content-type: text/event-stream" in await head_of(reader)
        lines = [await reader.readuntil(b"\n\n\r\n") for _ in range(3)]
        assert [line.partition(b"\r\n")[2] for line in lines] == [
            b'data: {"number":1}\n\n\r\n',
            b":\n\n\r\n",
            b":\n\n\r\n",
        ]
        town.pieces.more.release()
        while not (line := await reader.readuntil(b"\n\n\r\n")).count(b"data"):
            pass
        assert b'{"number":2}' in line
        writer.close()


async def test_events_end_whole_when_the_town_stops(caplog) -> None:
    async with wired(Pieces(b"1", b"2"), as_events) as town:
        reader, writer = await town.opened()
        await reader.readuntil(b'{"number":1}\n\n\r\n')
        town.server.http.end_events()
        assert await reader.read(5) == b"0\r\n\r\n"
        await town.pieces.ended.wait()
        writer.close()
    assert caplog.text == ""


# How many


@pytest.mark.parametrize(
    ("of_one", "places"), [(STREAMS_OF_ONE_MAX, STREAMS_OF_ONE_MAX), (STREAMS_MAX, STREAMS_MAX)]
)
async def test_so_many_are_on_their_way_and_not_one_more(
    of_one, places, serve, monkeypatch
) -> None:
    monkeypatch.setattr(http, "STREAMS_OF_ONE_MAX", of_one)
    waiting = [Pieces(b"a", b"b") for _ in range(places)]
    left = iter(waiting)

    async def handle(_: object) -> Stream:
        return Stream(aiter(next(left, Pieces())))

    client = serve(route("GET", "/", handle, allow=anyone))
    asked = [asyncio.create_task(client.get("/")) for _ in waiting]
    for pieces in waiting:
        await pieces.begun.wait()
    refused = await client.get("/")
    assert (refused.status_code, refused.json()["type"]) == (429, "urn:bastide:streams-over")
    assert refused.headers["retry-after"] == "5"
    for pieces in waiting:
        pieces.more.release()
        pieces.more.release()
    assert {reply.content for reply in await asyncio.gather(*asked)} == {b"ab"}
    assert (await client.get("/")).status_code == 200


async def test_one_address_leaves_places_to_others(monkeypatch) -> None:
    monkeypatch.setattr(http, "STREAMS_OF_ONE_MAX", 1)
    pieces = Pieces(b"a", b"b")
    async with wired(pieces, plain) as town:
        _, writer = await town.opened()
        await pieces.begun.wait()
        again = await town.opened()
        assert b" 429 " in await again[0].readline()
        other = await town.opened(
            b"GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 192.0.2.7\r\n\r\n"
        )
        assert b" 429 " in await other[0].readline(), "anybody may claim an address"
        for one in (writer, again[1], other[1]):
            one.transport.abort()


async def test_no_events_begin_once_the_town_stops() -> None:
    async with wired(Pieces(b"1"), as_events) as town:
        town.server.http.end_events()
        reader, writer = await town.opened()
        assert b" 503 " in await reader.readline()
        writer.transport.abort()


async def test_what_has_ended_takes_no_place(monkeypatch) -> None:
    monkeypatch.setattr(http, "STREAMS_MAX", 1)
    pieces = Pieces(error=Unavailable("broken"))
    async with wired(pieces, plain) as town:
        for _ in range(3):
            with pytest.raises(IncompleteRead):
                await town.read()
            assert b" 200 " in await said(town)


# A town that is told to stop


@pytest.fixture
def started(tmp_path):
    town = RunningTown(tmp_path / "town", BASTIDE_HTTP="127.0.0.1:0").until_ready()
    yield town
    town.close()


def test_a_town_does_not_wait_for_those_who_listen(started) -> None:
    listening = HTTPConnection(started.file.http.removeprefix("http://"), timeout=WITHIN_S)
    listening.request("GET", "/mill/turns")
    reply = listening.getresponse()
    assert reply.readline() == b'data: {"text":"1"}\n'
    started.process.terminate()
    assert started.process.wait(DRAIN_S / 2) == 0
    assert reply.read() == b"\n", "the stream ended as one that is whole"
    listening.close()
    assert started.errors() == ""


def test_a_town_finishes_what_has_an_end(started) -> None:
    asking = HTTPConnection(started.file.http.removeprefix("http://"), timeout=WITHIN_S)
    asking.request("GET", "/mill/sacks?count=5")
    reply = asking.getresponse()
    assert reply.readline() == b"sack 1\n"
    started.process.terminate()
    assert reply.read() == b"sack 2\nsack 3\nsack 4\nsack 5\n"
    assert started.ended() == 0
    asking.close()
