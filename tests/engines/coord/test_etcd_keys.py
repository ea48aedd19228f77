"""`Keys`: our store in memory; the same, and a group of one, by etcd's protocol; a real etcd."""

import asyncio
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from bastide.base.rt.net import bind
from bastide.base.settings import parse_url
from bastide.engines.coord.backends.etcd.backend import open_etcd
from bastide.engines.coord.contract import (
    AskInvalid,
    AskTooLarge,
    Compare,
    Delete,
    KeyMissing,
    LeaseExists,
    LeaseMissing,
    Put,
    Range,
    RevisionAhead,
    RevisionCompacted,
    Txn,
    Watch,
)
from bastide.engines.coord.model import Settings
from bastide.engines.coord.service.local import opened_local
from bastide.engines.coord.service.node import open_node
from bastide.engines.coord.service.serving import Serving
from bastide.engines.coord.wire.server import open_etcd as open_wire_door
from tests.engines.coord.wire_kit import HOST, WITHIN_S, door, etcd_address, keys_at

REAL = pytest.param("etcd", marks=pytest.mark.engine("etcd"))


@asynccontextmanager
async def opened(where, directory):
    if where == "local":
        async with opened_local() as local:
            yield local
    elif where == "group":
        async with (
            open_node(directory, Settings()) as node,
            door(local=node) as ours,
            keys_at(ours.address) as keys,
        ):
            yield keys
    elif where == "wire":
        async with door() as ours, keys_at(ours.address) as keys:
            yield keys
    else:
        async with keys_at(etcd_address()) as keys:
            yield keys


