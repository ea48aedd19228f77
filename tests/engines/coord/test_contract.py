"""What every backend keeps: the promises of `engines/coord/contract.py`."""

import asyncio
from contextlib import suppress
from uuid import uuid4

import pytest

from bastide.engines.coord.contract import (
    KEY_BYTES_MAX,
    TTL_S_MAX,
    AskInvalid,
    AskTooLarge,
    Compare,
    Delete,
    HoldLost,
    LeaseExists,
    LeaseMissing,
    LockHeld,
    Put,
    Range,
    RevisionAhead,
    RevisionCompacted,
    Txn,
    Watch,
)
from tests.engines.coord.node_kit import eventually

WITHIN_S = 20


@pytest.fixture
def name():
    """Nobody else's, of whatever."""
    return f"n{uuid4().hex}"


@pytest.fixture
def key(name):
    return name.encode()


@pytest.fixture
async def leases(coord):
    """`await leases()`: one more, for as long as the test lasts."""
    made = []

    async def grant(ttl_s=60):
        made.append((await coord.grant(ttl_s)).id)
        return made[-1]

    yield grant
    for lease in made:
        with suppress(LeaseMissing):
            await coord.revoke(lease)


async def soon(awaitable):
    async with asyncio.timeout(WITHIN_S):
        return await awaitable


# --- keys -----------------------------------------------------------------------------------------


async def test_what_was_put_is_got_with_its_revisions(coord, key):
    assert await coord.get(key) is None
    first = await coord.put(key, b"1")
    second = await coord.put(key, b"2")
    item = await coord.get(key)
    assert (item.key, item.value, item.version) == (key, b"2", 2)
    assert first == item.created < item.changed == second
    old = await coord.range(Range(key, revision=first))
    assert old.items[0].value == b"1"
    assert await coord.delete(key)
    assert not await coord.delete(key)
    assert await coord.get(key) is None


async def test_a_range_is_of_the_clients_own_keys(coord, key):
    for letter in (b"a", b"b", b"c"):
        await coord.put(key + letter, letter)
    found = await coord.range(Range(key, key + b"z", limit=2))
    assert [item.key for item in found.items] == [key + b"a", key + b"b"]
    assert (found.count, found.more) == (3, True)
    everything = await coord.range(Range(b"\0", b"\0"))
    assert key + b"a" in [item.key for item in everything.items]
    assert not [item.key for item in everything.items if item.key.startswith(b"/bastide")]


async def test_a_transaction_takes_one_branch_at_one_revision(coord, key):
    txn = Txn(
        [Compare("created", "equal", 0, key)],
        then=[Put(key, b"1"), Put(key + b"2", b"2")],
        otherwise=[Range(key), Delete(key + b"2")],
    )
    made = await coord.txn(txn)
    assert made.succeeded
    assert (await coord.get(key)).created == (await coord.get(key + b"2")).created == made.revision
    other = await coord.txn(txn)
    assert not other.succeeded
    assert other.results[0].items[0].value == b"1"
    assert other.results[1].count == 1
    assert await coord.get(key + b"2") is None


async def test_of_many_that_compare_and_put_at_once_each_counts_once(coord, key):
    async def add():
        while True:
            item = await coord.get(key)
            is_same = Compare("changed", "equal", item.changed if item else 0, key)
            value = int(item.value) + 1 if item else 1
            if (await coord.txn(Txn([is_same], [Put(key, b"%d" % value)]))).succeeded:
                return

    await soon(asyncio.gather(*(add() for _ in range(20))))
    assert (await coord.get(key)).value == b"20"


async def test_what_means_nothing_is_refused_and_changes_nothing(coord, key):
    for wrong in (
        coord.put(b"", b"x"),
        coord.get(b""),
        coord.txn(Txn((), [Put(key, b"1"), Put(key, b"2")])),
        coord.grant(0),
    ):
        with pytest.raises(AskInvalid):
            await wrong
    for missing in (coord.put(key, b"x", lease=7), coord.keep_alive(7), coord.revoke(7)):
        with pytest.raises(LeaseMissing):
            await missing
    with pytest.raises(AskTooLarge):
        await coord.put(b"k" * (KEY_BYTES_MAX + 1), b"x")
    with pytest.raises(RevisionAhead):
        await coord.range(Range(key, revision=1 << 40))
    with pytest.raises(AskInvalid):
        await coord.grant(TTL_S_MAX + 1)
    assert await coord.get(key) is None


async def test_history_is_there_until_it_is_compacted(coord, key):
    first = await coord.put(key, b"1")
    second = await coord.put(key, b"2")
    await coord.compact(second)
    with pytest.raises(RevisionCompacted) as refused:
        await coord.range(Range(key, revision=first))
    assert refused.value.oldest >= first
    with pytest.raises(RevisionCompacted):
        await coord.compact(first)
    with pytest.raises(RevisionCompacted):
        async with coord.watch(Watch(key, from_revision=first)) as events:
            await soon(anext(events))
    assert (await coord.get(key)).value == b"2"


