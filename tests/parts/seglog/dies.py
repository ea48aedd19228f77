"""Run by test_crash: for each `point:nth`, a child uses a log until it dies there by kill -9."""

import asyncio
import os
import sys
from pathlib import Path

from bastide.base import faults
from bastide.parts.seglog.contract import Options
from bastide.parts.seglog.core import Record
from bastide.parts.seglog.log import open_seglog


def value(offset: int) -> bytes:
    return f"value {offset} ".encode() * (1 + offset % 4)


async def use(place: Path, point: str, nth: int) -> None:
    hits = 0

    def happens() -> None:
        nonlocal hits
        hits += 1
        if hits == nth:
            faults.crashing()()

    acked = os.open(place / "acked", os.O_WRONLY | os.O_CREAT)
    with faults.armed(point, happens):
        async with open_seglog(place / "log", Options(segment_bytes=1 << 10)) as log:
            for turn in range(12):
                first = log.next_offset
                count = 1 + turn % 5
                last = log.append(
                    [Record(value(n), b"%d" % (n % 3)) for n in range(first, first + count)]
                )
                await (log.synced if turn % 3 == 0 else log.written)(last)
                last = log.append_now(value(last + 1))
                os.write(acked, b"%d\n" % (last + 1))
            await log.synced(last)
            if point == "seglog.trimmed":
                await log.trim(bytes_max=0)
            (place / "compacting").touch()
            await log.compact()


def main() -> None:
    root = Path(sys.argv[1])
    for argument in sys.argv[2:]:
        point, nth = argument.split(":")
        place = root / argument
        place.mkdir()
        child = os.fork()
        if child == 0:
            asyncio.run(use(place, point, int(nth)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(argument, os.waitstatus_to_exitcode(status), flush=True)


main()
