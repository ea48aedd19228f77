"""A server that knows nothing but upgrades, and a client that may break every rule."""

import asyncio
import base64
import os
import zlib
from contextlib import asynccontextmanager

import httptools
import pytest
from websockets.speedups import apply_mask

from bastide.base.errors import Refusal
from bastide.parts.http.contract import Limits
from bastide.parts.http.websocket.contract import Pace
from bastide.parts.http.websocket.handshake import Handshake, handshake
from bastide.parts.http.websocket.session import WebSocketProtocol
from bastide.parts.http.websocket.watch import Watch

LONG_S = 20  # nothing takes as long, unless it hangs
LOOPS = ("asyncio", "uvloop")


def loop_of(name):
    """An anyio backend."""
    if name == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not for this platform")
    return "asyncio", {"use_uvloop": name == "uvloop"}


def frame(opcode, payload=b"", *, first=None, key=None, length=None):
    """A client's frame, whole unless `first` says otherwise; `length` is how it writes that."""
    key = os.urandom(4) if key is None else key
    first = 0x80 | opcode if first is None else first
    if length is None:
        size = len(payload)
        length = (
            bytes((0x80 | size,))
            if size < 126
            else bytes((0xFE,)) + size.to_bytes(2, "big")
            if size < 1 << 16
            else bytes((0xFF,)) + size.to_bytes(8, "big")
        )
    return bytes((first,)) + length + key + apply_mask(payload, key)


def deflated(payload):
    """As RFC 7692, 7.2.1, says: without the last four bytes."""
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def key():
    return base64.b64encode(os.urandom(16)).decode()


class Door(asyncio.Protocol):
    """Reads one head and hands the connection over."""

    def __init__(self, server):
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._headers = {}
        self._complete = False

    def connection_made(self, transport):
        self._transport = transport

    def on_header(self, name, value):
        name, value = name.decode().lower(), value.decode()
        self._headers[name] = f"{self._headers[name]}, {value}" if name in self._headers else value

    def on_headers_complete(self):
        self._complete = True

    def data_received(self, data):
        leftover = b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            leftover = data[upgrade.args[0] :]
        if self._complete:
            self._server.upgrade(self._transport, self._headers, leftover)


class Server:
    def __init__(self, handler, limits, pace, watch, subprotocols):
        self._handler = handler
        self._limits = limits
        self._pace = pace
        self._watch = watch
        self._subprotocols = subprotocols
        self.protocols = set()
        self.lost = 0
        self.changed = asyncio.Event()
        self.port = 0

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}/"

    def upgrade(self, transport, headers, leftover):
        try:
            agreed = handshake(headers, subprotocols=self._subprotocols)
        except Refusal as error:
            told = {"content-length": "0", **getattr(error, "headers", {})}
            transport.write(_head(error.status, "Refused", told))
            transport.close()
            return
        transport.write(_head(101, "Switching Protocols", agreed.headers))
        protocol = WebSocketProtocol(
            self._handler,
            agreed,
            self._limits,
            watch=self._watch,
            pace=self._pace,
            on_lost=self._forget,
        )
        self.protocols.add(protocol)
        transport.set_protocol(protocol)
        protocol.begin(transport, leftover)
        self.changed.set()

    def _forget(self, protocol):
        self.protocols.remove(protocol)
        self.lost += 1
        self.changed.set()

    async def until(self, true):
        """Waits until `true(self)`, which only our own events change."""
        async with asyncio.timeout(LONG_S):
            while not true(self):
                self.changed.clear()
                await self.changed.wait()


def _head(status, reason, headers):
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {reason}\r\n{lines}\r\n".encode()


@asynccontextmanager
async def serving(handler, *, limits=None, pace=None, subprotocols=(), tick_s=0.01):
    server = Server(handler, limits or Limits(), pace or Pace(), Watch(tick_s=tick_s), subprotocols)
    listening = await asyncio.get_running_loop().create_server(lambda: Door(server), "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await asyncio.gather(*(protocol.stop(0.01) for protocol in server.protocols))
        await server.until(lambda s: not s.protocols)


class Client:
    """Bytes, as somebody may send them."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    def say(self, *frames):
        self.writer.write(b"".join(frames))

    async def hear(self):
        """The next frame: its first byte, and its payload. None at the end of the connection."""
        async with asyncio.timeout(LONG_S):
            try:
                first, length = await self.reader.readexactly(2)
                if length == 126:
                    length = int.from_bytes(await self.reader.readexactly(2), "big")
                elif length == 127:
                    length = int.from_bytes(await self.reader.readexactly(8), "big")
                return first, await self.reader.readexactly(length)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None

    async def hear_close(self):
        """The code of the close that comes next, after which the connection ends."""
        first, payload = await self.hear()
        assert first == 0x88
        assert await self.hear() is None
        return int.from_bytes(payload[:2], "big")


@asynccontextmanager
async def client_of(server, *, leftover=b"", headers=None, **options):
    """After a handshake that is taken."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, **options)
    asked = {
        "host": f"127.0.0.1:{server.port}",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-key": key(),
        "sec-websocket-version": "13",
        **(headers or {}),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in asked.items())
    writer.write(f"GET / HTTP/1.1\r\n{lines}\r\n".encode() + leftover)
    try:
        async with asyncio.timeout(LONG_S):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        yield Client(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


class Wire(asyncio.Transport):
    """What a socket may do, without one: `untaken` bytes wait, and each write is kept."""

    def __init__(self):
        super().__init__()
        self.writes = []
        self.untaken = 0
        self.aborted = self.closing = False
        self.reading = True

    def write(self, data):
        self.writes.append(bytes(data))

    def get_write_buffer_size(self):
        return self.untaken

    def get_write_buffer_limits(self):
        return 16 << 10, 64 << 10

    def is_reading(self):
        return self.reading

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def is_closing(self):
        return self.closing

    def can_write_eof(self):
        return False

    def close(self):
        self.closing = True

    def abort(self):
        self.aborted = self.closing = True


@asynccontextmanager
async def wired(handler, *, limits=None, pace=None, deflates=False, wire=None):
    """A protocol on a Wire."""
    wire = wire or Wire()
    protocol = WebSocketProtocol(
        handler,
        Handshake({}, None, deflates),
        limits or Limits(),
        watch=Watch(),
        pace=pace or Pace(),
        on_lost=lambda _: None,
    )
    protocol.begin(wire, b"")
    try:
        yield protocol, wire
    finally:
        protocol.connection_lost(None)
        await protocol.stop(0)


async def turns(count=5):
    """Lets everybody go on who may."""
    for _ in range(count):
        await asyncio.sleep(0)
