"""Locks: one holder, in the order of coming, by tokens that rise; and what a lock does not do."""

import asyncio

import pytest

from bastide.base.fence import Deposed, Fence
from bastide.base.rt import runtime
from bastide.engines.coord.contract import (
    NAME_BYTES_MAX,
    WAITERS_MAX,
    AskInvalid,
    AskTooLarge,
    CoordAway,
    HoldLost,
    LeaseMissing,
    LockHeld,
    Put,
    Range,
    TooMany,
)
from bastide.engines.coord.core.spans import prefix_end
from tests.engines.coord.core_kit import run
from tests.engines.coord.front_kit import Counting, Losing, clock, fronts, settle

LOCKS = b"/bastide/shop/locks/"


def places(keys, name=b"stock"):
    prefix = LOCKS + name + b"/"
    return keys.machine.store.keys_in(prefix, prefix_end(prefix))


def test_a_lock_has_one_holder_and_goes_to_who_waits_first():
    async def main():
        async with fronts() as (shop, keys):
            one, two, three = [(await shop.grant(60)).id for _ in range(3)]
            hold = await shop.acquire("stock", lease=one)
            assert hold.key == LOCKS + b"stock/%x" % one
            got = []

            async def wait(lease):
                got.append(await shop.acquire("stock", lease=lease))

            tasks = [asyncio.create_task(wait(two)), asyncio.create_task(wait(three))]
            await settle()
            assert got == []
            await shop.release(hold)
            await settle()
            assert [hold.lease for hold in got] == [two]
            await shop.release(got[0])
            await asyncio.gather(*tasks)
            assert [hold.lease for hold in got] == [two, three]
            tokens = [hold.token, *(hold.token for hold in got)]
            assert tokens == sorted(set(tokens))
            await shop.release(got[1])
            assert places(keys) == []

    run(main())


@pytest.mark.box("coord.fair")
def test_a_thousand_waiters_get_the_lock_in_their_order_and_each_is_woken_once():
    async def main():
        keys = Counting()
        async with fronts(keys=keys) as (shop, _):
            leases = [(await shop.grant(1000)).id for _ in range(1001)]
            got, holding = [], 0

            async def work(n):
                nonlocal holding
                hold = await shop.acquire("stock", lease=leases[n])
                assert holding == 0
                holding += 1
                await asyncio.sleep(0)
                holding -= 1
                got.append(n)
                await shop.release(hold)

            first = await shop.acquire("stock", lease=leases[0])
            tasks = [asyncio.create_task(work(n)) for n in range(1, 1001)]
            await settle()
            assert keys.watching == 1000
            assert keys.told == 0
            await shop.release(first)
            await asyncio.gather(*tasks)
            assert got == list(range(1, 1001))
            assert keys.told == 1000

    run(main())


def test_who_does_not_wait_or_has_waited_enough_is_refused_and_leaves_no_place():
    async def main():
        async with fronts() as (shop, keys):
            one, two = [(await shop.grant(600)).id for _ in range(2)]
            await shop.acquire("stock", lease=one)
            with pytest.raises(LockHeld):
                await shop.acquire("stock", lease=two, wait_s=0)
            assert len(places(keys)) == 1
            began_s = clock().monotonic()
            with pytest.raises(LockHeld):
                await shop.acquire("stock", lease=two, wait_s=7.5)
            assert clock().monotonic() - began_s == pytest.approx(7.5)
            assert len(places(keys)) == 1

    run(main())


def test_a_waiter_that_is_cancelled_leaves_and_who_waits_behind_it_is_served():
    async def main():
        async with fronts() as (shop, keys):
            leases = [(await shop.grant(600)).id for _ in range(3)]
            hold = await shop.acquire("stock", lease=leases[0])
            waiting = [
                asyncio.create_task(shop.acquire("stock", lease=lease)) for lease in leases[1:]
            ]
            await settle()
            waiting[0].cancel()
            await settle()
            assert waiting[0].cancelled()
            assert len(places(keys)) == 2
            assert not waiting[1].done(), "the holder still holds it"
            await shop.release(hold)
            assert (await waiting[1]).lease == leases[2]

    run(main())