@pytest.fixture(params=["local", "wire", "group", REAL])
async def keys(request, tmp_path):
    async with opened(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def name():
    """Of keys that no other test has."""
    return b"k-" + uuid4().hex.encode() + b"/"


def all_of(name):
    return {"first": name, "end": name[:-1] + b"0"}


async def told_by(changes, count=1):
    """Their first events, as (key, value, is_delete)."""
    found = []
    async with asyncio.timeout(WITHIN_S):
        while len(found) < count:
            told = await anext(changes)
            found += [(e.item.key, e.item.value, e.is_delete) for e in told.events]
    return found


async def test_what_was_put_is_found_with_its_revisions(keys, name):
    first = await keys.put(Put(name + b"a", b"1"))
    second = await keys.put(Put(name + b"a", b"2", previous=True))
    assert second.revision == first.revision + 1
    assert (second.previous.value, second.previous.version) == (b"1", 1)
    found = await keys.range(Range(name + b"a"))
    (item,) = found.items
    assert (item.value, item.version, item.created, item.changed, found.count, found.more) == (
        *(b"2", 2, first.revision, second.revision, 1, False),
    )
    (old,) = (await keys.range(Range(name + b"a", revision=first.revision))).items
    assert old.value == b"1"


async def test_ranges_are_sorted_limited_bounded_and_counted(keys, name):
    done = [await keys.put(Put(name + b"%d" % n, b"%d" % (9 - n))) for n in range(4)]

    async def found(**how):
        told = await keys.range(Range(**all_of(name), **how))
        return [item.key[-1:] for item in told.items], told.count, told.more

    assert await found() == ([b"0", b"1", b"2", b"3"], 4, False)
    assert await found(limit=2) == ([b"0", b"1"], 4, True)
    assert await found(descending=True, limit=1) == ([b"3"], 4, True)
    assert await found(sort_by="value") == ([b"3", b"2", b"1", b"0"], 4, False)
    assert await found(count_only=True) == ([], 4, False)
    assert (await found(changed_min=done[2].revision))[0] == [b"2", b"3"]
    assert (await found(created_max=done[1].revision))[0] == [b"0", b"1"]
    only = await keys.range(Range(**all_of(name), keys_only=True, serializable=True))
    assert [item.value for item in only.items] == [b""] * 4


async def test_what_was_deleted_is_told_and_gone(keys, name):
    for letter in (b"a", b"b", b"c"):
        await keys.put(Put(name + letter, letter))
    done = await keys.delete(Delete(name + b"a", name + b"c", previous=True))
    assert (done.count, [item.value for item in done.previous]) == (2, [b"a", b"b"])
    again = await keys.delete(Delete(name + b"a"))
    assert (again.count, again.revision) == (0, done.revision)
    assert [i.key for i in (await keys.range(Range(**all_of(name)))).items] == [name + b"c"]


async def test_a_transaction_takes_one_branch_as_one_change(keys, name):
    key = name + b"a"
    txn = Txn(
        [Compare("version", "equal", 0, key)],
        [Put(key, b"made"), Put(name + b"b"), Range(key)],
        [Range(key), Delete(key), Txn([Compare("value", "equal", b"x", key)], [], [Range(key)])],
    )
    made = await keys.txn(txn)
    assert made.succeeded
    assert made.results[2].items[0].value == b"made"
    other = await keys.txn(txn)
    assert not other.succeeded
    assert other.revision == made.revision + 1
    read, deleted, inner = other.results
    assert (read.items[0].changed, deleted.count) == (made.revision, 1)
    assert (inner.succeeded, inner.results[0].items) == (False, [])


@pytest.mark.parametrize(
    ("by", "relation", "operand", "holds"),
    [
        ("version", "equal", 2, True),
        ("version", "greater", 2, False),
        ("version", "unequal", 1, True),
        ("value", "less", b"c", True),
        ("value", "equal", b"c", False),
        ("created", "greater", 0, True),
        ("changed", "less", 1, False),
        ("lease", "equal", 0, True),
    ],
)
async def test_a_comparison_holds_or_not(keys, name, by, relation, operand, holds):
    await keys.put(Put(name, b"a"))
    await keys.put(Put(name, b"b"))
    done = await keys.txn(Txn([Compare(by, relation, operand, name)]))
    assert done.succeeded == holds


async def test_what_means_nothing_is_refused(keys, name):
    with pytest.raises(AskInvalid):
        await keys.put(Put(b""))
    with pytest.raises(AskInvalid):
        await keys.txn(Txn((), [Put(name), Put(name)]))
    with pytest.raises(KeyMissing):
        await keys.put(Put(name, keep_value=True))
    with pytest.raises(LeaseMissing):
        await keys.put(Put(name, lease=77))
    with pytest.raises(RevisionAhead):
        await keys.range(Range(name, revision=1 << 40))
    with pytest.raises(AskTooLarge):
        await keys.txn(Txn((), [Put(name + b"%d" % n) for n in range(129)]))


async def test_what_was_compacted_is_not_read(keys, name):
    first = (await keys.put(Put(name, b"1"))).revision
    second = (await keys.put(Put(name, b"2"))).revision
    await keys.compact(second)
    with pytest.raises(RevisionCompacted) as told:
        await keys.range(Range(name, revision=first))
    assert told.value.oldest == second
    assert (await keys.range(Range(name, revision=second))).items[0].value == b"2"
    with pytest.raises(RevisionCompacted):
        await keys.compact(first)
    with pytest.raises(RevisionAhead):
        await keys.compact(1 << 40)
    with pytest.raises(RevisionCompacted) as told:
        async with keys.watch(Watch(name, from_revision=first)) as changes:
            await anext(changes)
    assert told.value.oldest == second


async def test_a_watch_tells_what_it_was_asked_for_from_a_revision_on(keys, name):
    first = (await keys.put(Put(name + b"a", b"1"))).revision
    await keys.delete(Delete(name + b"a"))
    await keys.put(Put(name + b"b", b"2"))
    async with keys.watch(Watch(**all_of(name), from_revision=first, previous=True)) as changes:
        told = await told_by(changes, 3)
        assert told == [
            (name + b"a", b"1", False),
            (name + b"a", b"", True),
            (name + b"b", b"2", False),
        ]
        await keys.put(Put(name + b"b", b"3"))
        async with asyncio.timeout(WITHIN_S):
            (event,) = (await anext(changes)).events
        assert (event.item.value, event.previous.value) == (b"3", b"2")
    async with keys.watch(Watch(**all_of(name), from_revision=first, puts=False)) as changes:
        assert await told_by(changes) == [(name + b"a", b"", True)]


async def test_a_watch_from_now_on_begins_before_it_is_entered(keys, name):
    await keys.put(Put(name, b"before"))
    async with keys.watch(Watch(name)) as changes:
        await keys.put(Put(name, b"after"))
        assert await told_by(changes) == [(name, b"after", False)]


async def test_a_lease_has_keys_and_takes_them_with_it(keys, name):
    lease = await keys.grant(60, 0)
    assert lease.ttl_s == 60
    await keys.put(Put(name, b"1", lease=lease.id))
    assert (await keys.keep_alive(lease.id)).ttl_s == 60
    seen = await keys.lease(lease.id)
    assert (list(seen.keys), seen.ttl_s) == ([name], 60)
    assert lease.id in await keys.leases()
    with pytest.raises(LeaseExists):
        await keys.grant(60, lease.id)
    await keys.revoke(lease.id)
    assert not (await keys.range(Range(name))).items
    for ask in (keys.keep_alive, keys.lease, keys.revoke):
        with pytest.raises(LeaseMissing):
            await ask(lease.id)


async def test_keep_alives_of_many_leases_are_told_apart(keys):
    leases = [await keys.grant(60 + n, 0) for n in range(10)]
    kept = await asyncio.gather(*(keys.keep_alive(one.id) for one in leases * 2))
    assert [one.ttl_s for one in kept] == [60 + n for n in range(10)] * 2
    for one in leases:
        await keys.revoke(one.id)


async def test_it_says_how_the_group_stands(keys, name):
    revision = (await keys.put(Put(name))).revision
    standing = await keys.standing()
    assert standing.revision >= revision
    assert standing.leader == standing.member == standing.members[0].id
    assert standing.term >= 1


async def test_a_backend_gives_each_client_its_own_view():
    async with door() as ours, open_etcd(parse_url(f"etcd://{ours.address}"), None) as backend:
        await backend.health()
        async with backend.view("ann") as ann, backend.view("bob") as bob:
            await ann.put(b"a", b"1")
            assert (await ann.get(b"a")).value == b"1"
            assert await bob.get(b"a") is None
            async with ann.session() as session:
                hold = await ann.acquire("room", lease=session.lease)
                await ann.check(hold)
                await ann.release(hold)


async def test_a_towns_door_tells_where_it_is(tmp_path):
    async with open_node(tmp_path, Settings()) as node:
        listener = bind(HOST, 0)
        address = f"{HOST}:{listener.getsockname()[1]}"
        async with open_wire_door(Serving(node), [listener]), keys_at(address) as keys:
            async with asyncio.timeout(WITHIN_S):
                told = ""
                while told != address:
                    told = (await keys.standing()).members[0].client_address
