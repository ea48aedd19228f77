"""Wires to our server (server_kit): a client that says exactly what it is told, and two doors."""

import asyncio
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from bastide.base.gate import anyone
from bastide.base.routes.rows import Reply, Request, Row, json_reply, route
from bastide.parts.http.contract import Limits
from bastide.parts.http.server.server import Server
from tests.parts.http.server_kit import serving

WITHIN_S = 15.0


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, *pieces: bytes) -> None:
        self.writer.write(b"".join(pieces))

    def get(self, path: str = "/", *lines: str) -> None:
        self.say(f"GET {path} HTTP/1.1\r\nhost: a\r\n".encode())
        self.say(*(f"{line}\r\n".encode() for line in lines), b"\r\n")

    def post(self, path: str, body: bytes, *lines: str) -> None:
        self.say(f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n".encode())
        self.say(*(f"{line}\r\n".encode() for line in lines), b"\r\n", body)

    async def hear(self, *, head: bool = False) -> Answer:
        """The next reply, whole."""
        async with asyncio.timeout(WITHIN_S):
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *lines = text.split("\r\n")[:-2]
            headers = dict(one.split(": ", 1) for one in lines)
            body = b""
            if not head and (length := int(headers.get("content-length", 0))):
                body = await self.reader.readexactly(length)
            return Answer(int(line.split()[1]), headers, body)

    async def rest(self) -> bytes:
        """All that comes until the other side closes; what is cut off counts as closed."""
        async with asyncio.timeout(WITHIN_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def is_closed(self) -> bool:
        return await self.rest() == b""


class Served:
    def __init__(self, server: Server, port: int) -> None:
        self.server = server
        self.port = port
        self._wires: list[Wire] = []

    async def open(self) -> Wire:
        wire = Wire(*await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 26))
        self._wires.append(wire)
        return wire

    async def ask(self, path: str = "/", *lines: str) -> Answer:
        wire = await self.open()
        wire.get(path, *lines)
        return await wire.hear()

    def close(self) -> None:
        for wire in self._wires:
            if wire.writer.transport is not None:
                wire.writer.transport.abort()


@asynccontextmanager
async def served(
    *rows: Row, limits: Limits | None = None, proxied: bool = False
) -> AsyncIterator[Served]:
    async with serving(*rows, *ROWS, limits=limits, proxied=proxied) as town:
        found = Served(town.server, town.port)
        try:
            yield found
        finally:
            found.close()


def linger_reset(writer: asyncio.StreamWriter) -> None:
    """The next close is a reset."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


def ping(_: object) -> Reply:
    return Reply(200, b"pong")


async def tell(_: object, request: Request) -> Reply:
    """What a handler sees of who asks."""
    return json_reply([request.path, request.caller.address, request.caller.operator])


ROWS = (route("GET", "/ping", ping, allow=anyone), route("GET", "/tell", tell, allow=anyone))
