"""Files by the kernel: slow readers, clients that leave or stall, files that change meanwhile."""

import asyncio
import os
import socket

import pytest

from bastide.parts.http.contract import Limits
from bastide.parts.http.core.dates import http_date
from tests.parts.http.files_kit import (
    BUFFERS_BYTES_MAX,
    LOOPS,
    OLD_S,
    make,
    numbers,
    publishing,
    run_on_loop,
)
from tests.parts.http.server_kit import descriptors, eventually, get, serving


@pytest.fixture
def made(tmp_path):
    """`made(content)`: a file that was last changed long ago."""

    def made(content, *, name="file", **when):
        return make(tmp_path / name, content, **when)

    return made


@pytest.mark.parametrize("loop", LOOPS)
def test_a_large_file_reaches_a_slow_reader_byte_for_byte(made, loop) -> None:
    path = made(numbers(20 << 20))

    async def main():
        async with serving(*publishing(path)) as town, await town.raw(get(), limit=1 << 16) as raw:
            status, headers = await raw.head()
            assert (status, headers["content-length"]) == (200, [str(20 << 20)])
            read = bytearray()
            while len(read) < 20 << 20:
                read += await raw.reader.read(200_000)
                await asyncio.sleep(0)
            assert bytes(read) == path.read_bytes()
            raw.say(get("/next"))
            assert (await raw.answer())[2] == b"next"

    run_on_loop(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
def test_requests_behind_a_file_are_answered_in_their_order(made, loop) -> None:
    path = made(numbers(3 << 20))

    async def main():
        async with serving(*publishing(path)) as town, await town.raw() as raw:
            raw.say((get() + get("/next")) * 3)
            for _ in range(3):
                assert (await raw.answer())[2] == path.read_bytes()
                assert (await raw.answer())[2] == b"next"

    run_on_loop(loop, main)


async def test_replies_before_a_file_are_not_overtaken(made) -> None:
    path = made(numbers(100_000))
    async with serving(*publishing(path)) as town, await town.raw() as raw:
        raw.say(get("/next") * 200 + get())
        for _ in range(200):
            assert (await raw.answer())[2] == b"next"
        assert (await raw.answer())[2] == path.read_bytes()


# Clients and files that change their mind


async def test_a_file_that_becomes_shorter_is_cut_off(made, caplog) -> None:
    """Never a part that looks whole."""
    path = made(numbers(BUFFERS_BYTES_MAX))
    before = descriptors()
    async with serving(*publishing(path)) as town:
        async with await town.raw(get() + get("/next"), limit=1 << 16) as raw:
            _, headers = await raw.head()
            os.truncate(path, 100_000)
            taken = await raw.reader.read(-1)
            assert len(taken) < int(headers["content-length"][0])
        await eventually(lambda: not town.server.connections)
        assert not town.server.in_flight
    assert "bytes are missing" in caplog.text
    assert "Traceback" not in caplog.text
    assert descriptors() <= before


async def test_a_file_that_is_replaced_is_sent_as_it_was(made) -> None:
    """As publishers do: a new file takes the name."""
    path = made(numbers(BUFFERS_BYTES_MAX))
    whole = path.read_bytes()
    async with serving(*publishing(path)) as town, await town.raw(get(), limit=1 << 16) as raw:
        await raw.head()
        made(b"new", name="new").replace(path)
        assert await raw.reader.readexactly(len(whole)) == whole


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("how", ["closed", "reset"])
def test_who_leaves_within_a_file_leaves_nothing_behind(made, loop, how, caplog) -> None:
    path = made(numbers(BUFFERS_BYTES_MAX))

    async def main():
        async with serving(*publishing(path)) as town:
            before = descriptors()
            for _ in range(5):
                raw = await town.raw(get(), limit=1 << 16)
                await raw.head()
                if how == "reset":
                    raw.writer.transport.abort()
                else:
                    raw.writer.close()
                    await raw.writer.wait_closed()
            await eventually(lambda: not town.server.connections)
            assert not town.server.in_flight
            await eventually(lambda: descriptors() <= before)

    run_on_loop(loop, main)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("loop", LOOPS)
def test_who_takes_nothing_of_a_file_is_given_up(made, loop) -> None:
    path = made(numbers(BUFFERS_BYTES_MAX))

    async def main():
        async with serving(*publishing(path), limits=Limits(stall_s=0.2)) as town:
            before = descriptors()
            async with await town.raw(get(), limit=1 << 16) as raw:
                await raw.head()
                raw.take_nothing()
                await eventually(lambda: not town.server.connections)
                assert not town.server.in_flight
                assert descriptors() <= before + 1  # the client's own
                raw.writer.transport.resume_reading()
                assert len(await raw.reader.read()) < BUFFERS_BYTES_MAX

    run_on_loop(loop, main)


async def test_one_who_takes_nothing_keeps_nobody_else_waiting(made) -> None:
    path = made(numbers(BUFFERS_BYTES_MAX))
    async with serving(*publishing(path)) as town, await town.raw(get(), limit=1 << 16) as slow:
        await slow.head()
        slow.take_nothing()
        async with await town.raw(get("/next")) as other:
            assert (await other.answer())[2] == b"next"


@pytest.mark.parametrize("loop", LOOPS)
def test_a_file_never_reaches_the_next_client_s_socket(made, loop) -> None:
    """The server lets go of a connection within a file, and its number is given to the next."""
    path = made(numbers(BUFFERS_BYTES_MAX))

    async def main():
        ours, theirs = socket.socketpair()
        async with serving(*publishing(path)) as town, await town.raw(get(), limit=1 << 16) as slow:
            await slow.head()
            slow.take_nothing()
            for _ in range(100):  # turns of the loop, until the kernel takes no more
                await asyncio.sleep(0)
            [connection] = town.server.connections
            number = connection.transport.get_extra_info("socket").fileno()
            connection.cut("a test says so")
            await eventually(lambda: not town.server.connections)
            ours.setblocking(False)
            with ours, theirs:
                os.dup2(ours.fileno(), number)
                try:
                    slow.writer.transport.resume_reading()
                    assert len(await slow.reader.read()) < BUFFERS_BYTES_MAX
                    await eventually(lambda: not town.server.in_flight)
                finally:
                    os.close(number)
                ours.close()
                assert theirs.recv(1) == b"", "nothing was said"

    run_on_loop(loop, main)


async def test_a_server_that_stops_finishes_a_file(made) -> None:
    path = made(numbers(BUFFERS_BYTES_MAX))
    async with serving(*publishing(path)) as town, await town.raw(get(), limit=1 << 16) as raw:
        await raw.head()
        stopping = asyncio.create_task(town.server.stop(20))
        assert await raw.reader.read() == path.read_bytes()
        await stopping


async def test_many_files_at_once_leave_no_descriptor(made) -> None:
    path = made(numbers(300_000))
    async with serving(*publishing(path)) as town, town.client() as client:
        await client.get("/next")
        before = descriptors()
        found = await asyncio.gather(*[client.get("/") for _ in range(100)])
        assert {answer.content for answer in found} == {path.read_bytes()}
        await client.aclose()
        await eventually(lambda: descriptors() <= before)


async def test_when_no_more_files_can_be_opened_the_client_may_try_again(made, monkeypatch) -> None:
    path = made(numbers(1_000))
    async with serving(*publishing(path)) as town, town.client() as client:
        await client.get("/")
        spare = [os.dup(0) for _ in range(3)]
        resource = pytest.importorskip("resource", reason="Windows has no such limit")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare) + 1, hard))
            found = await client.get("/")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for one in spare:
                os.close(one)
        assert (found.status_code, found.headers["retry-after"]) == (503, "1")
        assert (await client.get("/")).status_code == 200


