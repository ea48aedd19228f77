"""A street that sells and records until it dies at a fault point, each acknowledgement on stdout.

python dies.py DIRECTORY POINT HIT FIRST    (settings by the environment)
"""

import asyncio
import os
import sys
from itertools import count
from pathlib import Path

from bastide import town as frame
from bastide.base.faults import crashing
from bastide.engines.bus.service import consumer, drain, journal
from tests.engines.bus.kit import STREET, street
from tests.engines.bus.street.ledger import manifest as ledger

LIFE_S = 15.0
SELLERS = 3
PAUSE_S = 0.002


def dying(point, hit):
    hits = count(1)

    def happens():
        if next(hits) == hit:
            os.write(1, b"died %b\n" % point.encode())
            crashing()()

    return happens


async def sell(kiosk, items):
    for item in items:
        number = await kiosk.sell(item)
        os.write(1, b"sold %b %d\n" % (item.encode(), number))
        await asyncio.sleep(PAUSE_S)


async def record(kiosk, first):
    for number in count(first):
        who = f"p{number:09}"
        kiosk.passes(who)
        os.write(1, b"passed %b\n" % who.encode())
        await asyncio.sleep(PAUSE_S)


def items():
    while True:
        yield from ("tea", "", "tea", "gin", "milk", "")


def be_quick():
    """So that in a short life the log hears of offsets, and files are begun and dropped."""
    consumer.TELL_S, consumer.SESSION_S, drain.TRIM_S = 0.01, 6.0, 0.05
    journal.open_journal.__wrapped__.__kwdefaults__["segment_bytes"] = 2_000


async def main(directory, point, hit, first):
    frame.SYSTEMS = STREET
    be_quick()
    ledger.HATED.add("gin")
    environ = {name: value for name, value in os.environ.items() if name.startswith("BASTIDE_")}
    async with street(directory, environ, faults={point: dying(point, hit)}) as town:
        kiosk, wares = town.served("kiosk"), items()
        async with asyncio.timeout(LIFE_S):
            sellers = [sell(kiosk, wares) for _ in range(SELLERS)]
            await asyncio.gather(record(kiosk, first), *sellers)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
