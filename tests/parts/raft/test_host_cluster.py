"""Three nodes in one loop, over real TCP on loopback, each on a disk of its own."""

import asyncio
import errno
import random

import pytest

from bastide.base.errors import Unavailable
from bastide.parts.raft.contract import (
    Change,
    ChangeRefused,
    GroupFailed,
    LeadershipLost,
    Members,
    NotLeader,
    Options,
    ReadsOver,
)
from bastide.parts.raft.host import host as module
from bastide.parts.raft.host.machine import Keeping
from bastide.parts.seglog.contract import DiskFull
from bastide.parts.sim.disk.disk import SimDisk
from tests.parts.raft.host_kit import QUICK, Cluster, cluster_in, fail_syncs, until

OFTEN = Keeping(snapshot_entries=100)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(module, "BACK_OFF_S", 0.01)


async def test_what_is_proposed_to_the_leader_is_applied_by_all_in_one_order(tmp_path):
    async with cluster_in(tmp_path) as cluster:
        leader = await cluster.led()
        told = await asyncio.gather(*(leader.host.propose(b"%d" % n) for n in range(300)))
        assert told == list(range(1, 301))
        assert await cluster.agreed(300) == [b"%d" % n for n in range(300)]


async def test_who_does_not_lead_refuses_and_says_who_does(tmp_path):
    async with cluster_in(tmp_path) as cluster:
        leader = await cluster.led()
        await cluster.propose(b"x")
        await cluster.agreed(1)
        follower = next(n for n in cluster.running if n is not leader)
        with pytest.raises(NotLeader) as refused:
            await follower.host.propose(b"y")
        assert refused.value.leader == leader.number
        with pytest.raises(NotLeader):
            await follower.host.change(Change((1, 2)))


async def test_every_node_serves_reads_of_all_that_was_acknowledged_before(tmp_path):
    async with cluster_in(tmp_path) as cluster:
        leader = await cluster.led()
        for n in range(1, 30):
            await leader.host.propose(b"%d" % n)
            for node in cluster.running:
                await node.host.read_index(lease=bool(n % 2))
                assert len(node.machine.seen) == n


async def test_a_leader_that_is_gone_is_followed_by_another_and_catches_up_by_its_log(tmp_path):
    async with cluster_in(tmp_path) as cluster:
        leader = await cluster.led()
        for n in range(20):
            await cluster.propose(b"%d" % n)
        await leader.stop()
        await until(lambda: cluster.leader() not in (None, leader))
        for n in range(20, 40):
            await cluster.propose(b"%d" % n)
        await leader.start()
        seen = await cluster.agreed()
        assert list(dict.fromkeys(seen)) == [b"%d" % n for n in range(40)]
        assert leader.machine.restored == 0


async def test_a_node_that_was_away_too_long_catches_up_by_a_snapshot_in_chunks(tmp_path):
    options = {
        "keeping": OFTEN,
        "options": Options(election_s=0.15, heartbeat_s=0.03, kept_behind=10, chunk_bytes=700),
    }
    async with cluster_in(tmp_path, **options) as cluster:
        leader = await cluster.led()
        away = next(n for n in cluster.running if n is not leader)
        await away.stop()
        for n in range(600):
            await cluster.propose(b"%d" % n)
        await away.start(**options)
        writing = asyncio.ensure_future(propose_many(cluster, 600, 900))  # files are replaced
        await until(lambda: away.machine.restored >= 1)
        await writing
        seen = await cluster.agreed()
        assert list(dict.fromkeys(seen)) == [b"%d" % n for n in range(900)]
        await away.stop()
        await away.start(**options)
        assert away.machine.restored == 1
        await away.host.read_index()
        assert away.machine.seen == seen


