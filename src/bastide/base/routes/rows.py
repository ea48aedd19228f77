"""What a system writes to open a door, and what passes through it. Nothing here knows the server
below.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from bastide.base.errors import Invalid, Limited, NotFound, Unavailable
from bastide.base.gate import Allow, Caller, Credentials
from bastide.base.routes.trace import Trace, trace_of

BODY_BYTES_MAX = 64 * 1024  # unless the row says otherwise
TIMEOUT_S = 30.0
ONCE_KEY_MAX = 255
STREAMS_MAX = 1_000  # replies on their way piece by piece, at once
STREAMS_OF_ONE_MAX = 50  # of them, to one address
JSON = "application/json"
JSON_HEADERS: Mapping[str, str] = {"content-type": JSON}
BEAT_S = 15.0  # between signs of life in events

NOTHING: Mapping[str, str] = {}
NOBODY = Caller()

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One door. `name` is its handler's name: the label in metrics and the operation in OpenAPI."""

    method: Method
    path: str
    handler: Callable[..., Any]
    allow: Allow
    status: int
    also: Sequence[int]
    body_max: int
    timeout_s: float
    once: bool
    form: bool
    html: bool
    listed: bool
    headers: Mapping[str, str]
    refusals: Sequence[type[Exception]]
    protocols: Sequence[str] | None = None  # of a door for WebSockets

    @property
    def name(self) -> str:
        return self.handler.__name__


def route(
    method: Method,
    path: str,
    handler: Callable[..., Any],
    *,
    allow: Allow,
    status: int = 200,
    also: Sequence[int] = (),
    body_max: int = BODY_BYTES_MAX,
    timeout_s: float = TIMEOUT_S,
    once: bool = False,
    form: bool = False,
    html: bool = False,
    listed: bool | None = None,
    headers: Mapping[str, str] | None = None,
    refusals: Sequence[type[Exception]] = (),
) -> Row:
    """A door at `path` (`/links/{code}`; `{rest:path}` takes slashes too) of the system.

    `handler(system, ...)` gets its other arguments by annotation: a name in the path, or a scalar
    from the query; one Struct (with `forbid_unknown_fields`) from the body; `Caller`; `Request`;
    `Once[Answer] | None`, where `once` lets a request be repeated by its Idempotency-Key; `Chunks`,
    a body taken piece by piece; or a type that the town grants (`Pages`). It returns a Struct or a
    list of them (sent as JSON with `status`), a Reply, a Stream, or None (204).

    `form` takes the Struct from an HTML form too; `html` marks a page, whose refusals are pages for
    a browser. OpenAPI lists what is no page, unless `listed` says otherwise, with the good statuses
    `status` and `also` and the errors `refusals`.
    """
    return Row(
        method=method,
        path=path,
        handler=handler,
        allow=allow,
        status=status,
        also=also,
        body_max=body_max,
        timeout_s=timeout_s,
        once=once,
        form=form,
        html=html,
        listed=not html if listed is None else listed,
        headers=headers or {},
        refusals=refusals,
    )


def socket(
    path: str, handler: Callable[..., Any], *, allow: Allow, protocols: Sequence[str] = ()
) -> Row:
    """A door for WebSockets (RFC 6455). `handler(system, ...)` takes its arguments as `route` says,
    but no body, and a `Socket`; the socket is closed when it returns. `protocols`: those spoken
    here, of which the client's first one is taken.
    """
    row = route("GET", path, handler, allow=allow, listed=False)
    return msgspec.structs.replace(row, protocols=protocols)


