"""A broker of ours: `python -m bastide.engines.log.bench.ours PORT DIRECTORY`."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec

from bastide.base.manifest import load
from bastide.base.rt.net import bind
from bastide.engines.log.service.broker import Settings
from bastide.engines.log.service.node import Node, open_node
from bastide.parts.http.bench.servers import HOST
from bastide.parts.http.bench.serving import run

OPEN_KAFKA = "bastide.engines.log.wire.server:open_kafka"


class Serving(msgspec.Struct, frozen=True):
    """What the wire door speaks for."""

    node: Node


async def serve(directory: Path, port: int) -> None:
    """Until the process is ended. What it ends with is not synced: the directory goes, too."""
    open_kafka: Any = load(OPEN_KAFKA)
    async with (
        open_node(directory, Settings()) as node,
        open_kafka(Serving(node), [bind(HOST, port)]),
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    run(serve(Path(sys.argv[2]), int(sys.argv[1])))