# --- watches --------------------------------------------------------------------------------------


async def test_a_watch_tells_every_change_once_in_order_from_where_it_begins(coord, key):
    first = await coord.put(key, b"1")
    told = []
    async with coord.watch(Watch(key, from_revision=first, previous=True)) as events:
        await coord.put(key, b"2")
        await coord.put(key + b"x", b"not this one")
        await coord.delete(key)
        while len(told) < 3:
            told += (await soon(anext(events))).events
    assert [event.item.value for event in told] == [b"1", b"2", b""]
    assert [event.is_delete for event in told] == [False, False, True]
    assert [event.previous.value for event in told[1:]] == [b"1", b"2"]
    assert {event.item.key for event in told} == {key}
    revisions = [event.item.changed for event in told]
    assert revisions == sorted(set(revisions))


async def test_a_revisions_changes_are_told_together(coord, key):
    async with coord.watch(Watch(key, key + b"z")) as events:
        await coord.txn(Txn((), [Put(key + b"a"), Put(key + b"b"), Put(key + b"c")]))
        told = await soon(anext(events))
    assert [event.item.key[-1:] for event in told.events] == [b"a", b"b", b"c"]
    assert {event.item.changed for event in told.events} == {told.revision}


async def test_a_watch_may_want_puts_or_deletes_alone(coord, key):
    async with (
        coord.watch(Watch(key, deletes=False)) as puts,
        coord.watch(Watch(key, puts=False)) as deletes,
    ):
        await coord.put(key, b"1")
        await coord.delete(key)
        await coord.put(key, b"2")
        assert (await soon(anext(deletes))).events[0].is_delete
        told = []
        while len(told) < 2:
            told += (await soon(anext(puts))).events
        assert [event.item.value for event in told] == [b"1", b"2"]


# --- leases ---------------------------------------------------------------------------------------


async def test_a_lease_goes_with_its_keys(coord, key, leases):
    lease = await leases()
    await coord.put(key, b"1", lease=lease)
    told = await coord.lease(lease)
    assert (told.keys, told.ttl_s) == ([key], 60)
    assert 0 < told.left_s <= 60
    assert (await coord.keep_alive(lease)).ttl_s == 60
    with pytest.raises(LeaseExists):
        await coord.grant(60, id_=lease)
    await coord.revoke(lease)
    assert await coord.get(key) is None
    with pytest.raises(LeaseMissing):
        await coord.lease(lease)


async def test_a_lease_that_is_not_kept_alive_ends(coord, key, leases):
    lease = await leases(ttl_s=1)
    async with coord.watch(Watch(key, puts=False)) as events:
        await coord.put(key, b"1", lease=lease)
        assert (await soon(anext(events))).events[0].is_delete
    with pytest.raises(LeaseMissing):
        await coord.keep_alive(lease)


async def test_a_session_lives_as_long_as_its_block(coord, key):
    async with coord.session(ttl_s=2) as session:
        await coord.put(key, b"1", lease=session.lease)
        await asyncio.sleep(2.5)  # longer than its lease, which is kept alive
        assert (await coord.get(key)).value == b"1"
    assert await coord.get(key) is None


async def test_who_loses_his_session_is_stopped(coord):
    async def work():
        async with coord.session(ttl_s=2) as session:
            await coord.revoke(session.lease)
            await asyncio.sleep(WITHIN_S)  # as work that takes long

    with pytest.raises(HoldLost):
        await work()


# --- locks ----------------------------------------------------------------------------------------


@pytest.mark.box("coord.acquire")
@pytest.mark.box("coord.token")
async def test_a_lock_is_held_by_one_and_its_token_rises(coord, name, leases):
    a, b = await leases(), await leases()
    first = await coord.acquire(name, lease=a)
    await coord.check(first)
    with pytest.raises(LockHeld):
        await coord.acquire(name, lease=b, wait_s=0)
    with pytest.raises(LockHeld):
        await coord.acquire(name, lease=b, wait_s=0.05)
    with pytest.raises(LockHeld):
        await coord.acquire(name, lease=a, wait_s=0)
    await coord.release(first)
    await coord.release(first)
    second = await coord.acquire(name, lease=b, wait_s=0)
    assert second.token > first.token
    with pytest.raises(HoldLost):
        await coord.check(first)


@pytest.mark.box("coord.again")
async def test_who_holds_it_may_hold_it_again(coord, name, leases):
    a, b = await leases(), await leases()
    hold = await coord.acquire(name, lease=a, again=True)
    assert await coord.acquire(name, lease=a, again=True) == hold
    await coord.release(hold)
    with pytest.raises(LockHeld):
        await coord.acquire(name, lease=b, wait_s=0)
    await coord.release(hold)
    await coord.release(await coord.acquire(name, lease=b, wait_s=0))


