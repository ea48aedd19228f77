"""The files of snapshots: made here, sent in chunks, received in chunks, proven before use.

    | crc u32 | length u32 | piece |  ...  | crc u32 | END |

A piece is what the state machine gave at once. Each CRC32C continues that of the piece before, so
that a piece that is damaged, missing or out of order is told of, whosever disk it comes from. The
file's name has its mark's index and term; the rest of the mark lies in the log.

    taken, or received     42-7.coming       may be there after a crash, and is thrown away
    synced and proven      42-7.snapshot     by a rename; counts once the log has its mark
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import closing, suppress
from pathlib import Path

import google_crc32c

from bastide.base import faults
from bastide.base.rt.disk import Disk, File
from bastide.parts.raft.contract import GroupFailed, SnapshotMark

SUFFIX = ".snapshot"
COMING_SUFFIX = ".coming"
END = 0xFFFFFFFF
_HEAD = struct.Struct("<II")


def name_of(mark: SnapshotMark) -> str:
    return f"{mark.index}-{mark.term}"


class SnapshotDamaged(GroupFailed):
    """A snapshot's file is not as it was written."""


class SnapshotFiles:
    def __init__(self, disk: Disk, directory: Path) -> None:
        self._disk = disk
        self._directory = directory
        self._reading: dict[str, File] = {}
        self._coming: Coming | None = None

    def _path(self, mark: SnapshotMark, suffix: str = SUFFIX) -> Path:
        return self._directory / (name_of(mark) + suffix)

    def remove_all_but(self, marks: Collection[SnapshotMark]) -> None:
        """Older ones go, and what a crash left unfinished."""
        kept = {self._path(mark).name for mark in marks}
        for name in self._disk.list_directory(self._directory):
            if name not in kept and name.endswith((SUFFIX, COMING_SUFFIX)):
                if file := self._reading.pop(name, None):
                    file.close()
                if self._coming is None or self._coming.path.name != name:
                    self._disk.remove(self._directory / name)

    def close(self) -> None:
        self.drop_coming()
        for file in self._reading.values():
            file.close()
        self._reading.clear()

    # --- making ---------------------------------------------------------------------------------

    async def make(self, mark: SnapshotMark, pieces: Iterable[bytes]) -> SnapshotMark:
        """A synced file of `pieces`, drawn one by one, with a turn of the loop after each.

        Raises:
            OSError: nothing is left of it.
        """
        coming = Coming(self._disk, self._path(mark, COMING_SUFFIX), mark)
        try:
            await coming.write_pieces(pieces)
            await self._keep(coming)
        except BaseException:
            coming.drop()
            raise
        return SnapshotMark(mark.index, mark.term, mark.members, coming.size)

    async def _keep(self, coming: "Coming") -> None:
        faults.point("raft.snapshot_written")
        await coming.file.sync()
        faults.point("raft.snapshot_synced")
        coming.close()
        self._disk.rename(coming.path, self._path(coming.mark))
        faults.point("raft.snapshot_renamed")
        await self._disk.sync_directory(self._directory)

    # --- receiving ------------------------------------------------------------------------------

    def keep_chunk(self, mark: SnapshotMark, at: int, content: bytes) -> int:
        """Up to where the snapshot of `mark` is there now: less than was given if a chunk is
        missing, or if there was no room.
        """
        if at == 0:
            self.drop_coming()
            self._coming = Coming(self._disk, self._path(mark, COMING_SUFFIX), mark)
        coming = self._coming
        if coming is None or coming.mark != mark:
            return 0
        if at == coming.size:
            coming.write(content)
            faults.point("raft.chunk_written")
        return coming.size

    async def finish_coming(self, mark: SnapshotMark) -> None:
        """Proves what has come, and gives it its name, durably.

        Raises:
            SnapshotDamaged: it is not what the leader has; nothing is left of it.
        """
        coming, self._coming = self._coming, None
        assert coming is not None
        assert coming.mark == mark
        try:
            if coming.size != mark.bytes_count:
                raise SnapshotDamaged(f"{coming.size} bytes came of {mark.bytes_count}")
            async for _ in _pieces(coming.file, coming.path.name, mark.bytes_count):
                pass
            await self._keep(coming)
        except BaseException:
            coming.drop()
            raise

    def drop_coming(self) -> None:
        if self._coming:
            self._coming.drop()
            self._coming = None

    # --- reading --------------------------------------------------------------------------------

    async def pieces(self, mark: SnapshotMark) -> AsyncIterator[bytes]:
        """
        Raises:
            SnapshotDamaged: it is missing, or not as it was written.
        """
        path = self._path(mark)
        try:
            file = self._disk.open_to_read(path)
        except FileNotFoundError:
            raise SnapshotDamaged(f"the snapshot {path.name} is missing") from None
        with closing(file):
            if file.size() != mark.bytes_count:
                raise SnapshotDamaged(
                    f"{path.name} has {file.size()} bytes; {mark.bytes_count} were written"
                )
            async for piece in _pieces(file, path.name, mark.bytes_count):
                yield piece

    def read_chunk(self, mark: SnapshotMark, at: int, end: int) -> bytes | None:
        """None: it is gone."""
        path = self._path(mark)
        file = self._reading.get(path.name)
        if file is None:
            if not self._disk.exists(path):
                return None
            file = self._reading[path.name] = self._disk.open_to_read(path)
        return file.read(end - at, at=at)


class Coming:
    """A file that is not whole yet."""

    def __init__(self, disk: Disk, path: Path, mark: SnapshotMark) -> None:
        if disk.exists(path):
            disk.remove(path)
        self.path = path
        self.mark = mark
        self.file = disk.open(path, create=True)
        self.size = 0
        self._disk = disk
        self._is_closed = False

    async def write_pieces(self, pieces: Iterable[bytes]) -> None:
        crc = 0
        for piece in pieces:
            crc = google_crc32c.extend(crc, piece)
            self.write(_HEAD.pack(crc, len(piece)) + piece)
            await asyncio.sleep(0)
        self.write(_HEAD.pack(crc, END))

    def write(self, content: bytes) -> None:
        self.file.write([content], at=self.size)
        self.size += len(content)

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self.file.close()

    def drop(self) -> None:
        self.close()
        with suppress(OSError):  # it has its name already, or the disk is gone
            self._disk.remove(self.path)


async def _pieces(file: File, name: str, size: int) -> AsyncIterator[bytes]:
    crc, at = 0, 0
    while at + _HEAD.size <= size:
        wanted, length = _HEAD.unpack(file.read(_HEAD.size, at=at))
        if length == END:
            if wanted != crc or at + _HEAD.size != size:
                break
            return
        at += _HEAD.size
        piece = file.read(length, at=at) if length <= size - at else b""
        crc = google_crc32c.extend(crc, piece)
        if len(piece) != length or crc != wanted:
            break
        at += length
        yield piece
        await asyncio.sleep(0)
    raise SnapshotDamaged(f"{name} is damaged near byte {at}")
