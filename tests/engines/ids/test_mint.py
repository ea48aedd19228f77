"""The mint, under clocks that do what they like."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.engines.ids.contract import ClockBehind, FencePassed
from bastide.engines.ids.core.layout import BASTIDE
from bastide.engines.ids.core.mint import Mint
from bastide.engines.ids.model import OnBackwardClock

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000


def a_mint(
    *,
    floor_ms: int = 0,
    fence_ms: int = NOW_MS + 2_000,
    on_backward_clock: OnBackwardClock = "continue",
) -> Mint:
    return Mint(
        BASTIDE,
        worker=7,
        floor_ms=floor_ms,
        fence_ms=fence_ms,
        on_backward_clock=on_backward_clock,
    )


def stamp_of(mint: Mint, now_ms: int) -> int:
    id_ = mint.take(now_ms)
    assert id_ is not None
    return BASTIDE.decode(id_).at_ms


def spend(mint: Mint, now_ms: int) -> range:
    """What is left of the millisecond."""
    return mint.take_many(now_ms, 4096)


@pytest.mark.box("ids.in-process")
def test_an_id_says_the_clocks_millisecond_the_worker_and_counts_up() -> None:
    mint = a_mint()
    first, second = mint.take(NOW_MS), mint.take(NOW_MS)
    assert first is not None
    assert second == first + 1
    said = BASTIDE.decode(first)
    assert (said.at_ms, said.worker, said.sequence) == (NOW_MS, 7, 0)


def test_a_new_millisecond_begins_at_sequence_0() -> None:
    mint = a_mint()
    mint.take_many(NOW_MS, 10)
    id_ = mint.take(NOW_MS + 1)
    assert id_ == BASTIDE.encode(NOW_MS + 1, 7, 0)


@pytest.mark.box("ids.4096-a-millisecond")
def test_a_millisecond_holds_4096_ids_one_by_one_and_the_next_one_waits() -> None:
    mint = a_mint()
    ids = [mint.take(NOW_MS) for _ in range(4096)]
    assert len(set(ids)) == 4096
    assert None not in ids
    assert mint.take(NOW_MS) is None
    assert mint.take(NOW_MS + 1) == BASTIDE.encode(NOW_MS + 1, 7, 0)


def test_a_block_ends_with_its_millisecond() -> None:
    mint = a_mint()
    assert len(mint.take_many(NOW_MS, 4000)) == 4000
    assert len(mint.take_many(NOW_MS, 4000)) == 96
    assert mint.take_many(NOW_MS, 1) == range(0)
    assert len(mint.take_many(NOW_MS + 1, 5000)) == 4096


@pytest.mark.box("ids.1024-workers")
def test_1024_workers_have_ids_of_their_own_in_one_millisecond() -> None:
    mints = [Mint(BASTIDE, worker=w, floor_ms=0, fence_ms=NOW_MS) for w in range(1024)]
    blocks = [mint.take_many(NOW_MS, 4096) for mint in mints]
    blocks.sort(key=lambda block: block[0])
    assert all(a[-1] + 1 == b[0] for a, b in itertools.pairwise(blocks))


@pytest.mark.box("ids.backward-clock")
def test_a_clock_that_steps_back_an_hour_goes_on_from_the_last_millisecond() -> None:
    mint = a_mint()
    before = mint.take(NOW_MS)
    after = mint.take(NOW_MS - HOUR_MS)
    assert before is not None
    assert after == before + 1


def test_behind_the_clock_a_spent_millisecond_is_followed_by_the_next_without_waiting() -> None:
    mint = a_mint()
    spend(mint, NOW_MS)
    assert stamp_of(mint, NOW_MS - HOUR_MS) == NOW_MS + 1


@pytest.mark.box("ids.backward-clock")
def test_refuse_makes_no_ids_until_the_clock_has_caught_up() -> None:
    mint = a_mint(on_backward_clock="refuse")
    last = mint.take(NOW_MS)
    with pytest.raises(ClockBehind):
        mint.take(NOW_MS - 1)
    with pytest.raises(ClockBehind):
        mint.take_many(NOW_MS - 1, 1)
    assert last is not None
    assert mint.take(NOW_MS) == last + 1


def test_refuse_does_not_step_ahead_of_a_clock_that_stands_still() -> None:
    mint = a_mint(on_backward_clock="refuse")
    spend(mint, NOW_MS)
    with pytest.raises(ClockBehind):
        mint.step()


def test_a_mint_starts_above_its_floor_even_if_the_clock_is_below() -> None:
    assert stamp_of(a_mint(floor_ms=NOW_MS), NOW_MS - HOUR_MS) == NOW_MS + 1
    assert a_mint(floor_ms=NOW_MS).take(NOW_MS) is None
    assert stamp_of(a_mint(floor_ms=NOW_MS), NOW_MS + 1) == NOW_MS + 1


def test_nothing_is_stamped_beyond_the_fence() -> None:
    mint = a_mint(fence_ms=NOW_MS + 5)
    assert stamp_of(mint, NOW_MS + HOUR_MS) == NOW_MS + 5
    spend(mint, NOW_MS + HOUR_MS)
    with pytest.raises(FencePassed):
        mint.take(NOW_MS + HOUR_MS)
    with pytest.raises(FencePassed):
        mint.take_many(NOW_MS + HOUR_MS, 1)


def test_a_standing_clock_steps_up_to_the_fence_and_not_beyond() -> None:
    mint = a_mint(fence_ms=NOW_MS + 2)
    for expected_ms in (NOW_MS, NOW_MS + 1, NOW_MS + 2):
        assert BASTIDE.decode(spend(mint, NOW_MS)[0]).at_ms == expected_ms
        if expected_ms < NOW_MS + 2:
            mint.step()
    with pytest.raises(FencePassed):
        mint.step()


def test_a_fence_that_is_raised_lets_ids_go_on() -> None:
    mint = a_mint(fence_ms=NOW_MS)
    spend(mint, NOW_MS + 1)
    with pytest.raises(FencePassed):
        mint.take(NOW_MS + 1)
    mint.raise_fence(NOW_MS + 1)
    assert stamp_of(mint, NOW_MS + 1) == NOW_MS + 1


def test_a_fence_is_never_lowered() -> None:
    mint = a_mint(fence_ms=NOW_MS + 5)
    mint.raise_fence(NOW_MS)
    assert stamp_of(mint, NOW_MS + 5) == NOW_MS + 5


def test_the_fence_is_told_when_the_clock_is_at_it() -> None:
    told: list[int] = []
    mint = Mint(
        BASTIDE, worker=0, floor_ms=0, fence_ms=NOW_MS, fence_reached=lambda: told.append(1)
    )
    mint.take(NOW_MS - 1)
    assert not told
    mint.take(NOW_MS)
    assert told


def test_a_clock_before_the_epoch_stamps_the_epoch() -> None:
    assert stamp_of(a_mint(), 0) == BASTIDE.epoch_ms


def test_after_69_years_ids_end_and_do_not_wrap() -> None:
    mint = a_mint(floor_ms=BASTIDE.last_ms - 1, fence_ms=BASTIDE.last_ms + HOUR_MS)
    assert spend(mint, BASTIDE.last_ms)[-1] < 1 << 63
    with pytest.raises(FencePassed):
        mint.take(BASTIDE.last_ms + 1)
    mint.raise_fence(BASTIDE.last_ms + HOUR_MS)
    with pytest.raises(FencePassed):
        mint.take(BASTIDE.last_ms + 1)


CLOCKS = st.lists(
    st.one_of(
        st.integers(NOW_MS - 3, NOW_MS + 3),
        st.integers(NOW_MS - HOUR_MS, NOW_MS + HOUR_MS),
    ),
    min_size=1,
    max_size=60,
)
POLICIES: st.SearchStrategy[OnBackwardClock] = st.sampled_from(["continue", "refuse"])


@pytest.mark.box("ids.monotonic-per-worker")
@given(
    clock=CLOCKS,
    counts=st.lists(st.sampled_from([0, 1, 4095, 4096]), min_size=60, max_size=60),
    floor_ms=st.integers(NOW_MS - HOUR_MS, NOW_MS + 2),
    reach_ms=st.integers(0, HOUR_MS),
    policy=POLICIES,
)
def test_whatever_the_clock_ids_ascend_between_floor_and_fence(
    clock: list[int], counts: list[int], floor_ms: int, reach_ms: int, policy: OnBackwardClock
) -> None:
    fence_ms = floor_ms + reach_ms
    mint = a_mint(floor_ms=floor_ms, fence_ms=fence_ms, on_backward_clock=policy)
    last = -1
    for now_ms, count in zip(clock, counts, strict=False):
        for ids in taken(mint, now_ms, count):
            assert ids[0] > last
            last = ids[-1]
            assert floor_ms < BASTIDE.decode(ids[0]).at_ms <= fence_ms
            assert BASTIDE.decode(last).at_ms == BASTIDE.decode(ids[0]).at_ms
            if policy == "refuse":
                assert BASTIDE.decode(last).at_ms <= now_ms


def taken(mint: Mint, now_ms: int, count: int) -> list[range]:
    """One id, or with a count a block; none if the mint refuses or waits."""
    try:
        if count:
            ids = mint.take_many(now_ms, count)
        else:
            id_ = mint.take(now_ms)
            ids = range(0) if id_ is None else range(id_, id_ + 1)
    except (FencePassed, ClockBehind):
        return []
    return [ids] if ids else []
