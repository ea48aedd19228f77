"""A disk that can lose its power, fail, fill, rot and lie, as `base.rt.disk.Disk`.

    SimDisk ── names ──► inodes ──► sectors        one life: of a process, or of the machine
       │                    ▲
       ├─ kill()   the process dies: another disk with the same cache; nothing is lost
       └─ crash()  the machine loses power: another disk with what `inode` and `names` leave

Both end this disk: it is `dead`, and every operation on it and its files raises DiskGone, so that
a `finally` of a killed node has no effect. Whoever owns the node starts the next one on the disk
that they return. `killed` and `crashed` return it too, and leave this one as it is: for tests that
look at every moment. All chance comes from the dice, one draw after another, so a seed
repeats a crash.

Faults are off until somebody sets them in `faults`; they outlive a restart, as a bad drive does:

    failing     this operation raises this error, while it is set
    risk        this operation raises EIO with this probability
    sync_s      a sync takes between these seconds, by the loop's clock
    lost        a sync says that it is done, but one sector did not get there: with this probability
    misdirected the same, and that sector overwrote another

A write that fails leaves a part of itself, and so does one for which there is no room. A create
that fails leaves the name. A sync that fails has the semantics of `Inode.forget`.

`before` is called before each operation, with a write's place and bytes. It may call `die`: then
that operation does not happen. So a crash comes between any two operations, and since every write
that is not synced is torn anyway, within a write too.

SQLite can't wait inside a sync, so `sync_now` and `sync_directory_now` take no time.
"""

import asyncio
import errno
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from bastide.base.rt import runtime
from bastide.parts.sim.disk.inode import Dice, Inode
from bastide.parts.sim.disk.names import Change, Names

Operation = Literal[
    "open", "create", "rename", "remove", "read", "write", "truncate", "sync", "sync_directory"
]
Before = Callable[[Operation, Path, int, bytes], None]


class DiskGone(OSError):
    """Its owner is dead."""

    def __init__(self) -> None:
        super().__init__(errno.EIO, "the node that had this disk is dead")


class Faults:
    def __init__(self) -> None:
        self.failing: dict[Operation, OSError] = {}
        self.risk: dict[Operation, float] = {}
        self.sync_s = (0.0, 0.0)
        self.lost = 0.0
        self.misdirected = 0.0


