"""Which worker id is taken, and that no schedule of faults makes an id twice."""

import os

import pytest

from bastide.engines.ids.core.lease import Worker, choose, choose_this, fence_for
from bastide.engines.ids.sim import (
    HOUR_MS,
    Broken,
    Rules,
    Schedule,
    order_quality,
    run_schedules,
)

NOW_MS = 1_800_000_000_000
ROUNDS = int(os.environ.get("BASTIDE_TEST_ROUNDS", "500"))


def chosen(*rows: Worker, workers: int = 4) -> Worker | None:
    return choose(rows, now_ms=NOW_MS, workers=workers, margin_ms=10_000)


def test_the_first_worker_id_is_0() -> None:
    assert chosen() == Worker(0, "", 0)


def test_a_live_holder_is_passed_by() -> None:
    assert chosen(Worker(0, "a", NOW_MS + 2_000)) == Worker(1, "", 0)


def test_a_holder_is_left_alone_for_the_margin_and_not_longer() -> None:
    kept, late = Worker(0, "a", NOW_MS - 10_000), Worker(0, "a", NOW_MS - 10_001)
    assert chosen(kept, workers=1) is None
    assert chosen(late, workers=1) == late


def test_an_id_given_back_is_taken_before_an_unused_one() -> None:
    back = Worker(1, "", NOW_MS - 1)
    assert chosen(Worker(0, "a", NOW_MS + 2_000), back) == back


def test_an_id_whose_fence_lies_ahead_is_the_last_choice() -> None:
    far, near = Worker(0, "", NOW_MS + HOUR_MS), Worker(1, "", NOW_MS + 2_000)
    assert chosen(far, near, workers=3) == Worker(2, "", 0)
    assert chosen(far, near, workers=2) == near


@pytest.mark.box("ids.1024-workers")
def test_1024_holders_are_the_most_and_one_more_finds_none() -> None:
    rows = [Worker(w, "a", NOW_MS + 2_000) for w in range(1023)]
    assert chosen(*rows, workers=1024) == Worker(1023, "", 0)
    assert chosen(*rows, Worker(1023, "a", NOW_MS), workers=1024) is None


def test_an_ordinal_takes_its_own_row_whoever_holds_it() -> None:
    held = Worker(3, "a", NOW_MS + 2_000)
    assert choose_this([Worker(0, "b", 5), held], 3) == held
    assert choose_this([held], 2) == Worker(2, "", 0)


def test_the_fence_goes_ahead_of_the_clock_and_of_the_last_stamp() -> None:
    assert fence_for(5, now_ms=100, ahead_ms=10) == 110
    assert fence_for(200, now_ms=100, ahead_ms=10) == 210


@pytest.mark.box("ids.no-duplicate-in-schedules")
def test_no_schedule_of_faults_makes_an_id_twice() -> None:
    counts = run_schedules(1, ROUNDS)
    for fault in (
        "take-overs",
        "kills",
        "clock steps",
        "answers lost",
        "writes given up",
        "ids by a robbed process",
    ):
        assert counts[fault] > ROUNDS / 2, fault


def test_a_schedule_is_its_seed() -> None:
    assert Schedule(5).run() == Schedule(5).run()


@pytest.mark.parametrize(
    ("broken", "first_seed"),
    [
        (Rules(floor_of=lambda row: 0), 455),
        (Rules(fence_of=lambda durable_ms: durable_ms + HOUR_MS), 2),
        (Rules(raised=lambda row_ms, late_ms: late_ms), 966),
        (Rules(holder_of=lambda process, taking: process), 12115),
    ],
    ids=[
        "the next holder starts where it likes",
        "the holder stamps beyond its fence",
        "a late extension takes the fence back",
        "a late taking revives an old lease of the same process",
    ],
)
def test_the_schedules_find_a_fence_of_which_a_part_is_missing(
    broken: Rules, first_seed: int
) -> None:
    with pytest.raises(Broken, match=f"seed {first_seed}: "):
        run_schedules(first_seed, 1, rules=broken)
    run_schedules(first_seed, 1)


@pytest.mark.box("ids.k-sorted")
@pytest.mark.parametrize("skew_ms", [0, 10, 100])
def test_ids_made_further_apart_than_the_clocks_differ_are_in_order(skew_ms: int) -> None:
    order = order_quality(1, skew_ms=skew_ms, count=5_000)
    assert order.inverted_ms <= skew_ms + 1
    assert order.inverted_ms >= skew_ms * 0.8, "a skew that is not seen was not tried"
