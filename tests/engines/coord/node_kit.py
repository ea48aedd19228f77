"""Nodes of one group in this process, over real sockets and real files."""

import asyncio
import random
from contextlib import AsyncExitStack, asynccontextmanager

from bastide.base.rt.net import bind
from bastide.engines.coord.contract import CoordAway
from bastide.engines.coord.model import Settings
from bastide.engines.coord.service.node import Plan, open_node
from bastide.parts.raft.transport.links import Address

PATIENCE_S = 20
SETTINGS = Settings(election_ms=150, heartbeat_ms=20, timeout_s=3.0, snapshot_entries=100)


def quiet_port():
    """A free one that the kernel gives nobody who dials: else who dials a node that is down could
    reach himself, and hold its port.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        try:
            bind("127.0.0.1", port).close()
        except OSError:
            continue
        return port


class Group:
    """`nodes` by number; one that is stopped is missing there."""

    def __init__(self, directory, count, settings):
        self._directory = directory
        self._settings = settings
        self._count = count
        self.nodes = {}
        self._stacks = {}
        self._ports = {n: quiet_port() for n in range(1, count + 2)}

    def address(self, number):
        return Address("127.0.0.1", self._ports[number])

    async def start(self, number):
        known = max(self._count, number)
        plan = Plan(
            me=number,
            peers={n: self.address(n) for n in range(1, known + 1)},
            first=self._count,
            cluster="test",
        )
        stack = AsyncExitStack()
        listener = bind("127.0.0.1", self._ports[number])
        directory = self._directory / str(number)
        opened = open_node(directory, self._settings, plan, listener)
        self.nodes[number] = await stack.enter_async_context(opened)
        self._stacks[number] = stack

    async def stop(self, number):
        del self.nodes[number]
        await self._stacks.pop(number).aclose()

    async def stop_all(self):
        for number in list(self.nodes):
            await self.stop(number)

    async def leader(self):
        """Its number, once one of those that run leads."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for number, node in self.nodes.items():
                    standing = await node.standing()
                    if standing.leader == number:
                        return number
                await asyncio.sleep(0.01)

    async def follower(self):
        leader = await self.leader()
        return next(n for n in sorted(self.nodes) if n != leader)


@asynccontextmanager
async def opened_group(directory, count=3, settings=SETTINGS):
    group = Group(directory, count, settings)
    try:
        for number in range(1, count + 1):
            await group.start(number)
        yield group
    finally:
        await group.stop_all()


async def eventually(check):
    """Until `check()` returns what is true."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                if found := await check():
                    return found
            except CoordAway:
                pass
            await asyncio.sleep(0.01)