def test_the_same_lease_gets_its_hold_again_if_it_says_so():
    async def main():
        async with fronts() as (shop, keys):
            one = (await shop.grant(600)).id
            hold = await shop.acquire("stock", lease=one)
            with pytest.raises(LockHeld):
                await shop.acquire("stock", lease=one)
            again = await shop.acquire("stock", lease=one, again=True)
            assert again == hold
            await shop.release(again)
            await shop.check(hold)
            await shop.release(hold)
            assert places(keys) == []
            with pytest.raises(HoldLost):
                await shop.check(hold)
            await shop.release(hold)

    run(main())


def test_a_lock_of_a_lease_that_another_process_uses_stays_its():
    async def main():
        async with fronts("shop", "shop") as (here, there, keys):
            one = (await here.grant(600)).id
            hold = await here.acquire("stock", lease=one)
            with pytest.raises(LockHeld):
                await there.acquire("stock", lease=one)
            assert len(places(keys)) == 1
            assert await there.acquire("stock", lease=one, again=True) == hold

    run(main())


def test_a_lock_ends_with_its_lease_and_the_next_token_is_higher():
    async def main():
        async with fronts() as (shop, _keys):
            one, two = (await shop.grant(10)).id, (await shop.grant(600)).id
            old = await shop.acquire("stock", lease=one)
            new = await shop.acquire("stock", lease=two, wait_s=60)
            assert new.token > old.token
            with pytest.raises(HoldLost):
                await shop.check(old)
            await shop.check(new)
            await shop.release(old)
            await shop.check(new)
            with pytest.raises(LeaseMissing):
                await shop.acquire("other", lease=one)

    run(main())


def test_a_lease_that_ended_may_be_granted_again_and_hold_again():
    async def main():
        async with fronts() as (shop, _keys):
            await shop.grant(10, id_=7)
            old = await shop.acquire("stock", lease=7)
            await asyncio.sleep(11)
            await shop.grant(10, id_=7)
            new = await shop.acquire("stock", lease=7)
            assert new.token > old.token
            await asyncio.sleep(11)
            await shop.grant(10, id_=7)
            assert (await shop.acquire("stock", lease=7, again=True)).token > new.token

    run(main())


def test_a_waiter_whose_lease_ends_does_not_get_the_lock():
    async def main():
        async with fronts() as (shop, _keys):
            one, two = (await shop.grant(60)).id, (await shop.grant(10)).id
            hold = await shop.acquire("stock", lease=one)
            waiting = asyncio.create_task(shop.acquire("stock", lease=two))
            await asyncio.sleep(20)
            await shop.release(hold)
            with pytest.raises(LeaseMissing):
                await waiting

    run(main())


@pytest.mark.box("coord.token")
def test_a_bare_lock_is_believed_to_be_held_by_two_and_the_token_tells_who_is_late():
    """A holder that is paused for longer than its lease lasts knows nothing; its resource does."""

    async def main():
        async with fronts() as (shop, _keys):
            written, newest = [], 0

            def write(hold):
                nonlocal newest
                Fence("stock", hold.token).check(newest)
                newest = hold.token
                written.append(hold.lease)

            paused_lease, other_lease = (await shop.grant(10)).id, (await shop.grant(600)).id
            paused = await shop.acquire("stock", lease=paused_lease)
            write(paused)
            await asyncio.sleep(15)  # the holder was stopped, and asked for nothing
            other = await shop.acquire("stock", lease=other_lease, wait_s=0)
            write(other)
            assert other.token > paused.token, "two hold it, each by its own belief"
            with pytest.raises(Deposed):
                write(paused)
            assert written == [paused_lease, other_lease]

    run(main())


