"""A town with the log and its doors, and groups that a test makes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from httpx import AsyncClient

from bastide.engines.log.contract import Record, Topic
from bastide.engines.log.service.log import View
from bastide.engines.log.service.node import Node
from bastide.testing.town import RaisedTown, raised


class DoorsOfLog:
    """`client` is the operator's; `log` is what the system `shop`, which is none of the town, would
    be given.
    """

    def __init__(self, town: RaisedTown, client: AsyncClient) -> None:
        self.town = town
        self.client = client
        self.backend = town.town.behind_wire("log")
        self.node: Node = self.backend.node
        self.log = View(self.node, "shop")

    async def made(self, topic: str, *values: bytes, partitions: int = 1) -> None:
        """A topic with these values in its first partition."""
        await self.log.create(Topic(topic, partitions=partitions))
        if values:
            await self.log.append(topic, [Record(value) for value in values], partition=0)

    async def committed(self, group: str, topic: str, offset: int, partition: int = 0) -> None:
        """The group has read so far, and has no members."""
        reply = await self.client.request(
            "PUT",
            f"/api/offsets/{group}",
            json={"topic": topic, "partition": partition, "to": offset},
        )
        assert reply.status_code == 200, reply.text

    async def joined(self, group: str, topic: str) -> None:
        """The group has come to be, by a member that has left."""
        async with self.log.member(group, [topic]):
            pass


@asynccontextmanager
async def doors_of_log(*systems: str) -> AsyncIterator[DoorsOfLog]:
    async with raised("log", *systems) as town:
        yield DoorsOfLog(town, await town.client("log"))
