"""What is SQLite's alone: groups, a full disk, a failed sync, another process, the log."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import apsw
import pytest
from sqlalchemy import text

from bastide.base import faults
from bastide.base.errors import Invalid, NotFound
from bastide.base.rt import runtime
from bastide.base.settings import parse_url
from bastide.base.tx import Statement, changes
from bastide.engines.sql.backends.sqlite import writer
from bastide.engines.sql.backends.sqlite.backend import open_memory, open_sqlite
from bastide.engines.sql.backends.sqlite.driver import DIALECT
from bastide.engines.sql.contract import (
    BodyCut,
    BodyMiswritten,
    DatabaseAway,
    DiskFull,
    ScanCut,
)

ENDLESS = """
WITH RECURSIVE up (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM up WHERE n < 1000000000)
SELECT count(*) FROM up
"""
ENDLESS_WRITE = f"INSERT INTO accounts (id, owner, balance) SELECT 1, 'x', ({ENDLESS})"


async def opened(bank, n, tx):
    await tx.run(bank.open, id=n, owner="x", balance=n)
    return n


def commits_of(client):
    labels = (("client", client),)
    for family in runtime.current().metrics.families():
        if family.name == "bastide_sql_commit_seconds":
            return family.series[labels].count
    return 0


# bodies and groups


@pytest.mark.box("sql.body-cut")
async def test_a_body_that_suspends_is_refused_and_leaves_nothing(sqlite, bank):
    async def body(tx):
        await tx.run(bank.open, id=1, owner="x", balance=1)
        await asyncio.sleep(0)
        await tx.run(bank.open, id=2, owner="x", balance=1)

    async def stubborn(tx):
        try:
            await body(tx)
        finally:
            await tx.run(bank.open, id=3, owner="x", balance=1)

    async with sqlite.open() as sql:
        for miswritten in (body, stubborn):
            with pytest.raises(BodyMiswritten, match="awaited something else"):
                await sql.transact(miswritten)
        assert await sql.fetch(bank.all) == []


async def test_those_who_wait_share_commits_up_to_a_maximum(sqlite, bank, monkeypatch):
    monkeypatch.setattr(writer, "GROUP_S", 3600)
    monkeypatch.setattr(writer, "GROUP_MAX", 10)
    for waiting, commits in ((10, 1), (11, 2)):
        async with sqlite.open(client=f"c{waiting}") as sql:
            before = commits_of(f"c{waiting}")
            await asyncio.gather(*(sql.transact(partial(opened, bank, n)) for n in range(waiting)))
            assert commits_of(f"c{waiting}") - before == commits


async def test_a_group_does_not_hold_the_loop_for_long(sqlite, bank):
    """A body of 1 ms fills a group of its own, and the loop turns in between."""

    async def body(n, tx):
        end = time.perf_counter() + 0.0011
        while time.perf_counter() < end:
            pass
        return await opened(bank, n, tx)

    turns = 0

    async def turning():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with sqlite.open() as sql:
        task = asyncio.create_task(turning())
        await asyncio.gather(*(sql.transact(partial(body, n)) for n in range(20)))
        task.cancel()
    assert turns >= 20
    assert commits_of(sqlite.client) >= 20


@pytest.mark.box("sql.body-cut")
async def test_a_statement_that_takes_too_long_is_cut_and_the_neighbours_stay(sqlite, bank):
    endless = changes(text(ENDLESS_WRITE))

    async def slow(tx):
        await tx.run(endless)

    async with sqlite.open(body_s=0.05) as sql:
        answers = await asyncio.gather(
            sql.transact(partial(opened, bank, 11)),
            sql.write(bank.open, id=12, owner="x", balance=1),
            sql.transact(slow),
            sql.transact(partial(opened, bank, 13)),
            return_exceptions=True,
        )
        assert isinstance(answers[2], BodyCut)
        assert (answers[0], answers[3]) == (11, 13)
        assert [a.id for a in await sql.fetch(bank.all)] == [11, 12, 13]
        with pytest.raises(BodyCut):
            await sql.write(endless)
        with pytest.raises(BodyCut):
            await sql.one(Statement(text(ENDLESS), int))


async def test_a_body_that_swallows_a_cut_cannot_write_outside_of_a_transaction(sqlite, bank):
    endless = changes(text(ENDLESS_WRITE))

    async def body(tx):
        try:
            await tx.run(endless)
        except BodyCut:
            await tx.run(bank.open, id=2, owner="x", balance=1)

    async with sqlite.open(body_s=0.05) as sql:
        with pytest.raises(BodyMiswritten):
            await sql.transact(body)
        assert await sql.fetch(bank.all) == []


async def test_a_body_that_computes_too_long_is_cut_when_it_ends(sqlite, bank):
    async def body(tx):
        await tx.run(bank.open, id=1, owner="x", balance=1)
        end = time.perf_counter() + 0.03
        while time.perf_counter() < end:
            pass

    async with sqlite.open(body_s=0.01) as sql:
        with pytest.raises(BodyCut):
            await sql.transact(body)
        assert await sql.fetch(bank.all) == []


async def test_a_body_that_is_cancelled_before_it_began_does_not_run(sqlite, bank):
    async with sqlite.open() as sql:
        task = asyncio.create_task(sql.transact(partial(opened, bank, 1)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await sql.write(bank.open, id=2, owner="x", balance=1)
        assert [a.id for a in await sql.fetch(bank.all)] == [2]


# the disk


class FaultyFile(apsw.VFSFile):
    def __init__(self, base, name, flags, faults):
        self.faults = faults
        super().__init__(base, name, flags)

    def xSync(self, flags):  # noqa: N802 (SQLite's name)
        if "sync" in self.faults:
            raise apsw.IOError("the disk did not answer")
        if "index" in self.faults:  # of the log: SQLite extends it after the last frame
            error = apsw.IOError("no space left for the index")
            error.extendedresult = apsw.SQLITE_IOERR_SHMSIZE
            raise error
        return super().xSync(flags)

    def xRead(self, amount, offset):  # noqa: N802 (SQLite's name)
        if "held" in self.faults:
            raise apsw.BusyError("another process recovers the log")
        if "unread" in self.faults:
            raise apsw.IOError("the disk did not answer")
        return super().xRead(amount, offset)

    def xWrite(self, data, offset):  # noqa: N802 (SQLite's name)
        if "full" in self.faults:
            raise apsw.FullError("no space left")
        return super().xWrite(data, offset)


class FaultyDisk(apsw.VFS):
    def __init__(self):
        self.base = apsw.vfs_names()[0]
        self.faults = set()
        super().__init__("faulty", self.base, makedefault=True)

    def xOpen(self, name, flags):  # noqa: N802 (SQLite's name)
        return FaultyFile(self.base, name, flags, self.faults)


@contextmanager
def faulty_disk():
    disk = FaultyDisk()
    try:
        yield disk.faults
    finally:
        disk.unregister()


@asynccontextmanager
async def on_faulty_disk(sqlite):
    with faulty_disk() as disk_faults:
        async with sqlite.open() as sql:
            try:
                yield sql, disk_faults
            finally:
                disk_faults.clear()


async def refused(sql, bank, count):
    return await asyncio.gather(
        *(sql.transact(partial(opened, bank, n)) for n in range(100, 100 + count)),
        return_exceptions=True,
    )


@pytest.mark.box("sql.full-disk")
async def test_a_full_disk_refuses_writes_serves_reads_and_recovers(sqlite, bank):
    async with on_faulty_disk(sqlite) as (sql, disk):
        await sql.write(bank.open, id=1, owner="x", balance=1)
        disk.add("full")
        answers = await refused(sql, bank, 20)
        assert all(isinstance(a, DiskFull) and a.outcome == "none" for a in answers)
        with pytest.raises(DiskFull):
            await sql.write(bank.open, id=2, owner="x", balance=1)
        assert await sql.one(bank.count) == 1
        disk.clear()
        await sql.write(bank.open, id=2, owner="x", balance=1)
        assert [a.id for a in await sql.fetch(bank.all)] == [1, 2]


@pytest.mark.box("sql.full-disk")
async def test_a_full_disk_that_only_the_logs_index_meets_has_an_unknown_outcome(sqlite, bank):
    """The commit's frame is in the log by then; it counts if the log is recovered."""
    async with on_faulty_disk(sqlite) as (sql, disk):
        disk.add("index")
        answers = await refused(sql, bank, 5)
        assert all(isinstance(a, DiskFull) for a in answers), answers
        assert {a.outcome for a in answers} == {"unknown"}
        disk.clear()
        await sql.write(bank.open, id=2, owner="x", balance=1)
        assert (await sql.one(bank.get, id=2)).balance == 1


