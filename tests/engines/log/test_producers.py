"""What a partition knows of its producers, against models that read the whole log each time."""

from collections import defaultdict

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.engines.log.contract import Record
from bastide.engines.log.core.batches import SEQUENCES, Header, header_of, made
from bastide.engines.log.core.codes import Code
from bastide.engines.log.core.producers import (
    BATCHES_KEPT,
    IDLE_MS,
    PRODUCERS_MAX,
    Aborted,
    Open,
    Producers,
    Verdict,
)

NOW_MS = 1_700_000_000_000
PRODUCER = 7


def header(sequence=0, count=1, *, producer=PRODUCER, epoch=0, transactional=False):
    attributes = 0x10 if transactional else 0
    who = (producer, epoch, sequence)
    return Header(0, 100, -1, 0, attributes, count - 1, NOW_MS, NOW_MS, *who, count)


class Partition:
    """Appends what is new."""

    def __init__(self):
        self.producers, self.next, self.events = Producers(), 0, []

    def send(self, given_, now_ms=NOW_MS):
        verdict = self.producers.check(given_)
        if verdict.is_new:
            self.append(given_, now_ms)
        return verdict

    def append(self, given_, now_ms=NOW_MS):
        self.producers.note(given_, base_offset=self.next, now_ms=now_ms)
        self.events.append(("batch", given_, self.next, now_ms))
        self.next += given_.offset_count

    def mark(self, producer=PRODUCER, *, commit, epoch=0, now_ms=NOW_MS):
        end = {"producer_id": producer, "producer_epoch": epoch, "commit": commit}
        self.producers.note_marker(**end, offset=self.next, now_ms=now_ms)
        self.events.append(("marker", end, self.next, now_ms))
        self.next += 1

    def lso(self):
        return self.producers.last_stable_offset(self.next)


def replay(producers, events):
    for kind, what, offset, now_ms in events:
        if kind == "batch":
            producers.note(what, base_offset=offset, now_ms=now_ms)
        elif kind == "marker":
            producers.note_marker(**what, offset=offset, now_ms=now_ms)
        else:
            producers.forget(first_offset=offset, now_ms=now_ms, idle_ms=what)
    return producers


@pytest.fixture
def partition():
    return Partition()


# --- idempotence --------------------------------------------------------------------------------


def test_who_has_no_producer_id_is_never_asked(partition):
    for _ in range(3):
        assert partition.send(header(-1, producer=-1, epoch=-1)).is_new
    assert len(partition.producers) == 0


def test_the_next_sequence_is_taken_and_others_are_not(partition):
    assert partition.send(header(0, 3)).is_new
    assert partition.send(header(3, 2)).is_new
    for sequence in (0, 1, 3, 4, 6, 100):
        verdict = partition.send(header(sequence, 9))
        assert verdict == Verdict(Code.OUT_OF_ORDER_SEQUENCE_NUMBER), sequence
        assert not verdict.is_new
    assert partition.send(header(5)).is_new


def test_a_repeat_of_the_last_five_is_answered_as_it_was_and_an_older_is_not(partition):
    sent = [header(n * 10, 10) for n in range(BATCHES_KEPT + 1)]
    for each in sent:
        assert partition.send(each).is_new
    assert BATCHES_KEPT == 5
    assert partition.send(sent[0]).code == Code.OUT_OF_ORDER_SEQUENCE_NUMBER
    for n, each in enumerate(sent[1:], 1):
        assert partition.send(each) == Verdict(repeats=n * 10)
    assert partition.next == 60


def test_a_repeat_has_the_same_end_too(partition):
    partition.send(header(0, 3))
    for count in (2, 4):
        assert partition.send(header(0, count)).code == Code.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_an_unknown_producer_may_begin_anywhere(partition):
    assert partition.send(header(4711)).is_new
    assert partition.send(header(4712)).is_new
    assert partition.send(header(0)).code == Code.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_sequences_go_on_with_0_behind_the_last(partition):
    assert partition.send(header(SEQUENCES - 3, 3)).is_new
    assert partition.send(header(0, 2)).is_new
    assert partition.send(header(SEQUENCES - 3, 3)) == Verdict(repeats=0)


