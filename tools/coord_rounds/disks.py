"""What happens to a node's disk: no room, a torn end, a flipped bit.

Behind a kill of the process all that was written is still there, and what of it was synced can't be
seen. So nothing that is there is cut off: a torn end is put behind it, as the kernel leaves it of a
write that was under way. Its three forms are those of `parts/seglog`: less than a header, a batch
that ends too early, a sector of zeros.
"""

import errno
import os
import random
import subprocess
from pathlib import Path

from bastide.parts.seglog.core import HEADER_BYTES, SECTOR_BYTES

ROOM_BYTES = 48 << 20
FILL_BYTES = 1 << 16
FLIPPED_BYTES_MIN = 4096
"""Of a segment that is worth a flipped bit."""


def mount_small(directory: Path) -> str:
    """A file system of ROOM_BYTES; or why there is none."""
    if os.name != "posix" or os.geteuid() != 0:
        return "a small disk is mounted by root only"
    directory.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={ROOM_BYTES},mode=700", "tmpfs", str(directory)]
    told = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 (ours)
    return told.stderr.strip() if told.returncode else ""


def unmount(directory: Path) -> None:
    words = ["umount", "-l", str(directory)]
    subprocess.run(words, capture_output=True, check=False)  # noqa: S603 (ours)


def fill(directory: Path) -> Path:
    """The file that takes all the room."""
    path = directory / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(FILL_BYTES))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return path


def segments(directory: Path) -> list[Path]:
    """Oldest first."""
    return sorted((directory / "coord").glob("*.segment"))


def tear(directory: Path, chance: random.Random) -> str:
    """At the end of the newest segment, of a node that is down. What was done."""
    path = segments(directory)[-1]
    content = path.read_bytes()
    form = chance.choice(("header", "batch", "zeros"))
    if form == "header":
        torn = content[: chance.randint(1, HEADER_BYTES - 1)]
    elif form == "batch":
        # The last write is a batch and its mark. A header of a large payload, and less than that.
        torn = _begun(content) + chance.randbytes(chance.randint(1, 200))
    else:
        torn = bytes(SECTOR_BYTES * chance.randint(1, 3))
    with path.open("ab") as file:
        file.write(torn)
    return f"{len(torn)} bytes of a torn write ({form}) behind {path.name}"


def _begun(content: bytes) -> bytes:
    """The first batch's header, with a length that the file does not have."""
    header = bytearray(content[:HEADER_BYTES])
    header[12:16] = (1 << 20).to_bytes(4, "little")
    return bytes(header)


def flip(directory: Path, chance: random.Random) -> tuple[Path, int, int] | None:
    """A bit in the first half of a segment: the file, the byte and the bit; None: all are small."""
    large = [path for path in segments(directory) if path.stat().st_size > FLIPPED_BYTES_MIN]
    if not large:
        return None
    path = chance.choice(large)
    at, bit = chance.randrange(path.stat().st_size // 2), chance.randrange(8)
    flip_back(path, at, bit)
    return path, at, bit


def flip_back(path: Path, at: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))
