"""The workloads run; how fast is for `bastide bench bus`."""

import pytest

from bastide.base.errors import Unavailable
from bastide.engines.bus.bench import BENCHES
from bastide.engines.bus.bench.street import opened_street

BENCH = "bastide.engines.bus.bench"


@pytest.mark.parametrize("name", [bench.name for bench in BENCHES])
async def test_a_workload_gives_its_figures_with_their_units(tmp_path, monkeypatch, name):
    monkeypatch.setattr(f"{BENCH}.rates.TURNS", 1)
    monkeypatch.setattr(f"{BENCH}.rates.WAITING", 200)
    monkeypatch.setattr(f"{BENCH}.recording.AHEAD", 200)
    (bench,) = (bench for bench in BENCHES if bench.name == name)
    figures = await bench.run(tmp_path, 0.05)
    assert figures
    assert all(value >= 0 for value in figures.values())
    assert all(key.endswith(("_per_s", "_p50", "_p99", "_ratio")) for key in figures)


async def test_each_event_is_noted_when_it_is_durable_and_when_it_has_its_effect(tmp_path):
    async with opened_street(tmp_path) as found:
        await found.ring(1, 2)
        await found.ring(3)
        await found.until_heard(3)
        durable_s = found.durable_s()
        assert set(durable_s) == set(found.effect_s) == {1, 2, 3}
        assert all(durable_s[n] <= found.effect_s[n] for n in durable_s)


async def test_figures_of_events_that_did_not_come_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{BENCH}.street.HEARD_S", 0.05)
    async with opened_street(tmp_path, relays=False) as found:
        await found.ring(1)
        with pytest.raises(Unavailable, match="0 of 1 events have come"):
            await found.until_heard(1)
        found.heard = 2
        with pytest.raises(Unavailable, match="2 effects of 1 events"):
            await found.until_heard(1)
