"""The group in a world: a machine for each node, and what its clients reach it by.

`Beside` runs a verb on a server's machine, beside its program, with no door in between: a cheap
way to ask many. The other way is etcd's protocol, by our door and our own client of an etcd; both
are siblings of this room, so they are opened by name, as a manifest opens them.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from bastide.base.manifest import load
from bastide.base.rt.net import bind
from bastide.base.settings import parse_url
from bastide.engines.coord.contract import (
    CoordAway,
    Delete,
    Deleted,
    Events,
    Found,
    Lease,
    Put,
    PutDone,
    Range,
    Standing,
    Txn,
    TxnDone,
    Watch,
)
from bastide.engines.coord.model import Keys, Settings
from bastide.engines.coord.service.node import GroupNode, Plan, open_node
from bastide.parts.raft.transport.links import Address
from bastide.parts.sim.contract import NodeDied
from bastide.parts.sim.node import Node
from bastide.parts.sim.world import World

PLACE = Path("/var/coord")
PEER_PORT, CLIENT_PORT = 2380, 2379
TIMEOUT_S = 2.0
AGAIN_S = 0.5

T = TypeVar("T")


class Group:
    """`serving` has what runs on each machine now, by number from 1."""

    def __init__(self, world: World, *, by_wire: bool) -> None:
        tape = world.draws.tape("group")
        self.world = world
        self.count = tape.pick("servers", (3, 3, 5))
        election_ms = tape.pick("election", (300, 1_000, 100))
        self.settings = Settings(
            timeout_s=TIMEOUT_S,
            election_ms=election_ms,
            heartbeat_ms=election_ms // 5,
            snapshot_entries=tape.pick("snapshot", (10_000, 100)),
            compact_s=0,
        )
        self.serving: dict[int, GroupNode] = {}
        self._by_wire = by_wire

    @property
    def numbers(self) -> Sequence[int]:
        return range(1, self.count + 1)

    def machine(self, number: int) -> Node:
        return self.world.node(f"server{number}")

    @property
    def machines(self) -> Sequence[Node]:
        return [self.machine(number) for number in self.numbers]

    def start(self) -> None:
        for number in self.numbers:
            self.machine(number).start(partial(self._serve, number), again_s=AGAIN_S)

    async def _serve(self, number: int) -> None:
        self.serving.pop(number, None)
        peers = {n: Address(f"server{n}", PEER_PORT) for n in self.numbers}
        plan = Plan(me=number, peers=peers, first=self.count, cluster="sim")
        listener = bind("0.0.0.0", PEER_PORT)  # noqa: S104 (a simulated machine's)
        async with open_node(PLACE, self.settings, plan, listener) as node:
            self.serving[number] = node
            if self._by_wire:
                await _serve_wire(node)
            else:
                await asyncio.Event().wait()

    def node(self, number: int) -> GroupNode:
        """
        Raises:
            CoordAway: it does not run.
        """
        if number not in self.serving or not self.machine(number).alive:
            raise CoordAway(f"server{number} does not run")
        return self.serving[number]

    def keys(self, number: int) -> AbstractAsyncContextManager[Keys]:
        """What a client has of them, which begins with that server."""
        return opened_wire(self, number) if self._by_wire else opened_beside(self, number)


async def _serve_wire(node: GroupNode) -> None:
    listener = bind("0.0.0.0", CLIENT_PORT)  # noqa: S104 (a simulated machine's)
    async with load("bastide.engines.coord.wire.server:open_wire")(node, [listener]):
        await asyncio.Event().wait()


@asynccontextmanager
async def opened_wire(group: Group, number: int) -> AsyncIterator[Keys]:
    """By etcd's protocol, over the simulated network."""
    order = [*range(number, group.count + 1), *range(1, number)]
    hosts = ",".join(f"server{n}:{CLIENT_PORT}" for n in order)
    client = "bastide.engines.coord.backends.etcd"
    options = load(f"{client}.client:EtcdOptions")(timeout_s=TIMEOUT_S)
    cluster = load(f"{client}.client:Cluster")(parse_url(f"etcd://{hosts}"), options)
    keys = load(f"{client}.backend:EtcdKeys")(cluster)
    try:
        yield keys
    finally:
        await keys.close()


@asynccontextmanager
async def opened_beside(group: Group, number: int) -> AsyncIterator[Keys]:
    yield Beside(group, number)


class Beside:
    """`model.Keys` of one server, until that does not run; then of the next."""

    def __init__(self, group: Group, number: int) -> None:
        self._group = group
        self._number = number

    async def _ask(self, ask: Callable[[GroupNode], Awaitable[T]]) -> T:
        """
        Raises:
            CoordAway: it does not run; or it died, or did not answer, and who knows.
        """
        number = self._number
        try:
            node = self._group.node(number)

            async def asked() -> T:
                return await ask(node)

            async with asyncio.timeout(2 * TIMEOUT_S):
                return await self._group.machine(number).call(asked)
        except (NodeDied, TimeoutError) as error:
            self._go_on()
            raise CoordAway(f"server{number}: {error}", outcome="unknown") from error
        except CoordAway:
            self._go_on()
            raise

    def _go_on(self) -> None:
        self._number = self._number % self._group.count + 1

    async def range(self, range_: Range) -> Found:
        return await self._ask(lambda node: node.range(range_))

    async def put(self, put: Put) -> PutDone:
        return await self._ask(lambda node: node.put(put))

    async def delete(self, delete: Delete) -> Deleted:
        return await self._ask(lambda node: node.delete(delete))

    async def txn(self, txn: Txn) -> TxnDone:
        return await self._ask(lambda node: node.txn(txn))

    async def compact(self, revision: int) -> int:
        return await self._ask(lambda node: node.compact(revision))

    async def grant(self, ttl_s: int, id_: int) -> Lease:
        return await self._ask(lambda node: node.grant(ttl_s, id_))

    async def keep_alive(self, lease: int) -> Lease:
        return await self._ask(lambda node: node.keep_alive(lease))

    async def revoke(self, lease: int) -> int:
        return await self._ask(lambda node: node.revoke(lease))

    async def lease(self, lease: int) -> Lease:
        return await self._ask(lambda node: node.lease(lease))

    async def leases(self) -> Sequence[int]:
        return await self._ask(lambda node: node.leases())

    async def standing(self) -> Standing:
        return await self._ask(lambda node: node.standing())

    @asynccontextmanager
    async def watch(self, watch: Watch) -> AsyncIterator[AsyncIterator[Events]]:
        """Of one server: it ends with that."""
        told: asyncio.Queue[Events | None] = asyncio.Queue()

        async def look(node: GroupNode) -> None:
            async with node.watch(watch) as events:
                async for one in events:
                    told.put_nowait(one)

        number = self._number
        looking = self._group.machine(number).call(look, self._group.node(number))
        looking.add_done_callback(lambda _: told.put_nowait(None))
        try:
            yield _Told(told, looking)
        finally:
            looking.cancel()


class _Told:
    def __init__(
        self, told: "asyncio.Queue[Events | None]", looking: "asyncio.Future[None]"
    ) -> None:
        self._told = told
        self._looking = looking

    def __aiter__(self) -> AsyncIterator[Events]:
        return self

    async def __anext__(self) -> Events:
        one = await self._told.get()
        if one is None:
            try:
                await self._looking
            except NodeDied as error:
                raise CoordAway(str(error)) from error
            raise StopAsyncIteration
        return one