@pytest.mark.box("coord.fair")
async def test_who_came_first_gets_it_first(opened, coord, name, leases):
    order = []
    holders = [await leases() for _ in range(6)]
    hold = await coord.acquire(name, lease=holders[0])

    async def wait(lease):
        held = await coord.acquire(name, lease=lease)
        order.append(lease)
        await coord.release(held)

    waiting = []
    for count, lease in enumerate(holders[1:], 2):
        waiting.append(asyncio.create_task(wait(lease)))
        await standing(opened, name, count)
    await coord.release(hold)
    await soon(asyncio.gather(*waiting))
    assert order == holders[1:]


async def standing(opened, name, count):
    """Until so many stand in the queue of this lock."""
    queue = f"/bastide/owner/locks/{name}/".encode()

    async def stand():
        return (await opened.keys.range(Range(queue, queue[:-1] + b"0"))).count == count

    await eventually(stand)


@pytest.mark.box("coord.ttl")
async def test_a_lock_is_free_when_its_holders_lease_ends(coord, name, leases):
    await coord.acquire(name, lease=await leases(ttl_s=1))
    held = await soon(coord.acquire(name, lease=await leases()))
    await coord.release(held)


async def test_who_is_cancelled_while_waiting_leaves_no_place_behind(opened, coord, name, leases):
    hold = await coord.acquire(name, lease=await leases())
    lease = await leases()
    waiting = asyncio.create_task(coord.acquire(name, lease=lease))
    await standing(opened, name, 2)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await standing(opened, name, 1)
    await coord.release(hold)
    await coord.release(await coord.acquire(name, lease=await leases(), wait_s=WITHIN_S))


async def test_what_is_no_name_or_no_lease_is_refused(coord, name):
    with pytest.raises(LeaseMissing):
        await coord.acquire(name, lease=7)
    with pytest.raises(AskInvalid):
        await coord.acquire("", lease=7)


# --- elections ------------------------------------------------------------------------------------


@pytest.mark.box("coord.election")
async def test_one_leads_and_the_next_one_follows(coord, name, leases):
    assert await coord.leader(name) is None
    first = await coord.campaign(name, b"one", lease=await leases())
    with pytest.raises(LockHeld):
        await coord.campaign(name, b"two", lease=await leases(), wait_s=0)
    assert (await coord.leader(name)).value == b"one"
    changed = await coord.proclaim(first, b"uno")
    assert (await coord.leader(name)).value == b"uno"
    assert changed.token == first.token
    waiting = asyncio.create_task(coord.campaign(name, b"two", lease=await leases()))
    async with coord.observe(name) as leaders:
        assert (await soon(anext(leaders))).value == b"uno"
        await coord.resign(first)
        second = await soon(waiting)
        seen = await soon(anext(leaders))
        assert (seen.value, seen.token) == (b"two", second.token)
    assert second.token > first.token
    with pytest.raises(HoldLost):
        await coord.proclaim(first, b"late")
    with pytest.raises(HoldLost):
        await coord.check(first)
    await coord.resign(first)
    await coord.resign(second)
    assert await coord.leader(name) is None


# --- services -------------------------------------------------------------------------------------


@pytest.mark.box("coord.registry")
async def test_who_offers_a_service_is_found_while_he_lives(coord, name, leases):
    lease = await leases()
    one = await coord.register(name, "one", b"10.0.0.1:80", lease=lease)
    await coord.register(name, "two", b"10.0.0.2:80", lease=await leases())
    assert [i.name for i in await coord.instances(name)] == ["one", "two"]
    assert [i.value for i in await coord.instances(name)] == [b"10.0.0.1:80", b"10.0.0.2:80"]
    again = await coord.register(name, "one", b"10.0.0.3:80", lease=lease)
    await coord.unregister(one)  # which was replaced
    assert (await coord.instances(name))[0].value == b"10.0.0.3:80"
    await coord.unregister(again)
    assert [i.name for i in await coord.instances(name)] == ["two"]


# --- the group ------------------------------------------------------------------------------------


async def test_the_group_tells_how_it_stands(coord, key):
    revision = await coord.put(key, b"1")
    standing = await coord.standing()
    assert standing.leader
    assert standing.cluster
    assert standing.member in [member.id for member in standing.members]
    assert standing.revision >= revision
    await coord.health()


async def test_what_was_acknowledged_is_there_after_a_restart(places, key):
    async with places.open() as opened:
        revision = await opened.coord.put(key, b"1")
        lease = await opened.coord.grant(60)
        await opened.coord.put(key + b"x", b"2", lease=lease.id)
        hold = await opened.coord.acquire(key.decode(), lease=lease.id)
    if places.kind == "memory":
        return
    async with places.open() as opened:
        coord = opened.coord
        assert (await coord.get(key)).changed == revision
        assert key + b"x" in (await coord.lease(lease.id)).keys
        await coord.check(hold)
        await coord.revoke(lease.id)
