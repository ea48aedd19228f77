"""WebSockets beside aiohttp and uvicorn.

The generator makes its frames beforehand and counts bytes: what comes back has a known length. So
it needs less of its core than any of the servers does.
"""

import asyncio
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

from bastide.base.errors import Unavailable
from bastide.base.rt import runtime
from bastide.parts.http.bench.load import TURN_S_MIN, Turn, figures, in_turns
from bastide.parts.http.bench.servers import (
    GENERATOR_CORE,
    HOST,
    Running,
    installed,
    on_core,
    running_module,
    running_uvicorn,
)

BENCH = "bastide.parts.http.bench"
MESSAGE = b"m" * 32
MASK = bytes((0x37, 0xFA, 0x21, 0x3D))
TALKERS = 100
DEPTH = 32
LISTENERS = 1_000
CASTS_UNDER_WAY = 4
OPENED_AT_ONCE = 100
STALL_S = 10.0
UPGRADE = (
    b"GET %b HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

# RFC 6455, section 5.2: a whole text message; the client's is masked.
ASKED = (
    struct.pack("!BB", 0x81, 0x80 | len(MESSAGE))
    + MASK
    + bytes(byte ^ MASK[at % 4] for at, byte in enumerate(MESSAGE))
)
HEARD_BYTES = 2 + len(MESSAGE)
GOODBYE = struct.pack("!BB4xH", 0x88, 0x82, 1000)  # masked by nothing
SWITCHED = b"101"


class Client(asyncio.Protocol):
    """Sends `opening`; is open when the head of the answer is here, with a status of `wanted`."""

    def __init__(self, opening: bytes, wanted: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self.open: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self._opening = opening
        self._wanted = wanted
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._opening)

    def data_received(self, data: bytes) -> None:
        if self.open.done():
            self.took(len(data))
            return
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        if head[9:12] != self._wanted:
            self.open.set_exception(Unavailable(f"it was not opened: {head[:60]!r}"))
            return
        self._head = b""
        self.open.set_result(None)
        if rest:
            self.took(len(rest))

    def connection_lost(self, error: Exception | None) -> None:
        if not self.open.done():
            self.open.set_exception(Unavailable(f"the connection was lost: {error}"))
        self.lost.set_result(None)

    def leave(self) -> None:
        """Says goodbye as its protocol has it. The server closes behind what it still owes."""
        if self._wanted == SWITCHED:
            self.transport.write(GOODBYE)
        else:
            self.transport.close()

    def took(self, count: int) -> None:
        """Bytes behind the head."""


ClientT = TypeVar("ClientT", bound=Client)


async def opened(server: Running, count: int, make: Callable[[], ClientT]) -> Sequence[ClientT]:
    """
    Raises:
        Unavailable
    """
    loop = asyncio.get_running_loop()

    async def one() -> ClientT:
        _, client = await loop.create_connection(make, HOST, server.port)
        await client.open
        return client

    made: list[ClientT] = []
    async with asyncio.timeout(STALL_S + count / 100):
        while len(made) < count:
            fewer = min(OPENED_AT_ONCE, count - len(made))
            made += await asyncio.gather(*(one() for _ in range(fewer)))
    return made


async def close(clients: Sequence[Client]) -> None:
    """Returns when all of them are gone."""
    for client in clients:
        client.leave()
    await asyncio.wait([client.lost for client in clients], timeout=STALL_S)
    for client in clients:
        client.transport.abort()


class Talker(Client):
    """Sends `depth` messages at once, and again when all of them have come back."""

    def __init__(self, depth: int) -> None:
        super().__init__(UPGRADE % b"/sockets/echo", SWITCHED)
        self.heard = 0  # bytes
        self._leaves = False
        self._burst = ASKED * depth
        self._awaited = self._left = HEARD_BYTES * depth

    def talk(self) -> None:
        self._left = self._awaited
        self.transport.write(self._burst)

    def took(self, count: int) -> None:
        if self._leaves:
            return
        self.heard += count
        self._left -= count
        assert self._left >= 0, "more came back than was sent"
        if not self._left:
            self.talk()

    def leave(self) -> None:
        self._leaves = True
        super().leave()


def _echo(server: Running, depth: int) -> Turn:
    async def turn(seconds: float) -> float:
        with on_core(GENERATOR_CORE):
            talkers = await opened(server, TALKERS, partial(Talker, depth))
            began_s = runtime.monotonic()
            for talker in talkers:
                talker.talk()
            await asyncio.sleep(max(seconds, TURN_S_MIN))
            echoes = sum(talker.heard for talker in talkers) / HEARD_BYTES
            per_s = echoes / (runtime.monotonic() - began_s)
            await close(talkers)
            return per_s

    return turn


class Heard:
    """Bytes that all listeners together have taken."""

    def __init__(self) -> None:
        self.count = 0


class Listener(Client):
    def __init__(self, heard: Heard) -> None:
        super().__init__(UPGRADE % b"/sockets/listen", SWITCHED)
        self._heard = heard

    def took(self, count: int) -> None:
        self._heard.count += count


def _fan_out(server: Running) -> Turn:
    """Messages that arrived a second; CASTS_UNDER_WAY are sent ahead of those that all have."""

    async def turn(seconds: float) -> float:
        with on_core(GENERATOR_CORE):
            heard = Heard()
            listeners = await opened(server, LISTENERS, partial(Listener, heard))
            casters = await opened(server, 1, partial(Client, UPGRADE % b"/sockets/cast", SWITCHED))
            per_s = await _cast(casters[0], heard, len(listeners), seconds)
            await close([*listeners, *casters])
            return per_s

    return turn


async def _cast(caster: Client, heard: Heard, listeners: int, seconds: float) -> float:
    round_bytes = listeners * HEARD_BYTES
    began_s = moved_s = runtime.monotonic()
    cast = seen = 0
    while (now_s := runtime.monotonic()) < began_s + seconds or heard.count < cast * round_bytes:
        if now_s < began_s + seconds and cast - heard.count // round_bytes < CASTS_UNDER_WAY:
            caster.transport.write(ASKED)
            cast += 1
        if heard.count > seen:
            seen, moved_s = heard.count, now_s
        elif now_s > moved_s + STALL_S:
            raise Unavailable(f"{heard.count} of {cast * round_bytes} bytes arrived")
        await asyncio.sleep(0)
    return heard.count / HEARD_BYTES / (runtime.monotonic() - began_s)


async def sockets(directory: Path, seconds: float) -> Mapping[str, float]:
    async with AsyncExitStack() as stack:
        servers = await servers_of_sockets(stack, directory)
        ways: dict[str, Turn] = {}
        for name, server in servers.items():
            ways[f"{name}echoes"] = _echo(server, 1)
            ways[f"{name}echoes_{DEPTH}_deep"] = _echo(server, DEPTH)
            ways[f"{name}deliveries"] = _fan_out(server)
        turns = await in_turns(ways, seconds)
    ratios = {
        f"{what}_beside_{peer.rstrip('_')}": (what, f"{peer}{what}")
        for what in ("echoes", f"echoes_{DEPTH}_deep", "deliveries")
        for peer in servers
        if peer
    }
    return figures(turns, ratios)


async def servers_of_sockets(stack: AsyncExitStack, directory: Path) -> Mapping[str, Running]:
    """By what their figures begin with: ours with nothing, its peers with their names."""
    running = running_module(f"{BENCH}.ours", str(directory))
    servers = {"": await stack.enter_async_context(running)}
    uvicorn = await stack.enter_async_context(running_uvicorn(f"{BENCH}.on_asgi:app"))
    if uvicorn is not None:
        servers["uvicorn_"] = uvicorn
    if installed("aiohttp"):
        running = running_module(f"{BENCH}.on_aiohttp")
        servers["aiohttp_"] = await stack.enter_async_context(running)
    return servers
