"""The coordinator of a transaction: every code, every way it goes, and a crash at every step."""

import msgspec
import pytest

from bastide.engines.log.core import batches
from bastide.engines.log.core.codes import Code
from bastide.engines.log.core.transactions import (
    EPOCH_MAX,
    GIVEN_EPOCH_MAX,
    NOBODY,
    TIMEOUT_MS_MAX,
    TRANSACTION_GROUPS_MAX,
    TRANSACTION_PARTITIONS_MAX,
    TRANSACTIONAL_ID_BYTES_MAX,
    Decision,
    Instance,
    Markers,
    Phase,
    Transaction,
    check_id,
)

TIMEOUT_MS = 60_000
A, B = ("orders", 0), ("orders", 1)
FRESH = 100


def begun(**how):
    """A transactional id, and the instance that has it."""
    transaction = Transaction()
    return transaction, initialised(transaction, **how)


def initialised(transaction, instance=NOBODY, fresh_id=FRESH):
    decision = transaction.init(fresh_id=fresh_id, timeout_ms=TIMEOUT_MS, instance=instance)
    assert decision.code == Code.NONE
    assert decision.state == transaction.state()
    assert decision.producer == transaction.producer
    return decision.producer


def ongoing(partitions=(A, B)):
    transaction, me = begun()
    decision = transaction.add_partitions(me, partitions, now_ms=0)
    assert decision.code == Code.NONE
    assert decision.state is not None
    assert transaction.phase == Phase.ONGOING
    return transaction, me


def at(phase):
    """A transactional id in that phase, the instance that has it, and its markers."""
    if phase == Phase.EMPTY:
        return *begun(), None
    transaction, me = ongoing()
    if phase == Phase.ONGOING:
        return transaction, me, None
    commit = phase in (Phase.PREPARE_COMMIT, Phase.COMPLETE_COMMIT)
    markers = transaction.end(me, commit=commit).markers
    if phase in (Phase.COMPLETE_COMMIT, Phase.COMPLETE_ABORT):
        transaction.marked(markers)
    assert transaction.phase == phase
    return transaction, me, markers


def refused(transaction, code, decide):
    """With that code, and nothing has changed."""
    before = transaction.state()
    assert decide() == Decision(code)
    assert transaction.state() == before


# --- the way it goes ----------------------------------------------------------------------------


@pytest.mark.parametrize("commit", [True, False])
def test_a_transaction_is_begun_ended_and_marked(commit):
    transaction, me = begun()
    assert (me, transaction.phase) == (Instance(FRESH, 0), Phase.EMPTY)
    transaction.add_partitions(me, [B, A], now_ms=0)
    transaction.add_group(me, "readers", now_ms=5)
    assert transaction.partitions == [A, B]
    decision = transaction.end(me, commit=commit)
    assert decision.code == Code.NONE
    assert decision.state == transaction.state()
    assert decision.markers == Markers(0, commit, me, [A, B], ["readers"])
    assert transaction.owed() == decision.markers
    done = transaction.marked(decision.markers)
    assert done == Decision(state=transaction.state())
    assert transaction.phase == (Phase.COMPLETE_COMMIT if commit else Phase.COMPLETE_ABORT)
    assert transaction.owed() is None
    assert transaction.partitions == []


def test_the_next_transaction_has_the_same_instance_and_another_number():
    transaction, me, _ = at(Phase.COMPLETE_COMMIT)
    assert transaction.add_partitions(me, [B], now_ms=0).code == Code.NONE
    assert transaction.end(me, commit=False).markers == Markers(1, False, me, [B], [])


@pytest.mark.parametrize("commit", [True, False])
def test_an_end_that_is_repeated_succeeds(commit):
    transaction, me = ongoing()
    markers = transaction.end(me, commit=commit).markers
    refused(transaction, Code.CONCURRENT_TRANSACTIONS, lambda: transaction.end(me, commit=commit))
    transaction.marked(markers)
    refused(transaction, Code.NONE, lambda: transaction.end(me, commit=commit))


