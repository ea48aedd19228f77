"""What the tests of the log write and read."""

from pathlib import Path

from bastide.parts.seglog.contract import Options
from bastide.parts.seglog.core import Record

PLACE = Path("/log")
SMALL = Options(segment_bytes=1 << 10)


def some(first, count=1, size=10):
    return [Record(b"%d" % n * size) for n in range(first, first + count)]


async def values(log, offset=None):
    start = log.first_offset if offset is None else offset
    return [(entry.offset, entry.value) async for entry in log.scan(start)]


async def fill(log, records, per_batch=1):
    for first in range(log.next_offset, log.next_offset + records, per_batch):
        await log.synced(log.append(some(first, per_batch)))
