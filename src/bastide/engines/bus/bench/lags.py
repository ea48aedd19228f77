"""How soon an event is in the log, and has its effect.

PER_S transactions a second, each with one row and one event, started when they are due, whether or
not earlier ones are done. Measured from where its transaction has returned.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from statistics import quantiles

from bastide.base.rt import runtime
from bastide.engines.bus.bench.street import Street, opened_street

PER_S = 2_000
TICK_S = 0.001
WARM_S = 0.5


async def lag(directory: Path, seconds: float) -> Mapping[str, float]:
    async with opened_street(directory) as street:
        returned_s = await _at_rate(street, WARM_S + seconds)
        await street.until_heard(len(returned_s))
        durable_s = street.durable_s()
    warm = int(WARM_S * PER_S)
    first, last = returned_s[warm], max(returned_s.values())
    figures = {"rung_per_s": (len(returned_s) - warm) / (last - first)}
    for name, at_s in (("relay", durable_s), ("effect", street.effect_s)):
        taken_ms = [
            max(0.0, at_s[number] - done_s) * 1000
            for number, done_s in returned_s.items()
            if number >= warm
        ]
        hundredths = quantiles(taken_ms, n=100)
        figures[f"{name}_ms_p50"] = hundredths[49]
        figures[f"{name}_ms_p99"] = hundredths[98]
    return figures


async def _at_rate(street: Street, seconds: float) -> Mapping[int, float]:
    """When the transaction of each has returned."""
    returned_s: dict[int, float] = {}

    async def ring(number: int) -> None:
        await street.ring(number)
        returned_s[number] = runtime.monotonic()

    began_s = runtime.monotonic()
    async with asyncio.TaskGroup() as group:
        number = 0
        while (elapsed_s := runtime.monotonic() - began_s) < seconds:
            while number <= elapsed_s * PER_S:
                group.create_task(ring(number))
                number += 1
            await asyncio.sleep(TICK_S)
    return returned_s
