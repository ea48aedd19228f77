"""Our rows as an ASGI application (asgi.readthedocs.io, HTTP and WebSocket, version 3): for servers
that speak HTTP/2 and TLS, and for tests without a socket.

    uvicorn, hypercorn, httpx ──scope, receive, send──► Asgi(http) ──► rows

It stands at the root of its host. Who leaves is known by `receive`, which has one reader: the body
as long as there is one, then a watch beside a stream. The server below frames what is sent, and
breaks a connection off if we return before the end.
"""

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Mapping,
    MutableMapping,
)
from contextlib import aclosing, suppress
from typing import Any
from urllib.parse import quote

from bastide.base.errors import Invalid, Refusal, TooLarge
from bastide.base.manifest import Miswired
from bastide.base.routes.http import Http
from bastide.base.routes.rows import (
    Answer,
    Body,
    BodyLate,
    File,
    Message,
    Prepared,
    Reply,
    Request,
    SocketClosed,
    Stream,
    Upgrade,
)
from bastide.base.steps import first_step
from bastide.parts.http.contract import Limits
from bastide.parts.http.heads import WITHOUT_LENGTH, head_text, pairs_of
from bastide.parts.http.replies import Files, Part, Shaped, shaped_reply
from bastide.parts.http.server.body import NO_BODY
from bastide.parts.http.server.files import FileShort, read_part
from bastide.parts.http.websocket.contract import UpgradeWrong

BODY_S = 30.0  # from the head to the last byte of a body that is taken whole
END_S = 1.0  # for the end of what is ended by us; who doesn't take it is left
OFFERED_MAX = 64  # messages offered to a socket that it has not taken yet
NORMAL, NO_CODE, CUT, REFUSED, FAULT = 1000, 1005, 1006, 1008, 1011
HTTP, DENIAL = "http.response", "websocket.http.response"
FRAMING = frozenset((b"content-length", b"transfer-encoding"))
SCHEMES = {"ws": "http", "wss": "https"}

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Stalled(Exception):
    """The client is there and takes nothing."""


class Left(Exception):
    """The client is not there any more."""


class Asgi:
    """Our doors as an ASGI application. Its server runs the lifespan, if there is one."""

    def __init__(self, http: Http, limits: Limits | None = None) -> None:
        self._http = http
        self._stall_s = (limits or Limits()).stall_s
        self._files = Files()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._serve(scope, receive, send)
            case "websocket":
                await self._serve_socket(scope, receive, send)
            case other:
                raise Miswired(f"an ASGI scope of type {other!r}; http and websocket are served")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = AsgiBody(receive, _length_of(scope))
        request = _request_of(scope, body)
        client = Client(self._http, request, send, stall_s=self._stall_s)
        answer = await self._answer(request, scope)
        try:
            try:
                await self._pass(answer, client, body)
            except Exception as error:
                if client.begun or isinstance(error, Left):
                    raise
                await self._pass(self._http.refuse(request, error), client, body)
        except Left:
            return
        except Exception as error:
            known = isinstance(error, Stalled | FileShort)
            self._http.log_broken(request, error, known=known)

    async def _answer(self, request: Request, scope: Scope) -> Answer:
        try:
            pairs = scope.get("headers", ())
            scheme: str = scope.get("scheme", "http")
            head = self._http.head(
                [name for name, _ in pairs],
                [value for _, value in pairs],
                scope["client"][0] if scope.get("client") else "",
                SCHEMES.get(scheme, scheme),
            )
        except Refusal as refusal:
            return self._http.refuse(request, refusal)
        answer = self._http.begin(request, head, first_step)
        return await answer if isinstance(answer, Coroutine) else answer

    async def _pass(self, answer: Answer, client: "Client", body: "AsgiBody") -> None:
        match answer:
            case Reply():
                await client.take_shaped(await shaped_reply(answer, client.request))
            case File():
                shaped = await self._files.shaped(answer, client.request)
                try:
                    await client.take_shaped(shaped)
                finally:
                    if shaped.file is not None:
                        shaped.file.close()
            case Stream():
                await self._stream(answer, client, body)
            case Upgrade():
                raise UpgradeWrong("a WebSocket is opened here, by an upgrade")

    async def _stream(self, stream: Stream, client: "Client", body: "AsgiBody") -> None:
        streaming = asyncio.create_task(client.take_stream(stream))
        leaving = asyncio.create_task(body.left())
        ended = False

        def end() -> None:
            nonlocal ended
            ended = streaming.cancel()

        with self._http.streaming(stream, client.request, end):
            try:
                await asyncio.wait((streaming, leaving), return_when=asyncio.FIRST_COMPLETED)
            finally:
                leaving.cancel()
                streaming.cancel()
                await asyncio.gather(streaming, leaving, return_exceptions=True)
                await stream.pieces.aclose()
        if not streaming.cancelled():
            streaming.result()  # raises what broke it
        elif ended:
            await client.end(stream, within_s=END_S)

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        request = _request_of({**scope, "method": "GET"}, NO_BODY)
        answer = await self._answer(request, scope)
        if not isinstance(answer, Upgrade):
            await self._deny(answer, request, scope, send)
            return
        self._http.done(request, 101)
        offered = scope.get("subprotocols") or ()
        chosen = next((one for one in offered if one in answer.protocols), None)
        socket = AsgiSocket(receive, send, chosen)
        code = NORMAL
        try:
            await socket.accept()
            await answer.run(socket)
        except SocketClosed:  # it, or another one that is served here
            pass
        except Exception as error:
            self._http.log_broken(request, error)
            code = FAULT
        try:
            await socket.close(code)
        finally:
            socket.forget()

    async def _deny(self, answer: Answer, request: Request, scope: Scope, send: Send) -> None:
        """By a reply, where the server below can send one in the place of a handshake."""
        if isinstance(answer, Stream):
            await answer.pieces.aclose()
        if not isinstance(answer, Reply) or answer.status < 400:
            answer = self._http.refuse(request, UpgradeWrong("no WebSocket is opened here"))
        if DENIAL in (scope.get("extensions") or {}):
            client = Client(self._http, request, send, stall_s=self._stall_s, kind=DENIAL)
            with suppress(Left):
                await client.take_shaped(await shaped_reply(answer, request))
            return
        self._http.done(request, answer.status)
        await send({"type": "websocket.close", "code": REFUSED, "reason": str(answer.status)})


