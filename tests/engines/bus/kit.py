"""What the tests of the bus begin with, and what they check at the end."""

import asyncio
import errno
import os
from collections import defaultdict
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec

from bastide.base.rt.disk import SystemDisk
from bastide.base.rt.runtime import Runtime
from bastide.systems import SYSTEMS
from bastide.town import open_town
from tests.engines.bus.street.kiosk.contract import PASSERS, SALES

STREET = (
    *(name for name in SYSTEMS if ".engines." in name),
    "tests.engines.bus.street.kiosk",
    "tests.engines.bus.street.ledger",
)
QUIET_S = 20.0
MEMORY = {"BASTIDE_SQL_URL": "memory://", "BASTIDE_LOG_URL": "memory://"}
QUICK = {"BASTIDE_BUS_TRIES": "2", "BASTIDE_BUS_RETRY_S": "0.01"}


@asynccontextmanager
async def shops(environ=None, data=None, **options):
    """The kiosk, the ledger and their town; on memory, if `environ` names nothing else."""
    async with street(data, MEMORY | (environ or {}), **options) as town:
        yield town.served("kiosk"), town.served("ledger"), town


def bus_of(town, client):
    """The bus as its relays and its operator have it."""
    found = (o.served for o in town.opened if o.manifest.name == "bus" and o.client.name == client)
    return next(found)


@asynccontextmanager
async def street(data, environ, *, faults=None, disk=None, names=("kiosk", "ledger")):
    """The town on the real clock, with `faults` armed before anything is opened."""
    runtime = Runtime(disk=disk) if disk else Runtime()
    runtime.faults.update(faults or {})
    async with open_town(names, environ, runtime=runtime, data=data) as town:
        yield town


def log_of(town, client):
    """The log as a client has it."""
    found = (o.served for o in town.opened if o.manifest.name == "log" and o.client.name == client)
    return next(found)


async def quiet(town):
    """Returns when all that was sold and recorded has had its effect, and what came of that."""
    kiosk, ledger = bus_of(town, "kiosk"), bus_of(town, "ledger")
    for bus, topic, group in (
        (kiosk, PASSERS, "counts"),
        (ledger, SALES, "books"),
        (ledger, SALES, "books"),  # its dead letters have left, too
    ):
        await until(partial(bus.settled, topic, group, within_s=QUIET_S / 10))


class FullDisk(SystemDisk):
    """As of this machine; below `full` nothing is written or made."""

    full = None

    def open(self, path, *, create=False):
        if create:
            self.check(path)
        return FullFile(self, path, super().open(path, create=create))

    def check(self, path):
        if self.full is not None and self.full in Path(path).parents:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullFile:
    def __init__(self, disk, path, file):
        self._disk, self._path, self._file = disk, path, file

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, buffers, *, at):
        self._disk.check(self._path)
        self._file.write(buffers, at=at)


async def until(holds, *, within_s=QUIET_S):
    """`await holds()` is true when this returns."""
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110 (what it asks for tells nobody)
            await asyncio.sleep(0.01)


async def dead_of(town, client="ledger"):
    """The dead letters of a client, oldest first, all of them."""
    found, before = [], None
    while page := await bus_of(town, client).letters.page(before=before):
        found += page
        before = page[-1].offset
    return found[::-1]


async def check_street(town, *, acknowledged=(), passed=()):
    """Each sale has one line or one dead letter, in order for its item, and no line is without a
    sale; each passer is there once, in order, and all who were `acknowledged` or `passed` are.
    """
    kiosk, ledger = town.served("kiosk"), town.served("ledger")
    sold = await kiosk.sold()
    missing = set(acknowledged) - set(sold)
    assert not missing, f"sales that were acknowledged are gone: {sorted(missing)}"
    lines, dead = await ledger.lines(), [item_of(shelved) for shelved in await dead_of(town)]
    assert not {item for item, _ in lines} & {item for item, _ in dead}
    told = by_item([*lines, *dead])
    wanted = by_item(sold)
    for item in told.keys() | wanted.keys():
        assert told.get(item) == wanted.get(item), (
            f"{item}: {told.get(item)} was told, {wanted.get(item)} sold"
        )
    found = await kiosk.passed()
    assert found == sorted(set(found)), f"a passer twice, or out of order: {found}"
    assert not set(passed) - set(found), f"{len(passed)} passed, {len(found)} were counted"
    return sold


def item_of(shelved):
    data = msgspec.json.decode(shelved.letter.value)["data"]
    return data["item"], data["number"]


def by_item(pairs):
    found = defaultdict(list)
    for item, number in pairs:
        found[item].append(number)
    found[""].sort()  # it has no key, and so no order
    return dict(found)
