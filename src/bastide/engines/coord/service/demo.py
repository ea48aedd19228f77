"""A group of three nodes in this process, to stop one of and watch the others elect.

They are what a cluster's nodes are: each has files of its own and speaks to the others over TCP, at
ports of this machine. Their files go with the group, which ends by itself. Elections are slow
enough to be watched.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from bastide.base.errors import Conflict, NotFound, Refusal
from bastide.base.rt import runtime
from bastide.base.rt.net import bind
from bastide.engines.coord.contract import Item, Member, Put, Range
from bastide.engines.coord.core.spans import FROM_HERE_ON
from bastide.engines.coord.model import Settings
from bastide.engines.coord.service.node import GroupNode, Plan, open_node
from bastide.engines.coord.service.operator import NodeSeen, seen_by
from bastide.parts.raft.transport.links import Address

HOST = "127.0.0.1"
NODES = 3
LASTS_S = 600.0
KEYS_SHOWN = 10
VALUE_BYTES_MAX = 200
"""Of a key or a value."""
SETTINGS = Settings(
    election_ms=1_500, heartbeat_ms=150, timeout_s=3.0, space_bytes=1 << 20, snapshot_entries=1_000
)


class DemoMissing(NotFound):
    """There is no demo group now: it has ended, or was not begun."""


class DemoRefused(Conflict):
    """One is there already; or the node is stopped, or runs, already."""


class DemoSeen(msgspec.Struct, frozen=True):
    """`items`: its first keys, as the node with the most knows them. `left_s`: until it ends."""

    nodes: Sequence[NodeSeen]
    items: Sequence[Item]
    left_s: float

    @property
    def running(self) -> int:
        return sum(one.role != "stopped" for one in self.nodes)


class Demo:
    """At most one group at a time."""

    def __init__(self) -> None:
        self._group: _Group | None = None
        self._ending: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()

    async def begin(self, *, lasts_s: float = LASTS_S) -> None:
        """
        Raises:
            DemoRefused: there is one.
        """
        async with self._changing:
            if self._group is not None:
                raise DemoRefused("a demo group runs already")
            self._group = await _begun(runtime.monotonic() + lasts_s)
            self._ending = asyncio.create_task(self._end_later(lasts_s), name="coord demo")

    async def _end_later(self, lasts_s: float) -> None:
        await asyncio.sleep(lasts_s)
        async with self._changing:
            await self._close_group()

    async def end(self) -> None:
        """No error if there is none."""
        if self._ending is not None:
            self._ending.cancel()
            await asyncio.gather(self._ending, return_exceptions=True)
            self._ending = None
        async with self._changing:
            await self._close_group()

    async def _close_group(self) -> None:
        group, self._group = self._group, None
        if group is not None:
            await group.close()

    def _read(self) -> "_Group":
        if self._group is None:
            raise DemoMissing("there is no demo group now; begin one")
        return self._group

    async def stop(self, number: int) -> None:
        """
        Raises:
            DemoMissing, DemoRefused: it is stopped already.
        """
        async with self._changing:
            await self._read().stop(number)

    async def start(self, number: int) -> None:
        """
        Raises:
            DemoMissing, DemoRefused: it runs already.
        """
        async with self._changing:
            await self._read().start(number)

    async def put(self, key: str, value: str) -> int:
        """The revision. By any node that runs.

        Raises:
            DemoMissing. CoordAway: a majority is stopped.
        """
        node = self._read().any()
        return (await node.put(Put(key.encode(), value.encode()))).revision

    async def seen(self) -> DemoSeen | None:
        """None: there is none."""
        return None if self._group is None else await self._group.seen()


async def _begun(until_s: float) -> "_Group":
    group = _Group(until_s)
    try:
        for number in range(1, NODES + 1):
            await group.start(number)
    except BaseException:
        await group.close()
        raise
    return group


class _Group:
    def __init__(self, until_s: float) -> None:
        self._until_s = until_s
        self._directory = TemporaryDirectory(prefix="bastide-demo-")
        listeners = [bind(HOST, 0) for _ in range(NODES)]
        self._peers = {n: Address(HOST, one.getsockname()[1]) for n, one in enumerate(listeners, 1)}
        for one in listeners:
            one.close()
        self._nodes: dict[int, GroupNode] = {}
        self._stacks: dict[int, AsyncExitStack] = {}

    async def close(self) -> None:
        for number in list(self._nodes):
            await self.stop(number)
        self._directory.cleanup()

    async def start(self, number: int) -> None:
        if number not in self._peers:
            raise DemoMissing(f"there is no node {number}")
        if number in self._nodes:
            raise DemoRefused(f"node {number} runs already")
        stack = AsyncExitStack()
        listener = bind(HOST, self._peers[number].port)
        plan = Plan(me=number, peers=self._peers, first=NODES, cluster="demo")
        directory = Path(self._directory.name) / str(number)
        opened = open_node(directory, SETTINGS, plan, listener)
        self._nodes[number] = await stack.enter_async_context(opened)
        self._stacks[number] = stack

    async def stop(self, number: int) -> None:
        if number not in self._nodes:
            raise DemoRefused(f"node {number} is stopped already")
        del self._nodes[number]
        await self._stacks.pop(number).aclose()

    def any(self) -> GroupNode:
        """The first that runs.

        Raises:
            DemoRefused: none does.
        """
        for node in self._nodes.values():
            return node
        raise DemoRefused("all nodes are stopped; start one")

    async def seen(self) -> DemoSeen:
        """Each node is asked of itself."""
        nodes = []
        for number in self._peers:
            seen = None
            if number in self._nodes:
                with suppress(Refusal):
                    seen = await _seen_itself(self._nodes[number])
            nodes.append(seen or self._stopped(number))
        left_s = max(0.0, self._until_s - runtime.monotonic())
        return DemoSeen(nodes, await self._items(), left_s)

    def _stopped(self, number: int) -> NodeSeen:
        member = Member(number, f"node{number}", str(self._peers[number]), "")
        return NodeSeen(member=member, role="stopped", is_me=False)

    async def _items(self) -> Sequence[Item]:
        ask = Range(b"\x01", FROM_HERE_ON, limit=KEYS_SHOWN, serializable=True)
        found = [await node.range(ask) for node in self._nodes.values()]
        return max(found, key=lambda one: one.revision).items if found else ()


async def _seen_itself(node: GroupNode) -> NodeSeen:
    standing = await node.standing()
    nodes = seen_by(standing, node.status())
    return next(one for one in nodes if one.is_me)
