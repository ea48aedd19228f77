"""The writing side: gathers a tick's appends, writes them at once, syncs for all who wait.

    append ──► group ──► queue ──(end of the tick, one write)──► page cache ──(one sync)──► disk
               records    batches                  written_offset       durable_offset

While a sync runs, the next group gathers: a sync covers what was written when it began. There is
never a second one beside it: the kernel tells a write-back error to one caller only, and the other
would report bytes as synced that are not. States:

    open ──ENOSPC on a write──► full: refuses, retries what is queued until there is room ──► open
    open ──no descriptor or memory for a new segment──► busy: the same, until there is one ──► open
    open ──any other failure──► failed: refuses until it is closed and opened again

Queued batches are never dropped while the log is open, so an offset is never given twice.
"""

import asyncio
from asyncio import Future, Task, TimerHandle
from collections.abc import Sequence
from math import inf

import msgspec

from bastide.base import faults
from bastide.base.errors import Invalid, Unavailable
from bastide.base.rt import runtime
from bastide.parts.seglog import core
from bastide.parts.seglog.contract import (
    BATCH_BYTES_MAX,
    BATCH_OFFSETS_MAX,
    RECORD_BYTES_MAX,
    BufferFull,
    DiskFull,
    LogBusy,
    LogClosed,
    LogFailed,
    Options,
    RecordTooLarge,
)
from bastide.parts.seglog.core import HEADER_BYTES, Batch, Columns, Record
from bastide.parts.seglog.segment import NO_DESCRIPTOR, NO_ROOM, Segment, Segments, opening

RETRY_S = 0.1
BUFFER_RETRY_S = 0.01


class Queued(msgspec.Struct, frozen=True, gc=False):
    """A batch without its place. `buffered_bytes` is what it counts for in the buffer's limit."""

    payload: bytes
    offset_count: int
    flags: int
    buffered_bytes: int


