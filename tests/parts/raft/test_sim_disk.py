"""The simulated disk and state machine, by themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.base.rt.runtime import Chance
from bastide.parts.raft.contract import Entry, Members, SnapshotMark, Vote
from bastide.parts.raft.sim.disk import Log, SimDisk
from bastide.parts.raft.sim.machine import (
    Command,
    Machine,
    Mixed,
    decoded,
    encode_command,
)

MEMBERS = Members((1, 2, 3))
MARK = SnapshotMark(0, 0, MEMBERS)
EMPTY = Machine(0, 0).encoded(1)


def entry(index: int, term: int) -> Entry:
    return Entry(index, term, "empty", b"")


def put(index: int, value: int, expected: int | None = None) -> Entry:
    return Entry(index, 1, "payload", encode_command(Command(0, value, expected)))


def test_a_crash_forgets_what_was_not_synced():
    disk = SimDisk(MARK, EMPTY)
    disk.write_vote(Vote(3, 2))
    disk.write_entries([entry(1, 1), entry(2, 3)])
    disk.end_sync(disk.begin_sync())
    disk.write_vote(Vote(4, 1))
    disk.write_entries([entry(2, 4)])
    assert (disk.written.vote.term, disk.written.log.last_term) == (4, 4)
    disk.crash(None)
    found = disk.found()
    assert found.vote == Vote(3, 2)
    assert [e.term for e in found.entries] == [1, 3]


def test_a_sync_makes_durable_what_was_written_when_it_began():
    disk = SimDisk(MARK, EMPTY)
    disk.write_vote(Vote(1, 1))
    first = disk.begin_sync()
    disk.write_entries([entry(1, 1)])
    second = disk.begin_sync()
    disk.end_sync(first)
    assert (disk.durable.vote.term, disk.durable.log.last) == (1, 0)
    disk.end_sync(second)
    assert disk.durable.log.last == 1


@given(st.lists(st.integers(1, 5), max_size=12), st.integers(0, 12), st.integers(0, 1 << 30))
def test_a_crash_keeps_what_was_synced_and_a_beginning_of_the_rest(
    terms: list[int], synced: int, seed: int
):
    disk = SimDisk(MARK, EMPTY)
    for place, term in enumerate(terms):
        disk.write_vote(Vote(term * 100 + place))
        if place + 1 == synced:
            disk.end_sync(disk.begin_sync())
    disk.crash(Chance(seed))
    allowed = [Vote(0)] + [Vote(term * 100 + place) for place, term in enumerate(terms)]
    least = synced if synced <= len(terms) else 0
    assert disk.found().vote in allowed[least:]


def test_a_snapshot_stands_for_what_was_before_it_and_the_rest_stays():
    log = Log(MARK, [entry(1, 1), entry(2, 1), entry(3, 2)])
    log.begin_behind(SnapshotMark(2, 1, MEMBERS))
    assert (log.base, log.last, log.term(2), log.term(3)) == (2, 3, 1, 2)
    assert log.term(1) == 0


def test_a_snapshot_that_the_log_does_not_agree_with_replaces_it():
    log = Log(MARK, [entry(1, 1), entry(2, 1), entry(3, 1)])
    log.begin_behind(SnapshotMark(2, 2, MEMBERS))
    assert (log.base, log.last, log.last_term) == (2, 2, 2)


def test_a_compare_and_set_has_its_effect_only_where_it_finds_what_it_expects():
    machine = Machine(0, 0)
    assert machine.apply(put(1, 7))
    assert not machine.apply(put(2, 8, expected=6))
    assert machine.apply(put(3, 9, expected=7))
    assert machine.values == {0: 9}


def test_a_snapshot_has_all_of_a_machine():
    machine = Machine(0, 0)
    machine.apply(put(1, 7))
    again = decoded(machine.encoded(2))
    assert (again.index, again.term, again.digest) == (machine.index, machine.term, machine.digest)
    assert again.values == machine.values


def test_two_nodes_snapshots_are_of_one_size_and_cannot_be_mixed():
    machine = Machine(4, 2)
    one, two = machine.encoded(1), machine.encoded(2)
    assert len(one) == len(two)
    with pytest.raises(Mixed):
        decoded(one[:6] + two[6:])
