"""SQLite on a simulated disk: crashes at any operation, torn sectors, failed syncs, no room."""

import asyncio
import errno
import os
import random
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Column, MetaData, Table, Text, insert, select, text

from bastide.base.errors import Unavailable
from bastide.base.manifest import Miswired
from bastide.base.rt import runtime
from bastide.base.rt.clock import ManualClock
from bastide.base.rt.runtime import Chance, Runtime
from bastide.base.settings import parse_url
from bastide.base.tx import Statement, changes
from bastide.engines.sql.backends.sqlite import driver, vfs, writer
from bastide.engines.sql.backends.sqlite.backend import open_memory, open_sqlite
from bastide.engines.sql.contract import DatabaseAway, DiskFull, Migrations
from bastide.engines.sql.model import SqliteOptions
from bastide.engines.sql.service import Sql
from bastide.parts.sim.disk.disk import SimDisk
from bastide.parts.sim.simulation import Simulation
from bastide.parts.sim.simulation import run as simulate
from tests.parts.sim_disk.kit import run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks are those of SQLite's unix-excl")

pairs = Table(
    "pairs",
    MetaData(),
    Column("id", BigInteger, primary_key=True),
    Column("text", Text, nullable=False),
)
ADD = changes(insert(pairs))
IDS = Statement(select(pairs.c.id), int)
NEWEST = Statement(select(pairs.c.id).order_by(pairs.c.id.desc()).limit(1), int)
MIGRATIONS = Migrations(steps=["CREATE TABLE pairs (id {key}, text TEXT NOT NULL)"])
OPTIONS = SqliteOptions()
CLIENTS, TURNS = 3, 12


class Told:
    """What the clients of all lives were told of their pairs of rows."""

    def __init__(self):
        self.next = 1
        self.kept = set()

    def take(self):
        self.next += 1
        return self.next


async def live(disk, told, then=None):
    """One life of a process: first it checks what the last one left; then its clients write."""
    runtime.run_on(Runtime(disk=disk, clock=ManualClock(), chance=Chance(1)))
    async with (
        open_sqlite(parse_url("sqlite:///db")) as backend,
        backend.store("pairs", Path, MIGRATIONS) as store,
    ):
        sql = Sql(store, scan_pause_s=30)
        await check(sql, told)
        await (then or partial(write_together, told))(sql)


async def write_together(told, sql):
    await asyncio.gather(*(write_pairs(sql, told) for _ in range(CLIENTS)))
    await check(sql, told)


async def check(sql, told):
    found = {each async for each in sql.scan(IDS)}
    assert told.kept <= found, f"acknowledged and lost: {sorted(told.kept - found)}"
    assert all(-each in found for each in found)
    assert await whole(sql)
    assert await sql.one(Statement(select(pairs.c.id).limit(1), int)) in {*found, None}


async def whole(sql):
    return await sql.fetch(Statement(text("PRAGMA integrity_check"), str)) == ["ok"]


async def write_pairs(sql, told):
    for _ in range(TURNS):
        await write_pair(sql, told)
        assert abs(await sql.one(NEWEST)) > 0


async def write_pair(sql, told):
    name = told.take()

    async def body(tx):
        await tx.run(ADD, id=name, text="x" * (name * 37 % 900))
        await tx.run(ADD, id=-name, text="y")

    await sql.transact(body)
    told.kept.add(name)


def die_at(disk, count):
    """The machine, or the process, ends instead of the disk's operation number `count`."""

    def before(*_):
        nonlocal count
        count -= 1
        if count == 0:
            disk.die()

    disk.before = before


@pytest.mark.parametrize("shard", range(4))
def test_whatever_is_acknowledged_survives_crashes_at_any_operation(shard, monkeypatch):
    monkeypatch.setattr(writer, "CHECKPOINT_PAGES", 12)
    deaths = 0
    for seed in range(shard, 60, 4):
        dice = random.Random(seed)
        disk, told = SimDisk(dice), Told()
        for _ in range(6):
            die_at(disk, dice.randrange(1, 350))
            try:
                run(live(disk, told))
            except (Unavailable, OSError):
                assert disk.dead, f"seed {seed}"
                deaths += 1
            disk = disk.crash() if dice.random() < 0.7 else disk.kill()
        run(live(disk, told))
    assert deaths > 50


