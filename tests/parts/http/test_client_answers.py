"""What comes back, over real sockets: whole, cut short, too much, or no HTTP at all."""

import asyncio

import pytest

from bastide.parts.http.client.client import Client
from bastide.parts.http.client.contract import AnswerTooLarge, AnswerWrong, ConnectionLost
from tests.parts.http.client_kit import answer, answering, chunked, options, saying, serving

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\n"


async def test_an_answer_is_its_status_headers_in_order_and_body():
    given = answer(b"gone", status=410, headers=[b"Set-Cookie: a\r\n", b"set-cookie:  b \r\n"])
    async with serving(answering(given)) as server, Client(options()) as client:
        found = await client.request("GET", server.url)
    assert (found.status, found.body) == (410, b"gone")
    cookies = [(b"set-cookie", b"a"), (b"set-cookie", b"b")]
    assert found.headers == [(b"content-length", b"4"), *cookies]
    assert found.header(b"Set-Cookie") == b"a"
    assert found.header(b"date") is None


KEPT = {
    "a length": answer(b"hello"),
    "chunks": CHUNKED + chunked(b"hel", b"lo"),
    "chunks with trailers": CHUNKED + b"5\r\nhello\r\n0\r\nx-sum: 1\r\ny: 2\r\n\r\n",
    "interim answers": b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" * 2 + answer(b"hello"),
}
CLOSED = {
    "bytes behind a length": answer(b"hello") + b"!",
    "an empty line behind a length": answer(b"hello") + b"\r\n",
    "another answer": answer(b"hello") + answer(b"world"),
    "bytes behind chunks": CHUNKED + chunked(b"hello") + b"!",
    "an empty line behind chunks": CHUNKED + chunked(b"hello") + b"\r\n",
    "connection: close": answer(b"hello", headers=[b"connection: close\r\n"]),
    "HTTP/1.0": answer(b"hello").replace(b"1.1", b"1.0"),
    "HTTP/1.0 that would keep": answer(b"hello", headers=[b"connection: keep-alive\r\n"]).replace(
        b"1.1", b"1.0"
    ),
}


@pytest.mark.parametrize("data", KEPT.values(), ids=KEPT.keys())
async def test_after_a_certain_end_the_connection_is_used_again(data):
    async with serving(answering(data)) as server, Client(options()) as client:
        for _ in range(3):
            assert (await client.request("GET", server.url)).body == b"hello"
        assert server.connections == 1


@pytest.mark.parametrize("data", CLOSED.values(), ids=CLOSED.keys())
async def test_after_any_doubt_it_is_not_and_the_answer_is_what_it_was(data):
    async with serving(answering(data)) as server, Client(options()) as client:
        for _ in range(3):
            assert (await client.request("GET", server.url)).body == b"hello"
        assert server.connections == 3


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
        ("HEAD", CHUNKED),
        ("HEAD", ENDLESS),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"),
    ],
)
async def test_what_has_no_body_ends_with_its_head(method, data):
    """RFC 9112, 6.3, rule 1."""
    async with serving(answering(data)) as server, Client(options()) as client:
        for _ in range(2):
            assert (await client.request(method, server.url)).body == b""
        assert server.connections == 1


async def test_a_body_that_has_none_to_have_ends_the_connection_and_is_nobodys_answer():
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
    async with serving(answering(head + b"hello")) as server, Client(options()) as client:
        for _ in range(2):
            assert (await client.request("HEAD", server.url)).body == b""
        assert server.connections == 2


async def test_without_a_length_the_body_ends_with_the_connection():
    async with serving(saying(ENDLESS + b"hello")) as server, Client(options()) as client:
        for _ in range(2):
            assert (await client.request("GET", server.url)).body == b"hello"
        assert server.connections == 2


CUT = {
    "no byte": b"",
    "in the status": b"HTTP/1.1 20",
    "in the head": b"HTTP/1.1 200 OK\r\ncontent-le",
    "after an interim answer": b"HTTP/1.1 103 Early\r\n\r\n",
    "in a length": answer(b"hello")[:-1],
    "in a chunk": CHUNKED + b"5\r\nhell",
    "before the last chunk": CHUNKED + b"5\r\nhello\r\n",
    "in the trailer": CHUNKED + b"5\r\nhello\r\n0\r\nx: y\r\n",
}


@pytest.mark.parametrize("data", CUT.values(), ids=CUT.keys())
async def test_an_answer_that_is_cut_short_is_none(data):
    """RFC 9112, 8: incomplete is what has less than its length, or no last chunk."""
    async with serving(saying(data)) as server, Client(options()) as client:
        with pytest.raises(ConnectionLost, match="closed the connection before") as caught:
            await client.request("GET", server.url)
        assert caught.value.outcome == "unknown"
        assert caught.value.status == 502
        assert server.connections == 1, "only on a kept connection would it be asked again"


