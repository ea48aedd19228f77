"""What fails and does not die: at each point, of the log, of the disk, of a commit's answer."""

import asyncio
import os
import random
import secrets
from contextlib import suppress
from functools import partial
from itertools import count

import pytest

from bastide.base.errors import Unavailable
from bastide.base.faults import failing
from bastide.engines.bus.contract import JournalRefuses
from bastide.engines.log.contract import LogAway
from bastide.engines.sql.contract import DiskFull
from tests.engines.bus.kit import (
    MEMORY,
    QUICK,
    FullDisk,
    bus_of,
    check_street,
    quiet,
    shops,
    street,
    until,
)
from tests.engines.bus.street.kiosk.contract import PASSERS
from tests.engines.bus.street.ledger import manifest as ledger
from tests.engines.bus.test_crashes import HITS
from tests.engines.sql.test_sqlite import faulty_disk

BUS = sorted(point for point in HITS if point.startswith("bus."))
SQL = ["sql.before_commit", "sql.after_commit"]
ERRORS = {"away": LogAway, "odd": RuntimeError}
FIRST_HITS = {"bus.made": 5}  # four are made before the town is open; else it does not open
ITEMS = ("tea", "", "milk", "gin")


def at_hits(hits, error):
    left = count(1)

    def happens():
        if next(left) in hits:
            failing(error("as a test wants it"))()

    return happens


async def trade(town, times, *, told=None, pause_s=0.001):
    """Sells and records; what was acknowledged."""
    kiosk = town.served("kiosk")
    sold, passed = told or ([], [])
    for number in range(len(passed), len(passed) + times):
        with suppress(Unavailable, RuntimeError):  # whoever was refused may have sold
            item = ITEMS[number % len(ITEMS)]
            sold.append((item, await kiosk.sell(item)))
        who = f"p{number:06}"  # refused ones leave a gap
        with suppress(JournalRefuses):
            kiosk.passes(who)
            passed.append(who)
        await asyncio.sleep(pause_s)
    return sold, passed


async def check_quiet(town, told):
    await quiet(town)
    sold, passed = told
    await check_street(town, acknowledged=sold, passed=passed)


@pytest.fixture(autouse=True)
def _gin_is_hated(monkeypatch):
    monkeypatch.setattr(ledger, "HATED", {"gin"})


@pytest.mark.box("bus.failures")
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("point", BUS)
async def test_what_fails_at_any_point_is_done_again_and_has_its_effect_once(
    tmp_path, point, error
):
    first = FIRST_HITS.get(point, 1)
    faults = {point: at_hits({first, first + 2}, ERRORS[error])}
    tries = {"BASTIDE_BUS_TRIES": "4"}  # both hits may be one event's, among those of other groups
    async with street(tmp_path, QUICK | MEMORY | tries, faults=faults) as town:
        await check_quiet(town, await trade(town, 20))


@pytest.mark.box("bus.failures")
@pytest.mark.parametrize("point", SQL)
async def test_a_commit_whose_answer_is_lost_loses_and_doubles_nothing(tmp_path, durable, point):
    """Wherever it was: of a sale, a number, a drop, a claim, an effect, an offset."""
    faults = {point: at_hits({*range(8, 120, 9)}, OSError)}
    async with street(tmp_path, QUICK | durable, faults=faults) as town:
        await check_quiet(town, await trade(town, 40))


@pytest.mark.box("bus.failures")
@pytest.mark.parametrize("round_", range(int(os.environ.get("BASTIDE_TEST_ROUNDS", "3"))))
async def test_whatever_fails_whenever_nothing_is_lost_doubled_or_stuck(tmp_path, durable, round_):
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance, stormy = random.Random(seed), False

    def storm(error):
        def happens():
            if stormy and chance.random() < 0.04:
                raise error("as a test wants it")

        return happens

    faults = {point: storm(ERRORS["away"]) for point in BUS}
    faults |= {point: storm(OSError) for point in SQL}
    async with street(tmp_path, QUICK | durable, faults=faults) as town:
        stormy = True
        told = await trade(town, 150)
        stormy = False
        await check_quiet(town, told)


