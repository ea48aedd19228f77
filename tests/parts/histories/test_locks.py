"""Locks: who holds, with which token, in which order; and what a resource takes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.parts.histories.contract import Access, Grant
from bastide.parts.histories.core.locks import (
    check_exclusion,
    check_fence,
    check_queue,
    check_tokens,
)


def held(holder, acquired, released, *, asked=None, lock="l", **more):
    return Grant(
        lock=lock,
        holder=holder,
        asked=acquired if asked is None else asked,
        acquired=acquired,
        released=released,
        **more,
    )


def used(*steps):
    """`steps` like "a5 b6 a5!": a came with token 5, b with 6, a with 5 again and was refused."""
    return [
        Access(lock="l", holder=s[0], token=int(s[1:].rstrip("!")), taken=not s.endswith("!"))
        for s in steps
    ]


def names(found):
    return [finding.name for finding in found]


def test_a_paused_holder_of_a_bare_lock_and_the_next_one_both_hold_it():
    """Redlock, as Kleppmann tells it: the lease ends while its holder is stopped."""
    assert names(check_exclusion([held("a", 0, 30), held("b", 10, 20)])) == ["two hold"]


def test_redlock_gives_a_lock_twice_when_a_clock_jumps():
    """Three of five servers said yes to a; one of them runs ahead and says yes to b too."""
    grants = [held("a", 0, 8), held("b", 1, None)]
    (found,) = check_exclusion(grants)
    assert found.message == "l: b acquired at 1, a held until 8"


def test_who_never_released_holds_for_ever_and_is_compared_with_all():
    grants = [held("a", 0, None), held("b", 1, 2), held("c", 3, 4)]
    assert names(check_exclusion(grants)) == ["two hold", "two hold"]


def test_one_behind_the_other_and_other_locks_do_not_meet():
    grants = [held("b", 5, 7), held("a", 0, 5), held("c", 1, 9, lock="m")]
    assert not check_exclusion(grants)


def test_tokens_rise_from_one_holder_to_the_next():
    assert not check_tokens([held("a", 0, 1, token=5), held("b", 2, 3, token=9)])
    assert names(check_tokens([held("a", 0, 1, token=5), held("b", 2, 3, token=4)])) == [
        "token went back"
    ]


def test_a_holder_that_learns_late_may_have_the_lower_token():
    assert not check_tokens([held("a", 9, 10, asked=0, token=5), held("b", 2, 3, token=6)])


def test_a_token_is_of_one_grant_only_and_each_has_one():
    grants = [held("a", 0, 1, token=5), held("b", 2, 3, token=5), held("c", 4, 5)]
    assert names(check_tokens(grants)) == ["token used twice", "no token"]


def test_a_fence_takes_no_lower_token_behind_a_higher_one():
    assert not check_fence(used("a5", "a5", "b6", "a5!", "b6"))
    (found,) = check_fence(used("a5", "b6", "a5"))
    assert (found.name, found.message) == ("stale token taken", "l: a with 5 behind 6")


def test_a_fence_does_not_keep_out_the_newest():
    assert names(check_fence(used("a5", "b6!"))) == ["newest token refused"]
    assert not check_fence([*used("b6"), Access(lock="m", holder="a", token=1, taken=True)])


def test_waiters_get_the_lock_in_the_order_of_the_queue():
    turns = [held("a", 0, 1, place=1), held("b", 2, 3, place=4), held("c", 4, 5, place=9)]
    assert not check_queue(turns)
    jumped = [held("a", 0, 1, place=1), held("c", 2, 3, place=9), held("b", 4, 5, place=4)]
    (found,) = check_queue(jumped)
    assert (found.name, found.message) == ("out of turn", "l: b from place 4 behind c from 9")


def test_a_herd_that_is_woken_for_one_release_is_found():
    grants = [held("a", 0, 1, wakes=0), held("b", 2, 3, wakes=1), held("c", 4, 5, wakes=2)]
    assert names(check_queue(grants)) == ["woken in vain"]


@given(seed=st.integers(0, 2**32))
def test_a_lock_that_really_excludes_is_accepted_and_a_longer_hold_is_not(seed):
    chance = random.Random(seed)
    grants, now = [], 0.0
    for n in range(20):
        acquired = now + chance.random()
        now = acquired + 0.1 + chance.random()
        asked = chance.uniform(0, acquired)
        grants.append(held(f"c{n}", acquired, now, asked=asked, token=n, place=n, wakes=1))
    chance.shuffle(grants)
    assert not [*check_exclusion(grants), *check_tokens(grants), *check_queue(grants)]
    at = chance.choice([n for n, grant in enumerate(grants) if grant.token < 19])
    grants[at] = held(grants[at].holder, grants[at].acquired, None)
    assert "two hold" in names(check_exclusion(grants))


@pytest.mark.parametrize("check", [check_exclusion, check_tokens, check_fence, check_queue])
def test_nothing_recorded_is_nothing_found(check):
    assert not check([])
