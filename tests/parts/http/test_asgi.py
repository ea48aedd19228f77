"""Our rows under uvicorn, on real sockets."""

import asyncio
import os

import pytest

from bastide.base.gate import anyone
from bastide.base.routes.rows import (
    File,
    Reply,
    route,
)
from bastide.parts.http.contract import Limits
from tests.parts.http.asgi_kit import doors
from tests.parts.http.server_kit import eventually, get

PARSERS = pytest.mark.parametrize("parser", ["httptools", "h11"])


# Requests


@PARSERS
async def test_rows_answer_as_under_our_server(parser) -> None:
    async with doors(parser=parser) as town, town.client() as client:
        found = await client.get("/greet?who=th%C3%A9r%C3%A8se")
        assert (found.status_code, found.text) == (200, "hello thérèse")
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["content-length"] == "15"
        added = await client.post("/add", json={"one": 1, "other": 2})
        assert (added.status_code, added.json()) == (200, {"sum": 3})
        head = await client.head("/greet")
        assert (head.content, head.headers["content-length"]) == (b"", "9")
        options = await client.options("/greet")
        assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
        refused = await client.get("/refuse")
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:bastide:conflict")
        assert (await client.get("/nowhere")).status_code == 404
        assert (await client.delete("/greet")).headers["allow"] == "GET, HEAD, OPTIONS"
        assert (await client.get("/talk/a")).json()["type"] == "urn:bastide:upgrade-wrong"


async def test_faults_are_shown_as_such(caplog) -> None:
    async with doors() as town, town.client() as client:
        for path in ("/break", "/broken"):
            found = await client.get(path)
            assert (found.status_code, found.json()["type"]) == (500, "urn:bastide:fault")
            assert "evil" not in str(found.headers) + found.text
    assert caplog.text.count("ValueError: of our own") == 1
    assert "HeadBroken" in caplog.text
    assert "Exception in ASGI application" not in caplog.text


