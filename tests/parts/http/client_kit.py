"""Peers of the client: servers that say what a test tells them, byte by byte."""

import asyncio
import socket
import struct
from contextlib import asynccontextmanager, suppress

from bastide.parts.http.client.contract import ClientOptions, PoolLimits, RetryRules, Timeouts

PATIENT = Timeouts(
    connect_s=20, pool_s=20, write_s=20, first_byte_s=20, read_s=20, total_s=60
)  # a busy machine is no failure
ONCE = RetryRules(attempts=1)


def options(**given):
    """Patient, asks once, and never thinks that a server is sick, unless told otherwise."""
    given.setdefault("timeouts", PATIENT)
    given.setdefault("retries", ONCE)
    return ClientOptions(**given)


def late_in(**given):
    """Patient but for the phases that are given."""
    found = {name: getattr(PATIENT, name) for name in PATIENT.__struct_fields__}
    return Timeouts(**{**found, **given})


def one_connection(**given):
    return PoolLimits(connections_max=1, connections_of_one_origin=1, **given)


class Peer:
    """What a script has of one connection: the requests that come, and a way to say anything."""

    def __init__(self, reader, writer, server):
        self.reader, self.writer, self.server = reader, writer, server

    async def heard(self):
        """The next request's head, lower case, and its body; b"" if there will be none."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            body = await self._body(head.lower())
        except asyncio.IncompleteReadError:
            return b"", b""
        self.server.requests.append((head, body))
        return head, body

    async def _body(self, lower):
        if b"\r\ntransfer-encoding: chunked\r\n" in lower:
            return await self._chunks()
        if b"\r\ncontent-length: " in lower:
            count = int(lower.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
            return await self.reader.readexactly(count)
        return b""

    async def _chunks(self):
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
        assert await self.reader.readexactly(2) == b"\r\n"
        return body

    def say(self, data):
        self.writer.write(data)

    async def say_all(self, data):
        self.writer.write(data)
        await self.writer.drain()

    def reset(self):
        """No end, but a break: RST."""
        gone = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, gone)
        self.writer.transport.abort()

    async def gone(self):
        """Until the client has closed."""
        with suppress(OSError):
            while await self.reader.read(1 << 16):
                pass


class Server:
    """`script(peer)` is run for each connection, which is closed when it ends."""

    def __init__(self, script):
        self.script = script
        self.requests = []
        self.connections = 0
        self.port = 0
        self.path = ""
        self.failed = []
        self._listening = None
        self._tls = None
        self._serving = set()

    @property
    def url(self):
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def heads(self):
        return [head for head, _ in self.requests]

    async def start(self, host="127.0.0.1", port=0, tls=None, path=""):
        """Again where it was before, unless told otherwise."""
        self._tls, self.path = tls or self._tls, path or self.path
        self.port = port or self.port
        if self.path:
            self._listening = await asyncio.start_unix_server(self._serve, self.path, ssl=self._tls)
        else:
            self._listening = await asyncio.start_server(
                self._serve, host, self.port, ssl=self._tls
            )
            self.port = self._listening.sockets[0].getsockname()[1]

    async def stop(self):
        """No connection is taken, and none is left."""
        self._listening.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader, writer):
        self.connections += 1
        self._serving.add(asyncio.current_task())
        try:
            await self.script(Peer(reader, writer, self))
            with suppress(OSError):
                await writer.drain()
        except (asyncio.CancelledError, ConnectionError):
            pass
        except Exception as error:  # told to the test, at the end
            self.failed.append(error)
        finally:
            self._serving.discard(asyncio.current_task())
            writer.close()


@asynccontextmanager
async def serving(script, **where):
    server = Server(script)
    await server.start(**where)
    try:
        yield server
    finally:
        await server.stop()
    assert not server.failed, server.failed


def answering(*answers, then=None):
    """A script: the answers in turn, over all connections; `then` (or the last) from there on."""
    left = list(answers)
    last = then or answers[-1]

    async def script(peer):
        while (await peer.heard())[0]:
            peer.say(left.pop(0) if left else last)

    return script


def saying(data, *, then_waits=False):
    """A script: to the first request of a connection it says `data`, then it closes or waits."""

    async def script(peer):
        await peer.heard()
        peer.say(data)
        if then_waits:
            await peer.gone()

    return script


def answer(body=b"", *, status=200, headers=()):
    lines = [b"HTTP/1.1 %d Words\r\n" % status, b"content-length: %d\r\n" % len(body), *headers]
    return b"".join(lines) + b"\r\n" + body


def chunked(*pieces):
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
