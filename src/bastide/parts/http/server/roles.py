"""What the modules of the server are to each other: a connection to who sends on it, the server to
its connections.
"""

from asyncio import Transport
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from bastide.base.errors import Refusal
from bastide.base.routes.heads import Head
from bastide.base.routes.http import Http
from bastide.base.routes.rows import NOBODY, NOTHING, Request
from bastide.parts.http.contract import Limits
from bastide.parts.http.core.proxy_protocol import Proxied
from bastide.parts.http.replies import Files
from bastide.parts.http.server.body import NO_BODY, Body, WholeBody
from bastide.parts.http.websocket.contract import Handler
from bastide.parts.http.websocket.handshake import Handshake


class Exchange(Request):
    """A request on a connection, and what becomes of it."""

    __slots__ = ("error", "head", "rest", "upgrades")

    def __init__(
        self, method: str, target: bytes, version: str, port: int, *, closes: bool
    ) -> None:
        # What Request would set, too: a call of it would cost a tenth of all that is done here.
        self.method = method
        self.target = target
        self.version = version
        self.port = port
        self.closes = closes
        self.error = None
        self.upgrades = False
        self.incoming = NO_BODY
        self.id = self.path = self.origin = self.root = ""
        self.query = self.params = self.headers = NOTHING
        self.caller = NOBODY
        self.body = b""
        self.chunks = None

    head: Head
    error: Refusal | None  # it is answered so, and not looked at
    incoming: Body | WholeBody
    upgrades: bool
    rest: bytes  # what came behind it and is no HTTP, if it upgrades


class Stalled(Exception):
    """The client is there and takes nothing."""


class Successor(Protocol):
    """What a connection's transport speaks to after an upgrade."""

    def begin(self, transport: Transport, leftover: bytes) -> None: ...


class Place(Protocol):
    """A server, as its connections see it."""

    http: Http
    limits: Limits
    files: Files
    proxied: bool
    stopping: bool
    in_flight: int
    headers_max: int
    now_s: float
    date_line: str

    def entered(self, connection: Any) -> Refusal | None: ...

    def left(self, connection: Any) -> None: ...

    def socket(self, run: Handler, agreed: Handshake, address: str) -> Any: ...

    def flush_soon(self, connection: Any) -> None: ...

    def introduction(self, data: bytes) -> Proxied | None: ...


class Channel(Protocol):
    """A connection, as who sends on it sees it."""

    server: Place
    transport: Transport
    lost: bool
    quits: Callable[[], None] | None

    def reply(
        self, exchange: Exchange, status: int, headers: Mapping[str, str], body: bytes
    ) -> None: ...

    def begin_reply(self, exchange: Exchange, status: int, text: str) -> None: ...

    def write(self, *pieces: bytes) -> None: ...

    def flush(self) -> None: ...

    def switch(self, exchange: Exchange, text: str, to: Callable[[str], Successor]) -> None: ...

    async def taken(self) -> None: ...

    def end(self, exchange: Exchange) -> None: ...

    def cut(self, reason: str) -> None: ...

    def close(self) -> None: ...