def test_what_is_added_already_costs_no_write():
    transaction, me = ongoing()
    refused(transaction, Code.NONE, lambda: transaction.add_partitions(me, [B], now_ms=9))
    transaction.add_group(me, "g", now_ms=9)
    refused(transaction, Code.NONE, lambda: transaction.add_group(me, "g", now_ms=9))


def test_nothing_added_begins_nothing():
    transaction, me = begun()
    refused(transaction, Code.NONE, lambda: transaction.add_partitions(me, [], now_ms=9))
    assert transaction.phase == Phase.EMPTY


def test_markers_that_are_told_twice_or_late_do_nothing():
    transaction, me, markers = at(Phase.COMPLETE_COMMIT)
    refused(transaction, Code.NONE, lambda: transaction.marked(markers))
    transaction.add_partitions(me, markers.partitions, now_ms=0)
    refused(transaction, Code.NONE, lambda: transaction.marked(markers))
    transaction.end(me, commit=True)
    refused(transaction, Code.NONE, lambda: transaction.marked(markers))
    assert transaction.phase == Phase.PREPARE_COMMIT


# --- every code ---------------------------------------------------------------------------------

VERBS = {
    "add_partitions": lambda t, who: t.add_partitions(who, [("new", 0)], now_ms=0),
    "add_group": lambda t, who: t.add_group(who, "new", now_ms=0),
    "commit": lambda t, who: t.end(who, commit=True),
    "abort": lambda t, who: t.end(who, commit=False),
}


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("verb", VERBS)
def test_who_has_another_producer_id_is_told_so(phase, verb):
    transaction, me, _ = at(phase)
    other = Instance(me.producer_id + 1, me.epoch)
    refused(
        transaction,
        Code.INVALID_PRODUCER_ID_MAPPING,
        lambda: VERBS[verb](transaction, other),
    )


@pytest.mark.parametrize("verb", VERBS)
def test_nobody_may_do_anything_before_it_is_initialised(verb):
    transaction = Transaction()
    for who in (NOBODY, Instance(1, 0)):
        refused(
            transaction,
            Code.INVALID_PRODUCER_ID_MAPPING,
            lambda who=who: VERBS[verb](transaction, who),
        )


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("by", [-1, 1])
def test_who_has_another_epoch_is_fenced(phase, verb, by):
    transaction, me, _ = at(phase)
    other = Instance(me.producer_id, me.epoch + by)
    refused(transaction, Code.PRODUCER_FENCED, lambda: VERBS[verb](transaction, other))


@pytest.mark.parametrize("phase", [Phase.PREPARE_COMMIT, Phase.PREPARE_ABORT])
def test_while_markers_are_written_nothing_new_begins(phase):
    transaction, me, _ = at(phase)
    for verb in ("add_partitions", "add_group"):
        refused(
            transaction,
            Code.CONCURRENT_TRANSACTIONS,
            lambda verb=verb: VERBS[verb](transaction, me),
        )
    for instance in (NOBODY, me):
        refused(
            transaction,
            Code.CONCURRENT_TRANSACTIONS,
            lambda instance=instance: transaction.init(
                fresh_id=1, timeout_ms=TIMEOUT_MS, instance=instance
            ),
        )


@pytest.mark.parametrize(
    ("phase", "commit"),
    [
        (Phase.EMPTY, True),
        (Phase.EMPTY, False),
        (Phase.PREPARE_COMMIT, False),
        (Phase.PREPARE_ABORT, True),
        (Phase.COMPLETE_COMMIT, False),
        (Phase.COMPLETE_ABORT, True),
    ],
)
def test_another_end_than_that_which_it_had_is_refused(phase, commit):
    transaction, me, _ = at(phase)
    refused(transaction, Code.INVALID_TXN_STATE, lambda: transaction.end(me, commit=commit))


