"""The workloads run; how fast is for `bastide bench log`."""

import asyncio
from collections import deque
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from shutil import which

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.base.errors import Unavailable
from bastide.engines.log.bench import BENCHES, consume, latency, produce, start
from bastide.engines.log.bench.asking import LATER, Asker, fetch_request, fetched
from bastide.engines.log.bench.feeding import batch_of, feed, kafka_feed
from bastide.engines.log.bench.jetstream import (
    Answers,
    atomic_feed,
    can_sync_each,
    each_feed,
    fast_feed,
    takes,
)
from bastide.engines.log.bench.produce import running_peer
from bastide.parts.http.bench import load, servers
from bastide.parts.http.bench.servers import running_module

OURS = "bastide.engines.log.bench.ours"
RECORDS = ("100_b_records_per_s", "1024_b_records_per_s")

CREATED = b'{"type":"io.nats.jetstream.api.v1.stream_create_response","config":{"name":"s"}}'
WAYS = {"each": each_feed, "fast": fast_feed, "atomic": atomic_feed}

needs_redis = pytest.mark.skipif(
    which("redis-server") is None, reason="redis-server is not installed"
)

needs_nats = pytest.mark.skipif(which("nats-server") is None, reason="nats-server is not installed")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """A turn of each."""
    monkeypatch.setattr(load, "TURNS", 1)


@needs_redis
@pytest.mark.parametrize("name", ["produce", "produce_all", "consume"])
async def test_records_are_measured_by_both_clients_and_beside_peers(tmp_path, name):
    (bench,) = (bench for bench in BENCHES if bench.name == name)
    figures = await bench.run(tmp_path, 0.01)
    peers = ("", "librdkafka_", "redis_", "plain_")
    assert figures.keys() >= {f"{peer}{one}" for peer in peers for one in RECORDS}
    assert "1024_b_mb_per_s" in figures
    assert "100_b_records_beside_plain_ratio" in figures
    assert all(value > 0 for value in figures.values())


@needs_nats
@pytest.mark.parametrize(("name", "way"), [("produce", "fast"), ("produce_all", "atomic")])
async def test_jetstream_is_measured_message_by_message_and_in_batches(tmp_path, capsys, name, way):
    (bench,) = (bench for bench in BENCHES if bench.name == name)
    figures = await bench.run(tmp_path, 0.01)
    said = capsys.readouterr().err
    if "left out: this nats-server cannot sync every message\n" in said:
        assert not any(one.startswith("nats_") for one in figures)
        pytest.skip("this nats-server cannot sync every message")
    told = f"left out: this nats-server has no {way} batches\n" in said
    for one in RECORDS:
        assert figures[f"nats_{one}"] > 0
        assert figures[f"{one.removesuffix('_per_s')}_beside_nats_ratio"] > 0
        assert told or figures[f"nats_{way}_{one}"] > 0


@needs_redis
async def test_latency_is_that_of_each_record_beside_redis_and_the_disk(tmp_path):
    figures = await latency(tmp_path, 0.1)
    assert figures.keys() == {
        f"{name}record_ms_{percentile}"
        for name in ("", "redis_", "plain_")
        for percentile in ("p50", "p99")
    }
    assert all(value > 0 for value in figures.values())


async def test_starts_are_those_of_a_thread_and_of_a_process(tmp_path):
    figures = await start(tmp_path, 0.01)
    assert 0 < figures["thread_ms_p50"] < figures["process_ms_p50"]


@pytest.mark.parametrize("workload", [produce, consume], ids=lambda workload: workload.__name__)
async def test_without_peers_ours_is_measured_and_lines_say_what_is_left_out(
    tmp_path, monkeypatch, capsys, workload
):
    monkeypatch.setattr(servers, "which", lambda *_, **__: None)
    figures = await workload(tmp_path, 0.01)
    assert "100_b_records_per_s" in figures
    assert not any(name.startswith(("redis_", "nats_")) for name in figures)
    said = capsys.readouterr().err
    assert "left out: redis-server is not installed\n" in said
    assert ("left out: nats-server is not installed\n" in said) is (workload is produce)


async def test_what_is_fed_is_in_the_topic(tmp_path):
    async with running_module(OURS, str(tmp_path)) as ours:
        batch = batch_of(b"v", 3)
        await feed(ours.port, kafka_feed("fed", batch, 3, acks=LATER), window=2)(0)
        async with Asker.connected(ours.port) as asker:
            request = fetch_request("fed", 0, bytes_max=1 << 20, wait_ms=0)
            assert len(fetched(await asker.ask(request))) == 2 * len(batch)


async def test_figures_of_batches_that_are_refused_are_refused(tmp_path):
    async with running_module(OURS, str(tmp_path)) as ours:
        broken = batch_of(b"v", 3)[:-1] + b"x"
        with pytest.raises(Unavailable, match="has refused"):
            await feed(ours.port, kafka_feed("fed", broken, 3, acks=LATER))(0)


