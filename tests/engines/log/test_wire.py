"""Bytes that no client library would send, and those that it would, to the wire door."""

import asyncio
import logging
import random
import secrets
import struct

import pytest

from bastide.engines.log.core.codes import Code
from bastide.engines.log.service.partition import Partition
from bastide.engines.log.wire import server
from bastide.engines.log.wire.codec.calls import decode_response
from tests.engines.log.town_kit import PATIENCE_S, Places, read_all, some, until, values
from tests.engines.log.wire_kit import (
    ALL,
    BY_NAME,
    NONE,
    READ_COMMITTED,
    batch_of,
    connected,
    fetched,
    produced,
    served,
    told,
)

TOPIC, CLICKS = "plain", "owner.clicks"
FOREVER_MS = 600_000
MB = 1 << 20


class Wired:
    """A town in memory behind its wire door. `door` is the server's own."""

    def __init__(self, opened, port, door):
        self.opened, self.port, self.door = opened, port, door
        self.log = opened.log

    def connect(self):
        return connected(self.port)


@pytest.fixture
def doors(monkeypatch):
    made = []

    class Door(server.Door):
        def __init__(self, node):
            super().__init__(node)
            made.append(self)

    monkeypatch.setattr(server, "Door", Door)
    monkeypatch.setattr(server, "DRAIN_S", 0.05)
    return made


@pytest.fixture
def settings():
    return {"frame_mb": 1, "connections": 20, "pending_mb": 1}


@pytest.fixture
async def wired(settings, doors, listed):
    async with Places("memory://", None).open(**settings) as opened, served(opened) as port:
        yield Wired(opened, port, doors[0])


def framed(content):
    return struct.pack(">i", len(content)) + content


def head(key, version, correlation_id=7):
    return struct.pack(">hhi", key, version, correlation_id)


# --- what is no request -------------------------------------------------------------------------

GARBAGE = {
    "a negative length": b"\xff\xff\xff\xff",
    "the least length": b"\x80\0\0\0",
    "no bytes at all": framed(b""),
    "half a header": framed(b"\0\3\0"),
    "http": b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
    "an unknown api": framed(head(999, 0) + b"\xff\xff"),
    "a negative api": framed(head(-1, 0) + b"\xff\xff"),
    "a version of tomorrow": framed(head(3, 99) + b"\xff\xff\0\0\0\0"),
    "a negative version": framed(head(3, -1) + b"\xff\xff\0\0\0\0"),
    "a client id beyond the end": framed(head(3, 1) + b"\x7f\xffkit"),
    "a client id that is no text": framed(head(3, 1) + b"\0\2\xff\xfe\0\0\0\0"),
    "a body that is cut off": framed(head(3, 1) + b"\xff\xff\0\0\0\1\0\5ab"),
    "more elements than bytes": framed(head(3, 1) + b"\xff\xff\x7f\xff\xff\xff"),
    "a huge varint": framed(head(3, 9) + b"\xff\xff\0" + b"\xff" * 12),
    "a frame above the limit": struct.pack(">i", MB + 1),
}


@pytest.mark.box("log.malformed")
@pytest.mark.parametrize("sent", GARBAGE.values(), ids=GARBAGE.keys())
async def test_what_is_no_request_cuts_its_connection_and_touches_no_other(wired, sent, caplog):
    caplog.set_level(logging.WARNING)
    async with wired.connect() as bystander, wired.connect() as waiting, wired.connect() as broken:
        await bystander.make(TOPIC)
        waiting.send("fetch", **fetched(TOPIC, 0, wait_ms=FOREVER_MS))
        asked = broken.send("metadata", topics=[])
        assert (await broken.answer())[0] == asked
        broken.writer.write(sent)
        assert await broken.is_cut()
        assert "is cut off" in caplog.text
        assert await bystander.produce(TOPIC, batch_of(b"after")) == (Code.NONE, 0)
        _, found = await waiting.answer()
        assert found["responses"][0]["partitions"][0]["high_watermark"] == 1


