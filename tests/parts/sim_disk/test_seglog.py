"""A log on the simulated disk, through many lives."""

import random
from pathlib import Path

import pytest

from bastide.base.rt import runtime
from bastide.base.rt.clock import ManualClock
from bastide.base.rt.runtime import Chance, Runtime
from bastide.parts.seglog.contract import LogFailed, Options
from bastide.parts.seglog.core import Record
from bastide.parts.seglog.log import open_seglog
from bastide.parts.sim.disk.disk import SimDisk
from tests.parts.sim_disk.kit import run

PLACE = Path("/log")
OPTIONS = Options(segment_bytes=2 << 10)


class Acked:
    def __init__(self):
        self.synced = 0
        self.written = 0


def value(offset):
    return f"value {offset} ".encode() * (1 + offset % 30)


async def live(disk, acked, dice):
    runtime.run_on(Runtime(disk=disk, clock=ManualClock(), chance=Chance(dice.randrange(99))))
    async with open_seglog(PLACE, OPTIONS) as log:
        assert log.next_offset >= acked.written
        found = [(entry.offset, entry.value) async for entry in log.scan(log.first_offset)]
        assert found == [(offset, value(offset)) for offset in range(log.next_offset)]
        acked.synced = acked.written = log.next_offset  # opening syncs what it finds
        for _ in range(20):
            await append(log, acked, dice)


async def append(log, acked, dice):
    first = log.next_offset
    last = log.append([Record(value(first + n)) for n in range(1 + dice.randrange(4))])
    if dice.random() < 0.5:
        await log.synced(last)
        acked.synced = last + 1
    await log.written(last)
    acked.written = last + 1


@pytest.mark.parametrize("failing", [False, True])
def test_what_a_log_acknowledged_survives_every_crash_and_failed_sync(failing):
    deaths = 0
    for seed in range(60):
        dice = random.Random(seed)
        disk, acked = SimDisk(dice), Acked()
        for _ in range(6):
            disk.faults.risk["sync"] = 0.05 if failing else 0.0
            die_at(disk, dice.randrange(1, 90))
            try:
                run(live(disk, acked, dice))
            except (LogFailed, OSError):
                deaths += 1
            if dice.random() < 0.6:
                disk, acked.written = disk.crash(), acked.synced
            else:
                disk = disk.kill()
        disk.faults.risk.clear()
        run(live(disk, acked, dice))
    assert deaths > 200


def die_at(disk, count):
    def before(*_):
        nonlocal count
        count -= 1
        if count == 0:
            disk.die()

    disk.before = before