async def test_a_snapshot_that_can_t_be_installed_is_installed_once_it_can(tmp_path):
    options = {
        "keeping": OFTEN,
        "options": Options(election_s=0.15, heartbeat_s=0.03, kept_behind=0, chunk_bytes=700),
    }
    cluster = Cluster(tmp_path)
    try:
        await cluster.start(**options)
        leader = await cluster.led()
        away = next(n for n in cluster.running if n is not leader)
        await away.stop()
        await propose_many(cluster, 0, 250)
        away.disk = SimDisk(random.Random(1))
        away.disk.faults.failing["rename"] = OSError(errno.EIO, "input/output error")
        await away.start(**options)
        await until(lambda: away.host._life is None)
        with pytest.raises(GroupFailed, match="could not be installed"):
            await away.host.read_index()
        away.disk.faults.failing.clear()
        await until(lambda: away.machine.restored >= 1)
        assert list(dict.fromkeys(await cluster.agreed())) == [b"%d" % n for n in range(250)]
    finally:
        await cluster.stop()


async def propose_many(cluster, first, end):
    for n in range(first, end):
        await cluster.propose(b"%d" % n)


async def test_without_a_majority_nothing_is_acknowledged_or_read(tmp_path):
    async with cluster_in(tmp_path) as cluster:
        leader = await cluster.led()
        await cluster.propose(b"one")
        for node in cluster.running:
            if node is not leader:
                await node.stop()
        proposed = asyncio.ensure_future(leader.host.propose(b"two"))
        with pytest.raises(LeadershipLost):
            await proposed
        with pytest.raises(NotLeader):
            await leader.host.read_index()
        assert leader.machine.seen == [b"one"]
        assert not leader.host.leadership.is_here


async def test_too_many_reads_are_refused(tmp_path):
    options = Options(election_s=0.5, heartbeat_s=0.1, reads_max=1)
    async with cluster_in(tmp_path, options=options) as cluster:
        leader = await cluster.led()
        await cluster.propose(b"one")
        for node in cluster.running:
            if node is not leader:
                await node.stop()
        waiting = asyncio.ensure_future(leader.host.read_index())
        await asyncio.sleep(0.01)
        with pytest.raises(ReadsOver):
            await leader.host.read_index()
        waiting.cancel()


async def test_leadership_is_handed_over_and_watched(tmp_path):
    async with cluster_in(tmp_path) as cluster:
        leader = await cluster.led()
        await cluster.propose(b"one")
        other = next(n for n in cluster.running if n is not leader)
        seen = []
        other.host.watch(seen.append)
        await leader.host.transfer(other.number)
        await until(lambda: seen and seen[-1].is_here)
        assert cluster.leader() is other
        with pytest.raises(NotLeader):
            await leader.host.transfer(other.number)
        with pytest.raises(ChangeRefused):
            await other.host.transfer(99)


async def test_a_transfer_to_who_is_not_there_is_given_up(tmp_path):
    async with cluster_in(tmp_path) as cluster:
        leader = await cluster.led()
        await cluster.propose(b"one")
        other = next(n for n in cluster.running if n is not leader)
        await other.stop()
        with pytest.raises(Unavailable, match="did not take over"):
            await leader.host.transfer(other.number)
        await cluster.propose(b"two")


async def test_members_come_go_and_change_at_once(tmp_path):
    cluster = Cluster(tmp_path, (1, 2, 3, 4), voters=(1, 2, 3))
    try:
        for number in (1, 2, 3):
            await cluster.nodes[number].start()
        leader = await cluster.led()
        await cluster.propose(b"one")
        await cluster.nodes[4].start()
        await change(cluster, Change((1, 2, 3), learners=(4,), context=b"node 4 is at"))
        await until(lambda: cluster.nodes[4].machine.seen == [b"one"])
        assert cluster.nodes[4].host.status().kind == "learner"
        await until(lambda: cluster.nodes[4].machine.members is not None)
        assert cluster.nodes[4].machine.members[1] == b"node 4 is at"
        others = [n.number for n in cluster.running if n is not leader and n.number != 4]
        wanted = tuple(sorted((leader.number, 4, others[0])))
        await change(cluster, Change(wanted))
        assert leader.machine.members[0] == Members(wanted)
        await cluster.nodes[others[1]].stop()
        await cluster.propose(b"two")
        assert list(dict.fromkeys(await cluster.agreed())) == [b"one", b"two"]
    finally:
        await cluster.stop()


