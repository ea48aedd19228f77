"""The storage of one group on the disk: writes in order, syncs in groups, survives kill -9.

    write(vote, entries) ──► seglog's buffer ──(end of the tick)──► page cache ──(synced)──► disk
         │                        ▲
         └── the disk is full ──► backlog, tried again every RETRY_S

A snapshot's life, with what a crash at each arrow leaves:

    pieces ─► file.coming ─► synced ─► renamed, directory synced ─► mark in the log, synced ─► trim
              (old one counts, the new file is thrown away)         (the new one counts)

Nothing is ever dropped but by a mark whose snapshot is proven and durable. What is damaged is told:
`SegmentDamaged` by seglog, `GroupFailed` by what is read here. A node stops then; its log is never
cut to where it still reads well, since it may have been what made a majority.
"""

import asyncio
import errno
import logging
from asyncio import TimerHandle
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bastide.base import faults
from bastide.base.errors import Limited, Unavailable
from bastide.base.rt import runtime
from bastide.parts.raft.contract import (
    PROPOSED_BYTES_MAX,
    Durable,
    Entry,
    GroupFailed,
    Members,
    SnapshotMark,
    Vote,
)
from bastide.parts.raft.storage.replay import Replay, Terms, Written, encode
from bastide.parts.raft.storage.snapshots import SnapshotFiles
from bastide.parts.seglog.contract import (
    DiskFull,
    HousekeepingFailed,
    LogBusy,
    LogClosed,
    LogFailed,
    Options,
)
from bastide.parts.seglog.log import Seglog, open_seglog