@pytest.mark.limit("log.TIMEOUT_MS_MAX")
def test_a_time_out_is_at_least_one_and_at_most_what_is_allowed():
    for timeout_ms in (1, TIMEOUT_MS_MAX):
        assert Transaction().init(fresh_id=1, timeout_ms=timeout_ms).code == Code.NONE
    transaction = Transaction()
    for timeout_ms in (-1, 0, TIMEOUT_MS_MAX + 1):
        refused(
            transaction,
            Code.INVALID_TRANSACTION_TIMEOUT,
            lambda timeout_ms=timeout_ms: transaction.init(fresh_id=1, timeout_ms=timeout_ms),
        )


@pytest.mark.limit("log.TRANSACTION_PARTITIONS_MAX")
def test_a_transaction_has_as_many_partitions_as_allowed_and_not_one_more():
    transaction, me = begun()
    full = [("t", n) for n in range(TRANSACTION_PARTITIONS_MAX)]
    assert transaction.add_partitions(me, full, now_ms=0).code == Code.NONE
    refused(
        transaction,
        Code.INVALID_PARTITIONS,
        lambda: transaction.add_partitions(me, [("t", len(full))], now_ms=0),
    )
    assert transaction.add_partitions(me, full[:5], now_ms=0).code == Code.NONE


@pytest.mark.limit("log.TRANSACTION_GROUPS_MAX")
def test_a_transaction_has_as_many_groups_as_allowed_and_not_one_more():
    transaction, me = begun()
    for n in range(TRANSACTION_GROUPS_MAX):
        assert transaction.add_group(me, f"g{n}", now_ms=0).code == Code.NONE
    refused(
        transaction, Code.INVALID_PARTITIONS, lambda: transaction.add_group(me, "more", now_ms=0)
    )


