"""How many events go through outbox, log and handler, beside the same rows without events.

ring    by TASKS tasks, each transaction one row and one event, until all have had their effect
keep    the same rows without events: what the events cost is between the two
large   transactions of LARGE rows and events each
drain   what waits in an outbox when the relay comes to it
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from pathlib import Path
from statistics import median

from bastide.base.rt import runtime
from bastide.engines.bus.bench.street import Street, opened_street, running

TURNS = 3
TASKS = 200
LARGE = 100
WAITING = 20_000

Act = Callable[..., Awaitable[None]]


async def most(directory: Path, seconds: float) -> Mapping[str, float]:
    found: dict[str, list[float]] = {"ring": [], "large": [], "keep": []}
    numbers = count()
    async with opened_street(directory / "rung") as street:
        for _ in range(TURNS):
            turn_s = seconds / TURNS
            found["ring"].append(await _heard_per_s(street, numbers, turn_s, each=1))
            found["large"].append(await _heard_per_s(street, numbers, turn_s, each=LARGE))
            done, took_s = await _repeated(street.keep, numbers, turn_s, each=1)
            found["keep"].append(done / took_s)
    drained_per_s = await _drained_per_s(directory / "drained")
    ratios = [ring / keep for ring, keep in zip(found["ring"], found["keep"], strict=True)]
    return {
        "events_per_s": median(found["ring"]),
        f"events_{LARGE}_a_transaction_per_s": median(found["large"]),
        "waiting_events_per_s": drained_per_s,
        "rows_alone_per_s": median(found["keep"]),
        "beside_rows_alone_ratio": median(ratios),
    }


async def _heard_per_s(
    street: Street, numbers: "count[int]", seconds: float, *, each: int
) -> float:
    began_s, before = runtime.monotonic(), street.heard
    done, _ = await _repeated(street.ring, numbers, seconds, each=each)
    await street.until_heard(before + done)
    return done / (runtime.monotonic() - began_s)


async def _repeated(
    act: Act, numbers: "count[int]", seconds: float, *, each: int
) -> tuple[int, float]:
    """How many rows `act` has written, and in which time."""
    began_s, done = runtime.monotonic(), 0
    tasks = max(1, TASKS // each)

    async def repeat() -> None:
        nonlocal done
        while not done or runtime.monotonic() - began_s < seconds:
            await act(*(next(numbers) for _ in range(each)))
            done += each

    await asyncio.gather(*(repeat() for _ in range(tasks)))
    return done, runtime.monotonic() - began_s


async def _drained_per_s(directory: Path) -> float:
    async with opened_street(directory, relays=False) as street:
        for first in range(0, WAITING, LARGE):
            await street.ring(*range(first, first + LARGE))
        began_s = runtime.monotonic()
        async with running(street):
            await street.until_heard(WAITING)
            return WAITING / (runtime.monotonic() - began_s)
