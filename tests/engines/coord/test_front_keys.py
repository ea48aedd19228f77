"""Keys through the front: a client's own, with all that can be refused."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.msgpack import encode

from bastide.base.errors import Refusal
from bastide.engines.coord.contract import (
    ASK_BYTES_MAX,
    KEY_BYTES_MAX,
    OPS_MAX,
    VALUE_BYTES_MAX,
    AskInvalid,
    AskTooLarge,
    Compare,
    CoordAway,
    Delete,
    KeyMissing,
    LeaseExists,
    LeaseMissing,
    Put,
    Range,
    RevisionAhead,
    RevisionCompacted,
    SpaceOver,
    Txn,
    Watch,
)
from bastide.engines.coord.core.commands import SetSpace
from bastide.engines.coord.service.local import Local, opened_local
from tests.engines.coord.core_kit import ALL, deletes, puts, ranges, run, txns
from tests.engines.coord.front_kit import fronts, settle

OURS = len(b"/bastide/shop/keys/")


@given(plan=st.lists(puts | deletes | txns | ranges, max_size=12))
def test_a_client_has_what_it_would_have_alone(plan):
    """All that is asked and answered is the same as without a front, but for keys of others."""

    async def main():
        alone = Local()
        async with fronts("shop", "bank") as (shop, bank, _keys):
            for ask in plan:
                assert encode(await told(shop, ask)) == encode(await told(Bare(alone), ask))
            assert (await bank.range(Range(b"a", ALL))).count == 0

    run(main())


class Bare:
    """The front's verbs on a store as it is."""

    def __init__(self, keys):
        self._keys = keys
        self.range, self.txn = keys.range, keys.txn

    async def put(self, key, value, *, lease):
        return (await self._keys.put(Put(key, value, lease=lease))).revision


async def told(front, ask):
    try:
        match ask:
            case Put():
                return await front.put(ask.key, ask.value, lease=ask.lease)
            case Delete():
                return await front.txn(Txn([], [ask]))
            case Txn():
                return await front.txn(ask)
            case Range():
                return await front.range(ask)
    except Refusal as error:
        return type(error).__name__


def test_keys_of_other_clients_are_not_seen_and_not_touched():
    async def main():
        async with fronts("shop", "shopping") as (shop, shopping, _keys):
            await shop.put(b"a", b"1")
            await shopping.put(b"a", b"2")
            assert (await shop.get(b"a")).value == b"1"
            assert await shop.delete(b"a")
            assert not await shop.delete(b"a")
            await shop.txn(Txn([], [Delete(ALL, ALL)]))
            assert (await shopping.get(b"a")).value == b"2"
            lease = (await shop.grant(60)).id
            await shop.put(b"mine", b"", lease=lease)
            await shopping.put(b"other", b"", lease=lease)
            await shop.acquire("stock", lease=lease)
            assert list((await shop.lease(lease)).keys) == [b"mine"]

    run(main())


def test_a_watch_tells_the_clients_own_keys_by_their_own_names():
    async def main():
        async with fronts("shop", "bank") as (shop, bank, _keys):
            await shop.put(b"a", b"1")
            async with shop.watch(Watch(ALL, ALL, previous=True)) as changes:
                await bank.put(b"a", b"x")
                await shop.put(b"a", b"2")
                await shop.delete(b"a")
                events = (await anext(changes)).events
                assert [(e.item.key, e.item.value, e.is_delete) for e in events] == [
                    (b"a", b"2", False),
                    (b"a", b"", True),
                ]
                assert [e.previous.value for e in events] == [b"1", b"2"]
            async with shop.watch(Watch(b"a", from_revision=2, deletes=False)) as changes:
                assert len((await anext(changes)).events) == 2
            assert (await shop.standing()).revision == 5

    run(main())


