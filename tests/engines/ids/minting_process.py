"""A process that mints until it is killed: every id goes to the file OUT before the next is made.

    python minting_process.py DATABASES OUT SEED

Its clock is set by up to an hour, again and again.
"""

import asyncio
import sys
from array import array
from contextlib import suppress
from pathlib import Path

from bastide.base.errors import Unavailable
from bastide.base.rt.clock import SystemClock
from bastide.base.rt.runtime import Chance, Runtime
from bastide.town import open_town

OFFSETS_MS = (-3_600_000, -1_000, 0, 0, 1_000, 3_600_000)
BLOCKS_A_CLOCK = 40
BLOCKS = (1, 50, 4096)
OPENINGS_MAX = 50


class SetClock(SystemClock):
    """The machine's, off by `offset_ms`."""

    offset_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.offset_ms


async def main(databases: Path, out: Path, seed: int) -> None:
    clock, random = SetClock(), Chance(seed).random
    clock.offset_ms = random.choice(OFFSETS_MS)
    settings = {
        "BASTIDE_SQL_URL": f"sqlite://{databases}",
        "BASTIDE_IDS_WORKER": "1",
        "BASTIDE_IDS_FENCE_AHEAD_MS": "200",
    }
    data = out.with_suffix(".data")
    async with open_town(["ids"], settings, runtime=Runtime(clock=clock), data=data) as town:
        ids = town.served("ids")
        with out.open("wb", buffering=0) as file:
            while True:
                for _ in range(BLOCKS_A_CLOCK):
                    with suppress(Unavailable):  # the fence is reached: another has the worker id
                        file.write(array("q", ids.block(random.choice(BLOCKS))).tobytes())
                    await asyncio.sleep(0.001)
                clock.offset_ms = random.choice(OFFSETS_MS)


def run() -> None:
    """Starts again while the database is just being made, or recovered, by another process: as an
    orchestrator would.
    """
    for _ in range(OPENINGS_MAX):
        with suppress(Unavailable):
            asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
    sys.exit("the database does not open")


run()
