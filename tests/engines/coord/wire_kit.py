"""Our door on a store in memory, a real etcd, and the program that speaks to both."""

import asyncio
import os
import shutil
from contextlib import asynccontextmanager, suppress

import pytest
from grpclib.client import Channel, StreamStreamMethod, UnaryUnaryMethod
from grpclib.exceptions import ProtocolError, StreamTerminatedError

from bastide.base.rt.net import bind
from bastide.base.settings import parse_url
from bastide.engines.coord.backends.etcd.backend import EtcdKeys
from bastide.engines.coord.backends.etcd.client import Cluster, EtcdOptions
from bastide.engines.coord.core.protocol.messages import methods
from bastide.engines.coord.service.local import opened_local
from bastide.engines.coord.wire.server import open_wire

REQUIRED = os.environ.get("BASTIDE_TEST_ENGINES_REQUIRED") == "1"
WITHIN_S = 20
HOST = "127.0.0.1"


@asynccontextmanager
async def door(listener=None, local=None, **limits):
    """A store in memory behind our door: what serves, with its address."""
    async with opened_local() as made:
        listener = listener or bind(HOST, 0)
        port = listener.getsockname()[1]
        async with open_wire(local or made, [listener], **limits) as opened:
            opened.address = f"{HOST}:{port}"
            opened.port = port
            opened.local = local or made
            yield opened


def etcd_address():
    """The real one's. Needed by every test that is marked `engine("etcd")`."""
    url = os.environ.get("BASTIDE_TEST_ETCD_URL")
    if not url:
        reason = "BASTIDE_TEST_ETCD_URL is not set: scripts/engines start"
        assert not REQUIRED, reason
        pytest.skip(reason)
    return parse_url(url).location


@asynccontextmanager
async def keys_at(addresses, **options):
    """Our client of an etcd."""
    keys = EtcdKeys(Cluster(parse_url(f"etcd://{addresses}"), EtcdOptions(**options)))
    try:
        yield keys
    finally:
        await keys.close()


class Etcdctl:
    """`await etcdctl("put", "a", "1")`: what it printed."""

    def __init__(self, address, *always):
        self.program = shutil.which("etcdctl")
        if self.program is None:
            assert not REQUIRED, "etcdctl is not installed"
            pytest.skip("etcdctl is not installed")
        self.address = address
        self.always = always

    async def __call__(self, *words, given="", fails=False):
        running = await self.start(*words)
        async with asyncio.timeout(WITHIN_S):
            told, errors = await running.communicate(given.encode())
        failed = running.returncode != 0
        assert failed == fails, (words, told, errors)
        return errors.decode() if fails else told.decode()

    async def start(self, *words):
        """One that goes on: it prints to `stdout`."""
        command = [self.program, f"--endpoints={self.address}", *self.always, *words]
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "ETCDCTL_API": "3"},
        )


async def line_of(running):
    async with asyncio.timeout(WITHIN_S):
        return (await running.stdout.readline()).decode().rstrip("\n")


async def ended(running):
    if running.returncode is None:
        running.kill()
    await running.communicate()


@asynccontextmanager
async def new_etcd(directory):
    """A real etcd that nobody has used yet: its address."""
    program = shutil.which("etcd")
    if program is None:
        assert not REQUIRED, "etcd is not installed"
        pytest.skip("etcd is not installed")
    client, peer = (f"http://{HOST}:{_free_port()}" for _ in range(2))
    running = await asyncio.create_subprocess_exec(
        *(program, f"--data-dir={directory}/etcd", "--name=default"),
        *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
        *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
        f"--initial-cluster=default={peer}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    address = client.removeprefix("http://")
    try:
        async with keys_at(address, timeout_s=WITHIN_S) as keys:
            await keys.health()
        yield address
    finally:
        await ended(running)


def _free_port():
    with bind(HOST, 0) as listener:
        return listener.getsockname()[1]


class Client:
    """Any method of the API, by grpclib: `await client("KV/Put", key=b"a")`."""

    def __init__(self, channel):
        self.channel = channel
        self.metadata = {}

    @staticmethod
    def method(name):
        package = {"Lock": "v3lockpb.", "Election": "v3electionpb."}
        return methods()[f"/{package.get(name.partition('/')[0], 'etcdserverpb.')}{name}"]

    async def __call__(self, name, /, timeout=WITHIN_S, **fields):
        method = self.method(name)
        asked = UnaryUnaryMethod(self.channel, method.path, method.request, method.reply)
        return await asked(method.request(**fields), timeout=timeout, metadata=self.metadata)

    @asynccontextmanager
    async def stream(self, name):
        method = self.method(name)
        made = StreamStreamMethod(self.channel, method.path, method.request, method.reply)
        async with made.open(timeout=WITHIN_S, metadata=self.metadata) as stream:
            await stream.send_request()
            try:
                yield stream
            finally:
                with suppress(StreamTerminatedError, ProtocolError):
                    await stream.cancel()


@asynccontextmanager
async def client_of(ours):
    channel = Channel(HOST, ours.port)
    try:
        yield Client(channel)
    finally:
        channel.close()


async def becomes(so):
    """Waits for others' turns, and for no time."""
    async with asyncio.timeout(WITHIN_S):
        while not so():  # noqa: ASYNC110 (there is no event of it)
            await asyncio.sleep(0)
