"""Transactions on three partitions, with a crash at every step: one outcome everywhere."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.engines.log.contract import Record
from bastide.engines.log.core import batches
from bastide.engines.log.core.batches import header_of, made, marker_of
from bastide.engines.log.core.codes import Code
from bastide.engines.log.core.producers import Producers
from bastide.engines.log.core.transactions import NOBODY, Instance, Phase, Transaction

TIMEOUT_MS = 60_000
FRESH = 100
A, B = ("orders", 0), ("orders", 1)


class Crash(Exception):
    pass


class Broker:
    """One coordinator and three partitions. What is in `durable` and `logs` survives; every write
    to them counts as a step, and after `steps` of them it crashes. It does as the lesson says:
    state, answer, markers, marked.
    """

    PLACES = (A, B, ("payments", 0))

    def __init__(self, steps=None):
        self.durable, self.logs = Transaction().state(), {place: [] for place in self.PLACES}
        self.steps, self.ids, self.answers = steps, itertools.count(FRESH), []
        self.begin()

    def begin(self):
        """What memory has is lost."""
        self.transaction = Transaction.restored(self.durable, now_ms=0)
        self.partitions = {place: Producers() for place in self.PLACES}
        for place, log in self.logs.items():
            for offset, batch in enumerate(log):
                self.note(place, offset, batch)

    def note(self, place, offset, batch):
        header = header_of(batch)
        if header.is_control:
            marker = marker_of(batch)
            self.partitions[place].note_marker(
                producer_id=marker.producer_id,
                producer_epoch=marker.producer_epoch,
                commit=marker.commit,
                offset=offset,
                now_ms=0,
            )
        else:
            self.partitions[place].note(header, base_offset=offset, now_ms=0)

    def step(self):
        if self.steps is not None:
            self.steps -= 1
            if self.steps < 0:
                raise Crash

    def write(self, place, batch):
        self.step()
        self.logs[place].append(batch)
        self.note(place, len(self.logs[place]) - 1, batch)

    def carry(self, decision, what=None):
        """Out what was decided; `what` is noted when it is answered."""
        if decision.state is not None:
            self.step()
            self.durable = decision.state
        self.step()  # a crash between what is durable and the answer
        self.answers.append((what, decision))
        if decision.markers is not None:
            self.mark(decision.markers)
        return decision

    def mark(self, markers):
        for place in markers.partitions:
            batch = batches.marker(
                commit=markers.commit,
                producer_id=markers.producer.producer_id,
                producer_epoch=markers.producer.epoch,
                coordinator_epoch=0,
                now_ms=0,
            )
            self.write(place, batch)
        self.carry(self.transaction.marked(markers))

    def recover(self):
        self.steps = None
        self.begin()
        if (markers := self.transaction.owed()) is not None:
            self.mark(markers)

    def init(self, instance=NOBODY):
        while True:
            decision = self.carry(
                self.transaction.init(
                    fresh_id=next(self.ids), timeout_ms=TIMEOUT_MS, instance=instance
                )
            )
            if decision.code != Code.CONCURRENT_TRANSACTIONS:
                return decision

    def produce(self, me, place, sequence, value):
        """What a produce request gets."""
        code = self.transaction.check_append(me, place)
        batch = made(
            [Record(value)],
            now_ms=0,
            producer_id=me.producer_id,
            producer_epoch=me.epoch,
            base_sequence=sequence,
            transactional=True,
        )
        verdict = self.partitions[place].check(header_of(batch))
        if code == Code.NONE and verdict.is_new:
            self.write(place, batch)
        return code or verdict.code

    def committed(self, place):
        """The values that a reader of what is committed gets."""
        log, producers = self.logs[place], self.partitions[place]
        end = producers.last_stable_offset(len(log))
        aborted = producers.aborted(0, end)
        found = []
        for offset, batch in enumerate(log[:end]):
            header = header_of(batch)
            if header.is_control or any(
                each.producer_id == header.producer_id
                and each.first_offset <= offset <= each.last_offset
                for each in aborted
            ):
                continue
            found += [record.value for _, _, record in batches.entries_of(batch)]
        return found


def transact(broker, me, sequence, value, *, commit):
    for place in broker.PLACES:
        broker.carry(broker.transaction.add_partitions(me, [place], now_ms=0))
        assert broker.produce(me, place, sequence, value) == Code.NONE
    broker.carry(broker.transaction.end(me, commit=commit), (value, commit))


def by_client(broker):
    me = broker.init().producer
    transact(broker, me, 0, b"one", commit=True)
    transact(broker, me, 1, b"two", commit=False)
    transact(broker, me, 2, b"three", commit=True)


def by_time_out(broker):
    me = broker.init().producer
    for n, place in enumerate(broker.PLACES[:2]):
        broker.carry(broker.transaction.add_partitions(me, [place], now_ms=n))
        broker.produce(me, place, 0, b"one")
    broker.carry(broker.transaction.time_out(now_ms=TIMEOUT_MS))
    assert broker.produce(me, A, 1, b"late") == Code.INVALID_PRODUCER_EPOCH
    me = broker.init(me).producer
    transact(broker, me, 0, b"two", commit=True)


def by_another_instance(broker):
    old = broker.init().producer
    for place in broker.PLACES[1:]:
        broker.carry(broker.transaction.add_partitions(old, [place], now_ms=0))
        broker.produce(old, place, 0, b"one")
    new = broker.init().producer
    assert broker.produce(old, B, 1, b"late") == Code.INVALID_PRODUCER_EPOCH
    transact(broker, new, 0, b"two", commit=True)
    broker.carry(broker.transaction.end(old, commit=True))
    transact(broker, new, 1, b"three", commit=False)


PLAYS = [by_client, by_time_out, by_another_instance]


def check_outcomes(broker):
    """Each value is everywhere that it was appended to, or nowhere; as was answered, if it was."""
    found = {place: broker.committed(place) for place in broker.PLACES}
    appended = {
        place: {record.value for batch in log for _, _, record in batches.entries_of(batch)}
        for place, log in broker.logs.items()
    }
    for value in (b"one", b"two", b"three"):
        places = [place for place in broker.PLACES if value in appended[place]]
        assert len({value in found[place] for place in places}) <= 1, value
        assert all(found[place].count(value) <= 1 for place in places)
    for what, decision in broker.answers:
        if what is not None and decision.code == Code.NONE:
            value, commit = what
            assert all((value in found[place]) == commit for place in broker.PLACES)
    assert all(b"late" not in values for values in found.values())


def crashes(play):
    for steps in itertools.count():
        broker = Broker(steps)
        try:
            play(broker)
        except Crash:
            yield broker
        else:
            return


@pytest.mark.parametrize("play", PLAYS)
def test_without_a_crash_it_goes_as_it_should(play):
    broker = Broker()
    play(broker)
    check_outcomes(broker)
    assert all(not producers.open() for producers in broker.partitions.values())


@pytest.mark.parametrize("play", PLAYS)
@pytest.mark.parametrize("by", ["a new instance", "the time-out"])
def test_a_crash_at_any_step_leaves_one_outcome_on_all_partitions(play, by):
    count = 0
    for broker in crashes(play):
        count += 1
        broker.recover()
        if by == "a new instance":
            me = broker.init().producer
            transact(broker, me, 0, b"after", commit=True)
            assert all(broker.committed(place)[-1] == b"after" for place in broker.PLACES)
        else:
            broker.carry(broker.transaction.time_out(now_ms=TIMEOUT_MS))
        check_outcomes(broker)
        assert all(not producers.open() for producers in broker.partitions.values())
    assert count > 25


@pytest.mark.parametrize("play", PLAYS)
def test_a_crash_while_recovering_is_recovered_from(play):
    for broker in crashes(play):
        for steps in range(8):
            broker.begin()
            broker.steps = steps
            try:
                if (markers := broker.transaction.owed()) is not None:
                    broker.mark(markers)
                broker.init()
            except Crash:
                continue
            break
        broker.recover()
        broker.init()
        check_outcomes(broker)
        assert all(not producers.open() for producers in broker.partitions.values())


class Client:
    def __init__(self):
        self.me, self.sequences = None, {}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_two_instances_and_crashes_in_any_order_never_tear_a_transaction(data):
    broker, clients, values = Broker(), [Client(), Client()], itertools.count()
    fenced = set()
    for _ in range(data.draw(st.integers(1, 25))):
        client = data.draw(st.sampled_from(clients))
        broker.steps = data.draw(st.sampled_from([None, None, None, 0, 1, 2, 3]))
        try:
            step(broker, client, data, values, fenced)
        except Crash:
            broker.recover()
        broker.steps = None
    broker.init()
    for place in broker.PLACES:
        assert not broker.partitions[place].open()
    for what, decision in broker.answers:
        if what is not None and decision.code == Code.NONE:
            check_whole(broker, *what)


def step(broker, client, data, values, fenced):
    verb = data.draw(st.sampled_from(["init", "again", "produce", "produce", "end", "time_out"]))
    if verb == "init" or client.me is None:
        client.me = broker.init().producer
        client.sequences, client.sent = {}, set()
        fenced |= {Instance(client.me.producer_id, n) for n in range(client.me.epoch)}
    elif verb == "again":
        decision = broker.init(client.me)
        if decision.code == Code.NONE:
            client.me, client.sequences, client.sent = decision.producer, {}, set()
    elif verb == "time_out":
        broker.carry(broker.transaction.time_out(now_ms=TIMEOUT_MS))
    elif verb == "produce":
        place = data.draw(st.sampled_from(broker.PLACES))
        added = broker.carry(broker.transaction.add_partitions(client.me, [place], now_ms=0))
        assert not (client.me in fenced and added.code == Code.NONE)
        value = b"%d" % next(values)
        sequence = client.sequences.get(place, 0)
        if added.code == Code.NONE and not broker.produce(client.me, place, sequence, value):
            client.sequences[place] = sequence + 1
            client.sent.add((place, value))
    else:
        commit, sent = data.draw(st.booleans()), client.sent
        fresh = broker.transaction.phase == Phase.ONGOING
        client.sent = set()
        broker.carry(
            broker.transaction.end(client.me, commit=commit),
            (frozenset(sent), commit) if fresh else None,
        )


def check_whole(broker, sent, commit):
    for place, value in sent:
        assert (value in broker.committed(place)) == commit


# --- late records ---------------------------------------------------------------------------------


def ends_and_goes_on(places):
    """A transaction that is aborted before its last batch has come, and the next one."""
    broker = Broker()
    me = broker.init().producer
    broker.carry(broker.transaction.add_partitions(me, [A], now_ms=0))
    assert broker.produce(me, A, 0, b"aborted") == Code.NONE
    broker.carry(broker.transaction.end(me, commit=False))
    broker.carry(broker.transaction.add_partitions(me, places, now_ms=0))
    return broker, me


def test_a_record_that_comes_after_its_transaction_begins_none_that_hangs():
    broker, me = ends_and_goes_on([B])
    assert broker.produce(me, A, 1, b"late") == Code.INVALID_TXN_STATE
    broker.carry(broker.transaction.end(me, commit=True))
    assert broker.committed(A) == []
    assert broker.partitions[A].open() == []


def test_a_record_that_comes_in_the_next_transaction_is_taken_into_it_and_that_flaw_stays():
    broker, me = ends_and_goes_on([A])
    assert broker.produce(me, A, 1, b"late") == Code.NONE
    broker.carry(broker.transaction.end(me, commit=True))
    assert broker.committed(A) == [b"late"]
