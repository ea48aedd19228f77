"""What a hit costs, what each way of eviction misses, and what Redis adds.

near       a hit in this process, as `use(Cache)` hands it out, and without the counting; a dict
           beside it, bare and behind a coroutine, which is what any asynchronous contract costs
eviction   misses of S3-FIFO, SIEVE, LRU and LFU on the same requests (core/traces.py), each with
           room for a tenth of the bytes; and what a hit costs each of them
redis      a hit on the server, and an invalidation that another near cache has to hear
client     replies a second to 50 tasks, beside redis-py's asyncio client

Those on Redis start a redis-server of their own, on this machine; without one they are skipped.
"""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median

from bastide.base.manifest import Bench, load
from bastide.base.metrics import Registry, counted
from bastide.base.rt import net, runtime
from bastide.base.rt.runtime import Chance
from bastide.base.settings import parse_url
from bastide.engines.cache.contract import Cache
from bastide.engines.cache.core import traces
from bastide.engines.cache.core.bounded import Bounded
from bastide.engines.cache.core.lfu import Lfu
from bastide.engines.cache.core.lru import Lru
from bastide.engines.cache.core.s3fifo import S3Fifo
from bastide.engines.cache.core.sieve import Sieve
from bastide.engines.cache.service import opened
from bastide.parts.redis.bench import bench_client

TURNS = 5
HITS = 1_000  # between two looks at the clock
KEYS = 10_000
REQUESTS_PER_S = 100_000  # of the seconds that are given
ROOM_SHARE = 0.1
SEED = 7

Get = Callable[[str], Awaitable[bytes | None]]
WAYS: Mapping[str, Callable[[int], Bounded[int]]] = {
    "s3fifo": S3Fifo[int],
    "sieve": Sieve,
    "lru": Lru,
    "lfu": Lfu,
}


async def near(directory: Path, seconds: float) -> Mapping[str, float]:
    async with _cache("memory://") as cache:
        value = b"v" * 100
        await cache.put("link:1", value, ttl_s=3600)
        plain = {"link:1": value}

        async def get(key: str) -> bytes | None:
            return plain.get(key)

        ways = {
            "near_get_ns": cache.get,
            "near_get_counted_ns": _as_handed_out(cache).get,
            "peer_dict_behind_a_coroutine_ns": get,
        }
        found: dict[str, list[float]] = {name: [] for name in [*ways, "peer_dict_ns"]}
        for _ in range(TURNS):
            for name, way in ways.items():
                found[name].append(await _hit_ns(way, seconds / TURNS))
            found["peer_dict_ns"].append(_dict_ns(plain, seconds / TURNS))
    return {name: median(turns) for name, turns in found.items()}


async def eviction(directory: Path, seconds: float) -> Mapping[str, float]:
    figures: dict[str, float] = {}
    for trace, asked in _traces(max(5_000, int(REQUESTS_PER_S * seconds))):
        keys = [f"k{key}" for key in asked]
        room = int(sum(_bytes_of(key) for key in range(KEYS)) * ROOM_SHARE)
        for name, way in WAYS.items():
            figures[f"{trace}_{name}_miss_ratio"] = _misses(way(room), asked, keys) / len(keys)
    for name, way in WAYS.items():
        figures[f"{name}_get_ns"] = _get_ns(way(1 << 30), seconds / 4)
    return figures


async def on_redis(directory: Path, seconds: float) -> Mapping[str, float]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(_redis_server(directory))
        if not url:
            return {}
        near, far, other = [
            await stack.enter_async_context(_cache(f"{url}?timeout_s=5")) for _ in range(3)
        ]
        await near.put("link:1", b"v" * 100, ttl_s=3600)
        await _settle(near)
        until_s, times = runtime.monotonic() + seconds, list[tuple[float, float]]()
        while runtime.monotonic() < until_s:
            await near.put("link:1", b"v" * 100, ttl_s=3600)
            began_s = runtime.monotonic()
            await far.get("link:1")
            read_s = runtime.monotonic()
            await _settle(other)
            asked_s = runtime.monotonic()
            await near.invalidate(["link:1"])
            times.append((read_s - began_s, runtime.monotonic() - asked_s))
        figures = {
            "far_get_us_p50": median(read for read, _ in times) * 1e6,
            "invalidate_heard_by_all_us_p50": median(heard for _, heard in times) * 1e6,
        }
        await near.put("link:1", b"v" * 100, ttl_s=3600)
        await _settle(near)
        figures["near_get_ns"] = await _hit_ns(near.get, min(seconds, 0.05))
        figures["far_over_near_ratio"] = figures["far_get_us_p50"] * 1e3 / figures["near_get_ns"]
    return figures