async def test_random_bytes_never_harm_anybody(wired):
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with wired.connect() as bystander:
        for n in range(60):
            async with wired.connect() as broken:
                content = chance.randbytes(chance.randrange(200))
                if n % 2:  # of an API that is there
                    content = head(chance.choice(list(BY_NAME.values())).key, 2) + content
                broken.writer.write(framed(content) + b"\xff\xff\xff\xff")
                while not await broken.is_cut():
                    pass
            body = await bystander.ask("metadata", topics=[])
            assert body["brokers"][0]["port"] == wired.port


async def test_api_versions_of_tomorrow_are_answered_in_the_oldest_version(wired):
    async with wired.connect() as client:
        client.writer.write(framed(head(18, 99) + b"\xff\xff\0"))
        size = int.from_bytes(await client.reader.readexactly(4), "big")
        reply = decode_response(await client.reader.readexactly(size), BY_NAME["api_versions"], 0)
        assert (reply.correlation_id, reply.body["error_code"]) == (7, Code.UNSUPPORTED_VERSION)
        told_keys = {one["api_key"] for one in reply.body["api_keys"]}
        assert told_keys == {api.key for api in BY_NAME.values()}
        again = await client.ask(
            "api_versions", client_software_name="kit", client_software_version="1"
        )
        assert again["error_code"] == Code.NONE


async def test_every_version_that_is_told_is_served(wired):
    async with wired.connect() as client:
        for api in BY_NAME.values():
            for version in range(api.version_min, api.version_max + 1):
                if api.name not in ("join_group", "sync_group"):
                    body = {"acks": ALL} if api.name == "produce" else {}
                    await client.ask(api.name, version, **body)


# --- pieces -------------------------------------------------------------------------------------


async def test_a_frame_that_comes_byte_by_byte_is_answered(wired):
    async with wired.connect() as client:
        for byte in client.frame("metadata", correlation_id=5, topics=[]):
            client.writer.write(bytes([byte]))
            await client.writer.drain()
            await asyncio.sleep(0)
        correlation_id, body = await client.answer()
        assert (correlation_id, body["controller_id"]) == (5, 0)


async def test_half_a_frame_and_then_nothing_leaves_nothing_behind(wired):
    before = asyncio.all_tasks()
    for length in (1, 3, 4, 10):
        async with wired.connect() as client:
            client.writer.write(client.frame("metadata", topics=[])[:length])
            await client.writer.drain()
    await until(lambda: not wired.door.connections and asyncio.all_tasks() <= before)


async def test_a_frame_of_just_the_limit_is_taken_and_one_byte_more_is_not(wired):
    async with wired.connect() as client:
        await client.make(TOPIC)
        bare = len(client.frame("produce", 8, **produced(TOPIC, b"x"))) - 4 - 1
        for size in (MB, MB + 1):
            filler = b"x" * (size - bare)
            client.send("produce", 8, **produced(TOPIC, filler))
            if size == MB:
                assert told((await client.answer())[1])[0] == Code.CORRUPT_MESSAGE
            else:
                assert await client.is_cut()


async def test_requests_sent_together_are_answered_in_their_order(wired):
    async with wired.connect() as client:
        await client.make(TOPIC)
        asked = []
        for n in range(40):
            asked.append(client.send("produce", **produced(TOPIC, batch_of(b"%d" % n))))
            asked.append(client.send("fetch", **fetched(TOPIC, 0)))
            asked.append(client.send("metadata", topics=[{"name": TOPIC}]))
        assert [(await client.answer())[0] for _ in asked] == asked
        found = values(await read_all(wired.log, TOPIC))
        assert found == [b"%d" % n for n in range(40)]


