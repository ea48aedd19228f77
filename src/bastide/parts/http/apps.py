"""ASGI applications of others below our server: a row passes a request on, and the reply back.

    Chunks ──receive()──► the application, in a task of its own ──send()──► pieces ──► the client
                 │                                                  │
                 └ a piece when it asks for one                     └ waits until it was taken

A reply that is whole when it begins is given as a Reply: counted, packed and kept like one of ours.
Any other one is a Stream. A client that leaves is told to the application: `receive` gives
`http.disconnect`, `send` raises. It then has LEFT_S to end. What it does behind its reply goes on.
"""

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any, NoReturn

import msgspec

from bastide.base.errors import Refusal
from bastide.base.gate import Allow
from bastide.base.routes.fields import is_token
from bastide.base.routes.rows import Chunks, Method, Reply, Request, Row, Stream, route
from bastide.parts.http.asgi import App, Event, Scope
from bastide.parts.http.heads import OURS, WITHOUT_LENGTH

METHODS: Sequence[Method] = ("GET", "POST", "PUT", "PATCH", "DELETE")
BODY_BYTES_MAX = 1 << 30
REPLY_S = 3600.0  # until a reply begins
LEFT_S = 5.0  # for an application whose client has gone
LISTENED_S = 0.1  # of them, before `send` raises: who listens by `receive` ends its sending better
# Who is told 2.4 does not listen for a client that leaves, and learns of it when it next sends.
SPECIFICATION = {"version": "3.0", "spec_version": "2.3"}
# Of one connection (RFC 9110, section 7.6.1), or the server's to say.
DROPPED = OURS | frozenset(
    ("connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "upgrade")
)
EVENTS = "text/event-stream"

_VALUE = re.compile(rb"[^\r\n\0]*+")
_log = logging.getLogger(__name__)


class AppBroken(Exception):
    """A fault of the application: it does not speak as ASGI says."""


class ClientLeft(OSError):
    """What `send` raises when nobody takes it."""


def app_rows(app: App, *, allow: Allow, prefix: str = "") -> Sequence[Row]:
    """Rows that pass every request below `prefix` on to `app`, and its reply back.

    `app` sees what a row sees: headers that came twice are one, OPTIONS and requests of other sites
    are answered before it, and its pages get the headers of ours unless they say otherwise. Left
    out are its lifespan and its WebSockets; and it hears of a client that leaves only while it
    takes the body or gives a reply.
    """
    running: set[asyncio.Task[None]] = set()  # the loop alone would forget them

    async def pass_on(_: object, request: Request, chunks: Chunks, rest: str = "") -> Any:
        passage = Passage(request, chunks)
        return await passage.answer(app, _scope_of(request, prefix), running)

    paths = [f"{prefix}/{{rest:path}}", *([prefix] if prefix else [])]
    return [
        route(
            method,
            path,
            pass_on,
            allow=allow,
            body_max=BODY_BYTES_MAX,
            timeout_s=REPLY_S,
            html=True,
        )
        for method in METHODS
        for path in paths
    ]


class Start(msgspec.Struct, frozen=True):
    status: int
    headers: Mapping[str, str]
    length: int | None  # of the body, if it says


class Passage(AsyncGenerator[bytes, None]):
    """One request on its way through an application, and the pieces of the reply."""

    def __init__(self, request: Request, chunks: Chunks) -> None:
        self._request = request
        self._body = Incoming(aiter(chunks))
        self._start: asyncio.Future[Start] = asyncio.get_running_loop().create_future()
        self._held: deque[bytes] = deque()
        self._sent = 0
        self._come = asyncio.Event()  # there is a piece, or no other will come
        self._room = asyncio.Event()  # the last piece was taken, or never will be
        self._over = asyncio.Event()  # the reply is whole, or nobody takes it
        self._ended = self._left = False

    async def answer(
        self, app: App, scope: Scope, running: set[asyncio.Task[None]]
    ) -> Reply | Stream:
        """
        Raises:
            AppBroken; what the body refused; what the application raised.
        """
        self._running = asyncio.create_task(_run(app, scope, self))
        running.add(self._running)
        self._running.add_done_callback(running.discard)
        self._running.add_done_callback(self._finish)
        try:
            await asyncio.wait((self._start, self._running), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:  # the town stops
            self._running.cancel()
            raise
        if not self._start.done():
            raise self._fault()
        start = self._start.result()
        if self._is_bare(start) or self._ended:
            return Reply(start.status, b"".join(self._held), start.headers)
        if self._running.done():
            raise self._fault()
        endless = start.headers.get("content-type", "").startswith(EVENTS)
        return Stream(self, start.status, start.headers, endless=endless)

    async def receive(self) -> Event:
        if (event := await self._body.next_event()) is not None:
            return event
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, event: Event) -> None:
        """Returns when all that was sent has been taken.

        Raises:
            ClientLeft, AppBroken.
        """
        if self._left:
            await self._refuse()
        match event["type"], self._start.done(), self._ended:
            case "http.response.start", False, _:
                self._start.set_result(_start_of(event, self._request.method))
            case "http.response.body", True, False:
                await self._hold(bytes(event.get("body", b"")), event.get("more_body", False))
            case kind, _, _:
                raise AppBroken(f"{kind!r} is not what comes next")

    async def _hold(self, piece: bytes, more: bool) -> None:
        start = self._start.result()
        if self._is_bare(start):
            piece = b""
        else:
            self._count(piece, more, start.length)
        if piece:
            self._held.append(piece)
        if not more:
            self._ended = True
            self._over.set()
            self._room.set()
        elif self._is_bare(start):
            self._leave()  # there is nothing to wait for
        self._come.set()
        if piece and more:
            self._room.clear()
            await self._room.wait()
            if self._left:
                await self._refuse()

    async def _refuse(self) -> NoReturn:
        await asyncio.sleep(LISTENED_S)
        raise ClientLeft("the client has left")

    def _count(self, piece: bytes, more: bool, length: int | None) -> None:
        self._sent += len(piece)
        if length is not None and (self._sent > length or not (more or self._sent == length)):
            raise AppBroken(f"a body of {self._sent} bytes, and {length} were said")

    def _is_bare(self, start: Start) -> bool:
        """Nobody is sent its body."""
        return self._request.method == "HEAD" or start.status in WITHOUT_LENGTH

    # The pieces, as the server below takes them

    async def asend(self, value: None) -> bytes:
        while not self._held:
            if self._ended:
                raise StopAsyncIteration
            if self._running.done():
                raise self._fault()
            self._come.clear()
            self._room.set()
            await self._come.wait()
        return self._held.popleft()

    async def athrow(self, type_: Any, value: Any = None, traceback: Any = None) -> bytes:
        self._leave()
        raise type_ if value is None else value

    async def aclose(self) -> None:
        self._leave()

    def _leave(self) -> None:
        """Nobody takes what is still to come."""
        if self._ended or self._left:
            return
        self._left = True
        self._over.set()
        self._room.set()
        if not self._running.done():
            late = asyncio.get_running_loop().call_later(LEFT_S, self._running.cancel)
            self._running.add_done_callback(lambda _: late.cancel())

    def _fault(self) -> BaseException:
        error = None if self._running.cancelled() else self._running.exception()
        return self._body.refusal or error or AppBroken("it ended before its reply did")

    def _finish(self, running: asyncio.Task[None]) -> None:
        self._come.set()
        self._body.close()
        error = None if running.cancelled() else running.exception()
        if error is not None and self._ended:
            _log.error("an application failed behind its reply", exc_info=error)


class Incoming:
    """A body, as an application asks for it."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self.refusal: Refusal | None = None
        self._pieces = pieces
        self._coming: asyncio.Future[bytes | None] | None = None
        self._ended = False
        self._asking = asyncio.Lock()

    async def next_event(self) -> Event | None:
        """None: there are no more. A cancelled call loses nothing: applications ask and give up to
        learn whether their client is still there.
        """
        async with self._asking:
            if self._ended:
                return None
            if self._coming is None:
                self._coming = asyncio.ensure_future(anext(self._pieces, None))
            await asyncio.wait((self._coming,))
            coming, self._coming = self._coming, None
            try:
                piece = coming.result()
            except Refusal as refusal:  # too large, too late, or its sender has left
                self._ended, self.refusal = True, refusal
                return {"type": "http.disconnect"}
            self._ended = piece is None
            return {"type": "http.request", "body": piece or b"", "more_body": not self._ended}

    def close(self) -> None:
        """Nobody asks for more."""
        self._ended = True
        if self._coming is not None:
            self._coming.cancel()


async def _run(app: App, scope: Scope, passage: Passage) -> None:
    await app(scope, passage.receive, passage.send)


def _scope_of(request: Request, prefix: str) -> Scope:
    path, _, query = request.target.partition(b"?")
    address = request.caller.address
    return {
        "type": "http",
        "asgi": SPECIFICATION,
        "http_version": request.version,
        "method": request.method,
        "scheme": request.origin.partition("://")[0] or "http",
        "path": request.path,  # with root_path before it
        "raw_path": path,
        "root_path": request.root + prefix,
        "query_string": query,
        "headers": [(n.encode("latin-1"), v.encode("latin-1")) for n, v in request.headers.items()],
        "client": (address, 0) if address else None,
        "server": None,
    }


def _start_of(event: Event, method: str) -> Start:
    """
    Raises:
        AppBroken
    """
    status, headers, length = event["status"], dict[str, str](), None
    if not 200 <= status <= 599:
        raise AppBroken(f"a reply with status {status}; 200 to 599 are passed on")
    for raw_name, raw_value in event.get("headers", ()):
        name, value = _field(raw_name, raw_value)
        if name == "content-length":
            length = _length(value)
        elif name not in DROPPED:
            between = "\n" if name == "set-cookie" else ", "
            headers[name] = f"{headers[name]}{between}{value}" if name in headers else value
    if method == "HEAD" and length is not None and status not in WITHOUT_LENGTH:
        headers["content-length"] = str(length)
    return Start(status, headers, length)


def _field(raw_name: bytes, raw_value: bytes) -> tuple[str, str]:
    name = bytes(raw_name).decode("latin-1").lower()
    if not is_token(name) or not _VALUE.fullmatch(raw_value):
        raise AppBroken(f"{name[:100]!r} is no header, or there is a line break in it")
    return name, bytes(raw_value).decode("latin-1")


def _length(text: str) -> int:
    if not text.isdecimal():
        raise AppBroken(f"content-length: {text[:100]!r}")
    return int(text[:20])
