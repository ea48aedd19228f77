"""kill -9 in the middle of writes, again and again: what was acknowledged is there."""

import asyncio
import os
import random

import pytest

from bastide.engines.coord.contract import CoordAway, Put, Range, Watch
from tests.engines.coord.node_kit import eventually
from tests.engines.coord.wire_kit import keys_at
from tests.town.conftest import RunningTown

ROUNDS = int(os.environ.get("BASTIDE_TEST_ROUNDS", "2"))
LIFE_S = (0.3, 0.8)  # of a node that answers
WRITERS = 8


class Life:
    """Nodes at one address, one after the other, on the same data."""

    def __init__(self, data):
        self.data = data
        self.address = "127.0.0.1:0"
        self.begin()

    def begin(self):
        environ = {"BASTIDE_HTTP": "127.0.0.1:0", "BASTIDE_COORD_ETCD": self.address}
        self.town = RunningTown(self.data, "--only", "coord", **environ).until_ready()
        self.address = self.town.file.systems["coord"]["etcd"]

    def kill(self):
        self.town.process.kill()
        self.town.close()


async def write(keys, writer, acknowledged):
    """Until it is cancelled; what it is told is remembered with its revision."""
    for n in range(1_000_000):
        key = b"%d/%d" % (writer, n)
        try:
            acknowledged[key] = (await keys.put(Put(key, b"value of " + key))).revision
        except CoordAway:
            await asyncio.sleep(0.02)  # as a client backs off


async def hear(keys, heard):
    async with keys.watch(Watch(b"0", b":", from_revision=1)) as events:
        async for told in events:
            heard += [(event.item.changed, event.item.key) for event in told.events]


async def until(check):
    """Others go on by themselves meanwhile."""

    async def checked():
        return check()

    await eventually(checked)


@pytest.mark.shows("coord.restart")
@pytest.mark.box("coord.kill")
async def test_what_was_acknowledged_is_there_and_a_watch_misses_nothing(tmp_path):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    life = Life(tmp_path / "data")
    acknowledged, heard = {}, []
    try:
        async with keys_at(life.address) as keys:
            tasks = [asyncio.create_task(write(keys, n, acknowledged)) for n in range(WRITERS)]
            tasks.append(asyncio.create_task(hear(keys, heard)))
            for _ in range(ROUNDS):
                await asyncio.sleep(chance.uniform(*LIFE_S))  # its life
                before = len(acknowledged)
                await asyncio.to_thread(life.kill)
                await asyncio.to_thread(life.begin)
                await until(lambda before=before: len(acknowledged) > before)
            for task in tasks[:WRITERS]:
                task.cancel()
            await asyncio.gather(*tasks[:WRITERS], return_exceptions=True)
            read = await keys.range(Range(b"0", b":"))
            found = {item.key: item for item in read.items}
            await until(lambda: len(heard) >= len(found))
            tasks[WRITERS].cancel()
            await asyncio.gather(*tasks[WRITERS:], return_exceptions=True)
    finally:
        life.kill()
    assert len(acknowledged) > WRITERS * ROUNDS
    assert {key: found[key].changed for key in acknowledged} == acknowledged
    told = [(revision, key) for revision, key in heard if revision <= read.revision]
    assert told == sorted((item.changed, key) for key, item in found.items())