def test_a_commit_that_a_crash_stops_is_kept_whole_or_not_at_all():
    """At each of its operations in turn. Either is seen, and so is a log with half of it."""
    kept, torn = [], 0
    for seed in range(10):
        for operation in range(1, 8):
            disk, told = SimDisk(random.Random(seed)), Told()
            disk, written = crashed_at(disk, told, operation)
            there = [sector_is_there(disk, *each) for each in written]
            torn += any(there) and not all(there)
            run(live(disk, told, lambda sql: found_in(sql, kept)))
    assert {1, 2} == set(kept)
    assert torn


def crashed_at(disk, told, operation):
    """One pair is acknowledged. While another one is written, the machine loses its power."""
    written = []

    def before(verb, path, at, data):
        if verb == "write":
            written.extend((path, at + n, data[n : n + 512]) for n in range(0, len(data), 512))
        if next(operations) == operation:
            disk.die()

    async def write_two(sql):
        await write_pair(sql, told)
        disk.before = before
        with suppress(Unavailable):
            await write_pair(sql, told)
        disk.die()

    operations = count(1)
    run(live(disk, told, write_two))
    return disk.crash(), written


def sector_is_there(disk, path, at, data):
    return path in disk.files and disk.files[path].content[at : at + len(data)] == data


async def found_in(sql, kept):
    kept.append(len(await sql.fetch(IDS)) // 2)


@pytest.mark.parametrize("shard", range(2))
def test_what_is_acknowledged_between_failed_syncs_survives(shard, monkeypatch):
    monkeypatch.setattr(writer, "CHECKPOINT_PAGES", 12)
    for seed in range(shard, 30, 2):
        dice = random.Random(seed)
        disk, told = SimDisk(dice), Told()
        for _ in range(5):
            run(live(disk, told, partial(live_with_failing_syncs, disk, told, dice)))
            disk = disk.crash() if dice.random() < 0.5 else disk.kill()
            disk.faults.risk.clear()
        run(live(disk, told))


async def live_with_failing_syncs(disk, told, dice, sql):
    disk.faults.risk["sync"] = 0.08
    while dice.random() > 0.05:
        with suppress(Unavailable):
            await write_pair(sql, told)
    if dice.random() < 0.7:
        disk.die()
    else:
        disk.faults.risk.clear()


def test_a_commit_behind_one_whose_sync_failed_survives_a_kill_and_then_a_crash():
    """What the failed sync left in the page cache is recovered as a commit, and is not durable."""
    for seed in range(40):
        disk, told = SimDisk(random.Random(seed)), Told()

        async def fail(sql, disk=disk, told=told):
            await write_pair(sql, told)
            disk.faults.failing["sync"] = OSError(errno.EIO, "input/output error")
            with pytest.raises(Unavailable) as refused:
                await write_pair(sql, told)
            assert refused.value.outcome == "unknown"
            disk.die()

        run(live(disk, told, fail))
        disk.faults.failing.clear()
        disk = disk.kill()

        async def go_on(sql, disk=disk, told=told, writes=seed % 2):
            if writes:
                await write_pair(sql, told)
            disk.die()

        run(live(disk, told, go_on))
        run(live(disk.crash(), told))


def test_a_full_disk_refuses_writes_serves_reads_and_recovers():
    disk, told = SimDisk(random.Random(3)), Told()

    async def fill(sql):
        await write_pair(sql, told)
        disk.room_bytes = 20_000
        with pytest.raises(DiskFull) as refused:
            await asyncio.gather(*(write_pairs(sql, told) for _ in range(CLIENTS)))
        assert refused.value.outcome == "none"
        await check(sql, told)
        disk.room_bytes += 100_000
        await write_pair(sql, told)
        await check(sql, told)
        disk.die()

    run(live(disk, told, fill))
    assert len(told.kept) > 2
    disk = disk.crash()
    disk.room_bytes = None
    run(live(disk, told))


def test_a_disk_that_does_not_read_is_away_and_heals():
    disk, told = SimDisk(random.Random(3)), Told()

    async def unread(sql):
        await write_pair(sql, told)
        disk.faults.failing["read"] = OSError(errno.EIO, "input/output error")
        with pytest.raises(DatabaseAway):
            await sql.fetch(IDS)
        disk.faults.failing.clear()
        await check(sql, told)

    run(live(disk, told, unread))


def test_readers_beside_the_writer_see_commits_and_nothing_else():
    disk, told = SimDisk(random.Random(3)), Told()

    async def read(sql):
        await write_pair(sql, told)
        scan = sql.scan(IDS)
        seen = [await anext(scan)]

        async def body(tx):
            await tx.run(ADD, id=1000, text="not yet")
            return len(sql._store._reader._fetched(*arguments))

        arguments = (sql._store._reader._connection, "SELECT id FROM pairs", {}, 10)
        assert await sql.transact(body) == 2
        assert len(await sql.fetch(IDS)) == 3
        seen += [each async for each in scan]
        assert len(seen) == 2

    run(live(disk, told, read))


def test_the_dead_hold_no_locks_and_leave_no_files():
    disk, told, zombies = SimDisk(random.Random(3)), Told(), []

    async def stop_in_a_transaction(sql):
        connection = sql._store._writer._connection
        zombies.append(driver.connect(sql._store._writer._path, connection.open_vfs, OPTIONS))
        zombies[0].execute("BEGIN IMMEDIATE; INSERT INTO pairs VALUES (7, 'no pair')")
        disk.die()

    run(live(disk, told, stop_in_a_transaction))
    assert lock_files()
    run(live(disk.kill(), told))
    zombies.clear()
    assert not lock_files()


def lock_files():
    return [path for path in vfs.LOCKS.iterdir() if vfs._SECRET in path.name]


def test_what_sqlite_puts_aside_for_a_while_is_removed():
    disk, told = SimDisk(random.Random(3)), Told()

    async def sort_much(sql):
        much = "WITH RECURSIVE up (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM up WHERE n < 20000)"
        text_of = f"{much} SELECT n FROM up ORDER BY hex(randomblob(99)) LIMIT 1 OFFSET 9999"
        with sql._store._writer._connection as connection:
            connection.execute("PRAGMA cache_size = 10")
            assert connection.execute(text_of).fetchone()

    run(live(disk, told, sort_much))
    assert disk.counts["create"] > 3
    assert [path.name for path in disk.files] == ["pairs.db"]


def test_memory_is_on_the_simulated_disk_too_and_forgotten_by_the_next_life():
    disk = SimDisk(random.Random(3))

    async def remember():
        runtime.run_on(Runtime(disk=disk, clock=ManualClock()))
        async with (
            open_memory(parse_url("memory://")) as backend,
            backend.store("pairs", Path, MIGRATIONS) as store,
        ):
            sql = Sql(store, scan_pause_s=30)
            assert await sql.fetch(IDS) == []
            await sql.write(ADD, id=1, text="x")

    run(remember())
    disk = disk.kill()
    run(remember())
    assert disk.list_directory(Path("/memory")) == ["0", "1"]


def test_a_node_that_is_crashed_and_killed_keeps_its_rows_and_repeats_with_its_seed():
    async def work(world):
        told, node, tape = Told(), world.node("a"), world.draws.tape("nemesis")

        async def main():
            async with (
                open_sqlite(parse_url("sqlite:///db")) as backend,
                backend.store("pairs", Path, MIGRATIONS) as store,
            ):
                sql = Sql(store, scan_pause_s=30)
                await check(sql, told)
                while True:
                    await asyncio.gather(*(write_pair(sql, told) for _ in range(CLIENTS)))

        node.start(main)
        for _ in range(8):
            await asyncio.sleep(tape.real("until the end", 0.001, 0.05))
            end = node.crash if tape.chance("crash", 0.6) else node.kill
            end()
            node.restart()
        assert len(told.kept) > 20

    simulation = Simulation(name="rows", meaning="what is acknowledged is there", run=work)
    first, second = simulate(simulation, 1), simulate(simulation, 1)
    assert first.error is None, first.error
    assert (first.digest, first.turns) == (second.digest, second.turns)


def test_a_disk_on_which_sqlite_would_have_to_wait_is_a_wiring_mistake():
    class Waiting:
        pass

    with pytest.raises(Miswired, match="Waiting"):
        vfs.vfs_name(Waiting())
