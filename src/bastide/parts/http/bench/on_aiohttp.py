"""What `ours` serves, on aiohttp's server: `python -m bastide.parts.http.bench.on_aiohttp PORT`."""

import asyncio
import sys

from aiohttp import web

from bastide.base.rt.net import allow_many_descriptors
from bastide.parts.http.bench.servers import HOST, LOCATION
from bastide.parts.http.bench.serving import run

_listeners: set[web.WebSocketResponse] = set()


async def follow(_: web.Request) -> web.Response:
    return web.Response(status=302, headers={"location": LOCATION})


async def echo(request: web.Request) -> web.WebSocketResponse:
    heard = await _opened(request)
    async for message in heard:
        await heard.send_str(message.data)
    return heard


async def listen(request: web.Request) -> web.WebSocketResponse:
    listener = await _opened(request)
    _listeners.add(listener)
    try:
        async for _ in listener:
            pass
    finally:
        _listeners.discard(listener)
    return listener


async def cast(request: web.Request) -> web.WebSocketResponse:
    caster = await _opened(request)
    async for message in caster:
        for listener in tuple(_listeners):
            await listener.send_str(message.data)
    return caster


async def _opened(request: web.Request) -> web.WebSocketResponse:
    made = web.WebSocketResponse(compress=False)
    await made.prepare(request)
    return made


async def serve(port: int) -> None:
    """Until the process is ended."""
    app = web.Application()
    app.router.add_get("/sockets/echo", echo)
    app.router.add_get("/sockets/listen", listen)
    app.router.add_get("/sockets/cast", cast)
    app.router.add_get("/{code}", follow)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=3600)
    await runner.setup()
    await web.TCPSite(runner, HOST, port, backlog=2048).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    allow_many_descriptors()
    run(serve(int(sys.argv[1])))