def test_a_watch_waits_and_is_told_its_progress_if_it_wants():
    async def main():
        async with fronts() as (shop, _keys):
            async with shop.watch(Watch(b"a", progress=True)) as changes:
                await shop.put(b"b", b"")
                told = await anext(changes)
                assert (told.events, told.revision) == ([], 2)
            async with shop.watch(Watch(b"a")) as changes:
                waiting = asyncio.create_task(anext(changes))
                await asyncio.sleep(10_000)
                assert not waiting.done()
                await shop.put(b"a", b"")
                assert (await waiting).revision == 3

    run(main())


def test_a_watch_that_is_behind_a_compaction_ends_and_a_closed_store_ends_all():
    async def main():
        async with opened_local() as local, fronts(keys=local) as (shop, _):
            for _ in range(5):
                await shop.put(b"a", b"")
            async with shop.watch(Watch(b"a", from_revision=2)) as changes:
                await shop.compact(5)
                with pytest.raises(RevisionCompacted) as found:
                    await anext(changes)
                assert found.value.oldest == 5
            with pytest.raises(RevisionCompacted):
                async with shop.watch(Watch(b"a", from_revision=4)):
                    raise AssertionError("not reached")
            async with shop.watch(Watch(b"a", from_revision=6)) as changes:
                assert (await anext(changes)).revision == 6
                local.close()
                with pytest.raises(CoordAway):
                    await anext(changes)

    run(main())


def test_each_error_that_keys_may_raise():
    async def main():
        async with fronts() as (shop, keys):
            lease = (await shop.grant(10)).id
            with pytest.raises(LeaseExists):
                await shop.grant(10, id_=lease)
            await shop.revoke(lease)
            for verb in (shop.revoke, shop.keep_alive, shop.lease):
                with pytest.raises(LeaseMissing):
                    await verb(lease)
            with pytest.raises(LeaseMissing):
                await shop.put(b"a", b"", lease=lease)
            await shop.put(b"a", b"")
            with pytest.raises(RevisionAhead):
                await shop.range(Range(b"a", revision=3))
            with pytest.raises(RevisionAhead):
                await shop.compact(3)
            await shop.compact(2)
            with pytest.raises(RevisionCompacted):
                await shop.compact(2)
            with pytest.raises(RevisionCompacted):
                await shop.range(Range(b"a", revision=1))
            with pytest.raises(KeyMissing):
                await shop.txn(Txn([], [Put(b"new", keep_value=True)]))
            keys.apply(SetSpace(0))
            with pytest.raises(SpaceOver):
                await shop.put(b"a", b"")
            await shop.health()

    run(main())


INVALID = [
    Txn([], [Put(b"")]),
    Txn([], [Range(b"")]),
    Txn([], [Delete(b"")]),
    Txn([], [Range(b"a", limit=-1)]),
    Txn([Compare("version", "equal", 0, b"")]),
    Txn([Compare("version", "equal", b"", b"a")]),
    Txn([Compare("value", "equal", 0, b"a")]),
    Txn([], [Put(b"a", b"v", keep_value=True)]),
    Txn([], [Put(b"a", lease=7, keep_lease=True)]),
    Txn([], [Put(b"a"), Put(b"a")]),
    Txn([], [], [Put(b"a"), Delete(b"a")]),
    Txn([], [Delete(ALL, ALL), Put(b"a")]),
    Txn([], [Put(b"a"), Txn([], [Put(b"a")])]),
    Txn([], [Txn([], [Put(b"a")]), Txn([], [], [Delete(b"a", b"b")])]),
    Txn([], [Txn([], [Put(b"a"), Put(b"a")])]),
]


@pytest.mark.parametrize("txn", INVALID)
def test_what_means_nothing_is_refused(txn):
    async def main():
        async with fronts() as (shop, keys):
            with pytest.raises(AskInvalid):
                await shop.txn(txn)
            with pytest.raises(AskInvalid):
                await keys.txn(txn)
            assert keys.machine.store.revision == 1

    run(main())