@asynccontextmanager
async def running_nats(directory):
    async with AsyncExitStack() as stack:
        yield await running_peer(stack, "nats", directory, "later")


async def ask(port, subject):
    """JetStream's answer, of JSON."""
    reader, writer = await asyncio.open_connection(servers.HOST, port)
    writer.write(b"CONNECT {}\r\nSUB here 1\r\nPUB %s here 0\r\n\r\n" % subject.encode())
    while not (line := await reader.readline()).startswith(b"MSG"):
        assert line
    answer = msgspec.json.decode(await reader.readexactly(int(line.split()[-1])))
    writer.close()
    return answer


@needs_nats
@pytest.mark.parametrize("way", WAYS)
async def test_each_way_into_jetstream_stores_every_record(tmp_path, way):
    async with running_nats(tmp_path) as nats:
        if way != "each" and not await takes(nats.port, way):
            pytest.skip(f"this nats-server has no {way} batches")
        await feed(nats.port, WAYS[way]("fed", b"value", 7), window=3)(0)
        told = await ask(nats.port, "$JS.API.STREAM.INFO.fed")
    assert told["state"]["messages"] == 21
    config = told["config"]
    assert (config["storage"], config["num_replicas"]) == ("file", 1)


@needs_nats
@pytest.mark.parametrize("way", ["fast", "atomic"])
async def test_a_batch_that_a_stream_refuses_is_not_counted(tmp_path, way):
    async with running_nats(tmp_path) as nats:
        if not await takes(nats.port, way):
            pytest.skip(f"this nats-server has no {way} batches")
        refusing = msgspec.structs.replace(
            WAYS[way]("fed", b"v", 7), hello=each_feed("fed", b"v", 7).hello
        )
        with pytest.raises(Unavailable, match="nats has refused"):
            await feed(nats.port, refusing)(0)


@needs_nats
async def test_records_that_are_too_large_for_nats_are_not_counted(tmp_path):
    async with running_nats(tmp_path) as nats:
        with pytest.raises(Unavailable, match="Maximum Payload"):
            await feed(nats.port, each_feed("fed", bytes(2 << 20), 1))(0)


@pytest.mark.parametrize(
    ("way", "told", "known"),
    [
        ("atomic", b"{}", False),
        ("atomic", b'{"api_lvl":1}', False),
        ("atomic", b'{"api_lvl":2}', True),
        ("fast", b'{"api_lvl":3}', False),
        ("fast", b'{"api_lvl":4,"version":"2.14.0"}', True),
    ],
)
async def test_an_older_nats_server_is_known_by_what_it_says_first(capsys, way, told, known):
    async def greet(_, writer):
        writer.write(b"INFO %s\r\n" % told)
        writer.close()

    async with await asyncio.start_server(greet, servers.HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await takes(port, way) is known
    assert (f"has no {way} batches" in capsys.readouterr().err) is not known


@pytest.mark.parametrize(
    ("version", "can"), [("v2.9.10", False), ("v2.10.0", True), ("v3.0.1", True), ("devel", True)]
)
async def test_a_nats_server_that_cannot_sync_every_message_is_left_out(
    tmp_path, capsys, version, can
):
    program = tmp_path / "nats-server"
    program.write_text(f"#!/bin/sh\necho nats-server: {version}\n")
    program.chmod(0o755)
    assert await can_sync_each(str(program)) is can
    assert ("cannot sync every message" in capsys.readouterr().err) is not can


def message(payload):
    return b"MSG _INBOX.b.x 1 %d\r\n%s\r\n" % (len(payload), payload)


@st.composite
def cut(draw, data):
    """In pieces, as a network may."""
    places = draw(st.lists(st.integers(0, len(data)), max_size=20))
    return [data[a:b] for a, b in pairwise([0, *sorted(places), len(data)])]


STORED = message(b'{"stream":"s","seq":1}') + message(b'{"type":"ack","seq":0,"msgs":500}')
STORED += message(b'{"stream":"s","seq":9,"batch":"b","count":8}') + b"PING\r\n"


@given(cut(b'INFO {"api_lvl":4}\r\n' + message(CREATED) + STORED * 2))
def test_answers_are_counted_however_the_network_cuts_them(pieces):
    answers = Answers()
    assert sum(answers(piece) for piece in pieces) == 5


@pytest.mark.parametrize(
    "refusal",
    [
        b"-ERR 'Maximum Payload Violation'\r\n",
        message(b'{"error":{"code":400},"stream":"s","seq":0}'),
        message(b'{"type":"gap","last_seq":1,"seq":3}'),
    ],
)
@given(data=st.data())
def test_a_refusal_is_seen_however_the_network_cuts_it(refusal, data):
    answers = Answers()
    pieces = data.draw(cut(message(CREATED) + STORED + refusal))
    with pytest.raises(Unavailable, match="nats has refused"):
        deque(map(answers, pieces), maxlen=0)
