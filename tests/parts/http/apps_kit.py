"""ASGI applications that do what a test says, below our server."""

import asyncio
from contextlib import asynccontextmanager

from bastide.base.gate import anyone
from bastide.parts.http.apps import app_rows
from tests.parts.http.server_kit import eventually, serving


class Script:
    """A raw application: `play(receive, send)` for each request; what it sees, a test sees."""

    def __init__(self, play):
        self.play = play
        self.scopes = []
        self.told = []
        self.ended = asyncio.Event()
        self.errors = []

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)

        async def received():
            event = await receive()
            self.told.append(event)
            return event

        try:
            await self.play(received, send)
        except BaseException as error:
            self.errors.append(error)
            raise
        finally:
            self.ended.set()

    @property
    def scope(self):
        return self.scopes[-1]


def start(status=200, *headers):
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data=b"", *, more=False):
    return {"type": "http.response.body", "body": data, "more_body": more}


def saying(*events):
    async def play(receive, send):
        for event in events:
            await send(event)

    return Script(play)


@asynccontextmanager
async def mounted(app, *, prefix="", allow=anyone, **how):
    tasks = len(asyncio.all_tasks())
    async with serving(*app_rows(app, allow=allow, prefix=prefix), **how) as town:
        yield town
        await eventually(lambda: not town.server.in_flight)
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
