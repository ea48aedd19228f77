"""How many records a second one broker takes.

prebuilt    batches as librdkafka makes them, made before and sent by `feeding`: what the broker
            takes. A batch has a megabyte; `small`: 100 records, as of many small producers
librdkafka  confluent-kafka's Producer, one call of `produce` a record: what a program gets. Its
            threads share one core, and it is busier than the broker is: two more producers on the
            same core would not send more
redis       XADD into a stream with an append-only file, in pipelines made before
nats        JetStream, a file, in messages made before, each of them answered
nats_fast   its fast ingest, a thousand to an answer; nats_atomic, beside acks=all: batches of a
            thousand, each synced once, where `nats` syncs every message by itself
plain       a loop that writes the same batches and does nothing else, with acks=all each synced:
            no broker can be faster on this disk

With acks=1 what is answered is written and survives the process, in all of them; with acks=all it
is synced (Redis: appendfsync always; JetStream: sync_interval always). One partition, one
connection, nothing is compressed.
"""

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from bastide.base.manifest import load
from bastide.base.rt import runtime
from bastide.engines.log.bench.asking import LATER, NOW
from bastide.engines.log.bench.feeding import (
    batch_of,
    feed,
    kafka_feed,
    redis_feed,
)
from bastide.engines.log.bench.jetstream import (
    atomic_feed,
    can_sync_each,
    each_feed,
    fast_feed,
    takes,
)
from bastide.parts.http.bench.load import Turn, figures, in_turns
from bastide.parts.http.bench.servers import (
    GENERATOR_CORE,
    HOST,
    SERVER_CORE,
    Running,
    found,
    installed,
    on_core,
    running_module,
)

OURS = "bastide.engines.log.bench.ours"
PEER = "bastide.engines.log.bench.peer"
PRODUCED = {100: 9_000, 1024: 950}  # bytes of a record: how many make up a megabyte
SMALL = 100
PEER_RECORDS = 1_000  # of a peer's pipeline
NATS_WINDOW = 10  # with five its core is not always busy
SYNCED_RECORDS = 100  # of a request to a server that syncs each
SEGMENT_BYTES = 64 << 20
MB = 1_000_000
CONFLUENT = {
    "linger.ms": 20,
    "batch.size": 1_000_000,
}
CALLS = 500  # of `produce` between two looks at the clock


async def running_ours(stack: AsyncExitStack, directory: Path) -> Running:
    return await stack.enter_async_context(running_module(OURS, str(directory / "ours")))


async def running_peer(
    stack: AsyncExitStack, name: str, directory: Path, syncs: str
) -> Running | None:
    """None, and a line that says so, if it is not installed, or cannot sync as it is to."""
    program = found(f"{name}-server")
    if program is None:
        return None
    if name == "nats" and syncs == "now" and not await can_sync_each(program):
        return None
    words = (program, name, str(directory / name), syncs)
    return await stack.enter_async_context(running_module(PEER, *words))


async def produce(directory: Path, seconds: float) -> Mapping[str, float]:
    async with AsyncExitStack() as stack:
        ours = await running_ours(stack, directory)
        redis = await running_peer(stack, "redis", directory, "later")
        nats = await running_peer(stack, "nats", directory, "later")
        ways: dict[str, Turn] = {}
        for size, count in PRODUCED.items():
            value = runtime.current().chance.token(size)
            batch = batch_of(value, count)
            name = f"{size}_b_records"
            ways[name] = feed(ours.port, kafka_feed(name, batch, count, acks=LATER))
            ways[f"plain_{name}"] = plain(directory, batch, count)
            if installed("confluent_kafka"):
                ways[f"librdkafka_{name}"] = confluent(ours, name, value, acks="1")
            if redis is not None:
                ways[f"redis_{name}"] = feed(redis.port, redis_feed(name, value, PEER_RECORDS))
            if nats is not None:
                ways.update(await _through_nats(nats, name, value))
        small = batch_of(runtime.current().chance.token(100), SMALL)
        ways["small_100_b_records"] = feed(
            ours.port, kafka_feed("small", small, SMALL, acks=LATER), window=50
        )
        turns = await in_turns(ways, seconds)
    return with_mb(turns, figures(turns, ratios(("redis", "nats", "nats_fast", "plain"))))


