"""Files behind a door of our server."""

import asyncio
import os

import pytest

from bastide.base.gate import anyone
from bastide.base.routes.rows import File, Reply, route

LOOPS = ("asyncio", "uvloop")
DATA = "application/octet-stream"
OLD_S = 1_000_000_000
BUFFERS_BYTES_MAX = 32 << 20  # what the kernel may keep between two ends


def publishing(path, content_type=DATA, **file):
    """At /, a small reply at /next beside it."""

    def handle(_: object) -> File:
        return File(path, content_type, **file)

    def follow(_: object) -> Reply:
        return Reply(200, b"next")

    return [
        route("GET", "/", handle, allow=anyone),
        route("GET", "/next", follow, allow=anyone),
    ]


def make(path, content, *, modified_s=OLD_S):
    """A file that was last changed long ago."""
    path.write_bytes(content)
    os.utime(path, (modified_s, modified_s))
    return path


def numbers(count):
    """Bytes that tell where they stand."""
    return b"".join(b"%09d\n" % n for n in range(count // 10 + 1))[:count]


def run_on_loop(name, main):
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not for this platform")
    factory = uvloop.new_event_loop if name == "uvloop" else asyncio.SelectorEventLoop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