class Writer:
    def __init__(self, segments: Segments, options: Options) -> None:
        self.next_offset = self.written_offset = self.durable_offset = segments.active.next_offset
        self.sync_count = 0
        self._segments = segments
        self._options = options
        self._clock = runtime.current().clock
        self._loop = asyncio.get_running_loop()
        self._last_ms = max(segment.state.last_ms for segment in segments.row)
        self._group = Columns()
        self._group_bytes = 0
        self._queue: list[Queued] = []
        self._buffered_bytes = 0
        self._flush_due = False
        self._unsynced: list[Segment] = []
        self._directory_unsynced = False
        self._sync_wanted = self.durable_offset
        self._syncing: Task[None] | None = None
        self._timer: TimerHandle | None = None
        self._retry: TimerHandle | None = None
        self._refusal: DiskFull | LogBusy | LogFailed | LogClosed | None = None
        self._sync_refusal: LogBusy | None = None
        self._waiters: dict[str, list[tuple[int, Future[None]]]] = {"written": [], "synced": []}

    # --- appending ------------------------------------------------------------------------------

    def append(self, records: Sequence[Record]) -> int:
        if not records:
            raise Invalid("an append of no records; at least one is taken")
        columns = Columns.of(records)
        size = columns.payload_bytes
        if size > RECORD_BYTES_MAX:  # or else none of them is larger
            self._check_each(records)
        self._admit(len(records), size)
        count = len(self._group) + len(records)
        if self._group_bytes + size > BATCH_BYTES_MAX or count > BATCH_OFFSETS_MAX:
            self._close_group()
        self._group.add(columns)
        self._group_bytes += size
        return self._taken(len(records), size)

    def _check_each(self, records: Sequence[Record]) -> None:
        for record in records:
            size = len(record.key or b"") + len(record.value or b"")
            if size > RECORD_BYTES_MAX:
                raise RecordTooLarge("record", size, RECORD_BYTES_MAX)

    def append_now(self, value: bytes) -> int:
        active = self._segments.active
        size = core.ALONE_BYTES + len(value)
        if (
            self._flush_due  # others wait, and come first
            or self._refusal
            or active.end + size > self._options.segment_bytes
            or len(value) > RECORD_BYTES_MAX
        ):
            return self._append_behind(value)
        self._last_ms = max(self._last_ms, self._clock.now_ms())
        try:
            active.append_alone(value, synced_offset=self.durable_offset, stamp_ms=self._last_ms)
        except OSError as error:
            self.append([Record(value)])  # it may be written yet, if there is room again
            self._write_failed(error)
        else:
            self.next_offset = self.written_offset = self.next_offset + 1
            self._not_synced(active)
            self._wake("written", self.written_offset)
            self._start_syncing()
        return self._written_now(self.next_offset - 1)

    def _append_behind(self, value: bytes) -> int:
        offset = self.append([Record(value)])
        self.flush()
        return self._written_now(offset)

    def _written_now(self, offset: int) -> int:
        if offset >= self.written_offset:
            assert self._refusal is not None
            raise _fresh(self._refusal, "unknown")
        return offset

    def append_opaque(self, payload: bytes, offset_count: int) -> int:
        self._admit(offset_count, len(payload))
        self._close_group()
        self._queue.append(Queued(payload, offset_count, 0, len(payload)))
        return self._taken(offset_count, len(payload))

    def _admit(self, offset_count: int, size: int) -> None:
        if not 0 < offset_count <= BATCH_OFFSETS_MAX:
            raise Invalid(
                f"{offset_count} offsets in an append; 1 to {BATCH_OFFSETS_MAX} are taken"
            )
        if size > BATCH_BYTES_MAX:
            raise RecordTooLarge("append", size, BATCH_BYTES_MAX)
        if self._refusal:
            raise _fresh(self._refusal, "none")
        if self._buffered_bytes + size > self._options.buffered_bytes_max:
            raise BufferFull(
                f"{self._buffered_bytes} bytes wait to be written; with {size} more they would be "
                f"above {self._options.buffered_bytes_max}",
                retry_after_s=BUFFER_RETRY_S,
            )

    def _taken(self, offset_count: int, size: int) -> int:
        self.next_offset += offset_count
        self._buffered_bytes += size
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self.flush)
        return self.next_offset - 1

    def _close_group(self) -> None:
        if count := len(self._group):
            payload = self._group.payload()
            self._queue.append(Queued(payload, count, core.RECORDS, self._group_bytes))
            self._group = Columns()
            self._group_bytes = 0

    # --- writing --------------------------------------------------------------------------------

    def flush(self) -> None:
        """Writes all that waits. What fails is told to those who wait, not here."""
        self._flush_due = False
        if self.has_ended:
            return
        self._close_group()
        try:
            while self._queue:
                self._write_front()
            self._refusal = None
        except OSError as error:
            self._write_failed(error)
        except LogBusy as refusal:
            self._refuse_for_now(refusal)
        self._wake("written", self.written_offset)
        self._start_syncing()

    def _write_front(self) -> None:
        """One write of as many batches as the segment takes, with a mark; or a new segment."""
        active = self._segments.active
        taken = self._fitting(active)
        if not taken:
            self._roll(active)
            return
        self._last_ms = max(self._last_ms, self._clock.now_ms())
        batches = []
        offset = self.written_offset
        for each in self._queue[:taken]:
            batches.append(self._batch(each, offset))
            offset += each.offset_count
        end = core.mark(
            next_offset=offset,
            synced_offset=self.durable_offset,
            first_ms=active.state.first_ms or self._last_ms,
            last_ms=self._last_ms,
        )
        active.append([*batches, end])
        self._buffered_bytes -= sum(each.buffered_bytes for each in self._queue[:taken])
        del self._queue[:taken]
        self.written_offset = offset
        self._not_synced(active)

    def _fitting(self, active: Segment) -> int:
        room = self._options.segment_bytes - active.end - HEADER_BYTES
        taken = 0
        for each in self._queue:
            room -= HEADER_BYTES + len(each.payload)
            if room < 0:
                break
            taken += 1
        empty = active.next_offset == active.base
        return taken or int(empty)

    def _batch(self, queued: Queued, offset: int) -> Batch:
        return Batch(
            queued.payload,
            offset,
            self.durable_offset,
            queued.offset_count,
            queued.flags,
            self._last_ms,
            self._last_ms,
        )

    def _roll(self, full: Segment) -> None:
        if not full.state.sealed:
            full.append([core.seal(full.state.index, end=full.mark(self.durable_offset))])
            self._not_synced(full)
        salt = runtime.current().chance.random.getrandbits(32)
        with opening():
            faults.point("seglog.before_create")
            self._segments.create(self.written_offset, salt)
        self._directory_unsynced = True
        faults.point("seglog.after_create")

    def _not_synced(self, segment: Segment) -> None:
        if segment not in self._unsynced:
            segment.pin()
            self._unsynced.append(segment)

    def _write_failed(self, error: OSError) -> None:
        if error.errno in NO_ROOM:
            full = f"the disk is full: {error}; tried again every {RETRY_S} s"
            self._refuse_for_now(DiskFull(full))
        else:
            self._fail(error)

    def _refuse_for_now(self, refusal: DiskFull | LogBusy) -> None:
        self._refusal = refusal
        for kind in self._waiters:
            self._refuse_waiters(kind, refusal, self.written_offset, self.next_offset)
        self._try_again_later()

    def _try_again_later(self) -> None:
        if self._retry is None:
            self._retry = self._loop.call_later(RETRY_S, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self.flush()

    # --- syncing --------------------------------------------------------------------------------

    def want_sync(self, offset: int) -> None:
        """All below `offset` shall be synced as soon as it is written."""
        self._sync_wanted = max(self._sync_wanted, offset)
        self._start_syncing()

    def _start_syncing(self) -> None:
        """A task, if there is something to sync that somebody wants; else a timer, if so asked."""
        if self.has_ended or self.written_offset == self.durable_offset:
            return
        if self._sync_wanted > self.durable_offset:
            if self._syncing is None or self._syncing.done():
                self._syncing = self._loop.create_task(self._sync_rounds())
        elif self._timer is None and self._options.sync_within_s is not None:
            self._timer = self._loop.call_later(self._options.sync_within_s, self._sync_by_timer)

    def _sync_by_timer(self) -> None:
        self._timer = None
        self.want_sync(self.written_offset)

    async def _sync_rounds(self) -> None:
        while not self.has_ended:
            if min(self._sync_wanted, self.written_offset) <= self.durable_offset:
                break
            if not await self._sync_once():
                break

    async def _sync_once(self) -> bool:
        """One group: all that was written when it began. Returns whether it is synced."""
        target = self.written_offset
        segments, self._unsynced = self._unsynced, []
        directory_unsynced, self._directory_unsynced = self._directory_unsynced, False
        try:
            faults.point("seglog.before_sync")
            for segment in segments:
                await segment.file.sync()
            if directory_unsynced:
                faults.point("seglog.before_directory_sync")
                await self._segments.disk.sync_directory(self._segments.directory)
            faults.point("seglog.after_sync")
        except OSError as error:
            if error.errno in NO_DESCRIPTOR:
                self._sync_later(segments, error)
            else:
                self._fail(error)
            return False
        finally:
            for segment in segments:
                segment.unpin()
            self._segments.use(self._segments.active)  # more may have been pinned than stay open
        self._sync_refusal = None
        self.durable_offset = target
        self.sync_count += 1
        self._mark_synced()
        self._wake("synced", target)
        return True

    def _sync_later(self, segments: Sequence[Segment], error: OSError) -> None:
        """The directory could not be opened, so no sync of it has failed: it may be asked again."""
        self._directory_unsynced = True
        for segment in segments:
            self._not_synced(segment)
        self._sync_refusal = LogBusy(f"the log's directory can't be opened now: {error}")
        self._refuse_waiters("synced", self._sync_refusal, self.durable_offset, self.written_offset)
        self._try_again_later()

    def _mark_synced(self) -> None:
        """Before anybody is told, the log itself says what is synced: see `core`, rule 1."""
        self.flush()  # its mark says so, if anything waited to be written
        active = self._segments.active
        if self._refusal is None and active.state.synced_offset < self.durable_offset:
            try:
                active.append([active.mark(self.durable_offset)])
            except OSError as error:
                if error.errno not in NO_ROOM:  # a mark can wait
                    self._fail(error)

    async def close(self) -> None:
        """Writes and syncs all that is left. Raises LogFailed if that fails now."""
        failed_before = self.has_ended
        self.flush()
        self.want_sync(self.written_offset)
        if self._syncing:
            await self._syncing
        for timer in (self._timer, self._retry):
            if timer:
                timer.cancel()
        if not self.has_ended:
            try:
                await self._segments.active.file.sync()  # the last mark
            except OSError as error:
                self._fail(error)
        failure = self._refusal if isinstance(self._refusal, LogFailed) else None
        self._end(LogClosed("the log is closed"))
        if failure and not failed_before:
            raise failure

    # --- who waits ------------------------------------------------------------------------------

    async def written(self, offset: int) -> None:
        if offset >= self.written_offset:
            await self._wait("written", offset)

    async def synced(self, offset: int) -> None:
        if offset >= self.durable_offset:
            self.want_sync(offset + 1)
            await self._wait("synced", offset)

    async def _wait(self, kind: str, offset: int) -> None:
        stuck = self.written_offset <= offset < self.next_offset
        if self._refusal and (stuck or self.has_ended):
            raise _fresh(self._refusal, "unknown")
        future = self._loop.create_future()
        self._waiters[kind].append((offset, future))
        await future

    def _wake(self, kind: str, below: int) -> None:
        waiters = self._waiters[kind]
        if not waiters:
            return
        self._waiters[kind] = [each for each in waiters if each[0] >= below]
        for offset, future in waiters:
            if offset < below and not future.done():
                future.set_result(None)

    def _refuse_waiters(
        self, kind: str, refusal: Unavailable, first: int, below: int | float = inf
    ) -> None:
        """What they wait for may be on the disk or not."""
        kept = []
        for offset, future in self._waiters[kind]:
            if not first <= offset < below:
                kept.append((offset, future))
            elif not future.done():
                future.set_exception(_fresh(refusal, "unknown"))
        self._waiters[kind] = kept

    # --- refusing -------------------------------------------------------------------------------

    def _fail(self, error: OSError) -> None:
        self._end(LogFailed(f"the log has failed and must be opened again: {error}"))

    def _end(self, refusal: LogFailed | LogClosed) -> None:
        self._refusal = refusal
        self._refuse_waiters("written", refusal, self.written_offset)
        self._refuse_waiters("synced", refusal, self.durable_offset)

    def check(self) -> None:
        if refusal := self._refusal or self._sync_refusal:
            raise _fresh(refusal, "none")

    @property
    def has_ended(self) -> bool:
        return isinstance(self._refusal, LogFailed | LogClosed)


def _fresh(refusal: Unavailable, outcome: str) -> Unavailable:
    """One for each caller: a traceback belongs to one of them."""
    return type(refusal)(str(refusal), outcome=outcome)
