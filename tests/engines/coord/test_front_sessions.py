"""Sessions: a lease that is kept alive, and a block that is stopped when it can't be."""

import asyncio
from contextlib import suppress

import pytest

from bastide.engines.coord.contract import AskInvalid, HoldLost, LeaseMissing
from tests.engines.coord.core_kit import run
from tests.engines.coord.front_kit import Losing, clock, fronts, settle


def test_a_session_outlives_its_ttl_and_ends_with_its_block():
    async def main():
        async with fronts(keys=Losing()) as (shop, keys):
            async with shop.session(ttl_s=9) as session:
                began_s = clock().monotonic()
                await shop.acquire("stock", lease=session.lease)
                await asyncio.sleep(100)
                assert (await shop.lease(session.lease)).ttl_s == 9
            sent = [round(at_s - began_s) for at_s in keys.kept_alive_at]
            assert sent == list(range(3, 100, 3)), "three times in its time to live"
            with pytest.raises(LeaseMissing):
                await shop.lease(session.lease)
            assert len(keys.machine.store) == 0

    run(main())


def test_the_block_is_stopped_when_nobody_answers_for_the_ttl():
    async def main():
        async with fronts(keys=Losing()) as (shop, keys):

            async def work():
                async with shop.session(ttl_s=9):
                    await asyncio.sleep(10)
                    keys.away = True
                    await asyncio.sleep(1000)

            with pytest.raises(HoldLost):
                await work()
            assert clock().monotonic() == pytest.approx(keys.kept_alive_at[-1] + 9)
            assert asyncio.current_task().cancelling() == 0
            await asyncio.sleep(1)

    run(main())


def test_the_block_goes_on_over_an_outage_that_is_shorter():
    async def main():
        async with fronts(keys=Losing()) as (shop, keys), shop.session(ttl_s=9) as session:
            await asyncio.sleep(9.1)
            keys.away = True
            await asyncio.sleep(8)
            keys.away = False
            await asyncio.sleep(100)
            await shop.lease(session.lease)

    run(main())


async def revoked(shop):
    """A session whose lease is revoked, and a block that waits."""
    async with shop.session(ttl_s=9) as session:
        await shop.revoke(session.lease)
        await asyncio.sleep(1000)


def test_the_block_is_stopped_when_the_lease_is_revoked():
    async def main():
        async with fronts() as (shop, _keys):
            began_s = clock().monotonic()
            with pytest.raises(HoldLost):
                await revoked(shop)
            assert clock().monotonic() - began_s == pytest.approx(3)

    run(main())


class Slow(Losing):
    """Answers are late by `late_s`."""

    late_s = 0.0

    async def keep_alive(self, lease):
        kept = await super().keep_alive(lease)
        await asyncio.sleep(self.late_s)
        return kept


def test_an_answer_counts_from_when_it_was_asked_for():
    async def main():
        async with fronts(keys=Slow()) as (shop, keys):
            keys.late_s = 2.5
            asked_s = 0.0

            async def work():
                nonlocal asked_s
                async with shop.session(ttl_s=9):
                    await asyncio.sleep(6)
                    asked_s = keys.kept_alive_at[-1]
                    keys.late_s = 1000.0
                    await asyncio.sleep(1000)

            with pytest.raises(HoldLost):
                await work()
            assert clock().monotonic() == pytest.approx(asked_s + 9)

    run(main())


# --- cancellation ---------------------------------------------------------------------------------


def test_a_cancellation_by_another_stays_one_and_the_lease_is_revoked():
    async def main():
        async with fronts() as (shop, keys):

            async def work():
                async with shop.session():
                    await asyncio.sleep(1000)

            task = asyncio.create_task(work())
            await settle()
            assert len(keys.machine.leases) == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(keys.machine.leases) == 0

    run(main())


def test_a_cancellation_at_the_same_time_wins_over_the_loss():
    async def main():
        async with fronts() as (shop, _keys):

            async def work():
                async with shop.session(ttl_s=9) as session:
                    leases.append(session.lease)
                    try:
                        await asyncio.sleep(1000)
                    except asyncio.CancelledError:
                        task.cancel()
                        raise

            leases = []
            task = asyncio.create_task(work())
            await settle()
            await shop.revoke(leases[0])
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())


class Inside:
    """A time-out within a session that is lost first."""

    is_over = False

    async def work(self, shop):
        async with shop.session(ttl_s=9) as session:
            await shop.revoke(session.lease)
            try:
                async with asyncio.timeout(50):
                    await asyncio.sleep(1000)
            except TimeoutError:
                self.is_over = True


def test_a_timeout_around_a_session_is_a_timeout():
    async def main():
        async with fronts() as (shop, _keys):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5), shop.session(ttl_s=9):
                    await asyncio.sleep(1000)
            with pytest.raises(HoldLost):
                async with asyncio.timeout(50):
                    await revoked(shop)
            inside = Inside()
            with pytest.raises(HoldLost):
                await inside.work(shop)
            assert not inside.is_over

    run(main())


def test_what_the_block_raises_is_raised_and_a_block_that_hides_the_loss_is_told_of_it():
    async def main():
        async with fronts() as (shop, keys):

            async def fail():
                async with shop.session():
                    raise ZeroDivisionError

            async def hide():
                async with shop.session(ttl_s=9) as session:
                    await shop.revoke(session.lease)
                    with suppress(asyncio.CancelledError):
                        await asyncio.sleep(1000)

            async def fail_later():
                async with shop.session(ttl_s=9) as session:
                    await shop.revoke(session.lease)
                    try:
                        await asyncio.sleep(1000)
                    finally:
                        raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await fail()
            assert len(keys.machine.leases) == 0
            with pytest.raises(HoldLost):
                await hide()
            with pytest.raises(ZeroDivisionError):
                await fail_later()
            await asyncio.sleep(1)

    run(main())


def test_a_session_that_is_lost_while_it_waits_for_a_lock_leaves_the_queue():
    async def main():
        async with fronts() as (shop, keys):
            holder = (await shop.grant(600)).id
            await shop.acquire("stock", lease=holder)
            with pytest.raises(HoldLost):
                async with shop.session(ttl_s=9) as session:
                    await asyncio.gather(
                        shop.acquire("stock", lease=session.lease), shop.revoke(session.lease)
                    )
            assert len(keys.machine.store) == 1

    run(main())


@pytest.mark.limit("coord.TTL_S_MIN")
@pytest.mark.limit("coord.TTL_S_MAX")
def test_a_time_to_live_is_within_its_bounds():
    async def main():
        async with fronts() as (shop, _keys):
            for ttl_s in (1, 9_000_000_000):
                lease = await shop.grant(ttl_s)
                assert (await shop.lease(lease.id)).ttl_s == ttl_s
                await shop.revoke(lease.id)
            for ttl_s in (0, 9_000_000_001):
                with pytest.raises(AskInvalid):
                    await shop.grant(ttl_s)
            with pytest.raises(AskInvalid):
                async with shop.session(ttl_s=0):
                    raise AssertionError("not reached")
            for id_ in (-1, 1 << 63):
                with pytest.raises(AskInvalid):
                    await shop.grant(10, id_=id_)

    run(main())
