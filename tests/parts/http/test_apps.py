"""ASGI applications of others under our server, on real sockets."""

import asyncio
import socket

import pytest

from bastide.base.gate import operator
from bastide.base.routes.rows import STREAMS_OF_ONE_MAX
from bastide.parts.http import apps
from bastide.parts.http.contract import Limits
from tests.parts.http.apps_kit import Script, body, mounted, saying, start
from tests.parts.http.server_kit import CLOSE, eventually, get

BUFFERS_BYTES_MAX = 32 << 20  # what the kernel may keep between two ends


async def test_a_whole_reply_is_one_of_ours() -> None:
    plain = (b"Content-Type", b"text/plain"), (b"content-length", b"5000")
    app = saying(start(201, *plain), body(b"a" * 5_000))
    async with mounted(app) as town, town.client() as client:
        found = await client.get("/")
        assert (found.status_code, found.content) == (201, b"a" * 5_000)
        assert found.headers["content-length"] == "5000"
        assert found.headers["x-content-type-options"] == "nosniff"
        packed = await client.get("/", headers={"accept-encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"


async def test_a_reply_in_pieces_is_a_stream() -> None:
    app = saying(
        start(), body(b"one ", more=True), body(more=True), body(b"two", more=True), body()
    )
    async with mounted(app) as town, await town.raw(get() * 2) as raw:
        for _ in range(2):
            status, headers, told = await raw.answer()
            assert (status, told) == (200, b"one two")
            assert headers["transfer-encoding"] == ["chunked"]
            assert "content-length" not in headers


async def test_a_length_that_is_said_is_never_sent_beside_chunks() -> None:
    # "A sender MUST NOT send a Content-Length header field in any message that contains a
    # Transfer-Encoding header field." (RFC 9112, section 6.2)
    app = saying(start(200, (b"content-length", b"6")), body(b"one", more=True), body(b"two"))
    async with mounted(app) as town, await town.raw(get()) as raw:
        _, headers, told = await raw.answer()
        assert told == b"onetwo"
        assert ("content-length" in headers, "transfer-encoding" in headers) == (False, True)


async def test_what_a_connection_says_is_not_the_application_s_to_say() -> None:
    said = [
        (b"connection", b"close"),
        (b"keep-alive", b"timeout=5"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"h2c"),
        (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
        (b"x-request-id", b"its own"),
        (b"X-Own", b"kept"),
    ]
    async with mounted(saying(start(200, *said), body(b"a"))) as town, await town.raw() as raw:
        for _ in range(2):
            raw.say(get())
            _, headers, _ = await raw.answer()
            assert headers["x-own"] == ["kept"]
            assert len(headers["date"]) == len(headers["x-request-id"]) == 1
            assert headers.keys().isdisjoint(("connection", "keep-alive", "upgrade"))


async def test_repeated_headers_are_kept_or_joined() -> None:
    said = [
        (b"set-cookie", b"a=1; Path=/"),
        (b"set-cookie", b"b=2; Expires=Thu, 01 Jan 1970 00:00:00 GMT"),
        (b"link", b"</a>; rel=next"),
        (b"link", b"</b>; rel=prev"),
    ]
    async with mounted(saying(start(200, *said), body())) as town, await town.raw(get()) as raw:
        _, headers, _ = await raw.answer()
        assert headers["set-cookie"] == [value.decode() for name, value in said[:2]]
        assert headers["link"] == ["</a>; rel=next, </b>; rel=prev"]


async def test_the_scope_says_what_came() -> None:
    app = saying(start(), body())
    async with mounted(app, prefix="/app", root="/mill") as town, await town.raw() as raw:
        target = "/mill/app/a%20b/%C3%BC?x=%20&x=2"
        raw.say(get(target, "x-a: 1", "x-a: 2", "cookie: a=1", "cookie: b=2", host="localhost:9"))
        await raw.answer()
        scope = app.scope
        assert scope["type"] == "http"
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.3"}
        assert (scope["http_version"], scope["method"], scope["scheme"]) == ("1.1", "GET", "http")
        # "path ... root_path": the path has the root path before it
        assert (scope["path"], scope["root_path"]) == ("/mill/app/a b/ü", "/mill/app")
        assert scope["raw_path"] == b"/mill/app/a%20b/%C3%BC"
        assert scope["query_string"] == b"x=%20&x=2"
        headers = dict(scope["headers"])
        assert headers[b"x-a"] == b"1, 2"
        assert headers[b"cookie"] == b"a=1; b=2"
        assert scope["client"] == ("127.0.0.1", 0)


@pytest.mark.parametrize("path", ["/app", "/app/", "/app/a/b"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_every_path_and_method_below_the_prefix_is_passed_on(path, method) -> None:
    app = saying(start(), body(b"a"))
    async with mounted(app, prefix="/app") as town, town.client() as client:
        assert (await client.request(method, path)).content == b"a"
        assert (app.scope["method"], app.scope["path"]) == (method, path)
        assert (await client.request(method, "/application")).status_code == 404


async def test_gates_and_the_row_s_allow_stand_before_it() -> None:
    app = saying(start(), body(b"a"))
    async with mounted(app, allow=operator) as town, town.client() as client:
        assert (await client.get("/", headers={"via": "a proxy"})).status_code == 403
        assert app.scopes == []


@pytest.mark.parametrize("events", [[body()], [body(b"some", more=True), body(b"more")]])
async def test_head_leaves_the_body_out_and_keeps_its_length(events) -> None:
    app = saying(start(200, (b"content-length", b"8")), *events)
    async with mounted(app) as town, await town.raw() as raw:
        raw.say(get(method="HEAD") * 2)
        for _ in range(2):
            status, headers, _ = await raw.answer(has_body=False)
            assert (status, headers["content-length"]) == (200, ["8"])
        await app.ended.wait()
        assert app.scope["method"] == "HEAD"


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_has_none(status) -> None:
    app = saying(start(status, (b"content-length", b"0")), body(b"some", more=True), body())
    async with mounted(app) as town, await town.raw(get() * 2) as raw:
        for _ in range(2):
            found, headers, _ = await raw.answer()
            assert found == status
            assert headers.keys().isdisjoint(("content-length", "transfer-encoding"))


async def test_head_of_what_has_no_end_ends() -> None:
    async def play(receive, send):
        await send(start())
        while True:
            await send(body(b"more", more=True))

    app = Script(play)
    async with mounted(app) as town, await town.raw(get(method="HEAD")) as raw:
        assert (await raw.answer(has_body=False))[0] == 200
        await app.ended.wait()
        assert isinstance(app.errors[0], OSError)


# Faults


async def raising(receive, send):
    raise ValueError("of its own")


async def raising_inside(receive, send):
    await send(start())
    await send(body(b"some", more=True))
    raise ValueError("of its own")


async def test_an_exception_before_the_start_is_a_fault(caplog) -> None:
    async with mounted(Script(raising)) as town, await town.raw(get() * 2) as raw:
        for _ in range(2):
            status, _, told = await raw.answer()
            assert status == 500
            assert b"of its own" not in told
    assert caplog.text.count("ValueError: of its own") == 2


async def test_an_exception_behind_the_start_breaks_the_reply_off(caplog) -> None:
    async with mounted(Script(raising_inside)) as town:
        said = await town.said(get())
        assert said.endswith(b"4\r\nsome\r\n")
    assert caplog.text.count("ValueError: of its own") == 1


async def test_an_exception_behind_the_end_is_told_and_changes_nothing(caplog) -> None:
    async def play(receive, send):
        await send(start())
        await send(body(b"whole"))
        await asyncio.sleep(0)
        raise ValueError("of its own")

    async with mounted(Script(play)) as town, await town.raw(get() * 2) as raw:
        for _ in range(2):
            assert (await raw.answer())[2] == b"whole"
    assert "an application failed behind its reply" in caplog.text


HEADERS = [
    (b"x-a", b"b\r\nx-evil: 1"),
    (b"x-a", b"b\nx-evil: 1"),
    (b"x-a", b"evil\0"),
    (b"x-evil: 1\r\nx-b", b"1"),
    (b"x evil", b"1"),
    (b"set-cookie", b"a=1\nevil=1"),
    (b"content-length", b"evil"),
    (b"content-length", b"-1"),
]


@pytest.mark.parametrize(
    "events",
    [
        [],
        [body(b"evil")],
        [{"type": "http.response.evil"}],
        [{"type": "http.response.push", "path": "/evil"}],
        [start(), start()],
        [start(101), body()],
        [start(99), body()],
        [start(1000), body()],
        [start(200, (b"content-length", b"5")), body(b"evil")],
        [start(200, (b"content-length", b"3")), body(b"evil")],
        *[[start(200, header), body()] for header in HEADERS],
    ],
    ids=ascii,
)
async def test_who_does_not_speak_as_asgi_says_gets_no_reply_out(events, caplog) -> None:
    async with mounted(saying(*events)) as town:
        said = await town.said(get("/", CLOSE))
        assert said.startswith(b"HTTP/1.1 500 ")
        assert b"evil" not in said
    assert "AppBroken" in caplog.text


@pytest.mark.parametrize(
    "events",
    [
        [],
        [start()],
        [{"type": "http.response.trailers", "headers": []}],
    ],
    ids=ascii,
)
async def test_who_ends_inside_its_reply_has_it_broken_off(events) -> None:
    async with mounted(saying(start(), body(b"some", more=True), *events)) as town:
        assert (await town.said(get())).endswith(b"4\r\nsome\r\n")


@pytest.mark.parametrize(("length", "last"), [(8, b"more"), (6, b"less")])
async def test_a_length_that_is_said_is_kept_to(length, last) -> None:
    said = (b"content-length", b"7")
    async with mounted(
        saying(start(200, said), body(b"a" * (length - 4), more=True), body(last))
    ) as town:
        assert not (await town.said(get())).endswith(b"0\r\n\r\n")


async def test_what_is_sent_behind_the_end_is_an_error_of_the_sender() -> None:
    app = saying(start(), body(b"whole"), body(b"evil"))
    async with mounted(app) as town, await town.raw(get()) as raw:
        assert (await raw.answer())[2] == b"whole"
        await app.ended.wait()
    assert type(app.errors[0]).__name__ == "AppBroken"


# Bodies


async def echo(receive, send):
    await send(start())
    more = True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        more = event["more_body"]
        await send(body(event["body"], more=more))


async def test_a_body_comes_in_pieces_while_the_reply_goes_out() -> None:
    async with mounted(Script(echo)) as town, await town.raw() as raw:
        raw.say(get("/", "transfer-encoding: chunked", method="PUT"))
        for n in range(20):
            raw.say(b"3\r\n%03d\r\n" % n)
            if n == 0:
                assert (await raw.head())[0] == 200
            assert await raw.reader.readexactly(8) == b"3\r\n%03d\r\n" % n
        raw.say(b"0\r\n\r\n")
        assert await raw.reader.readexactly(5) == b"0\r\n\r\n"


async def test_a_large_upload_waits_for_who_takes_it_slowly() -> None:
    go_on = asyncio.Event()
    size = 2 * BUFFERS_BYTES_MAX

    async def play(receive, send):
        taken, more = 0, True
        while more:
            event = await receive()
            taken, more = taken + len(event["body"]), event["more_body"]
            if taken:
                await go_on.wait()
        await send(start())
        await send(body(b"%d" % taken))

    async with mounted(Script(play)) as town:
        with socket.create_connection((town.host, town.port)) as client:
            client.setblocking(False)
            client.send(get("/", f"content-length: {size}", CLOSE, method="PUT"))
            left, idle = size, 0
            while idle < 50:  # turns in which nobody took a byte
                try:
                    left -= client.send(bytes(min(left, 1 << 20)))
                    idle = 0
                except BlockingIOError:
                    idle += 1
                await asyncio.sleep(0.005)
            assert left > size - BUFFERS_BYTES_MAX, "it is the client that waits"
            go_on.set()
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, bytes(left))
            told = b""
            while piece := await loop.sock_recv(client, 1 << 16):
                told += piece
            assert told.endswith(b"\r\n\r\n%d" % size)


async def reading(receive, send):
    """All of the body, and gives up as frameworks do if there is an end to it."""
    while (event := await receive())["type"] == "http.request" and event["more_body"]:
        pass
    if event["type"] == "http.disconnect":
        raise EOFError("the client left")
    await send(start())
    await send(body(b"taken"))


@pytest.mark.parametrize(("size", "status"), [(1_000, 200), (1_001, 413)])
@pytest.mark.parametrize("framed", ["by length", "in chunks"])
async def test_a_body_over_the_limit_is_refused(size, status, framed, monkeypatch, caplog) -> None:
    monkeypatch.setattr(apps, "BODY_BYTES_MAX", 1_000)
    lengths = {"by length": f"content-length: {size}", "in chunks": "transfer-encoding: chunked"}
    sent = bytes(size) if framed == "by length" else b"%x\r\n%b\r\n0\r\n\r\n" % (size, bytes(size))
    async with mounted(Script(reading)) as town:
        said = await town.said(get("/", lengths[framed], CLOSE, method="PUT") + sent)
        assert said.startswith(b"HTTP/1.1 %d " % status)
    assert "Traceback" not in caplog.text


async def test_who_leaves_within_its_body_is_told_of() -> None:
    app = Script(reading)
    async with mounted(app) as town:
        async with await town.raw(get("/", "content-length: 9", method="PUT") + b"some"):
            await eventually(lambda: app.told)
        await app.ended.wait()
    assert [event["type"] for event in app.told] == ["http.request", "http.disconnect"]


async def test_to_ask_and_give_up_loses_nothing_of_a_body() -> None:
    """As frameworks do, to learn whether the client is still there."""

    async def play(receive, send):
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await receive()
        await send(start())
        await echo_rest(receive, send)

    async def echo_rest(receive, send):
        more = True
        while more:
            event = await receive()
            more = event["more_body"]
            await send(body(event["body"], more=more))

    async with mounted(Script(play)) as town, await town.raw() as raw:
        raw.say(get("/", "content-length: 8", method="PUT"))
        assert (await raw.head())[0] == 200
        raw.say(b"all")
        assert await raw.reader.readexactly(8) == b"3\r\nall\r\n"
        raw.say(b" of it")
        assert await raw.reader.readexactly(10) == b"5\r\n of i\r\n"


async def test_a_body_that_nobody_asks_for_harms_nobody() -> None:
    async with mounted(saying(start(), body(b"a"))) as town, town.client() as client:
        for _ in range(3):
            found = await client.put("/", content=bytes(100_000))
            assert found.content == b"a"


# Who leaves


async def test_who_leaves_a_stream_is_told_of_by_receive() -> None:
    async def play(receive, send):
        await receive()
        await send(start())
        await send(body(b"some", more=True))
        await receive()

    app = Script(play)
    async with mounted(app) as town:
        async with await town.raw(get()) as raw:
            await raw.head()
        await app.ended.wait()
    assert [event["type"] for event in app.told] == ["http.request", "http.disconnect"]
    assert app.errors == []


async def flow(receive, send):
    await send(start())
    while True:
        await send(body(b"a" * 100_000, more=True))


async def test_who_leaves_a_stream_is_told_of_by_send(caplog) -> None:
    app = Script(flow)
    async with mounted(app) as town:
        async with await town.raw(get(), limit=1 << 16) as raw:
            await raw.head()
        await app.ended.wait()
    [error] = app.errors
    assert isinstance(error, OSError)
    assert "Traceback" not in caplog.text


async def test_an_application_makes_no_more_than_is_taken() -> None:
    sent = 0

    async def play(receive, send):
        nonlocal sent
        await send(start())
        while True:
            await send(body(b"a" * 100_000, more=True))
            sent += 100_000

    app = Script(play)
    impatient = Limits(stall_s=0.3)
    async with mounted(app, limits=impatient) as town, await town.raw(get(), limit=99_999) as raw:
        await raw.head()
        raw.take_nothing()
        await app.ended.wait()
    assert sent < BUFFERS_BYTES_MAX


async def test_who_does_not_listen_is_ended(monkeypatch) -> None:
    monkeypatch.setattr(apps, "LEFT_S", 0.05)

    async def play(receive, send):
        await send(start())
        await send(body(b"some", more=True))
        await asyncio.Event().wait()

    app = Script(play)
    async with mounted(app) as town:
        async with await town.raw(get()) as raw:
            await raw.head()
        await app.ended.wait()
    assert isinstance(app.errors[0], asyncio.CancelledError)


async def test_what_goes_on_behind_the_reply_goes_on() -> None:
    go_on, done = asyncio.Event(), asyncio.Event()

    async def play(receive, send):
        await send(start())
        await send(body(b"whole", more=True))
        await send(body())
        await go_on.wait()
        done.set()

    async with mounted(Script(play)) as town:
        async with await town.raw(get() * 2) as raw:
            assert (await raw.answer())[2] == b"whole"
            assert (await raw.answer())[2] == b"whole"
        await eventually(lambda: not town.server.connections)
        go_on.set()
        await done.wait()


async def test_a_whole_reply_ends_who_waits_for_the_client_to_leave() -> None:
    async def play(receive, send):
        await receive()
        await send(start())
        await send(body(b"whole"))
        await receive()

    app = Script(play)
    async with mounted(app) as town, await town.raw(get()) as raw:
        assert (await raw.answer())[2] == b"whole"
        await app.ended.wait()
    assert app.told[-1]["type"] == "http.disconnect"


async def test_events_of_an_application_end_when_the_town_stops() -> None:
    async def play(receive, send):
        await send(start(200, (b"content-type", b"text/event-stream")))
        await send(body(b"data: 1\n\n", more=True))
        await receive()
        await receive()

    app = Script(play)
    async with mounted(app) as town, await town.raw(get()) as raw:
        await raw.reader.readuntil(b"data: 1\n\n\r\n")
        town.server.http.end_events()
        assert await raw.reader.readexactly(5) == b"0\r\n\r\n"
        await app.ended.wait()


async def test_an_application_that_never_replies_is_ended_when_the_town_stops() -> None:
    async def play(receive, send):
        await asyncio.Event().wait()

    app = Script(play)
    async with mounted(app) as town, await town.raw(get()) as raw:
        await eventually(lambda: app.scopes)
        await town.server.stop(0.05)
        assert b" 503 " in await raw.reader.read()
        await app.ended.wait()


async def test_a_stream_that_gets_no_place_is_told_so() -> None:
    app = Script(flow)
    async with mounted(app) as town:
        clients = [await town.raw(get(), limit=1 << 16) for _ in range(STREAMS_OF_ONE_MAX)]
        for client in clients:
            assert (await client.head())[0] == 200
        async with await town.raw(get()) as over:
            assert (await over.answer())[0] == 429
        await eventually(lambda: len(app.errors) == 1)
        for client in clients:
            client.writer.transport.abort()
        await eventually(lambda: len(app.errors) == STREAMS_OF_ONE_MAX + 1)
