"""Many groups on one transport: their messages share frames, and nothing else."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from bastide.base.errors import Conflict
from bastide.base.rt.net import bind
from bastide.parts.raft.contract import Members, OptionInvalid, Options
from bastide.parts.raft.host import hosts as module
from bastide.parts.raft.host.hosts import open_hosts
from bastide.parts.raft.transport.links import Address, open_transport
from tests.parts.raft.host_kit import ALONE, Register, until

GROUPS = 40
THREE = Members((1, 2, 3))
CALM = Options(election_s=0.6, heartbeat_s=0.1)


class Seats:
    """Three nodes with many groups each."""

    def __init__(self, stack, directory):
        self.stack = stack
        self.directory = directory
        self.transports, self.hosts, self.machines = {}, {}, {}

    async def open(self, groups):
        listeners = {n: bind("127.0.0.1", 0) for n in THREE.voters}
        peers = {n: Address("127.0.0.1", one.getsockname()[1]) for n, one in listeners.items()}
        for node, listener in listeners.items():
            self.transports[node] = transport = await self.stack.enter_async_context(
                open_transport(node, cluster="groups", peers=peers, listener=listener)
            )
            hosts = await self.stack.enter_async_context(
                open_hosts(self.directory / str(node), transport, options=CALM)
            )
            for group in range(groups):
                machine = self.machines[node, group] = Register()
                self.hosts[node, group] = await hosts.open(group, machine, THREE)

    def leader(self, group):
        return next((h for (_, g), h in self.hosts.items() if g == group and leads(h)), None)


def leads(host):
    return host.leadership.is_here


async def test_the_heartbeats_of_many_groups_share_a_few_frames(tmp_path):
    async with AsyncExitStack() as stack:
        seats = Seats(stack, tmp_path)
        await seats.open(GROUPS)
        await until(lambda: all(seats.leader(group) for group in range(GROUPS)))
        leaders = [seats.leader(group) for group in range(GROUPS)]
        told = await asyncio.gather(*(h.propose(b"%d" % h.group) for h in leaders))
        assert told == [1] * GROUPS
        await asyncio.sleep(3 * CALM.heartbeat_s)  # until only heartbeats are left
        sent = seats.transports[1].sent  # by all three, for they share a registry here
        before = sent.value
        await asyncio.sleep(1)
        frames = sent.value - before
        # Each of three nodes sends 2 frames of heartbeats and 2 of answers ten times a second. Of
        # 40 groups that share none there would be 1,600.
        assert 60 < frames < 200
        for group in range(GROUPS):
            for node in THREE.voters:
                assert seats.machines[node, group].seen == [b"%d" % group]


async def test_a_group_is_opened_once_and_closed_alone(tmp_path):
    async with open_transport(1, cluster="x", peers={}, listener=None) as transport:
        async with open_hosts(tmp_path, transport) as hosts:
            one = await hosts.open(1, Register(), ALONE)
            two = await hosts.open(2, Register(), ALONE)
            with pytest.raises(Conflict, match="group 1 is open"):
                await hosts.open(1, Register(), ALONE)
            await one.propose(b"x")
            await hosts.close(1)
            await hosts.close(1)
            assert await two.propose(b"x") == 1
            again = await hosts.open(1, Register(), ALONE)
            await again.read_index()
            assert again.applied >= 2
        assert list(hosts) == []


@pytest.mark.limit("raft.GROUPS_MAX")
async def test_so_many_groups_may_be_open(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "GROUPS_MAX", 2)
    async with (
        open_transport(1, cluster="x", peers={}, listener=None) as transport,
        open_hosts(tmp_path, transport) as hosts,
    ):
        for group in range(2):
            await hosts.open(group, Register(), ALONE)
        with pytest.raises(OptionInvalid, match="2 groups are open"):
            await hosts.open(2, Register(), ALONE)
        await hosts.close(0)
        await hosts.open(2, Register(), ALONE)
