"""Kafka's clients, as they come from PyPI, against our broker."""

import asyncio
import time
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as AioPartition
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

WITHIN_S = 30.0


def fresh(word):
    return f"{word}-{uuid4().hex[:8]}"


def producer_of(kafka, **more):
    return Producer({"bootstrap.servers": kafka.address, **more})


def consumer_of(kafka, group, **more):
    settings = {
        "bootstrap.servers": kafka.address,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 300,
        **more,
    }
    return Consumer(settings)


def send(producer, topic, values, **more):
    told = []
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, m: told.append((error, m)), **more)
        producer.poll(0)
    assert producer.flush(WITHIN_S) == 0
    assert [error for error, _ in told if error] == []
    return [message for _, message in told]


def take(consumer, count, within_s=WITHIN_S):
    found, until_s = [], time.monotonic() + within_s
    while len(found) < count and time.monotonic() < until_s:
        message = consumer.poll(0.2)
        if message is not None:
            assert message.error() is None, message.error()
            found.append(message)
    return found


def values(messages):
    return [message.value() for message in messages]


@pytest.mark.box("log.clients")
@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_what_is_produced_is_consumed_in_order(kafka, acks):
    topic, sent = fresh("plain"), [b"%d" % n for n in range(1000)]
    send(producer_of(kafka, acks=acks), topic, sent)
    consumer = consumer_of(kafka, fresh("group"))
    consumer.subscribe([topic])
    assert values(take(consumer, len(sent))) == sent
    consumer.close()


@pytest.mark.box("log.compression")
@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compression_passes_through(kafka, codec):
    topic, sent = fresh("packed"), [b"%d " % n * 50 for n in range(200)]
    send(producer_of(kafka, **{"compression.type": codec, "linger.ms": 20}), topic, sent)
    consumer = consumer_of(kafka, fresh("group"))
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    assert values(take(consumer, len(sent))) == sent
    consumer.close()


def test_a_record_of_a_megabyte_and_headers_come_through(kafka):
    topic, large = fresh("large"), bytes(range(256)) * 3900
    [sent] = send(producer_of(kafka), topic, [large], key=b"k", headers=[("a", b"1"), ("b", None)])
    consumer = consumer_of(kafka, fresh("group"))
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    [found] = take(consumer, 1)
    assert (found.key(), found.value(), found.headers()) == (
        b"k",
        large,
        [("a", b"1"), ("b", None)],
    )
    assert found.offset() == sent.offset() == 0
    consumer.close()


def test_a_record_over_the_limit_is_refused_and_the_next_is_taken(kafka):
    topic, told = fresh("larger"), []
    producer = producer_of(kafka, **{"message.max.bytes": 10_000_000})
    for value in (b"x" * 3_000_000, b"small"):
        producer.produce(
            topic, value, on_delivery=lambda error, m: told.append((error, m.offset()))
        )
        producer.flush(WITHIN_S)
    assert [error is not None and error.name() for error, _ in told] == [
        "MSG_SIZE_TOO_LARGE",
        False,
    ]
    assert told[1][1] == 0


@pytest.mark.box("log.groups")
def test_three_members_share_and_a_killed_one_is_replaced(kafka):
    topic, group = fresh("shared"), fresh("group")
    admin = AdminClient({"bootstrap.servers": kafka.address})
    admin.create_topics([NewTopic(topic, num_partitions=6)])[topic].result(WITHIN_S)
    members = [consumer_of(kafka, group, **{"session.timeout.ms": 2000}) for _ in range(3)]
    for member in members:
        member.subscribe([topic])
    until_s = time.monotonic() + WITHIN_S
    while time.monotonic() < until_s:
        for member in members:
            member.poll(0.05)
        if all(len(member.assignment()) == 2 for member in members):
            break
    assert sorted(p.partition for m in members for p in m.assignment()) == list(range(6))
    dead = members.pop()  # it is not polled any more, and its session ends
    dead.close()
    while time.monotonic() < until_s:
        for member in members:
            member.poll(0.05)
        if all(len(member.assignment()) == 3 for member in members):
            break
    assert sorted(p.partition for m in members for p in m.assignment()) == list(range(6))
    for member in members:
        member.close()


