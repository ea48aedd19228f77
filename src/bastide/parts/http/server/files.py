"""A file to a socket by the kernel, without a copy through this process.

The loop's transport and we write to the same socket, so its buffer is emptied first. We write by a
descriptor of our own. The transport may close its one while we wait, and the kernel gives that
number to the next client, who would get the rest of the file. And where the kernel takes no more,
the loop tells when it does: it watches a descriptor only for its owner.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from errno import ECONNABORTED

from bastide.base.rt.disk import File

AT_ONCE_BYTES = 1 << 20  # before others have a turn
READ_BYTES = 256 * 1024


class FileShort(Exception):
    """The file has lost its end since its length was told."""


def descriptor_of(file: File) -> int | None:
    """None: the kernel can't send it; it is to be read."""
    if not hasattr(os, "sendfile"):
        return None
    try:
        return file.fileno()
    except OSError:  # a simulated one
        return None


async def send_part(to: int, descriptor: int, at: int, count: int, *, stall_s: float) -> None:
    """To the transport's socket `to`.

    Raises:
        TimeoutError: nothing was taken for `stall_s`.
        FileShort. OSError: the client has gone, or the transport has closed.
    """
    own = os.dup(to)
    try:
        end = at + count
        while at < end:
            _check_open(to, own)
            try:
                sent = os.sendfile(own, descriptor, at, min(end - at, AT_ONCE_BYTES))
            except BlockingIOError:
                await _writable(own, stall_s)
                continue
            if not sent:
                raise FileShort(f"{end - at} bytes are missing")
            at += sent
            if at < end:
                await asyncio.sleep(0)
    finally:
        os.close(own)


def _check_open(to: int, own: int) -> None:
    """Whether the transport still has the socket that we have."""
    if not os.path.sameopenfile(to, own):
        raise OSError(ECONNABORTED, os.strerror(ECONNABORTED))


async def read_part(file: File, at: int, count: int) -> AsyncGenerator[bytes, None]:
    """
    Raises:
        FileShort
    """
    end = at + count
    while at < end:
        piece = file.read(min(READ_BYTES, end - at), at=at)
        if not piece:
            raise FileShort(f"{end - at} bytes are missing")
        at += len(piece)
        yield piece
        await asyncio.sleep(0)  # others have a turn, also if nobody takes this


async def _writable(descriptor: int, stall_s: float) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(descriptor, _tell, ready)
    try:
        async with asyncio.timeout(stall_s):
            await ready
    finally:
        loop.remove_writer(descriptor)


def _tell(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
