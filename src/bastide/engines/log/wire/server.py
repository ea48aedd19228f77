"""The wire door: Kafka's protocol on a socket.

    bytes ──Frames──► calls, in a row ──► begun one behind the other
                                           │ answered at once, or later: a sync, news, a rebalance
                                           └► answers leave in the order of their calls

A malformed frame closes its connection, with a line in the log, and touches nothing else. What a
connection has sent and not been answered is bounded, and so is what all have together: who is over
it is not read from until it is less.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec

from bastide.base.errors import Invalid
from bastide.base.rt import runtime
from bastide.base.rt.net import Listener
from bastide.engines.log.core.codes import Code
from bastide.engines.log.service.node import Node, Serving
from bastide.engines.log.wire.codec.calls import (
    Call,
    decode_request,
    encode_response,
    encode_response_pieces,
    versions_told,
)
from bastide.engines.log.wire.codec.errors import VersionUnsupported
from bastide.engines.log.wire.codec.frames import Frames
from bastide.engines.log.wire.codec.messages.cluster import API_VERSIONS
from bastide.engines.log.wire.desk import Body, Desk
from bastide.engines.log.wire.table import HANDLERS

WAITING = frozenset(("fetch", "join_group", "sync_group"))  # for records, or for other members
CALLS_MAX = 1_000  # of a connection that are not answered
WRITE_BUFFER_BYTES = 1 << 20
DRAIN_S = 5.0
MB = 1 << 20
_log = logging.getLogger(__name__)


class Owed(msgspec.Struct, frozen=True):
    """An answer that is to leave in its turn: the bytes of an error, or what is still to come."""

    call: Call | None
    answer: Body | Awaitable[Body] | bytes
    size: int

    @property
    def is_prompt(self) -> bool:
        """It waits for nobody but the disk."""
        return self.call is None or self.call.api.name not in WAITING


class Door:
    """All connections."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.connections: set[Connection] = set()
        self.held_bytes = 0
        settings = node.broker.settings
        self.frame_bytes_max = settings.frame_mb * MB
        self.held_bytes_max = settings.pending_mb * MB
        self.connections_max = settings.connections
        metrics = runtime.current().metrics
        metrics.gauge(
            "bastide_log_connections", "Kafka clients now.", lambda: len(self.connections)
        )
        self.calls = metrics.counter("bastide_log_requests_total", "Requests of Kafka clients.")
        self.refused = metrics.counter(
            "bastide_log_refused_total", "Connections that were refused or cut off."
        )

    def released(self) -> None:
        """Who waits may go on."""
        if self.held_bytes <= self.held_bytes_max:
            for connection in self.connections:
                connection.read_on()

    async def close(self) -> None:
        """What was asked is answered, for at most DRAIN_S."""
        waiting = [one.drained() for one in tuple(self.connections)]
        if waiting:
            await asyncio.wait([asyncio.ensure_future(one) for one in waiting], timeout=DRAIN_S)
        for connection in tuple(self.connections):
            connection.cut("the town stops")


class Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, door: Door) -> None:
        self._door = door
        self._frames = Frames(frame_bytes_max=door.frame_bytes_max)
        self._waiting: deque[bytes] = deque()  # frames
        self._owed: asyncio.Queue[Owed] = asyncio.Queue()
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._held_bytes = 0
        self._prompt = 0  # answers that are owed, and will come soon
        self._paused = False
        self._ending = False
        self._empty = asyncio.Event()
        self._lost = False

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        door = self._door
        if len(door.connections) >= door.connections_max:
            self.cut(f"{door.connections_max} connections are there")
            return
        door.connections.add(self)
        here, peer = (self.transport.get_extra_info(n) for n in ("sockname", "peername"))
        self._desk = Desk(door.node, here[0], here[1], peer[0])
        self._beginning = asyncio.create_task(self._begin_calls())
        self._answering = asyncio.create_task(self._answer_calls())

    def connection_lost(self, exc: Exception | None) -> None:
        """What has come is still begun: who asks for no answer may leave at once."""
        self._lost = True
        self._news.set()
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._frames.feed(data)
        except Invalid as error:
            self._malformed(error)
            return
        if not frames:
            return
        self._waiting += frames
        size = sum(map(len, frames))
        self._held_bytes += size
        self._door.held_bytes += size
        if self._is_full():
            self._paused = True
            self.transport.pause_reading()
        self._news.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def eof_received(self) -> bool:
        return False

    # Calls

    async def _begin_calls(self) -> None:
        try:
            while await self._has_come():
                await self._begin(self._waiting.popleft())
        except Invalid as error:
            self._malformed(error)
        except Exception:
            _log.exception("a call of %s failed", self._desk.peer)
            self.cut("a call failed")
        finally:
            self._leave()

    async def _has_come(self) -> bool:
        """Whether there is a frame; waits for it while the client is there."""
        while not self._waiting and not self._lost:
            self._news.clear()
            await self._news.wait()
        return bool(self._waiting)

    def _leave(self) -> None:
        """Nothing of this client is left to begin, and nobody waits for answers."""
        self._door.connections.discard(self)
        self._answering.cancel()
        while not self._owed.empty():
            owed = self._owed.get_nowait()
            if isinstance(owed.answer, asyncio.Future):
                owed.answer.cancel()
        self._release(self._held_bytes)
        self._empty.set()

    async def _begin(self, frame: bytes) -> None:
        """One behind the other, so that what they append is in their order."""
        try:
            call = decode_request(frame)
        except VersionUnsupported as error:
            if error.api.key != API_VERSIONS.key:
                raise
            self._owe(_versions(error, len(frame)))
            return
        self._door.calls.value += 1
        answer = await HANDLERS[call.api.name](self._desk, call)
        if answer is None:
            self._release(len(frame))
        elif isinstance(answer, dict):
            self._owe(Owed(call, answer, len(frame)))
        else:
            self._owe(Owed(call, asyncio.ensure_future(answer), len(frame)))

    def _owe(self, owed: Owed) -> None:
        self._prompt += owed.is_prompt
        self._owed.put_nowait(owed)

    async def _answer_calls(self) -> None:
        try:
            while True:
                await self._answer(await self._owed.get())
        except Exception:
            _log.exception("an answer to %s failed", self._desk.peer)
            self.cut("an answer failed")

    async def _answer(self, owed: Owed) -> None:
        answer = owed.answer
        if not isinstance(answer, bytes):
            body = answer if isinstance(answer, dict) else await answer
            assert owed.call is not None
            await self._writable.wait()
            self._write(owed.call, body)
        else:
            self.transport.write(answer)
        self._release(owed.size)
        if owed.is_prompt:
            self._prompt -= 1
        if self._ending and not self._is_busy():
            self._empty.set()

    def _write(self, call: Call, body: Body) -> None:
        if call.api.name == "fetch":
            pieces = encode_response_pieces(call.api, call.version, call.correlation_id, body)
            self.transport.writelines(cast(Any, pieces))
        else:
            self.transport.write(encode_response(call.api, call.version, call.correlation_id, body))

    # Limits

    def _is_full(self) -> bool:
        door = self._door
        return (
            self._held_bytes > door.frame_bytes_max
            or door.held_bytes > door.held_bytes_max
            or len(self._waiting) + self._owed.qsize() > CALLS_MAX
        )

    def _release(self, size: int) -> None:
        self._held_bytes -= size
        door = self._door
        was_over = door.held_bytes > door.held_bytes_max
        door.held_bytes -= size
        self.read_on()
        if was_over:
            door.released()

    def read_on(self) -> None:
        if self._paused and not self._is_full() and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()

    # Leaving

    async def drained(self) -> None:
        """Until all that was asked is answered, as far as it does not wait for news."""
        self._ending = True
        if self._is_busy():
            await self._empty.wait()

    def _is_busy(self) -> bool:
        return bool(self._waiting) or self._prompt > 0

    def _malformed(self, error: Invalid) -> None:
        _log.warning("%s is cut off: %s", self._desk.peer, error)
        self.cut(str(error))

    def cut(self, reason: str) -> None:
        _log.debug("a Kafka client is cut off: %s", reason)
        self._door.refused.add()
        self.transport.abort()


def _versions(error: VersionUnsupported, size: int) -> Owed:
    """A client of tomorrow asks in a version of tomorrow, and is told in the oldest."""
    body = {"error_code": Code.UNSUPPORTED_VERSION, "api_keys": versions_told()}
    return Owed(None, encode_response(API_VERSIONS, 0, error.correlation_id, body), size)


@asynccontextmanager
async def open_kafka(serving: Serving, listeners: Sequence[Listener]) -> AsyncIterator[None]:
    """Kafka's clients are served on these sockets."""
    door = Door(serving.node)
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(lambda: Connection(door), sock=one, backlog=1024)
        for one in listeners
    ]
    try:
        yield
    finally:
        for server in servers:
            server.close()
        await door.close()