class SimDisk:
    def __init__(
        self, dice: Dice, *, faults: Faults | None = None, room_bytes: int | None = None
    ) -> None:
        """`room_bytes` is what is left, and changes as files grow; None is without end."""
        self.faults = faults or Faults()
        self.room_bytes = room_bytes
        self.counts: Counter[Operation] = Counter()
        self.before: Before = _look_away
        self.dead = False
        self._dice = dice
        self._names = Names()

    @classmethod
    def of(cls, image: Mapping[Path, bytes], dice: Dice) -> "SimDisk":
        """A disk with these files, all durable."""
        disk = cls(dice)
        disk._names = Names({path: Inode(content) for path, content in image.items()})
        return disk

    @property
    def files(self) -> Mapping[Path, Inode]:
        """As a process sees them."""
        return self._names.now

    @property
    def durable_files(self) -> Mapping[Path, Inode]:
        """Those whose names a crash leaves for certain."""
        return self._names.durable

    # life and death

    def kill(self) -> "SimDisk":
        self.die()
        return self.killed()

    def crash(self) -> "SimDisk":
        self.die()
        return self.crashed()

    def die(self) -> None:
        self.dead = True

    def killed(self) -> "SimDisk":
        return self._next(self._names.copy())

    def crashed(self) -> "SimDisk":
        return self._next(self._names.torn(self._dice))

    def _next(self, names: Names) -> "SimDisk":
        room_bytes = self.room_bytes
        if room_bytes is not None:
            room_bytes = max(room_bytes + _size(self._names) - _size(names), 0)
        disk = SimDisk(self._dice, faults=self.faults, room_bytes=room_bytes)
        disk._names = names
        return disk

    def rot(self, path: Path, at: int, bit: int) -> None:
        """Flips a durable bit of a file."""
        self._names.now[path].rot(at, bit)

    # `base.rt.disk.Disk`

    def open(self, path: Path, *, create: bool = False) -> "SimFile":
        self._admit("create" if create else "open", path)
        if not create:
            self._raise_drawn("open")
            return SimFile(self, path, self._found(path))
        if path in self._names.now or path in self._names.directories:
            raise _error(errno.EEXIST, path)
        self._check_directory(path.parent)
        if self.room_bytes == 0:
            raise _error(errno.ENOSPC, path)
        inode = Inode()
        inode.changed_ms = runtime.now_ms()
        self._names.name(path, inode)
        self._raise_drawn("create")
        return SimFile(self, path, inode)

    def open_to_read(self, path: Path) -> "SimFile":
        self._admit("open", path)
        self._raise_drawn("open")
        return SimFile(self, path, self._found(path), read_only=True)

    def exists(self, path: Path) -> bool:
        self._check_alive()
        return path in self._names.now or path in self._names.directories

    def list_directory(self, path: Path) -> list[str]:
        self._check_alive()
        self._check_directory(path)
        return self._names.list_(path)

    def make_directory(self, path: Path) -> None:
        self._check_alive()
        for each in (path, *path.parents):
            if each in self._names.now:
                raise _error(errno.EEXIST, each)
        self._names.make_directory(path)

    def rename(self, source: Path, target: Path) -> None:
        self._admit("rename", source)
        inode = self._found(source)
        if target in self._names.directories:
            raise _error(errno.EISDIR, target)
        if source.parent != target.parent:
            raise _error(errno.EXDEV, target)
        self._raise_drawn("rename")
        replaced = self._names.now.get(target)
        self._names.name(target, inode)
        if replaced is not None and replaced is not inode:
            self._take_room(-len(replaced.content))

    def remove(self, path: Path) -> None:
        self._admit("remove", path)
        self._found(path)
        self._raise_drawn("remove")
        self._take_room(-len(self._names.remove(path).content))

    async def sync_directory(self, path: Path) -> None:
        changes = self._directory_sync_begun(path)
        await self._wait()
        self._check_alive()
        self._names.settle(changes)

    def sync_directory_now(self, path: Path) -> None:
        self._names.settle(self._directory_sync_begun(path))

    def _directory_sync_begun(self, path: Path) -> list[Change]:
        self._admit("sync_directory", path)
        self._check_directory(path)
        self._raise_drawn("sync_directory")
        return self._names.pending(path)

    def _found(self, path: Path) -> Inode:
        if path in self._names.directories:
            raise _error(errno.EISDIR, path)
        inode = self._names.now.get(path)
        if inode is None:
            raise _error(errno.ENOENT, path)
        return inode

    def _check_directory(self, path: Path) -> None:
        if path not in self._names.directories:
            raise _error(errno.ENOENT, path)

    # what its files share; they are of this module

    def _admit(self, operation: Operation, path: Path, at: int = 0, data: bytes = b"") -> None:
        self._check_alive()
        self.counts[operation] += 1
        self.before(operation, path, at, data)
        self._check_alive()

    def _check_alive(self) -> None:
        if self.dead:
            raise DiskGone

    def _drawn(self, operation: Operation) -> OSError | None:
        """The error that this operation meets."""
        error = self.faults.failing.get(operation)
        risk = self.faults.risk.get(operation, 0.0)
        if error is None and risk and self._dice.random() < risk:
            return OSError(errno.EIO, os.strerror(errno.EIO))
        return error

    def _raise_drawn(self, operation: Operation) -> None:
        error = self._drawn(operation)
        if error is not None:
            raise error

    def _write(self, inode: Inode, data: bytes, at: int) -> None:
        """All of it, or an error and a part."""
        error, fits = self._drawn("write"), len(data)
        if error is not None:
            fits = self._dice.randrange(len(data) + 1)
        if self.room_bytes is not None:
            room = max(self.room_bytes + len(inode.content) - at, 0)
            if room < fits:
                error, fits = _error(errno.ENOSPC), room
        self._take_room(max(at + fits - len(inode.content), 0) if fits else 0)
        if fits:
            inode.write(data[:fits], at)
            inode.changed_ms = runtime.now_ms()
        if error is not None:
            raise error

    def _take_room(self, size_bytes: int) -> None:
        if self.room_bytes is not None:
            self.room_bytes -= size_bytes

    async def _wait(self) -> None:
        """As long as a sync takes. Others go on meanwhile."""
        low_s, high_s = self.faults.sync_s
        span_s = high_s - low_s
        await asyncio.sleep(low_s + span_s * self._dice.random() if span_s else low_s)

    def _sync(self, inode: Inode, until: int) -> None:
        """The end of the inode's sync `until`."""
        self._check_alive()
        error = self._drawn("sync")
        if error is not None:
            inode.forget(until, lambda: self._dice.random() < 0.5)
            raise error
        self._lie(inode, until)
        inode.settle(until)

    def _lie(self, inode: Inode, until: int) -> None:
        for risk, misdirected in ((self.faults.lost, False), (self.faults.misdirected, True)):
            dirty = inode.dirty(until) if risk and self._dice.random() < risk else []
            if dirty:
                sector = dirty[self._dice.randrange(len(dirty))]
                if misdirected:
                    inode.misdirect(sector, self._dice.randrange(inode.sector_count), until)
                else:
                    inode.lose(sector, until)


