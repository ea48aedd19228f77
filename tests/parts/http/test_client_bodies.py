"""Bodies in pieces, both ways: who is slow is waited for, and holds no memory."""

import asyncio
import tracemalloc
from contextlib import aclosing

import pytest

from bastide.parts.http.client.client import Client
from bastide.parts.http.client.contract import ConnectionLost, RequestWrong
from tests.parts.http.client_kit import answer, answering, chunked, options, serving

MEGABYTE = 1 << 20
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def counted(total, piece_bytes=65_536):
    for start in range(0, total, piece_bytes):
        yield bytes(min(piece_bytes, total - start))


async def test_a_body_is_sent_in_chunks_and_comes_in_pieces():
    data = CHUNKED + chunked(b"one", b"two")
    async with serving(answering(data)) as server, Client(options()) as client:
        for _ in range(2):
            async with client.stream("POST", server.url, body=counted(100_000)) as found:
                assert found.status == 200
                assert found.header(b"Transfer-Encoding") == b"chunked"
                assert b"".join([piece async for piece in found.pieces()]) == b"onetwo"
        assert [len(body) for _, body in server.requests] == [100_000] * 2
        assert server.connections == 1


async def test_empty_pieces_do_not_end_a_body():
    async def body():
        for piece in (b"", b"a", b"", b"b", b""):
            yield piece

    async with serving(answering(answer())) as server, Client(options()) as client:
        await client.request("POST", server.url, body=body())
        assert server.requests[0][1] == b"ab"


@pytest.mark.parametrize("framing", ["length", "chunks", "close"])
async def test_ten_megabytes_through_a_slow_reader_stay_out_of_memory(framing):
    async def script(peer):
        await peer.heard()
        peer.say(b"HTTP/1.1 200 OK\r\n")
        headers = {
            "length": b"content-length: %d\r\n\r\n" % (10 * MEGABYTE),
            "chunks": b"transfer-encoding: chunked\r\n\r\n",
            "close": b"\r\n",
        }
        peer.say(headers[framing])
        for _ in range(160):
            await peer.say_all(b"10000\r\n" + block + b"\r\n" if framing == "chunks" else block)
            said.append(1)
        if framing == "chunks":
            peer.say(b"0\r\n\r\n")

    block, said = bytes(65_536), []
    async with serving(script) as server, Client(options()) as client:
        async with client.stream("GET", server.url) as found:
            tracemalloc.start()
            count = 0
            async for piece in found.pieces():
                count += len(piece)
                del piece
                for _ in range(20):  # slow: the server may say all that the sockets hold
                    await asyncio.sleep(0)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert count == 10 * MEGABYTE
        assert peak < 3 * MEGABYTE


async def test_while_nobody_reads_the_server_has_to_wait():
    async def script(peer):
        await peer.heard()
        peer.say(CHUNKED)
        while True:
            peer.say(b"10000\r\n" + bytes(65_536) + b"\r\n")
            try:
                await asyncio.wait_for(peer.writer.drain(), 0.2)
            except TimeoutError:
                full.set()
                await peer.gone()
                return

    full = asyncio.Event()
    async with (
        serving(script) as server,
        Client(options()) as client,
        client.stream("GET", server.url) as found,
    ):
        assert found.status == 200
        await full.wait()


async def test_ten_megabytes_that_are_sent_to_a_slow_server_stay_out_of_memory():
    async def script(peer):
        head = await peer.reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 10485760" in head
        for _ in range(160):
            await peer.reader.readexactly(65_536)
            for _ in range(20):
                await asyncio.sleep(0)
        peer.say(answer(b"taken"))

    async with serving(script) as server, Client(options()) as client:
        length = [(b"content-length", b"%d" % (10 * MEGABYTE))]
        tracemalloc.start()
        found = await client.request("PUT", server.url, headers=length, body=counted(10 * MEGABYTE))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert found.body == b"taken"
        assert peak < 3 * MEGABYTE


async def test_a_large_body_of_bytes_is_sent_whole_and_its_connection_kept():
    body = bytes(range(256)) * 20_000
    async with serving(answering(answer())) as server, Client(options()) as client:
        for _ in range(2):
            await client.request("POST", server.url, body=body)
        assert [sent for _, sent in server.requests] == [body] * 2
        assert server.connections == 1


async def test_a_block_that_ends_before_the_body_closes_the_connection():
    async def script(peer):
        await peer.heard()
        peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
        await peer.gone()
        gone.set()

    gone = asyncio.Event()
    async with serving(script) as server, Client(options()) as client:
        async with client.stream("GET", server.url) as found:
            async for piece in found.pieces():
                assert piece == b"hello"
                break
        await gone.wait()
        server.script = answering(answer(b"next"))
        assert (await client.request("GET", server.url)).body == b"next"
        assert server.connections == 2


async def test_a_body_that_nobody_took_is_not_left_for_the_next():
    script = answering(answer(b"first"), answer(b"second"))
    async with serving(script) as server, Client(options()) as client:
        async with client.stream("GET", server.url) as found:
            assert found.status == 200
        assert (await client.request("GET", server.url)).body == b"second"
        assert server.connections == 2


async def test_an_error_in_the_block_closes_the_connection_and_is_the_callers():
    async with serving(answering(answer(b"x" * 10))) as server, Client(options()) as client:
        with pytest.raises(ZeroDivisionError):
            async with client.stream("GET", server.url):
                raise ZeroDivisionError
        assert (await client.request("GET", server.url)).status == 200
        assert server.connections == 2


