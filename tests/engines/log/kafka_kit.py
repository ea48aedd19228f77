"""A real Kafka: the one that everybody shares, and one to stop, pause and start again."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from bastide.base.settings import parse_url

ENGINES = Path(__file__).parents[3] / "scripts" / "engines"
OURS = ("owner.", "mill.")  # topics of tests
GROUPS = ("g", "a", "b", "group", "first", "another", "ü" * 127 + "x")
WITHIN_S = 20


def shared_url():
    """Needed by every test that is marked `engine("kafka")`."""
    url = os.environ.get("BASTIDE_TEST_KAFKA_URL")
    if not url:
        _go_without("BASTIDE_TEST_KAFKA_URL is not set: scripts/engines start")
    return url


def _go_without(reason):
    if os.environ.get("BASTIDE_TEST_ENGINES_REQUIRED") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def admin(url):
    from confluent_kafka.admin import AdminClient

    return AdminClient({"bootstrap.servers": parse_url(url).location, "log_level": 0})


def cleared(url):
    """The same URL, where nothing is left of the tests before."""
    client = admin(url)
    end_s = time.monotonic() + WITHIN_S
    while names := _ours(client):  # who is still closing may have Kafka make one anew
        assert time.monotonic() < end_s, f"{names} are not deleted"
        _delete(client, names)
        time.sleep(0.2)  # it is said before it is so
    listed = client.list_consumer_groups(request_timeout=WITHIN_S).result().valid
    groups = [one.group_id for one in listed if one.group_id in GROUPS]
    end_s = time.monotonic() + WITHIN_S
    while not _are_gone(client, groups):
        assert time.monotonic() < end_s, f"{groups} still have members"
        time.sleep(0.1)  # as who crashed is taken for gone
    return url


def _ours(client):
    return [n for n in client.list_topics(timeout=WITHIN_S).topics if n.startswith(OURS)]


def _delete(client, names):
    from confluent_kafka import KafkaException

    for future in client.delete_topics(names, operation_timeout=WITHIN_S).values():
        with suppress(KafkaException):  # it is being deleted
            future.result(WITHIN_S)


def _are_gone(client, groups):
    from confluent_kafka import KafkaError, KafkaException

    asked = client.delete_consumer_groups(groups, request_timeout=WITHIN_S) if groups else {}
    gone = True
    for future in asked.values():
        try:
            future.result(WITHIN_S)
        except KafkaException as error:
            code = error.args[0].code()
            if code not in (KafkaError.GROUP_ID_NOT_FOUND, KafkaError.NON_EMPTY_GROUP):
                raise
            gone = gone and code == KafkaError.GROUP_ID_NOT_FOUND
    return gone


class KafkaTools:
    """What an operator does to a topic, with a client that is not ours."""

    def __init__(self, backend, client):
        self._backend = backend
        self._client = client

    def view(self, client):
        return self._backend.view(client)

    async def delete_below(self, topic, number, offset):
        from confluent_kafka import TopicPartition

        await self._done(self._client.delete_records([TopicPartition(topic, number, offset)]))

    async def grow(self, topic, count):
        from confluent_kafka.admin import NewPartitions

        await self._done(self._client.create_partitions([NewPartitions(topic, count)]))

    async def delete(self, topic):
        await self._done(self._client.delete_topics([topic], operation_timeout=WITHIN_S))

    async def _done(self, asked):
        for future in asked.values():
            await asyncio.wrap_future(future)


@asynccontextmanager
async def opened_backend(url, *, partitions=1):
    """As in another process of the same town."""
    from bastide.engines.log.backends.kafka.backend import open_kafka
    from bastide.engines.log.service.broker import Settings

    use = SimpleNamespace(settings=lambda _: Settings(partitions=partitions))
    async with open_kafka(parse_url(url), use) as backend:
        yield backend


@asynccontextmanager
async def kafka_tools(url, *, partitions):
    async with opened_backend(url, partitions=partitions) as backend:
        yield KafkaTools(backend, admin(url))


class OwnKafka:
    """A server of a test's own, since it is stopped in the middle."""

    def __init__(self, directory):
        self._directory = directory
        self.url = ""

    def start(self):
        self.url = self._engines("start")

    def halt(self):
        """As by kill -9."""
        self._engines("halt")

    def stop(self):
        self._engines("stop")

    @contextmanager
    def paused(self):
        """It stands still: connections stay, and nothing answers."""
        [pid] = self._directory.glob("bastide-engines*/kafka/pid")
        os.kill(int(pid.read_text()), signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(int(pid.read_text()), signal.SIGCONT)

    def _engines(self, verb):
        environ = {**os.environ, "TMPDIR": str(self._directory)}
        command = [sys.executable, str(ENGINES), verb]
        done = subprocess.run(command, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        told = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
        return told.get("export BASTIDE_TEST_KAFKA_URL", "")


@contextmanager
def own_kafka():
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)  # the other servers that it starts may run as another user
        kafka = OwnKafka(Path(directory))
        kafka.start()
        try:
            yield kafka
        finally:
            kafka.stop()
