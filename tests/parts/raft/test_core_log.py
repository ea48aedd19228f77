"""The log in memory, against a list."""

from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.parts.raft.contract import Entry, Members, SnapshotMark
from bastide.parts.raft.core.log import Log
from bastide.parts.raft.core.members import encode_change
from tests.parts.raft.core_kit import log_of, mark_of

NOBODY_YET = Members(())


def log_with(*terms: int) -> Log:
    return Log(mark_of(NOBODY_YET), log_of(*terms))


def entries_from(first: int, terms: list[int]) -> list[Entry]:
    return [Entry(i, t, "payload", bytes(i % 5)) for i, t in enumerate(terms, first)]


RISING = st.lists(st.integers(1, 6), max_size=20).map(sorted)


@settings(deadline=None)
@given(RISING, st.integers(0, 25), st.integers(0, 7), st.integers(0, 20))
def test_the_last_entry_of_at_most_a_term_is_found_as_by_looking_at_each(terms, index, term, base):
    log = log_with(*terms)
    base = min(base, len(terms))
    if base:
        log.committed = base
        log.compact(SnapshotMark(base, terms[base - 1], NOBODY_YET), kept=0)
    found = log.last_at_most(index, term)
    if index < base:
        assert found == index
    else:
        fit = [i for i, t in enumerate(terms, 1) if base < i <= index and t <= term]
        assert found == max(fit, default=base)


@settings(deadline=None)
@given(RISING.filter(bool), st.data())
def test_a_slice_keeps_to_both_its_limits_unless_it_is_one_entry(terms, data):
    log = Log(mark_of(NOBODY_YET), entries_from(1, terms))
    first = data.draw(st.integers(1, len(terms)))
    bytes_max, entries_max = data.draw(st.integers(0, 12)), data.draw(st.integers(1, 9))
    last = log.end_of(first, bytes_max=bytes_max, entries_max=entries_max)
    sizes = [len(e.payload) for e in log.slice(first, len(terms))]
    fit = max(
        (n for n in range(1, len(sizes) + 1) if sum(sizes[:n]) <= bytes_max and n <= entries_max),
        default=1,
    )
    assert last == first + fit - 1


MERGES = st.lists(
    st.tuples(st.integers(0, 12), st.lists(st.integers(1, 4), min_size=1, max_size=5)), max_size=12
)


@settings(deadline=None)
@given(MERGES)
def test_a_follower_s_log_is_cut_only_where_it_conflicts(merges):
    """Figure 2, AppendEntries 3 and 4. Each Append is of a newer leader, so that terms rise."""
    log, model = log_with(), []
    for number, (previous, jumps) in enumerate(merges):
        previous = min(previous, len(model))
        kept = model[: previous + number % 3]  # some are repeated as they were
        entries = kept[previous:] + entries_from(len(kept) + 1, [number + 1] * len(jumps))
        log.merge(entries)
        model = kept[:previous] + entries
        assert list(log.slice(1, log.last_index)) == model
        assert log.open_bytes == sum(len(e.payload) for e in model)


def test_an_old_append_does_not_shorten_the_log():
    log = log_with(1, 1, 2, 2)
    log.merge(log_of(1, 1))
    assert log.last_index == 4


def test_the_members_of_an_entry_that_is_cut_off_are_no_longer_in_force():
    """Thesis 4.1: a server falls back to the previous configuration in its log."""
    old, new = Members((1, 2, 3)), Members((1, 2))
    log = Log(mark_of(old), log_of(1, 1))
    log.append([Entry(3, 1, "change", encode_change(new, b""))])
    assert (log.members, log.members_index) == (new, 3)
    assert log.members_at(2) == old
    log.merge([Entry(3, 2, "payload", b"")])
    assert (log.members, log.members_index) == (old, 0)


def test_members_outlive_the_entry_that_made_them():
    new = Members((1, 2))
    log = Log(mark_of(Members((1, 2, 3))), log_of(1, 1))
    log.append([Entry(3, 1, "change", encode_change(new, b"")), Entry(4, 1, "payload", b"")])
    log.hand_out()
    log.wrote()
    log.committed = 4
    log.compact(SnapshotMark(4, 1, new), kept=0)
    assert log.members == log.members_at(4) == new


def test_what_was_cut_off_during_its_write_is_not_durable_even_if_it_comes_back():
    """The disk may have been told to cut meanwhile: the next write brings it again."""
    log = log_with(1)
    log.merge(entries_from(2, [2, 2, 2]))
    assert [e.index for e in log.hand_out()] == [2, 3, 4]
    log.merge(entries_from(3, [3]))  # cuts 3 and 4 off
    log.merge(entries_from(3, [4]))
    log.wrote()
    assert log.written == 2
    assert [(e.index, e.term) for e in log.hand_out()] == [(3, 4)]
    log.wrote()
    assert log.written == 3


def test_what_is_not_written_stays_in_memory_behind_a_snapshot():
    log = log_with(1)
    log.merge(entries_from(2, [1, 1]))
    log.committed = 3
    log.compact(SnapshotMark(3, 1, NOBODY_YET), kept=0)
    assert [e.index for e in log.hand_out()] == [2, 3]