@pytest.mark.box("log.own-offsets")
def test_a_group_goes_on_where_it_committed(kafka):
    topic, group = fresh("goes-on"), fresh("group")
    send(producer_of(kafka), topic, [b"%d" % n for n in range(10)])
    first = consumer_of(kafka, group)
    first.subscribe([topic])
    seen = take(first, 10)
    first.commit(offsets=[TopicPartition(topic, 0, seen[3].offset() + 1)], asynchronous=False)
    first.close()
    second = consumer_of(kafka, group)
    second.subscribe([topic])
    assert values(take(second, 6)) == [b"%d" % n for n in range(4, 10)]
    assert second.committed([TopicPartition(topic, 0)])[0].offset == 4
    second.close()


@pytest.mark.box("log.own-offsets")
def test_seek_and_offsets_by_time(kafka):
    topic = fresh("times")
    producer = producer_of(kafka)
    for n in range(10):
        send(producer, topic, [b"%d" % n], timestamp=1_000_000 + 1000 * n)
    consumer = consumer_of(kafka, fresh("group"))
    assert consumer.get_watermark_offsets(TopicPartition(topic, 0), WITHIN_S) == (0, 10)
    for stamp, offset in ((0, 0), (1_003_500, 4), (1_009_000, 9)):
        [found] = consumer.offsets_for_times([TopicPartition(topic, 0, stamp)], WITHIN_S)
        assert found.offset == offset
    consumer.assign([TopicPartition(topic, 0, 7)])
    assert values(take(consumer, 3)) == [b"7", b"8", b"9"]
    consumer.seek(TopicPartition(topic, 0, 2))
    assert values(take(consumer, 1)) == [b"2"]
    consumer.close()


@pytest.mark.box("log.transactions")
@pytest.mark.box("log.idempotent")
def test_an_idempotent_producer_and_transactions(kafka):
    topic = fresh("atomic")
    producer = producer_of(kafka, **{"transactional.id": fresh("tx"), "linger.ms": 5})
    producer.init_transactions(WITHIN_S)
    for n, commits in enumerate([True, False, True, False]):
        producer.begin_transaction()
        for m in range(3):
            producer.produce(topic, b"%d.%d" % (n, m))
        producer.flush(WITHIN_S)
        if commits:
            producer.commit_transaction(WITHIN_S)
        else:
            producer.abort_transaction(WITHIN_S)
    committed = consumer_of(kafka, fresh("group"))
    committed.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    assert values(take(committed, 6)) == [b"0.0", b"0.1", b"0.2", b"2.0", b"2.1", b"2.2"]
    assert committed.poll(0.5) is None
    everything = consumer_of(kafka, fresh("group"), **{"isolation.level": "read_uncommitted"})
    everything.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    assert len(take(everything, 12)) == 12
    for consumer in (committed, everything):
        consumer.close()


@pytest.mark.box("log.transactions")
def test_offsets_move_with_their_transaction(kafka):
    source, target, group = fresh("in"), fresh("out"), fresh("group")
    send(producer_of(kafka), source, [b"a", b"b", b"c"])
    consumer = consumer_of(kafka, group)
    consumer.subscribe([source])
    producer = producer_of(kafka, **{"transactional.id": fresh("tx")})
    producer.init_transactions(WITHIN_S)
    take(consumer, 3)
    here = TopicPartition(source, 0)
    for commits, offset in ((False, 1), (True, 2)):
        producer.begin_transaction()
        producer.produce(target, b"done")
        moved = [TopicPartition(source, 0, offset)]
        producer.send_offsets_to_transaction(moved, consumer.consumer_group_metadata(), WITHIN_S)
        if commits:
            producer.commit_transaction(WITHIN_S)
        else:
            producer.abort_transaction(WITHIN_S)
        found = consumer.committed([here], WITHIN_S)[0].offset
        assert found == (offset if commits else -1001)
    consumer.close()