class Request:
    """What came in. Header names are lower case; a repeated header's values are joined by commas.

    `root` is where the system's paths begin ("" or "/shortener"), `origin` the address the client
    used. What the frame and the server below know of it comes behind that.
    """

    __slots__ = (
        *("body", "caller", "chunks", "headers", "id", "method", "origin", "params", "path"),
        *("query", "root"),
        *("began_s", "closes", "counts", "credentials", "incoming", "port", "target", "version"),
    )
    began_s: float
    closes: bool  # nobody looks at what comes behind it
    counts: Any  # of its door
    credentials: Credentials
    incoming: "Body"  # its body, before anybody has taken it
    port: int  # that it came to
    target: bytes  # in origin form, as it was sent
    version: str

    def __init__(
        self,
        *,
        method: str,
        path: str = "",
        query: Mapping[str, str] = NOTHING,
        headers: Mapping[str, str] = NOTHING,
        id_: str = "",
        origin: str = "",
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.id = id_
        self.origin = origin
        self.root = ""
        self.params: Mapping[str, str] = NOTHING
        self.caller = NOBODY
        self.body = b""
        self.chunks: Chunks | None = None

    @property
    def trace(self) -> Trace | None:
        """The way through other systems on which it came here (W3C Trace Context), if it tells: a
        `traces.child` of it goes with what is asked of others on its behalf.
        """
        return trace_of(self.headers.get("traceparent"))


class Chunks:
    """A body taken piece by piece; it refuses itself when it grows over the row's `body_max`."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces


class Body(Protocol):
    """What follows a head, as a server below has it. It is taken once, one way or the other."""

    def at_once(self, limit: int) -> bytes | None:
        """All of it, if it is here. Raises as `whole`."""
        ...

    async def whole(self, limit: int) -> bytes:
        """All of it.

        Raises:
            TooLarge: more than `limit` bytes. BodyLate. Invalid: the client left within it.
        """
        ...

    def pieces(self, limit: int) -> AsyncIterator[bytes]:
        """As they come. Raises as `whole`, when it comes to it."""
        ...


class Reply(msgspec.Struct, frozen=True):
    """What goes out. `headers` names are lower case; several cookies stand in one `set-cookie`, on
    a line each.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Stream(msgspec.Struct, frozen=True):
    """What goes out piece by piece; a piece is asked for when the one before it is on its way.

    Ends with `pieces`, whose `aclose` is called whatever happens: when the client has gone, too, or
    takes nothing for long. If `pieces` raises, the connection is broken off, so that nobody
    takes a part for the whole. `endless` ones (events) end as soon as the town stops.
    """

    pieces: AsyncGenerator[bytes, None]
    status: int = 200
    headers: Mapping[str, str] = {}
    endless: bool = False


class File(msgspec.Struct, frozen=True):
    """A published file, whole or in the ranges that are asked for. It is told apart by its size and
    time, or by `tag`; what is text is sent packed, if the client takes that.
    """

    path: Path
    content_type: str
    headers: Mapping[str, str] = {}
    tag: str = ""


Message = str | bytes


class Prepared:
    """A message of a WebSocket that many get: encoded once, by whoever sends it first."""

    __slots__ = ("deflated", "message", "plain")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.plain: bytes | None = None
        self.deflated: bytes | None = None


class Socket(Protocol):
    """One WebSocket, open when its handler begins. One task receives; any may send."""

    @property
    def subprotocol(self) -> str | None:
        """What both sides chose to speak, or None."""
        ...

    @property
    def closed(self) -> bool:
        """Whether either side has said that it closes: nothing can be sent any more."""
        ...

    def __aiter__(self) -> AsyncIterator[Message]:
        """Every message, in order, until the socket is closed, however."""
        ...

    async def receive(self) -> Message:
        """The next message: str if it was sent as text, else bytes. What came before the other
        side closed is given first. A cancelled call loses nothing.

        Raises:
            SocketClosed: there is nothing more.
        """
        ...

    async def send(self, message: Message | Prepared) -> None:
        """Hands a message on; first waits while too much of earlier ones is not taken. A client
        that takes nothing for long is cut.

        Raises:
            SocketClosed: it was not sent.
        """
        ...

    def offer(self, prepared: Prepared) -> bool:
        """`send` for one of many receivers: never waits. False, and nothing is sent, if the
        socket is closed or the other side is slow.
        """
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Says goodbye, and returns when the connection is gone, or shortly after. Once it is
        closed this does nothing.
        """
        ...


class SocketClosed(Unavailable):
    """`code` and `reason` are the other side's, or ours if we closed; 1006: it was cut."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the socket is closed: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class Upgrade(msgspec.Struct, frozen=True):
    """From here on it is a WebSocket, which `run` serves."""

    run: Callable[[Socket], Coroutine[Any, Any, None]]
    protocols: Sequence[str]


Answer = Reply | Stream | File | Upgrade


class NoSuchPage(NotFound):
    pass


class MethodRefused(Invalid):
    status = 405

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        super().__init__(f"{method} is not taken here; one of {', '.join(allowed)} is")
        self.allowed = allowed


class MediaRefused(Invalid):
    status = 415


class BodyLate(Invalid):
    status = 408


class StreamsOver(Limited):
    pass


class UriTooLong(Invalid):
    status = 414


class HeadersTooLarge(Invalid):
    status = 431


def json_reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(
        status, msgspec.json.encode(value), {**JSON_HEADERS, **headers} if headers else JSON_HEADERS
    )


def events(made: AsyncGenerator[Any, None]) -> Stream:
    """Server-sent events (HTML, section 9.2), one for each Struct that `made` yields; and a sign of
    life every BEAT_S, so that proxies leave the connection open.
    """
    headers = {"content-type": "text/event-stream", "cache-control": "no-store"}
    return Stream(_event_lines(made), headers=headers, endless=True)


async def _event_lines(made: AsyncGenerator[Any, None]) -> AsyncGenerator[bytes, None]:
    coming: asyncio.Future[Any] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(made, None))
            await asyncio.wait([coming], timeout=BEAT_S)
            if not coming.done():
                yield b":\n\n"
                continue
            event, coming = coming.result(), None
            if event is None:
                return
            yield b"data: %b\n\n" % msgspec.json.encode(event)
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        await made.aclose()


def redirect(location: str, status: int = 303, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, b"", {"location": location, **(headers or {})})


def fingerprint(request: Request) -> bytes:
    """A hash of all that the request asks for: a repetition must be equal in it. A system that
    answers at two addresses is one.
    """
    made = hashlib.blake2b(digest_size=16)
    path = request.path.removeprefix(request.root)
    for piece in (request.method, path, repr(sorted(request.query.items()))):
        made.update(piece.encode() + b"\0")
    made.update(request.body)
    return made.digest()
