"""A proxy between the nodes' peer ports, which can cut each way from one node to another.

Each node is known to the others by a port of ours, behind which it listens. Who dials says in his
first frame who he is, so every byte belongs to a way: (from whom, to whom). On a way that is cut
bytes are held, as TCP sends them again when a real network is back; nobody learns that it is cut.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

from bastide.base.rt.net import bind
from bastide.parts.http.bench.servers import HOST
from bastide.parts.raft.transport.frames import FrameInvalid, Hello, Reader, read_greeting

READ_BYTES = 1 << 16
PORTS = range(21_000, 32_000)
Way = tuple[int, int]


def quiet_port() -> int:
    """A free one that the kernel gives nobody who dials: else who dials a node that is down could
    reach himself, and hold its port.
    """
    while True:
        port = random.choice(PORTS)  # noqa: S311 (any will do)
        try:
            bind(HOST, port).close()
        except OSError:
            continue
        return port


class Links:
    """`ports` by node: where others reach it; `behind`: where it is to listen."""

    def __init__(self) -> None:
        self.ports: dict[int, int] = {}
        self.behind: dict[int, int] = {}
        self._servers: list[asyncio.Server] = []
        self._serving: set[asyncio.Task[None]] = set()
        self._cut: set[Way] = set()
        self._slow_s: dict[Way, float] = {}
        self._changed = asyncio.Event()

    async def add(self, node: int) -> None:
        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._serve(node, reader, writer))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

        server = await asyncio.start_server(serve, HOST, 0)
        self._servers.append(server)
        self.ports[node] = server.sockets[0].getsockname()[1]
        self.behind[node] = quiet_port()

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def cut(self, ways: Iterable[Way]) -> None:
        self._cut.update(ways)

    def mend(self, ways: Iterable[Way]) -> None:
        self._cut.difference_update(ways)
        self._news()

    def slow(self, way: Way, delay_s: float) -> None:
        self._slow_s[way] = delay_s

    def heal(self) -> None:
        self._cut.clear()
        self._slow_s.clear()
        self._news()

    def _news(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _passes(self, way: Way) -> None:
        if delay_s := self._slow_s.get(way):
            await asyncio.sleep(delay_s)
        while way in self._cut:
            await self._changed.wait()

    async def _serve(
        self, node: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError, FrameInvalid):
            async with _closing(writer):
                first, hello = await _greeted(reader)
                await self._passes((hello.node, node))
                there, here = await asyncio.open_connection(HOST, self.behind[node])
                async with _closing(here):
                    here.write(first)
                    await self._join((hello.node, node), (reader, here), (there, writer))

    async def _join(
        self,
        way: Way,
        out: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        back: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Until one side ends, and the other could have heard of it."""
        pumps = [
            asyncio.ensure_future(self._pump(way, *out)),
            asyncio.ensure_future(self._pump((way[1], way[0]), *back)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(
        self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        ended = False
        while not ended:
            try:
                received = await reader.read(READ_BYTES)
            except OSError:
                received = b""
            ended = not received
            await self._passes(way)
            writer.write(received)
            await writer.drain()


async def _greeted(reader: asyncio.StreamReader) -> tuple[bytes, Hello]:
    """
    Raises:
        FrameInvalid, OSError: it did not say who it is.
    """
    frames, first = Reader(), b""
    while received := await reader.read(READ_BYTES):
        first += received
        for content in frames.feed(received):
            hello = read_greeting(content)
            if isinstance(hello, Hello):
                return first, hello
            raise FrameInvalid("the first frame is no hello")
    raise ConnectionResetError


@asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.transport.abort()
