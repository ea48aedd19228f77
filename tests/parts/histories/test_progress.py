"""Liveness behind a healed fault."""

from bastide.parts.histories.core.progress import check
from tests.parts.histories.kit import lost, op


def stuck(history, processes=("a",)):
    return [f.message for f in check(history, processes, healed_s=10, within_s=5)]


def test_an_operation_that_comes_through_in_time_is_progress():
    assert not stuck([op("a", "read", None, 11, 12)])
    assert not stuck([op("a", "read", None, 3, 15)])


def test_too_early_too_late_failed_unknown_or_never_is_none():
    told = ["a: nothing came through from 10 to 15"]
    assert stuck([op("a", "read", None, 9, 10)]) == told
    assert stuck([op("a", "read", None, 11, 15.1)]) == told
    assert stuck([op("a", "read", None, 11, 12, outcome="failed")]) == told
    assert stuck([lost("a", "read", None, 11)]) == told
    assert stuck([]) == told


def test_each_client_owes_its_own_and_is_told_with_its_last_try():
    last = lost("b", "read", None, 12)
    history = [op("a", "read", None, 11, 12), lost("b", "read", None, 8), last]
    (found,) = check(history, ["a", "b"], healed_s=10, within_s=5)
    assert found.operations == (last.number,)
