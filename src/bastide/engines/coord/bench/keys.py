"""put and get: rates of turns, waits of all their calls."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import quantiles

import msgspec

from bastide.engines.coord.bench.load import CLIENTS, called, gets, puts
from bastide.engines.coord.bench.servers import START_S, Servers, both
from bastide.parts.http.bench.load import Turn, figures, in_turns
from bastide.parts.http.bench.servers import free_port, installed

SYNCOBJ = "bastide.engines.coord.bench.syncobj"


class Waits(msgspec.Struct):
    """Of all turns of one way, in s."""

    seconds: list[float]


def _turn(
    group: Servers, method: str, message: Callable[[], bytes], waits: Waits, *, spread: bool
) -> Turn:
    async def turn(seconds: float) -> float:
        nodes = group.nodes if spread else [await group.leader()]
        path = f"/etcdserverpb.KV/{method}"
        waited_s = await called([node.port for node in nodes], path, message, seconds)
        waits.seconds += waited_s
        return len(waited_s) / seconds

    return turn


async def _loaded(
    ways: Mapping[str, tuple[Servers, str, Callable[[], bytes], bool]],
    more: Mapping[str, Turn],
    seconds: float,
    ratios: Mapping[str, tuple[str, str]],
) -> Mapping[str, float]:
    """Rates and waits of `ways`, rates of `more`."""
    waits = {name: Waits([]) for name in ways}
    turns: dict[str, Turn] = {
        name: _turn(group, method, message, waits[name], spread=spread)
        for name, (group, method, message, spread) in ways.items()
    }
    told = dict(figures(await in_turns({**turns, **more}, seconds), ratios))
    for name, each in waits.items():
        marks = quantiles(each.seconds, n=100)
        told[f"{name}_ms_p50"] = marks[49] * 1000
        told[f"{name}_ms_p99"] = marks[98] * 1000
    for name, (one, other) in ratios.items():
        if one in waits and other in waits:
            told[f"{name}_p99_ratio"] = told[f"{one}_ms_p99"] / told[f"{other}_ms_p99"]
    return told


async def put(directory: Path, seconds: float) -> Mapping[str, float]:
    """To three nodes; and PySyncObj's, which has no server to ask: its calls are its own."""
    async with both(directory, 3) as groups, AsyncExitStack() as stack:
        more: dict[str, Turn] = {}
        if installed("pysyncobj"):
            more["pysyncobj_puts"] = await stack.enter_async_context(_syncobj(directory))
        ways = {f"{peer}puts": (g, "Put", puts(), False) for peer, g in groups.items()}
        ways |= {f"{peer}spread_puts": (g, "Put", puts(), True) for peer, g in groups.items()}
        ratios = {
            "beside_etcd": ("puts", "etcd_puts"),
            "spread_beside_etcd": ("spread_puts", "etcd_spread_puts"),
            "beside_pysyncobj": ("puts", "pysyncobj_puts"),
        }
        return await _loaded(ways, more, seconds, ratios)


async def put_alone(directory: Path, seconds: float) -> Mapping[str, float]:
    async with both(directory, 1) as groups:
        ways = {f"{peer}puts": (g, "Put", puts(), False) for peer, g in groups.items()}
        return await _loaded(ways, {}, seconds, {"beside_etcd": ("puts", "etcd_puts")})


async def get(directory: Path, seconds: float) -> Mapping[str, float]:
    async with both(directory, 3) as groups:
        for group in groups.values():
            await called([(await group.leader()).port], "/etcdserverpb.KV/Put", puts(), 1.0)
        kinds = {"linear": gets(serializable=False), "serial": gets(serializable=True)}
        ways = {
            f"{peer}{kind}_gets": (group, "Range", message, True)
            for kind, message in kinds.items()
            for peer, group in groups.items()
        }
        ratios = {f"{k}_beside_etcd": (f"{k}_gets", f"etcd_{k}_gets") for k in kinds}
        return await _loaded(ways, {}, seconds, ratios)


@asynccontextmanager
async def _syncobj(directory: Path) -> AsyncIterator[Turn]:
    """Three processes; the first of them puts, and says how often, when it is asked to."""
    ports = [str(free_port()) for _ in range(3)]
    processes = []
    for n in range(3):
        words = (sys.executable, "-m", SYNCOBJ, str(n), str(directory), str(CLIENTS), *ports)
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        processes.append(process)

    async def turn(seconds: float) -> float:
        asker = processes[0]
        assert asker.stdin is not None
        assert asker.stdout is not None
        asker.stdin.write(f"{seconds}\n".encode())
        async with asyncio.timeout(seconds + START_S):
            return float(await asker.stdout.readline())

    try:
        yield turn
    finally:
        for process in processes:
            process.kill()
            await process.wait()
