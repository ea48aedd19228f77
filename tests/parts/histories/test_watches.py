"""Watches: each promise broken once, and streams cut anywhere that keep them all."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bastide.parts.histories.contract import Change, Response, Watch
from bastide.parts.histories.core.linearizability import check as check_order
from bastide.parts.histories.core.models import Keys
from bastide.parts.histories.core.watches import check, check_commits, covers, resolved
from tests.parts.histories.kit import PlainStore, lost, op, run

COMMITTED = [Change(n, "k", f"v{n}") for n in range(2, 9)]
BY_REVISION = {change.revision: change for change in COMMITTED}


def told(*revisions, header=None, fragment=False):
    """A response with these changes; none is a progress notification of revision `header`."""
    changes = tuple(BY_REVISION[revision] for revision in revisions)
    return Response(header or revisions[-1], changes, fragment=fragment)


def watch(*responses, since=2, watcher="w", settled=0, end=None):
    return Watch(
        watcher=watcher, start="k", end=end, since=since, responses=responses, settled=settled
    )


def names(*watches, committed=COMMITTED):
    return {finding.name for finding in check(watches, committed)}


BAD = {
    "a change is skipped when a watch that lags is caught up (etcd, Jepsen 2020)": (
        {"watch gap"},
        [watch(told(2), told(4))],
    ),
    "two changes come in the wrong order": (
        {"watch not ordered"},
        [watch(told(2, 4, 3, header=4))],
    ),
    "a change comes twice": ({"watch not unique", "watch not atomic"}, [watch(told(2), told(2))]),
    "a change is told that never was": (
        {"watch phantom"},
        [watch(Response(9, (*COMMITTED, Change(9, "k", "lost"))))],
    ),
    "a revision is used again behind a restart that lost its end": (
        {"revision reused"},
        [watch(Response(2, (Change(2, "k", "other"),)))],
    ),
    "what is older than was asked for": ({"watch not asked for"}, [watch(told(2, 3), since=3)]),
    "another key than was asked for": (
        {"watch not asked for"},
        [Watch(watcher="w", start="l", end="m", since=2, responses=(told(2),))],
    ),
    "a store's revision goes back: the watch was moved to a replica that lags": (
        {"watch time travel"},
        [watch(told(2, header=7), told(3, header=5))],
    ),
    "a change is newer than the response that brings it": (
        {"watch ahead"},
        [watch(told(2, 3, header=2))],
    ),
    "a progress notification comes before a change that it is behind (etcd #15220)": (
        {"progress ahead"},
        [watch(told(2), told(header=4), told(3, 4))],
    ),
    "a progress notification tells of what never comes": (
        {"watch gap"},
        [watch(told(2), told(header=4))],
    ),
    "a watch falls silent": ({"watch gap"}, [watch(told(2, 3), settled=8)]),
    "a stream is resumed behind what was told": (
        {"watch gap"},
        [watch(told(2, 3)), watch(told(5, 6), since=5)],
    ),
    "what came while nobody was connected is missing": (
        {"watch gap"},
        [watch(told(2)), watch(told(5), since=3)],
    ),
    "a watch is ended by a compaction that did not reach it": (
        {"watch ended"},
        [watch(told(2, 3), Response(8, compacted=3))],
    ),
}


@pytest.mark.parametrize("story", BAD)
def test_a_broken_promise_is_found_by_its_name(story):
    expected, watches = BAD[story]
    assert names(*watches) == expected


def test_a_transaction_comes_in_one_response_or_in_marked_fragments():
    both = [Change(2, "a", "1"), Change(2, "b", "1")]
    whole, first, second = (Response(2, tuple(c)) for c in (both, both[:1], both[1:]))
    marked = Response(2, (both[0],), fragment=True)

    def found(*responses):
        stream = Watch(watcher="w", start="a", end=None, since=1, responses=responses)
        return names(stream, committed=both)

    assert found(whole) == found(marked, second) == found(marked) == set()
    assert found(first, second) == {"watch not atomic"}
    assert found(first) == {"watch gap"}


def test_a_stream_that_breaks_owes_no_more_than_it_told():
    assert not names(watch(), watch(told(2, 3)), watch(told(3, 4), since=3))


def test_what_was_compacted_is_told_and_then_is_no_gap():
    assert not names(watch(told(2), Response(8, compacted=6)), watch(told(6, 7), since=6))
    assert names(watch(told(2), Response(8, compacted=6)), watch(told(7), since=7)) == {"watch gap"}


def test_watchers_do_not_owe_for_each_other():
    assert not names(watch(told(2, 3)), watch(told(7, 8), since=7, watcher="other"))


def test_one_key_a_range_and_all_that_follow():
    one, some, rest = (Watch(watcher="w", start="b", end=end, since=1) for end in ("", "d", None))
    keys = "abcde"
    assert [[k for k in keys if covers(w, k)] for w in (one, some, rest)] == [
        ["b"],
        ["b", "c"],
        ["b", "c", "d", "e"],
    ]


def test_two_changes_of_a_key_at_one_revision_are_told_of_the_committed_too():
    assert names(committed=[*COMMITTED, Change(3, "k", "other")]) == {"revision reused"}


@given(seed=st.integers(0, 2**32))
def test_streams_that_are_cut_and_resumed_anywhere_are_accepted_and_no_response_may_be_missing(
    seed,
):
    chance = random.Random(seed)
    committed = [Change(r, chance.choice("abc"), str(r)) for r in range(2, 30)]
    cuts = sorted({2, 30, *(chance.randrange(2, 30) for _ in range(4))})
    watches = [_stream(chance, committed, since, upto) for since, upto in pairwise(cuts)]
    assert not check(watches, committed)
    for n, whole in enumerate(watches):
        for response in whole.responses:
            if response.changes:
                less = tuple(r for r in whole.responses if r is not response)
                torn = replace(whole, responses=less)
                found = check([*watches[:n], torn, *watches[n + 1 :]], committed)
                assert {f.name for f in found} == {"watch gap"}


def _stream(chance, committed, since, upto):
    """What is told of a and b from `since` on, in some responses, and of progress up to `upto`."""
    changes = [c for c in committed if since <= c.revision < upto and c.key < "c"]
    cut = chance.randint(0, len(changes))
    parts = [tuple(part) for part in (changes[:cut], changes[cut:]) if part]
    responses = [Response(part[-1].revision, part) for part in parts]
    responses.append(Response(upto - 1))
    return Watch(watcher="w", start="a", end="c", since=since, responses=tuple(responses))


# --- writes ---------------------------------------------------------------------------------------


def commits(history, committed):
    return {finding.name for finding in check_commits(history, committed)}


PUT = op("a", "put", "v2", 0, 1, 2, key="k")
DELETED = (((("version", "k", ">", 0),), (("delete", "k"), ("put", "l", "x")), (("get", "k"),)),)


def test_an_acknowledged_write_that_is_not_there_is_lost():
    assert commits([PUT], []) == {"lost write"}
    assert not commits([PUT], COMMITTED[:1])


def test_a_write_under_a_revision_of_another_is_a_revision_reused():
    found = commits([PUT], [Change(2, "k", "other")])
    assert found == {"revision reused"}


def test_what_nobody_wrote_is_a_phantom_and_what_failed_too():
    assert commits([], COMMITTED[:1]) == {"phantom write"}
    assert commits([op("a", "put", "v2", 0, 1, key="k", outcome="failed")], COMMITTED[:1]) == {
        "phantom write"
    }
    assert not commits([lost("a", "put", "v2", 0, key="k")], COMMITTED[:1])


def test_a_transaction_is_all_its_writes_at_one_revision():
    swap = op("a", "txn", *DELETED, 2, 3, (3, True, (1, None)), key="k")
    there = [COMMITTED[0], Change(3, "k", None), Change(3, "l", "x")]
    assert not commits([PUT, swap], there)
    assert commits([PUT, swap], there[:2]) == {"lost write"}
    unknown = lost("a", "txn", *DELETED, 2, key="k")
    assert not commits([PUT, unknown], there)


def test_a_delete_of_nothing_writes_nothing():
    assert not commits([op("a", "delete", None, 0, 1, (1, 0), key="k")], [])
    assert commits([op("a", "delete", None, 0, 1, (2, 1), key="k")], []) == {"lost write"}


def test_a_later_write_of_a_lower_revision_went_back():
    history = [op("a", "put", "v3", 0, 1, 3, key="k"), op("b", "put", "v2", 2, 3, 2, key="k")]
    assert commits(history, COMMITTED[:2]) == {"revision went back"}
    overlapping = [op("a", "put", "v3", 0, 9, 3, key="k"), op("b", "put", "v2", 2, 3, 2, key="k")]
    assert not commits(overlapping, COMMITTED[:2])


def test_puts_of_unknown_outcome_are_resolved_by_what_was_committed():
    history = [
        lost("a", "put", "v2", 0, key="k"),
        lost("b", "put", "never", 0, key="k"),
        lost("c", "put", "v3", 0, key="k"),
        lost("d", "put", "v3", 0, key="k"),
        lost("e", "delete", None, 0, key="k"),
        op("f", "get", None, 5, 9, (2, ("v2", 2, 2, 1)), key="k"),
    ]
    outcomes = [(o.outcome, o.result, o.returned) for o in resolved(history, COMMITTED)]
    assert outcomes[:5] == [
        ("ok", 2, 9),
        ("failed", None, None),
        *[("unknown", None, None)] * 3,
    ]
    assert check_order(resolved(history[:2] + history[5:], COMMITTED), Keys()).answer == "ok"


@pytest.mark.parametrize("seed", range(20))
def test_what_an_etcd_really_did_is_accepted(seed):
    committed = []

    class Watched(PlainStore):
        def put(self, value):
            super().put(value)
            committed.append(Change(self.revision, "k", value))

        def delete(self):
            count = super().delete()
            if count:
                committed.append(Change(self.revision, "k", None))
            return count

    history = run(Watched(), seed, operations=300, clients=6, unknown=0.05, failed=0.05, key="k")
    assert not check_commits(history, committed)