RETRY_S = 0.1
WRITE_BYTES = 2 << 20
"""Payloads in one record of the log; a single entry may always go."""
ENTRY_BYTES = 32
"""Of each entry beside its payload, at most."""
SEGMENT_BYTES = 16 << 20
"""What is trimmed at once, and what may be kept longer than it is needed."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)

Refused = Callable[[Unavailable], None]

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_storage(
    directory: Path, members: Members, *, segment_bytes: int = SEGMENT_BYTES
) -> AsyncIterator["Storage"]:
    """What is in `directory`; in an empty one a log whose group begins with `members`.

    Reads the log and the snapshot whole. The caller sees to it that nobody else opens it.

    Raises:
        SegmentDamaged, GroupFailed: acknowledged entries, or the snapshot, are not as they were
            written. Nothing was changed.
        OSError: it can't be read, or be begun.
    """
    # A tick's proposals may all come at once.
    options = Options(segment_bytes=segment_bytes, buffered_bytes_max=2 * PROPOSED_BYTES_MAX)
    async with open_seglog(directory, options) as log:
        if log.repair:
            _log.warning("%s: a torn, unsynced write was cut off: %s", directory, log.repair)
        replay = await _replay(log)
        if log.next_offset == 0:
            mark = SnapshotMark(0, 0, members)
            await log.synced(log.append_opaque(encode(Written(Vote(), mark)), offset_count=1))
            replay = await _replay(log)
        files = SnapshotFiles(runtime.current().disk, directory)
        durable = replay.durable()
        if durable.mark.index:
            async for _ in files.pieces(durable.mark):
                pass
        files.remove_all_but([durable.mark])
        storage = Storage(log, files, durable, replay.places)
        try:
            yield storage
        finally:
            storage.close()


async def _replay(log: Seglog) -> Replay:
    replay = Replay()
    offset = log.first_offset
    while batches := log.read(offset):
        for batch in batches:
            replay.take(batch.payload, batch.base_offset)
        offset = batches[-1].next_offset
        await asyncio.sleep(0)
    return replay


class Storage:
    """`durable` is what was found at opening. One write has one offset, or a few that rise."""

    def __init__(
        self,
        log: Seglog,
        files: SnapshotFiles,
        durable: Durable,
        places: Sequence[tuple[int, int]],
    ) -> None:
        self.durable = durable
        self.mark = durable.mark
        self._older: list[SnapshotMark] = []
        self._first_needed = 0  # the offset before which the log may be trimmed
        self._vote = durable.vote
        self._terms = Terms(durable)
        self._log = log
        self._files = files
        self._places = deque(places)
        self._backlog: deque[bytes] = deque()
        self._retry: TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        self._files.close()
        if self._retry:
            self._retry.cancel()

    # --- the log --------------------------------------------------------------------------------

    def write(self, vote: Vote | None, entries: Sequence[Entry]) -> int:
        """Takes both; `entries` replace what is there from the first one's index on. Returns what
        to wait for by `synced`. While the disk is full it is held, and written when there is room.

        Raises:
            GroupFailed: the disk has failed; open it again.
        """
        self._vote = vote or self._vote
        if not entries:
            return self._append(Written(vote))
        self._terms.replace(entries)
        offset = 0
        for some in _slices(entries):
            offset = self._append(Written(vote, None, False, some))
            self._places.append((some[-1].index, offset))
            vote = None
        return offset

    def _append(self, written: Written) -> int:
        record = encode(written)
        offset = self._log.next_offset + len(self._backlog)
        if self._backlog or not self._append_now(record):
            self._backlog.append(record)
            self._retry = self._retry or self._loop.call_later(RETRY_S, self._try_again)
        return offset

    def _append_now(self, record: bytes) -> bool:
        try:
            self._log.append_opaque(record, offset_count=1)
        except (DiskFull, LogBusy, Limited):
            return False
        except (LogFailed, LogClosed) as error:
            raise GroupFailed(str(error)) from error
        return True

    def _try_again(self) -> None:
        self._retry = None
        try:
            while self._backlog and self._append_now(self._backlog[0]):
                self._backlog.popleft()
        except GroupFailed:
            return  # who waits for `synced` is told
        if self._backlog:
            self._retry = self._loop.call_later(RETRY_S, self._try_again)

    async def synced(self, offset: int, refused: Refused | None = None) -> None:
        """Returns once the write at `offset` is on the disk; that may be when there is room again,
        and until then `refused` is told why not, again and again.

        Raises:
            GroupFailed: the disk has failed. `outcome` is 'unknown'.
        """
        while True:
            try:
                await self._log.synced(offset)
            except (DiskFull, LogBusy) as error:
                if refused:
                    refused(error)
                await asyncio.sleep(RETRY_S)
            except (LogFailed, LogClosed) as error:
                raise GroupFailed(str(error), outcome="unknown") from error
            else:
                return

    def check(self) -> None:
        """
        Raises:
            DiskFull, LogBusy: nothing is written now; it goes on by itself.
            GroupFailed: the disk has failed.
        """
        try:
            self._log.check()
        except (LogFailed, LogClosed) as error:
            raise GroupFailed(str(error)) from error

    @property
    def size(self) -> int:
        """Bytes of the log's files."""
        return self._log.size

    # --- snapshots ------------------------------------------------------------------------------

    async def keep_snapshot(self, mark: SnapshotMark, pieces: Iterable[bytes]) -> SnapshotMark:
        """`pieces` are the state once the entry of `mark` was applied. Returns the mark with its
        size; it counts from here on. What it stands for goes by `forget`.

        Raises:
            Unavailable: no room, for instance; the snapshot before it still counts.
        """
        try:
            kept = await self._files.make(mark, pieces)
        except OSError as error:
            raise _snapshot_refused(error) from error
        await self._count(kept, is_fresh=False)
        return kept

    def keep_chunk(self, mark: SnapshotMark, at: int, content: bytes) -> int:
        """Keeps a piece of an incoming snapshot until a crash; returns up to where all is there."""
        try:
            return self._files.keep_chunk(mark, at, content)
        except OSError as error:
            _log.warning("a chunk of a snapshot could not be kept: %s", error)
            self._files.drop_coming()
            return 0

    async def install(self, mark: SnapshotMark) -> None:
        """The snapshot of `mark`, all chunks of which are kept, stands for the log from now on. Of
        the log stays what follows on it, if it has the mark's entry.

        Raises:
            SnapshotDamaged: what came is not what was sent.
            Unavailable: no room, for instance. Nothing has changed then.
        """
        try:
            await self._files.finish_coming(mark)
        except OSError as error:
            raise _snapshot_refused(error) from error
        is_fresh = not self._terms.has(index=mark.index, term=mark.term)
        if is_fresh:
            self._terms.begin(mark)
        await self._count(mark, is_fresh=is_fresh)

    async def _count(self, mark: SnapshotMark, *, is_fresh: bool) -> None:
        """From here on `mark` counts: once its record is durable, all before it may go."""
        faults.point("raft.before_mark")
        offset = self._append(Written(self._vote, mark, is_fresh))
        await self.synced(offset)
        faults.point("raft.after_mark")
        self._older.append(self.mark)
        self.mark = mark
        self._first_needed = self._first_needed_by(mark, offset, is_fresh=is_fresh)

    async def forget(self, *, in_use: Collection[int] = ()) -> None:
        """Removes what the mark stands for: the log's front, and the snapshots before, but for
        those whose indexes are `in_use`: they are just being sent.
        """
        self._older = [mark for mark in self._older if mark.index in in_use]
        try:
            self._files.remove_all_but([self.mark, *self._older])
            await self._log.trim(below_offset=self._first_needed)
        except (OSError, HousekeepingFailed) as error:
            _log.warning("what a snapshot stands for could not be removed yet: %s", error)
        faults.point("raft.trimmed")

    def _first_needed_by(self, mark: SnapshotMark, offset: int, *, is_fresh: bool) -> int:
        """The oldest record that has an entry behind `mark`, or the record of `mark` itself."""
        places = self._places
        while places and places[0][1] < offset and (is_fresh or places[0][0] <= mark.index):
            places.popleft()
        return min(offset, places[0][1]) if places else offset

    def pieces(self) -> AsyncIterator[bytes]:
        """Of the snapshot that counts. Raises SnapshotDamaged."""
        return self._files.pieces(self.mark)

    def read_chunk(self, mark: SnapshotMark, at: int, end: int) -> bytes | None:
        """Bytes of the file of `mark`; None if it is gone. Raises OSError."""
        return self._files.read_chunk(mark, at, end)


def _slices(entries: Sequence[Entry]) -> Iterable[Sequence[Entry]]:
    """Mostly one."""
    size = sum([len(entry.payload) + ENTRY_BYTES for entry in entries])
    if size <= WRITE_BYTES or len(entries) == 1:
        return [entries]
    half = len(entries) // 2
    return [*_slices(entries[:half]), *_slices(entries[half:])]


def _snapshot_refused(error: OSError) -> Unavailable:
    full = error.errno in _NO_ROOM
    told = f"a snapshot could not be written: {error}"
    return DiskFull(told) if full else Unavailable(told)
