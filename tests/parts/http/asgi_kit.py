"""Rows and applications under uvicorn, and below our server."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
import uvicorn

from bastide.base.errors import Conflict
from bastide.base.gate import anyone, operator
from bastide.base.routes.rows import (
    Chunks,
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
from bastide.parts.http.asgi import Asgi
from tests.parts.http.server_kit import WITHIN_S, Served, eventually, http_of

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
