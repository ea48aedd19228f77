"""The search for an order: known histories, and what trying all orders says."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bastide.parts.histories.contract import STEPS_MAX
from bastide.parts.histories.core.linearizability import check
from bastide.parts.histories.core.models import (
    Counter,
    Keys,
    Mutex,
    Queue,
    Register,
    Set,
    Store,
    UnknownKind,
)
from tests.parts.histories.kit import (
    PlainCounter,
    PlainMutex,
    PlainQueue,
    PlainRegister,
    PlainSet,
    PlainStore,
    by_force,
    lost,
    op,
    run,
)

OBJECTS = [
    (PlainRegister, Register),
    (PlainCounter, Counter),
    (PlainSet, Set),
    (PlainQueue, Queue),
    (PlainMutex, Mutex),
    (PlainStore, Store),
    (PlainStore, Keys),
]
BY_MODEL = pytest.mark.parametrize(("plain", "model"), OBJECTS)
ENTRY = ("a", 2, 2, 1)

GOOD = {
    "a read sees either side of a write that it overlaps": (
        Register(0),
        [
            op("a", "write", 1, 0, 10),
            op("b", "read", None, 1, 2, 0),
            op("c", "read", None, 3, 4, 1),
        ],
    ),
    "a write of unknown outcome is seen long after": (
        Register(0),
        [lost("a", "write", 1, 0), op("b", "read", None, 5, 6, 0), op("b", "read", None, 8, 9, 1)],
    ),
    "a write of unknown outcome is never seen": (
        Register(0),
        [lost("a", "write", 1, 0), op("b", "read", None, 5, 6, 0)],
    ),
    "what failed is not looked for": (
        Register(0),
        [op("a", "write", 1, 0, 1, outcome="failed"), op("b", "read", None, 2, 3, 0)],
    ),
    "two of unknown outcome are needed one behind the other": (
        Register(0),
        [
            lost("a", "cas", (0, 1), 0),
            lost("b", "cas", (1, 2), 0),
            op("c", "read", None, 5, 6, 2),
        ],
    ),
    "Herlihy and Wing's queue: two that overlap come out either way": (
        Queue(),
        [
            op("a", "put", "x", 0, 5),
            op("b", "put", "y", 1, 4),
            op("a", "take", None, 6, 7, "y"),
            op("b", "take", None, 6, 7, "x"),
        ],
    ),
    "one moment for an end and a beginning counts as overlap": (
        Register(0),
        [op("a", "write", 1, 0, 1), op("b", "read", None, 1, 2, 0)],
    ),
    "etcd: a put whose answer was lost took the revision that is missing": (
        Store(1),
        [
            op("a", "put", "a", 0, 1, 2, key="k"),
            lost("b", "put", "b", 0, key="k"),
            op("a", "put", "c", 2, 3, 4, key="k"),
            op("a", "get", None, 4, 5, (4, ("c", 2, 4, 3)), key="k"),
        ],
    ),
    "etcd: of two transactions that compare one revision, the second goes the other way": (
        Keys(),
        [
            op("a", "put", "a", 0, 1, 2, key="k"),
            op(
                "a",
                "txn",
                ((("modified", "k", "=", 2),), (("put", "k", "b"),), (("get", "k"),)),
                *(2, 5, (3, True, (None,))),
                key="k",
            ),
            op(
                "b",
                "txn",
                ((("modified", "k", "=", 2),), (("put", "k", "c"),), (("get", "k"),)),
                *(2, 5, (3, False, (("b", 2, 3, 2),))),
                key="k",
            ),
        ],
    ),
    "etcd: whether a comparison held is open where no answer told the revision": (
        Keys(),
        [
            lost("a", "put", "a", 0, key="k"),
            op(
                "b",
                "txn",
                ((("modified", "k", "=", 9),), (("delete", "k"),), ()),
                *(2, 5, (10, True, (1,))),
                key="k",
            ),
            op("b", "get", None, 6, 7, (10, None), key="k"),
        ],
    ),
}

BAD = {
    "stale read: a replica that lags answers with what was overwritten (etcd, Jepsen 2014)": (
        Register(0),
        [op("a", "write", 1, 0, 1), op("b", "read", None, 2, 3, 0)],
    ),
    "a new value is seen, then the old one again": (
        Register(0),
        [
            op("a", "write", 1, 0, 10),
            op("b", "read", None, 1, 2, 1),
            op("c", "read", None, 3, 4, 0),
        ],
    ),
    "lost update: two compare with the same value and both are told that they were first": (
        Register(0),
        [op("a", "cas", (0, 1), 0, 5, True), op("b", "cas", (0, 2), 0, 5, True)],
    ),
    "dirty read: what failed is seen": (
        Register(0),
        [op("a", "write", 1, 0, 1, outcome="failed"), op("b", "read", None, 2, 3, 1)],
    ),
    "lost write: acknowledged before a leader fell, gone behind it": (
        Register(0),
        [
            op("a", "write", 1, 0, 1),
            op("a", "write", 2, 2, 3),
            op("b", "read", None, 4, 5, 1),
        ],
    ),
    "a write of unknown outcome happens twice: a client's retry isn't recognized": (
        Counter(),
        [
            lost("a", "add", 1, 0),
            op("b", "read", None, 1, 2, 1),
            op("b", "read", None, 3, 4, 2),
        ],
    ),
    "a write of unknown outcome is seen before it was invoked": (
        Register(0),
        [op("b", "read", None, 0, 1, 1), lost("a", "write", 1, 2)],
    ),
    "two hold a lock": (
        Mutex(),
        [op("a", "acquire", "a", 0, 1, True), op("b", "acquire", "b", 2, 3, True)],
    ),
    "a lock is released by who doesn't hold it": (
        Mutex(),
        [op("a", "acquire", "a", 0, 1, True), op("b", "release", "b", 2, 3, True)],
    ),
    "a queue turns two around": (
        Queue(),
        [
            op("a", "put", 1, 0, 1),
            op("a", "put", 2, 2, 3),
            op("b", "take", None, 4, 5, 2),
            op("b", "take", None, 6, 7, 1),
        ],
    ),
    "an element leaves a set and is there": (
        Set(),
        [
            op("a", "add", 1, 0, 1, True),
            op("a", "remove", 1, 2, 3, True),
            op("b", "read", None, 4, 5, (1,)),
        ],
    ),
    "etcd: one revision for two writes": (
        Store(1),
        [op("a", "put", "a", 0, 5, 2, key="k"), op("b", "put", "b", 0, 5, 2, key="l")],
    ),
    "etcd: a revision goes back behind a restart": (
        Keys(),
        [op("a", "put", "a", 0, 1, 7, key="k"), op("a", "put", "b", 2, 3, 6, key="k")],
    ),
    "etcd: a stale read, told by the store's revision alone": (
        Keys(),
        [
            op("a", "put", "a", 0, 1, 2, key="k"),
            op("b", "get", None, 2, 3, (9, ENTRY), key="k"),
            op("c", "get", None, 4, 5, (8, ENTRY), key="k"),
        ],
    ),
    "etcd: a transaction succeeds on a revision that was overwritten": (
        Keys(),
        [
            op("a", "put", "a", 0, 1, 2, key="k"),
            op("a", "put", "b", 2, 3, 3, key="k"),
            op(
                "b",
                "txn",
                ((("modified", "k", "=", 2),), (("put", "k", "c"),), ()),
                *(4, 5, (4, True, (None,))),
                key="k",
            ),
        ],
    ),
    "etcd: a deleted key goes on with its old version": (
        Store(1),
        [
            op("a", "put", "a", 0, 1, 2, key="k"),
            op("a", "delete", None, 2, 3, (3, 1), key="k"),
            op("a", "put", "a", 4, 5, 4, key="k"),
            op("a", "get", None, 6, 7, (4, ("a", 2, 4, 2)), key="k"),
        ],
    ),
}


@pytest.mark.parametrize("story", GOOD)
def test_a_history_that_may_be_is_accepted(story):
    model, history = GOOD[story]
    assert by_force(history, model)
    assert check(history, model).answer == "ok"


@pytest.mark.parametrize("story", BAD)
def test_a_history_that_cannot_be_is_refused(story):
    model, history = BAD[story]
    assert not by_force(history, model)
    assert check(history, model).answer == "violated"


@BY_MODEL
@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32),
    clients=st.integers(1, 8),
    unknown=st.sampled_from((0.0, 0.05)),
    overlap=st.sampled_from((0.01, 0.3, 1.0)),
)
def test_what_an_object_really_did_is_accepted(plain, model, seed, clients, unknown, overlap):
    operations = 60
    if model is Queue:
        # Each put that may be anywhere doubles its states, soon beyond the budget.
        operations, unknown = 30, 0.0
    history = run(
        plain(),
        seed,
        operations=operations,
        clients=clients,
        unknown=unknown,
        failed=0.05,
        key="k",
        overlap=overlap,
    )
    assert check(history, model()).answer == "ok"


@BY_MODEL
def test_a_changed_result_is_refused_exactly_if_no_order_allows_it(plain, model):
    refused = 0
    for seed in range(400):
        history = _with_one_changed(plain, seed)
        expected = "ok" if by_force(history, model()) else "violated"
        assert check(history, model()).answer == expected, f"seed {seed}"
        refused += expected == "violated"
    assert 50 < refused < 390


def _with_one_changed(plain, seed):
    """Six operations of three clients; one tells what another of its kind could have told."""
    chance = random.Random(seed)
    history = run(plain(), seed, operations=6, clients=3, unknown=0.2, failed=0.1, key="k")
    told = [n for n, o in enumerate(history) if o.outcome == "ok"]
    if told:
        changed = history[chance.choice(told)]
        others = run(plain(), seed + 10**6, operations=40, clients=1, key="k")
        results = [o.result for o in others if o.kind == changed.kind] or [None]
        at = history.index(changed)
        history[at] = replace(changed, result=chance.choice(results))
    return history


def test_each_key_is_judged_by_itself():
    history = [
        op("a", "write", 1, 0, 1, key="x"),
        op("a", "read", None, 2, 3, 1, key="x"),
        op("b", "write", 1, 0, 1, key="y"),
        op("b", "read", None, 2, 3, 2, key="y"),
    ]
    verdict = check(history, Register())
    assert verdict.answer == "violated"
    assert [witness.key for witness in verdict.witnesses] == ["y"]


def test_a_witness_tells_how_far_it_went_and_what_is_stuck():
    write, read = op("a", "write", 1, 0, 1), op("b", "read", None, 2, 3, 1)
    stale, later = op("c", "read", None, 4, 5, 7), op("d", "write", 2, 6, 7)
    (witness,) = check([later, stale, read, write], Register()).witnesses
    assert witness.placed == (write, read)
    assert witness.stuck == (stale,)
    assert witness.state == "1"


@pytest.mark.limit("histories.STEPS_MAX")
def test_a_search_that_needs_more_steps_than_it_may_take_is_undecided():
    history = run(PlainRegister(), 1, operations=200, clients=8, key="k")
    needed = check(history, Register()).steps
    assert check(history, Register(), steps_max=needed).answer == "ok"
    verdict = check(history, Register(), steps_max=needed // 2)
    assert verdict.answer == "undecided"
    assert needed // 2 < verdict.steps < needed // 2 + 100
    assert verdict.witnesses[0].placed
    assert needed < STEPS_MAX


def test_a_violation_is_told_though_another_key_is_undecided():
    hard = run(PlainRegister(), 1, operations=200, clients=8, key="a")
    wrong = [op("a", "read", None, 0, 1, 5, key="b")]
    assert check([*hard, *wrong], Register(), steps_max=100).answer == "violated"


def test_ten_thousand_operations_of_sixteen_clients_take_few_steps():
    history = [
        replace(o, key=f"k{key}")
        for key in range(20)
        for o in run(PlainRegister(), key, operations=500, clients=16, unknown=0.02, key="k")
    ]
    verdict = check(history, Register())
    assert verdict.answer == "ok"
    assert verdict.steps < 40 * len(history)


@pytest.mark.parametrize("model", [Register(), Counter(), Set(), Queue(), Mutex(), Store(), Keys()])
def test_an_operation_that_the_model_does_not_know_is_a_mistake_of_the_test(model):
    with pytest.raises(UnknownKind, match="'dance'"):
        check([op("a", "dance", None, 0, 1)], model)
    with pytest.raises(UnknownKind, match="'dance'"):
        check([lost("a", "dance", None, 0), op("a", "dance", None, 0, 1)], model)