async def test_a_read_that_waits_outlives_the_failure_of_another(sqlite, bank):
    async with on_faulty_disk(sqlite) as (sql, disk):
        assert await sql.one(bank.count) == 0
        await sql.write(bank.open, id=1, owner="x", balance=1)  # else the page is in memory
        disk.add("held")
        waits = asyncio.create_task(sql.one(bank.count))
        await asyncio.sleep(0)
        disk.clear()
        disk.add("unread")
        with pytest.raises(DatabaseAway):
            await sql.one(bank.count)
        disk.clear()
        assert await waits == 1


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    if os.name != "posix" or os.getuid() != 0:
        pytest.skip("mounting a small file system needs root; the faulty disk shows the same")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("mounting is not permitted here; the faulty disk shows the same")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.box("sql.full-disk")
async def test_a_file_system_that_fills_refuses_and_recovers(sqlite, bank, small_disk):
    sqlite.directory = small_disk
    async with sqlite.open() as sql:
        kept = await fill(sql, bank)
        assert await sql.one(bank.count) == kept
        (small_disk / "ballast").unlink()
        await sql.write(bank.open, id=10**6, owner="x", balance=1)
        assert await sql.one(bank.count) == kept + 1


async def fill(sql, bank):
    """How many rows were kept until the file system was full; a ballast makes that soon."""
    (path_of(sql).parent / "ballast").write_bytes(b"\0" * 300_000)
    for n in range(2000):
        try:
            await sql.write(bank.open, id=n, owner="x" * 500, balance=1)
        except DiskFull:
            return n
    raise AssertionError("the file system was never full")