def test_sequences_go_on_within_a_batch_too(partition):
    assert partition.send(header(SEQUENCES - 3, 5)).is_new
    assert partition.send(header(1)).code == Code.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert partition.send(header(2)).is_new
    assert partition.send(header(SEQUENCES - 3, 5)) == Verdict(repeats=0)


def test_an_older_epoch_is_refused_and_a_newer_begins_at_0(partition):
    partition.send(header(0, epoch=3))
    assert partition.send(header(1, epoch=2)).code == Code.INVALID_PRODUCER_EPOCH
    assert partition.send(header(0, epoch=2)).code == Code.INVALID_PRODUCER_EPOCH
    assert partition.send(header(1, epoch=4)).code == Code.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert partition.send(header(0, epoch=4)).is_new
    assert partition.send(header(0, epoch=4)) == Verdict(repeats=1)
    assert partition.send(header(0, epoch=3)).code == Code.INVALID_PRODUCER_EPOCH


def test_checking_keeps_nothing(partition):
    before = partition.producers.state()
    assert partition.producers.check(header(0)).is_new
    assert partition.producers.state() == before


def test_the_headers_of_real_batches_are_what_is_noted(partition):
    for n in range(3):
        batch = made(
            [Record(b"x")] * 4,
            now_ms=NOW_MS,
            producer_id=1,
            producer_epoch=0,
            base_sequence=n * 4,
        )
        assert partition.send(header_of(batch)).is_new
        assert partition.send(header_of(batch)) == Verdict(repeats=n * 4)


def deliver(partition, sent, n, answered):
    verdict = partition.send(sent[n])
    if verdict.code == Code.NONE:
        offset = partition.next - sent[n].offset_count if verdict.is_new else verdict.repeats
        assert answered.setdefault(n, offset) == offset


@settings(max_examples=200)
@given(st.data())
def test_retries_in_any_order_leave_each_record_once_and_in_order(data):
    """A client with five batches under way, over a network that repeats, delays and reorders; an
    answer may be lost, so what was appended may be sent again.
    """
    partition = Partition()
    counts = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=12))
    start = data.draw(st.sampled_from([0, SEQUENCES - 5]))
    sent, sequence = [], start
    for count in counts:
        sent.append(header(sequence, count))
        sequence = (sequence + count) % SEQUENCES
    partition.append(sent[0])  # of an unknown producer the first to arrive would be its first
    answered = {0: 0}
    for ahead, is_lost in data.draw(st.lists(st.tuples(st.integers(-4, 4), st.booleans()))):
        n = min(
            max(0, min(set(range(len(sent))) - answered.keys(), default=0) + ahead), len(sent) - 1
        )
        deliver(partition, sent, n, {} if is_lost else answered)
    for n in range(len(sent)):  # in the end the network is well
        if n not in answered:
            deliver(partition, sent, n, answered)
    batches = [what for _, what, _, _ in partition.events]
    assert batches == sent
    assert [answered[n] for n in range(len(sent))] == [sum(counts[:n]) for n in range(len(sent))]


def history(events, producer):
    """Epoch, the batches of that epoch, and whether a transaction is open: by the whole log."""
    epoch, batches, open_ = -1, [], False
    for kind, what, offset, _ in events:
        if kind == "batch" and what.producer_id == producer:
            batches = batches if what.producer_epoch == epoch else []
            epoch, open_ = what.producer_epoch, open_ or what.is_transactional
            batches.append((what, offset))
        elif kind == "marker" and what["producer_id"] == producer:
            if what["producer_epoch"] < epoch:
                continue
            batches = batches if what["producer_epoch"] == epoch else []
            epoch, open_ = what["producer_epoch"], False
    return epoch, batches, open_


def expected(events, given_):
    epoch, batches, open_ = history(events, given_.producer_id)
    if epoch == -1:
        return Verdict()
    if given_.producer_epoch < epoch:
        return Verdict(Code.INVALID_PRODUCER_EPOCH)
    batches = batches if given_.producer_epoch == epoch else []
    for what, offset in batches[-5:]:
        if (what.base_sequence, what.last_sequence) == (given_.base_sequence, given_.last_sequence):
            return Verdict(repeats=offset)
    if given_.base_sequence != (batches[-1][0].last_sequence + 1 if batches else 0):
        return Verdict(Code.OUT_OF_ORDER_SEQUENCE_NUMBER)
    return Verdict(Code.INVALID_TXN_STATE) if open_ and not given_.is_transactional else Verdict()


