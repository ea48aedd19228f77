"""Nodes that agree: what one of them is asked is asked of all."""

import asyncio

import pytest

from bastide.base.errors import Conflict, Invalid, NotFound
from bastide.engines.coord.contract import (
    AskTooLarge,
    Compare,
    CoordAway,
    Delete,
    LeaderMissing,
    LeaseMissing,
    Put,
    Range,
    Txn,
    Watch,
)
from bastide.engines.coord.model import Settings
from bastide.engines.coord.service.node import open_node
from tests.engines.coord.node_kit import SETTINGS, eventually, opened_group


@pytest.fixture
async def group(tmp_path):
    async with opened_group(tmp_path) as group:
        yield group


async def value(node, key, **options):
    found = await node.range(Range(key, **options))
    return found.items[0].value if found.items else None


# --- a group of one -------------------------------------------------------------------------------


async def test_a_group_of_one_serves_at_once_and_remembers(tmp_path):
    async with open_node(tmp_path, Settings()) as node:
        assert (await node.put(Put(b"a", b"1"))).revision == 2
        lease = await node.grant(60, 0)
        await node.put(Put(b"b", b"2", lease=lease.id))
        cluster = await eventually(lambda: _cluster(node))
    async with open_node(tmp_path, Settings()) as node:
        assert await value(node, b"a") == b"1"
        assert (await node.lease(lease.id)).keys == [b"b"]
        assert (await node.standing()).revision == 3
        assert await _cluster(node) == cluster


async def _cluster(node):
    return (await node.standing()).cluster


async def test_a_snapshot_stands_in_for_the_log(tmp_path):
    settings = Settings(snapshot_entries=100)
    async with open_node(tmp_path, settings) as node:
        for n in range(250):
            await node.put(Put(b"k%d" % (n % 7), b"%d" % n))
        await eventually(lambda: _has_snapshot(tmp_path))
    async with open_node(tmp_path, settings) as node:
        assert await value(node, b"k%d" % (249 % 7)) == b"249"
        assert (await node.standing()).revision == 251
        assert (await node.range(Range(b"k0", revision=2))).items[0].value == b"0"


async def _has_snapshot(directory):
    return [path for path in directory.rglob("*") if "snapshot" in path.name]


async def test_a_lease_ends_and_takes_its_keys_along(tmp_path):
    async with open_node(tmp_path, SETTINGS) as node:
        lease = await node.grant(1, 0)
        await node.put(Put(b"a", b"1", lease=lease.id))
        async with node.watch(Watch(b"a", from_revision=3)) as events:
            told = await asyncio.wait_for(anext(events), 10)
        assert told.events[0].is_delete
        with pytest.raises(LeaseMissing):
            await node.keep_alive(lease.id)
        assert await node.leases() == []


# --- three ----------------------------------------------------------------------------------------


async def test_whichever_node_is_asked_all_have_it(group):
    for number, node in group.nodes.items():
        await node.put(Put(b"%d" % number, b"x"))
        for other in group.nodes.values():
            assert await value(other, b"%d" % number) == b"x"
    hashes = {(await node.hash()).hash for node in group.nodes.values()}
    assert len(hashes) == 1


async def test_transactions_asked_of_different_nodes_are_one_after_the_other(group):
    """Each adds one to what it has read, and begins anew when somebody was faster."""

    async def add(node):
        while True:
            found = await node.range(Range(b"n"))
            old = found.items[0].value if found.items else b"0"
            is_same = Compare(
                "changed", "equal", found.items[0].changed if found.items else 0, b"n"
            )
            done = await node.txn(Txn([is_same], [Put(b"n", b"%d" % (int(old) + 1))]))
            if done.succeeded:
                return

    nodes = list(group.nodes.values())
    await asyncio.gather(*(add(nodes[n % 3]) for n in range(30)))
    assert await value(nodes[0], b"n") == b"30"


async def test_what_is_refused_is_refused_in_the_same_words_by_all(group):
    for node in group.nodes.values():
        with pytest.raises(LeaseMissing):
            await node.put(Put(b"a", b"1", lease=77))
        with pytest.raises(LeaseMissing):
            await node.keep_alive(77)
        with pytest.raises(AskTooLarge):
            await node.put(Put(b"a", b"x" * (1 << 20) + b"x"))


async def test_leases_are_kept_alive_and_told_by_whichever_node(group):
    a, b, c = group.nodes.values()
    lease = await a.grant(100, 0)
    await b.put(Put(b"k", b"v", lease=lease.id))
    assert (await c.keep_alive(lease.id)).ttl_s == 100
    told = await a.lease(lease.id)
    assert told.keys == [b"k"]
    assert 90 < told.left_s <= 100
    await c.revoke(lease.id)
    assert await value(a, b"k") is None