class SimFile:
    """`base.rt.disk.File`."""

    def __init__(self, disk: SimDisk, path: Path, inode: Inode, *, read_only: bool = False) -> None:
        self._disk = disk
        self._path = path
        self._inode = inode
        self._read_only = read_only
        self._closed = False

    def write(self, buffers: Sequence[bytes], *, at: int) -> None:
        data = b"".join(buffers)
        self._begin_change("write", at, data)
        self._disk._write(self._inode, data, at)

    def read(self, count: int, *, at: int) -> bytes:
        self._begin("read")
        self._disk._raise_drawn("read")
        return bytes(self._inode.content[at : at + count])

    async def sync(self) -> None:
        self._begin("sync")
        until = self._inode.begin_sync()
        await self._disk._wait()
        self._disk._sync(self._inode, until)

    def sync_now(self) -> None:
        """For who can't wait."""
        self._begin("sync")
        self._disk._sync(self._inode, self._inode.begin_sync())

    def truncate(self, size: int) -> None:
        self._begin_change("truncate", size)
        self._disk._raise_drawn("truncate")
        grown = size - len(self._inode.content)
        if self._disk.room_bytes is not None and grown > self._disk.room_bytes:
            raise _error(errno.ENOSPC, self._path)
        self._disk._take_room(grown)
        self._inode.truncate(size)
        self._inode.changed_ms = runtime.now_ms()

    def size(self) -> int:
        self._check_open()
        return len(self._inode.content)

    def modified_s(self) -> int:
        self._check_open()
        return self._inode.changed_ms // 1000

    def fileno(self) -> int:
        raise _error(errno.EBADF, self._path)

    def close(self) -> None:
        self._check_open()
        self._closed = True

    def _begin_change(self, operation: Operation, at: int, data: bytes = b"") -> None:
        if self._read_only:
            raise _error(errno.EBADF, self._path)
        self._begin(operation, at, data)

    def _begin(self, operation: Operation, at: int = 0, data: bytes = b"") -> None:
        self._check_open()
        self._disk._admit(operation, self._path, at, data)

    def _check_open(self) -> None:
        self._disk._check_alive()
        if self._closed:
            raise _error(errno.EBADF, self._path)


def _look_away(_operation: Operation, _path: Path, _at: int, _data: bytes) -> None:
    pass


def _size(names: Names) -> int:
    return sum(len(inode.content) for inode in names.now.values())


def _error(number: int, path: Path | None = None) -> OSError:
    return OSError(number, os.strerror(number), *([str(path)] if path else []))