# --- many and much ------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"connections": 3}])
async def test_one_connection_too_many_is_closed_and_the_others_stay(wired, settings):
    async with wired.connect() as one, wired.connect() as two:
        async with wired.connect() as three:
            await three.ask("metadata", topics=[])
            async with wired.connect() as four:
                assert await four.is_cut()
            for client in (one, two, three):
                await client.ask("metadata", topics=[])
        await until(lambda: len(wired.door.connections) == 2)
        async with wired.connect() as another:
            await another.ask("metadata", topics=[])


async def test_who_has_too_much_waiting_is_not_read_from_until_it_is_less(wired):
    await wired.log.append(CLICKS, some(1))
    async with wired.connect() as client:
        await client.make(TOPIC)
        asked = [client.send("fetch", **fetched(CLICKS, 1, wait_ms=FOREVER_MS))]
        batch = batch_of(b"x" * 300_000)
        asked += [client.send("produce", **produced(TOPIC, batch)) for _ in range(40)]
        await until(lambda: any(one._paused for one in wired.door.connections))
        assert MB < wired.door.held_bytes < 2 * MB
        partition = await wired.opened.node.broker.partition(TOPIC, 0)
        assert partition.unwritten < 10
        await wired.log.append(CLICKS, some(1))  # what the first waits for
        assert [(await client.answer())[0] for _ in asked] == asked
        assert partition.next == 40
        await until(lambda: wired.door.held_bytes == 0)


async def test_who_does_not_read_its_answers_is_given_no_more_than_a_buffer(wired):
    await wired.log.append(CLICKS, [*some(1)])
    async with wired.connect() as client, wired.connect() as bystander:
        await client.make(TOPIC)
        assert (await client.produce(TOPIC, batch_of(b"x" * 900_000)))[0] == Code.NONE
        client.reader._transport.pause_reading()
        asked = [client.send("fetch", **fetched(TOPIC, 0)) for _ in range(30)]
        await until(lambda: not all(one._writable.is_set() for one in wired.door.connections))
        for _ in range(20):
            await bystander.ask("metadata", topics=[])
        waiting = [one.transport.get_write_buffer_size() for one in wired.door.connections]
        assert max(waiting) < 4 * MB
        client.reader._transport.resume_reading()
        assert [(await client.answer())[0] for _ in asked] == asked


# --- leaving ------------------------------------------------------------------------------------


async def test_what_asks_for_no_answer_is_appended_though_its_client_leaves_at_once(wired):
    async with wired.connect() as client:
        await client.make(TOPIC)
        for n in range(20):
            client.send("produce", **produced(TOPIC, batch_of(b"%d" % n), acks=NONE))
        client.writer.close()
        await client.writer.wait_closed()
    partition = await wired.opened.node.broker.partition(TOPIC, 0)
    await until(lambda: partition.durable() == 20)
    assert values(await read_all(wired.log, TOPIC)) == [b"%d" % n for n in range(20)]


@pytest.mark.parametrize("way", ["closes", "aborts"])
async def test_a_client_that_leaves_while_it_waits_leaves_nothing_behind(wired, way):
    await wired.log.append(CLICKS, some(1))
    [partition] = await wired.opened.node.broker.partitions(CLICKS)
    before = asyncio.all_tasks()
    async with wired.connect() as client:
        for _ in range(3):
            client.send("fetch", **fetched(CLICKS, 1, wait_ms=FOREVER_MS))
        await until(lambda: partition._written._listening)
        if way == "closes":
            client.writer.close()
            await client.writer.wait_closed()
    await until(lambda: asyncio.all_tasks() <= before and not partition._written._listening)
    assert not wired.door.connections
    assert wired.door.held_bytes == 0