class Client:
    """Who takes an answer, by the server below."""

    def __init__(
        self, http: Http, request: Request, send: Send, *, stall_s: float, kind: str = HTTP
    ) -> None:
        self.request = request
        self.begun = False
        self._http = http
        self._send = send
        self._stall_s = stall_s
        self._kind = kind

    async def take_shaped(self, shaped: Shaped) -> None:
        length = None if shaped.status in WITHOUT_LENGTH else shaped.length
        await self._begin(shaped.status, shaped.headers, length)
        if self.request.method != "HEAD":
            for piece in shaped.pieces:
                async with aclosing(_bytes_of(shaped, piece)) as pieces:
                    async for data in pieces:
                        await self._take(data)
        await self._take(b"", more=False)

    async def take_stream(self, stream: Stream) -> None:
        await self._begin(stream.status, stream.headers, None)
        if self.request.method != "HEAD":
            async for piece in stream.pieces:
                if piece:
                    await self._take(piece)
                    await asyncio.sleep(0)  # who has left may take all of it, without a wait
        await self._take(b"", more=False)

    async def end(self, stream: Stream, *, within_s: float) -> None:
        """Of a stream that was ended before its pieces were."""
        self._stall_s = within_s
        if not self.begun:
            await self._begin(stream.status, stream.headers, None)
        await self._take(b"", more=False)

    async def _begin(self, status: int, headers: Mapping[str, str], length: int | None) -> None:
        pairs = list(pairs_of(head_text(headers, self.request, length)))
        self.begun = True
        self._http.done(self.request, status)
        await self._told({"type": f"{self._kind}.start", "status": status, "headers": pairs})

    async def _take(self, data: bytes, *, more: bool = True) -> None:
        await self._told({"type": f"{self._kind}.body", "body": data, "more_body": more})

    async def _told(self, event: Event) -> None:
        """Returns when what was sent before is on its way.

        Raises:
            Stalled, Left.
        """
        try:
            async with asyncio.timeout(self._stall_s):
                await self._send(event)
        except TimeoutError as error:
            message = f"the client took nothing for {self._stall_s:g} s"
            raise Stalled(message) from error
        except OSError as error:  # since version 2.4 of the specification
            raise Left from error


