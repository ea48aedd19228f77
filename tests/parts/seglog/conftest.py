"""A disk in memory that can be filled, fail, be killed and lose its power, and a log on it."""

import asyncio
import errno
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bastide.base.rt import runtime
from bastide.base.rt.clock import ManualClock
from bastide.base.rt.disk import Disk, File
from bastide.base.rt.runtime import Chance, Runtime

ROUNDS = int(os.environ.get("BASTIDE_TEST_ROUNDS", "1"))
SECTOR = 512


class Inode:
    """`durable` is what a power cut leaves for certain; `content` is the page cache."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.durable = b""


class MemoryDisk(Disk):
    def __init__(self) -> None:
        self.names: dict[Path, Inode] = {}
        self.durable_names: dict[Path, Inode] = {}
        self.room_bytes: int | None = None
        self.failing_write: OSError | None = None
        self.failing_sync: OSError | None = None
        self.failing_open: OSError | None = None
        self.failing_create: OSError | None = None
        self.failing_directory_sync: OSError | None = None
        self.sync_count = 0
        self.write_count = 0
        self.on_write: Callable[[Path, int, bytes], None] = lambda path, at, data: None

    def open(self, path: Path, *, create: bool = False) -> File:
        if self.failing_open:
            raise self.failing_open
        if create:
            if path in self.names:
                raise FileExistsError(path)
            if self.room_bytes == 0:
                raise OSError(errno.ENOSPC, "no room")
            self.names[path] = Inode()
            if self.failing_create:
                raise self.failing_create  # the name stays, as the worst of systems might leave it
        elif path not in self.names:
            raise FileNotFoundError(path)
        return MemoryFile(self, path, self.names[path])

    def exists(self, path: Path) -> bool:
        return path in self.names

    def list_directory(self, path: Path) -> list[str]:
        return sorted(each.name for each in self.names if each.parent == path)

    def make_directory(self, path: Path) -> None:
        pass

    def rename(self, source: Path, target: Path) -> None:
        self.names[target] = self.names.pop(source)

    def remove(self, path: Path) -> None:
        inode = self.names.pop(path)
        if self.room_bytes is not None:
            self.room_bytes += len(inode.content)

    async def sync_directory(self, path: Path) -> None:
        if self.failing_directory_sync:
            raise self.failing_directory_sync
        self.count_sync()
        self.durable_names = dict(self.names)

    def count_sync(self) -> None:
        self.sync_count += 1
        if self.failing_sync:
            raise self.failing_sync

    def killed(self) -> "MemoryDisk":
        """A copy of what is there now, as the next process finds it."""
        return self.of({path: bytes(inode.content) for path, inode in self.names.items()})

    @classmethod
    def of(cls, image: dict[Path, bytes]) -> "MemoryDisk":
        disk = cls()
        for path, content in image.items():
            disk.names[path] = inode = Inode()
            inode.content[:] = content
            inode.durable = content
        disk.durable_names = dict(disk.names)
        return disk

    def power_cut(self, chance: random.Random) -> "MemoryDisk":
        """Of what isn't synced, any sectors, any lengths and any names may be lost or be there."""
        image = {}
        for path, inode in self.durable_names.items():
            if path in self.names or chance.random() < 0.5:
                image[path] = _torn(inode, chance)
        for path, inode in self.names.items():
            if self.durable_names.get(path) is not inode and chance.random() < 0.5:
                image[path] = _torn(inode, chance)
        return self.of(image)


def _torn(inode: Inode, chance: random.Random) -> bytes:
    size = chance.choice([len(inode.durable), len(inode.content), len(inode.content)])
    old = inode.durable[:size].ljust(size, b"\0")
    new = bytes(inode.content[:size]).ljust(size, b"\0")
    kept = chance.choice([0.0, 0.5, 0.9])
    return b"".join(
        (new if chance.random() < kept else old)[at : at + SECTOR] for at in range(0, size, SECTOR)
    )


class MemoryFile(File):
    def __init__(self, disk: MemoryDisk, path: Path, inode: Inode) -> None:
        self.disk, self.path, self.inode = disk, path, inode
        self.closed = False

    def write(self, buffers: Sequence[bytes], *, at: int) -> None:
        assert not self.closed
        disk, content, data = self.disk, self.inode.content, b"".join(buffers)
        disk.write_count += 1
        disk.on_write(self.path, at, data)
        fits = data
        if disk.room_bytes is not None:
            fits = data[: max(disk.room_bytes + len(content) - at, 0)]
        if disk.failing_write:
            fits = data[: len(data) // 2]
        grown = max(at + len(fits) - len(content), 0)
        content[at : at + len(fits)] = fits
        if disk.room_bytes is not None:
            disk.room_bytes -= grown
        if disk.failing_write:
            raise disk.failing_write
        if len(fits) < len(data):
            raise OSError(errno.ENOSPC, "no room")

    def read(self, count: int, *, at: int) -> bytes:
        assert not self.closed
        return bytes(self.inode.content[at : at + count])

    async def sync(self) -> None:
        assert not self.closed
        content = bytes(self.inode.content)
        for _ in range(3):
            await asyncio.sleep(0)  # others go on meanwhile
        self.disk.count_sync()
        self.inode.durable = content

    def truncate(self, size: int) -> None:
        if self.disk.room_bytes is not None:
            self.disk.room_bytes += len(self.inode.content) - size
        del self.inode.content[size:]

    def size(self) -> int:
        return len(self.inode.content)

    def fileno(self) -> int:
        raise OSError(errno.EBADF, "in memory")

    def close(self) -> None:
        self.closed = True


class Disks:
    """Makes disks and lets the running test, and what it starts, run on one."""

    new = MemoryDisk
    of = staticmethod(MemoryDisk.of)
    rounds = ROUNDS

    def use(self, disk: Disk | None = None) -> ManualClock:
        clock = ManualClock()
        runtime.run_on(Runtime(disk=disk, clock=clock, chance=Chance(7)))
        return clock


@pytest.fixture
def disks() -> Disks:
    return Disks()
