"""WebSockets under uvicorn; and servers that say little, or leave early."""

import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bastide.base.gate import anyone
from bastide.base.manifest import Miswired
from bastide.base.routes.rows import (
    Reply,
    route,
)
from bastide.parts.http import asgi
from bastide.parts.http.asgi import OFFERED_MAX, Asgi
from tests.parts.http.asgi_kit import ROWS, Mill, doors
from tests.parts.http.server_kit import WITHIN_S, http_of


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