async def test_a_client_that_leaves_while_it_joins_a_group_does_not_hold_it_up(wired):
    protocols = [{"name": "range", "metadata": b""}]
    asked = {
        "group_id": "g",
        "session_timeout_ms": 30_000,
        "rebalance_timeout_ms": 30_000,
        "member_id": "",
        "protocol_type": "consumer",
        "protocols": protocols,
    }
    async with wired.connect() as stays:
        first = await stays.ask("join_group", 3, **asked)
        async with wired.connect() as leaves:
            leaves.send("join_group", 3, **asked)  # waits for the first to join anew
            await until(lambda: len(wired.opened.node.groups.described("g").members) == 2)
        await until(lambda: len(wired.opened.node.groups.described("g").members) == 1)
        again = await stays.ask("join_group", 3, **{**asked, "member_id": first["member_id"]})
        assert again["error_code"] == Code.NONE
        assert len(again["members"]) == 1


# --- fetch --------------------------------------------------------------------------------------


async def test_a_fetch_that_waits_is_answered_when_something_is_appended(wired):
    async with wired.connect() as reader, wired.connect() as writer:
        await writer.make(TOPIC)
        reader.send("fetch", **fetched(TOPIC, 0, wait_ms=FOREVER_MS))
        waiting = asyncio.create_task(reader.answer())
        await writer.ask("metadata", topics=[])
        assert not waiting.done()
        assert await writer.produce(TOPIC, batch_of(b"a")) == (Code.NONE, 0)
        _, body = await waiting
        assert b"a" in bytes(body["responses"][0]["partitions"][0]["records"])


async def test_a_fetch_that_wants_more_waits_for_it_without_looking_again_and_again(
    wired, monkeypatch
):
    reads = _counted(monkeypatch)
    async with wired.connect() as reader, wired.connect() as writer:
        await writer.make(TOPIC)
        batch = batch_of(b"x" * 100)
        assert (await writer.produce(TOPIC, batch))[0] == Code.NONE
        wanted = fetched(TOPIC, 0, wait_ms=FOREVER_MS, bytes_min=2 * len(batch))
        reader.send("fetch", **wanted)
        waiting = asyncio.create_task(reader.answer())
        for _ in range(20):
            await writer.ask("metadata", topics=[])
        assert not waiting.done()
        assert len(reads) < 5
        assert (await writer.produce(TOPIC, batch))[0] == Code.NONE
        _, body = await waiting
        assert len(body["responses"][0]["partitions"][0]["records"]) == 2 * len(batch)


def _counted(monkeypatch):
    reads = []
    read = Partition.read

    def counting(self, offset, **more):
        reads.append(offset)
        return read(self, offset, **more)

    monkeypatch.setattr(Partition, "read", counting)
    return reads


async def test_a_fetch_gives_whole_batches_one_at_least_and_no_more_than_was_asked_for(wired):
    async with wired.connect() as client:
        await client.make(TOPIC)
        batch = batch_of(b"x" * 1000)
        for _ in range(5):
            await client.produce(TOPIC, batch)
        size = len(batch)
        for bytes_max, count in ((1, 1), (size, 1), (3 * size + 600, 3), (MB, 5)):
            row = await client.fetch(TOPIC, 0, bytes_max=bytes_max)
            assert len(row["records"]) == count * size, bytes_max


async def test_a_fetch_beyond_either_end_is_told_so_at_once(wired):
    async with wired.connect() as client:
        await client.make(TOPIC)
        await client.produce(TOPIC, batch_of(b"a"))
        for offset in (2, -5, 1 << 60):
            row = await client.fetch(TOPIC, offset, wait_ms=FOREVER_MS)
            assert row["error_code"] == Code.OFFSET_OUT_OF_RANGE
        row = await client.fetch("nowhere", 0, wait_ms=FOREVER_MS)
        assert row["error_code"] == Code.UNKNOWN_TOPIC_OR_PARTITION


