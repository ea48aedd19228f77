"""Calls of many clients at once, each with one under way, on HTTP/2 made by hand.

What a call sends is made before, and of an answer only its end is looked for, so that a server is
measured and not its client. A call that was refused has no message, and ends the run.
"""

import asyncio
import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from bastide.base.errors import Unavailable
from bastide.base.manifest import load
from bastide.base.rt import runtime
from bastide.parts.http.bench.servers import HOST

CLIENTS = 64
VALUE_BYTES = 256
KEYS = 1_000
PATIENCE_S = 20.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING, _GOAWAY = 0, 1, 4, 6, 7
_RESET = 3
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_WINDOW_BYTES = (1 << 31) - 1
_HEAD = struct.Struct(">I")


def _frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    head = _HEAD.pack(len(content))[1:] + bytes((kind, flags))
    return head + _HEAD.pack(stream) + content


def _headers(path: str, port: int) -> bytes:
    """Without a table that would change: the same bytes for each request."""

    def text(value: str) -> bytes:
        return bytes((len(value),)) + value.encode()

    return (
        b"\x83\x86"
        + (b"\x04" + text(path))
        + (b"\x01" + text(f"{HOST}:{port}"))
        + (b"\x0f\x10" + text("application/grpc"))
        + (b"\x00" + text("te") + text("trailers"))
    )


class Caller(asyncio.Protocol):
    """One connection, on which one call follows on the other until `over`."""

    def __init__(self, headers: bytes, message: Callable[[], bytes], waited_s: list[float]) -> None:
        self.over = False
        self.ended = asyncio.get_running_loop().create_future()
        self._headers = headers
        self._message = message
        self._waited_s = waited_s
        self._stream = -1
        self._asked_s = 0.0
        self._told = False  # a message came: what is refused has none
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        wider = _frame(8, 0, 0, _HEAD.pack(_WINDOW_BYTES - 65_535))
        self.transport.write(_PREFACE + _frame(_SETTINGS, 0, 0) + wider)
        self._ask()

    def _ask(self) -> None:
        self._stream += 2
        self._told = False
        message = self._message()
        content = b"\0" + _HEAD.pack(len(message)) + message
        self._asked_s = runtime.monotonic()
        self.transport.write(
            _frame(_HEADERS, _END_HEADERS, self._stream, self._headers)
            + _frame(_DATA, _END_STREAM, self._stream, content)
        )

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        at = 0
        while len(data) - at >= 9:
            size = int.from_bytes(data[at : at + 3], "big")
            if len(data) - at < 9 + size:
                break
            content = data[at + 9 : at + 9 + size]
            self._take(data[at + 3], data[at + 4], content)
            at += 9 + size
        self._rest = data[at:]

    def _take(self, kind: int, flags: int, content: bytes) -> None:
        if kind == _DATA:
            self._told = True
        elif kind == _HEADERS and flags & _END_STREAM:
            self._answered()
        elif kind == _SETTINGS and not flags & _ACK:
            self.transport.write(_frame(_SETTINGS, _ACK, 0))
        elif kind == _PING and not flags & _ACK:
            self.transport.write(_frame(_PING, _ACK, 0, content))
        elif kind in (_GOAWAY, _RESET):
            self._end(Unavailable("the server has ended the call"))

    def _answered(self) -> None:
        if not self._told:
            self._end(Unavailable("a call was refused"))
            return
        self._waited_s.append(runtime.monotonic() - self._asked_s)
        if self.over:
            self._end(None)
        else:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(Unavailable("the server has closed the connection"))

    def _end(self, error: Exception | None) -> None:
        if not self.ended.done():
            if error is None:
                self.ended.set_result(None)
            else:
                self.ended.set_exception(error)


async def called(
    ports: Sequence[int], path: str, message: Callable[[], bytes], seconds: float
) -> Sequence[float]:
    """How long each call of CLIENTS connections took, in s.

    Raises:
        Unavailable: one was refused, or not answered.
    """
    waited_s: list[float] = []
    callers = []
    loop = asyncio.get_running_loop()
    for n in range(CLIENTS):
        port = ports[n % len(ports)]
        make = partial(Caller, _headers(path, port), message, waited_s)
        _, caller = await loop.create_connection(make, HOST, port)
        callers.append(caller)
    try:
        await asyncio.sleep(seconds)
        for caller in callers:
            caller.over = True
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(caller.ended for caller in callers))
    finally:
        for caller in callers:
            caller.ended.cancel()
            caller.transport.abort()
    return waited_s


def puts() -> Callable[[], bytes]:
    chance = runtime.current().chance
    value = chance.token(VALUE_BYTES)
    made = [_serialized("PutRequest", key=_key(n), value=value) for n in range(KEYS)]
    return lambda: made[chance.random.randrange(KEYS)]


def gets(*, serializable: bool) -> Callable[[], bytes]:
    chance = runtime.current().chance
    made = [
        _serialized("RangeRequest", key=_key(n), serializable=serializable) for n in range(KEYS)
    ]
    return lambda: made[chance.random.randrange(KEYS)]


def _key(number: int) -> bytes:
    return b"bench/%06d" % number


def _serialized(name: str, **words: object) -> bytes:
    messages = load("bastide.engines.coord.core.protocol.messages:messages")
    made: bytes = getattr(messages(), name)(**words).SerializeToString()
    return made
