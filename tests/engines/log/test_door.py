"""The log as `bastide up` opens it: where it answers, and how it leaves."""

import socket
import subprocess
import sys
import time
from contextlib import closing
from threading import Event, Thread

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from bastide.app import DRAIN_S
from bastide.base.errors import Invalid
from bastide.base.rt.net import bind
from bastide.testing.kafka import running_kafka
from bastide.town import open_town
from tests.engines.log.test_kill import consumer_of
from tests.town.conftest import LAUNCH, RunningTown, environ_of

WITHIN_S = 20
KAFKA_PORT = 9092


@pytest.fixture
def up(tmp_path):
    """`up(**variables)` is a town of the log alone, on ports that it picks."""
    started = []

    def up(*words, **variables):
        variables.setdefault("BASTIDE_HTTP", "127.0.0.1:0")
        town = RunningTown(tmp_path / f"town{len(started)}", "--only", "log", *words, **variables)
        started.append(town)
        return town.until_ready()

    yield up
    for town in started:
        town.close()


def address_of(town):
    return town.file.systems["log"]["kafka"]


def names_of(address):
    """The topics that a client is told of."""
    return set(AdminClient({"bootstrap.servers": address}).list_topics(timeout=WITHIN_S).topics)


def sent(address, topic, count=1):
    producer = Producer({"bootstrap.servers": address})
    for n in range(count):
        producer.produce(topic, b"%d" % n)
    assert producer.flush(WITHIN_S) == 0


@pytest.mark.shows("log.client")
def test_it_tells_its_address_and_answers_there_and_goes_when_told(up):
    town = up()
    address = address_of(town)
    assert address.startswith("127.0.0.1:")
    assert f"kcat -b {address}" in town.said
    sent(address, "plain", 3)
    assert names_of(address) == {"plain"}
    assert town.get("/healthz").json()["systems"]["log"]["ok"]
    assert town.stop() == 0, town.errors()
    host, _, port = address.partition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=WITHIN_S)


def test_a_busy_port_is_skipped_and_told(up):
    try:
        taken = bind("127.0.0.1", KAFKA_PORT)
    except OSError:
        taken = None  # somebody else has it: as good
    try:
        town = up(BASTIDE_HTTP=None)
        assert f"port {KAFKA_PORT} is busy: log is on" in town.errors()
        assert address_of(town) != f"127.0.0.1:{KAFKA_PORT}"
        assert names_of(address_of(town)) == set()
    finally:
        if taken is not None:
            taken.close()


def test_an_address_that_is_set_is_the_one_and_no_other(up, tmp_path):
    with closing(bind("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    town = up(BASTIDE_LOG_KAFKA=f"127.0.0.1:{port}")
    assert address_of(town) == f"127.0.0.1:{port}"
    assert names_of(f"127.0.0.1:{port}") == set()
    environ = environ_of(BASTIDE_HTTP="127.0.0.1:0", BASTIDE_LOG_KAFKA=f"127.0.0.1:{port}")
    command = [sys.executable, str(LAUNCH), "up", "--data", str(tmp_path / "two"), "--only", "log"]
    second = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=WITHIN_S)
    assert second.returncode == 2
    assert f"BASTIDE_LOG_KAFKA=127.0.0.1:{port}" in second.stderr


def test_what_memory_has_is_gone_with_it_and_no_file_is_left(up):
    town = up(BASTIDE_LOG_URL="memory://")
    sent(address_of(town), "plain")
    assert names_of(address_of(town)) == {"plain"}
    assert not (town.data / "log" / "topics").exists()
    assert town.stop() == 0, town.errors()
    assert names_of(address_of(up(BASTIDE_LOG_URL="memory://"))) == set()


@pytest.mark.parametrize("url", ["file:///tmp/elsewhere", "nats://127.0.0.1"])
async def test_a_url_that_is_none_of_the_logs_ends_the_start(url, tmp_path):
    with pytest.raises(Invalid, match="expected"):
        async with open_town(["log"], {"BASTIDE_LOG_URL": url}, data=tmp_path):
            pass


def test_a_town_stops_in_time_though_a_consumer_waits_for_news(up):
    town = up()
    address = address_of(town)
    sent(address, "plain")
    began, ends = Event(), Event()
    polling = Thread(target=_poll, args=(address, began, ends), daemon=True)
    polling.start()
    try:
        assert began.wait(WITHIN_S)
        started_s = time.monotonic()
        assert town.stop() == 0, town.errors()
        assert time.monotonic() - started_s < DRAIN_S
    finally:
        ends.set()
        polling.join(WITHIN_S)


def _poll(address, began, ends):
    consumer = consumer_of(address, "waits", **{"fetch.wait.max.ms": 60_000})
    consumer.subscribe(["plain"])
    while not ends.is_set():
        message = consumer.poll(0.05)
        if message is not None and not message.error():
            began.set()
    consumer.close()


def test_the_fixture_for_other_projects_keeps_what_a_directory_has(tmp_path):
    with running_kafka() as kafka:
        sent(kafka.address, "plain", 5)
        consumer = Consumer({"bootstrap.servers": kafka.address, "group.id": "g"})
        assert "plain" in consumer.list_topics(timeout=WITHIN_S).topics
        consumer.close()
    with running_kafka(tmp_path / "kept") as kafka:
        sent(kafka.address, "kept", 1)
    with running_kafka(tmp_path / "kept", {"BASTIDE_LOG_PARTITIONS": "3"}) as kafka:
        sent(kafka.address, "three", 1)
        admin = AdminClient({"bootstrap.servers": kafka.address})
        topics = admin.list_topics(timeout=WITHIN_S).topics
        assert {name: len(topic.partitions) for name, topic in topics.items()} == {
            "kept": 1,
            "three": 3,
        }
