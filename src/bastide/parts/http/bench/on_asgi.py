"""What `ours` serves, as a plain ASGI application: with nothing between it and its server."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from bastide.parts.http.bench.servers import LOCATION

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

HEADERS = [(b"location", LOCATION.encode()), (b"content-length", b"0")]
_listeners: set[Send] = set()


async def app(scope: Event, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 302, "headers": HEADERS})
        await send({"type": "http.response.body", "body": b""})
        return
    await receive()  # websocket.connect
    await send({"type": "websocket.accept"})
    match scope["path"]:
        case "/sockets/echo":
            await _echo(receive, send)
        case "/sockets/listen":
            await _listen(receive, send)
        case "/sockets/cast":
            await _cast(receive)


async def _echo(receive: Receive, send: Send) -> None:
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})


async def _listen(receive: Receive, send: Send) -> None:
    _listeners.add(send)
    try:
        while (await receive())["type"] == "websocket.receive":
            pass
    finally:
        _listeners.discard(send)


async def _cast(receive: Receive) -> None:
    while (event := await receive())["type"] == "websocket.receive":
        told = {"type": "websocket.send", "text": event["text"]}
        for send in tuple(_listeners):
            await send(told)
