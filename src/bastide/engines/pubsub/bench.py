"""How many deliveries a second: to one, to a hundred, to a thousand who listen.

fan-out   in memory, beside an asyncio.Queue for each subscriber, which has no bound, no patterns
          and no channels: what a delivery costs at least
patterns  a message that one pattern means, past a thousand that don't mean it, and past as many
          channels
redis     the server that BASTIDE_PUBSUB_URL names, published to and heard in this process, beside
          redis-py's asyncio client, if it is installed: a connection for each who listens

Workloads take turns with their peers in one run; figures are medians of TURNS.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from bastide.base.manifest import Bench, load
from bastide.base.rt import runtime
from bastide.base.settings import parse_url
from bastide.engines.pubsub.contract import PubSub
from bastide.engines.pubsub.service import opened

TURNS = 5
VALUE = b"v" * 100
CHANNEL = "news"
BURST = 20  # published between two looks at the clock; on Redis, in flight at once
BREATH = 30  # as often as memory:// gives others their turn
STRANGERS = 1_000
URL = "BASTIDE_PUBSUB_URL"
OPENERS = "bastide.engines.pubsub.backends"

Publish = Callable[[], Awaitable[object]]
Turn = Callable[[float], Awaitable[float]]  # for some seconds; a figure a second


class Heard:
    """What all subscribers together have taken."""

    def __init__(self) -> None:
        self.count = 0

    async def all(self, count: int) -> None:
        while self.count < count:  # noqa: ASYNC110 (setting an event would be measured too)
            await asyncio.sleep(0)


async def fan_out(directory: Path, seconds: float) -> Mapping[str, float]:
    turns: dict[str, Turn] = {}
    for count in (1, 100, 1_000):
        turns[f"to_{count}_deliveries_per_s"] = _fan_out(_in_memory, count)
        turns[f"peer_queue_to_{count}_deliveries_per_s"] = _fan_out(_in_queues, count)
    return await _in_turns(turns, seconds)


async def patterns(directory: Path, seconds: float) -> Mapping[str, float]:
    turns = {
        "past_1000_channels_publishes_per_s": _past("other:{}"),
        "past_1000_patterns_publishes_per_s": _past("other:{}:*"),
        "past_1000_patterns_of_three_stars_publishes_per_s": _past("n*e*w*{}"),
    }
    return await _in_turns(turns, seconds)


async def on_redis(directory: Path, seconds: float) -> Mapping[str, float]:
    url = os.environ.get(URL, "")
    if not url.startswith("redis:"):
        print(f"pubsub.redis is skipped: {URL} names no redis://", file=sys.stderr)
        return {}
    turns: dict[str, Turn] = {}
    for count in (1, 100):
        turns[f"to_{count}_deliveries_per_s"] = _fan_out(_on_redis(url), count, _at_once)
        if find_spec("redis"):
            peer = _fan_out(_on_redis_py(url), count, _at_once)
            turns[f"peer_redis_py_to_{count}_deliveries_per_s"] = peer
    return await _in_turns(turns, seconds)


async def _in_turns(turns: Mapping[str, Turn], seconds: float) -> Mapping[str, float]:
    """The median of TURNS turns of each, one after another, `seconds` for all turns of one."""
    found: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(TURNS):
        for name, turn in turns.items():
            found[name].append(await turn(seconds / TURNS))
    return {name: median(figures) for name, figures in found.items()}


Place = Callable[[int, Heard], AbstractAsyncContextManager[Publish]]
Burst = Callable[[Publish], Awaitable[None]]


async def _one_by_one(publish: Publish) -> None:
    for _ in range(BURST):
        await publish()


async def _at_once(publish: Publish) -> None:
    await asyncio.gather(*(publish() for _ in range(BURST)))


def _fan_out(place: Place, count: int, burst: Burst = _one_by_one) -> Turn:
    async def turn(seconds: float) -> float:
        heard, published = Heard(), 0
        async with place(count, heard) as publish:
            began_s = runtime.monotonic()
            while runtime.monotonic() < began_s + seconds:
                await burst(publish)
                published += BURST
            await heard.all(published * count)
            return heard.count / (runtime.monotonic() - began_s)

    return turn


def _past(pattern: str) -> Turn:
    """Publishing to one who hears, where STRANGERS listen to something else."""

    async def turn(seconds: float) -> float:
        heard, published = Heard(), 0
        async with _memory() as pubsub, AsyncExitStack() as stack:
            for n in range(STRANGERS):
                await stack.enter_async_context(pubsub.subscribe(pattern.format(n)))
            publish = await stack.enter_async_context(_listening(pubsub, 1, heard))
            began_s = runtime.monotonic()
            while runtime.monotonic() < began_s + seconds:
                await _one_by_one(publish)
                published += BURST
            await heard.all(published)
            return published / (runtime.monotonic() - began_s)

    return turn


@asynccontextmanager
async def _memory() -> AsyncIterator[PubSub]:
    open_memory = load(f"{OPENERS}.memory:open_memory")
    async with open_memory(parse_url("memory://")) as backend, opened(backend, "bench") as pubsub:
        yield pubsub


@asynccontextmanager
async def _in_memory(count: int, heard: Heard) -> AsyncIterator[Publish]:
    async with _memory() as pubsub, _listening(pubsub, count, heard) as publish:
        yield publish


def _on_redis(url: str) -> Place:
    @asynccontextmanager
    async def place(count: int, heard: Heard) -> AsyncIterator[Publish]:
        open_redis = load(f"{OPENERS}.redis:open_redis")
        async with (
            open_redis(parse_url(url)) as backend,
            opened(backend, "bench") as pubsub,
            _listening(pubsub, count, heard) as publish,
        ):
            yield publish

    return place


@asynccontextmanager
async def _listening(pubsub: PubSub, count: int, heard: Heard) -> AsyncIterator[Publish]:
    async def listen() -> None:
        async with pubsub.subscribe(CHANNEL) as messages:
            entered.release()
            async for _ in messages:
                heard.count += 1

    entered = asyncio.Semaphore(0)
    async with _running([listen] * count):
        for _ in range(count):
            await entered.acquire()
        yield lambda: pubsub.publish(CHANNEL, VALUE)


@asynccontextmanager
async def _in_queues(count: int, heard: Heard) -> AsyncIterator[Publish]:
    queues: list[asyncio.Queue[bytes]] = [asyncio.Queue() for _ in range(count)]
    waiting, published = iter(queues), 0

    async def listen() -> None:
        queue = next(waiting)
        while True:
            await queue.get()
            heard.count += 1

    async def publish() -> None:
        nonlocal published
        for queue in queues:
            queue.put_nowait(VALUE)
        published += 1
        if published % BREATH == 0:
            await asyncio.sleep(0)

    async with _running([listen] * count):
        yield publish


def _on_redis_py(url: str) -> Place:
    @asynccontextmanager
    async def place(count: int, heard: Heard) -> AsyncIterator[Publish]:
        async def listen() -> None:
            async with client.pubsub(ignore_subscribe_messages=False) as pubsub:
                await pubsub.subscribe(CHANNEL)
                await anext(pubsub.listen())
                entered.release()
                async for _ in pubsub.listen():
                    heard.count += 1

        entered = asyncio.Semaphore(0)
        connections = count + BURST + 1
        client: Any = load("redis.asyncio:Redis").from_url(url, max_connections=connections)
        try:
            async with _running([listen] * count):
                for _ in range(count):
                    await entered.acquire()
                yield lambda: client.publish(CHANNEL, VALUE)
        finally:
            await client.aclose()

    return place


@asynccontextmanager
async def _running(work: list[Callable[[], Any]]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(one()) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


BENCHES = (
    Bench("fan-out", "deliveries a second in memory; the peer is a bare queue for each", fan_out),
    Bench("patterns", "messages a second past a thousand who don't hear them", patterns),
    Bench("redis", f"deliveries a second on the server that {URL} names", on_redis),
)
