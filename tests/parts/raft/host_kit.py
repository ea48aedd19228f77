"""Groups to be hosted in tests: disks, machines, members, and waiting until something is so."""

import asyncio
import errno
import random
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from msgspec import msgpack

from bastide.base.errors import Conflict, Unavailable
from bastide.base.rt import runtime
from bastide.base.rt.disk import SystemDisk
from bastide.base.rt.net import bind
from bastide.base.rt.runtime import Chance, Runtime
from bastide.parts.raft.contract import Entry, Members, Options, SnapshotMark
from bastide.parts.raft.host.host import open_host
from bastide.parts.raft.host.machine import StateMachine
from bastide.parts.raft.transport.links import Address, open_transport
from bastide.parts.sim.disk.disk import SimDisk

PLACE = Path("/group")
ALONE = Members((1,))
SMALL = 1 << 10


def use(disk):
    """This test, and what it starts, run on `disk`."""
    runtime.run_on(Runtime(disk=disk, chance=Chance(7)))


def new_disk(seed=7):
    disk = SimDisk(random.Random(seed))
    use(disk)
    return disk


def entries(first, count=1, *, term=1, size=8):
    return [
        Entry(index, term, "payload", b"%d.%d " % (term, index) * (1 + size // 8))
        for index in range(first, first + count)
    ]


def mark(index, term=1, members=ALONE):
    return SnapshotMark(index, term, members)


def files(disk, suffix):
    return [path for path in disk.files if path.suffix == suffix]


def fail_syncs(disk):
    disk.faults.failing["sync"] = OSError(errno.EIO, "input/output error")


async def until(holds, timeout_s=20):
    """Turns the loop until `holds()`; what it needs is real time, as the loop's own."""
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110 (many things are waited for, and few tell)
            await asyncio.sleep(0.002)


class Register(StateMachine):
    """Keeps what was put, in order: what the tests compare."""

    def __init__(self):
        self.seen = []
        self.members = None
        self.restored = 0

    def apply(self, entries):
        results = []
        for entry in entries:
            self.seen.append(bytes(entry.payload))
            refused = entry.payload.startswith(b"refuse")
            results.append(Conflict("as asked") if refused else len(self.seen))
        return results

    def regroup(self, members, context):
        self.members = (members, context)

    def snapshot(self):
        seen, members = list(self.seen), self.members
        yield msgpack.encode(members)
        for first in range(0, len(seen), 50):
            yield msgpack.encode(seen[first : first + 50])

    async def restore(self, pieces):
        members = msgpack.decode(await anext(pieces), type=tuple[Members, bytes] | None)
        seen = []
        async for piece in pieces:
            seen += msgpack.decode(piece)
        self.seen, self.members = seen, members
        self.restored += 1


_machine_disk = SystemDisk()  # one, since each keeps threads

QUICK = Options(election_s=0.15, heartbeat_s=0.03)


class Node:
    """One node of a Cluster; `stack` is open while it runs."""

    def __init__(self, cluster, number):
        self.cluster = cluster
        self.number = number
        self.machine = None
        self.host = None
        self.transport = None
        self.disk = None
        self.stack = None

    async def start(self, **options):
        """In a task of its own, so that all it starts has the node's own runtime and disk."""
        started = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()
        self._task = asyncio.create_task(self._run(started, options))
        await asyncio.wait([started, self._task], return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            self._task.result()
        return self

    async def _run(self, started, options):
        disk = self.disk or _machine_disk
        self.runtime = Runtime(disk=disk, chance=Chance(self.number))
        self.runtime.faults = self.cluster.faults
        runtime.run_on(self.runtime)
        cluster = self.cluster
        self.machine = Register()
        async with AsyncExitStack() as stack:
            listener = bind("127.0.0.1", cluster.addresses[self.number].port)
            self.transport = await stack.enter_async_context(
                open_transport(
                    self.number, cluster="test", peers=cluster.addresses, listener=listener
                )
            )
            options = {"options": QUICK, "members": cluster.members, **options}
            self.host = await stack.enter_async_context(
                open_host(
                    cluster.directory / f"node-{self.number}",
                    self.machine,
                    node=self.number,
                    transport=self.transport,
                    **options,
                )
            )
            started.set_result(None)
            await self._ended.wait()

    async def stop(self):
        if self.host is not None:
            self.host = None
            self._ended.set()
            await self._task

    async def abandon(self):
        """What it still does, its disk no longer does."""
        with suppress(OSError, Unavailable):
            await self.stop()


class Cluster:
    def __init__(self, directory, nodes=(1, 2, 3), voters=None):
        self.directory = directory
        self.faults = {}  # of all nodes
        self.members = Members(tuple(voters or nodes))
        listeners = {number: bind("127.0.0.1", 0) for number in nodes}
        self.addresses = {
            number: Address("127.0.0.1", one.getsockname()[1]) for number, one in listeners.items()
        }
        for one in listeners.values():
            one.close()
        self.nodes = {number: Node(self, number) for number in nodes}

    async def start(self, **options):
        for node in self.nodes.values():
            await node.start(**options)

    async def stop(self):
        for node in self.nodes.values():
            await node.stop()

    @property
    def running(self):
        return [node for node in self.nodes.values() if node.host is not None]

    def leader(self):
        """The one that leads with a majority behind it, as far as it knows."""
        leading = [n for n in self.running if n.host.leadership.is_here]
        return max(leading, key=lambda n: n.host.leadership.term, default=None)

    async def led(self):
        await until(lambda: self.leader() is not None)
        return self.leader()

    async def propose(self, payload):
        """As a client does that goes on until it is told that it is done. Once, or doubled."""
        async with asyncio.timeout(20):
            while True:
                leader = self.leader()
                try:
                    if leader:
                        return await leader.host.propose(payload)
                except Unavailable:
                    pass
                await asyncio.sleep(0.01)

    async def agreed(self, count=None):
        """All who run have the same, and `count` of it."""
        first = self.running[0].machine
        await until(
            lambda: (
                all(n.machine.seen == first.seen for n in self.running)
                and (count is None or len(first.seen) == count)
            )
        )
        return first.seen


@asynccontextmanager
async def cluster_in(directory, nodes=(1, 2, 3), **options):
    cluster = Cluster(directory, nodes)
    try:
        await cluster.start(**options)
        yield cluster
    finally:
        await cluster.stop()
