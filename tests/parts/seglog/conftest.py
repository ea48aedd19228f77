"""A simulated disk, and a log on it."""

import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bastide.base.rt import runtime
from bastide.base.rt.clock import ManualClock
from bastide.base.rt.disk import Disk
from bastide.base.rt.runtime import Chance, Runtime
from bastide.parts.sim.disk.disk import SimDisk

ROUNDS = int(os.environ.get("BASTIDE_TEST_ROUNDS", "1"))


class Disks:
    """Makes disks and lets the running test, and what it starts, run on one."""

    rounds = ROUNDS

    def new(self, chance: random.Random | None = None) -> SimDisk:
        return SimDisk(chance or random.Random(7))

    def of(self, image: Mapping[Path, bytes]) -> SimDisk:
        return SimDisk.of(image, random.Random(7))

    def on_write(self, disk: SimDisk, call: Callable[[Path, int, bytes], None]) -> None:
        """`call` is told of each write before it is done."""

        def before(operation, path, at, data):
            if operation == "write":
                call(path, at, data)

        disk.before = before

    def use(self, disk: Disk | None = None) -> ManualClock:
        clock = ManualClock()
        runtime.run_on(Runtime(disk=disk, clock=clock, chance=Chance(7)))
        return clock


@pytest.fixture
def disks() -> Disks:
    return Disks()
