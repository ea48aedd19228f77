"""SQLite on the runtime's disk, when that is not the machine's: so `sql` is simulated whole.

    writer's connection ─┐                        ┌─ bytes, lengths, syncs, names ──► Disk
    reader's connection ─┼─► SQLite ─► DiskVfs ───┤
    scans' connections ──┘                        └─ locks, shared memory ──► unix-excl, on an
                                                      empty file that holds nothing else

Idea: a log needs locks and a piece of memory that all connections share, and apsw lets nobody write
those in Python. But a file of a VFS that stands on another one inherits them. SQLite's `unix-excl`
keeps that memory on the heap, for one process that has the file to itself; so it gets an empty file
to lock, and every byte goes to the disk. Nothing else differs from the real one: the same log, the
same connections, readers beside the writer.

A node that begins again has another Disk, so another VFS with another file to lock: locks and
shared memory of the dead are not there, and SQLite recovers the log.

What SQLite's own `unix` does for durability is done here too: the first sync of a log or journal
brings down its directory with it, and sectors are said to be overwritten safely.

SQLite can't wait for a coroutine, so the disk must have `sync_now` and `sync_directory_now`. Not
simulated: time that a sync takes, and the salts in the log, which SQLite draws for itself. Needs a
POSIX system.
"""

import errno
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from itertools import count
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar, runtime_checkable
from weakref import WeakKeyDictionary, ref

import apsw

from bastide.base.manifest import Miswired
from bastide.base.rt.disk import Disk, File, SystemDisk

Given = ParamSpec("Given")
T = TypeVar("T")