headers = st.builds(
    header,
    st.integers(0, 6),
    st.integers(1, 3),
    producer=st.integers(1, 3),
    epoch=st.integers(0, 2),
    transactional=st.booleans(),
)
steps = st.lists(
    st.one_of(
        headers,
        headers,
        st.tuples(st.integers(1, 3), st.integers(0, 2), st.booleans()),
    ),
    max_size=40,
)


def played(steps_):
    partition = Partition()
    for n, step in enumerate(steps_):
        if isinstance(step, tuple):
            producer, epoch, commit = step
            partition.mark(producer, epoch=epoch, commit=commit, now_ms=NOW_MS + n)
        else:
            assert partition.producers.check(step) == expected(partition.events, step)
            partition.send(step, NOW_MS + n)
    return partition


@settings(max_examples=200)
@given(steps)
def test_every_verdict_is_that_of_who_reads_the_whole_log(steps_):
    played(steps_)


# --- transactions -------------------------------------------------------------------------------


def test_a_batch_without_a_transaction_within_one_is_refused(partition):
    partition.send(header(0, transactional=True))
    assert partition.send(header(1)).code == Code.INVALID_TXN_STATE
    assert partition.send(header(0, epoch=1)).code == Code.INVALID_TXN_STATE
    partition.mark(commit=True)
    assert partition.send(header(1)).is_new


def test_the_drawing_at_the_top_is_right(partition):
    a, b, c = 1, 2, 3
    for producer, sequence in ((a, 0), (b, 0), (a, 1), (b, 1), (c, 0)):
        partition.send(header(sequence, producer=producer, transactional=True))
    assert partition.lso() == 0
    partition.mark(a, commit=False)
    assert partition.lso() == 1
    assert partition.producers.open() == [Open(b, 0, 1), Open(c, 0, 4)]
    partition.send(header(2, producer=b, transactional=True))
    partition.send(header(1, producer=c, transactional=True))
    partition.mark(c, commit=True)
    assert partition.lso() == 1
    assert partition.producers.aborted(0, 1) == [Aborted(a, 0, 5)]
    partition.mark(b, commit=False)
    assert partition.lso() == partition.next == 10
    assert partition.producers.aborted(0, 10) == [Aborted(a, 0, 5), Aborted(b, 1, 9)]
    assert partition.producers.aborted(6, 10) == [Aborted(b, 1, 9)]


def test_what_may_be_read_ends_the_stable_part_too(partition):
    assert partition.producers.last_stable_offset(0) == 0
    partition.send(header(0, 5))
    partition.send(header(5, transactional=True))
    assert partition.producers.last_stable_offset(3) == 3
    assert partition.producers.last_stable_offset(6) == 5


def test_a_marker_of_a_newer_epoch_fences_and_begins_sequences_anew(partition):
    partition.send(header(0, transactional=True))
    partition.mark(commit=False, epoch=1)
    assert partition.send(header(1, transactional=True)).code == Code.INVALID_PRODUCER_EPOCH
    assert partition.send(header(1, epoch=1)).code == Code.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert partition.send(header(0, epoch=1)).is_new


def test_a_marker_fences_where_nothing_was_appended(partition):
    partition.mark(commit=False, epoch=5)
    assert partition.producers.aborted(0, 1) == []
    assert partition.send(header(0, epoch=4)).code == Code.INVALID_PRODUCER_EPOCH
    assert partition.send(header(0, epoch=5)).is_new


def test_a_marker_of_an_older_epoch_ends_nothing(partition):
    partition.send(header(0, epoch=2, transactional=True))
    partition.mark(commit=True, epoch=1)
    assert partition.lso() == 0
    assert partition.send(header(1, epoch=2, transactional=True)).is_new


def test_a_marker_that_comes_twice_changes_nothing_more(partition):
    partition.send(header(0, transactional=True))
    partition.mark(commit=False)
    partition.mark(commit=False)
    assert partition.producers.aborted(0, partition.next) == [Aborted(PRODUCER, 0, 1)]
    assert partition.lso() == partition.next


