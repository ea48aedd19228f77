"""One file of the log, and the row of them: reading, walking, finding the next sound batch."""

import asyncio
import errno
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from bastide.base import faults
from bastide.base.rt.disk import Disk, File
from bastide.parts.seglog import core
from bastide.parts.seglog.contract import Damage, LogBusy, SegmentDamaged
from bastide.parts.seglog.core import HEADER_BYTES, Batch, Index

WINDOW_BYTES = 64 << 10
"""What is read at once. A batch that is larger is read whole."""
SCAN_TURN_BATCHES = 256
"""Read between two turns of the loop."""
FILES_OPEN_MAX = 64
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
"""Only what opens a file meets these: reading, writing and syncing need no new descriptor."""
SUFFIX = ".segment"
COMPACTING_SUFFIX = ".compacting"
_NAME = re.compile(r"(\d{20})-([0-9a-f]{8})" + re.escape(SUFFIX))


@contextmanager
def opening() -> Iterator[None]:
    """A file is opened within. If the system has none to give, that passes: LogBusy says so."""
    try:
        yield
    except OSError as error:
        if error.errno not in (*NO_DESCRIPTOR, errno.ENOMEM):
            raise
        raise LogBusy(f"no file of the log can be opened now: {error}") from error


class Break(msgspec.Struct, frozen=True):
    """A place at which no valid batch begins, up to where the next valid one does, if any does."""

    first_byte: int
    end_byte: int
    expected_offset: int
    resume_offset: int | None


class Scan(msgspec.Struct):
    """What reading a whole file has shown. `synced_offset` is the highest that a batch names."""

    end: int = 0
    next_offset: int = 0
    synced_offset: int = 0
    first_ms: int = 0
    last_ms: int = 0
    sealed: bool = False
    index: Index = msgspec.field(default_factory=Index)
    breaks: list[Break] = []

    def note(self, batch: Batch, position: int) -> None:
        if batch.offset_count:
            stamp_ms = batch.last_ms
            self.index.add(offset=batch.base_offset, position=position, stamp_ms=stamp_ms)
            self.first_ms = self.first_ms or batch.first_ms
            self.last_ms = stamp_ms
        self.sealed = bool(batch.flags & core.SEAL)
        self.synced_offset = max(self.synced_offset, batch.synced_offset)
        self.next_offset = batch.next_offset
        self.end = position + batch.size


