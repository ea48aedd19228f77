"""Nodes in processes: ours, and etcd's."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from bastide.base.errors import Refusal, Unavailable
from bastide.base.manifest import load
from bastide.base.rt import runtime
from bastide.parts.http.bench.servers import HOST, found, free_port

START_S = 30.0
LOOK_S = 0.02
ELECTION_MS, HEARTBEAT_MS = 1000, 100
BACKEND = "bastide.engines.coord.backends.etcd"


class Server:
    """One node: how it is started, and the process of it."""

    def __init__(self, port: int, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self.port = port
        self._command = command
        self._environ = environ
        self.process: Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *self._command, stdout=DEVNULL, stderr=DEVNULL, env={**os.environ, **self._environ}
        )

    async def kill(self) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()


class Servers:
    """A group of them, which answers."""

    def __init__(self, nodes: Sequence[Server]) -> None:
        self.nodes = nodes

    @property
    def addresses(self) -> str:
        return ",".join(f"{HOST}:{node.port}" for node in self.nodes)

    async def leader(self) -> Server:
        """
        Raises:
            Unavailable: none within START_S.
        """
        until_s = runtime.monotonic() + START_S
        while runtime.monotonic() < until_s:
            for node in self.nodes:
                with suppress(Refusal):
                    told = await status_of(node.port)
                    if told.leader and told.leader == told.header.member_id:
                        return node
            await asyncio.sleep(LOOK_S)
        raise Unavailable("a group has no leader")


async def status_of(port: int) -> Any:
    messages = load("bastide.engines.coord.core.protocol.messages:messages")
    cluster = cluster_of(f"{HOST}:{port}", timeout_s=1.0)
    try:
        path = "/etcdserverpb.Maintenance/Status"
        return await cluster.call(path, messages().StatusRequest(), changes=False)
    finally:
        cluster.close()


def cluster_of(addresses: str, *, timeout_s: float) -> Any:
    url = load("bastide.base.settings:parse_url")(f"etcd://{addresses}")
    options = load(f"{BACKEND}.client:EtcdOptions")(timeout_s=timeout_s)
    return load(f"{BACKEND}.client:Cluster")(url, options)


@asynccontextmanager
async def running(nodes: Sequence[Server]) -> AsyncIterator[Servers]:
    try:
        for node in nodes:
            await node.start()
        servers = Servers(nodes)
        await servers.leader()
        yield servers
    finally:
        for node in nodes:
            await node.kill()


def ours(directory: Path, count: int) -> Sequence[Server]:
    peers = ",".join(f"{HOST}:{free_port()}" for _ in range(count))
    nodes = []
    for me in range(1, count + 1):
        port = free_port()
        environ = {
            "BASTIDE_HTTP": f"{HOST}:0",
            "BASTIDE_COORD_ETCD": f"{HOST}:{port}",
            "BASTIDE_COORD_ELECTION_MS": str(ELECTION_MS),
            "BASTIDE_COORD_HEARTBEAT_MS": str(HEARTBEAT_MS),
        }
        if count > 1:
            environ["BASTIDE_COORD_URL"] = f"cluster://{peers}?me={me}"
        place = str(directory / f"ours-{count}-{me}")
        words = (sys.executable, "-m", "bastide", "up", "--only", "coord", "--data", place)
        nodes.append(Server(port, words, environ))
    return nodes


def etcd(program: str, directory: Path, count: int) -> Sequence[Server]:
    peers = [f"http://{HOST}:{free_port()}" for _ in range(count)]
    listed = ",".join(f"node{n}={peer}" for n, peer in enumerate(peers))
    nodes = []
    for n, peer in enumerate(peers):
        port = free_port()
        client = f"http://{HOST}:{port}"
        words = (
            *(program, f"--name=node{n}", f"--data-dir={directory / f'etcd-{count}-{n}'}"),
            *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
            *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
            *(f"--initial-cluster={listed}", "--logger=zap", "--log-level=error"),
            *(f"--election-timeout={ELECTION_MS}", f"--heartbeat-interval={HEARTBEAT_MS}"),
        )
        nodes.append(Server(port, words, {"ETCD_UNSUPPORTED_ARCH": ""}))
    return nodes


@asynccontextmanager
async def both(directory: Path, count: int) -> AsyncIterator[Mapping[str, Servers]]:
    """Ours and etcd; ours alone, and a line that says so, if that is not installed."""
    async with AsyncExitStack() as stack:
        groups = {"": await stack.enter_async_context(running(ours(directory, count)))}
        if program := found("etcd"):
            peer = running(etcd(program, directory, count))
            groups["etcd_"] = await stack.enter_async_context(peer)
        yield groups