def transactions_of(events):
    """Producer, first offset, marker or None, commit: by the whole log."""
    found, open_, epochs = [], {}, defaultdict(lambda: -1)
    for kind, what, offset, _ in events:
        if kind == "batch":
            epochs[what.producer_id] = what.producer_epoch
            if what.is_transactional:
                open_.setdefault(what.producer_id, offset)
        elif what["producer_epoch"] >= epochs[what["producer_id"]]:
            epochs[what["producer_id"]] = what["producer_epoch"]
            if what["producer_id"] in open_:
                first = open_.pop(what["producer_id"])
                found.append((what["producer_id"], first, offset, what["commit"]))
    return found + [(producer, first, None, None) for producer, first in open_.items()]


def committed(events, from_offset, to_offset, aborted):
    """What a client gives its user: it drops what is of an aborted transaction until the marker."""
    aborted, dropped, found = sorted(aborted, key=lambda a: a.first_offset), set(), []
    for kind, what, offset, _ in events:
        if not from_offset <= offset < to_offset:
            continue
        while aborted and aborted[0].first_offset <= offset:
            dropped.add(aborted.pop(0).producer_id)
        if kind == "marker":
            if not what["commit"]:
                dropped.discard(what["producer_id"])
        elif not (what.is_transactional and what.producer_id in dropped):
            found.append(offset)
    return found


turns = st.lists(
    st.tuples(st.integers(1, 4), st.sampled_from(["in", "in", "out", "abort", "abort", "commit"])),
    max_size=30,
)


def taken(turns_):
    """Producers that do nothing wrong: records in transactions and outside of them, and ends."""
    partition, sequences = Partition(), defaultdict(int)
    for producer, what in turns_:
        if what in ("abort", "commit"):
            partition.mark(producer, commit=what == "commit")
            continue
        is_in = what == "in" or any(
            each.producer_id == producer for each in partition.producers.open()
        )
        assert partition.send(
            header(sequences[producer], producer=producer, transactional=is_in)
        ).is_new
        sequences[producer] += 1
    return partition


def test_who_began_earlier_and_ended_later_is_found_too(partition):
    for producer in (1, 2):
        partition.send(header(0, producer=producer, transactional=True))
    partition.mark(2, commit=False)
    partition.mark(1, commit=False)
    assert partition.producers.aborted(0, 1) == [Aborted(1, 0, 3)]
    assert partition.producers.aborted(1, 2) == [Aborted(1, 0, 3), Aborted(2, 1, 2)]


@settings(max_examples=200)
@given(st.one_of(turns.map(taken), steps.map(played)), st.data())
def test_a_reader_of_what_is_committed_gets_that_and_nothing_else(partition, data):
    all_ = transactions_of(partition.events)
    opens = [first for _, first, last, _ in all_ if last is None]
    lso = partition.lso()
    assert lso == min(opens, default=partition.next)
    from_ = data.draw(st.integers(0, lso))
    to = data.draw(st.integers(from_, lso))
    found = partition.producers.aborted(from_, to)
    assert found == sorted(
        (
            Aborted(producer, first, last)
            for producer, first, last, commit in all_
            if commit is False and last >= from_ and first < to
        ),
        key=lambda a: a.first_offset,
    )
    gone = {
        offset
        for kind, what, offset, _ in partition.events
        for producer, first, last, commit in all_
        if kind == "batch" and what.is_transactional and what.producer_id == producer
        if commit is False and first <= offset < last
    }
    batches = [offset for kind, _, offset, _ in partition.events if kind == "batch"]
    wanted = [offset for offset in batches if from_ <= offset < to and offset not in gone]
    assert committed(partition.events, from_, to, found) == wanted


# --- housekeeping -------------------------------------------------------------------------------


def test_who_is_silent_for_longer_than_the_limit_is_forgotten(partition):
    partition.send(header(0, producer=1), NOW_MS)
    partition.send(header(0, producer=2), NOW_MS + 1)
    partition.producers.forget(first_offset=0, now_ms=NOW_MS + IDLE_MS)
    assert len(partition.producers) == 2
    partition.producers.forget(first_offset=0, now_ms=NOW_MS + IDLE_MS + 1)
    assert len(partition.producers) == 1
    assert partition.send(header(99, producer=1)).is_new
    assert not partition.send(header(99, producer=2)).is_new


