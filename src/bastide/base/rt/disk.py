"""Files, as a simulator can offer them too: bytes written are kept by a crash only after `sync`.

What POSIX promises, and no more: `write` reaches the page cache, so it survives the process but not
the machine; `sync` makes a file's bytes and length durable; a new, renamed or removed name is
durable after `sync_directory`. Only `sync` and `sync_directory` wait, and they wait off the loop.
"""

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Protocol

WRITEV_MAX = 512  # buffers a call; IOV_MAX is 1024 on Linux and macOS
SYNC_THREADS = 4
_FLAGS = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


_Asked = tuple[Callable[[], None], asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class File(Protocol):
    """Open for reading and writing at any place. One owner; not for two threads."""

    def write(self, buffers: Sequence[bytes], *, at: int) -> None:
        """All `buffers`, in order, from byte `at` on; or OSError, with a part written."""
        ...

    def read(self, count: int, *, at: int) -> bytes:
        """`count` bytes from `at`; fewer only at the end of the file."""
        ...

    async def sync(self) -> None:
        """Every byte and the length are durable when this returns. After an OSError nothing is
        known.
        """
        ...

    def truncate(self, size: int) -> None: ...

    def size(self) -> int: ...

    def modified_s(self) -> int:
        """Seconds since 1970 of its last change."""
        ...

    def fileno(self) -> int:
        """For `os.sendfile`. A simulated file has none and raises OSError."""
        ...

    def close(self) -> None: ...


class Disk(Protocol):
    def open(self, path: Path, *, create: bool = False) -> File:
        """`create` makes the file, and refuses one that is there (FileExistsError)."""
        ...

    def open_to_read(self, path: Path) -> File:
        """Also one that may not be written."""
        ...

    def exists(self, path: Path) -> bool: ...

    def list_directory(self, path: Path) -> list[str]:
        """Names, sorted."""
        ...

    def make_directory(self, path: Path) -> None:
        """With its parents; one that is there is no error."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Replaces `target`, in one step."""
        ...

    def remove(self, path: Path) -> None: ...

    async def sync_directory(self, path: Path) -> None: ...


class SyncThreads:
    """Up to SYNC_THREADS threads that wait for the disk, so that the loop does not.

    `loop.run_in_executor` does this too; it takes two futures, a lock and 12 us more for each sync.
    """

    def __init__(self) -> None:
        self._asked: SimpleQueue[_Asked] = SimpleQueue()
        self._threads: list[Thread] = []
        self._waiting = 0

    async def run(self, call: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting += 1
        if len(self._threads) < min(self._waiting, SYNC_THREADS):
            self._threads.append(Thread(target=self._serve, name="sync", daemon=True))
            self._threads[-1].start()
        self._asked.put((call, loop, future))
        try:
            await future
        finally:
            self._waiting -= 1

    def _serve(self) -> None:
        while True:
            call, loop, future = self._asked.get()
            error = _error_of(call)
            with suppress(RuntimeError):  # the loop was closed: nobody waits
                loop.call_soon_threadsafe(_tell, future, error)


def _error_of(call: Callable[[], None]) -> OSError | None:
    try:
        call()
    except OSError as error:
        return error
    return None


def _tell(future: asyncio.Future[None], error: OSError | None) -> None:
    if future.done():  # who waited was cancelled
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


class SystemFile:
    def __init__(self, descriptor: int, threads: "SyncThreads") -> None:
        self._descriptor = descriptor
        self._threads = threads

    def write(self, buffers: Sequence[bytes], *, at: int) -> None:
        for first in range(0, len(buffers), WRITEV_MAX):
            at += self._write_some(buffers[first : first + WRITEV_MAX], at)

    def _write_some(self, buffers: Sequence[bytes], at: int) -> int:
        wanted = sum(map(len, buffers))
        written = _write_at(self._descriptor, buffers, at)
        while written < wanted:  # rare: a signal, or a disk about to be full
            rest = b"".join(buffers)[written:]
            more = _write_at(self._descriptor, [rest], at + written)
            if more == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written += more
        return wanted

    def read(self, count: int, *, at: int) -> bytes:
        found = _read_at(self._descriptor, count, at)
        while found and len(found) < count:
            more = _read_at(self._descriptor, count - len(found), at + len(found))
            if not more:
                break
            found += more
        return found

    async def sync(self) -> None:
        await self._threads.run(partial(_sync, self._descriptor))

    def truncate(self, size: int) -> None:
        os.truncate(self._descriptor, size)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def modified_s(self) -> int:
        return int(os.fstat(self._descriptor).st_mtime)

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        os.close(self._descriptor)


class SystemDisk:
    def __init__(self) -> None:
        self._threads = SyncThreads()

    def open(self, path: Path, *, create: bool = False) -> File:
        flags = os.O_RDWR | _FLAGS
        if create:
            flags |= os.O_CREAT | os.O_EXCL
        return SystemFile(os.open(path, flags, 0o600), self._threads)

    def open_to_read(self, path: Path) -> File:
        return SystemFile(os.open(path, os.O_RDONLY | _FLAGS), self._threads)

    def exists(self, path: Path) -> bool:
        return path.exists()

    def list_directory(self, path: Path) -> list[str]:
        return sorted(os.listdir(path))

    def make_directory(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)

    def rename(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def remove(self, path: Path) -> None:
        os.remove(path)

    async def sync_directory(self, path: Path) -> None:
        if os.name == "nt":  # Windows has no such call; NTFS journals names by itself
            return
        await self._threads.run(partial(_sync_directory, path))


if hasattr(os, "pwritev"):

    def _write_at(descriptor: int, buffers: Sequence[bytes], at: int) -> int:
        return os.pwritev(descriptor, buffers, at)

    def _read_at(descriptor: int, count: int, at: int) -> bytes:
        return os.pread(descriptor, count, at)

else:  # Windows: one owner a file, so that seek and write need no lock

    def _write_at(descriptor: int, buffers: Sequence[bytes], at: int) -> int:
        os.lseek(descriptor, at, os.SEEK_SET)
        return os.write(descriptor, b"".join(buffers))

    def _read_at(descriptor: int, count: int, at: int) -> bytes:
        os.lseek(descriptor, at, os.SEEK_SET)
        return os.read(descriptor, count)


# fdatasync keeps the length too, whenever the length is needed to read the bytes back (POSIX).
_sync = getattr(os, "fdatasync", os.fsync)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
