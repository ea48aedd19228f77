"""What an operator sees of the bus without asking it."""

import pytest

from bastide.base.errors import NotFound
from tests.base.told import figures_of, health_of, series_of
from tests.engines.bus.doors.conftest import until


async def of_the_stall(doors, metric, **labels):
    return (await figures_of(doors.town)).get(series_of(metric, **labels), 0)


@pytest.mark.shows("bus.watch")
async def test_calls_are_told_by_who_calls(doors):
    called = {"client": "stall", "system": "bus", "verb": "publish"}
    await doors.stall.sell("tea", "rum")
    assert await of_the_stall(doors, "bastide_calls_total", **called) == 2
    with pytest.raises(NotFound):
        await doors.hub.letter("nobody", 0)


@pytest.mark.shows("bus.watch")
async def test_what_waits_what_was_heard_and_what_is_dead_is_told(doors):
    await doors.stall.sell("tea", "bad milk", "rum")
    await doors.until_dead(1)
    await doors.until_sold(2)
    figures = await figures_of(doors.town)
    told = {name.partition("{")[0] for name in figures}
    assert {"bastide_bus_waiting", "bastide_bus_unrelayed"} <= told
    assert sum(v for k, v in figures.items() if k.startswith("bastide_bus_handled_total{")) == 2
    assert sum(v for k, v in figures.items() if k.startswith("bastide_bus_dead_total{")) == 1

    async def is_timed():  # the sales' batch, and the letter's
        return await of_the_stall(doors, "bastide_bus_relay_seconds_count", client="stall") == 2

    await until(is_timed)


@pytest.mark.shows("bus.watch")
async def test_a_group_that_hears_nothing_is_told_by_health_until_it_hears_again(doors):
    assert (await health_of(doors.town, "bus"))["ok"] is True
    doors.stall.is_away = True
    await doors.stall.sell("tea")

    async def is_told():
        health = await health_of(doors.town, "bus")
        return not health["ok"] and "the scales are away" in health["error"]

    await until(is_told)
    doors.stall.is_away = False
    await doors.until_sold(1)

    async def is_well():
        return (await health_of(doors.town, "bus"))["ok"]

    await until(is_well)
