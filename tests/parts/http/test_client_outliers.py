"""Which of several addresses is asked, and which is left out for a while."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.parts.http.core.outliers import OutlierRules, Outliers

RULES = OutlierRules(failures=3, eject_s=10, eject_max_s=35)


class Model:
    """The rules as they are told, with the whole history of each address."""

    def __init__(self, count, rules):
        self.rules = rules
        self.history = [[] for _ in range(count)]  # since it was ejected last
        self.stays = [[] for _ in range(count)]  # (from, until) of each ejection not forgiven
        self.back_s = [0.0] * count

    def ejected(self, now_s):
        return [n for n, back_s in enumerate(self.back_s) if back_s > now_s]

    def succeeded(self, place, now_s):
        self.history[place].append(True)
        stays = self.stays[place]
        if stays and now_s - stays[-1][1] >= stays[-1][1] - stays[-1][0]:
            stays.clear()

    def failed(self, place, now_s):
        history = self.history[place]
        history.append(False)
        row = 0
        while row < len(history) and not history[-1 - row]:
            row += 1
        others = len(self.ejected(now_s))
        if row < self.rules.failures or place in self.ejected(now_s):
            return
        if others + 1 > len(self.history) // 2:
            return
        out_s = min(self.rules.eject_s * 2 ** len(self.stays[place]), self.rules.eject_max_s)
        self.stays[place].append((now_s, now_s + out_s))
        self.back_s[place] = now_s + out_s
        history.clear()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("pick"), st.just(0)),
        st.tuples(st.just("succeeded"), st.integers(0, 5)),
        st.tuples(st.just("failed"), st.integers(0, 5)),
        st.tuples(st.just("wait"), st.sampled_from([0, 1, 4, 10, 64])),
    ),
    max_size=120,
)
few_rules = st.builds(
    OutlierRules,
    balance=st.sampled_from(["round-robin", "least-in-flight"]),
    failures=st.integers(1, 3),
    eject_s=st.sampled_from([1, 4]),
    eject_max_s=st.sampled_from([1, 16]),
)


@settings(max_examples=400, deadline=None)
@given(st.integers(1, 6), few_rules, steps)
def test_whatever_happens_the_same_addresses_are_out_as_in_the_model(count, rules, steps):
    outliers, model, now_s, in_flight = Outliers(count, rules), Model(count, rules), 500.0, []
    for step, which in steps:
        if step == "wait":
            now_s += which
        elif step == "pick":
            place = outliers.pick(now_s)
            assert place not in model.ejected(now_s)
            if rules.balance == "least-in-flight":
                flying = Counter(in_flight)
                ready = set(range(count)) - set(model.ejected(now_s))
                assert flying[place] == min(flying[n] for n in ready)
            in_flight.append(place)
        elif which < len(in_flight):
            place = in_flight.pop(which)
            getattr(outliers, step)(place, now_s)
            getattr(model, step)(place, now_s)
            outliers.left(place)
        assert list(outliers.ejected(now_s)) == model.ejected(now_s)
        assert len(model.ejected(now_s)) <= count // 2


def fail(outliers, place, times, now_s):
    for _ in range(times):
        outliers.failed(place, now_s)


def picked(outliers, times, now_s):
    found = []
    for _ in range(times):
        found.append(outliers.pick(now_s))
        outliers.left(found[-1])
    return found


def test_each_gets_its_turn():
    assert picked(Outliers(3, RULES), 7, 0) == [0, 1, 2, 0, 1, 2, 0]


def test_the_least_busy_is_asked_and_of_equals_the_next_in_turn():
    outliers = Outliers(3, OutlierRules(balance="least-in-flight"))
    assert [outliers.pick(0) for _ in range(4)] == [0, 1, 2, 0]
    outliers.left(2)
    assert outliers.pick(0) == 2
    outliers.left(0)
    outliers.left(0)
    assert outliers.pick(0) == 0


def test_so_many_failures_in_a_row_eject_and_one_less_does_not():
    outliers = Outliers(3, RULES)
    fail(outliers, 1, 2, 0)
    outliers.succeeded(1, 0)
    fail(outliers, 1, 2, 0)
    assert outliers.ejected(0) == []
    fail(outliers, 1, 1, 0)
    assert outliers.ejected(0) == [1]
    assert picked(outliers, 4, 0) == [0, 2, 0, 2]
    assert picked(outliers, 3, 10) == [0, 1, 2], "it is back"


def test_each_time_it_is_out_for_twice_as_long_up_to_a_limit():
    outliers, now_s, found = Outliers(2, RULES), 0.0, []
    for _ in range(4):
        fail(outliers, 0, 3, now_s)
        began_s = now_s
        while outliers.ejected(now_s):
            now_s += 1
        found.append(now_s - began_s)
    assert found == [10, 20, 35, 35]


def test_a_success_as_long_after_its_return_as_it_was_out_is_a_new_beginning():
    for later_s, out_s in ((9.9, 20), (10, 10)):
        outliers = Outliers(2, RULES)
        fail(outliers, 0, 3, 0)
        outliers.succeeded(0, 10 + later_s)
        fail(outliers, 0, 3, 20)
        assert outliers.ejected(20 + out_s - 0.1) == [0]
        assert outliers.ejected(20 + out_s) == []


@pytest.mark.parametrize(("count", "most"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_at_most_half_are_out_at_once(count, most):
    outliers = Outliers(count, RULES)
    for place in range(count):
        fail(outliers, place, 3, 0)
    assert len(outliers.ejected(0)) == most
    assert len(picked(outliers, count, 0)) == count


def test_who_could_not_be_ejected_goes_when_there_is_room_and_it_fails_again():
    outliers = Outliers(2, RULES)
    fail(outliers, 0, 3, 0)
    fail(outliers, 1, 3, 5)
    assert outliers.ejected(5) == [0]
    fail(outliers, 1, 1, 10)
    assert outliers.ejected(10) == [1]


def test_what_was_in_flight_when_it_was_ejected_does_not_keep_it_out_longer():
    outliers = Outliers(2, RULES)
    fail(outliers, 0, 3, 0)
    fail(outliers, 0, 20, 9)
    assert outliers.ejected(10) == []


def test_a_name_without_an_address_is_no_name():
    with pytest.raises(AssertionError):
        Outliers(0, RULES)