# --- lost answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("losing", [1, 2])
@pytest.mark.shows("coord.repeat")
def test_a_place_whose_answers_are_lost_is_made_once(losing):
    async def main():
        async with fronts(keys=Losing()) as (shop, keys):
            one = (await shop.grant(600)).id
            keys.losing = losing
            hold = await shop.acquire("stock", lease=one)
            assert keys.machine.store.get(hold.key).version == 1
            await shop.release(hold)
            assert places(keys) == []

    run(main())


def test_who_can_not_know_whether_he_has_a_place_gives_it_up():
    async def main():
        async with fronts(keys=Losing()) as (shop, keys):
            one, two = [(await shop.grant(600)).id for _ in range(2)]
            keys.losing = 3
            with pytest.raises(CoordAway):
                await shop.acquire("stock", lease=one)
            await asyncio.sleep(1)
            assert places(keys) == []
            late = Put(LOCKS + b"stock/%x" % one, lease=one)
            await keys.put(late)  # one of the three came late
            hold = await shop.acquire("stock", lease=two, wait_s=30)
            assert hold.lease == two
            assert places(keys) == [hold.key]

    run(main())


def test_who_comes_back_while_a_late_place_may_be_there_takes_it():
    async def main():
        async with fronts(keys=Losing()) as (shop, keys):
            one = (await shop.grant(600)).id
            keys.losing = 3
            with pytest.raises(CoordAway):
                await shop.acquire("stock", lease=one)
            await asyncio.sleep(1)
            await keys.put(Put(LOCKS + b"stock/%x" % one, lease=one))
            hold = await shop.acquire("stock", lease=one)
            await asyncio.sleep(60)
            await shop.check(hold)

    run(main())


def test_nothing_is_left_to_take_away_where_nothing_was_done():
    async def main():
        async with fronts(keys=Losing()) as (shop, keys):
            one = (await shop.grant(600)).id
            keys.failing = 1
            with pytest.raises(CoordAway):
                await shop.acquire("stock", lease=one)
            hold = await shop.acquire("stock", lease=one)
            await shop.check(hold)

    run(main())


def test_a_release_that_finds_the_store_away_is_made_when_it_is_back():
    async def main():
        async with fronts(keys=Losing()) as (shop, keys):
            one = (await shop.grant(600)).id
            hold = await shop.acquire("stock", lease=one)
            keys.away = True
            with pytest.raises(CoordAway):
                await shop.release(hold)
            with pytest.raises(CoordAway):
                await shop.acquire("stock", lease=one)
            assert len(places(keys)) == 1
            keys.away = False
            await asyncio.sleep(1)
            assert places(keys) == []
            assert (await shop.acquire("stock", lease=one)).token > hold.token

    run(main())


def test_a_waiter_keeps_its_place_while_the_store_is_away():
    async def main():
        async with fronts(keys=Losing()) as (shop, keys):
            one, two = [(await shop.grant(600)).id for _ in range(2)]
            hold = await shop.acquire("stock", lease=one)
            waiting = asyncio.create_task(shop.acquire("stock", lease=two))
            await settle()
            await super(Losing, keys).revoke(one)
            keys.away = True
            await asyncio.sleep(30)
            assert not waiting.done()
            keys.away = False
            assert (await waiting).lease == two
            with pytest.raises(HoldLost):
                await shop.check(hold)
            keys.away = True
            with pytest.raises(CoordAway):
                await shop.check(hold)

    run(main())


