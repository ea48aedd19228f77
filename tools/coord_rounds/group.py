"""The nodes, each a process as anybody would start it, and what an operator asks of them."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from bastide.base.errors import Refusal
from bastide.base.settings import parse_url
from bastide.engines.coord.backends.etcd.backend import EtcdKeys
from bastide.engines.coord.backends.etcd.client import Cluster, EtcdOptions
from bastide.engines.coord.core.protocol.messages import messages
from bastide.parts.http.bench.servers import HOST
from tools.coord_rounds.links import Links, quiet_port

FIRST = (1, 2, 3)
START_S = 30.0
LOOK_S = 0.05
ASK_S = 2.0
SETTINGS: Mapping[str, str] = {
    "BASTIDE_HTTP": f"{HOST}:0",
    "BASTIDE_COORD_ELECTION_MS": "500",
    "BASTIDE_COORD_HEARTBEAT_MS": "50",
    "BASTIDE_COORD_TIMEOUT_S": "2",
    "BASTIDE_COORD_SNAPSHOT_ENTRIES": "300",  # so that a round has several
}


class NodeDied(Exception):
    """It ended by itself; `told` is the end of what it logged."""

    def __init__(self, number: int, told: str) -> None:
        super().__init__(f"node {number} has ended: {told}")
        self.number = number
        self.told = told


class Standing(Struct, frozen=True):
    leader: int
    term: int
    revision: int
    applied: int


class Node:
    """One of the processes. `number` is its own in the group."""

    def __init__(self, number: int, directory: Path, log: Path) -> None:
        self.number = number
        self.directory = directory
        self.log = log
        self.port = quiet_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def send(self, sign: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(sign)

    def kill(self) -> None:
        """As a crash: -9, whatever it does just now."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def told(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-8:])


class Group:
    """All nodes, of one store."""

    def __init__(self, directory: Path, links: Links) -> None:
        self.directory = directory
        self.links = links
        self.nodes: dict[int, Node] = {}

    @property
    def members(self) -> Sequence[Node]:
        """Those with which it began, which stay members."""
        return [self.nodes[number] for number in FIRST]

    async def add(self, number: int, directory: Path | None = None) -> Node:
        """Not started yet."""
        await self.links.add(number)
        place = directory or self.directory / f"node{number}"
        node = Node(number, place, self.directory / f"node{number}.log")
        self.nodes[number] = node
        return node

    def start(self, node: Node, environ: Mapping[str, str] | None = None) -> None:
        """Returns before it is ready."""
        listed = max(node.number, len(FIRST))
        names = ",".join(f"{HOST}:{self.links.ports[n]}" for n in range(1, listed + 1))
        options = f"me={node.number}&first={len(FIRST)}"
        options += f"&listen={HOST}:{self.links.behind[node.number]}"
        settings = {
            **os.environ,
            **SETTINGS,
            "BASTIDE_COORD_URL": f"cluster://{names}?{options}",
            "BASTIDE_COORD_ETCD": node.address,
            **(environ or {}),
        }
        words = ("-m", "bastide", "up", "--only", "coord", "--data", str(node.directory))
        with node.log.open("ab") as log:
            node.process = subprocess.Popen(  # noqa: S603 (ours)
                [sys.executable, *words], env=settings, stdout=log, stderr=log
            )
        node.starts += 1

    async def ready(self, node: Node) -> None:
        """
        Raises:
            NodeDied. TimeoutError: it runs and answers no client.
        """
        async with asyncio.timeout(START_S):
            while True:
                if not node.runs:
                    raise NodeDied(node.number, node.told())
                if await self.standing(node) is not None:
                    return
                await asyncio.sleep(LOOK_S)

    async def restart(self, node: Node, environ: Mapping[str, str] | None = None) -> None:
        node.kill()
        self.start(node, environ)
        await self.ready(node)

    async def leader(self) -> Node | None:
        """As the one with the newest term among those that answer says."""
        told = await asyncio.gather(*(self.standing(node) for node in self.members))
        newest = max(filter(None, told), key=lambda standing: standing.term, default=None)
        return self.nodes.get(newest.leader) if newest else None

    async def standing(self, node: Node) -> Standing | None:
        """None: it does not answer."""
        if not node.runs:
            return None
        try:
            told = await asked(node.address, "Maintenance/Status", messages().StatusRequest())
        except Refusal:
            return None
        header = told.header
        return Standing(told.leader, told.raftTerm, header.revision, told.raftAppliedIndex)

    async def hash_at(self, node: Node, revision: int) -> int:
        """Of all keys and their history, up to it."""
        wanted = messages().HashKVRequest(revision=revision)
        return int((await asked(node.address, "Maintenance/HashKV", wanted)).hash)

    def stop(self) -> None:
        for node in self.nodes.values():
            node.send(signal.SIGCONT)
            node.kill()


@asynccontextmanager
async def keys_at(addresses: Sequence[str], timeout_s: float) -> AsyncIterator[EtcdKeys]:
    """One client."""
    url = parse_url(f"etcd://{','.join(addresses)}")
    keys = EtcdKeys(Cluster(url, EtcdOptions(timeout_s=timeout_s)))
    try:
        yield keys
    finally:
        await keys.close()


async def asked(address: str, method: str, message: Any, *, timeout_s: float = ASK_S) -> Any:
    """By a connection of its own.

    Raises:
        Refusal
    """
    cluster = Cluster(parse_url(f"etcd://{address}"), EtcdOptions(timeout_s=timeout_s))
    try:
        return await cluster.call(f"/etcdserverpb.{method}", message, changes=False)
    finally:
        cluster.close()