@pytest.mark.box("bus.log-away")
@pytest.mark.shows("bus.outage")
async def test_while_the_log_takes_nothing_all_is_sold_and_told_when_it_is_back(tmp_path, durable):
    disk = FullDisk()
    async with street(tmp_path, QUICK | durable, disk=disk) as town:
        told = await trade(town, 10)
        await quiet(town)
        disk.full = tmp_path / "log"
        told = await trade(town, 30, told=told)
        assert len(told[0]) == len(told[1]) == 40, "nobody waits for the log"
        kiosk = bus_of(town, "kiosk")
        await until(partial(_has_told, kiosk))
        with pytest.raises(Unavailable, match="don't leave"):
            await kiosk.health()
        assert kiosk.outbox.waiting >= 25 <= kiosk.drain.unrelayed  # some may be on their way
        assert not await kiosk.settled(PASSERS, "counts", within_s=0.1)
        disk.full = None
        await check_quiet(town, told)
        await kiosk.health()
        assert kiosk.outbox.waiting == kiosk.drain.unrelayed == 0


async def _has_told(bus):
    return bus.outbox.error and bus.drain.error


@pytest.mark.shows("bus.outage")
async def test_a_journal_on_a_full_disk_refuses_at_once_and_needs_no_restart(tmp_path, durable):
    disk = FullDisk()
    async with street(tmp_path, QUICK | durable, disk=disk) as town:
        kiosk = town.served("kiosk")
        told = await trade(town, 5)
        disk.full = tmp_path / "kiosk"
        perhaps = set()
        for number in range(3):
            with pytest.raises(JournalRefuses) as refused:
                kiosk.passes(f"p1{number}")
            if refused.value.outcome == "unknown":
                perhaps.add(f"p1{number}")
            await kiosk.sell("tea")
        assert len(perhaps) == 1, "the first was half written; those after it were not begun"
        with pytest.raises(JournalRefuses):
            await kiosk.bus.health()
        disk.full = None
        await until(partial(_takes, kiosk.bus))
        kiosk.passes("p2")
        told[1].append("p2")
        await check_quiet(town, told)
        assert set(await kiosk.passed()) - perhaps == set(told[1])


async def _takes(bus):
    with suppress(Unavailable):
        await bus.health()
        return True


@pytest.mark.shows("bus.outage")
async def test_a_full_disk_below_the_rows_sells_nothing_and_needs_no_restart(tmp_path, durable):
    with faulty_disk() as disk:
        async with shops(QUICK | durable, tmp_path) as (kiosk, _, town):
            told = await trade(town, 10)
            disk.add("full")
            for _ in range(3):
                with pytest.raises(DiskFull):
                    await kiosk.sell("tea")
            told = await trade(town, 10, told=told)
            assert len(told[0]) == 10 < len(told[1]), "what is recorded needs no row"
            disk.clear()
            told = await trade(town, 10, told=told)
            await check_quiet(town, told)


async def test_a_town_that_closes_in_the_middle_leaves_no_task_and_loses_nothing(tmp_path, durable):
    told, ours = ([], []), asyncio.all_tasks()
    for pause_s in (0.0, 0.003, 0.02):
        async with street(tmp_path, QUICK | durable) as town:
            before = len(told[1])
            selling = asyncio.create_task(trade_on(town, told, before))
            await asyncio.sleep(0.05 + pause_s)
            selling.cancel()
            await asyncio.gather(selling, return_exceptions=True)
        assert asyncio.all_tasks() == ours
    async with street(tmp_path, QUICK | durable) as town:
        await check_quiet(town, told)


async def trade_on(town, told, first):
    sold, passed = told
    kiosk = town.served("kiosk")
    while True:
        who = f"p{len(passed):06}"
        kiosk.passes(who)
        passed.append(who)
        sold.append(("tea", await kiosk.sell("tea")))
        await asyncio.sleep(0)