def path_of(sql):
    return sql._store._writer._path


async def test_a_refusal_that_rests_on_a_lost_row_is_not_told(sqlite, bank):
    """The second is refused because of the first, and the first is not kept."""
    async with on_faulty_disk(sqlite) as (sql, disk):
        disk.add("full")
        answers = await asyncio.gather(
            sql.transact(partial(opened, bank, 1)),
            sql.transact(partial(opened, bank, 1)),
            return_exceptions=True,
        )
        assert [type(a) for a in answers] == [DiskFull, DiskFull]


@pytest.mark.box("sql.failed-sync")
async def test_a_failed_sync_has_an_unknown_outcome_and_heals(sqlite, bank):
    async with on_faulty_disk(sqlite) as (sql, disk):
        await sql.write(bank.open, id=1, owner="x", balance=1)
        disk.add("sync")
        answers = await refused(sql, bank, 5)
        assert all(isinstance(a, DatabaseAway) for a in answers)
        assert {a.outcome for a in answers} == {"unknown"}, answers
        assert (await sql.one(bank.get, id=1)).balance == 1
        disk.clear()
        await sql.write(bank.open, id=2, owner="x", balance=1)
        assert (await sql.one(bank.get, id=2)).balance == 1


@pytest.mark.parametrize(("point", "kept"), [("sql.before_commit", 0), ("sql.after_commit", 1)])
async def test_a_commit_whose_answer_is_lost_is_unknown(sqlite, bank, point, kept):
    async with sqlite.open() as sql:
        with (
            faults.armed(point, faults.failing(OSError("lost"))),
            pytest.raises(DatabaseAway) as caught,
        ):
            await sql.write(bank.open, id=1, owner="x", balance=1)
        assert caught.value.outcome == "unknown"
        assert await sql.one(bank.count) == kept
        await sql.write(bank.open, id=2, owner="x", balance=1)


