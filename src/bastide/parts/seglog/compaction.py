"""Keeping the newest record of each key: rewriting full segments, one by one, oldest first.

A segment is replaced whole: its survivors are written beside it, synced, renamed over it, and the
directory is synced, before the next one is begun. So a crash leaves each segment old or new, never
half; and a tombstone is dropped only after the older records of its key are gone for good.

Offsets stay. A batch keeps its base and count, with fewer records; batches without survivors
become one that is empty and covers their offsets, so that the log still has no gaps. Records
without a key, and opaque batches, stay as they are.
"""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from bastide.base import faults
from bastide.parts.seglog import core
from bastide.parts.seglog.core import RECORDS, Batch, Entry, Record
from bastide.parts.seglog.segment import COMPACTING_SUFFIX, Segment, Segments

TURN_BYTES = 64 << 10
"""Read between two turns of the loop: some hundred microseconds of decoding."""
WRITE_BYTES = 1 << 20


class Rule(msgspec.Struct, frozen=True):
    """What stays: `newest` holds the highest durable offset of each key."""

    newest: dict[bytes, int]
    tombstones_before_ms: int

    def keeps(self, entry: Entry) -> bool:
        if entry.key is None:
            return True
        if self.newest[entry.key] != entry.offset:
            return False
        return entry.value is not None or entry.stamp_ms >= self.tombstones_before_ms


async def compact(segments: Segments, *, durable_offset: int, tombstones_before_ms: int) -> int:
    """Returns the bytes freed. What isn't durable yet neither goes nor makes others go."""
    durable = [each for each in segments.sealed if each.next_offset <= durable_offset]
    newest: dict[bytes, int] = {}  # about 150 bytes of memory for each distinct key
    async for batch in _batches(segments, segments.first_offset, durable_offset):
        newest |= {each.key: each.offset for each in core.entries(batch) if each.key is not None}
    rule = Rule(newest, tombstones_before_ms)
    freed = 0
    for segment in durable:
        if await _has_dead(segments, segment, rule):
            freed += await _rewrite(segments, segment, rule)
    return freed


async def _batches(segments: Segments, first: int, end: int) -> AsyncIterator[Batch]:
    """Whole batches below `end`: what is durable ends with a batch, as a write does."""
    while first < end:
        for batch in segments.of(first).read(first, TURN_BYTES):
            if batch.next_offset > end:
                return
            yield batch
            first = batch.next_offset
        await asyncio.sleep(0)


async def _has_dead(segments: Segments, segment: Segment, rule: Rule) -> bool:
    async for batch in _batches(segments, segment.base, segment.next_offset):
        if not all(map(rule.keeps, core.entries(batch))):
            return True
    return False


async def _rewrite(segments: Segments, old: Segment, rule: Rule) -> int:
    path = old.path.with_name(old.path.name + COMPACTING_SUFFIX)
    new = Segment(segments.disk, path, base=old.base, salt=old.salt)
    new.create()
    try:
        await _write_survivors(segments, old, new, rule)
        faults.point("seglog.compaction_written")
        await new.file.sync()
        faults.point("seglog.compaction_synced")
        segments.replace(old, new)
    except BaseException:
        new.close()
        segments.disk.remove(path)
        raise
    freed = old.end - new.end
    faults.point("seglog.compaction_renamed")
    await segments.disk.sync_directory(segments.directory)
    return freed


async def _write_survivors(segments: Segments, old: Segment, new: Segment, rule: Rule) -> None:
    pending: list[Batch] = []
    async for batch in _batches(segments, old.base, old.next_offset):
        survivor = _survivor(batch, rule)
        if pending and _is_hole(survivor) and _is_hole(pending[-1]):
            pending[-1] = _joined(pending[-1], survivor)
        else:
            pending.append(survivor)
        if sum(each.size for each in pending) >= WRITE_BYTES:
            new.append(pending)
            pending = []
    new.append(pending)
    # All of it is durable, or it would not be compacted.
    new.append([core.seal(new.state.index, end=new.mark(new.next_offset))])


def _survivor(batch: Batch, rule: Rule) -> Batch:
    entries = core.entries(batch)
    kept = [entry for entry in entries if rule.keeps(entry)]
    if len(kept) == len(entries):
        return batch
    records = [Record(entry.value, entry.key) for entry in kept]
    deltas = [entry.offset - batch.base_offset for entry in kept]
    return msgspec.structs.replace(batch, payload=core.Columns.of(records).payload(deltas))


def _is_hole(batch: Batch) -> bool:
    return bool(batch.flags & RECORDS) and batch.payload == core.EMPTY_PAYLOAD


def _joined(first: Batch, second: Batch) -> Batch:
    count = first.offset_count + second.offset_count
    return msgspec.structs.replace(first, offset_count=count, last_ms=second.last_ms)
