import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.apps.console.core.rates import Looks

STEPS = st.lists(st.tuples(st.floats(0.01, 100), st.integers(0, 10**6)), min_size=1, max_size=40)


def looked(length: int, *looks: tuple[float, dict[str, float]]) -> Looks[str]:
    made: Looks[str] = Looks(length)
    for at_s, totals in looks:
        made.add(at_s, totals)
    return made


def test_a_rate_is_what_was_counted_by_the_time_it_took() -> None:
    looks = looked(9, (100, {"a": 10}), (102, {"a": 14}), (104, {"a": 14}), (106, {"a": 20}))
    assert looks.per_s("a", looks=9) == pytest.approx(10 / 6)
    assert looks.per_s("a", looks=2) == 3
    assert looks.line("a") == [2, 0, 3]
    assert looks.span_s == 6


def test_before_the_second_look_there_is_no_rate() -> None:
    assert looked(3).per_s("a", looks=3) == 0
    assert looked(3, (1, {"a": 5})).per_s("a", looks=3) == 0
    assert looked(3, (1, {"a": 5})).line("a") == []
    assert looked(3).span_s == 0


def test_what_was_not_there_at_first_had_been_counted_0_times() -> None:
    assert looked(3, (1, {}), (3, {"a": 8})).per_s("a", looks=3) == 4


def test_a_second_look_at_the_same_time_takes_the_place_of_the_first() -> None:
    looks = looked(3, (1, {"a": 0}), (2, {"a": 5}), (2, {"a": 7}))
    assert looks.line("a") == [7]


@given(STEPS, st.integers(2, 20))
def test_at_most_so_many_looks_are_kept_and_the_line_adds_up(
    steps: list[tuple[float, int]], length: int
) -> None:
    looks, at_s, total, seen = Looks[str](length), 0.0, 0.0, []
    for step_s, counted in steps:
        at_s, total = at_s + step_s, total + counted
        looks.add(at_s, {"a": total})
        seen.append((at_s, total))
    kept = seen[-length:]
    assert looks.span_s == pytest.approx(kept[-1][0] - kept[0][0])
    assert len(looks.line("a")) == len(kept) - 1
    mean = looks.per_s("a", looks=length) * looks.span_s
    assert mean == pytest.approx(kept[-1][1] - kept[0][1], abs=1e-3)