class Segment:
    """A file with its index. `pin` keeps the file open: for a sync, a slice, or writing."""

    def __init__(self, disk: Disk, path: Path, *, base: int, salt: int) -> None:
        self.path = path
        self.base = base
        self.salt = salt
        self.state = Scan(next_offset=base)
        self._disk = disk
        self._file: File | None = None
        self._pins = 0
        self._retired = False

    @property
    def file(self) -> File:
        if self._file is None:
            assert not self._retired
            with opening():
                self._file = self._disk.open(self.path)
        return self._file

    @property
    def end(self) -> int:
        """Bytes that are whole batches."""
        return self.state.end

    @property
    def next_offset(self) -> int:
        return self.state.next_offset

    def create(self) -> None:
        self._file = self._disk.open(self.path, create=True)

    def pin(self) -> None:
        self._pins += 1

    def unpin(self) -> None:
        self._pins -= 1
        if self._retired:
            self.retire()

    def retire(self) -> None:
        """The file is closed as soon as nobody has pinned it."""
        self._retired = True
        self.close_if_free()

    def close_if_free(self) -> bool:
        if self._pins == 0 and self._file is not None:
            self._file.close()
            self._file = None
        return self._file is None

    def close(self) -> None:
        self._pins = 0
        self.close_if_free()

    # --- writing --------------------------------------------------------------------------------

    def append(self, batches: Sequence[Batch]) -> None:
        """All `batches` in one write. After an OSError the file ends where it ended before."""
        buffers: list[bytes] = []
        for batch in batches:
            buffers.append(core.encode(batch, salt=self.salt))
            if batch.payload:
                buffers.append(batch.payload)
        self._write(buffers)
        for batch in batches:
            self.state.note(batch, self.end)

    def append_alone(self, value: bytes, *, synced_offset: int, stamp_ms: int) -> None:
        """`append` of one record without a key, and of a mark."""
        state = self.state
        first_ms = state.first_ms or stamp_ms
        written = core.alone(
            value,
            salt=self.salt,
            offset=state.next_offset,
            synced_offset=synced_offset,
            first_ms=first_ms,
            ms=stamp_ms,
        )
        self._write([written])
        state.index.add(offset=state.next_offset, position=state.end, stamp_ms=stamp_ms)
        state.first_ms, state.last_ms = first_ms, stamp_ms
        state.synced_offset = max(state.synced_offset, synced_offset)
        state.next_offset += 1
        state.end += len(written)

    def _write(self, buffers: Sequence[bytes]) -> None:
        try:
            faults.point("seglog.before_write")
            self.file.write(buffers, at=self.end)
            faults.point("seglog.after_write")
        except OSError:
            self.file.truncate(self.end)
            raise

    def mark(self, synced_offset: int) -> Batch:
        """A mark for the end of what is in the file now."""
        return core.mark(
            next_offset=self.next_offset,
            synced_offset=synced_offset,
            first_ms=self.state.first_ms,
            last_ms=self.state.last_ms,
        )

    # --- reading --------------------------------------------------------------------------------

    def walk(self, position: int, expected: int, end: int) -> Iterator[tuple[int, Batch]]:
        """(position, batch) from there on, until one is not valid or not the expected one."""
        buffer, start = b"", position
        while position < end:
            batch = core.decode(buffer, position - start, salt=self.salt)
            if batch is None:
                buffer, start = self._window(position, end), position
                batch = core.decode(buffer, 0, salt=self.salt)
            if batch is None or batch.base_offset != expected:
                return
            yield position, batch
            position += batch.size
            expected = batch.next_offset

    def _window(self, position: int, end: int) -> bytes:
        """The bytes from `position` on: WINDOW_BYTES, or one whole batch if that is more."""
        buffer = self.file.read(min(WINDOW_BYTES, end - position), at=position)
        head = core.head(buffer, 0, salt=self.salt)
        if head and len(buffer) < head.size <= end - position:
            return self.file.read(head.size, at=position)
        return buffer

    def next_valid(self, position: int, expected: int, end: int) -> tuple[int, Batch] | None:
        """The first batch at any byte from `position` on that is valid and not below `expected`."""
        while end - position >= HEADER_BYTES:
            buffer = self.file.read(min(WINDOW_BYTES, end - position), at=position)
            for at in core.candidates(buffer, salt=self.salt):
                batch = core.decode(self._window(position + at, end), 0, salt=self.salt)
                if batch and batch.base_offset >= expected:
                    return position + at, batch
            # A header may lie across the edge of the window.
            position += max(len(buffer) - HEADER_BYTES + 1, 1)
        return None

    def read(self, offset: int, bytes_max: int) -> list[Batch]:
        """Batches from the one that holds `offset` on: at least one, at most `bytes_max` bytes."""
        found: list[Batch] = []
        size = 0
        for _, batch in self._batches_from(offset):
            size += batch.size
            if found and size > bytes_max:
                break
            found.append(batch)
            if size >= bytes_max:
                break
        return found

    def stretch(self, offset: int, bytes_max: int) -> tuple[int, int, int]:
        """(position, count, next offset) of whole batches, as `read` gives them.

        Only the first one's CRC is checked: a slice is sent unread, and its receiver checks.
        """
        start, batch = next(self._batches_from(offset))
        end, next_offset = start + batch.size, batch.next_offset
        position = end
        while position < self.end:
            head = core.head(self.file.read(HEADER_BYTES, at=position), 0, salt=self.salt)
            position += head.size if head else 0
            if head is None or head.base_offset != next_offset or position - start > bytes_max:
                break
            if head.offset_count:  # the marks behind the last batch stay out
                end, next_offset = position, next_offset + head.offset_count
        return start, end - start, next_offset

    def _batches_from(self, offset: int) -> Iterator[tuple[int, Batch]]:
        """(position, batch), without marks; SegmentDamaged only if `offset` can't be given."""
        expected, position = self.state.index.place_of(offset) or (self.base, 0)
        while True:
            for at, batch in self.walk(position, expected, self.end):
                position, expected = at + batch.size, batch.next_offset
                if expected > offset and batch.offset_count:
                    yield at, batch
            if expected > offset:
                return  # the end, or a bad place that the next read will tell
            sound = self.next_valid(position, expected, self.end)
            if sound is None or sound[1].base_offset > offset:
                raise SegmentDamaged(self._damage_at(position, expected, sound))
            position, expected = sound[0], sound[1].base_offset

    def _damage_at(self, position: int, expected: int, sound: tuple[int, Batch] | None) -> Damage:
        if sound is None:
            return self.damage(Break(position, self.file.size(), expected, None))
        return self.damage(Break(position, sound[0], expected, sound[1].base_offset))

    def damage(self, found: Break) -> Damage:
        """`found` as a caller is told. Where no valid batch follows, the segment's end does."""
        return Damage(
            file=self.path.name,
            first_byte=found.first_byte,
            end_byte=found.end_byte,
            first_offset=found.expected_offset,
            resume_offset=self.next_offset if found.resume_offset is None else found.resume_offset,
        )

    def load_seal(self, next_base: int) -> bool:
        """Takes the index from the seal, if that is sound and ends where the next one begins."""
        size = self.file.size()
        tail = self.file.read(
            min(size, core.SEAL_TAIL_BYTES), at=max(size - core.SEAL_TAIL_BYTES, 0)
        )
        length = core.seal_bytes(tail)
        if not HEADER_BYTES <= length <= size:
            return False
        batch = core.decode(self.file.read(length, at=size - length), 0, salt=self.salt)
        if batch is None or not batch.flags & core.SEAL or batch.base_offset != next_base:
            return False
        self.state = Scan(
            end=size,
            next_offset=next_base,
            synced_offset=batch.synced_offset,
            first_ms=batch.first_ms,
            last_ms=batch.last_ms,
            sealed=True,
            index=core.unseal(batch),
        )
        return True

    async def scan(self, next_base: int | None = None) -> Scan:
        """Reads the file whole, steps over what is not valid, and gives way to others meanwhile.

        `next_base` is where it must end, if that is known.
        """
        size = self.file.size()
        scan = Scan(next_offset=self.base)
        while True:
            walked = enumerate(self.walk(scan.end, scan.next_offset, size), start=1)
            for count, (position, batch) in walked:
                scan.note(batch, position)
                if count % SCAN_TURN_BATCHES == 0:
                    await asyncio.sleep(0)
            sound = self.next_valid(scan.end, scan.next_offset, size)
            if sound is None:
                break
            position, batch = sound
            scan.breaks.append(Break(scan.end, position, scan.next_offset, batch.base_offset))
            scan.end, scan.next_offset = position, batch.base_offset
        short = next_base is not None and scan.next_offset < next_base
        if short or scan.end < size:
            resume = next_base if short else None
            scan.breaks.append(Break(scan.end, size, scan.next_offset, resume))
        scan.next_offset = next_base or scan.next_offset
        return scan


