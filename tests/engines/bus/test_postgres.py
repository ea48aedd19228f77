"""The same on PostgreSQL: dying at the points that differ there, and an outage of the server."""

import asyncio
from contextlib import suppress
from functools import partial

import pytest

from bastide.base.errors import Unavailable
from tests.engines.bus.kit import QUICK, bus_of, check_street, quiet, shops, until
from tests.engines.bus.street.kiosk.contract import PASSERS
from tests.engines.bus.street.ledger import manifest as ledger
from tests.engines.bus.test_crashes import check_after, killed

CASES = [
    ("bus.numbered", 2),
    ("bus.appended", 2),
    ("bus.claimed", 2),
    ("bus.moved", 4),
    ("bus.committed", 3),
    ("sql.before_commit", 17),
    ("sql.after_commit", 21),
]
BRISK = "?connect_s=1&statement_s=1&body_s=1"


@pytest.mark.engine("postgres")
@pytest.mark.box("bus.crash")
@pytest.mark.parametrize(("point", "hit"), CASES, ids=str)
async def test_on_postgresql_each_event_has_its_effect_once_whatever_await_it_dies_at(
    tmp_path, monkeypatch, postgres, point, hit
):
    monkeypatch.setattr(ledger, "HATED", {"gin"})
    environ = {**postgres, **QUICK, "BASTIDE_LOG_URL": "file://"}
    told = killed(tmp_path, environ, point, hit)
    await check_after(tmp_path, environ, told)


@pytest.mark.engine("postgres")
@pytest.mark.shows("bus.outage")
async def test_while_postgresql_is_away_all_is_recorded_and_no_restart_is_needed(
    tmp_path, own_server
):
    url, engines = own_server
    environ = {**QUICK, "BASTIDE_LOG_URL": "file://", "BASTIDE_SQL_URL": url + BRISK}
    sold, passed = [], []
    async with shops(environ, tmp_path) as (kiosk, _, town):

        async def trade(times):
            for _ in range(times):
                with suppress(Unavailable):
                    sold.append(("tea", await kiosk.sell("tea")))
                passed.append(f"p{len(passed):06}")
                kiosk.passes(passed[-1])

        await trade(20)
        await asyncio.to_thread(engines, "halt")
        before = len(sold)
        async with asyncio.timeout(20):
            await trade(3)
        assert len(sold) == before, "nothing is sold meanwhile"
        assert not await kiosk.bus.settled(PASSERS, "counts", within_s=0.5)
        await until(partial(_is_ill, bus_of(town, "kiosk")))
        await asyncio.to_thread(engines, "start")
        async with asyncio.timeout(20):
            while len(sold) < before + 5:
                await trade(1)
        await quiet(town)
        await check_street(town, acknowledged=sold, passed=passed)
        await bus_of(town, "kiosk").health()


async def _is_ill(bus):
    try:
        await bus.health()
    except Unavailable:
        return True
    return False
