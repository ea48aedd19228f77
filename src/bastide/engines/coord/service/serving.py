"""A backend that a node of our own stands behind."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bastide.engines.coord.contract import Coord
from bastide.engines.coord.service.demo import Demo
from bastide.engines.coord.service.front import opened_front
from bastide.engines.coord.service.node import GroupNode


@asynccontextmanager
async def opened_serving(node: GroupNode) -> AsyncIterator["Serving"]:
    serving = Serving(node)
    try:
        yield serving
    finally:
        await serving.demo.end()


class Serving:
    """`model.CoordBackend`; and what the wire door and our own doors speak for."""

    def __init__(self, node: GroupNode) -> None:
        self.node = node
        self.demo = Demo()

    async def health(self) -> None:
        """
        Raises:
            CoordAway
        """
        await self.node.health()

    @asynccontextmanager
    async def view(self, client: str) -> AsyncIterator[Coord]:
        async with opened_front(self.node, client) as front:
            yield front