async def test_an_answer_before_the_body_was_sent_ends_the_sending_and_the_connection():
    """RFC 9112, 9.5: it "ought to be looking for a response that indicates the server does not wish
    to receive the message body".
    """

    async def body():
        try:
            while True:
                yield bytes(65_536)
        finally:
            ended.set()

    async def script(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.say(answer(b"too large", status=413))
        await peer.gone()

    ended = asyncio.Event()
    async with serving(script) as server, Client(options()) as client:
        for n in (1, 2):
            found = await client.request("POST", server.url, body=body())
            assert (found.status, found.body) == (413, b"too large")
            assert ended.is_set()
            assert server.connections == n


async def test_an_answer_to_a_body_that_still_comes_is_read_while_it_is_sent():
    async def body():
        for word in (b"one", b"two", b"three"):
            yield word
            await echoed.wait()
            echoed.clear()

    async def script(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.say(CHUNKED)
        while size := int(await peer.reader.readuntil(b"\r\n"), 16):
            peer.say(b"%x\r\n%b" % (size, await peer.reader.readexactly(size + 2)))
        peer.say(b"0\r\n\r\n")
        await peer.gone()

    echoed = asyncio.Event()
    async with serving(script) as server, Client(options()) as client:
        heard = []
        async with client.stream("POST", server.url, body=body()) as found:
            async for piece in found.pieces():
                heard.append(piece)
                echoed.set()
        assert heard == [b"one", b"two", b"three"]


async def test_an_error_of_the_iterator_is_the_callers_and_nothing_hangs():
    async def body():
        yield b"some"
        raise LookupError("its file is gone")

    async with serving(answering(answer())) as server, Client(options()) as client:
        with pytest.raises(LookupError, match="its file is gone"):
            await client.request("POST", server.url, body=body())
        assert server.requests == []


async def test_an_iterator_that_is_cancelled_from_inside_hangs_nothing():
    async def body():
        yield b"some"
        raise asyncio.CancelledError

    async with serving(answering(answer())) as server, Client(options()) as client:
        with pytest.raises(ConnectionLost, match="given up"):
            await client.request("POST", server.url, body=body())


@pytest.mark.parametrize(("told", "sent"), [(10, 9), (10, 11), (0, 1)])
async def test_a_body_that_is_not_as_long_as_was_said_is_not_sent_to_its_end(told, sent):
    async with serving(answering(answer())) as server, Client(options()) as client:
        with pytest.raises(RequestWrong, match=f"content-length {told}"):
            await client.request(
                "PUT",
                server.url,
                headers=[(b"content-length", b"%d" % told)],
                body=counted(sent, 3),
            )
        assert all(len(body) <= told for _, body in server.requests)


async def test_who_asks_and_is_cancelled_leaves_no_task_and_no_connection():
    async def body():
        try:
            yield b"some"
            began.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    began, ended, gone = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def script(peer):
        await peer.gone()
        gone.set()

    async with serving(script) as server, Client(options()) as client:
        asking = asyncio.create_task(client.request("POST", server.url, body=body()))
        await began.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert ended.is_set()
        await gone.wait()


async def test_with_expect_the_body_waits_until_the_server_wants_it():
    async def script(peer):
        head = await peer.reader.readuntil(b"\r\n\r\n")
        assert head.endswith(b"\r\nexpect: 100-continue\r\n\r\n")
        await asyncio.sleep(0.02)
        assert not taken, "nothing was taken from the iterator"
        peer.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await peer.reader.readexactly(15) == b"5\r\nhello\r\n0\r\n\r\n"
        peer.say(answer(b"thanks"))
        await peer.gone()

    async def body():
        taken.append(1)
        yield b"hello"

    taken = []
    async with serving(script) as server, Client(options()) as client:
        found = await client.request("PUT", server.url, body=body(), continue_s=20)
        assert found.body == b"thanks"


async def test_a_server_that_does_not_want_the_body_gets_nothing_of_it():
    async def body():
        taken.append(1)
        yield b"hello"

    async def script(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.say(answer(b"no", status=403))
        assert await peer.reader.read() == b""

    taken = []
    async with serving(script) as server, Client(options()) as client:
        found = await client.request("PUT", server.url, body=body(), continue_s=20)
        assert found.status == 403
        assert not taken


async def test_a_server_that_does_not_know_expect_gets_the_body_all_the_same():
    async with serving(answering(answer(b"ok"))) as server, Client(options()) as client:
        found = await client.request("PUT", server.url, body=b"hello", continue_s=0.01)
        assert found.body == b"ok"
        assert server.requests[0][1] == b"hello"


async def test_pieces_may_be_left_without_being_closed():
    async with (
        serving(answering(CHUNKED + chunked(b"a", b"b"))) as server,
        Client(options()) as client,
        client.stream("GET", server.url) as found,
    ):
        pieces = found.pieces()
        assert await anext(pieces)
        assert not hasattr(pieces, "aclose")


async def test_a_generator_of_a_body_is_closed_when_it_is_done():
    async with (
        serving(answering(answer())) as server,
        Client(options()) as client,
        aclosing(counted(10)) as body,
    ):
        await client.request("POST", server.url, body=body)
        assert body.ag_frame is None
