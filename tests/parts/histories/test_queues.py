"""Queues: loss, phantoms, doubles and order."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.parts.histories.core.queues import (
    check_at_least_once,
    check_exactly_once,
    check_order,
)
from tests.parts.histories.kit import PlainQueue, lost, op, run


def put(element, at=0, outcome="ok", key=""):
    return op("p", "put", element, at, at + 1, key=key, outcome=outcome)


def take(element, at=10):
    return op("t", "take", None, at, at + 1, element)


def names(found):
    return [finding.name for finding in found]


def test_what_was_acknowledged_and_never_comes_is_lost():
    (found,) = check_at_least_once([put(1), put(2), take(2)])
    assert (found.name, found.message) == ("lost", "1 never came, 0 of them excused: 1")
    assert names(check_exactly_once([put(1)])) == ["lost"]


def test_what_is_unknown_or_failed_need_not_come():
    assert not check_at_least_once([put(1, outcome="failed"), lost("p", "put", 2, 0)])


def test_what_is_unknown_may_come_and_what_failed_may_not():
    assert not check_exactly_once([lost("p", "put", 1, 0), take(1)])
    assert names(check_exactly_once([put(1, outcome="failed"), take(1)])) == ["phantom"]


def test_what_was_never_put_or_not_yet_is_a_phantom():
    assert names(check_at_least_once([take(7)])) == ["phantom"]
    assert names(check_at_least_once([put(1, at=20), take(1, at=10)])) == ["phantom"]
    assert not check_at_least_once([put(1, at=10.5), take(1, at=10)])


def test_twice_is_wrong_for_exactly_once_only():
    history = [put(1), take(1), take(1, at=20)]
    assert not check_at_least_once(history)
    assert names(check_exactly_once(history)) == ["twice"]


def test_a_take_whose_answer_was_lost_excuses_one_where_each_comes_once():
    history = [put(1), lost("t", "take", None, 5)]
    assert not check_exactly_once(history)
    assert names(check_at_least_once(history)) == ["lost"]
    assert names(check_exactly_once([*history, put(2)])) == ["lost"]


def test_an_empty_answer_is_no_element():
    assert not check_exactly_once([take(None)])


def test_one_that_overtakes_another_of_its_key_is_found():
    turned = [put(1, at=0), put(2, at=2), take(2, at=10), take(1, at=12)]
    (found,) = check_order(turned)
    assert (found.name, found.message) == ("overtaken", "2 came before 1, put before it")
    assert not check_order([put(1, 0, key="x"), put(2, 2, key="y"), take(2, 10), take(1, 12)])


def test_what_overlaps_has_no_order():
    assert not check_order([put(1, at=0), put(2, at=0.5), take(2, at=10), take(1, at=12)])
    assert not check_order([put(1, at=0), put(2, at=2), take(2, at=10), take(1, at=10.5)])


def test_an_element_that_comes_again_later_does_not_break_the_order():
    assert not check_order([put(1, 0), put(2, 2), take(1, 10), take(2, 12), take(1, 14)])


def test_an_element_that_is_put_twice_is_a_mistake_of_the_test():
    with pytest.raises(ValueError, match="1 is put twice"):
        check_exactly_once([put(1), put(1, at=3)])


class _Numbered(PlainQueue):
    """A plain queue with elements of their own."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def draw(self, chance):
        self.count += 1
        return chance.choice((("put", self.count), ("take", None)))


@given(seed=st.integers(0, 2**32))
def test_what_a_queue_really_did_is_accepted_and_every_pair_is_compared(seed):
    plain = _Numbered()
    history = run(plain, seed, operations=60, clients=5, failed=0.1)
    rest = [take(element, at=1000 + 2 * n) for n, element in enumerate(plain.elements)]
    history += rest
    assert not [*check_exactly_once(history), *check_order(history)]
    results = [n for n, o in enumerate(history) if o.kind == "take" and o.result is not None]
    chance = random.Random(seed)
    if len(results) > 1:
        one, other = chance.sample(results, 2)
        swapped = list(history)
        swapped[one], swapped[other] = (
            _with_result(history[one], history[other].result),
            _with_result(history[other], history[one].result),
        )
        assert bool(check_order(swapped)) == _turned(swapped)


def _with_result(operation, result):
    return op(operation.process, "take", None, operation.invoked, operation.returned, result)


def _turned(history):
    """Every pair, one with the other."""
    puts = {o.argument: o for o in history if o.kind == "put" and o.outcome == "ok"}
    takes = {o.result: o for o in history if o.kind == "take" and o.result is not None}
    both = [e for e in puts if e in takes]
    return any(
        puts[a].returned < puts[b].invoked and takes[b].returned < takes[a].invoked
        for a in both
        for b in both
    )
