"""The log: append, wait until it is safe, read, trim, compact. `core` has format and promises."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from bastide.base import faults
from bastide.base.rt import runtime
from bastide.parts.seglog import compaction, core, recovery
from bastide.parts.seglog.contract import (
    Damage,
    HousekeepingFailed,
    OffsetAhead,
    OffsetGone,
    Options,
    Repair,
    Slice,
)
from bastide.parts.seglog.core import Batch, Entry, Record
from bastide.parts.seglog.segment import Segments
from bastide.parts.seglog.writer import Writer

READ_BYTES = 1 << 20
SCAN_BYTES = 64 << 10


@asynccontextmanager
async def open_seglog(directory: Path, options: Options | None = None) -> AsyncIterator["Seglog"]:
    """The log in `directory`, made if need be. The caller sees to it that nobody else opens it.

    Reads the last segment whole, and of each older one its seal. Leaving closes the log.

    Raises:
        SegmentDamaged: acknowledged records of the last segment are damaged. Nothing was changed.
    """
    segments = Segments(runtime.current().disk, directory)
    try:
        repair = await _open_segments(segments)
        log = Seglog(segments, Writer(segments, options or Options()), repair)
        try:
            yield log
        finally:
            await log.close()
    finally:
        segments.close()


async def _open_segments(segments: Segments) -> Repair | None:
    disk, directory = segments.disk, segments.directory
    disk.make_directory(directory)
    segments.list_files()
    if segments.row:
        return await recovery.recover(segments)
    segments.create(0, runtime.current().chance.random.getrandbits(32))
    await disk.sync_directory(directory)
    await disk.sync_directory(directory.parent)
    return None


class Seglog:
    """Offsets count from 0 without gaps, one for each record, and are never given twice."""

    def __init__(self, segments: Segments, writer: Writer, repair: Repair | None) -> None:
        self.repair = repair
        """What opening had to cut off, if anything: an unsynced write that a crash tore."""
        self._segments = segments
        self._writer = writer
        self._housekeeping = asyncio.Lock()

    # --- writing --------------------------------------------------------------------------------

    def append(self, records: Sequence[Record]) -> int:
        """Takes `records` and returns the offset of the last of them: wait for that one.

        Nothing is written yet. All appends of one tick of the loop are written together at its end.
        After a crash the records of one append are all there or none of them is.

        Raises:
            RecordTooLarge: a record above RECORD_BYTES_MAX, or all of them above BATCH_BYTES_MAX.
            BufferFull: more than `buffered_bytes_max` waits to be written.
            DiskFull, LogBusy: until there is room, or a file to be had, again; see `check`.
            LogFailed, LogClosed: for good.
        """
        return self._writer.append(records)

    def append_now(self, value: bytes) -> int:
        """Writes one record without a key, behind all that waits, and returns its offset.

        A call to the system and a batch for each, and no turn of the loop to wait for: cheaper for
        the caller than `append` and `written`, and larger on the disk (128 bytes a record more).

        Raises as `append` does; and as `written` does, if it could not be written.
        """
        return self._writer.append_now(value)

    def append_opaque(self, payload: bytes, *, offset_count: int) -> int:
        """Takes `payload` as one batch of `offset_count` offsets and returns the last of these.

        It is stored and read as it is. Raises as `append` does.
        """
        return self._writer.append_opaque(payload, offset_count)

    async def written(self, offset: int) -> None:
        """Returns once the record at `offset` is written, also if it is yet to be appended.

        It is in the page cache then: killing the process can't lose it, a power cut can.

        Raises:
            Unavailable: DiskFull, LogBusy, LogFailed or LogClosed. `outcome` is 'unknown': the
                record may be written later, or may be there after the next opening.
        """
        await self._writer.written(offset)

    async def synced(self, offset: int) -> None:
        """Returns once the record at `offset` is on the disk. One sync serves all who wait.

        Raises as `written` does.
        """
        await self._writer.synced(offset)

    def check(self) -> None:
        """
        Raises:
            Unavailable: why the log refuses to write or to sync. What passes is gone from here
                within 0.1 s, also if nobody appends.
        """
        self._writer.check()

    async def close(self) -> None:
        """Writes and syncs what is left. Raises LogFailed if that fails."""
        async with self._housekeeping:
            await self._writer.close()

    # --- reading --------------------------------------------------------------------------------

    @property
    def first_offset(self) -> int:
        """The first that is kept."""
        return self._segments.first_offset

    @property
    def next_offset(self) -> int:
        """What the next record gets."""
        return self._writer.next_offset

    @property
    def written_offset(self) -> int:
        """All below can be read."""
        return self._writer.written_offset

    @property
    def durable_offset(self) -> int:
        """All below survives a power cut. Who keeps an offset elsewhere should read no further."""
        return self._writer.durable_offset

    @property
    def sync_count(self) -> int:
        """Groups synced since the log was opened."""
        return self._writer.sync_count

    @property
    def size(self) -> int:
        """Bytes in all files."""
        return sum(segment.end for segment in self._segments.row)

    def read(self, offset: int, *, bytes_max: int = READ_BYTES) -> list[Batch]:
        """Whole batches from the one that holds `offset` on: one at least, `bytes_max` at most.

        Sees all that is written. Empty at the end; never spans two segments. Checks each CRC.
        O(log n) and a walk of at most INDEX_EVERY_BYTES, on the loop.

        Raises:
            OffsetGone, OffsetAhead: outside of first_offset to written_offset.
            LogBusy: an older file can't be opened now.
            SegmentDamaged: this batch can't be read; `damage.resume_offset` is the next to try.
        """
        self._check(offset)
        if offset == self.written_offset:
            return []
        return self._segments.of(offset).read(offset, bytes_max)

    async def scan(self, offset: int) -> AsyncIterator[Entry]:
        """Each record from `offset` on, up to what is written when the end is reached.

        Batches that are opaque have no records. Raises as `read` does.
        """
        while batches := self.read(offset, bytes_max=SCAN_BYTES):
            for batch in batches:
                for entry in core.entries(batch, offset):
                    yield entry
                offset = batch.next_offset
            await asyncio.sleep(0)

    def offset_at(self, stamp_ms: int) -> int:
        """The first offset of the first batch that was written at `stamp_ms` or later.

        The end, if there is none. Stamps never fall: while the clock is set back they stand still.
        """
        for segment in self._segments.row:
            if segment.state.last_ms < stamp_ms:
                continue
            place = segment.state.index.place_before(stamp_ms)
            offset = place[0] if place else segment.base
            while offset < segment.next_offset:
                for batch in self.read(offset, bytes_max=SCAN_BYTES):
                    if batch.last_ms >= stamp_ms:
                        return batch.base_offset
                    offset = batch.next_offset
        return self.written_offset

    @contextmanager
    def slice_for_sendfile(self, offset: int, *, bytes_max: int = READ_BYTES) -> Iterator[Slice]:
        """The stored bytes of what `read` would give. The file stays open within the block.

        Raises as `read` does; OffsetAhead at the end too.
        """
        self._check(offset)
        if offset == self.written_offset:
            raise OffsetAhead(offset, self.written_offset)
        segment = self._segments.of(offset)
        position, count, next_offset = segment.stretch(offset, bytes_max)
        segment.pin()
        try:
            yield Slice(segment.file.fileno(), position, count, next_offset)
        finally:
            segment.unpin()

    def _check(self, offset: int) -> None:
        if offset < self.first_offset:
            raise OffsetGone(offset, self.first_offset)
        if offset > self.written_offset:
            raise OffsetAhead(offset, self.written_offset)

    # --- housekeeping ---------------------------------------------------------------------------

    async def trim(
        self,
        *,
        bytes_max: int | None = None,
        stamped_before_ms: int | None = None,
        below_offset: int | None = None,
        never_from: int | None = None,
    ) -> int:
        """Removes the oldest full segments, and returns the first offset that is kept.

        One goes while the log is larger than `bytes_max`, or if all of it was written before
        `stamped_before_ms`, or if all of it is below `below_offset`. The segment that is being
        written, what isn't durable, and what has an offset from `never_from` on, stay in any case.
        """
        end = self.durable_offset if never_from is None else min(never_from, self.durable_offset)
        async with self._housekeeping:
            try:
                while self._has_whole_segment_below(end) and self._may_go(
                    bytes_max, stamped_before_ms, below_offset
                ):
                    self._segments.remove(self._segments.row[0])
                    faults.point("seglog.trimmed")
                await self._segments.disk.sync_directory(self._segments.directory)
            except OSError as error:
                raise HousekeepingFailed(f"trim stopped: {error}", outcome="unknown") from error
        return self.first_offset

    def _has_whole_segment_below(self, end: int) -> bool:
        oldest = self._segments.row[0]
        return oldest is not self._segments.active and oldest.next_offset <= end

    def _may_go(
        self, bytes_max: int | None, stamped_before_ms: int | None, below_offset: int | None
    ) -> bool:
        oldest = self._segments.row[0]
        return (
            (bytes_max is not None and self.size > bytes_max)
            or (stamped_before_ms is not None and oldest.state.last_ms < stamped_before_ms)
            or (below_offset is not None and oldest.next_offset <= below_offset)
        )

    async def compact(self, *, tombstones_before_ms: int = 0) -> int:
        """Drops from full, durable segments each record whose key has a newer durable one.

        Tombstones (a key without a value) go too if written before `tombstones_before_ms`.
        Returns the bytes freed. Offsets stay, and every offset is still read, by an empty batch if
        need be. Keeps one dictionary of all keys in memory, and needs room for one segment.

        Raises:
            SegmentDamaged: nothing of that segment is dropped.
            HousekeepingFailed: no room, for instance. Segments that were done stay done.
        """
        async with self._housekeeping:
            try:
                return await compaction.compact(
                    self._segments,
                    durable_offset=self.durable_offset,
                    tombstones_before_ms=tombstones_before_ms,
                )
            except OSError as error:
                raise HousekeepingFailed(f"compact stopped: {error}", outcome="unknown") from error

    async def verify(self) -> list[Damage]:
        """Reads every byte of every file; returns each range that is not as it was written."""
        async with self._housekeeping:
            found = []
            for segment in self._segments.row:
                self._segments.use(segment)
                scan = await segment.scan(segment.next_offset)
                found += [segment.damage(broken) for broken in scan.breaks]
            return found
