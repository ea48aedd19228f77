"""Our server on a socket of this machine, with a test's rows, and clients that know little."""

import asyncio
import os
import socket
from contextlib import asynccontextmanager
from email.parser import BytesHeaderParser

import httpx

from bastide.base.metrics import Registry
from bastide.base.routes.binding import Endpoint
from bastide.base.routes.http import Http, Site
from bastide.parts.http.contract import Limits
from bastide.parts.http.server.server import Server

WITHIN_S = 30  # nothing takes as long, unless it hangs


def http_of(*rows, root="", served=None, **options):
    site = Site()
    site.mount(root, [Endpoint("mill", row, served, {}) for row in rows], Registry())
    return Http(site, {}, **options)


class Served:
    def __init__(self, host, port, server):
        self.host = host
        self.port = port
        self.server = server
        self.url = f"http://{host}:{port}"

    def client(self, **options):
        """httpx, which asks for nothing that a test does not name."""
        bare = {"accept-encoding": "identity"}
        options.setdefault("trust_env", False)
        return httpx.AsyncClient(base_url=self.url, headers=bare, timeout=WITHIN_S, **options)

    async def raw(self, sent=b"", *, limit=1 << 26):
        """A connection on which `sent` was said."""
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=limit)
        writer.write(sent)
        return Raw(reader, writer)

    async def said(self, sent):
        """All that comes back for `sent`, until the server closes."""
        async with await self.raw(sent) as raw:
            return await raw.reader.read()


class Raw:
    """One connection. Replies are read by their own framing."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.writer.transport.abort()

    def say(self, data):
        self.writer.write(data)

    async def head(self):
        """Status and headers, each name with the list of its values."""
        line, _, rest = (await self.reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
        parsed = BytesHeaderParser().parsebytes(rest)
        return int(line.split()[1]), {name: parsed.get_all(name) for name in parsed}

    async def answer(self, *, has_body=True):
        """Status, headers and body."""
        status, headers = await self.head()
        if not has_body or status in (204, 304):
            return status, headers, b""
        if "transfer-encoding" in headers:
            return status, headers, await self._chunks()
        return status, headers, await self.reader.readexactly(int(headers["content-length"][0]))

    async def _chunks(self):
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
        assert await self.reader.readexactly(2) == b"\r\n"
        return body

    def take_nothing(self):
        self.writer.transport.pause_reading()


def get(target="/", *headers, method="GET", version="1.1", host="a"):
    lines = [f"{method} {target} HTTP/{version}", *([f"host: {host}"] if host else []), *headers]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


CLOSE = "connection: close"


@asynccontextmanager
async def serving(*rows, limits=None, proxied=False, root="", within_s=WITHIN_S, **options):
    """`rows` behind a port of our server, for at most `within_s`."""
    limits = limits or Limits()
    http = http_of(*rows, root=root, limits=limits, **options)
    server = Server(http, limits, proxied=proxied)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        await server.start([listening])
        try:
            async with asyncio.timeout(within_s):
                yield Served(*listening.getsockname(), server)
        finally:
            await server.stop(1)


async def eventually(so, within_s=WITHIN_S):
    """Waits for what only the network can bring."""
    async with asyncio.timeout(within_s):
        while not (found := so()):  # noqa: ASYNC110 (the kernel tells nobody)
            await asyncio.sleep(0.01)
    return found


def descriptors():
    return len(os.listdir("/proc/self/fd"))