class Segments:
    """The files of one log, oldest first; the last one is written. Foreign files are left alone."""

    def __init__(self, disk: Disk, directory: Path) -> None:
        self.disk = disk
        self.directory = directory
        self.row: list[Segment] = []
        self._opened: list[Segment] = []

    def list_files(self) -> None:
        for name in self.disk.list_directory(self.directory):
            if found := _NAME.fullmatch(name):
                base, salt = int(found[1]), int(found[2], 16)
                self.row.append(Segment(self.disk, self.directory / name, base=base, salt=salt))
            elif name.endswith(SUFFIX + COMPACTING_SUFFIX):
                self.disk.remove(self.directory / name)  # a crash had stopped it

    @property
    def active(self) -> Segment:
        return self.row[-1]

    @property
    def sealed(self) -> list[Segment]:
        return self.row[:-1]

    @property
    def first_offset(self) -> int:
        return self.row[0].base

    def of(self, offset: int) -> Segment:
        """The one that covers `offset`. Once too many files are open, the unpinned are closed."""
        segment = self.row[bisect_right(self.row, offset, key=lambda each: each.base) - 1]
        self.use(segment)
        return segment

    def use(self, segment: Segment) -> None:
        if segment not in self._opened:
            self._opened.append(segment)
        if len(self._opened) > FILES_OPEN_MAX:
            self._opened = [
                each for each in self._opened if each is segment or not each.close_if_free()
            ]

    def create(self, base: int, salt: int) -> Segment:
        name = f"{base:020}-{salt:08x}{SUFFIX}"
        segment = Segment(self.disk, self.directory / name, base=base, salt=salt)
        try:
            segment.create()
        except FileExistsError:
            raise  # it is not ours
        except OSError:
            # Made, and then not opened? The next try has another name, and two of one base would
            # hide each other.
            with suppress(OSError):
                self.disk.remove(segment.path)
            raise
        segment.pin()
        if self.row:
            self.active.unpin()
        self.row.append(segment)
        self.use(segment)
        return segment

    def remove(self, segment: Segment) -> None:
        segment.close_if_free()  # Windows removes and replaces no open file
        self.disk.remove(segment.path)
        self.row.remove(segment)
        segment.retire()

    def replace(self, old: Segment, new: Segment) -> None:
        """`new` takes the place and the name of `old`, in one step."""
        new.close()
        old.close_if_free()
        self.disk.rename(new.path, old.path)
        new.path = old.path
        self.row[self.row.index(old)] = new
        old.retire()

    def close(self) -> None:
        for segment in self.row:
            segment.close()
