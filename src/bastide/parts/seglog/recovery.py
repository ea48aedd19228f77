"""Opening a log: which of its bytes can be trusted, what is torn, what is damaged.

The order of things, as `core` gives the reasons:

 1. From the last segment backwards, scan each, until a batch names a `synced` offset that reaches
    the beginning of the one just scanned. All before is on the disk: its seals are enough.
 2. Judge the first break in what was scanned: refuse, or cut there and drop the files behind.
 3. Write what is not known to be synced once more, in its place, and sync. After a failed sync the
    kernel calls its pages clean, so that they read well and a later sync passes, yet never reached
    the disk ("Can Applications Recover from fsync Failures?", Rebello and others, USENIX ATC 2020).
"""

import asyncio

from bastide.parts.seglog import core
from bastide.parts.seglog.contract import Repair, SegmentDamaged
from bastide.parts.seglog.segment import NO_ROOM, WINDOW_BYTES, Break, Segment, Segments


async def recover(segments: Segments) -> Repair | None:
    """Afterwards every segment is loaded, and all that the log holds is synced."""
    scanned, synced_offset = await _scan_backwards(segments)
    repair = None
    if found := _first_break(segments, scanned):
        segment, broken = found
        if broken.expected_offset < synced_offset or not _torn(segment, broken):
            raise SegmentDamaged(segment.damage(broken))
        repair = await _cut(segments, segment, broken)
    segments.active.pin()
    await _sync_again(segments, synced_offset, cut=repair is not None)
    return repair


async def _scan_backwards(segments: Segments) -> tuple[list[Segment], int]:
    """Those that may hold something unsynced, oldest first; and the highest `synced` named."""
    scanned: list[Segment] = []
    synced_offset = 0
    next_base: int | None = None
    for segment in reversed(segments.row):
        segments.use(segment)
        if next_base is not None and next_base <= synced_offset:
            if not segment.load_seal(next_base):
                segment.state = await segment.scan(
                    next_base
                )  # what is damaged there, reading tells
        else:
            segment.state = await segment.scan(next_base)
            synced_offset = max(synced_offset, segment.state.synced_offset)
            scanned.insert(0, segment)
        next_base = segment.base
    return scanned, synced_offset


def _first_break(segments: Segments, scanned: list[Segment]) -> tuple[Segment, Break] | None:
    """The first that loses offsets, or the end of the log if nothing valid is there.

    A break that hits only marks or a seal loses nothing: it is left to `verify`.
    """
    for segment in scanned:
        for broken in segment.state.breaks:
            resume = broken.resume_offset
            if resume is None and segment is segments.active:
                return segment, broken
            if resume is not None and resume > broken.expected_offset:
                return segment, broken
    return None


def _torn(segment: Segment, broken: Break) -> bool:
    """Whether a crash can have left this, as none of it was synced: rules 2 and 3 of `core`."""
    if broken.resume_offset is None:
        return True
    bad = segment.file.read(broken.end_byte - broken.first_byte, at=broken.first_byte)
    if broken.end_byte == segment.file.size():
        head = core.head(bad, 0, salt=segment.salt)
        if len(bad) < core.HEADER_BYTES or (head and head.size > len(bad)):
            return True  # the file ends too early
    return core.has_lost_sector(bad, position=broken.first_byte)


async def _cut(segments: Segments, segment: Segment, broken: Break) -> Repair:
    """Later files go first, newest first, so that a crash in between leaves a log without gaps."""
    later = segments.row[segments.row.index(segment) + 1 :]
    for each in reversed(later):
        segments.remove(each)
    segment.file.truncate(broken.first_byte)
    segment.state = await segment.scan()
    return Repair(
        file=segment.path.name,
        first_byte=broken.first_byte,
        end_byte=broken.end_byte,
        next_offset=broken.expected_offset,
        removed=tuple(each.path.name for each in later),
    )


async def _sync_again(segments: Segments, synced_offset: int, *, cut: bool) -> None:
    unsynced = [each for each in segments.row if each.next_offset > synced_offset]
    for segment in unsynced:
        _, position = segment.state.index.place_of(synced_offset) or (0, 0)
        while position < segment.end:
            count = min(WINDOW_BYTES, segment.end - position)
            segment.file.write([segment.file.read(count, at=position)], at=position)
            position += count
            await asyncio.sleep(0)
        await segment.file.sync()
    if cut:
        await segments.active.file.sync()
    await segments.disk.sync_directory(segments.directory)
    if unsynced:
        _mark(segments.active)


def _mark(active: Segment) -> None:
    try:
        active.append([active.mark(active.next_offset)])
    except OSError as error:
        if error.errno not in NO_ROOM:  # a mark can wait; the log is read all the same
            raise
