"""The console: an app like any other, last in the list."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bastide.apps.console.service import Console
from bastide.base.manifest import Manifest, Use


@asynccontextmanager
async def open_console(use: Use) -> AsyncIterator[Console]:
    yield Console(use.town)


MANIFEST = Manifest(
    name="console",
    floor="apps",
    summary="The town as it runs: systems, addresses, health, settings, metrics.",
    provides=Console,
    open=open_console,
    doors=("bastide.apps.console.pages:ROWS",),
    try_line="open {http}/ in a browser",
)