async def change(cluster, wanted):
    async with asyncio.timeout(20):
        while True:
            try:
                return await cluster.leader().host.change(wanted)
            except ChangeRefused as refused:
                if "are what the group has now" in str(refused):
                    return None
            except (Unavailable, AttributeError):
                pass
            await asyncio.sleep(0.02)


@pytest.mark.box("raft.full-disk")
async def test_one_full_disk_does_not_stop_the_group(tmp_path):
    cluster = Cluster(tmp_path)
    for node in cluster.nodes.values():
        node.disk = SimDisk(random.Random(node.number))
    try:
        await cluster.start()
        leader = await cluster.led()
        await cluster.propose(b"one")
        leader.disk.room_bytes = 20
        for n in range(10):
            await cluster.propose(b"%d" % n)
        assert cluster.leader() is not leader
        refused = await asyncio.gather(leader.host.propose(b"x"), return_exceptions=True)
        assert isinstance(refused[0], DiskFull | NotLeader)
        with pytest.raises(NotLeader):  # it can't note the new term, so it says nothing in it
            await leader.host.read_index()
        leader.disk.room_bytes = None
        await cluster.propose(b"last")
        seen = await cluster.agreed()
        assert list(dict.fromkeys(seen)) == [b"one", *(b"%d" % n for n in range(10)), b"last"]
    finally:
        await cluster.stop()


async def test_a_leader_whose_sync_fails_is_followed_by_another_and_takes_part_again(tmp_path):
    cluster = Cluster(tmp_path)
    for node in cluster.nodes.values():
        node.disk = SimDisk(random.Random(node.number))
    try:
        await cluster.start()
        leader = await cluster.led()
        await cluster.propose(b"one")
        fail_syncs(leader.disk)
        await cluster.propose(b"two")
        await until(lambda: cluster.leader() not in (None, leader))
        await cluster.propose(b"three")
        leader.disk.faults.failing.clear()
        await until(lambda: leader.host._life is not None)
        await cluster.propose(b"four")
        seen = await cluster.agreed()
        assert list(dict.fromkeys(seen)) == [b"one", b"two", b"three", b"four"]
    finally:
        await cluster.stop()


@pytest.mark.parametrize("seed", range(3))
async def test_through_restarts_and_power_cuts_nothing_acknowledged_is_lost(tmp_path, seed):
    chance = random.Random(seed)
    cluster = Cluster(tmp_path)
    for node in cluster.nodes.values():
        node.disk = SimDisk(random.Random(seed * 10 + node.number))
    options = {"keeping": Keeping(snapshot_entries=40)}
    try:
        await cluster.start(**options)
        acknowledged = []
        for turn in range(8):
            for n in range(25):
                payload = b"%d.%d" % (turn, n)
                await cluster.propose(payload)
                acknowledged.append(payload)
            node = cluster.nodes[chance.randint(1, 3)]
            if chance.random() < 0.5:
                node.disk.die()  # all that it does from here on has no effect
                crashed = node.disk.crashed()
                await node.abandon()
                node.disk = crashed
            else:
                await node.stop()
            for n in range(chance.randrange(10)):
                payload = b"%d without %d" % (turn, n)
                await cluster.propose(payload)
                acknowledged.append(payload)
            await node.start(**options)
        assert list(dict.fromkeys(await cluster.agreed())) == acknowledged
    finally:
        await cluster.stop()


async def test_a_group_of_three_leaves_no_task_behind(tmp_path):
    async with cluster_in(tmp_path) as cluster:
        await cluster.led()
        await cluster.propose(b"x")
    assert not [task for task in asyncio.all_tasks() if "bastide/parts" in repr(task)]


def test_the_options_of_these_tests_are_sound():
    assert QUICK.election_s < Options().election_s
