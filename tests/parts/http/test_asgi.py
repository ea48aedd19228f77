"""Our rows under uvicorn, on real sockets."""

import asyncio
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import msgspec
import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bastide.base.errors import Conflict
from bastide.base.gate import anyone, operator
from bastide.base.manifest import Miswired
from bastide.base.routes.rows import (
    Chunks,
    File,
    Prepared,
    Reply,
    Request,
    Socket,
    Stream,
    events,
    route,
    socket,
)
from bastide.base.rt import net
from bastide.parts.http import asgi
from bastide.parts.http.asgi import OFFERED_MAX, Asgi
from bastide.parts.http.contract import Limits
from tests.parts.http.server_kit import CLOSE, WITHIN_S, Served, eventually, get, http_of
from tests.town.conftest import SOURCES, environ_of

WS = "websockets-sansio"
TEXT = {"content-type": "text/plain"}


class Added(msgspec.Struct, forbid_unknown_fields=True):
    one: int
    other: int


class Sum(msgspec.Struct):
    sum: int


class Mill:
    """What the rows are bound to, and a test looks at."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.go_on = asyncio.Event()
        self.made = 0


async def add(_: Mill, added: Added) -> Sum:
    return Sum(added.one + added.other)


def greet(_: Mill, request: Request) -> Reply:
    return Reply(200, b"hello " + request.query.get("who", "you").encode(), TEXT)


async def refuse(_: Mill) -> Reply:
    raise Conflict("the mill stands still")


async def break_(_: Mill) -> Reply:
    raise ValueError("of our own")


def shut(_: Mill) -> Reply:
    return Reply(200, b"open")


def large(_: Mill) -> Reply:
    return Reply(200, b"large " * 10_000, {**TEXT, "etag": '"a"', "set-cookie": "a=1\nb=2"})


def broken(_: Mill) -> Reply:
    return Reply(200, b"secret", {"x-a": "b\r\nx-evil: 1"})


async def count(_: Mill, chunks: Chunks) -> Sum:
    return Sum(sum([len(piece) async for piece in chunks]))


async def echo(mill: Mill, chunks: Chunks) -> Stream:
    async def pieces() -> AsyncGenerator[bytes, None]:
        try:
            async for piece in chunks:
                yield piece
        finally:
            mill.ended.set()

    return Stream(pieces(), headers=TEXT)


async def flow(mill: Mill) -> Stream:
    async def pieces() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                mill.made += 1
                yield b"x" * 100_000
        finally:
            mill.ended.set()

    return Stream(pieces(), headers=TEXT)


async def breaks(_: Mill) -> Stream:
    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"some"
        raise Conflict("the mill stands still")

    return Stream(pieces(), headers=TEXT)


async def turns(mill: Mill) -> Stream:
    async def made() -> AsyncGenerator[Sum, None]:
        try:
            yield Sum(1)
            await mill.go_on.wait()
        finally:
            mill.ended.set()

    return events(made())


async def talk(mill: Mill, socket: Socket, name: str) -> None:
    async for message in socket:
        await socket.send(message if isinstance(message, bytes) else f"{name}: {message}")
        if message == "be quiet":
            return
        if message == "break":
            raise ValueError("of our own")
    mill.ended.set()


async def crowd(mill: Mill, socket: Socket) -> None:
    """Offers until it is refused, then goes on by sending."""
    prepared = Prepared("to all")
    taken = 0
    while socket.offer(prepared):
        taken += 1
    await socket.send(f"{taken} were offered")
    assert socket.offer(prepared), "all before it have been taken"
    await socket.close(1000, "enough")
    assert not socket.offer(prepared)


async def guarded(_: Mill, socket: Socket) -> None:
    raise AssertionError("nobody comes here")


ROWS = [
    route("GET", "/greet", greet, allow=anyone, html=True),
    route("POST", "/add", add, allow=anyone),
    route("GET", "/refuse", refuse, allow=anyone),
    route("GET", "/break", break_, allow=anyone),
    route("GET", "/shut", shut, allow=operator),
    route("GET", "/large", large, allow=anyone),
    route("GET", "/broken", broken, allow=anyone),
    route("PUT", "/count", count, allow=anyone, body_max=1 << 20),
    route("PUT", "/echo", echo, allow=anyone, body_max=1 << 24),
    route("GET", "/flow", flow, allow=anyone),
    route("GET", "/breaks", breaks, allow=anyone),
    route("GET", "/turns", turns, allow=anyone),
    socket("/talk/{name}", talk, allow=anyone, protocols=("chat.v2", "chat.v1")),
    socket("/crowd", crowd, allow=anyone),
    socket("/guarded", guarded, allow=operator),
]


@asynccontextmanager
async def under_uvicorn(app, *, parser="httptools"):
    listening = net.bind("127.0.0.1", 0)
    config = uvicorn.Config(app, lifespan="off", log_level="info", http=parser, ws=WS)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve(sockets=[listening]))
    try:
        async with asyncio.timeout(WITHIN_S):
            await eventually(lambda: server.started)
            yield Served(*listening.getsockname(), server)
    finally:
        server.should_exit = server.force_exit = True
        await serving
        listening.close()


@asynccontextmanager
async def doors(*rows, limits=None, **how):
    """Our rows, bound to a mill, under uvicorn."""
    mill = Mill()
    http = http_of(*(rows or ROWS), served=mill)
    async with under_uvicorn(Asgi(http, limits), **how) as town:
        town.mill, town.http = mill, http
        yield town


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


# WebSockets


def at(town, path, **options):
    return connect(f"ws://127.0.0.1:{town.port}{path}", proxy=None, **options)


async def test_a_socket_is_served() -> None:
    async with doors() as town, at(town, "/talk/ann") as client:
        for message in ("hello", b"\0\1", "", b"", "h\N{SNOWMAN}"):
            await client.send(message)
            told = await client.recv()
            assert told == (message if isinstance(message, bytes) else f"ann: {message}")
        await client.send("be quiet")
        assert await client.recv() == "ann: be quiet"
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1000


async def test_a_socket_s_protocol_is_the_client_s_first_that_is_spoken() -> None:
    async with doors() as town:
        offered = ["chat.v9", "chat.v1", "chat.v2"]
        async with at(town, "/talk/ann", subprotocols=offered) as client:
            assert client.subprotocol == "chat.v1"


async def test_who_closes_a_socket_ends_its_handler() -> None:
    async with doors() as town:
        async with at(town, "/talk/ann"):
            pass
        await town.mill.ended.wait()


async def test_who_is_cut_ends_its_handler(caplog) -> None:
    async with doors() as town:
        client = await at(town, "/talk/ann")
        client.transport.abort()
        await town.mill.ended.wait()
        await client.wait_closed()
    assert "Traceback" not in caplog.text


async def test_a_fault_closes_the_socket_and_is_told_once(caplog) -> None:
    async with doors() as town, at(town, "/talk/ann") as client:
        await client.send("break")
        assert await client.recv() == "ann: break"
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1011
    assert caplog.text.count("ValueError: of our own") == 1


async def test_what_is_offered_is_passed_on_in_its_order_or_refused() -> None:
    async with doors() as town, at(town, "/crowd") as client:
        told = [message async for message in client]
    offered = ["to all"] * OFFERED_MAX
    assert told == [*offered, f"{OFFERED_MAX} were offered", "to all"]
    assert (client.close_code, client.close_reason) == (1000, "enough")


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/nowhere", {}, 404),
        ("/greet", {}, 400),
        ("/flow", {}, 400),
        ("/guarded", {"x-forwarded-for": "192.0.2.7"}, 403),
        ("/talk/ann", {"origin": "https://elsewhere.example"}, 403),
        ("/talk/ann", {"sec-fetch-site": "cross-site"}, 403),
    ],
)
async def test_a_socket_that_is_not_opened_is_refused_by_a_reply(path, headers, status) -> None:
    async with doors() as town:
        with pytest.raises(InvalidStatus) as refused:
            await at(town, path, additional_headers=headers)
        response = refused.value.response
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"


async def played(app, scope, *events):
    """What `app` sends to a server that says these events, then nothing."""
    said, left = [], list(events)

    async def receive():
        if left:
            return left.pop(0)
        return await asyncio.get_running_loop().create_future()

    async def send(event):
        said.append(event)

    async with asyncio.timeout(WITHIN_S):
        await app(scope, receive, send)
    return said


def scope_of(kind, path, **more):
    return {"type": kind, "asgi": {"version": "3.0"}, "path": path, **more}


HOST = {"headers": [(b"host", b"localhost")]}


async def test_a_server_that_can_t_refuse_by_a_reply_is_told_to_close() -> None:
    app = Asgi(http_of(*ROWS))
    scope = scope_of("websocket", "/nowhere", **HOST)
    said = await played(app, scope, {"type": "websocket.connect"})
    assert said == [{"type": "websocket.close", "code": 1008, "reason": "404"}]


async def test_a_scope_may_leave_out_what_is_optional() -> None:
    def handle(_: object, name: str) -> Reply:
        return Reply(200, name.encode())

    app = Asgi(http_of(route("GET", "/{name:path}", handle, allow=anyone)))
    more = {**HOST, "method": "GET", "scheme": "http", "query_string": b""}
    start, *bodies = await played(app, scope_of("http", "/a?b/ü%", **more))
    assert start["status"] == 200
    assert b"".join(body["body"] for body in bodies) == "a?b/ü%".encode()
    assert [body["more_body"] for body in bodies] == [True, False]
    nobody = {"client": None, "server": ("/run/socket", None)}
    start, *_ = await played(app, scope_of("http", "/a", **more, **nobody))
    assert start["status"] == 200


async def test_a_scope_of_another_kind_is_refused() -> None:
    with pytest.raises(Miswired, match="'lifespan'; http and websocket are served"):
        await played(Asgi(http_of()), {"type": "lifespan"})


async def test_a_client_that_has_left_is_no_fault_of_anybody(caplog) -> None:
    """Version 2.4 of the specification: then `send` raises an OSError."""
    app = Asgi(http_of(*ROWS, served=Mill()))

    async def send(event):
        raise ConnectionResetError("it has left")

    for path in ("/greet", "/large", "/flow", "/refuse"):
        scope = scope_of("http", path, **HOST, method="GET", query_string=b"")
        await app(scope, asyncio.get_running_loop().create_future, send)
    sockets = scope_of("websocket", "/talk/ann", **HOST)

    async def receive():
        return {"type": "websocket.connect"}

    await app(sockets, receive, send)
    assert caplog.text == ""


async def test_a_server_that_cancels_gets_its_task_back() -> None:
    mill = Mill()
    app = Asgi(http_of(*ROWS, served=mill))
    begun = asyncio.Event()

    async def send(event):
        if event["type"] == "http.response.body":
            begun.set()
            await asyncio.get_running_loop().create_future()

    tasks = len(asyncio.all_tasks())
    scope = scope_of("http", "/flow", **HOST, method="GET", query_string=b"")
    serving = asyncio.create_task(app(scope, asyncio.get_running_loop().create_future, send))
    await begun.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert mill.ended.is_set()
    assert len(asyncio.all_tasks()) == tasks


@pytest.mark.parametrize("framed", [{}, {"http_version": "2"}])
async def test_a_body_that_comes_late_is_refused(framed, monkeypatch) -> None:
    monkeypatch.setattr(asgi, "BODY_S", 0.05)
    headers = [*HOST["headers"], (b"content-type", b"application/json")]
    if not framed:
        headers.append((b"content-length", b"10"))
    more = {"headers": headers, "method": "POST", "query_string": b"", **framed}
    start, *_ = await played(Asgi(http_of(*ROWS)), scope_of("http", "/add", **more))
    assert start["status"] == 408


# The town


@pytest.fixture
def certificate(tmp_path):
    """Of localhost, made by openssl; None where there is none."""
    if shutil.which("openssl") is None:
        return None
    key, made = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    named = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run(
        [*command, *named, "-keyout", key, "-out", made], check=True, capture_output=True
    )
    return key, made


@asynccontextmanager
async def town_under_uvicorn(tmp_path, *words, **variables):
    """A process of its own, and where it answers."""
    listening = net.bind("127.0.0.1", 0)
    port = listening.getsockname()[1]
    environ = environ_of(
        BASTIDE_DATA=str(tmp_path / "town"), BASTIDE_HTTP=f"127.0.0.1:{port}", **variables
    )
    command = (sys.executable, "-m", "uvicorn", "bastide.asgi:app", "--fd")
    process = await asyncio.create_subprocess_exec(
        *command,
        *(str(listening.fileno()), "--no-access-log", *words),
        env=environ,
        cwd=SOURCES,
        pass_fds=[listening.fileno()],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    listening.close()
    try:
        yield process, port
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_the_town_runs_under_uvicorn_with_tls(tmp_path, certificate) -> None:
    tls, scheme, verify = (), "http", False
    if certificate:
        key, made = map(str, certificate)
        tls, scheme = ("--ssl-keyfile", key, "--ssl-certfile", made), "https"
        verify = ssl.create_default_context(cafile=made)
    async with town_under_uvicorn(tmp_path, *tls) as (process, port):
        base = f"{scheme}://127.0.0.1:{port}"
        async with httpx.AsyncClient(
            base_url=base, verify=verify, timeout=WITHIN_S, trust_env=False
        ) as client:
            health = await client.get("/healthz")
            assert (health.status_code, health.json()["ok"]) == (200, True)
            long = {"original_url": "https://example.org/a"}
            made = await client.post("/shortener/api/shorten", json=long)
            assert made.status_code == 201, made.text
            short = made.json()["short_url"]
            assert short.startswith(f"http://127.0.0.1:{port}/shortener/")
            path = short.removeprefix(f"http://127.0.0.1:{port}")
            followed = await client.get(path)
            assert followed.headers["location"] == long["original_url"]
            metrics = (await client.get("/metrics")).text
            assert 'system="shortener"' in metrics
        process.terminate()
        said, _ = await process.communicate()
        assert process.returncode in (0, -15), said.decode()
        assert b"Application shutdown complete" in said
        assert b"Traceback" not in said, said.decode()
    async with town_under_uvicorn(tmp_path) as (process, port):
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=WITHIN_S, trust_env=False
        ) as client:
            kept = await client.get(path)
            assert kept.headers["location"] == long["original_url"]
        process.terminate()
        await process.communicate()


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"BASTIDE_SHORTENER_NONSENSE": "1"}, b"BASTIDE_SHORTENER_NONSENSE"),
        ({"BASTIDE_HTTP_STALL_S": "0"}, b"BASTIDE_HTTP_STALL_S"),
    ],
)
async def test_a_town_that_can_t_open_ends_the_server_with_a_word(
    tmp_path, variables, told
) -> None:
    async with town_under_uvicorn(tmp_path, **variables) as (process, _):
        said, _ = await process.communicate()
        assert process.returncode != 0
        assert told in said
        assert b"Traceback" not in said, said.decode()


async def test_events_do_not_keep_a_server_that_was_told_for_how_long(tmp_path) -> None:
    waits = ("--timeout-graceful-shutdown", "1")
    async with town_under_uvicorn(tmp_path, *waits) as (process, port):
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=WITHIN_S, trust_env=False
        ) as client:
            await client.get("/healthz")
            town = Served("127.0.0.1", port, None)
            async with await town.raw(get("/console/calls", CLOSE)) as raw:
                await raw.reader.readuntil(b"\r\n\r\n")
                process.terminate()
                said, _ = await process.communicate()
        assert b"Application shutdown complete" in said, said.decode()


async def test_without_lifespan_the_town_says_what_is_missing(tmp_path) -> None:
    async with town_under_uvicorn(tmp_path, "--lifespan", "off") as (process, port):
        async with httpx.AsyncClient(timeout=WITHIN_S, trust_env=False) as client:
            found = await client.get(f"http://127.0.0.1:{port}/healthz")
            assert found.status_code == 500
        process.terminate()
        said, _ = await process.communicate()
        assert b"its server is to run the lifespan" in said