def test_who_sends_again_is_not_silent(partition):
    partition.send(header(0, producer=1), NOW_MS)
    partition.send(header(0, producer=2), NOW_MS)
    partition.send(header(1, producer=1), NOW_MS + 10)
    partition.producers.forget(first_offset=0, now_ms=NOW_MS + 20, idle_ms=15)
    assert len(partition.producers) == 1
    assert partition.send(header(2, producer=1)).is_new


def test_a_transaction_keeps_its_producer_from_being_forgotten(partition):
    partition.send(header(0, transactional=True), NOW_MS)
    partition.producers.forget(first_offset=0, now_ms=NOW_MS + 10 * IDLE_MS)
    assert partition.lso() == 0
    partition.mark(commit=False)
    partition.producers.forget(first_offset=0, now_ms=NOW_MS + 10 * IDLE_MS)
    assert len(partition.producers) == 0


def test_aborted_ones_are_forgotten_with_their_records(partition):
    for n in range(3):
        partition.send(header(n, transactional=True))
        partition.mark(commit=False)
    all_ = partition.producers.aborted(0, 6)
    assert [each.last_offset for each in all_] == [1, 3, 5]
    partition.producers.forget(first_offset=3, now_ms=NOW_MS)
    assert partition.producers.aborted(0, 6) == all_[1:]
    partition.producers.forget(first_offset=4, now_ms=NOW_MS)
    assert partition.producers.aborted(0, 6) == all_[2:]


@pytest.mark.limit("log.PRODUCERS_MAX")
def test_of_too_many_producers_the_longest_silent_is_forgotten(partition):
    for n in range(PRODUCERS_MAX):
        partition.append(header(0, producer=n))
    partition.append(header(1, producer=0))
    assert len(partition.producers) == PRODUCERS_MAX
    assert not partition.producers.check(header(99, producer=1)).is_new
    partition.append(header(0, producer=PRODUCERS_MAX))
    assert len(partition.producers) == PRODUCERS_MAX
    assert partition.producers.check(header(99, producer=1)).is_new
    assert not partition.producers.check(header(99, producer=0)).is_new


@pytest.mark.limit("log.PRODUCERS_MAX")
def test_so_many_may_be_in_a_transaction_and_the_next_is_told_to_ask_again(partition):
    for n in range(PRODUCERS_MAX - 1):
        partition.append(header(0, producer=n, transactional=True))
    assert partition.send(header(0, producer=-5 % 2**40, transactional=True)).is_new
    late = header(0, producer=PRODUCERS_MAX)
    assert partition.send(late).code == Code.REQUEST_TIMED_OUT
    partition.mark(PRODUCERS_MAX + 1, commit=False, epoch=3)
    assert len(partition.producers) == PRODUCERS_MAX
    assert partition.send(header(1, producer=5, transactional=True)).is_new
    partition.mark(5, commit=True)
    assert partition.send(late).is_new
    assert len(partition.producers) == PRODUCERS_MAX


# --- restarts -----------------------------------------------------------------------------------


def with_forgetting(events, data):
    found = []
    for event in events:
        found.append(event)
        if data.draw(st.integers(0, 4)) == 0:
            _, _, offset, now_ms = event
            first = data.draw(st.integers(0, offset))
            found.append(("forget", data.draw(st.integers(0, 5)), first, now_ms))
    return found


@settings(max_examples=200)
@given(steps, st.data())
def test_a_state_and_the_batches_since_are_the_same_as_all_batches(steps_, data):
    events = with_forgetting(played(steps_).events, data)
    whole = replay(Producers(), events)
    cut = data.draw(st.integers(0, len(events)))
    state = replay(Producers(), events[:cut]).state()
    again = replay(Producers.restored(state), events[cut:])
    assert again.state() == whole.state()
    end = events[-1][2] + 9 if events else 0
    assert again.open() == whole.open()
    assert again.last_stable_offset(end) == whole.last_stable_offset(end)
    assert again.aborted(0, end) == whole.aborted(0, end)


@pytest.mark.parametrize("state", [b"", b"\x00", b"[]", msgspec.msgpack.encode([2, [], [], []])])
def test_what_is_no_state_is_refused(state):
    with pytest.raises(msgspec.DecodeError):
        Producers.restored(state)
