"""Listens, knows every connection, sweeps for those that are late, drains.

One timer for all connections: each says until when it may wait, and once a second, or more often
if a limit is short, those that are over it are told so. The same beat makes the Date header, so a
request reads no clock for it.
"""

import asyncio
from collections import Counter as Tally
from collections.abc import Iterable, Sequence

from bastide.base.errors import Limited, Refusal, Unavailable
from bastide.base.metrics import Counter
from bastide.base.routes.http import Http
from bastide.base.rt import runtime
from bastide.base.rt.net import Listener
from bastide.parts.http.contract import Limits
from bastide.parts.http.core.dates import http_date
from bastide.parts.http.core.proxy_protocol import Proxied, parse
from bastide.parts.http.replies import Files
from bastide.parts.http.server.connection import Connection
from bastide.parts.http.websocket.contract import Handler, Pace
from bastide.parts.http.websocket.handshake import Handshake
from bastide.parts.http.websocket.session import WebSocketProtocol
from bastide.parts.http.websocket.watch import Watch

BEAT_S = 1.0
BEAT_S_MIN = 0.02
SOCKETS_CLOSE_S = 2.0
NEW_S = 0.5  # for the first request of who has just connected
BEATS_A_LIMIT = 4  # the shortest one is looked at so often


class Server:
    """Serves `http` on sockets that others have bound. `proxied`: every connection begins with a
    PROXY header, version 2, which is believed.
    """

    def __init__(self, http: Http, limits: Limits, *, proxied: bool = False) -> None:
        self.http = http
        self.limits = limits
        self.proxied = proxied
        self.files = Files()
        self.connections: set[Connection] = set()
        self.sockets: set[WebSocketProtocol] = set()
        self.in_flight = 0
        self.stopping = False
        self.headers_max = limits.headers
        self.now_s = 0.0
        self.date_line = ""
        self._by_address: Tally[str] = Tally()
        self._listening: list[asyncio.Server] = []
        self._unflushed: list[Connection] = []
        self._beat: asyncio.TimerHandle | None = None
        self._beat_s = _beat_s(limits)
        self._empty = asyncio.Event()
        self._watch: Watch | None = None  # of sockets, if there was one
        self._pace = Pace(ping_s=limits.ping_s, pong_s=limits.pong_s, close_s=limits.close_s)
        self._now_ms = runtime.current().clock.now_ms
        metrics = runtime.current().metrics
        self._refused: Counter = metrics.counter(
            "bastide_http_connections_refused_total", "Connections over a limit."
        )
        metrics.gauge("bastide_http_connections", "Connections now.", lambda: len(self.connections))
        metrics.gauge("bastide_http_sockets", "WebSockets now.", lambda: len(self.sockets))
        metrics.gauge("bastide_http_in_flight", "Requests that wait.", lambda: self.in_flight)

    async def start(self, sockets: Iterable[Listener]) -> None:
        loop = asyncio.get_running_loop()
        self._beats()
        for one in sockets:
            listening = await loop.create_server(
                lambda: Connection(self, loop), sock=one, backlog=2048
            )
            self._listening.append(listening)

    async def stop(self, drain_s: float) -> None:
        """Takes no more, ends events, finishes what is under way for at most `drain_s`."""
        self.stopping = True
        self.http.end_events()
        for listening in self._listening:
            listening.close()
        for connection in tuple(self.connections):
            connection.close_when_idle(asked=1)
        closing = (socket.stop(SOCKETS_CLOSE_S) for socket in tuple(self.sockets))
        await asyncio.gather(self._left_within(min(NEW_S, drain_s)), *closing)
        for connection in tuple(self.connections):
            connection.close_when_idle(asked=0)
        await self._left_within(drain_s)
        for connection in tuple(self.connections):
            connection.cancel()
        await self._left_within(BEAT_S)
        for connection in tuple(self.connections):
            connection.cut("the server stops")
        if self._beat is not None:
            self._beat.cancel()

    def socket(self, run: Handler, agreed: Handshake, address: str) -> WebSocketProtocol:
        """What a WebSocket's transport speaks to; it counts as a connection of `address`."""
        self._watch = self._watch or Watch()

        def lost(socket: WebSocketProtocol) -> None:
            self.sockets.discard(socket)
            self._one_less(address)

        made = WebSocketProtocol(
            run, agreed, self.limits, watch=self._watch, pace=self._pace, on_lost=lost
        )
        self.sockets.add(made)
        self._by_address[address] += 1
        return made

    def entered(self, connection: Connection) -> Refusal | None:
        """Why it may not stay."""
        address = connection.address
        alls, ones = len(self.connections) + len(self.sockets), self._by_address[address]
        self.connections.add(connection)
        self._by_address[address] += 1
        if alls >= self.limits.connections:
            self._refused.add()
            return Unavailable(f"{alls} connections; no more are taken")
        if ones >= self.limits.connections_of_one:
            self._refused.add()
            most = self.limits.connections_of_one
            return Limited(
                f"{ones} connections of yours; at most {most} are taken", retry_after_s=5
            )
        return None

    def left(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._one_less(connection.address)
        if not self.connections:
            self._empty.set()

    def _one_less(self, address: str) -> None:
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]

    def flush_soon(self, connection: Connection) -> None:
        """At the end of this turn of the loop, with all others: a client that was asleep is woken
        once for all that is there for it, and not while the next request could be answered.
        """
        if not self._unflushed:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unflushed.append(connection)

    def _flush(self) -> None:
        unflushed, self._unflushed = self._unflushed, []
        for connection in unflushed:
            connection.flush()

    def introduction(self, data: bytes) -> Proxied | None:
        """
        Raises:
            ProxyHeaderWrong
        """
        return parse(data)

    def _beats(self) -> None:
        loop = asyncio.get_running_loop()
        self.now_s = loop.time()
        self.date_line = f"date: {http_date(self._now_ms() // 1000)}\r\n"
        for connection in [c for c in self.connections if c.due_s <= self.now_s]:
            connection.sweep(self.now_s)
        self._beat = loop.call_later(self._beat_s, self._beats)

    async def _left_within(self, seconds: float) -> None:
        self._empty.clear()
        if not self.connections:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            pass


def _beat_s(limits: Limits) -> float:
    times: Sequence[float] = (
        *(limits.first_byte_s, limits.head_s, limits.body_s, limits.idle_s, limits.stall_s),
    )
    return max(BEAT_S_MIN, min(BEAT_S, min(times) / BEATS_A_LIMIT))