BASE = "unix-excl"
PAGE_BYTES = 4096  # what SQLite's `unix` says of every disk
LOCKS = Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108 (the names can't be guessed)
_SECRET = os.urandom(8).hex()
_SERIALS = count(1)


class FileNow(File, Protocol):
    def sync_now(self) -> None:
        """As `sync`; done when it returns."""
        ...


@runtime_checkable
class DiskNow(Disk, Protocol):
    def open(self, path: Path, *, create: bool = False) -> FileNow: ...

    def sync_directory_now(self, path: Path) -> None: ...


def vfs_name(disk: Disk) -> str | None:
    """The VFS that keeps files on `disk`; None is SQLite's own, for the machine's."""
    if isinstance(disk, SystemDisk):
        return None
    if not isinstance(disk, DiskNow):
        raise Miswired(f"{type(disk).__name__} can't sync at once, as SQLite needs it")
    found = _made.get(disk)
    if found is None:
        found = _made[disk] = DiskVfs(disk)
    return found.name


def _failing(code: int) -> Callable[[Callable[Given, T]], Callable[Given, T]]:
    """SQLite is told `code` of an OSError; but of a full disk, that it is full."""

    def decorated(function: Callable[Given, T]) -> Callable[Given, T]:
        @wraps(function)
        def called(*args: Given.args, **kwargs: Given.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except OSError as error:
                full = error.errno == errno.ENOSPC
                told = apsw.exception_for(apsw.SQLITE_FULL if full else code)
                told.args = (str(error),)
                raise told from error

        return called

    return decorated


class DiskVfs(apsw.VFS):
    """Holds its disk weakly: files that are open keep it, and `_made` keeps this as long."""

    def __init__(self, disk: DiskNow) -> None:
        self.name = f"disk-{next(_SERIALS)}"
        self._disk = ref(disk)
        self._users: Counter[Path] = Counter()
        super().__init__(self.name, BASE)

    @property
    def disk(self) -> DiskNow:
        disk = self._disk()
        assert disk is not None
        return disk

    @_failing(apsw.SQLITE_CANTOPEN)
    def xOpen(  # type: ignore[override] # noqa: N802 (SQLite's name; any object with its methods)
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> "DiskFile":
        if isinstance(name, apsw.URIFilename):
            name = name.filename()
        path = Path(name or f"/{self.name}-temporary-{next(_SERIALS)}")
        if flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            return SharedFile(self, path, flags)
        return DiskFile(self, path, flags)

    @_failing(apsw.SQLITE_IOERR_ACCESS)
    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802 (SQLite's name)
        return self.disk.exists(Path(pathname))

    @_failing(apsw.SQLITE_IOERR_DELETE)
    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 (SQLite's name)
        path = Path(filename)
        if not self.disk.exists(path):
            raise apsw.exception_for(apsw.SQLITE_IOERR_DELETE_NOENT)
        self.disk.remove(path)
        if syncdir:
            self.disk.sync_directory_now(path.parent)

    def xFullPathname(self, name: str) -> str:  # noqa: N802 (SQLite's name)
        return name

    def xSleep(self, microseconds: int) -> int:  # noqa: N802 (SQLite's name)
        """Who waits here for a lock holds up the thread that would let it go."""
        return microseconds

    def opened(self, path: Path, flags: list[int]) -> FileNow:
        create = flags[0] & apsw.SQLITE_OPEN_CREATE and not self.disk.exists(path)
        return self.disk.open(path, create=bool(create))

    def lock_of(self, path: Path) -> str:
        """The empty file whose locks and shared memory stand for those of `path`."""
        return str(LOCKS / f"bastide-{_SECRET}-{self.name}{str(path).replace('/', '-')}")

    def shared(self, path: Path) -> None:
        self._users[path] += 1

    def left(self, path: Path) -> None:
        self._users[path] -= 1
        if not self._users[path]:
            super().xDelete(self.lock_of(path), False)


class DiskFile:
    """A log, a journal, or what SQLite keeps for a while."""

    def __init__(self, vfs: DiskVfs, path: Path, flags: list[int]) -> None:
        flags[1] = flags[0]
        self._vfs = vfs
        self._path = path
        self._file = vfs.opened(path, flags)
        self._passing = bool(flags[0] & apsw.SQLITE_OPEN_DELETEONCLOSE)
        self._name_unsynced = bool(
            flags[0] & (apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL)
        )

    @_failing(apsw.SQLITE_IOERR_READ)
    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 (SQLite's name)
        return self._file.read(amount, at=offset)

    @_failing(apsw.SQLITE_IOERR_WRITE)
    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 (SQLite's name)
        self._file.write([data], at=offset)

    @_failing(apsw.SQLITE_IOERR_FSYNC)
    def xSync(self, flags: int) -> None:  # noqa: N802 (SQLite's name)
        self._file.sync_now()
        if self._name_unsynced:
            self._vfs.disk.sync_directory_now(self._path.parent)
            self._name_unsynced = False

    @_failing(apsw.SQLITE_IOERR_TRUNCATE)
    def xTruncate(self, newsize: int) -> None:  # noqa: N802 (SQLite's name)
        self._file.truncate(newsize)

    @_failing(apsw.SQLITE_IOERR_FSTAT)
    def xFileSize(self) -> int:  # noqa: N802 (SQLite's name)
        return self._file.size()

    def xFileControl(self, op: int, ptr: int) -> bool:  # noqa: N802 (SQLite's name)
        return False  # it knows none

    def xSectorSize(self) -> int:  # noqa: N802 (SQLite's name)
        return PAGE_BYTES

    def xDeviceCharacteristics(self) -> int:  # noqa: N802 (SQLite's name)
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE

    def xClose(self) -> None:  # noqa: N802 (SQLite's name)
        with suppress(OSError):  # of a node that is dead
            self._file.close()
            if self._passing:
                self._vfs.disk.remove(self._path)


class SharedFile(DiskFile, apsw.VFSFile):
    """A database: its locks and the memory for its log's index are those of an empty file."""

    def __init__(self, vfs: DiskVfs, path: Path, flags: list[int]) -> None:
        DiskFile.__init__(self, vfs, path, flags)
        apsw.VFSFile.__init__(self, BASE, vfs.lock_of(path), flags)
        vfs.shared(path)

    def xClose(self) -> None:  # noqa: N802 (SQLite's name)
        apsw.VFSFile.xClose(self)
        DiskFile.xClose(self)
        self._vfs.left(self._path)


class DiskConnection(apsw.Connection):
    """Nobody closes that of a node which was killed. Its disk refuses then, and none is to know."""

    def __del__(self) -> None:
        with suppress(apsw.Error):
            self.close(True)


@contextmanager
def second_errors_untold() -> Iterator[None]:
    """SQLite sometimes goes on after an error while it opens a file. apsw raises the first one, and
    has nobody to tell the second to.
    """
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = hook


_made: WeakKeyDictionary[DiskNow, DiskVfs] = WeakKeyDictionary()
