"""`file://`: a group of one, kept on this machine's disk; `memory://`: the same on a directory that
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
from bastide.engines.coord.model import Settings
from bastide.engines.coord.service.node import open_node
from bastide.engines.coord.service.serving import Serving, opened_serving

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (a file system without a disk; the name is random)


@asynccontextmanager
async def open_file(url: BackendUrl, use: Use) -> AsyncIterator[Serving]:
    """
    Raises:
        Invalid: the URL names a place; a node's is in DATA.
    """
    if url.location:
        raise Invalid(f"{url.safe}: file:// is expected, and its files are in DATA/coord")
    async with (
        open_node(use.directory(), use.settings(Settings)) as node,
        opened_serving(node) as serving,
    ):
        yield serving


@asynccontextmanager
async def open_memory(url: BackendUrl, use: Use) -> AsyncIterator[Serving]:
    parent = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="bastide-", dir=parent) as directory:
        async with (
            open_node(Path(directory), use.settings(Settings)) as node,
            opened_serving(node) as serving,
        ):
            yield serving
