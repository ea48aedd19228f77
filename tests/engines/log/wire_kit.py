"""Kafka's protocol by hand: a client that says just what a test wants said."""

import asyncio
from contextlib import asynccontextmanager

from bastide.base.rt import runtime
from bastide.base.rt.net import bind
from bastide.engines.log.contract import Record
from bastide.engines.log.core.batches import made
from bastide.engines.log.core.codes import Code
from bastide.engines.log.wire.codec.calls import decode_response, encode_request
from bastide.engines.log.wire.codec.messages.table import APIS
from bastide.engines.log.wire.server import open_kafka
from tests.engines.log.town_kit import PATIENCE_S

BY_NAME = {api.name: api for api in APIS.values()}
ALL, NONE = -1, 0
READ_UNCOMMITTED, READ_COMMITTED = 0, 1


@asynccontextmanager
async def served(opened):
    """The wire door of a town, on a free port."""
    listener = bind("127.0.0.1", 0)
    async with open_kafka(opened.backend, [listener]):
        yield listener.getsockname()[1]


@asynccontextmanager
async def connected(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = Client(reader, writer)
    try:
        yield client
    finally:
        client.abort()


class Client:
    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer
        self._asked = 0
        self._expected = {}

    def send(self, name, version=None, **body):
        """Asks, and waits for nothing. Returns the correlation id."""
        self._asked += 1
        self.writer.write(self.frame(name, version, self._asked, **body))
        return self._asked

    def frame(self, name, version=None, correlation_id=1, **body):
        api = BY_NAME[name]
        version = api.version_max if version is None else version
        self._expected[correlation_id] = api, version
        return encode_request(api, version, correlation_id, "kit", body)

    async def answer(self):
        """The next: its correlation id and its body."""
        async with asyncio.timeout(PATIENCE_S):
            size = int.from_bytes(await self.reader.readexactly(4), "big")
            frame = await self.reader.readexactly(size)
        correlation_id = int.from_bytes(frame[:4], "big")
        api, version = self._expected.pop(correlation_id)
        return correlation_id, decode_response(frame, api, version).body

    async def ask(self, name, version=None, **body):
        asked = self.send(name, version, **body)
        correlation_id, found = await self.answer()
        assert correlation_id == asked
        return found

    async def is_cut(self):
        """Whether the other side closes without another word."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True

    def abort(self):
        self.writer.transport.abort()

    # --- what is asked for often ----------------------------------------------------------------

    async def make(self, topic):
        """As the first use of a topic does."""
        body = await self.ask("metadata", topics=[{"name": topic}], allow_auto_topic_creation=True)
        assert body["topics"][0]["error_code"] == Code.NONE

    async def produce(self, topic, batch, **more):
        """The error's code and the first offset."""
        body = await self.ask("produce", **produced(topic, batch, **more))
        return told(body)

    async def fetch(self, topic, offset, **more):
        """The row of partition 0."""
        body = await self.ask("fetch", **fetched(topic, offset, **more))
        return body["responses"][0]["partitions"][0]

    async def init(self, name=None, timeout_ms=60_000):
        """A producer's id and epoch."""
        body = await self.ask(
            "init_producer_id", transactional_id=name, transaction_timeout_ms=timeout_ms
        )
        assert body["error_code"] == Code.NONE
        return body["producer_id"], body["producer_epoch"]

    async def begin(self, name, producer, topic):
        body = await self.ask("add_partitions_to_txn", **_of(name, producer), topics=_all_of(topic))
        return body["results_by_topic"][0]["results_by_partition"][0]["partition_error_code"]

    async def end(self, name, producer, *, commit):
        return (await self.ask("end_txn", **_of(name, producer), committed=commit))["error_code"]


def produced(topic, batch, *, partition=0, acks=ALL, name=None):
    data = [{"index": partition, "records": batch}]
    return {
        "transactional_id": name,
        "acks": acks,
        "timeout_ms": 10_000,
        "topic_data": [{"name": topic, "partition_data": data}],
    }


def told(body):
    row = body["responses"][0]["partition_responses"][0]
    return row["error_code"], row["base_offset"]


def fetched(
    topic, offset, *, wait_ms=0, bytes_min=1, bytes_max=1 << 20, isolation=READ_UNCOMMITTED
):
    wanted = [{"partition": 0, "fetch_offset": offset, "partition_max_bytes": bytes_max}]
    return {
        "max_wait_ms": wait_ms,
        "min_bytes": bytes_min,
        "max_bytes": bytes_max,
        "isolation_level": isolation,
        "topics": [{"topic": topic, "partitions": wanted}],
    }


def batch_of(*texts, producer=(-1, -1), sequence=-1, transactional=False):
    id_, epoch = producer
    return made(
        [Record(text) for text in texts],
        now_ms=runtime.now_ms(),
        producer_id=id_,
        producer_epoch=epoch,
        base_sequence=sequence,
        transactional=transactional,
    )


def _of(name, producer):
    return {
        "transactional_id": name,
        "producer_id": producer[0],
        "producer_epoch": producer[1],
    }


def _all_of(topic):
    return [{"name": topic, "partitions": [0]}]