class AsgiSocket:
    """A WebSocket of the server below."""

    def __init__(self, receive: Receive, send: Send, subprotocol: str | None) -> None:
        self._receive = receive
        self._send = send
        self._subprotocol = subprotocol
        self._code: int | None = None
        self._reason = ""
        self._offered: deque[Prepared] = deque()
        self._offering: asyncio.Task[None] | None = None

    @property
    def subprotocol(self) -> str | None:
        return self._subprotocol

    @property
    def closed(self) -> bool:
        return self._code is not None

    async def accept(self) -> None:
        """
        Raises:
            SocketClosed: the client has left.
        """
        await self._told({"type": "websocket.accept", "subprotocol": self._subprotocol})

    async def __aiter__(self) -> AsyncGenerator[Message, None]:
        try:
            while True:
                yield await self.receive()
        except SocketClosed:
            return

    async def receive(self) -> Message:
        self._refuse_closed()
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            self._close_as(event.get("code", NO_CODE), event.get("reason") or "")
            self._refuse_closed()
        text = event.get("text")
        found: Message = event["bytes"] if text is None else text
        return found

    async def send(self, message: Message | Prepared) -> None:
        self._refuse_closed()
        if self._offering is not None:  # what was offered before goes before
            await asyncio.wait((self._offering,))
            self._refuse_closed()
        await self._pass(message)

    def offer(self, prepared: Prepared) -> bool:
        """Nobody below tells how slow the client is, but for a `send` that waits: so what is
        offered stands in a row, whose end is told.
        """
        if self.closed or len(self._offered) >= OFFERED_MAX:
            return False
        self._offered.append(prepared)
        if self._offering is None:
            self._offering = asyncio.create_task(self._pass_offered())
        return True

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        if self._code is not None:
            return
        if self._offering is not None:
            await asyncio.wait((self._offering,), timeout=END_S)
        self._close_as(code, reason)
        with suppress(OSError):
            await self._send({"type": "websocket.close", "code": code, "reason": reason})

    def forget(self) -> None:
        """Its handler has ended."""
        self._close_as(CUT, "")
        if self._offering is not None:
            self._offering.cancel()

    async def _pass(self, message: Message | Prepared) -> None:
        told = message.message if isinstance(message, Prepared) else message
        kind = "text" if isinstance(told, str) else "bytes"
        await self._told({"type": "websocket.send", kind: told})

    async def _told(self, event: Event) -> None:
        try:
            await self._send(event)
        except OSError as error:
            self._close_as(CUT, "")
            raise SocketClosed(CUT, "") from error

    async def _pass_offered(self) -> None:
        try:
            while self._offered and not self.closed:
                await self._pass(self._offered[0])
                self._offered.popleft()
        except SocketClosed:
            pass
        finally:
            self._offering = None

    def _close_as(self, code: int, reason: str) -> None:
        if self._code is None:
            self._code, self._reason = code, reason

    def _refuse_closed(self) -> None:
        if self._code is not None:
            raise SocketClosed(self._code, self._reason)


class AsgiBody:
    """A body that comes by `receive`, whose only reader this is. `length` 0: there is none, None:
    it does not say.
    """

    def __init__(self, receive: Receive, length: int | None) -> None:
        self._receive = receive
        self._length = length
        self._unread = asyncio.Event()  # nobody reads it, or nobody reads it any more
        self._unread.set()
        self._has_left = False

    def at_once(self, limit: int) -> bytes | None:
        return None if self._length != 0 else b""

    async def whole(self, limit: int) -> bytes:
        try:
            async with asyncio.timeout(BODY_S), aclosing(self.pieces(limit)) as pieces:
                return b"".join([piece async for piece in pieces])
        except TimeoutError as error:
            raise BodyLate(f"the body did not arrive within {BODY_S:g} s") from error

    def pieces(self, limit: int) -> AsyncGenerator[bytes, None]:
        if self._length != 0:
            self._unread.clear()
        return self._pieces(limit)

    async def left(self) -> None:
        """Until the client has gone. What it sends meanwhile and nobody reads is no part of this
        request.
        """
        while not self._has_left:
            await self._unread.wait()
            self._has_left = (await self._receive())["type"] == "http.disconnect"

    async def _pieces(self, limit: int) -> AsyncGenerator[bytes, None]:
        taken, more = 0, self._length != 0
        try:
            if self._length is not None and self._length > limit:
                raise TooLarge(f"a body of {self._length} bytes; at most {limit} are taken")
            while more:
                event = await self._receive()
                if event["type"] == "http.disconnect":
                    self._has_left = True
                    raise Invalid("the connection ended inside the body")
                piece: bytes = event.get("body", b"")
                more = event.get("more_body", False)
                taken += len(piece)
                if taken > limit:
                    raise TooLarge(f"a body of more than {limit} bytes is not taken")
                if piece:
                    yield piece
        finally:
            self._unread.set()


def _request_of(scope: Scope, body: Body) -> Request:
    request = Request(method=scope["method"])
    path = scope.get("raw_path") or quote(scope["path"]).encode()
    query = scope.get("query_string", b"")
    request.target = path.partition(b"?")[0] + (b"?" + query if query else b"")
    request.version = scope.get("http_version", "1.1")
    request.port = scope["server"][1] or 0 if scope.get("server") else 0
    request.incoming = body
    return request


def _length_of(scope: Scope) -> int | None:
    framing = {name: value for name, value in scope.get("headers", ()) if name in FRAMING}
    length = framing.get(b"content-length", b"")
    if length.isdigit():
        return int(length[:20])
    return None if framing or scope.get("http_version", "1.1") >= "2" else 0


async def _bytes_of(shaped: Shaped, piece: bytes | Part) -> AsyncGenerator[bytes, None]:
    if isinstance(piece, bytes):
        if piece:
            yield piece
        return
    assert shaped.file is not None
    async with aclosing(read_part(shaped.file, piece.at, piece.count)) as pieces:
        async for data in pieces:
            yield data
