"""The small parts of the core: sorted keys, ranges of keys, deadlines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.engines.coord.contract import LeaseMissing
from bastide.engines.coord.core import sorted_keys
from bastide.engines.coord.core.leases import Deadlines, Leases
from bastide.engines.coord.core.sorted_keys import SortedKeys
from bastide.engines.coord.core.spans import FROM_HERE_ON, is_within, prefix_end, prefix_of

some_keys = st.binary(min_size=1, max_size=2)


@given(
    plan=st.lists(st.tuples(st.booleans(), some_keys), max_size=80),
    asks=st.lists(st.tuples(some_keys, some_keys | st.none(), st.integers(0, 5)), max_size=8),
)
def test_sorted_keys_are_a_sorted_set(plan, asks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_keys, "BLOCK_MAX", 4)
        kept, model = SortedKeys(), set()
        for is_added, key in plan:
            if not is_added:
                kept.discard(key)
                model.discard(key)
            elif key not in model:
                kept.add(key)
                model.add(key)
        ordered = sorted(model)
        assert len(kept) == len(ordered)
        for first, end, limit in asks:
            within = [key for key in ordered if first <= key and (end is None or key < end)]
            assert kept.count(first, end) == len(within)
            assert kept.slice(first, end) == within
            assert kept.slice(first, end, limit) == (within[:limit] if limit else within)
            behind = [key for key in ordered if key > first]
            assert kept.behind(first, limit + 1) == behind[: limit + 1]


@given(prefix=st.binary(max_size=3), key=st.binary(min_size=1, max_size=4))
def test_a_prefix_is_a_range_and_a_range_may_be_a_prefix(prefix, key):
    first = prefix or FROM_HERE_ON
    end = prefix_end(prefix)
    assert is_within(key, first, end) == key.startswith(prefix)
    assert prefix_of(first, end) == prefix


@given(first=some_keys, end=st.binary(max_size=2), key=some_keys)
def test_a_range_that_is_said_to_be_a_prefix_is_one(first, end, key):
    prefix = prefix_of(first, end)
    if prefix is not None:
        assert is_within(key, first, end) == key.startswith(prefix)


# --- deadlines ------------------------------------------------------------------------------------


def test_a_lease_is_over_when_its_time_is_and_is_told_once():
    deadlines = Deadlines()
    deadlines.begin(1, 10, now_s=100.0)
    deadlines.begin(2, 20, now_s=100.0)
    assert deadlines.next_s() == 110.0
    assert deadlines.over(109.9) == []
    assert deadlines.over(110.0) == [1]
    assert deadlines.over(110.0) == []
    deadlines.again(1)
    assert deadlines.over(111.0) == [1]
    deadlines.forget(1)
    deadlines.again(1)
    assert deadlines.over(119.0) == []
    assert deadlines.over(120.0) == [2]


def test_a_lease_that_is_over_can_not_be_kept_alive_though_it_is_not_revoked():
    deadlines = Deadlines()
    deadlines.begin(1, 10, now_s=100.0)
    deadlines.keep_alive(1, 10, now_s=105.0)
    assert deadlines.left_s(1, 105.0) == 10.0
    assert deadlines.over(114.0) == []
    with pytest.raises(LeaseMissing):
        deadlines.keep_alive(1, 10, now_s=115.0)
    assert deadlines.over(115.0) == [1]


def test_a_new_leader_gives_every_lease_its_full_time_again():
    leases, deadlines = Leases(), Deadlines()
    leases.grant(1, 10)
    leases.grant(2, 20)
    deadlines.begin(1, 10, now_s=0.0)
    deadlines.lead(leases, 500.0)
    assert [deadlines.left_s(id_, 500.0) for id_ in (1, 2)] == [10.0, 20.0]
    assert list(deadlines.over(520.0)) == [1, 2]
    deadlines.follow()
    assert deadlines.next_s() is None
    with pytest.raises(LeaseMissing):
        deadlines.keep_alive(1, 10, now_s=500.0)


@given(
    plan=st.lists(
        st.tuples(st.sampled_from(["begin", "keep", "forget", "look"]), st.integers(1, 4)),
        max_size=60,
    )
)
def test_deadlines_are_what_a_plain_table_says(plan):
    deadlines, ends, told, now_s = Deadlines(), {}, set(), 0.0
    for step, id_ in plan:
        if step == "begin" and id_ not in ends:
            ends[id_] = now_s + id_
            deadlines.begin(id_, id_, now_s)
        elif step == "keep":
            if ends.get(id_, now_s) > now_s:
                deadlines.keep_alive(id_, id_, now_s)
                ends[id_] = now_s + id_
            else:
                with pytest.raises(LeaseMissing):
                    deadlines.keep_alive(id_, id_, now_s)
        elif step == "forget":
            deadlines.forget(id_)
            ends.pop(id_, None)
            told.discard(id_)
        else:
            now_s += 1.0
            over = {one for one, end_s in ends.items() if end_s <= now_s} - told
            found = deadlines.over(now_s)
            assert sorted(found) == sorted(over)
            told |= over
        coming = [end_s for one, end_s in ends.items() if one not in told]
        if coming:
            assert deadlines.next_s() <= min(coming)