@pytest.mark.box("log.fenced")
def test_an_older_instance_of_a_producer_is_fenced(kafka):
    name, topic = fresh("tx"), fresh("fenced")
    old = producer_of(kafka, **{"transactional.id": name})
    old.init_transactions(WITHIN_S)
    old.begin_transaction()
    old.produce(topic, b"old")
    old.flush(WITHIN_S)
    new = producer_of(kafka, **{"transactional.id": name})
    new.init_transactions(WITHIN_S)
    with pytest.raises(KafkaException) as told:
        old.commit_transaction(WITHIN_S)
    assert told.value.args[0].fatal()
    new.begin_transaction()
    new.produce(topic, b"new")
    new.commit_transaction(WITHIN_S)
    consumer = consumer_of(kafka, fresh("group"))
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    assert values(take(consumer, 1)) == [b"new"]
    consumer.close()


def test_topics_are_made_changed_and_deleted(kafka):
    topic = fresh("topic")
    admin = AdminClient({"bootstrap.servers": kafka.address})
    settings = {"retention.ms": "60000"}
    admin.create_topics([NewTopic(topic, 2, 1, config=settings)])[topic].result(WITHIN_S)
    with pytest.raises(KafkaException, match="TOPIC_ALREADY_EXISTS"):
        admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(WITHIN_S)
    with pytest.raises(KafkaException, match="INVALID_REPLICATION_FACTOR"):
        admin.create_topics([NewTopic("three", 1, 3)])["three"].result(WITHIN_S)
    admin.create_partitions([NewPartitions(topic, 4)])[topic].result(WITHIN_S)
    assert len(admin.list_topics(topic).topics[topic].partitions) == 4
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    found = admin.describe_configs([resource])[resource].result(WITHIN_S)
    assert found["retention.ms"].value == "60000"
    admin.delete_topics([topic])[topic].result(WITHIN_S)
    assert topic not in admin.list_topics().topics


def test_groups_are_listed_described_and_deleted(kafka):
    topic, group = fresh("topic"), fresh("group")
    send(producer_of(kafka), topic, [b"a"])
    consumer = consumer_of(kafka, group)
    consumer.subscribe([topic])
    take(consumer, 1)
    consumer.commit(asynchronous=False)
    admin = AdminClient({"bootstrap.servers": kafka.address})
    assert group in {g.group_id for g in admin.list_consumer_groups().result().valid}
    described = admin.describe_consumer_groups([group])[group].result()
    assert described.state.name == "STABLE"
    assert described.members[0].assignment.topic_partitions[0].topic == topic
    with pytest.raises(KafkaException, match="NON_EMPTY_GROUP"):
        admin.delete_consumer_groups([group])[group].result()
    consumer.close()
    admin.delete_consumer_groups([group])[group].result()
    assert group not in {g.group_id for g in admin.list_consumer_groups().result().valid}


@pytest.mark.box("log.clients")
async def test_aiokafka_produces_consumes_and_commits(kafka):
    topic, group = fresh("aio"), fresh("group")
    async with AIOKafkaProducer(
        bootstrap_servers=kafka.address, enable_idempotence=True
    ) as producer:
        for n in range(100):
            await producer.send(topic, b"%d" % n)
    async with AIOKafkaConsumer(
        topic,
        bootstrap_servers=kafka.address,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    ) as consumer:
        found = [(await asyncio.wait_for(anext(consumer), WITHIN_S)).value for _ in range(100)]
        assert found == [b"%d" % n for n in range(100)]
        await consumer.commit()
        assert await consumer.committed(AioPartition(topic, 0)) == 100


async def test_aiokafka_transactions(kafka):
    topic = fresh("aio-tx")
    producer = AIOKafkaProducer(bootstrap_servers=kafka.address, transactional_id=fresh("tx"))
    await producer.start()
    async with producer.transaction():
        await producer.send_and_wait(topic, b"kept")
    await producer.begin_transaction()
    await producer.send_and_wait(topic, b"dropped")
    await producer.abort_transaction()
    async with producer.transaction():
        await producer.send_and_wait(topic, b"kept too")
    await producer.stop()
    async with AIOKafkaConsumer(
        topic,
        bootstrap_servers=kafka.address,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    ) as consumer:
        found = [(await asyncio.wait_for(anext(consumer), WITHIN_S)).value for _ in range(2)]
    assert found == [b"kept", b"kept too"]