# A client that is not ours


async def curled(*words):
    """What curl prints, and its exit code."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--noproxy", "*", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return process.returncode, out


async def test_curl_takes_a_file_in_every_way(made, tmp_path) -> None:
    path = made(numbers(3 << 20), name="file.css")
    url, kept, tag = "", str(tmp_path / "kept"), str(tmp_path / "tag")
    async with serving(*publishing(path, "text/css")) as town:
        url = town.url
        assert await curled(url) == (0, path.read_bytes())
        assert await curled("--http1.0", url) == (0, path.read_bytes())
        assert await curled("--compressed", url) == (0, path.read_bytes())
        assert await curled("-H", "accept-encoding: zstd", "--compressed", url) == (
            *(0, path.read_bytes()),
        )
        assert await curled("-r", "100-199", url) == (0, path.read_bytes()[100:200])
        assert await curled("-r", "-100", url) == (0, path.read_bytes()[-100:])
        code, parts = await curled("-r", "0-9,100-109", url)
        assert (code, parts.count(b"content-range: bytes ")) == (0, 2)
        status = ("-o", os.devnull, "-w", "%{http_code}")
        assert await curled(*status, "-r", "99999999-", url) == (0, b"416")
        assert await curled(*status, "-z", http_date(OLD_S), url) == (0, b"304")
        assert await curled(*status, "-z", http_date(OLD_S - 9), url) == (0, b"200")
        assert await curled(*status, "--head", url) == (0, b"200")
        assert await curled("--etag-save", tag, "-o", kept, url) == (0, b"")
        assert await curled(*status, "--etag-compare", tag, url) == (0, b"304")


async def test_curl_goes_on_where_it_was_broken_off(made, tmp_path) -> None:
    path = made(numbers(3 << 20))
    part = tmp_path / "part"
    part.write_bytes(path.read_bytes()[:1_234_567])
    async with serving(*publishing(path)) as town:
        assert await curled("-C", "-", "-o", str(part), town.url) == (0, b"")
    assert part.read_bytes() == path.read_bytes()


async def test_curl_sees_that_a_shorter_file_is_not_whole(made) -> None:
    path = made(numbers(BUFFERS_BYTES_MAX))
    async with serving(*publishing(path)) as town:
        curling = asyncio.create_task(curled("--limit-rate", "5M", town.url))
        await eventually(lambda: town.server.in_flight)
        os.truncate(path, 100_000)
        code, _ = await curling
    assert code == 18  # "Partial file"
