"""Three nodes that agree, each with its door, and etcdctl before all of them."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from bastide.base.rt.net import bind
from bastide.engines.coord.contract import CoordAway, Put, Range
from bastide.engines.coord.model import Settings
from bastide.engines.coord.service.node import Plan, open_node
from bastide.engines.coord.service.serving import Serving
from bastide.engines.coord.wire.server import open_etcd
from bastide.parts.raft.transport.links import Address
from tests.engines.coord.wire_kit import HOST, WITHIN_S, Etcdctl, keys_at

SETTINGS = Settings(secret="shared", election_ms=300, heartbeat_ms=50)


@asynccontextmanager
async def group(directory):
    """By the number of a node: how it is closed, and the address of its door."""
    listeners = {n: bind(HOST, 0) for n in (1, 2, 3)}
    peers = {n: Address(HOST, one.getsockname()[1]) for n, one in listeners.items()}
    nodes, addresses = {}, {}
    async with AsyncExitStack() as opened:
        for n, listener in listeners.items():
            nodes[n] = await opened.enter_async_context(AsyncExitStack())
            plan = Plan(me=n, peers=peers, first=3, cluster="x")
            node = open_node(directory / str(n), SETTINGS, plan, listener)
            doors = bind(HOST, 0)
            addresses[n] = f"{HOST}:{doors.getsockname()[1]}"
            serving = Serving(await nodes[n].enter_async_context(node))
            await nodes[n].enter_async_context(open_etcd(serving, [doors]))
        yield nodes, addresses


async def leader_by(keys):
    async with asyncio.timeout(WITHIN_S):
        led = 0
        while not led:
            led = (await keys.standing()).leader
    return led


async def test_what_one_node_took_all_have_and_the_leader_is_moved(tmp_path):
    async with group(tmp_path) as (_, addresses), keys_at(addresses[1]) as keys:
        led = await leader_by(keys)
        everywhere = Etcdctl(",".join(addresses.values()))
        await everywhere("put", "a", "1")
        for address in addresses.values():
            assert await Etcdctl(address)("get", "a", "--print-value-only") == "1\n"
        hashes = (await everywhere("endpoint", "hashkv")).split("\n")[:3]
        assert len({line.split(", ")[1] for line in hashes}) == 1
        other = next(n for n in addresses if n != led)
        told = await Etcdctl(addresses[led])("move-leader", f"{other:x}")
        assert "Leadership transferred" in told
        assert await leader_by(keys) == other


async def test_accounts_are_those_of_the_group(tmp_path):
    async with group(tmp_path) as (_, addresses), keys_at(addresses[1]) as keys:
        await leader_by(keys)
        first, second = (Etcdctl(addresses[n]) for n in (1, 2))
        await first("user", "add", "root:pw")
        await first("role", "add", "root")
        await first("user", "grant-role", "root", "root")
        await first("auth", "enable")
        async with asyncio.timeout(WITHIN_S):
            told = b""
            while b"user name is empty" not in told:
                _, told = await (await second.start("put", "a", "1")).communicate()
        assert await Etcdctl(addresses[2], "--user=root:pw")("put", "a", "2") == "OK\n"


async def test_our_client_goes_on_when_a_node_is_lost(tmp_path):
    async with (
        group(tmp_path) as (nodes, addresses),
        keys_at(",".join(addresses.values()), timeout_s=WITHIN_S) as keys,
    ):
        await leader_by(keys)
        await keys.put(Put(b"a", b"1"))
        led = await leader_by(keys)
        await nodes[led].aclose()
        assert (await keys.range(Range(b"a"))).items[0].value == b"1"
        with suppress(CoordAway):  # it may go to the one that has just been closed
            await keys.put(Put(b"a", b"2"))
        await keys.put(Put(b"a", b"2"))
        assert (await keys.range(Range(b"a"))).items[0].value == b"2"


@pytest.mark.parametrize("verb", ["promote", "remove"])
async def test_members_that_are_none_are_told_apart(tmp_path, verb):
    async with group(tmp_path) as (_, addresses), keys_at(addresses[1]) as keys:
        await leader_by(keys)
        etcdctl = Etcdctl(addresses[1])
        assert "member not found" in await etcdctl("member", verb, "77", fails=True)
        if verb == "promote":
            told = await etcdctl("member", "promote", "1", fails=True)
            assert "can only promote a learner" in told