async def test_a_body_without_a_length_that_is_reset_is_cut_short():
    async def script(peer):
        await peer.heard()
        await peer.say_all(ENDLESS + b"hel")
        await go.wait()
        peer.reset()

    go = asyncio.Event()
    async with (
        serving(script) as server,
        Client(options()) as client,
        client.stream("GET", server.url) as found,
    ):
        pieces = found.pieces()
        assert await anext(pieces) == b"hel"
        go.set()
        with pytest.raises(ConnectionLost):
            await anext(pieces)


GARBAGE = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x0a",
    "HTML": b"<html></html>",
    "an empty line": b"\r\n\r\n",
    "a length and chunks": CHUNKED.replace(b"\r\n\r\n", b"\r\ncontent-length: 1\r\n\r\n"),
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "a bad chunk": CHUNKED + b"zz\r\n",
    "another protocol, switched to": b"HTTP/1.1 101 S\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
async def test_what_is_no_certain_http_is_refused_without_waiting_for_more(data):
    async with (
        serving(saying(data, then_waits=True)) as server,
        Client(options()) as client,
    ):
        with pytest.raises(AnswerWrong) as caught:
            await client.request("GET", server.url)
        assert caught.value.outcome == "unknown"


async def test_bytes_on_an_idle_connection_are_the_answer_to_nothing_and_close_it():
    async def script(peer):
        while (await peer.heard())[0]:
            peer.say(answer(b"%d" % server.connections))
            await speak.wait()
            peer.say(answer(b"poison"))
            spoken.set()

    speak, spoken = asyncio.Event(), asyncio.Event()
    async with serving(script) as server, Client(options()) as client:
        assert (await client.request("GET", server.url)).body == b"1"
        speak.set()
        await spoken.wait()
        for _ in range(50):  # the poison comes before the next request, or with it
            await asyncio.sleep(0)
        bodies = [(await client.request("GET", server.url)).body for _ in range(3)]
        assert bodies in ([b"2", b"3", b"4"], [b"poison", b"2", b"3"])


async def test_an_answer_may_have_so_many_bytes_and_not_one_more():
    for data in (answer(b"x" * 1000), CHUNKED + chunked(b"x" * 600, b"x" * 400)):
        async with serving(answering(data)) as server, Client(options()) as client:
            found = await client.request("GET", server.url, answer_bytes_max=1000)
            assert len(found.body) == 1000
            with pytest.raises(AnswerTooLarge, match="more than 999 bytes"):
                await client.request("GET", server.url, answer_bytes_max=999)
        small = options(answer_bytes_max=999)
        async with serving(answering(data)) as server, Client(small) as client:
            with pytest.raises(AnswerTooLarge):
                await client.request("GET", server.url)


async def test_a_head_may_have_so_many_bytes_and_not_one_more():
    data = b"HTTP/1.1 204 No\r\na: " + b"b" * 5_000 + b"\r\n\r\n"
    for bytes_max, fits in ((len(data), True), (len(data) - 1, False)):
        small = options(head_bytes_max=bytes_max)
        async with serving(answering(data)) as server, Client(small) as client:
            if fits:
                assert (await client.request("GET", server.url)).status == 204
            else:
                with pytest.raises(AnswerTooLarge):
                    await client.request("GET", server.url)


@pytest.mark.parametrize(
    "piece", [b"HTTP/1.1 103 Early\r\n\r\n", b"x" * 4096], ids=["interim", "header"]
)
async def test_a_head_that_never_ends_is_given_up(piece):
    async def script(peer):
        await peer.heard()
        peer.say(b"HTTP/1.1 103 Early\r\n\r\n" if piece[:1] == b"H" else b"HTTP/1.1 200 OK\r\na: ")
        while True:
            await peer.say_all(piece)

    async with serving(script) as server, Client(options()) as client:
        with pytest.raises(AnswerTooLarge):
            await client.request("GET", server.url)


async def test_a_body_that_never_ends_is_given_up_at_its_limit():
    async def script(peer):
        await peer.heard()
        peer.say(CHUNKED)
        while True:
            await peer.say_all(b"1000\r\n" + bytes(4096) + b"\r\n")

    async with serving(script) as server, Client(options()) as client:
        with pytest.raises(AnswerTooLarge):
            await client.request("GET", server.url, answer_bytes_max=1 << 20)