@pytest.mark.limit("log.TRANSACTIONAL_ID_BYTES_MAX")
def test_a_transactional_id_has_at_least_one_byte_and_at_most_what_is_allowed():
    assert check_id("x") == check_id("é" * (TRANSACTIONAL_ID_BYTES_MAX // 2)) == Code.NONE
    assert check_id("x" * TRANSACTIONAL_ID_BYTES_MAX) == Code.NONE
    for id_ in ("", "x" * (TRANSACTIONAL_ID_BYTES_MAX + 1), "é" * 128):
        assert check_id(id_) == Code.INVALID_REQUEST


# --- instances ----------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.EMPTY, Phase.COMPLETE_COMMIT, Phase.COMPLETE_ABORT])
def test_a_new_instance_raises_the_epoch_and_fences_the_older(phase):
    transaction, old, _ = at(phase)
    new = initialised(transaction)
    assert new == Instance(old.producer_id, old.epoch + 1)
    assert transaction.phase == Phase.EMPTY
    refused(transaction, Code.PRODUCER_FENCED, lambda: VERBS["add_partitions"](transaction, old))


def test_a_new_instance_aborts_what_the_older_left_open_and_asks_again():
    transaction, old = ongoing()
    decision = transaction.init(fresh_id=1, timeout_ms=TIMEOUT_MS)
    fence = Instance(old.producer_id, old.epoch + 1)
    assert decision.code == Code.CONCURRENT_TRANSACTIONS
    assert decision.producer == NOBODY
    assert decision.state == transaction.state()
    assert decision.markers == Markers(0, False, fence, [A, B], [])
    refused(transaction, Code.PRODUCER_FENCED, lambda: transaction.end(old, commit=True))
    refused(
        transaction,
        Code.CONCURRENT_TRANSACTIONS,
        lambda: transaction.init(fresh_id=1, timeout_ms=TIMEOUT_MS),
    )
    transaction.marked(decision.markers)
    assert initialised(transaction) == Instance(old.producer_id, old.epoch + 2)


@pytest.mark.parametrize("phase", [Phase.EMPTY, Phase.COMPLETE_COMMIT, Phase.COMPLETE_ABORT])
def test_an_instance_may_have_its_own_epoch_raised_and_may_ask_again(phase):
    transaction, old, _ = at(phase)
    new = initialised(transaction, old)
    assert new == Instance(old.producer_id, old.epoch + 1)
    assert initialised(transaction, old) == new
    newer = initialised(transaction, new)
    assert newer.epoch == new.epoch + 1
    assert initialised(transaction, new) == newer
    refused(
        transaction,
        Code.PRODUCER_FENCED,
        lambda: transaction.init(fresh_id=1, timeout_ms=TIMEOUT_MS, instance=old),
    )


def test_an_instance_whose_own_transaction_is_open_gets_its_epoch_when_that_is_aborted():
    transaction, old = ongoing()
    decision = transaction.init(fresh_id=1, timeout_ms=TIMEOUT_MS, instance=old)
    assert decision.code == Code.CONCURRENT_TRANSACTIONS
    transaction.marked(decision.markers)
    new = initialised(transaction, old)
    assert new == decision.markers.producer
    assert transaction.add_partitions(new, [A], now_ms=0).code == Code.NONE


@pytest.mark.parametrize("phase", Phase)
def test_an_instance_that_a_new_one_has_fenced_stays_so(phase):
    transaction, old = begun()
    me = initialised(transaction)
    if phase != Phase.EMPTY:
        transaction.add_partitions(me, [A], now_ms=0)
    if phase not in (Phase.EMPTY, Phase.ONGOING):
        commit = phase in (Phase.PREPARE_COMMIT, Phase.COMPLETE_COMMIT)
        markers = transaction.end(me, commit=commit).markers
        if phase in (Phase.COMPLETE_COMMIT, Phase.COMPLETE_ABORT):
            transaction.marked(markers)
    assert transaction.phase == phase
    refused(
        transaction,
        Code.PRODUCER_FENCED,
        lambda: transaction.init(fresh_id=1, timeout_ms=TIMEOUT_MS, instance=old),
    )


def test_who_asks_as_the_one_before_when_the_present_one_has_acted_is_fenced():
    transaction, old = begun()
    new = initialised(transaction, old)
    transaction.add_partitions(new, [A], now_ms=0)
    refused(
        transaction,
        Code.PRODUCER_FENCED,
        lambda: transaction.init(fresh_id=1, timeout_ms=TIMEOUT_MS, instance=old),
    )


def test_an_instance_of_an_id_that_nobody_knows_any_more_begins_anew():
    transaction = Transaction()
    lost = Instance(5, 9)
    new = initialised(transaction, lost)
    assert new == Instance(FRESH, 0)
    assert initialised(transaction, lost, fresh_id=200) == new


def test_epochs_end_and_a_new_id_follows():
    transaction, me = begun()
    for epoch in range(1, GIVEN_EPOCH_MAX + 1):
        me = transaction.init(fresh_id=FRESH + 1, timeout_ms=1).producer
        assert me == (FRESH, epoch)
    same = Transaction.restored(transaction.state(), now_ms=0)
    assert initialised(transaction, fresh_id=200) == Instance(200, 0)
    assert initialised(same, me, fresh_id=200) == Instance(200, 0)
    assert initialised(same, me, fresh_id=300) == Instance(200, 0)


@pytest.mark.parametrize("by_itself", [True, False])
def test_the_last_epoch_is_for_a_fence_and_given_to_nobody(by_itself):
    transaction, me = begun()
    while me.epoch < GIVEN_EPOCH_MAX:
        me = transaction.init(fresh_id=1, timeout_ms=1).producer
    transaction.add_partitions(me, [A], now_ms=0)
    asker = me if by_itself else NOBODY
    fence = transaction.init(fresh_id=200, timeout_ms=1, instance=asker).markers
    assert fence.producer == Instance(FRESH, EPOCH_MAX)
    batches.marker(
        commit=False,
        producer_id=FRESH,
        producer_epoch=fence.producer.epoch,
        coordinator_epoch=0,
        now_ms=0,
    )
    transaction.marked(fence)
    refused(
        transaction,
        Code.PRODUCER_FENCED,
        lambda: transaction.add_partitions(fence.producer, [A], now_ms=0),
    )
    assert initialised(transaction, asker, fresh_id=200) == Instance(200, 0)
    assert initialised(transaction, me if by_itself else NOBODY, fresh_id=300) == (
        Instance(200, 0) if by_itself else Instance(200, 1)
    )


# --- time-outs ----------------------------------------------------------------------------------


def test_a_transaction_is_aborted_when_its_time_is_over_and_its_producer_fenced():
    transaction, me = begun()
    assert transaction.due_ms is None
    transaction.add_partitions(me, [A], now_ms=1_000)
    transaction.add_partitions(me, [B], now_ms=50_000)
    assert transaction.due_ms == 1_000 + TIMEOUT_MS
    refused(transaction, Code.NONE, lambda: transaction.time_out(now_ms=transaction.due_ms - 1))
    decision = transaction.time_out(now_ms=transaction.due_ms)
    fence = Instance(me.producer_id, me.epoch + 1)
    assert decision == Decision(
        state=transaction.state(), markers=Markers(0, False, fence, [A, B], [])
    )
    refused(transaction, Code.PRODUCER_FENCED, lambda: transaction.end(me, commit=True))
    transaction.marked(decision.markers)
    assert initialised(transaction, me) == fence


@pytest.mark.parametrize("phase", [each for each in Phase if each != Phase.ONGOING])
def test_nothing_else_times_out(phase):
    transaction, _, _ = at(phase)
    assert transaction.due_ms is None
    refused(transaction, Code.NONE, lambda: transaction.time_out(now_ms=10**12))


def test_after_a_restart_the_time_begins_anew():
    transaction, _ = ongoing()
    again = Transaction.restored(transaction.state(), now_ms=7_000_000)
    assert again.due_ms == 7_000_000 + TIMEOUT_MS


# --- what may be appended -----------------------------------------------------------------------


@pytest.mark.parametrize("phase", Phase)
def test_only_what_is_added_to_an_open_transaction_may_be_appended(phase):
    transaction, me, _ = at(phase)
    if phase == Phase.ONGOING:
        transaction.add_group(me, "g", now_ms=0)
    wanted = Code.NONE if phase == Phase.ONGOING else Code.INVALID_TXN_STATE
    assert transaction.check_append(me, A) == transaction.check_offsets(me, "g") == wanted
    assert transaction.check_append(me, ("orders", 2)) == Code.INVALID_TXN_STATE
    assert transaction.check_offsets(me, "h") == Code.INVALID_TXN_STATE
    for by in (-1, 1):
        other = Instance(me.producer_id, me.epoch + by)
        assert transaction.check_append(other, A) == Code.INVALID_PRODUCER_EPOCH
        assert transaction.check_offsets(other, "g") == Code.INVALID_PRODUCER_EPOCH
    stranger = Instance(me.producer_id + 1, me.epoch)
    assert transaction.check_append(stranger, A) == Code.INVALID_PRODUCER_ID_MAPPING


# --- restarts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", Phase)
def test_a_restart_at_any_phase_goes_on_where_it_was(phase):
    transaction, _, _ = at(phase)
    again = Transaction.restored(transaction.state(), now_ms=0)
    assert again.state() == transaction.state()
    assert (again.phase, again.producer) == (transaction.phase, transaction.producer)
    assert again.owed() == transaction.owed()


@pytest.mark.parametrize("state", [b"", b"\x00", b"[]", msgspec.msgpack.encode([2])])
def test_what_is_no_state_is_refused(state):
    with pytest.raises(msgspec.DecodeError):
        Transaction.restored(state, now_ms=0)
