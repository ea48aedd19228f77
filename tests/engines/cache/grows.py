"""A program that fills a cache, and goes on: prints its bound, what it accounts, how much it grew.

python grows.py VALUE_BYTES_MAX
"""

import asyncio
import sys
from pathlib import Path
from random import Random

from bastide.engines.cache.backends.memory import MemoryStore

BOUND = 24 << 20
ROUNDS = 3  # times as much is put as fits, by random keys and sizes


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def main(value_bytes_max: int) -> None:
    chance = Random(7)
    store = MemoryStore(BOUND)
    before = resident_bytes()
    fits = BOUND // (430 + value_bytes_max // 2)
    for _ in range(ROUNDS * fits):
        key = f"link:{chance.randrange(4 * fits):09}"
        if store.near(key) is None:
            await store.put(key, chance.randbytes(chance.randint(0, value_bytes_max)), 60)
    print(BOUND, store.near_bytes, resident_bytes() - before)


asyncio.run(main(int(sys.argv[1])))