async def test_a_file_that_cannot_be_opened_is_away(sqlite):
    (sqlite.directory / f"{sqlite.client}.db").mkdir()
    with pytest.raises(DatabaseAway):
        async with sqlite.open():
            pass


# another process


HOLDER = """
import apsw, sys
connection = apsw.Connection(sys.argv[1])
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO accounts (id, owner, balance) VALUES (99, 'other', 1)")
print("held", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
print("done", flush=True)
"""


@contextmanager
def another_process_writes(path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "held\n"
        yield partial(release, process)


def release(process):
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


@pytest.mark.box("sql.busy")
async def test_a_busy_database_is_away_within_its_time_and_heals(sqlite, bank):
    async with sqlite.open(busy_s=0.1) as sql:
        turns = 0

        async def turning():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.001)

        task = asyncio.create_task(turning())
        with another_process_writes(path_of(sql)) as let_go:
            turns, began = 0, time.perf_counter()
            answers = await asyncio.gather(
                *(sql.write(bank.open, id=n, owner="x", balance=1) for n in range(3)),
                return_exceptions=True,
            )
            assert all(isinstance(a, DatabaseAway) and a.outcome == "none" for a in answers)
            assert 0.1 <= time.perf_counter() - began < 2
            assert turns > 10  # the loop was not blocked
            assert await sql.one(bank.count) == 0
            let_go()
        await sql.write(bank.open, id=1, owner="x", balance=1)
        assert [a.id for a in await sql.fetch(bank.all)] == [1, 99]
        task.cancel()


async def test_a_write_waits_for_another_process_that_is_soon_done(sqlite, bank):
    async with sqlite.open(busy_s=5) as sql:
        with another_process_writes(path_of(sql)) as let_go:
            write = asyncio.create_task(sql.write(bank.open, id=1, owner="x", balance=1))
            await asyncio.sleep(0)
            assert not write.done()
            let_go()
            await write
        assert await sql.one(bank.count) == 2


# the log


async def test_the_log_begins_anew_and_stays_small(sqlite, bank, monkeypatch):
    monkeypatch.setattr(writer, "CHECKPOINT_PAGES", 20)
    async with sqlite.open(sync="normal") as sql:
        log = path_of(sql).with_suffix(".db-wal")
        for n in range(150):
            await sql.write(bank.open, id=n, owner="x" * 3000, balance=1)
        assert log.stat().st_size < 100 * 4200


async def test_a_scan_before_which_the_log_piles_up_is_cut(sqlite, bank, monkeypatch):
    async with sqlite.open() as sql:
        for n in range(300):
            await sql.write(bank.open, id=n, owner="x", balance=1)
        monkeypatch.setattr(writer, "LOG_PAGES_MAX", 60)
        sql._store._writer._checkpoint_at = 20
        monkeypatch.setattr(writer, "CHECKPOINT_PAGES", 20)
        scan = sql.scan(bank.all)
        await anext(scan)
        for n in range(300, 400):
            await sql.write(bank.open, id=n, owner="x" * 3000, balance=1)
        with pytest.raises(ScanCut):
            async for _ in scan:
                pass


