"""How long a record takes from who appends it to who reads it, synced in between.

PER_S records a second, one at a time, each when it is due, whether or not earlier ones are there.
One connection appends and one waits for news, by requests of our own; the generator never sleeps,
so that no timer is in what is measured. Where it has no core of its own, its delays are in it.

redis       XADD and XREAD with BLOCK, appendfsync always; read by redis-py
plain       writing and syncing one record, again and again: what the disk takes of each figure
"""

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from bastide.base.errors import Unavailable
from bastide.base.manifest import load
from bastide.base.rt import runtime
from bastide.engines.log.bench.asking import (
    NOW,
    Asker,
    batches_in,
    check_produced,
    fetch_request,
    fetched,
    metadata_request,
    produce_request,
)
from bastide.engines.log.bench.feeding import batch_of, redis_feed
from bastide.engines.log.bench.produce import running_ours, running_peer
from bastide.engines.log.core.batches import entries_of, header_of
from bastide.parts.http.bench import load as loading
from bastide.parts.http.bench.servers import (
    GENERATOR_CORE,
    HOST,
    SERVER_CORE,
    Running,
    installed,
    on_core,
)

PER_S = 1_000
BYTES = 100
FETCH_BYTES = 1 << 20
WAIT_MS = 500
DRAIN_S = 5.0
TAKEN_MIN = 3  # what makes percentiles
_stamp = struct.Struct(">d")

Times = list[float]  # seconds
Send = Callable[[bytes], None]
Way = Callable[[float], Awaitable[Sequence[float]]]  # for some seconds; what each took, in seconds


async def latency(directory: Path, seconds: float) -> Mapping[str, float]:
    async with AsyncExitStack() as stack:
        ours = await running_ours(stack, directory)
        redis = None
        if installed("redis"):
            redis = await running_peer(stack, "redis", directory, "now")
        ways: dict[str, Way] = {
            "": lambda s: _at_rate(_through_ours(ours), s),
            "plain_": lambda s: _synced(directory / "plain", s),
        }
        if redis is not None:
            ways["redis_"] = lambda s: _at_rate(_through_redis(redis), s)
        found: dict[str, list[Sequence[float]]] = {name: [] for name in ways}
        for _ in range(loading.TURNS):
            for name, way in ways.items():
                taken_s = await way(seconds / loading.TURNS)
                found[name].append(quantiles((one * 1000 for one in taken_s), n=100))
    figures = {}
    for name, hundredths in found.items():
        figures[f"{name}record_ms_p50"] = median(one[49] for one in hundredths)
        figures[f"{name}record_ms_p99"] = median(one[98] for one in hundredths)
    return figures


async def _at_rate(through: Callable[[Times], Any], seconds: float) -> Sequence[float]:
    """
    Raises:
        Unavailable: not all have come.
    """
    taken_s: Times = []
    with on_core(GENERATOR_CORE):
        async with through(taken_s) as send:
            began_s, sent = runtime.monotonic(), 0
            while (elapsed_s := runtime.monotonic() - began_s) < seconds:
                for _ in range(sent, int(elapsed_s * PER_S) + 1):
                    send(_stamp.pack(runtime.monotonic()).ljust(BYTES, b"v"))
                    sent += 1
                await asyncio.sleep(0)
            until_s = runtime.monotonic() + DRAIN_S
            while len(taken_s) < sent and runtime.monotonic() < until_s:  # noqa: ASYNC110 (see above)
                await asyncio.sleep(0)
    if len(taken_s) < sent:
        raise Unavailable(f"{len(taken_s)} of {sent} records have come")
    return taken_s


def _took_s(value: bytes) -> float:
    (sent_s,) = _stamp.unpack_from(value)
    return float(runtime.monotonic() - sent_s)


def _through_ours(server: Running) -> Callable[[Times], Any]:
    @asynccontextmanager
    async def through(taken_s: Times) -> AsyncIterator[Send]:
        async def check() -> None:
            while True:
                check_produced(await writing.answer())

        async def read(offset: int) -> None:
            while True:
                request = fetch_request(topic, offset, bytes_max=FETCH_BYTES, wait_ms=WAIT_MS)
                for batch in batches_in(fetched(await reading.ask(request))):
                    header = header_of(batch)
                    taken_s.extend(
                        _took_s(record.value or b"") for _, _, record in entries_of(batch)
                    )
                    offset = header.base_offset + header.offset_count

        topic = _fresh()
        async with Asker.connected(server.port) as writing, Asker.connected(server.port) as reading:
            await writing.ask(metadata_request(topic))
            check_produced(await writing.ask(_request(topic, b"first")))
            async with _running(check(), read(1)):
                yield lambda value: writing.send(_request(topic, value))

    return through


def _request(topic: str, value: bytes) -> bytes:
    return produce_request(topic, batch_of(value, 1), acks=NOW)


def _fresh() -> str:
    return f"latency-{runtime.current().chance.token(8).hex()}"


def _through_redis(server: Running) -> Callable[[Times], Any]:
    @asynccontextmanager
    async def through(taken_s: Times) -> AsyncIterator[Send]:
        async def drop() -> None:
            while await answers.read(FETCH_BYTES):
                pass

        async def read(last: bytes) -> None:
            while not ended.is_set():  # redis-py may swallow that it is cancelled
                for _, rows in await client.xread({stream: last}, block=WAIT_MS):
                    taken_s.extend(_took_s(fields[b"v"]) for _, fields in rows)
                    last = rows[-1][0]

        stream, ended = _fresh(), asyncio.Event()
        client: Any = load("redis.asyncio:Redis")(host=HOST, port=server.port, protocol=2)
        answers, writer = await asyncio.open_connection(HOST, server.port)
        try:
            first = await client.xadd(stream, {"v": b"first"})
            async with _running(drop(), read(first)):
                try:
                    yield lambda value: writer.write(redis_feed(stream, value, 1).request)
                finally:
                    ended.set()
        finally:
            writer.transport.abort()
            await client.aclose()

    return through


@asynccontextmanager
async def _running(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """What fails is raised at the end."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


async def _synced(path: Path, seconds: float) -> Sequence[float]:
    """Of writing a record and syncing it, one behind the other."""
    sync = getattr(os, "fdatasync", os.fsync)
    taken_s: Times = []
    with on_core(SERVER_CORE):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        until_s = runtime.monotonic() + seconds
        while len(taken_s) < TAKEN_MIN or runtime.monotonic() < until_s:
            began_s = runtime.monotonic()
            os.pwrite(descriptor, bytes(BYTES), len(taken_s) * BYTES)
            sync(descriptor)
            taken_s.append(runtime.monotonic() - began_s)
        os.close(descriptor)
    return taken_s
