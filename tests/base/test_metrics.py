import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.base.metrics import (
    BUCKETS_S,
    CALL_SECONDS,
    CALLS,
    CALLS_FAILED,
    SAMPLE_ONE_IN,
    Histogram,
    Registry,
    counted,
    exposition,
    verbs,
)


class Grain(Exception):
    pass


class Mill(Protocol):
    async def grind(self, grain: str, *, fine: bool = False) -> str: ...

    def weigh(self, grain: str) -> int: ...

    def sacks(self, count: int) -> AsyncIterator[int]: ...


class WaterMill:
    """Moves its clock by what a verb takes."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.closed = False

    def monotonic(self) -> float:
        return self.now_s

    async def grind(self, grain: str, *, fine: bool = False) -> str:
        self.now_s += 0.25
        await asyncio.sleep(0)
        if grain == "stones":
            raise Grain(grain)
        return f"{grain} {fine}"

    def weigh(self, grain: str) -> int:
        self.now_s += 0.5
        if grain == "stones":
            raise Grain(grain)
        return len(grain)

    async def sacks(self, count: int) -> AsyncIterator[int]:
        try:
            for sack in range(count):
                self.now_s += 1
                yield sack
            if count > 3:
                raise Grain("no more")
        finally:
            self.closed = True


class Counted:
    """A mill, counted for the bakery, and what was counted."""

    def __init__(self) -> None:
        self.mill = WaterMill()
        self.registry = Registry()
        self.used = counted(
            Mill,
            self.mill,
            system="mill",
            client="bakery",
            registry=self.registry,
            monotonic=self.mill.monotonic,
        )

    def calls(self, verb: str) -> float:
        return self.registry.counter(CALLS, "", **self._labels(verb)).value

    def failed(self, verb: str, outcome: str) -> float:
        labels = self._labels(verb)
        return self.registry.counter(CALLS_FAILED, "", outcome=outcome, **labels).value

    def times(self, verb: str) -> Histogram:
        return self.registry.histogram(CALL_SECONDS, "", **self._labels(verb))

    def _labels(self, verb: str) -> dict[str, str]:
        return {"system": "mill", "verb": verb, "client": "bakery"}


@pytest.fixture
def bakery() -> Counted:
    return Counted()


async def test_an_awaited_verb_is_counted_timed_and_unchanged(bakery: Counted) -> None:
    for _ in range(3):
        assert await bakery.used.grind("rye", fine=True) == "rye True"
    assert bakery.calls("grind") == 3
    assert bakery.times("grind").count == 3
    assert bakery.times("grind").total_s == 0.75


def test_a_synchronous_verb_is_counted_each_time_and_timed_one_in_64(bakery: Counted) -> None:
    for _ in range(SAMPLE_ONE_IN * 2 + 5):
        assert bakery.used.weigh("rye") == 3
    assert bakery.calls("weigh") == SAMPLE_ONE_IN * 2 + 5
    assert bakery.times("weigh").count == 2
    assert bakery.times("weigh").total_s == 1.0


async def test_an_error_passes_as_it_is_and_is_counted_by_its_name(bakery: Counted) -> None:
    with pytest.raises(Grain, match="stones"):
        await bakery.used.grind("stones")
    with pytest.raises(Grain, match="stones"):
        bakery.used.weigh("stones")
    assert bakery.failed("grind", "Grain") == 1
    assert bakery.failed("weigh", "Grain") == 1
    assert bakery.calls("grind") == bakery.calls("weigh") == 1


async def test_a_cancelled_call_is_counted_as_cancelled(bakery: Counted) -> None:
    calling = asyncio.create_task(bakery.used.grind("rye"))
    await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert bakery.failed("grind", "CancelledError") == 1


async def test_an_iterator_is_one_call_and_gives_what_it_gave(bakery: Counted) -> None:
    assert [sack async for sack in bakery.used.sacks(3)] == [0, 1, 2]
    assert bakery.calls("sacks") == 1
    assert bakery.times("sacks").total_s == 3


async def test_an_iterator_that_fails_is_counted_as_failed(bakery: Counted) -> None:
    with pytest.raises(Grain):
        [sack async for sack in bakery.used.sacks(4)]
    assert bakery.failed("sacks", "Grain") == 1


async def test_an_iterator_left_early_is_closed_below_and_no_failure(bakery: Counted) -> None:
    sacks = bakery.used.sacks(3)
    assert await anext(sacks) == 0
    await sacks.aclose()
    assert bakery.mill.closed
    assert bakery.failed("sacks", "GeneratorExit") == 0
    assert bakery.times("sacks").count == 1


def test_only_what_the_contract_names_can_be_called(bakery: Counted) -> None:
    assert verbs(Mill) == ["grind", "sacks", "weigh"]
    assert not hasattr(bakery.used, "monotonic")


async def test_each_client_has_counts_of_its_own(bakery: Counted) -> None:
    other = counted(
        Mill,
        bakery.mill,
        system="mill",
        client="brewery",
        registry=bakery.registry,
        monotonic=bakery.mill.monotonic,
    )
    await other.grind("malt")
    assert bakery.calls("grind") == 0
    text = exposition(bakery.registry)
    assert 'bastide_calls_total{client="brewery",system="mill",verb="grind"} 1\n' in text
    assert 'bastide_calls_total{client="bakery",system="mill",verb="grind"} 0\n' in text


@given(st.lists(st.floats(0, 20), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_right_to_the_bucket_it_falls_in(seconds: list[float], share: float) -> None:
    histogram = Histogram()
    for one in seconds:
        histogram.observe(one)
    place = max(0, -int(-(share * len(seconds)) // 1) - 1)
    exact = sorted(seconds)[place]
    expected = next((bound for bound in BUCKETS_S if exact <= bound), BUCKETS_S[-1])
    assert histogram.quantile(share) == expected


def test_nothing_observed_has_no_quantile() -> None:
    assert Histogram().quantile(0.99) == 0


def test_the_exposition_is_what_prometheus_reads() -> None:
    registry = Registry()
    registry.counter("bastide_a_total", "As.", system='m"i\\l\nl').add(1_234_567)
    registry.gauge("bastide_b", "Bs.", lambda: 0.5)
    registry.histogram("bastide_c_seconds", "Cs.").observe(0.3)
    lines = exposition(registry).splitlines()
    assert lines[:4] == [
        "# HELP bastide_a_total As.",
        "# TYPE bastide_a_total counter",
        'bastide_a_total{system="m\\"i\\\\l\\nl"} 1234567',
        "# HELP bastide_b Bs.",
    ]
    assert "bastide_b 0.5" in lines
    assert 'bastide_c_seconds_bucket{le="0.25"} 0' in lines
    assert 'bastide_c_seconds_bucket{le="0.5"} 1' in lines
    assert 'bastide_c_seconds_bucket{le="+Inf"} 1' in lines
    assert lines[-2:] == ["bastide_c_seconds_sum 0.3", "bastide_c_seconds_count 1"]


def test_the_same_name_and_labels_are_the_same_series() -> None:
    registry = Registry()
    registry.counter("bastide_a_total", "As.", verb="a", client="b").add()
    registry.counter("bastide_a_total", "As.", client="b", verb="a").add()
    assert registry.counter("bastide_a_total", "As.", verb="a", client="b").value == 2
    assert len(registry.families()) == 1


def test_the_newest_reader_of_a_gauge_counts() -> None:
    registry = Registry()
    registry.gauge("bastide_a", "As.", lambda: 1)
    registry.gauge("bastide_a", "As.", lambda: 2)
    assert "bastide_a 2\n" in exposition(registry)


def test_a_name_has_one_kind() -> None:
    registry = Registry()
    registry.counter("bastide_a", "As.")
    with pytest.raises(AssertionError, match="bastide_a is a counter"):
        registry.histogram("bastide_a", "As.")


def test_series_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bastide.base.metrics.SERIES_MAX", 10)
    registry = Registry()
    for number in range(10):
        registry.counter("bastide_a", "As.", verb=str(number))
    registry.counter("bastide_a", "As.", verb="9")
    with pytest.raises(AssertionError, match="over 10 series"):
        registry.counter("bastide_a", "As.", verb="10")