@pytest.mark.box("coord.group")
async def test_a_new_leader_takes_over_and_nothing_acknowledged_is_lost(group):
    written = {}
    for round_ in range(3):
        node = group.nodes[await group.follower()]
        for n in range(20):
            key = b"%d.%d" % (round_, n)
            await node.put(Put(key, b"x"))
            written[key] = b"x"
        gone = await group.leader()
        await group.stop(gone)
        assert await group.leader() != gone
        for node in group.nodes.values():
            found = await node.range(Range(b"\0", b"\0"))
            assert {item.key: item.value for item in found.items} == written
        await group.start(gone)
        await eventually(lambda gone=gone: value(group.nodes[gone], b"0.0"))


async def test_a_lease_gets_its_full_time_again_from_a_new_leader(group):
    lease = await group.nodes[1].grant(30, 0)
    gone = await group.leader()
    await group.stop(gone)
    node = group.nodes[await group.leader()]
    assert (await node.lease(lease.id)).left_s > 29


@pytest.mark.box("coord.majority")
async def test_without_a_majority_nothing_is_written_or_read_but_what_is_old(group):
    leader = await group.leader()
    await group.nodes[leader].put(Put(b"a", b"1"))
    for number in [n for n in group.nodes if n != leader]:
        await group.stop(number)
    node = group.nodes[leader]
    with pytest.raises(CoordAway):
        await node.put(Put(b"a", b"2"))
    with pytest.raises(LeaderMissing):
        await node.range(Range(b"a"))
    assert await value(node, b"a", serializable=True) == b"1"
    await group.start(next(n for n in (1, 2, 3) if n != leader))
    assert await eventually(lambda: value(node, b"a")) in (b"1", b"2")


@pytest.mark.box("coord.snapshot")
async def test_who_was_away_for_long_gets_a_snapshot(group):
    gone = await group.follower()
    await group.stop(gone)
    node = group.nodes[await group.leader()]
    for n in range(300):
        await node.put(Put(b"%d" % (n % 10), b"%d" % n))
    await group.start(gone)
    assert await eventually(lambda: value(group.nodes[gone], b"9")) == b"299"
    assert (await group.nodes[gone].hash()).hash == (await node.hash()).hash


async def test_a_watch_of_any_node_tells_each_revision_once_in_order(group):
    async def watch(node):
        told = []
        async with node.watch(Watch(b"k", b"l", from_revision=1)) as events:
            while len(told) < 60:
                told += [e.item.changed for e in (await anext(events)).events]
        return told

    watching = [asyncio.create_task(watch(node)) for node in group.nodes.values()]
    nodes = list(group.nodes.values())
    await asyncio.gather(*(nodes[n % 3].put(Put(b"k%d" % (n % 4), b"x")) for n in range(60)))
    for told in await asyncio.wait_for(asyncio.gather(*watching), 20):
        assert told == list(range(2, 62))


async def test_leadership_is_handed_over(group):
    leader, other = await group.leader(), await group.follower()
    await group.nodes[leader].transfer(other)
    assert await group.leader() == other
    await group.nodes[leader].put(Put(b"a", b"1"))


@pytest.mark.box("coord.members")
async def test_a_member_is_added_promoted_and_removed(group):
    node = group.nodes[await group.follower()]
    await node.put(Put(b"a", b"1"))
    number = await node.add_member("late", str(group.address(4)), is_learner=True)
    assert number == 4
    with pytest.raises(Conflict):
        await node.add_member("again", str(group.address(4)), is_learner=True)
    await group.start(4)
    assert await eventually(lambda: value(group.nodes[4], b"a", serializable=True)) == b"1"
    await eventually(lambda: _promoted(node, 4))
    with pytest.raises(Invalid):
        await node.promote_member(4)
    await group.nodes[4].put(Put(b"b", b"2"))
    assert {m.id: m.is_learner for m in (await node.standing()).members} == dict.fromkeys(
        (1, 2, 3, 4), False
    )
    assert await group.leader() != 4
    await node.remove_member(4)
    await group.stop(4)
    assert [m.id for m in (await node.standing()).members] == [1, 2, 3]
    with pytest.raises(NotFound):
        await node.remove_member(4)
    with pytest.raises(NotFound):
        await node.promote_member(4)
    await node.put(Put(b"c", b"3"))


async def _promoted(node, number):
    try:
        await node.promote_member(number)
    except Conflict:  # it has not caught up
        return False
    return True


async def test_a_delete_and_a_compaction_are_agreed_on_too(group):
    a, b, c = group.nodes.values()
    await a.put(Put(b"a", b"1"))
    assert (await b.delete(Delete(b"a"))).count == 1
    await c.compact(2)
    for node in group.nodes.values():
        assert await value(node, b"a") is None
        await eventually(lambda node=node: _compacted(node))


async def _compacted(node):
    return (await node.hash()).compacted == 2
