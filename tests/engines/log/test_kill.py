"""kill -9 of a broker, again and again, while confluent-kafka's clients go on as if nothing had
been: what was acknowledged is there, in order, and what a transaction has done is whole.
"""

import os
import random
import secrets
import time
from collections import defaultdict
from contextlib import contextmanager
from threading import Event, Thread

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

from tests.town.conftest import RunningTown

ROUNDS = int(os.environ.get("BASTIDE_TEST_ROUNDS", "2"))
LIFE_S = (0.3, 0.8)  # of a broker that answers
WITHIN_S = 30
PLAIN, ONCE, WHOLE = "plain", "once", "whole"
PARTITIONS = 2
PATIENT = {
    "acks": "all",
    "linger.ms": 1,
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 100,
    "retry.backoff.ms": 20,
    "message.timeout.ms": 60_000,
    "log_level": 0,
}


class Life:
    """Brokers at one address, one after the other, on the same data."""

    def __init__(self, data):
        self.data = data
        self.address = "127.0.0.1:0"
        self.begin()

    def begin(self):
        environ = {"BASTIDE_HTTP": "127.0.0.1:0", "BASTIDE_LOG_KAFKA": self.address}
        self.town = RunningTown(self.data, "--only", "log", **environ).until_ready()
        self.address = self.town.file.systems["log"]["kafka"]

    def kill(self):
        self.town.process.kill()
        self.town.close()


class Work:
    """What a client does in a thread of its own until it is told to stop."""

    def __init__(self, address):
        self.address = address
        self.stopping = Event()
        self.error = None
        self.thread = Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            self.run()
        except BaseException as error:
            self.error = error

    def settings(self, **more):
        return {"bootstrap.servers": self.address, **PATIENT, **more}

    def stop(self):
        self.stopping.set()
        self.thread.join(WITHIN_S)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error


class Producing(Work):
    """Numbers, in order, to each partition of a topic in turn. `acked`: by partition."""

    topic, setting = PLAIN, ("max.in.flight.requests.per.connection", 1)

    def run(self):
        self.acked = defaultdict(list)
        producer = Producer(self.settings(**dict([self.setting])))
        number = 0
        while not self.stopping.is_set():
            producer.produce(
                self.topic,
                b"%d" % number,
                partition=number % PARTITIONS,
                on_delivery=self.delivered,
            )
            number += 1
            producer.poll(0.002 if number % 20 == 0 else 0)
            while len(producer) > 2_000 and not self.stopping.is_set():
                producer.poll(0.05)
        assert producer.flush(WITHIN_S) == 0

    def delivered(self, error, message):
        assert error is None, error
        self.acked[message.partition()].append(int(message.value()))


class ProducingOnce(Producing):
    topic, setting = ONCE, ("enable.idempotence", True)


class Transacting(Work):
    """Transactions of five records in each partition; every third is aborted. What became of each:
    True, False, or None where nobody has said.
    """

    def run(self):
        self.ended = {}
        producer = Producer(self.settings(**{"transactional.id": "kill"}))
        self.insisting(producer.init_transactions)
        number = 0
        while not self.stopping.is_set():
            self.ended[number] = None
            producer.begin_transaction()
            try:
                for n in range(5 * PARTITIONS):
                    text = b"%d.%d" % (number, n)
                    producer.produce(WHOLE, text, partition=n % PARTITIONS)
                if number % 3 == 2:
                    self.insisting(producer.abort_transaction)
                else:
                    self.insisting(producer.commit_transaction)
                self.ended[number] = number % 3 != 2
            except KafkaException as failed:
                if failed.args[0].fatal():
                    raise
                self.insisting(producer.abort_transaction)
                self.ended[number] = False
            number += 1

    def insisting(self, verb):
        """Again, while it may be: the broker is away."""
        while True:
            try:
                return verb(5)
            except KafkaException as failed:
                if not failed.args[0].retriable():
                    raise


class Consuming(Work):
    """A member of a group. `committed`: what it was told is so, by partition."""

    def run(self):
        self.committed, self.seen = {}, defaultdict(list)
        consumer = consumer_of(self.address, "workers", **{"enable.auto.offset.store": False})
        consumer.subscribe([ONCE])
        try:
            while not self.stopping.is_set():
                messages = [m for m in consumer.consume(50, 0.1) if not m.error()]
                if messages:
                    self.take(consumer, messages)
        finally:
            consumer.close()

    def take(self, consumer, messages):
        for one in messages:
            self.seen[one.partition()].append(one.offset())
        ends = {one.partition(): one.offset() + 1 for one in messages}
        offsets = [TopicPartition(ONCE, partition, end) for partition, end in ends.items()]
        try:
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException:
            return  # nobody has said; it may be so
        self.committed |= ends


