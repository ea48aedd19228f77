"""The console: an app like any other, last in the list."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bastide.apps.console.service.console import Console
from bastide.base.manifest import Manifest, Use


@asynccontextmanager
async def open_console(use: Use) -> AsyncIterator[Console]:
    yield Console(use.town, use.runtime)


MANIFEST = Manifest(
    name="console",
    floor="apps",
    summary="The town as it runs: systems, addresses, health, settings, calls between them.",
    provides=Console,
    open=open_console,
    doors=("bastide.apps.console.pages:ROWS", "bastide.apps.console.api:ROWS"),
    workers=("bastide.apps.console.workers:watch",),
    exempt={
        "restart": "it keeps nothing: what it shows was counted since the town started",
        "repeat": "no door of it changes anything: a request made twice is two looks",
    },
    try_line="open {http}/ in a browser",
)
