"""Elections and the registry of services."""

import asyncio

import pytest

from bastide.engines.coord.contract import (
    AskInvalid,
    HoldLost,
    LeaseMissing,
    LockHeld,
)
from tests.engines.coord.core_kit import run
from tests.engines.coord.front_kit import fronts, settle


def test_one_leads_and_the_next_does_when_it_resigns():
    async def main():
        async with fronts() as (shop, _keys):
            one, two = [(await shop.grant(600)).id for _ in range(2)]
            assert await shop.leader("chief") is None
            first = await shop.campaign("chief", b"one", lease=one)
            assert await shop.leader("chief") == first
            with pytest.raises(LockHeld):
                await shop.campaign("chief", b"two", lease=two, wait_s=0)
            with pytest.raises(LockHeld):
                await shop.campaign("chief", b"again", lease=one)
            waiting = asyncio.create_task(shop.campaign("chief", b"two", lease=two))
            await settle()
            await shop.resign(first)
            second = await waiting
            assert second.token > first.token
            assert await shop.leader("chief") == second
            await shop.check(second)
            with pytest.raises(HoldLost):
                await shop.check(first)
            await shop.resign(first)
            assert await shop.leader("chief") == second

    run(main())


def test_a_leader_may_tell_another_value_while_it_leads():
    async def main():
        async with fronts() as (shop, _keys):
            one = (await shop.grant(10)).id
            first = await shop.campaign("chief", b"one", lease=one)
            told = await shop.proclaim(first, b"other")
            assert (told.value, told.token) == (b"other", first.token)
            assert await shop.leader("chief") == told
            await asyncio.sleep(11)
            assert await shop.leader("chief") is None
            with pytest.raises(HoldLost):
                await shop.proclaim(told, b"late")

    run(main())


def test_who_observes_sees_each_leader_and_each_value():
    async def main():
        async with fronts() as (shop, _keys):
            seen = []

            async def look():
                async with shop.observe("chief") as leaders:
                    while True:
                        seen.append((await anext(leaders)).value)

            looking = asyncio.create_task(look())
            await settle()
            one, two = (await shop.grant(10)).id, (await shop.grant(600)).id
            first = await shop.campaign("chief", b"one", lease=one)
            await settle()
            await shop.proclaim(first, b"one again")
            await settle()
            second = asyncio.create_task(shop.campaign("chief", b"two", lease=two))
            await asyncio.sleep(11)
            await shop.resign(await second)
            await settle()
            await shop.campaign("chief", b"three", lease=two)
            await settle()
            assert seen == [b"one", b"one again", b"two", b"three"]
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            with pytest.raises(AskInvalid):
                async with shop.observe(""):
                    raise AssertionError("not reached")

    run(main())


def test_an_observer_goes_on_over_a_compaction():
    async def main():
        async with fronts() as (shop, _keys), shop.observe("chief") as leaders:
            one = (await shop.grant(600)).id
            first = await shop.campaign("chief", b"one", lease=one)
            assert (await anext(leaders)).value == b"one"
            for n in range(5):
                await shop.proclaim(first, b"%d" % n)
            await shop.compact((await shop.standing()).revision)
            assert (await anext(leaders)).value == b"4"

    run(main())


def test_instances_are_listed_while_their_leases_live():
    async def main():
        async with fronts("shop", "bank") as (shop, bank, _keys):
            one, two = (await shop.grant(10)).id, (await shop.grant(600)).id
            b = await shop.register("web", "b/1", b"10.0.0.1:80", lease=one)
            a = await shop.register("web", "a", b"10.0.0.2:80", lease=two)
            await shop.register("web/x", "c", b"", lease=two)
            assert list(await shop.instances("web")) == [a, b]
            assert list(await bank.instances("web")) == []
            await asyncio.sleep(11)
            assert list(await shop.instances("web")) == [a]
            with pytest.raises(LeaseMissing):
                await shop.register("web", "b", b"", lease=one)
            with pytest.raises(AskInvalid):
                await shop.register("web", "b", b"", lease=0)

    run(main())


def test_an_instance_that_was_replaced_is_not_taken_off_by_the_old_one():
    async def main():
        async with fronts() as (shop, _keys):
            one, two = [(await shop.grant(600)).id for _ in range(2)]
            old = await shop.register("web", "a", b"old", lease=one)
            new = await shop.register("web", "a", b"new", lease=two)
            await shop.unregister(old)
            assert list(await shop.instances("web")) == [new]
            await shop.unregister(new)
            await shop.unregister(new)
            assert list(await shop.instances("web")) == []

    run(main())
