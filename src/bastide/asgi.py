"""The town as an ASGI application, for who wants a server of another make below it: HTTP/2, TLS.

    uvicorn bastide.asgi:app --timeout-graceful-shutdown 10

It opens with the server (lifespan) and closes with it, in one process: DATA has one holder. Such a
server waits for replies that have no end (events) unless it is told for how long. Settings are
those of `bastide up`, but for limits of connections, which are the server's; BASTIDE_HTTP says
where it answers, for links. Every system answers below the main address, at /NAME/.
"""

import os
from contextlib import AsyncExitStack
from pathlib import Path

from bastide.app import locked, make_http, set_addresses
from bastide.base import settings
from bastide.base.errors import Refusal
from bastide.base.manifest import Miswired
from bastide.base.rt.runtime import Runtime, run_on
from bastide.base.settings import PREFIX
from bastide.parts.http.asgi import Asgi, Receive, Scope, Send
from bastide.parts.http.contract import HTTP_PREFIX, HttpSettings
from bastide.town import Settings, open_town


class TownApp:
    """One town for one server process."""

    def __init__(self) -> None:
        self._doors: Asgi | None = None
        self._runtime = Runtime()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if self._doors is None:
            raise Miswired("the town is not open: its server is to run the lifespan")
        run_on(self._runtime)  # the server's tasks know nothing of it
        await self._doors(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        async with AsyncExitStack() as stack:
            try:
                self._doors = await self._open(stack)
            except Refusal as refusal:
                await send({"type": "lifespan.startup.failed", "message": str(refusal)})
                return
            stack.callback(self._shut)
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
        await send({"type": "lifespan.shutdown.complete"})

    async def _open(self, stack: AsyncExitStack) -> Asgi:
        own = settings.read(Settings, PREFIX.rstrip("_"), os.environ)
        limits = settings.read(HttpSettings, HTTP_PREFIX, os.environ)
        data = Path(own.data)
        stack.callback(locked(data).release)
        self._runtime = Runtime()
        main = {"": set_addresses((), os.environ)[""]}
        opening = open_town((), os.environ, runtime=self._runtime, data=data, addresses=main)
        town = await stack.enter_async_context(opening)
        return Asgi(make_http(town, {}), limits)

    def _shut(self) -> None:
        self._doors = None


app = TownApp()
