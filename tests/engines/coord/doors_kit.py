"""A town with coordination and its doors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from httpx import AsyncClient

from bastide.engines.coord.service.serving import Serving
from bastide.testing.town import RaisedTown, raised


class DoorsOfCoord:
    """`client` is the operator's."""

    def __init__(self, town: RaisedTown, client: AsyncClient) -> None:
        self.town = town
        self.client = client
        self.serving: Serving = town.town.behind_wire("coord")
        self.node = self.serving.node

    async def ask(self, method: str, path: str, status: int = 200, body=None, **query):
        reply = await self.client.request(method, path, params=query, json=body)
        assert reply.status_code == status, reply.text
        return reply.json() if reply.content else None

    async def put(self, key: str, value: str = "", **more):
        return await self.ask("PUT", "/api/key", body={"key": key, "value": value, **more})

    async def granted(self, ttl_s: int = 60) -> str:
        return (await self.ask("POST", "/api/leases", 201, {"ttl_s": ttl_s}))["id"]

    async def entered(self, name: str, value: str = "", wait_s: float = 0.0):
        """A lease, and its turn in the queue."""
        lease = await self.granted()
        body = {"name": name, "lease": lease, "value": value, "wait_s": wait_s}
        return lease, await self.ask("PUT", "/api/queue", body=body)


@asynccontextmanager
async def doors_of_coord() -> AsyncIterator[DoorsOfCoord]:
    async with raised("coord") as town:
        yield DoorsOfCoord(town, await town.client("coord"))