def consumer_of(address, group, **more):
    settings = {
        "bootstrap.servers": address,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "session.timeout.ms": 2_000,
        "heartbeat.interval.ms": 300,
        "socket.timeout.ms": 3_000,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 100,
        "fetch.wait.max.ms": 50,
        "log_level": 0,
    }
    return Consumer({**settings, **more})


def everything(address, topic):
    """The values of each partition, as a reader of what is committed finds them."""
    found = {}
    consumer = consumer_of(address, f"reader-{secrets.token_hex(4)}")
    for number in range(PARTITIONS):
        place = TopicPartition(topic, number, OFFSET_BEGINNING)
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, number), WITHIN_S)
        consumer.assign([place])
        found[number] = list(_until(consumer, place, end))
    consumer.close()
    return found


def _until(consumer, place, end):
    until_s = time.monotonic() + WITHIN_S
    while consumer.position([place])[0].offset < end and time.monotonic() < until_s:
        for message in consumer.consume(1_000, 0.1):
            assert message.error() is None, message.error()
            yield message.value()


@contextmanager
def killed_again_and_again(data, chance):
    """What four clients have done meanwhile; their last broker runs."""
    life = Life(data)
    try:
        admin = AdminClient({"bootstrap.servers": life.address})
        made = admin.create_topics([NewTopic(t, PARTITIONS) for t in (PLAIN, ONCE, WHOLE)])
        for one in made.values():
            one.result(WITHIN_S)
        kinds = (Producing, ProducingOnce, Transacting, Consuming)
        works = [kind(life.address) for kind in kinds]
        for _ in range(ROUNDS):
            time.sleep(chance.uniform(*LIFE_S))
            life.kill()
            life.begin()
        time.sleep(LIFE_S[1])
        for work in works:
            work.stop()
        yield life, works
    finally:
        life.kill()


@pytest.mark.box("log.kill")
@pytest.mark.shows("log.restart")
@pytest.mark.timeout(90 + 10 * ROUNDS)
def test_no_acknowledged_record_is_lost_or_doubled_or_torn_by_kill_9(tmp_path):
    seed = secrets.randbits(32)
    print(f"seed {seed}, {ROUNDS} rounds")
    with killed_again_and_again(tmp_path / "town", random.Random(seed)) as (life, works):
        plain, once, whole, group = works
        assert_kept(plain.acked, everything(life.address, PLAIN), doubles=True)
        assert_kept(once.acked, everything(life.address, ONCE), doubles=False)
        assert_whole(whole.ended, everything(life.address, WHOLE))
        assert_goes_on(life.address, group)
        acked = sum(map(len, plain.acked.values())) + sum(map(len, once.acked.values()))
        print(f"{ROUNDS} kills, {acked} records acknowledged, {len(whole.ended)} transactions")


def assert_kept(acked, found, *, doubles):
    """`doubles`: one that is sent again because nobody has answered may be there twice."""
    for number, numbers in acked.items():
        there = [int(value) for value in found[number]]
        lost = set(numbers) - set(there)
        assert not lost, f"partition {number}: {len(lost)} lost, as {min(lost)}"
        first_seen = list(dict.fromkeys(there))
        assert first_seen == sorted(first_seen), f"partition {number} is out of order"
        assert doubles or there == first_seen, f"partition {number} has some twice"


def assert_whole(ended, found):
    for number, texts in found.items():
        by_transaction = defaultdict(list)
        for text in texts:
            transaction, _, n = text.decode().partition(".")
            by_transaction[int(transaction)].append(int(n))
        mine = list(range(number, 5 * PARTITIONS, PARTITIONS))
        assert list(by_transaction) == sorted(by_transaction)
        for transaction, committed in ended.items():
            there = by_transaction.get(transaction, [])
            assert there in ([], mine), f"transaction {transaction} is torn: {there}"
            assert committed is None or bool(there) == committed, transaction
    assert True in ended.values()
    assert False in ended.values()


def assert_goes_on(address, group):
    """It is where it committed, or further: an answer may have been lost. What a member sees
    goes on without a gap.
    """
    assert group.committed
    consumer = consumer_of(address, "workers")
    places = [TopicPartition(ONCE, number) for number in group.committed]
    for place in consumer.committed(places, WITHIN_S):
        assert place.offset >= group.committed[place.partition]
        seen = group.seen[place.partition]
        assert set(seen) == set(range(max(seen) + 1)), "a record was passed over"
        assert place.offset <= max(seen) + 1
    consumer.close()
