"""Snapshots: the same bytes for the same state, whatever happens while they are taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.engines.coord.contract import Put, RevisionAhead, RevisionCompacted
from bastide.engines.coord.core.commands import Compact, Grant, encode_outcome
from bastide.engines.coord.core.machine import Machine
from bastide.engines.coord.core.snapshots import (
    PIECE_ITEMS,
    Restoring,
    SnapshotDamaged,
    digest,
    hashes,
    restore,
    snapshot,
)
from tests.engines.coord.core_kit import commands


@given(
    before=st.lists(commands, max_size=25),
    after=st.lists(commands, max_size=25),
    is_swept=st.booleans(),
)
def test_a_machine_from_a_snapshot_goes_on_as_the_one_it_was_taken_of(before, after, is_swept):
    machine = Machine()
    for command in before:
        machine.apply(command)
    if is_swept:
        machine.sweep()
    copy = restore(snapshot(machine))
    assert digest(copy) == digest(machine)
    assert copy.store.space_bytes == machine.store.space_bytes
    assert len(copy.store) == len(machine.store)
    for command in after:
        assert encode_outcome(copy.apply(command)) == encode_outcome(machine.apply(command))
        copy.sweep()
        assert copy.store.space_bytes == machine.store.space_bytes
    assert digest(copy) == digest(machine)
    assert list(hashes(copy.store, 0))[-1] == list(hashes(machine.store, 0))[-1]
    for lease in machine.leases:
        assert copy.leases.keys(lease) == machine.leases.keys(lease)


@given(
    before=st.lists(commands, min_size=1, max_size=25),
    during=st.lists(commands, max_size=25),
    piece_items=st.integers(1, 3),
)
def test_a_snapshot_is_of_its_beginning_though_the_store_goes_on(before, during, piece_items):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bastide.engines.coord.core.snapshots.PIECE_ITEMS", piece_items)
        patch.setattr("bastide.engines.coord.core.store.BASE_KEYS", 2)
        machine = Machine()
        for command in before:
            machine.apply(command)
        at_once = b"".join(snapshot(machine))
        taken, hash_ = snapshot(machine), list(hashes(machine.store, 0))[-1]
        hashing = hashes(machine.store, 0)
        pieces, sums = [next(taken)], [next(hashing)]
        for command in during:
            machine.apply(command)
            machine.sweep()
            pieces.append(next(taken, b""))
            sums += [one for one in [next(hashing, None)] if one is not None]
        assert b"".join([*pieces, *taken]) == at_once
        assert [*sums, *hashing][-1] == hash_


def test_what_was_compacted_is_forgotten_once_nobody_reads_it():
    machine = Machine()
    for _ in range(5):
        machine.apply(Put(b"k"))
    taken = snapshot(machine)
    next(taken)
    machine.apply(Compact(6))
    assert not machine.sweep()
    assert machine.store._older
    taken.close()
    machine.sweep()
    assert not machine.store._older


def filled():
    machine = Machine()
    machine.apply(Grant(7, 10))
    for n in range(2 * PIECE_ITEMS):
        machine.apply(Put(b"%d" % (n % 700), b"%d" % n, lease=7))
    machine.apply(Compact(600))
    return machine


@given(cut=st.integers(1, 200))
def test_a_snapshot_may_be_cut_anywhere_on_its_way(cut):
    whole = b"".join(snapshot(SOME))
    pieces = (whole[n : n + cut * 97] for n in range(0, len(whole), cut * 97))
    assert digest(restore(pieces)) == digest(SOME)


SOME = filled()


@given(at=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_snapshot_is_found(at, bit):
    whole = bytearray(b"".join(snapshot(SOME)))
    whole[at % len(whole)] ^= 1 << bit
    with pytest.raises(SnapshotDamaged):
        restore([bytes(whole)])


@given(st.integers(0, 10**9))
def test_a_snapshot_that_is_cut_is_found(length):
    whole = b"".join(snapshot(SOME))
    with pytest.raises(SnapshotDamaged):
        restore([whole[: length % len(whole)]])


def test_a_snapshot_with_something_behind_it_is_refused():
    restoring = Restoring()
    whole = b"".join(snapshot(Machine()))
    restoring.feed(whole)
    with pytest.raises(SnapshotDamaged):
        restoring.feed(whole)


def test_a_hash_is_of_one_revision():
    machine = Machine()
    machine.apply(Put(b"a", b"1"))
    at_2 = list(hashes(machine.store, 2))[-1]
    machine.apply(Put(b"a", b"2"))
    assert list(hashes(machine.store, 2))[-1] == at_2
    assert list(hashes(machine.store, 3))[-1] != at_2
    with pytest.raises(RevisionAhead):
        list(hashes(machine.store, 4))
    machine.apply(Compact(3))
    with pytest.raises(RevisionCompacted):
        list(hashes(machine.store, 2))
