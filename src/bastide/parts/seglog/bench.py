"""What the log costs over a plain loop that writes the same bytes with the same syncs.

Three ways, in turns on the same disk; medians are reported:

    plain       one blocking loop: pwrite of a batch that is already encoded, fdatasync, again
    lone        ours, one task: append, wait for `synced`, append. Every sync pays a way to a thread
                and back, which the plain loop saves by holding up everybody else
    pipelined   ours, one batch ahead: the next is encoded and written while a sync runs, as Raft or
                a producer does. As many syncs as batches, which is asserted

A ratio is plain's time over ours: 1.0 is as fast as plain.
"""

import asyncio
import os
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from bastide.base.manifest import Bench
from bastide.base.rt import runtime
from bastide.parts.seglog import core
from bastide.parts.seglog.core import Record
from bastide.parts.seglog.log import Seglog, open_seglog

PAIRS_MIN = 5
BATCHES = 60
BATCH_RECORDS = 100
RECORD_BYTES = (1024, 100)

Way = Callable[[Seglog, Sequence[Record]], Awaitable[None]]


async def bench_append(directory: Path, seconds: float) -> Mapping[str, float]:
    """Figures by name, each for 1,024 and 100 byte records, `seconds` of turns for each.
    `directory` is empty, on the disk to be measured, and holds some 20 MB meanwhile.
    """
    figures: dict[str, float] = {}
    for record_bytes in RECORD_BYTES:
        turns = await _measure(directory, record_bytes, seconds)
        for way, taken in turns.items():
            name = f"{way}_{record_bytes}"
            figures[f"{name}_batch_us_p50"] = statistics.median(taken) / BATCHES * 1e6
            pairs = zip(turns["plain"], taken, strict=True)
            figures[f"{name}_ratio"] = statistics.median(plain / ours for plain, ours in pairs)
    return figures


async def _measure(
    directory: Path, record_bytes: int, seconds: float
) -> Mapping[str, Sequence[float]]:
    chance = runtime.current().chance
    records = [Record(chance.token(record_bytes)) for _ in range(BATCH_RECORDS)]
    turns: dict[str, list[float]] = {"plain": [], "lone": [], "pipelined": []}
    until_s = runtime.monotonic() + seconds * len(turns)
    while len(turns["plain"]) < PAIRS_MIN or runtime.monotonic() < until_s:
        place = directory / f"{record_bytes}-{len(turns['plain'])}"
        place.mkdir()
        turns["plain"].append(_plain(place / "plain", records))
        turns["lone"].append(await _ours(place / "lone", records, _lone))
        turns["pipelined"].append(await _ours(place / "pipelined", records, _pipelined))
    return turns


def _plain(path: Path, records: Sequence[Record]) -> float:
    written = core.Columns.of(records).payload() + bytes(2 * core.HEADER_BYTES)  # header and mark
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    sync = getattr(os, "fdatasync", os.fsync)
    started = runtime.monotonic()
    for count in range(BATCHES):
        os.pwrite(descriptor, written, count * len(written))
        sync(descriptor)
    seconds = runtime.monotonic() - started
    os.close(descriptor)
    path.unlink()
    return seconds


async def _ours(directory: Path, records: Sequence[Record], append: Way) -> float:
    async with open_seglog(directory) as log:
        started = runtime.monotonic()
        await append(log, records)
        seconds = runtime.monotonic() - started
        assert log.sync_count == BATCHES
    _clear(directory)
    return seconds


def _clear(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()


async def _lone(log: Seglog, records: Sequence[Record]) -> None:
    await _append(log, records, BATCHES)


async def _pipelined(log: Seglog, records: Sequence[Record]) -> None:
    """Two of them, out of step: the second begins while the first one's sync runs."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_append(log, records, BATCHES // 2))
        await log.written(0)
        tasks.create_task(_append(log, records, BATCHES // 2))


async def _append(log: Seglog, records: Sequence[Record], batches: int) -> None:
    for _ in range(batches):
        await log.synced(log.append(records))


BENCHES = (
    Bench("appends", "batches of 100 records, each synced; plain is a blocking loop", bench_append),
)
