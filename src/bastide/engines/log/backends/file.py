"""`file://`: a broker of our own on this machine's disk; `memory://`: the same on a directory that
goes when the town closes.
"""

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bastide.base.errors import Invalid
from bastide.base.manifest import Use
from bastide.base.settings import BackendUrl
from bastide.engines.log.service.broker import Settings
from bastide.engines.log.service.lags import Lags
from bastide.engines.log.service.log import View
from bastide.engines.log.service.node import Node, open_node

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (a file system without a disk; the name is random)


@asynccontextmanager
async def open_file(url: BackendUrl, use: Use) -> AsyncIterator["FileBackend"]:
    """
    Raises:
        Invalid: the URL names a place; a broker's is in DATA.
    """
    if url.location:
        raise Invalid(f"{url.safe}: file:// is expected, and its files are in DATA/log")
    async with _opened(use.directory(), use) as backend:
        yield backend


@asynccontextmanager
async def open_memory(url: BackendUrl, use: Use) -> AsyncIterator["FileBackend"]:
    parent = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="bastide-", dir=parent) as directory:
        async with _opened(Path(directory), use) as backend:
            yield backend


class FileBackend:
    """`model.LogBackend`; and what the wire door and our own doors speak for."""

    def __init__(self, node: Node, lags: Lags) -> None:
        self.node = node
        self.lags = lags

    async def health(self) -> None:
        """
        Raises:
            LogAway: the disk refuses.
        """
        self.node.broker.check()

    @asynccontextmanager
    async def view(self, client: str) -> AsyncIterator[View]:
        yield View(self.node, client)


@asynccontextmanager
async def _opened(directory: Path, use: Use) -> AsyncIterator[FileBackend]:
    systems = [manifest.name for manifest in use.town.manifests]
    async with open_node(directory, use.settings(Settings), systems=systems) as node:
        use.spawn("trim", node.broker.keep_trimming)
        use.spawn("mend", node.broker.keep_mending)
        lags = Lags(node)
        use.spawn("lags", lags.keep_looking)
        yield FileBackend(node, lags)
