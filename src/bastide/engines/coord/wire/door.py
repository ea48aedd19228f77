"""Etcd's port: two protocols on it, told apart by the first bytes of a connection.

    "PRI " ──► HTTP/2, gRPC      anything else ──► HTTP/1.1, the gateway

A client that vanishes without a word is found by a ping.
"""

import asyncio
import logging
from typing import Any, cast

from bastide.base.rt import runtime
from bastide.engines.coord.core.protocol.messages import Method
from bastide.engines.coord.core.protocol.statuses import Code
from bastide.engines.coord.wire.connection import Connection
from bastide.engines.coord.wire.desk import Desk
from bastide.engines.coord.wire.h2 import PREFACE
from bastide.parts.http.server.connection import Connection as HttpConnection
from bastide.parts.http.server.server import Server as HttpServer

CONNECTIONS_MAX = 10_000
HELD_BYTES_MAX = 256 << 20  # of all requests that are not whole, or not taken
FIRST_BYTES = 4
FIRST_BYTES_S = 30.0
SILENCE_S = 60.0  # then a ping
PONG_S = 20.0
BEAT_S = 5.0
DRAIN_S = 5.0
LEAVE_S = 1.0
_log = logging.getLogger(__name__)


class Door:
    """All connections."""

    def __init__(
        self, desk: Desk, http: HttpServer, *, connections_max: int = CONNECTIONS_MAX
    ) -> None:
        self.desk = desk
        self.http = http
        self.held_bytes = 0
        self.held_bytes_max = HELD_BYTES_MAX
        self.connections_max = connections_max
        self.drain_s = DRAIN_S
        self.connections: set[Connection] = set()
        self.arriving: set[Arrival] = set()
        self._loop = asyncio.get_running_loop()
        self._empty = asyncio.Event()
        self._metrics = runtime.current().metrics
        self._calls: dict[tuple[str, Code], Any] = {}
        self._refused = self._metrics.counter(
            "bastide_coord_refused_total", "Connections over the limit."
        )
        self._metrics.gauge(
            "bastide_coord_connections", "gRPC's clients now.", lambda: len(self.connections)
        )
        self._beat = self._loop.call_later(BEAT_S, self._beats)

    def called(self, method: Method, code: Code) -> None:
        count = self._calls.get((method.path, code))
        if count is None:
            count = self._calls[method.path, code] = self._metrics.counter(
                "bastide_coord_calls_total",
                "Calls of gRPC that ended.",
                door=method.name,
                status=code.name,
            )
        count.value += 1

    def entered(self, connection: Connection) -> bool:
        if len(self.connections) >= self.connections_max:
            self._refused.add()
            _log.warning("%d connections are there; no more are taken", self.connections_max)
            return False
        self.connections.add(connection)
        return True

    def left(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    def _beats(self) -> None:
        self._beat = self._loop.call_later(BEAT_S, self._beats)
        self.sweep(self._loop.time())

    def sweep(self, now_s: float) -> None:
        """Cuts off who has been silent for too long, by the loop's time."""
        for arrival in [one for one in self.arriving if now_s > one.since_s + FIRST_BYTES_S]:
            arrival.transport.abort()
        for connection in tuple(self.connections):
            silent_s = now_s - connection.heard_s
            if silent_s > SILENCE_S + PONG_S:
                connection.cut()
            elif silent_s > SILENCE_S and not connection.pinged:
                connection.ping()

    async def close(self) -> None:
        """What was asked is answered, for at most `drain_s`."""
        self._beat.cancel()
        for arrival in tuple(self.arriving):
            arrival.transport.abort()
        for connection in tuple(self.connections):
            connection.stop()
        await asyncio.gather(self._left_within(self.drain_s), self.http.stop(self.drain_s))
        for connection in tuple(self.connections):
            connection.end()
        await self._left_within(LEAVE_S)
        for connection in tuple(self.connections):
            connection.cut()
        await self.desk.close()

    async def _left_within(self, seconds: float) -> None:
        self._empty.clear()
        if not self.connections:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            pass


class Arrival(asyncio.Protocol):
    """A connection that has not said yet what it speaks."""

    transport: asyncio.Transport

    def __init__(self, door: Door) -> None:
        self._door = door
        self._first = b""
        self.since_s = asyncio.get_running_loop().time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if len(self._door.arriving) >= self._door.connections_max:
            self.transport.abort()
            return
        self._door.arriving.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.arriving.discard(self)

    def data_received(self, data: bytes) -> None:
        self._first += data
        told = self._first[:FIRST_BYTES]
        if len(told) < FIRST_BYTES and PREFACE.startswith(told):
            return
        self._door.arriving.discard(self)
        speaks: asyncio.Protocol
        if PREFACE.startswith(told):
            speaks = Connection(self._door)
        else:
            speaks = HttpConnection(self._door.http, asyncio.get_running_loop())
        self.transport.set_protocol(speaks)
        speaks.connection_made(self.transport)
        speaks.data_received(self._first)