def test_who_does_not_wait_makes_no_place_and_finds_his_own_if_an_answer_was_lost():
    async def main():
        async with fronts(keys=Losing()) as (shop, keys):
            one, two = [(await shop.grant(600)).id for _ in range(2)]
            keys.losing = 1
            hold = await shop.acquire("stock", lease=one, wait_s=0)
            revision = keys.machine.store.revision
            with pytest.raises(LockHeld):
                await shop.acquire("stock", lease=two, wait_s=0)
            assert keys.machine.store.revision == revision
            assert await shop.acquire("stock", lease=one, wait_s=0, again=True) == hold

    run(main())


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_one_holds_it_and_no_place_is_left(seed):
    """Who waits is cancelled, or gives up, or its lease ends, and answers are lost: those who hold
    it while their lease lives do so one by one, in the order of their tokens.
    """

    async def main():
        chance = runtime.current().chance.random
        holding, tokens = set(), []
        async with fronts("shop", "shop", keys=Losing()) as (*shops, keys):

            async def work():
                shop = shops[chance.randrange(2)]
                lease = (await shop.grant(chance.randint(1, 40))).id
                wait_s = chance.choice([None, 0, 1, 5])
                try:
                    hold = await shop.acquire("stock", lease=lease, wait_s=wait_s)
                except (LockHeld, LeaseMissing, CoordAway):
                    return
                alive = {token for token, one in holding if one in keys.machine.leases}
                assert not alive
                assert all(token < hold.token for token in tokens)
                tokens.append(hold.token)
                holding.add((hold.token, lease))
                try:
                    await asyncio.sleep(chance.uniform(0, 3))
                finally:
                    holding.discard((hold.token, lease))
                    await shop.release(hold)

            async def disturb(tasks):
                while not all(task.done() for task in tasks):
                    await asyncio.sleep(chance.uniform(0, 1))
                    keys.losing = max(keys.losing, chance.choice([0, 0, 1, 4]))
                    if chance.random() < 0.2:
                        chance.choice(tasks).cancel()

            tasks = [asyncio.create_task(work()) for _ in range(25)]
            await disturb(tasks)
            results = await asyncio.gather(*tasks, return_exceptions=True)
            unknown = [one for one in results if one is not None]
            assert all(isinstance(r, asyncio.CancelledError | CoordAway) for r in unknown), unknown
            keys.losing = 0
            await asyncio.sleep(60)
            assert places(keys) == []
            assert len(tokens) > 1

    run(main(), seed=seed)


# --- names and limits -----------------------------------------------------------------------------


def test_a_name_with_a_slash_is_a_lock_of_its_own():
    async def main():
        async with fronts("shop", "bank") as (shop, bank, _keys):
            one, two, three = [(await shop.grant(600)).id for _ in range(3)]
            await shop.acquire("a", lease=one, wait_s=0)
            hold = await shop.acquire("a/b", lease=two, wait_s=0)
            assert hold.key == LOCKS + b"a%%2Fb/%x" % two
            await bank.acquire("a", lease=three, wait_s=0)

    run(main())


@pytest.mark.limit("coord.NAME_BYTES_MAX")
def test_names_have_so_many_bytes_and_no_more():
    async def main():
        async with fronts() as (shop, _keys):
            one = (await shop.grant(600)).id
            await shop.acquire("x" * NAME_BYTES_MAX, lease=one)
            for name in ("x" * (NAME_BYTES_MAX + 1), "\u20ac" * 86):
                with pytest.raises(AskTooLarge):
                    await shop.acquire(name, lease=one)
            for name in ("", "a\0b", "\ud800"):
                with pytest.raises(AskInvalid):
                    await shop.acquire(name, lease=one)
            with pytest.raises(AskInvalid):
                await shop.acquire("stock", lease=0)

    run(main())


@pytest.mark.limit("coord.WAITERS_MAX")
def test_so_many_wait_for_a_lock_and_no_more():
    async def main():
        async with fronts() as (shop, keys):
            leases = [(await shop.grant(600)).id for _ in range(3)]
            for n in range(WAITERS_MAX):
                await keys.put(Put(LOCKS + b"stock/%x-" % n))
            waiting = asyncio.create_task(shop.acquire("stock", lease=leases[0]))
            await settle()
            assert len(places(keys)) == WAITERS_MAX + 1
            with pytest.raises(TooMany):
                await shop.acquire("stock", lease=leases[1])
            await settle()
            assert len(places(keys)) == WAITERS_MAX + 1
            assert not waiting.done()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            assert (await keys.range(Range(LOCKS + b"stock/0-"))).count == 1

    run(main())