async def test_a_cancelled_scan_interrupts_its_statement(sqlite, bank):
    async with sqlite.open() as sql:

        async def reads():
            async for _ in sql.scan(Statement(text(ENDLESS), int)):
                pass

        task = asyncio.create_task(reads())
        for _ in range(10):
            await asyncio.sleep(0.005)  # until its thread is in the statement; either way it ends
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("turns", range(6))
async def test_a_scan_that_is_cancelled_as_it_begins_ends(sqlite, turns):
    """Also while its thread is on the way into the statement, which an interrupt then misses."""
    async with sqlite.open() as sql:
        task = asyncio.create_task(scanned(sql))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(2):
            await asyncio.gather(task, return_exceptions=True)


async def test_closing_while_a_scan_begins_does_not_hold_the_loop(sqlite):
    longest_s = 0.0

    async def turning():
        nonlocal longest_s
        while True:
            began_s = time.perf_counter()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.perf_counter() - began_s)

    watch = asyncio.create_task(turning())
    async with sqlite.open() as sql:
        task = asyncio.create_task(scanned(sql))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    watch.cancel()
    assert longest_s < 2
    with pytest.raises(ScanCut):
        await task


async def test_a_database_that_is_closed_is_away_for_reads_and_scans(sqlite, bank):
    async with sqlite.open() as sql:
        await sql.one(bank.count)
    for read in (sql.one(bank.count), anext(sql.scan(bank.all)), sql.write(bank.open)):
        with pytest.raises(DatabaseAway, match="closed"):
            await read


async def scanned(sql):
    async for _ in sql.scan(Statement(text(ENDLESS), int)):
        pass


async def test_a_scan_that_is_left_open_does_not_keep_the_database_from_closing(sqlite, bank):
    async with sqlite.open() as sql:
        for n in range(300):
            await sql.write(bank.open, id=n, owner="x", balance=1)
        scan = sql.scan(bank.all)
        await anext(scan)
    with pytest.raises(ScanCut):
        async for _ in scan:
            pass


async def test_among_searches_by_the_index(sqlite, bank):
    text_of = bank.some.compiled(DIALECT, None).text
    plan = Statement(text(f"EXPLAIN QUERY PLAN {text_of}"), lambda *columns: columns[3])
    async with sqlite.open() as sql:
        steps = await sql.fetch(plan, ids="[1]")
    assert any(step.startswith("SEARCH accounts") for step in steps), steps


# URLs


async def test_memory_leaves_nothing_behind(bank, tmp_path):
    async with (
        open_memory(parse_url("memory://")) as backend,
        backend.store("bank", lambda: tmp_path, bank.migrations) as store,
    ):
        place = store._writer._path.parent
        assert place.exists()
    assert not place.exists()
    assert list(tmp_path.iterdir()) == []
    assert not [t for t in threading.enumerate() if t.name.startswith("bank-")]


async def test_without_a_directory_the_file_lies_with_its_client(bank, tmp_path):
    async with (
        open_sqlite(parse_url("sqlite://")) as backend,
        backend.store("bank", lambda: tmp_path, bank.migrations),
    ):
        assert (tmp_path / "rows.db").exists()


@pytest.mark.parametrize(
    "url",
    ["sqlite://relative/x", "sqlite://?sync=never", "sqlite://?pool=1", "sqlite://?busy_s=0"],
)
async def test_a_url_that_says_something_else_is_refused(url):
    with pytest.raises(Invalid):
        async with open_sqlite(parse_url(url)):
            pass


@pytest.mark.parametrize(("sync", "kept"), [("full", 2), ("normal", 1), ("off", 0)])
async def test_the_promise_about_the_disk_is_the_one_that_was_asked_for(sqlite, bank, sync, kept):
    async def body(tx):
        return await tx.one(Statement(text("PRAGMA synchronous"), int))

    async with sqlite.open(sync=sync) as sql:
        assert await sql.transact(body) == kept


async def test_a_refused_body_in_a_group_of_one_is_told(sqlite):
    async def body(tx):
        raise NotFound("alone")

    async with sqlite.open() as sql:
        with pytest.raises(NotFound):
            await sql.transact(body)
