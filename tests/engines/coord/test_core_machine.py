"""The machine against a plain model of it, and against itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.engines.coord.contract import (
    LEASE_KEYS_MAX,
    LEASES_MAX,
    RANGE_ITEMS_MAX,
    AskTooLarge,
    Compare,
    Delete,
    Found,
    KeyMissing,
    LeaseExists,
    LeaseMissing,
    Put,
    PutDone,
    Range,
    RevisionAhead,
    RevisionCompacted,
    SpaceOver,
    TooMany,
    Txn,
    TxnDone,
)
from bastide.engines.coord.core.commands import (
    VERSION,
    Compact,
    Disarm,
    Done,
    EntryUnknown,
    Grant,
    Raise,
    Refused,
    Revoke,
    SetSpace,
    decode,
    decode_outcome,
    encode,
    encode_outcome,
    refusal,
)
from bastide.engines.coord.core.machine import SPACE_ALARM, Machine
from bastide.engines.coord.core.snapshots import digest
from bastide.engines.coord.core.store import cost_of, put_cost
from tests.engines.coord.core_kit import ALL, Model, commands, deletes, puts, ranges, txns


def kept_bytes(machine):
    """What the machine's count of bytes says, counted from its snapshot's view of it."""
    store = machine.store
    first = max(store.compacted, 2)
    kept = list(store.base(store.compacted))
    for revision in range(first, store.revision + 1):
        kept += store.changes_at(revision)
    return sum(cost_of(item) for item in kept)


@given(given_commands=st.lists(commands, max_size=25), asks=st.lists(ranges, max_size=5))
def test_a_machine_is_what_the_plain_model_is(given_commands, asks):
    machine, model = Machine(), Model()
    for command in given_commands:
        outcome = machine.apply(command)
        assert model.run(command) is not isinstance(outcome, Refused), command
        assert machine.store.revision == model.revision
        assert set(machine.leases) == model.leases
    for revision in range(max(model.compacted, 1), model.revision + 1):
        found = machine.store.range(Range(b"a", ALL, revision=revision))
        assert (list(found.items), found.count, found.more) == model.range(
            Range(b"a", ALL, revision=revision)
        )
        for ask in asks:
            if not ask.revision or model.compacted <= ask.revision <= model.revision:
                machine.store.check(ask)
                told = machine.store.range(ask)
                assert (list(told.items), told.count, told.more) == model.range(ask)
    for lease in model.leases:
        assert machine.leases.keys(lease) == sorted(
            key for key, item in model.now.items() if item.lease == lease
        )
    for revision in range(max(model.compacted, 2), model.revision + 1):
        assert list(machine.store.changes_at(revision)) == model.changes[revision]
    assert machine.store.space_bytes == kept_bytes(machine)


@given(given_commands=st.lists(commands, max_size=30), sweeps=st.sets(st.integers(0, 29)))
def test_machines_that_sweep_at_other_times_are_equal(given_commands, sweeps):
    one, other = Machine(), Machine()
    for n, command in enumerate(given_commands):
        outcome = one.apply(command)
        assert outcome == other.apply(decode(encode(command)))
        kept = encode_outcome(outcome)
        assert encode_outcome(decode_outcome(kept)) == kept
        if n in sweeps:
            other.store.sweep(1 + n % 4)
        assert one.store.space_bytes == other.store.space_bytes
    assert digest(one) == digest(other)
    while other.sweep():
        pass
    assert digest(one) == digest(other)


@given(given_commands=st.lists(puts | deletes, min_size=1, max_size=40))
def test_what_was_compacted_is_forgotten_once_it_is_swept(given_commands):
    machine = Machine()
    for command in given_commands:
        machine.apply(command)
    store = machine.store
    if store.revision == 1:
        return
    machine.apply(Compact(store.revision))
    while machine.sweep():
        pass
    tombstones = [item for item in store.changes_at(store.revision) if not item.version]
    assert store._older == {}
    assert len(store._newest) == len(store) + len(tombstones)
    assert len(store._log) == 1
    machine.apply(Put(b"z"))
    machine.apply(Compact(store.revision))
    while machine.sweep():
        pass
    assert len(store._newest) == len(store)


@given(txns)
def test_a_transaction_is_one_revision_or_nothing(txn):
    machine = Machine()
    machine.apply(Put(b"a", b"1"))
    before = digest(machine)
    outcome = machine.apply(txn)
    if isinstance(outcome, Refused):
        assert digest(machine) == before
    else:
        assert machine.store.revision - 2 in (0, 1)
        assert outcome.revision == machine.store.revision


def test_a_transaction_reads_what_it_wrote_and_compares_what_was_before():
    machine = Machine()
    inner = Txn([Compare("version", "equal", 0, b"k")], [Range(b"k")], [])
    txn = Txn([], [Range(b"k"), Put(b"k", b"v"), Range(b"k"), inner, Delete(b"x")])
    done = machine.apply(txn)
    assert isinstance(done, TxnDone)
    before, put, after, nested, deleted = done.results
    assert before.count == 0
    assert before.revision == 1
    assert put == PutDone(2)
    assert after.items[0].value == b"v"
    assert after.revision == 2
    assert nested.succeeded
    assert nested.results[0].count == 1
    assert deleted.count == 0
    assert done.revision == 2


def test_a_transaction_that_changes_nothing_makes_no_revision():
    machine = Machine()
    done = machine.apply(Txn([], [Delete(b"a", ALL), Range(b"a")]))
    assert done.revision == machine.store.revision == 1
    assert machine.apply(Delete(b"a")).revision == 1


def test_a_value_of_a_missing_key_meets_no_comparison_and_its_numbers_are_zero():
    machine = Machine()
    for relation in ("equal", "unequal", "less", "greater"):
        assert not machine.apply(Txn([Compare("value", relation, b"", b"k")])).succeeded
    for by in ("version", "created", "changed", "lease"):
        assert machine.apply(Txn([Compare(by, "equal", 0, b"k")])).succeeded
        assert machine.apply(Txn([Compare(by, "less", 1, b"k", ALL)])).succeeded


def test_a_key_begins_a_new_life_when_it_is_put_after_a_delete():
    machine = Machine()
    for command in (Put(b"k", b"1"), Put(b"k", b"2"), Delete(b"k"), Put(b"k", b"3")):
        machine.apply(command)
    item = machine.store.get(b"k")
    assert (item.created, item.changed, item.version) == (5, 5, 1)
    assert machine.store.at(b"k", 3).version == 2
    assert machine.store.at(b"k", 4) is None


def test_a_revoked_lease_takes_its_keys_in_one_revision():
    machine = Machine()
    machine.apply(Grant(7, 10))
    for key in (b"c", b"a", b"b"):
        machine.apply(Put(key, lease=7))
    machine.apply(Put(b"b", lease=0))
    assert machine.apply(Revoke(7)) == Done(6)
    assert [item.key for item in machine.store.changes_at(6)] == [b"a", b"c"]
    assert machine.store.get(b"b") is not None


# --- refusals -------------------------------------------------------------------------------------


def refused_with(machine, command):
    before = digest(machine)
    outcome = machine.apply(command)
    assert isinstance(outcome, Refused)
    assert digest(machine) == before or outcome.error == "SpaceOver"
    return type(refusal(outcome))


def test_each_refusal_of_the_machine_is_a_value_and_changes_nothing():
    machine = Machine()
    machine.apply(Grant(7, 10))
    machine.apply(Put(b"a"))
    machine.apply(Compact(2))
    assert refused_with(machine, Grant(7, 5)) is LeaseExists
    assert refused_with(machine, Revoke(8)) is LeaseMissing
    assert refused_with(machine, Put(b"a", lease=8)) is LeaseMissing
    assert refused_with(machine, Put(b"b", keep_value=True)) is KeyMissing
    assert refused_with(machine, Put(b"b", keep_lease=True)) is KeyMissing
    assert refused_with(machine, Txn([], [Put(b"c"), Put(b"d", lease=8)])) is LeaseMissing
    assert refused_with(machine, Txn([], [Put(b"c"), Range(b"a", revision=1)])) is RevisionCompacted
    assert refused_with(machine, Txn([], [Put(b"c"), Range(b"a", revision=3)])) is RevisionAhead
    assert refused_with(machine, Compact(2)) is RevisionCompacted
    assert refused_with(machine, Compact(3)) is RevisionAhead


def test_an_answer_tells_what_can_still_be_read():
    machine = Machine()
    for _ in range(5):
        machine.apply(Put(b"a"))
    machine.apply(Compact(4))
    error = refusal(machine.apply(Compact(3)))
    assert (error.revision, error.oldest) == (3, 4)
    with pytest.raises(RevisionCompacted) as found:
        machine.store.check(Range(b"a", revision=3))
    assert found.value.oldest == 4
    machine.store.check(Range(b"a", revision=4))


def test_a_full_store_refuses_puts_until_there_is_room():
    machine = Machine()
    machine.apply(Put(b"a", b"x" * 100))
    taken = machine.store.space_bytes
    machine.apply(SetSpace(taken + put_cost(b"b", b"y")))
    assert isinstance(machine.apply(Put(b"b", b"y")), PutDone)
    assert machine.alarms == set()
    assert refused_with(machine, Put(b"b")) is SpaceOver
    assert machine.alarms == {SPACE_ALARM}
    assert refused_with(machine, Txn([], [Put(b"c")])) is SpaceOver
    assert machine.apply(Delete(b"a")).count == 1
    assert refused_with(machine, Put(b"b")) is SpaceOver
    machine.apply(Compact(machine.store.revision))
    assert isinstance(machine.apply(Put(b"b")), PutDone)
    assert machine.alarms == {SPACE_ALARM}
    machine.apply(Disarm(*SPACE_ALARM))
    assert machine.alarms == set()


def test_an_alarm_is_raised_and_disarmed_by_commands():
    machine = Machine()
    machine.apply(Raise(3, "damage"))
    assert machine.alarms == {(3, "damage")}
    machine.apply(Disarm(3, "damage"))
    machine.apply(Disarm(3, "damage"))
    assert machine.alarms == set()


@pytest.mark.limit("coord.LEASES_MAX")
def test_so_many_leases_and_no_more():
    machine = Machine()
    for id_ in range(1, LEASES_MAX + 1):
        assert isinstance(machine.apply(Grant(id_, 10)), Done)
    assert type(refusal(machine.apply(Grant(LEASES_MAX + 1, 10)))) is TooMany


@pytest.mark.limit("coord.LEASE_KEYS_MAX")
def test_a_lease_has_so_many_keys_and_no_more():
    machine = Machine()
    machine.apply(Grant(7, 10))
    for n in range(LEASE_KEYS_MAX):
        assert isinstance(machine.apply(Put(b"%d" % n, lease=7)), PutDone)
    assert refused_with(machine, Put(b"more", lease=7)) is TooMany
    assert isinstance(machine.apply(Put(b"0", b"again", lease=7)), PutDone)
    machine.apply(Delete(b"0"))
    assert refused_with(machine, Txn([], [Put(b"x", lease=7), Put(b"y", lease=7)])) is TooMany
    assert isinstance(machine.apply(Put(b"more", lease=7)), PutDone)


@pytest.mark.limit("coord.RANGE_ITEMS_MAX")
def test_a_range_without_a_limit_tells_so_many_keys_and_no_more():
    machine = Machine()
    for n in range(RANGE_ITEMS_MAX):
        machine.store.put(b"%06d" % n, b"", 0)
    machine.store.commit()
    machine.store.check(Range(b"0", ALL))
    assert len(machine.store.range(Range(b"0", ALL)).items) == RANGE_ITEMS_MAX
    machine.apply(Put(b"more"))
    with pytest.raises(AskTooLarge):
        machine.store.check(Range(b"0", ALL))
    machine.store.check(Range(b"0", ALL, count_only=True))
    limited = Range(b"0", ALL, limit=RANGE_ITEMS_MAX)
    machine.store.check(limited)
    found = machine.store.range(limited)
    assert (len(found.items), found.count) == (RANGE_ITEMS_MAX, RANGE_ITEMS_MAX + 1)
    assert found.more
    with pytest.raises(AskTooLarge):
        machine.store.check(Range(b"0", ALL, limit=RANGE_ITEMS_MAX + 1))


# --- entries --------------------------------------------------------------------------------------


@given(commands)
def test_a_command_is_the_same_after_its_way_through_an_entry(command):
    assert encode(decode(encode(command))) == encode(command)
    assert decode(encode(command)) == command or isinstance(command, Txn)


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        bytes((VERSION + 1,)) + encode(Put(b"a"))[1:],
        encode(Put(b"a"))[:-1],
        encode(Put(b"a")).replace(b"put", b"pit"),
    ],
    ids=["empty", "of another version", "cut", "of another kind"],
)
def test_an_entry_that_is_not_known_stops_the_node(entry):
    with pytest.raises(EntryUnknown):
        decode(entry)


def test_found_items_of_keys_only_have_no_value():
    machine = Machine()
    machine.apply(Put(b"a", b"v"))
    found = machine.store.range(Range(b"a", ALL, keys_only=True))
    assert isinstance(found, Found)
    assert [item.value for item in found.items] == [b""]
    only = machine.store.range(Range(b"a", ALL, count_only=True))
    assert (only.items, only.count) == ((), 1)
