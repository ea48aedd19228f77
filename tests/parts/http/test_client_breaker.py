"""The circuit breaker against a model that keeps every call in a list."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.parts.http.core.breaker import BUCKETS, Breaker, BreakerRules

RULES = BreakerRules(window_s=10, volume_min=4, share=0.5, open_s=5, probes=2)


class Model:
    """Slow and plain: every call that ended is a line, and the window is a sum over them."""

    def __init__(self, rules):
        self.rules = rules
        self.state = "closed"
        self.ended = []
        self.opened_s = 0
        self.probes = set()
        self.done = 0
        self.calls = {}  # of this state's period; those of an earlier one are of no interest

    def turn(self, state):
        self.state, self.ended, self.probes, self.done = state, [], set(), 0
        self.calls = {}

    def look(self, now_s):
        if self.state == "open" and now_s - self.opened_s >= self.rules.open_s:
            self.turn("half-open")

    def admit(self, call, now_s):
        self.look(now_s)
        full = len(self.probes) + self.done >= self.rules.probes
        if self.state == "open" or (self.state == "half-open" and full):
            return False
        self.calls[call] = True
        if self.state == "half-open":
            self.probes.add(call)
        return True

    def end(self, call, how, now_s):
        if call not in self.calls:
            return
        self.probes.discard(call)
        if how == "dropped":
            return
        if self.state == "half-open" and how == "succeeded":
            self.done += 1
            if self.done == self.rules.probes:
                self.turn("closed")
            return
        self.ended.append((now_s, how))
        if how == "failed" and (self.state == "half-open" or self.is_sick(now_s)):
            self.turn("open")
            self.opened_s = now_s

    def is_sick(self, now_s):
        bucket_s = self.rules.window_s / BUCKETS
        newest = int(now_s / bucket_s)
        recent = [how for at_s, how in self.ended if newest - int(at_s / bucket_s) < BUCKETS]
        failures = recent.count("failed")
        return len(recent) >= self.rules.volume_min and failures >= self.rules.share * len(recent)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("admit"), st.none()),
        st.tuples(st.sampled_from(["succeeded", "failed", "dropped"]), st.integers(0, 5)),
        st.tuples(st.just("wait"), st.sampled_from([0, 0.25, 1, 2.5, 5, 11, 30])),
    ),
    max_size=80,
)


@settings(max_examples=400, deadline=None)
@given(
    st.builds(
        BreakerRules,
        window_s=st.sampled_from([1, 10]),
        volume_min=st.integers(1, 5),
        share=st.sampled_from([0.1, 0.5, 1]),
        open_s=st.sampled_from([1, 5]),
        probes=st.integers(1, 3),
    ),
    steps,
)
def test_whatever_calls_do_it_does_as_the_model(rules, steps):
    breaker, model, now_s, out = Breaker(rules), Model(rules), 1_000.0, []
    for call, (step, which) in enumerate(steps):
        if step == "wait":
            now_s += which
        elif step == "admit":
            ticket = breaker.admit(now_s)
            assert (ticket is not None) == model.admit(call, now_s)
            if ticket is not None:
                out.append((call, ticket))
        elif which < len(out):
            ended, ticket = out.pop(which)
            model.end(ended, step, now_s)
            if step == "dropped":
                breaker.dropped(ticket)
            else:
                getattr(breaker, step)(ticket, now_s)
        model.look(now_s)
        assert breaker.state(now_s) == model.state
        assert (breaker.retry_after_s(now_s) == 0) == (model.state == "closed")


def after(*outcomes, rules=RULES, now_s=0.0):
    breaker = Breaker(rules)
    for outcome in outcomes:
        getattr(breaker, outcome)(breaker.admit(now_s), now_s)
    return breaker


def test_below_the_least_volume_it_stays_closed_and_at_it_it_opens():
    assert after(*["failed"] * 3).state(0) == "closed"
    assert after(*["failed"] * 4).state(0) == "open"


def test_below_the_share_it_stays_closed_and_at_it_it_opens():
    assert after(*["succeeded"] * 3, "failed", "failed").state(0) == "closed"
    assert after(*["succeeded"] * 3, *["failed"] * 3).state(0) == "open"


def test_while_open_it_tells_when_to_come_again_and_lets_nobody_through():
    breaker = after(*["failed"] * 4)
    assert breaker.retry_after_s(1) == 4
    assert breaker.admit(4.99) is None
    assert breaker.admit(5) is not None


def test_half_open_it_lets_so_many_probes_through_and_closes_when_all_succeeded():
    breaker = after(*["failed"] * 4)
    first, second = breaker.admit(5), breaker.admit(5)
    assert breaker.admit(5) is None
    assert breaker.retry_after_s(5) == RULES.open_s
    breaker.succeeded(first, 6)
    assert breaker.admit(6) is None, "two probes were let through already"
    breaker.succeeded(second, 6)
    assert breaker.state(6) == "closed"


def test_one_probe_that_fails_opens_it_again_for_the_whole_time():
    breaker = after(*["failed"] * 4)
    first, second = breaker.admit(5), breaker.admit(5)
    breaker.failed(first, 7)
    breaker.succeeded(second, 7)
    assert breaker.admit(11.9) is None
    assert breaker.admit(12) is not None


def test_a_probe_that_showed_nothing_makes_room_for_another():
    breaker = after(*["failed"] * 4)
    tickets = [breaker.admit(5), breaker.admit(5)]
    breaker.dropped(tickets[0])
    assert breaker.admit(5) is not None
    assert breaker.admit(5) is None


def test_a_call_from_before_it_opened_is_no_probe():
    breaker = Breaker(RULES)
    slow = [breaker.admit(0) for _ in range(3)]
    for _ in range(4):
        breaker.failed(breaker.admit(0), 0)
    probes = [breaker.admit(5), breaker.admit(5)]
    breaker.failed(slow[0], 5)
    breaker.succeeded(slow[1], 5)
    breaker.dropped(slow[2])
    assert breaker.state(5) == "half-open"
    for probe in probes:
        breaker.succeeded(probe, 5)
    assert breaker.state(5) == "closed"


def test_failures_older_than_the_window_count_no_more():
    breaker = after(*["failed"] * 3)
    breaker.failed(breaker.admit(10), 10)
    assert breaker.state(10) == "closed"
    breaker = after(*["failed"] * 3)
    breaker.failed(breaker.admit(9.9), 9.9)
    assert breaker.state(9.9) == "open"


@pytest.mark.parametrize("share", [0.01, 1.0])
def test_one_failure_of_one_call_opens_it_only_if_one_call_is_volume_enough(share):
    rules = BreakerRules(volume_min=1, share=share)
    assert after("failed", rules=rules).state(0) == "open"
    assert after("failed", rules=BreakerRules(share=share)).state(0) == "closed"