async def test_conditions_and_codings_are_ours() -> None:
    async with doors() as town, town.client() as client:
        found = await client.get("/large", headers={"accept-encoding": "gzip"})
        assert found.headers["content-encoding"] == "gzip"
        assert found.content == b"large " * 10_000
        assert found.headers.get_list("set-cookie") == ["a=1", "b=2"]
        again = await client.get("/large", headers={"if-none-match": found.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("count", [0, 100, 3_000_000])
async def test_files_are_sent_whole_and_in_parts(tmp_path, count) -> None:
    path = tmp_path / "file.css"
    path.write_bytes(os.urandom(count))

    def handle(_: object) -> File:
        return File(path, "text/css")

    async with doors(route("GET", "/", handle, allow=anyone)) as town, town.client() as client:
        assert (await client.get("/")).content == path.read_bytes()
        packed = await client.get("/", headers={"accept-encoding": "gzip"})
        assert packed.content == path.read_bytes()
        assert (await client.head("/")).headers["content-length"] == str(count)
        if count:
            part = await client.get("/", headers={"range": "bytes=10-49"})
            assert (part.status_code, part.content) == (206, path.read_bytes()[10:50])
        path.unlink()
        assert (await client.get("/")).status_code == 404


async def test_a_file_that_becomes_shorter_is_cut_off(tmp_path, caplog) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(32 << 20))

    def handle(_: object) -> File:
        return File(path, "application/octet-stream")

    row = route("GET", "/", handle, allow=anyone)
    async with doors(row) as town, await town.raw(get(), limit=1 << 16) as raw:
        _, headers = await raw.head()
        os.truncate(path, 100_000)
        assert len(await raw.reader.read()) < int(headers["content-length"][0])
    assert "bytes are missing" in caplog.text
    assert "FileShort" not in caplog.text


# Bodies


@pytest.mark.parametrize(("size", "status"), [(1 << 20, 200), ((1 << 20) + 1, 413)])
@pytest.mark.parametrize("framed", ["by length", "in chunks"])
async def test_a_body_is_taken_piece_by_piece_up_to_its_limit(size, status, framed) -> None:
    async def pieces():
        for at in range(0, size, 100_000):
            yield bytes(min(100_000, size - at))

    content = pieces() if framed == "in chunks" else bytes(size)
    async with doors() as town, town.client() as client:
        found = await client.put("/count", content=content)
        assert found.status_code == status
        if status == 200:
            assert found.json() == {"sum": size}


async def test_an_echo_reads_while_it_answers() -> None:
    """Who watches for the client's leaving takes no piece of the body away."""
    async with doors() as town, await town.raw() as raw:
        raw.say(get("/echo", "transfer-encoding: chunked", method="PUT"))
        for n in range(20):
            raw.say(b"3\r\n%03d\r\n" % n)
            if n == 0:
                assert (await raw.head())[0] == 200
            assert await raw.reader.readexactly(8) == b"3\r\n%03d\r\n" % n
        raw.say(b"0\r\n\r\n")
        assert await raw.reader.readexactly(5) == b"0\r\n\r\n"
        raw.say(get("/greet"))
        assert (await raw.answer())[2] == b"hello you"


async def test_who_leaves_within_a_body_ends_its_request(caplog) -> None:
    async with doors() as town:
        async with await town.raw() as raw:
            raw.say(get("/echo", "content-length: 100", method="PUT") + b"some")
            await raw.head()
        await town.mill.ended.wait()
    assert "Traceback" not in caplog.text


async def test_a_body_that_nobody_wants_is_no_part_of_the_next_request() -> None:
    async with doors() as town, town.client() as client:
        for _ in range(3):
            found = await client.post("/refuse", content=b"GET /greet HTTP/1.1\r\n\r\n")
            assert found.status_code == 405


# Streams


@PARSERS
async def test_who_leaves_ends_a_stream(parser, caplog) -> None:
    async with doors(parser=parser) as town:
        async with await town.raw(get("/flow"), limit=1 << 16) as raw:
            await raw.head()
        await town.mill.ended.wait()
        assert town.mill.made * 100_000 < 32 << 20, "no faster than it is taken"
    assert "broke off" not in caplog.text
    assert "Traceback" not in caplog.text


async def test_who_takes_nothing_of_a_stream_is_given_up(caplog) -> None:
    impatient = Limits(stall_s=0.2)
    async with doors(limits=impatient) as town, await town.raw(get("/flow"), limit=99_999) as raw:
        await raw.head()
        raw.take_nothing()
        await town.mill.ended.wait()
        raw.writer.transport.resume_reading()
        assert not (await raw.reader.read()).endswith(b"0\r\n\r\n")
    assert "the client took nothing for 0.2 s" in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_large_reply_that_nobody_takes_is_given_up_too(caplog) -> None:
    def handle(_: object) -> Reply:
        return Reply(200, bytes(64 << 20))

    row = route("GET", "/", handle, allow=anyone)
    tasks = len(asyncio.all_tasks())
    impatient = Limits(stall_s=0.2)
    async with doors(row, limits=impatient) as town, await town.raw(get(), limit=99_999) as raw:
        await raw.head()
        raw.take_nothing()
        await eventually(lambda: "took nothing" in caplog.text)
    assert len(asyncio.all_tasks()) == tasks


async def test_what_breaks_in_the_middle_is_broken_off(caplog) -> None:
    async with doors() as town:
        said = await town.said(get("/breaks"))
        assert said.endswith(b"4\r\nsome\r\n")
    assert "GET /breaks broke off" in caplog.text
    assert "the mill stands still" in caplog.text


async def test_events_arrive_and_end_whole_when_the_town_stops() -> None:
    async with doors() as town, await town.raw(get("/turns")) as raw:
        _, headers = await raw.head()
        assert headers["content-type"] == ["text/event-stream"]
        await raw.reader.readuntil(b'data: {"sum":1}\n\n\r\n')
        town.http.end_events()
        assert await raw.reader.readexactly(5) == b"0\r\n\r\n"
        await town.mill.ended.wait()
        raw.say(get("/turns"))
        assert (await raw.answer())[0] == 503


async def test_head_of_a_stream_is_its_head() -> None:
    tasks = len(asyncio.all_tasks())
    async with doors() as town, await town.raw() as raw:
        raw.say(get("/flow", method="HEAD") + get("/greet"))
        assert (await raw.answer(has_body=False))[0] == 200
        assert (await raw.answer())[2] == b"hello you"
        assert town.mill.made == 0
    assert len(asyncio.all_tasks()) == tasks
