"""Lists that are appended to and read: each anomaly by its name, and what all serial orders say."""

import random
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.parts.histories.contract import Operation
from bastide.parts.histories.core.appends import check, check_strict


def txn(number, steps, *, invoked=0.0, returned=100.0, outcome="ok"):
    """`steps` like "ax1 rx[1,2]": append 1 to x, read x and find 1 and 2."""
    asked, told = [], []
    for step in steps.split():
        kind, key, value = step[0], step[1], step[2:]
        if kind == "a":
            asked.append(("append", key, int(value)))
            told.append(asked[-1])
        else:
            asked.append(("read", key))
            found = tuple(int(element) for element in value.strip("[]").split(",") if element)
            told.append(("read", key, found))
    return Operation(
        number=number,
        process=f"c{number}",
        kind="txn",
        argument=tuple(asked),
        invoked=invoked,
        returned=returned,
        outcome=outcome,
        result=tuple(told) if outcome == "ok" else None,
    )


def names(found):
    return {finding.name for finding in found}


STORIES = {
    "G0, dirty write: writes of two interleave": (
        "G0",
        ["ax1 ay1", "ax2 ay2", "rx[1,2] ry[2,1]"],
    ),
    "G1c: each sees what the other did": ("G1c", ["ax1 ry[1]", "ay1 rx[1]"]),
    "G-single, read skew: a reader sees one half of a transfer": (
        "G-single",
        ["ax1 ay1", "rx[1] ry[]"],
    ),
    "G-single, lost update: two read the same and both append": (
        "G-single",
        ["rx[] ax1", "rx[] ax2", "rx[1,2]"],
    ),
    "G2, write skew: each reads what the other is about to write": (
        "G2",
        ["rx[] ay1", "ry[] ax1"],
    ),
    "G1b, intermediate read: the middle of a transaction is seen": (
        "G1b",
        ["ax1 ax2", "rx[1]"],
    ),
    "a list forks: two reads agree on no order (split brain)": (
        "incompatible order",
        ["ax1", "ax2", "rx[1]", "rx[2]"],
    ),
    "an append is done twice: a retry that was not recognized": (
        "duplicate element",
        ["ax1", "rx[1,1]"],
    ),
    "a transaction does not see its own append": ("internal", ["ax1 rx[]"]),
    "a list that is read twice in a transaction has changed": (
        "internal",
        ["ax1", "rx[] rx[1]"],
    ),
    "an element comes out of nowhere": ("phantom", ["rx[7]"]),
}


@pytest.mark.parametrize("story", STORIES)
def test_an_anomaly_is_found_by_its_name(story):
    name, transactions = STORIES[story]
    history = [txn(n, steps) for n, steps in enumerate(transactions)]
    assert name in names(check(history))
    assert name in names(check_strict(history))


def test_dirty_read_is_one_of_what_failed():
    (found,) = check([txn(0, "ax1", outcome="failed"), txn(1, "rx[1]")])
    assert (found.name, found.operations) == ("G1a", (0, 1))


def test_what_is_unknown_happened_if_it_was_seen_and_else_needs_not_have():
    assert not check_strict([txn(0, "ax1", outcome="unknown"), txn(1, "rx[1]")])
    assert not check_strict([txn(0, "ax1", outcome="unknown"), txn(1, "rx[]", invoked=50)])
    skewed = [txn(0, "ax1 ay1", outcome="unknown"), txn(1, "rx[1] ry[]")]
    assert names(check(skewed)) == {"G-single"}


def test_a_stale_read_is_serializable_and_not_strictly_so():
    history = [txn(0, "ax1", returned=1.0), txn(1, "rx[]", invoked=2.0, returned=3.0)]
    assert not check(history)
    (found,) = check_strict(history)
    assert found.name == "G-single-realtime"
    assert found.message == "1 -rw-> 0 (x: 1 was not read), 0 -rt-> 1 (had returned)"


def test_a_lost_append_is_found_by_who_reads_later():
    history = [
        txn(0, "ax1", returned=1.0),
        txn(1, "ax2", invoked=2.0, returned=3.0),
        txn(2, "rx[1]", invoked=4.0, returned=5.0),
    ]
    assert names(check_strict(history)) == {"G-single-realtime"}


def test_time_is_followed_through_those_between():
    history = [
        txn(0, "ax1", returned=1.0),
        *(txn(n, f"ay{n}", invoked=2.0 * n, returned=2.0 * n + 1) for n in range(1, 9)),
        txn(9, "rx[]", invoked=20.0, returned=21.0),
    ]
    assert names(check_strict(history)) == {"G-single-realtime"}


def test_the_shortest_cycle_is_told():
    ring = [f"rx{n}[] ax{(n + 1) % 5}1" for n in range(5)]
    history = [txn(n, steps.replace("x", "")) for n, steps in enumerate(ring)]
    (found,) = check(history)
    assert (found.name, len(found.operations)) == ("G2", 5)
    pair = [txn(5, "rp[] aq1"), txn(6, "rq[] ap1")]
    (found,) = check([*history, *pair])
    assert (found.name, set(found.operations)) == ("G2", {5, 6})


@given(seed=st.integers(0, 2**32), overlap=st.integers(1, 6))
def test_what_was_really_done_one_by_one_is_accepted(seed, overlap):
    assert not check_strict(_serial(random.Random(seed), 40, overlap))


def test_findings_are_told_exactly_if_no_serial_order_explains_the_reads():
    """Runs in which each transaction reads a list as it was some time ago."""
    wrong = 0
    for seed in range(1_500):
        chance = random.Random(seed)
        history = _serial(chance, chance.randint(2, 5), 5, lag=2)
        explained = any(_explains(order) for order in permutations(history))
        assert bool(check(history)) == (not explained), f"seed {seed}"
        wrong += not explained
    assert 200 < wrong < 1_400


def test_ten_thousand_transactions_have_no_cycle():
    assert not check_strict(_serial(random.Random(1), 10_000, 8, keys=200))


def test_what_is_no_history_of_lists_is_a_mistake_of_the_test():
    with pytest.raises(ValueError, match="more than once"):
        check([txn(0, "ax1"), txn(1, "ax1")])
    with pytest.raises(ValueError, match="operation 0 is no transaction"):
        check([Operation(number=0, process="c", kind="read", invoked=0.0)])


def _serial(chance, count, overlap, *, keys=2, lag=0):
    """Each works at a moment between its begin and its end, about `overlap` go on at a time. With
    `lag`, what it reads is up to so many versions old.
    """
    lists = {}
    history, element = [], 0
    for number in range(count):
        asked, told, own = [], [], set()
        for _ in range(chance.randint(1, 3)):
            key = f"k{chance.randrange(keys)}"
            versions = lists.setdefault(key, [()])
            if chance.random() < 0.5:
                element += 1
                versions.append((*versions[-1], element))
                own.add(key)
                asked.append(("append", key, element))
                told.append(asked[-1])
            else:
                back = 0 if key in own else min(chance.randint(0, lag), len(versions) - 1)
                asked.append(("read", key))
                told.append(("read", key, versions[len(versions) - 1 - back]))
        history.append(
            Operation(
                number=number,
                process=f"c{number % overlap}",
                kind="txn",
                argument=tuple(asked),
                invoked=number - overlap * chance.random() / 2,
                returned=number + overlap * chance.random() / 2,
                outcome="ok",
                result=tuple(told),
            )
        )
    return history


def _explains(order):
    lists = {}
    for operation in order:
        for kind, key, value in operation.result:
            if kind == "append":
                lists[key] = (*lists.get(key, ()), value)
            elif lists.get(key, ()) != value:
                return False
    return True