def test_branches_that_are_not_taken_together_may_change_the_same_key():
    async def main():
        async with fronts() as (shop, _keys):
            inner = Txn([], [Put(b"a")], [Put(b"a")])
            await shop.txn(Txn([], [inner], [Put(b"a")]))
            await shop.txn(Txn([], [Delete(b"a"), Delete(ALL, ALL)]))

    run(main())


@pytest.mark.limit("coord.KEY_BYTES_MAX")
@pytest.mark.limit("coord.VALUE_BYTES_MAX")
def test_keys_and_values_have_so_many_bytes_and_no_more():
    async def main():
        async with fronts() as (shop, _keys):
            key = b"k" * (KEY_BYTES_MAX - OURS)
            await shop.put(key, b"v" * VALUE_BYTES_MAX)
            with pytest.raises(AskTooLarge):
                await shop.put(key + b"k", b"")
            with pytest.raises(AskTooLarge):
                await shop.put(b"k" * (KEY_BYTES_MAX + 1), b"")
            with pytest.raises(AskTooLarge):
                await shop.put(b"k", b"v" * (VALUE_BYTES_MAX + 1))

    run(main())


@pytest.mark.limit("coord.OPS_MAX")
@pytest.mark.limit("coord.ASK_BYTES_MAX")
def test_a_transaction_has_so_many_parts_and_bytes_and_no_more():
    async def main():
        async with fronts() as (shop, _keys):
            ops = [Put(b"%d" % n) for n in range(OPS_MAX)]
            compares = [Compare("version", "equal", 0, op.key) for op in ops]
            await shop.txn(Txn(compares, ops, ops))
            one = Txn([], [], ops)
            await shop.txn(Txn([], [one]))
            for txn in (
                Txn([*compares, compares[0]]),
                Txn([], [*ops, Put(b"more")]),
                Txn([], [], [*ops, Put(b"more")]),
                Txn([], [Txn([], [Range(b"x")], ops)]),
                Txn([], [Txn([], [Txn([], [Range(b"x")])], ops[:-1])]),
            ):
                with pytest.raises(AskTooLarge):
                    await shop.txn(txn)
            half = b"v" * (ASK_BYTES_MAX // 2 - OURS - 1)
            await shop.txn(Txn([], [Put(b"a", half), Put(b"b", half)]))
            with pytest.raises(AskTooLarge):
                await shop.txn(Txn([], [Put(b"a", half), Put(b"b", half + b"more")]))

    run(main())


def test_a_store_of_one_node_answers_for_its_node():
    async def main():
        async with opened_local(space_bytes=1 << 20) as local, fronts(keys=local) as (shop, _):
            await shop.put(b"a", b"1")
            hash_ = await local.hash()
            assert (hash_.revision, hash_.compacted) == (2, 0)
            await shop.put(b"a", b"2")
            assert (await local.hash(2)).hash == hash_.hash
            assert b"".join([piece async for piece in local.snapshot()])
            with pytest.raises(SpaceOver):
                await shop.put(b"a", b"v" * VALUE_BYTES_MAX)
            (alarm,) = await local.alarms()
            assert alarm.kind == "space"
            await local.disarm(alarm)
            assert await local.alarms() == []
            await local.transfer(1)
            with pytest.raises(CoordAway):
                await local.transfer(2)
            for verb in (local.remove_member, local.promote_member):
                with pytest.raises(AskInvalid):
                    await verb(1)
            with pytest.raises(AskInvalid):
                await local.add_member("b", "host:1", is_learner=False)
            lease = (await shop.grant(5)).id
            assert await local.leases() == [lease]
            await asyncio.sleep(6)
            assert await local.leases() == []

    run(main())


def test_what_was_compacted_is_swept_in_pieces():
    async def main():
        async with opened_local() as local, fronts(keys=local) as (shop, _):
            for n in range(3_000):
                await shop.put(b"%d" % (n % 10), b"")
            await shop.compact(3_000)
            assert len(local.machine.store._log) > 1_000
            await settle()
            assert len(local.machine.store._log) == 2

    run(main())