async def test_a_reader_of_what_is_committed_steps_over_a_long_aborted_transaction(wired):
    async with wired.connect() as client:
        await client.make(TOPIC)
        producer = await client.init("tx")
        assert await client.begin("tx", producer, TOPIC) == Code.NONE
        for n in range(4):
            batch = batch_of(b"x" * 500_000, producer=producer, sequence=n, transactional=True)
            assert (await client.produce(TOPIC, batch, name="tx"))[0] == Code.NONE
        assert await client.end("tx", producer, commit=False) == Code.NONE
        assert await client.produce(TOPIC, batch_of(b"kept")) == (Code.NONE, 5)
        row = await client.fetch(TOPIC, 0, isolation=READ_COMMITTED)
        assert row["aborted_transactions"] == [{"producer_id": producer[0], "first_offset": 0}]
        async with asyncio.timeout(PATIENCE_S):
            assert values(await wired.log.read(TOPIC, 0, 0, wait_s=1)) == [b"kept"]
        async with wired.log.member("g", [TOPIC]) as member:
            async with asyncio.timeout(PATIENCE_S):
                while not (found := await member.poll(wait_s=0.1)):
                    pass
            assert values(found) == [b"kept"]


async def test_a_reader_at_a_marker_waits_without_looking_again_and_again(wired, monkeypatch):
    async with wired.connect() as client:
        await client.make(TOPIC)
        producer = await client.init("tx")
        assert await client.begin("tx", producer, TOPIC) == Code.NONE
        batch = batch_of(b"a", producer=producer, sequence=0, transactional=True)
        assert (await client.produce(TOPIC, batch, name="tx"))[0] == Code.NONE
        assert await client.end("tx", producer, commit=True) == Code.NONE
        reads = _counted(monkeypatch)
        waiting = asyncio.create_task(wired.log.read(TOPIC, 0, 1, wait_s=30))
        async with wired.log.member("g", [TOPIC]) as member:
            assert values(await member.poll()) == [b"a"]
            polling = asyncio.create_task(member.poll(wait_s=30))
            for _ in range(50):
                await client.ask("metadata", topics=[])
            assert len(reads) < 12
            await client.produce(TOPIC, batch_of(b"b"))
            async with asyncio.timeout(PATIENCE_S):
                assert values(await waiting) == values(await polling) == [b"b"]


# --- the town's topics --------------------------------------------------------------------------


@pytest.mark.box("log.of-the-town")
async def test_strangers_only_read_what_belongs_to_a_system_of_the_town(wired):
    await wired.log.append(CLICKS, some(2))
    async with wired.connect() as client:
        await client.make(TOPIC)
        denied = Code.TOPIC_AUTHORIZATION_FAILED
        assert await client.produce(CLICKS, batch_of(b"mine")) == (denied, -1)
        producer = await client.init("tx")
        assert await client.begin("tx", producer, CLICKS) == denied
        for name, body, rows in (
            ("create_topics", _new("owner.new"), "topics"),
            ("delete_topics", {"topic_names": [CLICKS]}, "responses"),
            ("create_partitions", {"topics": [{"name": CLICKS, "count": 5}]}, "results"),
        ):
            found = await client.ask(name, timeout_ms=1000, **body)
            assert found[rows][0]["error_code"] == denied, name
        wanted = [{"name": CLICKS, "partitions": [{"partition_index": 0, "offset": 1}]}]
        found = await client.ask("delete_records", topics=wanted, timeout_ms=1000)
        assert found["topics"][0]["partitions"][0]["error_code"] == denied
        row = await client.fetch(CLICKS, 0)
        assert (row["error_code"], row["high_watermark"]) == (Code.NONE, 2)
        body = await client.ask(
            "metadata", topics=[{"name": "owner.none"}], allow_auto_topic_creation=True
        )
        assert body["topics"][0]["error_code"] == Code.UNKNOWN_TOPIC_OR_PARTITION
    assert [topic.name for topic in await wired.log.topics()] == [CLICKS, TOPIC]
    assert (await wired.log.ends(CLICKS))[0].next == 2


def _new(topic):
    row = {"name": topic, "num_partitions": 1, "replication_factor": 1}
    return {"topics": [{**row, "assignments": [], "configs": []}]}
