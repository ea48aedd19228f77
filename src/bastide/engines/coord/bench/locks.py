"""lock, failover and waiters: by our own client, for both."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bastide.base.errors import Refusal, Unavailable
from bastide.base.manifest import load
from bastide.base.rt import runtime
from bastide.engines.coord.bench.load import PATIENCE_S
from bastide.engines.coord.bench.servers import (
    BACKEND,
    LOOK_S,
    START_S,
    Servers,
    both,
    cluster_of,
    ours,
    running,
    status_of,
)
from bastide.parts.http.bench.load import TURNS, figures, in_turns
from bastide.parts.http.bench.servers import HOST

WAITERS = 1_000
WAITER_TTL_S = 600


async def lock(directory: Path, seconds: float) -> Mapping[str, float]:
    async with both(directory, 3) as groups:
        ways = {f"{peer}cycles": partial(_cycles, group) for peer, group in groups.items()}
        turns = await in_turns(ways, seconds)
        return figures(turns, {"beside_etcd": ("cycles", "etcd_cycles")})


async def _cycles(group: Servers, seconds: float) -> float:
    async with _coord(group.addresses) as (_, coord):
        lease = (await coord.grant(60)).id
        count, began_s = 0, runtime.monotonic()
        while runtime.monotonic() < began_s + seconds:
            await coord.release(await coord.acquire("bench", lease=lease))
            count += 1
        return count / (runtime.monotonic() - began_s)


@asynccontextmanager
async def _coord(addresses: str) -> AsyncIterator[tuple[Any, Any]]:
    """What is below, and the client's view of it."""
    keys = load(f"{BACKEND}.backend:EtcdKeys")(cluster_of(addresses, timeout_s=PATIENCE_S))
    opened_front = load("bastide.engines.coord.service.front:opened_front")
    try:
        async with opened_front(keys, "bench") as coord:
            yield keys, coord
    finally:
        await keys.close()


async def failover(directory: Path, seconds: float) -> Mapping[str, float]:
    """A turn takes what it takes."""
    async with both(directory, 3) as groups:
        taken_ms: dict[str, list[float]] = {peer: [] for peer in groups}
        for _ in range(TURNS):
            for peer, group in groups.items():
                taken_ms[peer].append(await _failover_ms(group))
    told = {f"{peer}failover_ms_p50": median(each) for peer, each in taken_ms.items()}
    if "etcd_" in taken_ms:
        told["beside_etcd_ratio"] = told["failover_ms_p50"] / told["etcd_failover_ms_p50"]
    return told


async def _failover_ms(group: Servers) -> float:
    leader = await group.leader()
    others = ",".join(f"{HOST}:{node.port}" for node in group.nodes if node is not leader)
    async with _coord(others) as (_, coord):
        await coord.put(b"before", b"")
        began_s = runtime.monotonic()
        await leader.kill()
        while True:
            try:
                await coord.put(b"after", b"")
                break
            except Unavailable:
                await asyncio.sleep(LOOK_S)
        taken_s = runtime.monotonic() - began_s
    await leader.start()
    await _answers(leader.port)
    return taken_s * 1000


async def _answers(port: int) -> None:
    async with asyncio.timeout(START_S):
        while True:
            with suppress(Refusal):
                if (await status_of(port)).leader:
                    return
            await asyncio.sleep(LOOK_S)


async def waiters(directory: Path, seconds: float) -> Mapping[str, float]:
    """Of ours alone: a turn is a thousand.

    Raises:
        AssertionError: they did not get it in the order in which they came.
    """
    async with running(ours(directory, 3)) as group, _coord(group.addresses) as (_, coord):
        leases = [(await coord.grant(WAITER_TTL_S)).id for _ in range(WAITERS + 1)]
        first = await coord.acquire("bench", lease=leases[0])
        tokens: list[int] = []

        async def wait(lease: int) -> None:
            hold = await coord.acquire("bench", lease=lease)
            tokens.append(hold.token)
            await coord.release(hold)

        began_s = runtime.monotonic()
        async with asyncio.TaskGroup() as waiting:
            for lease in leases[1:]:
                waiting.create_task(wait(lease))
            await _queued(coord, WAITERS + 1)
            entered_s, began_s = runtime.monotonic() - began_s, runtime.monotonic()
            await coord.release(first)
        taken_s = runtime.monotonic() - began_s
    assert tokens == sorted(tokens), "the lock is not fair"
    return {"entered_s": entered_s, "all_held_s": taken_s, "handed_on_per_s": WAITERS / taken_s}


async def _queued(coord: Any, count: int) -> None:
    """Until so many stand in the queue."""
    range_ = load("bastide.engines.coord.contract:Range")
    view = range_(b"/bastide/bench/locks/", b"/bastide/bench/locks0", count_only=True)
    keys = coord._keys
    while (await keys.range(view)).count < count:  # noqa: ASYNC110 (it is asked)
        await asyncio.sleep(LOOK_S)
