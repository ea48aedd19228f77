"""What the town shows of it: calls, errors, times by owner; health; and nothing that it keeps."""

import errno
import logging
import os

import pytest

from bastide.base import faults
from bastide.engines.coord.contract import CoordAway, LeaseMissing, LockHeld
from bastide.testing.town import raised
from tests.base.told import figures_of, health_of, series_of, told_by
from tests.engines.coord.node_kit import eventually

WORD = b"open-sesame-5c1e"


@pytest.mark.shows("coord.watch")
async def test_calls_errors_and_times_are_counted_for_their_owner(listed):
    async with raised() as town:
        coord = town.served("owner").engine
        for _ in range(3):
            await coord.put(b"a", b"1")
        with pytest.raises(LeaseMissing):
            await coord.put(b"a", b"1", lease=7)
        one, other = await coord.grant(60), await coord.grant(60)
        await coord.acquire("stock", lease=one.id)
        with pytest.raises(LockHeld):
            await coord.acquire("stock", lease=other.id, wait_s=0)
        found = await figures_of(town)
    mine = {"client": "owner", "system": "coord"}
    for verb, count, refusal in (("put", 4, "LeaseMissing"), ("acquire", 2, "LockHeld")):
        assert found[series_of("bastide_calls_total", verb=verb, **mine)] == count
        assert found[series_of("bastide_call_seconds_count", verb=verb, **mine)] == count
        failed = series_of("bastide_calls_failed_total", verb=verb, outcome=refusal, **mine)
        assert found[failed] == 1


@pytest.mark.shows("coord.watch")
async def test_nothing_that_is_kept_is_told_in_logs_metrics_or_health(listed, caplog):
    caplog.set_level(logging.DEBUG)
    async with raised() as town:
        coord = town.served("owner").engine
        await coord.put(b"a", WORD)
        lease = await coord.grant(60)
        await coord.campaign("boss", WORD, lease=lease.id)
        assert (await health_of(town, "coord"))["ok"]
        said = await told_by(town)
    quiet = {path: text for path, text in said.items() if not path.startswith("/coord")}
    assert WORD.decode() not in "".join(quiet.values()) + caplog.text


@pytest.mark.shows("coord.watch")
async def test_health_tells_of_an_outage(listed):
    async with raised() as town:
        coord = town.served("owner").engine
        await coord.put(b"a", b"1")
        broken = OSError(errno.EIO, os.strerror(errno.EIO))
        with faults.armed("seglog.before_sync", faults.failing(broken)):
            with pytest.raises(CoordAway):
                await coord.put(b"a", b"2")
            told = await health_of(town, "coord")
        assert not told["ok"]
        await eventually(lambda: _is_well(town))  # it opens its log again by itself
        assert (await coord.get(b"a")).value in (b"1", b"2")


async def _is_well(town):
    return (await health_of(town, "coord"))["ok"]