async def client(directory: Path, seconds: float) -> Mapping[str, float]:
    async with _redis_server(directory) as url:
        return await bench_client(url, seconds) if url else {}


BENCHES = (
    Bench("near", "a hit in this process, beside a dict", near),
    Bench("eviction", "misses at equal bytes, by trace and way", eviction),
    Bench("redis", "a hit on Redis, and taking back what another process has near", on_redis),
    Bench("client", "replies of Redis a second to 50 tasks, beside redis-py", client),
)


@asynccontextmanager
async def _cache(url: str) -> AsyncIterator[Cache]:
    parsed = parse_url(url)
    module = {"memory": "memory:open_memory", "redis": "redis.backend:open_redis"}[parsed.scheme]
    opener = load(f"bastide.engines.cache.backends.{module}")
    async with opener(parsed) as backend, opened(backend, "bench") as cache:
        yield cache


def _as_handed_out(cache: Cache) -> Cache:
    monotonic = runtime.current().clock.monotonic
    return counted(
        Cache, cache, system="cache", client="bench", registry=Registry(), monotonic=monotonic
    )


async def _settle(cache: Cache) -> None:
    """Until it is near: a lease may have to come first."""
    for _ in range(3):
        await cache.get("link:1")
        await asyncio.sleep(0.001)


async def _hit_ns(get: Get, seconds: float) -> float:
    began_s = now_s = runtime.monotonic()
    hits = 0
    while now_s < began_s + seconds:
        for _ in range(HITS):
            await get("link:1")
        hits += HITS
        now_s = runtime.monotonic()
    return (now_s - began_s) / hits * 1e9


def _dict_ns(plain: Mapping[str, bytes], seconds: float) -> float:
    began_s = now_s = runtime.monotonic()
    hits = 0
    while now_s < began_s + seconds:
        for _ in range(HITS):
            plain.get("link:1")
        hits += HITS
        now_s = runtime.monotonic()
    return (now_s - began_s) / hits * 1e9


def _get_ns(held: Bounded[int], seconds: float) -> float:
    """Of keys by popularity, all of which fit."""
    keys = [f"k{key}" for key in range(KEYS)]
    for number, key in enumerate(keys):
        held.put(key, number, 1)
    asked = [keys[n] for n in traces.zipf(_chance(), keys=KEYS, length=HITS, skew=1.0)]
    began_s = now_s = runtime.monotonic()
    hits = 0
    while now_s < began_s + seconds:
        for key in asked:
            held.get(key)
        hits += HITS
        now_s = runtime.monotonic()
    return (now_s - began_s) / hits * 1e9


def _traces(length: int) -> Iterator[tuple[str, Sequence[int]]]:
    yield "zipf_0.8", traces.zipf(_chance(), keys=KEYS, length=length, skew=0.8)
    yield "zipf_1.0", traces.zipf(_chance(), keys=KEYS, length=length, skew=1.0)
    yield "scan", traces.scan(_chance(), keys=KEYS, length=length, scan_keys=KEYS // 5)
    yield "shifting", traces.shifting(_chance(), keys=KEYS, length=length, step=50)


def _chance() -> traces.Chance:
    """The same requests for all."""
    return Chance(SEED).random


def _misses(held: Bounded[int], asked: Sequence[int], keys: Sequence[str]) -> int:
    count = 0
    for number, key in zip(asked, keys, strict=True):
        if held.get(key) is None:
            count += 1
            held.put(key, number, _bytes_of(number))
    return count


def _bytes_of(key: int) -> int:
    """300 to 1,300, by the key: no two ways see other sizes."""
    return 300 + key * 2_654_435_761 % 1_001


@asynccontextmanager
async def _redis_server(directory: Path) -> AsyncIterator[str]:
    """The URL of a server that ends with the block; "" if none is installed."""
    program = shutil.which("redis-server")
    if program is None:
        print("skipped: redis-server is not installed", file=sys.stderr)
        yield ""
        return
    with net.bind("127.0.0.1", 0) as probe:
        port = probe.getsockname()[1]
    words = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory))
    quiet = asyncio.subprocess.DEVNULL
    server = await asyncio.create_subprocess_exec(program, *words, stdout=quiet)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.kill()
        await server.wait()