async def produce_all(directory: Path, seconds: float) -> Mapping[str, float]:
    async with AsyncExitStack() as stack:
        ours = await running_ours(stack, directory)
        redis = await running_peer(stack, "redis", directory, "now")
        nats = await running_peer(stack, "nats", directory, "now")
        ways: dict[str, Turn] = {}
        for size, count in PRODUCED.items():
            value = runtime.current().chance.token(size)
            batch = batch_of(value, count)
            name = f"{size}_b_records"
            ways[name] = feed(ours.port, kafka_feed(name, batch, count, acks=NOW))
            ways[f"plain_{name}"] = plain(directory, batch, count, synced=True)
            if installed("confluent_kafka"):
                ways[f"librdkafka_{name}"] = confluent(ours, name, value, acks="all")
            if redis is not None:
                ways[f"redis_{name}"] = feed(redis.port, redis_feed(name, value, PEER_RECORDS))
            if nats is not None:
                ways.update(await _synced_through_nats(nats, name, value))
        turns = await in_turns(ways, seconds)
    return with_mb(turns, figures(turns, ratios(("redis", "nats", "nats_atomic", "plain"))))


async def _through_nats(server: Running, name: str, value: bytes) -> Mapping[str, Turn]:
    feeds = {f"nats_{name}": each_feed(f"each_{name}", value, PEER_RECORDS)}
    if await takes(server.port, "fast"):
        feeds[f"nats_fast_{name}"] = fast_feed(f"fast_{name}", value, PEER_RECORDS)
    return {way: feed(server.port, one, window=NATS_WINDOW) for way, one in feeds.items()}


async def _synced_through_nats(server: Running, name: str, value: bytes) -> Mapping[str, Turn]:
    feeds = {f"nats_{name}": each_feed(f"each_{name}", value, SYNCED_RECORDS)}
    if await takes(server.port, "atomic"):
        feeds[f"nats_atomic_{name}"] = atomic_feed(f"atomic_{name}", value, PEER_RECORDS)
    return {way: feed(server.port, one, window=NATS_WINDOW) for way, one in feeds.items()}


def ratios(peers: tuple[str, ...]) -> Mapping[str, tuple[str, str]]:
    return {
        f"{name}_beside_{peer}": (name, f"{peer}_{name}")
        for name in (f"{size}_b_records" for size in PRODUCED)
        for peer in peers
    }


def with_mb(turns: Mapping[str, object], found: Mapping[str, float]) -> Mapping[str, float]:
    """And megabytes of values a second, of what is a kilobyte."""
    large = [name for name in turns if name.endswith("1024_b_records")]
    return {
        **found,
        **{
            f"{name.removesuffix('_records')}_mb_per_s": found[f"{name}_per_s"] * 1024 / MB
            for name in large
        },
    }


def confluent(server: Running, topic: str, value: bytes, *, acks: str) -> Turn:
    async def turn(seconds: float) -> float:
        with on_core(GENERATOR_CORE):  # librdkafka's threads are begun here, and stay here
            return _produce(server, topic, value, acks, seconds)

    return turn


def _produce(server: Running, topic: str, value: bytes, acks: str, seconds: float) -> float:
    settings = {"bootstrap.servers": f"{HOST}:{server.port}", "acks": acks, **CONFLUENT}
    producer: Any = load("confluent_kafka:Producer")(settings)
    producer.produce(topic, value)
    producer.flush()
    call, count, began_s = producer.produce, 0, runtime.monotonic()
    while runtime.monotonic() < began_s + seconds:
        try:
            for _ in range(CALLS):
                call(topic, value)
                count += 1
        except BufferError:  # a hundred thousand wait
            producer.poll(0.01)
        producer.poll(0)
    left = producer.flush(60)
    assert not left
    return count / (runtime.monotonic() - began_s)


def plain(directory: Path, batch: bytes, records: int, *, synced: bool = False) -> Turn:
    async def turn(seconds: float) -> float:
        with on_core(SERVER_CORE):
            return _write(directory / "plain", batch, seconds, synced=synced) * records

    return turn


def _write(path: Path, batch: bytes, seconds: float, *, synced: bool) -> float:
    """Batches a second, into files as large as ours, which go afterwards."""
    sync = getattr(os, "fdatasync", os.fsync)
    count = at = 0
    descriptor = _new(path)
    began_s = runtime.monotonic()
    while not count or runtime.monotonic() < began_s + seconds:
        if at + len(batch) > SEGMENT_BYTES:
            os.close(descriptor)
            path.rename(path.with_name(f"plain-{began_s}-{count}"))
            descriptor, at = _new(path), 0
        at += os.pwrite(descriptor, batch, at)
        if synced:
            sync(descriptor)
        count += 1
    taken_s = runtime.monotonic() - began_s
    os.close(descriptor)
    for each in path.parent.glob("plain*"):
        each.unlink()
    return count / taken_s


def _new(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
