"""Background work, on a loop whose time passes only when nothing else can happen."""

import asyncio
import logging
from itertools import pairwise

import pytest

from bastide.base.rt.runtime import Chance, Runtime, current, run_on
from bastide.base.work import BACKOFF_FIRST_S, BACKOFF_MAX_S, HEALTHY_AFTER_S, Crew, every, jittered


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "bastide.base.work")


def now_s() -> float:
    return asyncio.get_running_loop().time()


def test_work_that_fails_is_begun_again_ever_later_up_to_a_limit(virtual) -> None:
    begun_s: list[float] = []

    async def main() -> None:
        async def work() -> None:
            begun_s.append(now_s())
            raise OSError("away")

        crew = Crew("mill")
        crew.spawn("grind", work)
        await asyncio.sleep(300)
        task = crew.tasks["grind"]
        assert (task.state, task.error) == ("backing-off", "OSError: away")
        assert task.restarts == len(begun_s)
        await crew.stop()

    virtual(main)
    pauses_s = [after - before for before, after in pairwise(begun_s)]
    wanted_s = BACKOFF_FIRST_S
    assert len(pauses_s) >= 12
    for pause_s in pauses_s:
        assert wanted_s / 2 <= pause_s <= wanted_s + 1e-6
        wanted_s = min(wanted_s * 2, BACKOFF_MAX_S)


def test_work_that_ran_well_for_long_begins_again_at_the_first_pause(virtual) -> None:
    begun_s: list[float] = []
    lasts_s = iter([0.0] * 8 + [HEALTHY_AFTER_S + 1] + [0.0] * 100)

    async def main() -> None:
        async def work() -> None:
            begun_s.append(now_s())
            await asyncio.sleep(next(lasts_s))
            raise OSError("away")

        crew = Crew("mill")
        crew.spawn("grind", work)
        await asyncio.sleep(200)
        await crew.stop()

    virtual(main)
    assert begun_s[8] - begun_s[7] > BACKOFF_FIRST_S * 8
    assert begun_s[9] - begun_s[8] - (HEALTHY_AFTER_S + 1) <= BACKOFF_FIRST_S + 1e-6


def test_work_that_recovers_is_shown_as_running(virtual) -> None:
    async def main() -> None:
        fails = iter([True, True, False])

        async def work() -> None:
            if next(fails):
                raise OSError("away")
            await asyncio.sleep(1e6)

        crew = Crew("mill")
        crew.spawn("grind", work)
        await asyncio.sleep(10)
        assert (crew.tasks["grind"].state, crew.tasks["grind"].restarts) == ("running", 2)
        await crew.stop()

    virtual(main)


def test_work_that_returns_is_done_and_not_begun_again(virtual) -> None:
    begun = []

    async def main() -> None:
        async def work() -> None:
            begun.append(1)

        crew = Crew("mill")
        crew.spawn("grind", work)
        await asyncio.sleep(100)
        assert crew.tasks["grind"].state == "done"
        await crew.stop()

    virtual(main)
    assert begun == [1]


def test_a_crew_stops_its_work_in_reverse_each_after_the_one_before_has_ended(virtual) -> None:
    ended: list[str] = []

    async def main() -> None:
        async def work(name: str) -> None:
            try:
                await asyncio.sleep(1e6)
            finally:
                await asyncio.sleep(1)
                ended.append(name)

        crew = Crew("mill")
        for name in ("first", "second", "third"):
            crew.spawn(name, lambda name=name: work(name))
        await asyncio.sleep(1)
        await crew.stop()

    virtual(main)
    assert ended == ["third", "second", "first"]


def test_a_loop_runs_its_step_about_as_often_as_told_until_one_fails(virtual) -> None:
    steps_s: list[float] = []

    async def step() -> None:
        steps_s.append(now_s())
        if len(steps_s) == 100:
            raise KeyError("enough")

    async def main() -> None:
        with pytest.raises(KeyError, match="enough"):
            await every(2, step)

    virtual(main)
    pauses_s = [after - before for before, after in pairwise(steps_s)]
    assert all(1 <= pause_s <= 2.001 for pause_s in pauses_s)
    assert max(pauses_s) - min(pauses_s) > 0.5, "those who began together don't stay together"


def test_jitter_repeats_with_its_seed() -> None:
    before = current()
    drawn = []
    for _ in range(2):
        run_on(Runtime(chance=Chance(7)))
        drawn.append([jittered(10) for _ in range(50)])
    run_on(before)
    assert drawn[0] == drawn[1]
    assert all(5 <= pause_s <= 10 for pause_s in drawn[0])


def test_two_pieces_of_work_do_not_share_a_name(virtual) -> None:
    async def main() -> None:
        async def work() -> None:
            await asyncio.sleep(1e6)

        crew = Crew("mill")
        crew.spawn("grind", work)
        with pytest.raises(AssertionError, match="mill spawns grind twice"):
            crew.spawn("grind", work)
        await crew.stop()

    virtual(main)
