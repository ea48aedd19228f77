"""What it costs to record an event, and how many a second go from a journal to their effect.

Calls are timed AT_ONCE in a row, since a clock takes a part of one, and the loop has its turn in
between; nothing is relayed meanwhile. The peer is an append of as many bytes to a bare seglog: what
is between the two is the event's JSON and what it is wrapped in. Then as many as the relay takes,
never more than AHEAD that are not heard.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median, quantiles

from bastide.base.rt import runtime
from bastide.engines.bus.bench.street import TOPIC, Rung, Street, opened_street
from bastide.parts.seglog.contract import Options
from bastide.parts.seglog.log import open_seglog

AT_ONCE = 100
AHEAD = 5_000  # recorded and not heard
BYTES = 160  # of such an event in the journal
SYNC_WITHIN_S = 0.01


async def record(directory: Path, seconds: float) -> Mapping[str, float]:
    async with opened_street(directory / "still", relays=False) as street:
        event = Rung(0)
        calls_us = await _calls_us(lambda: street.till.record(TOPIC, event), seconds / 2)
    async with open_seglog(directory / "plain", Options(sync_within_s=SYNC_WITHIN_S)) as log:
        plain_us = await _calls_us(lambda: log.append_now(bytes(BYTES)), seconds / 2)
    async with opened_street(directory / "street") as street:
        per_s = await _through_per_s(street, seconds)
    return {
        "record_us_p50": median(calls_us),
        "record_us_p99": quantiles(calls_us, n=100)[98],
        "plain_append_us_p50": median(plain_us),
        "beside_plain_append_ratio": median(calls_us) / median(plain_us),
        "recorded_events_per_s": per_s,
    }


async def _calls_us(call: Callable[[], object], seconds: float) -> list[float]:
    taken_us: list[float] = []
    until_s = runtime.monotonic() + seconds
    while len(taken_us) < 2 or runtime.monotonic() < until_s:
        began_s = runtime.monotonic()
        for _ in range(AT_ONCE):
            call()
        taken_us.append((runtime.monotonic() - began_s) / AT_ONCE * 1e6)
        await asyncio.sleep(0)
    return taken_us


async def _through_per_s(street: Street, seconds: float) -> float:
    began_s, recorded = runtime.monotonic(), 0
    while not recorded or runtime.monotonic() - began_s < seconds:
        for number in range(recorded, recorded + AT_ONCE):
            street.till.record(TOPIC, Rung(number))
        recorded += AT_ONCE
        await asyncio.sleep(0)
        while recorded - street.heard > AHEAD:
            await street.moved()
    await street.until_heard(recorded)
    return recorded / (runtime.monotonic() - began_s)
