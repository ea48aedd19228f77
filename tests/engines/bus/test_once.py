"""Events leave with their rows, and have their effect once."""

import pytest

from bastide.base.errors import NotFound
from tests.engines.bus.conftest import opened


@pytest.mark.box("bus.once")
async def test_what_is_sold_is_written_down_in_order():
    async with opened() as (kiosk, ledger, _):
        for number in range(50):
            assert await kiosk.sell("tea") == number
        assert await ledger.until(50) == [("tea", number) for number in range(50)]
        assert ledger.rung == len(ledger.batches) >= 1


@pytest.mark.box("bus.once")
async def test_what_was_not_committed_does_not_leave():
    async with opened() as (kiosk, ledger, _):
        with pytest.raises(NotFound):
            await kiosk.sell("tea", regret=True)
        await kiosk.sell("milk")
        assert await ledger.until(1) == [("milk", 0)]


@pytest.mark.box("bus.record")
async def test_what_was_recorded_is_counted_and_who_asks_may_wait_for_it(tmp_path):
    async with opened() as (kiosk, _, _):
        from tests.engines.bus.street.kiosk.contract import PASSERS

        for number in range(20):
            assert kiosk.passes(f"p{number}") == number
        assert await kiosk.bus.settled(PASSERS, "counts")
        assert await kiosk.passed() == [f"p{number}" for number in range(20)]


@pytest.mark.box("bus.once")
async def test_a_town_that_is_opened_again_repeats_nothing(durable, tmp_path):
    for round_ in range(3):
        async with opened(durable, tmp_path) as (kiosk, ledger, _):
            for _ in range(10):
                await kiosk.sell("tea")
                kiosk.passes("ann")
            await ledger.until(10 * (round_ + 1))
    async with opened(durable, tmp_path) as (kiosk, ledger, _):
        from tests.engines.bus.street.kiosk.contract import PASSERS

        assert await kiosk.bus.settled(PASSERS, "counts")
        assert len(await kiosk.passed()) == 30
        assert await ledger.lines() == [("tea", number) for number in range(30)]
