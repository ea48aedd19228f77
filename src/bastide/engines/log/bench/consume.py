"""How many records a second one reader gets, from the first on, again and again.

fetched     Fetch requests of our own, each for a megabyte as librdkafka asks by itself, one behind
            the other; batches are counted, not opened: what the broker gives
librdkafka  confluent-kafka's Consumer, an object for each record: what a program gets
redis       XRANGE by redis-py, on hiredis if that is installed: an object for each record, too
plain       a loop that reads the same bytes from a file

All of it is in the page cache. JetStream is left out: its clients fetch by subscriptions.
"""

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from bastide.base.manifest import load
from bastide.base.rt import runtime
from bastide.engines.log.bench.asking import LATER, Asker, batches_in, fetch_request, fetched
from bastide.engines.log.bench.feeding import batch_of, feed, kafka_feed, redis_feed
from bastide.engines.log.bench.produce import (
    PEER_RECORDS,
    PRODUCED,
    ratios,
    running_ours,
    running_peer,
    with_mb,
)
from bastide.engines.log.core.batches import header_of
from bastide.parts.http.bench.load import Turn, figures, in_turns
from bastide.parts.http.bench.servers import (
    GENERATOR_CORE,
    HOST,
    SERVER_CORE,
    Running,
    installed,
    on_core,
)

FILL_BATCHES = 64  # megabytes
FETCH_BYTES = 1 << 20
TAKEN_MAX = 10_000  # records of one call of `consume`
POLL_S = 0.1
FIRST_S = 10.0


async def consume(directory: Path, seconds: float) -> Mapping[str, float]:
    async with AsyncExitStack() as stack:
        ours = await running_ours(stack, directory)
        redis = None
        if installed("redis"):
            redis = await running_peer(stack, "redis", directory, "later")
        ways: dict[str, Turn] = {}
        for size, count in PRODUCED.items():
            name, value = f"{size}_b_records", runtime.current().chance.token(size)
            batch = batch_of(value, count)
            await feed(ours.port, kafka_feed(name, batch, count, acks=LATER), window=FILL_BATCHES)(
                0
            )
            ways[name] = partial(_fetch, ours, name)
            ways[f"plain_{name}"] = partial(_read, directory / f"plain-{size}", batch, count)
            if installed("confluent_kafka"):
                ways[f"librdkafka_{name}"] = partial(_consume, ours, name, FILL_BATCHES * count)
            if redis is not None:
                pipelines = FILL_BATCHES * count // PEER_RECORDS
                filling = redis_feed(name, value, PEER_RECORDS)
                await feed(redis.port, filling, window=max(1, pipelines))(0)
                ways[f"redis_{name}"] = partial(_range, redis, name)
        turns = await in_turns(ways, seconds)
    objects = {
        f"librdkafka_{size}_b_beside_redis": (
            f"librdkafka_{size}_b_records",
            f"redis_{size}_b_records",
        )
        for size in PRODUCED
    }
    return with_mb(turns, figures(turns, {**ratios(("plain",)), **objects}))


async def _fetch(server: Running, topic: str, seconds: float) -> float:
    with on_core(GENERATOR_CORE):
        async with Asker.connected(server.port) as asker:
            began_s, offset, count = runtime.monotonic(), 0, 0
            while not count or runtime.monotonic() < began_s + seconds:
                request = fetch_request(topic, offset, bytes_max=FETCH_BYTES, wait_ms=0)
                found = batches_in(fetched(await asker.ask(request)))
                if not found:
                    offset = 0
                    continue
                last = header_of(found[-1])
                count += last.base_offset + last.offset_count - offset
                offset = last.base_offset + last.offset_count
            return count / (runtime.monotonic() - began_s)


async def _consume(server: Running, topic: str, all_: int, seconds: float) -> float:
    with on_core(GENERATOR_CORE):
        return _consumed(server, topic, all_, seconds)


def _consumed(server: Running, topic: str, all_: int, seconds: float) -> float:
    """`all_`: how many there are; behind the last it begins anew."""
    settings = {
        "bootstrap.servers": f"{HOST}:{server.port}",
        "group.id": "bench",
        "enable.auto.commit": False,
    }
    consumer: Any = load("confluent_kafka:Consumer")(settings)
    first = load("confluent_kafka:TopicPartition")(topic, 0, 0)
    try:
        consumer.assign([first])
        assert consumer.consume(1, FIRST_S)  # it is connected now
        count, left, began_s = 0, all_ - 1, runtime.monotonic()
        while not count or runtime.monotonic() < began_s + seconds:
            found = len(consumer.consume(min(left, TAKEN_MAX), POLL_S))
            count, left = count + found, left - found
            if not left:
                consumer.seek(first)
                left = all_
        return count / (runtime.monotonic() - began_s)
    finally:
        consumer.close()


async def _range(server: Running, stream: str, seconds: float) -> float:
    with on_core(GENERATOR_CORE):
        client: Any = load("redis.asyncio:Redis")(host=HOST, port=server.port)
        try:
            began_s, last, count = runtime.monotonic(), "-", 0
            while not count or runtime.monotonic() < began_s + seconds:
                found = await client.xrange(stream, min=last, count=PEER_RECORDS)
                count += len(found)
                last = f"({found[-1][0].decode()}" if found else "-"
            return count / (runtime.monotonic() - began_s)
        finally:
            await client.aclose()


async def _read(path: Path, batch: bytes, records: int, seconds: float) -> float:
    with on_core(SERVER_CORE):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        for n in range(FILL_BATCHES):
            os.pwrite(descriptor, batch, n * len(batch))
        count, began_s = 0, runtime.monotonic()
        while not count or runtime.monotonic() < began_s + seconds:
            os.pread(descriptor, len(batch), count % FILL_BATCHES * len(batch))
            count += 1
        taken_s = runtime.monotonic() - began_s
        os.close(descriptor)
        return count * records / taken_s
