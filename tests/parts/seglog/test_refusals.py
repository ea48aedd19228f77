"""A disk that is full, fails, or has no file to give: what the log refuses, and until when."""

import asyncio
import errno
import os

import pytest

from bastide.parts.seglog.contract import (
    DiskFull,
    LogBusy,
    LogClosed,
    LogFailed,
    Options,
)
from bastide.parts.seglog.log import open_seglog
from tests.parts.seglog.kit import PLACE, SMALL, fill, some, values


@pytest.fixture
def disk(disks):
    return disks.new()


@pytest.mark.box("seglog.full-disk")
async def test_a_full_disk_refuses_serves_reads_and_recovers_by_itself(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        await fill(log, 5)
        disk.room_bytes = 100
        last = log.append(some(5, count=20))
        with pytest.raises(DiskFull) as refused:
            await log.synced(last)
        assert refused.value.outcome == "unknown"
        with pytest.raises(DiskFull) as refused:
            log.append(some(99))
        assert refused.value.outcome == "none"
        with pytest.raises(DiskFull):
            await log.written(last)
        assert await values(log) == [(r, b"%d" % r * 10) for r in range(5)]
        assert not await log.verify()
        tried_again = asyncio.Event()
        disks.on_write(disk, lambda path, at, written: tried_again.set())
        disk.room_bytes = None
        await tried_again.wait()
        await log.synced(log.append(some(25)))
        assert await values(log) == [(r, b"%d" % r * 10) for r in range(26)]
    async with open_seglog(PLACE, SMALL) as log:
        assert log.next_offset == 26


@pytest.mark.box("seglog.full-disk")
async def test_a_record_that_finds_no_room_now_keeps_its_offset_and_is_written_later(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        log.append_now(b"0")
        disk.room_bytes = 100
        with pytest.raises(DiskFull) as refused:
            log.append_now(b"1")
        assert refused.value.outcome == "unknown"
        with pytest.raises(DiskFull) as refused:
            log.append_now(b"2")
        assert refused.value.outcome == "none"
        disk.room_bytes = None
        await until(lambda: log.written_offset == 2)
        assert log.append_now(b"2") == 2
        assert await values(log) == [(n, b"%d" % n) for n in range(3)]


async def test_a_write_that_fails_now_ends_the_log(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        log.append_now(b"0")
        disk.faults.failing["write"] = OSError(errno.EIO, "input/output error")
        with pytest.raises(LogFailed) as refused:
            log.append_now(b"1")
        assert refused.value.outcome == "unknown"
        disk.faults.failing.clear()
        with pytest.raises(LogFailed) as refused:
            log.append_now(b"1")
        assert refused.value.outcome == "none"
    async with open_seglog(PLACE) as log:
        assert await values(log) == [(0, b"0")]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
async def test_a_segment_that_cannot_be_opened_refuses_for_now_and_recovers_by_itself(
    disks, disk, number
):
    disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        await fill(log, 3)
        disk.faults.failing["create"] = OSError(number, os.strerror(number))
        last = log.append(some(3, count=20, size=100))
        with pytest.raises(LogBusy, match=f"be opened now.*{os.strerror(number)}") as refused:
            await log.written(last)
        assert refused.value.outcome == "unknown"
        for refusing in (log.check, lambda: log.append(some(99))):
            with pytest.raises(LogBusy) as refused:
                refusing()
            assert refused.value.outcome == "none"
        assert len(await values(log)) == len(disk.files) + 2 == 3  # no second, empty file is left
        tried_again = asyncio.Event()
        disks.on_write(disk, lambda path, at, written: tried_again.set())
        disk.faults.failing.clear()
        await tried_again.wait()
        log.check()
        await log.synced(log.append(some(23)))
    async with open_seglog(PLACE, SMALL) as log:
        assert [offset for offset, _ in await values(log)] == list(range(24))


async def test_a_directory_that_cannot_be_opened_to_be_synced_is_synced_later(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        await fill(log, 3)
        disk.faults.failing["sync_directory"] = OSError(errno.EMFILE, "too many open files")
        last = log.append_opaque(bytes(1000), offset_count=1)
        with pytest.raises(LogBusy, match="too many open files"):
            await log.synced(last)
        with pytest.raises(LogBusy):
            log.check()
        assert log.durable_offset == 3, "its file may lose its name"
        await log.written(log.append(some(4)))
        disk.faults.failing.clear()
        tried_again = asyncio.create_task(log.synced(4))
        await tried_again
        log.check()
        assert log.durable_offset == 5
    assert set(disk.files) == set(disk.durable_files)


async def test_what_passed_is_gone_from_check_though_nobody_appends(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        disk.faults.failing["sync_directory"] = OSError(errno.EMFILE, "too many open files")
        await log.synced(log.append_opaque(bytes(1000), offset_count=2))
        with pytest.raises(LogBusy):
            await log.synced(log.append_opaque(bytes(1000), offset_count=2))
        disk.faults.failing.clear()
        await until(lambda: log.durable_offset == 4)
        log.check()
        disk.room_bytes = 0
        with pytest.raises(DiskFull):
            await log.written(log.append(some(4)))
        with pytest.raises(DiskFull):
            log.check()
        disk.room_bytes = None
        await until(lambda: log.written_offset == 5)
        log.check()


async def until(reached):
    for _ in range(500):
        if reached():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not reached within 5 s")


async def test_a_log_that_ended_says_so(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        log.check()
        disk.faults.failing["write"] = OSError(errno.EIO, "input/output error")
        with pytest.raises(LogFailed):
            await log.written(log.append(some(0)))
        with pytest.raises(LogFailed):
            log.check()
    with pytest.raises(LogClosed):
        log.check()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_log_is_opened_and_read_on_a_full_disk(disks, disk, number):
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        await log.written(log.append(some(0)))
        image = disk.killed()

    def full(path, at, written):
        if at == len(image.files[path].content):
            raise OSError(number, "no room")

    image.on_write = full
    disks.use(image)
    async with open_seglog(PLACE) as log:
        assert len(await values(log)) == 1


async def test_a_log_that_is_closed_while_the_disk_is_full_keeps_what_was_acknowledged(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        await fill(log, 5)
        disk.room_bytes = 0
        log.append(some(5))
    disk.room_bytes = None
    async with open_seglog(PLACE, SMALL) as log:
        assert log.next_offset == 5


async def test_a_real_full_file_system_refuses_and_recovers(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() or await _run("mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place):
        pytest.skip("only root may mount a small file system")
    try:
        await _fill_and_recover(place)
    finally:
        assert await _run("umount", place) == 0


async def _run(*command):
    process = await asyncio.create_subprocess_exec(*command)
    return await process.wait()


async def _append_until_refused(log):
    while True:
        await log.synced(log.append(some(0, count=10, size=100)))


async def _fill_and_recover(place):
    ballast = place / "ballast"
    ballast.write_bytes(bytes(100_000))
    async with open_seglog(place / "log", Options(segment_bytes=64 << 10)) as log:
        with pytest.raises(DiskFull):
            await _append_until_refused(log)
        last = log.next_offset - 1
        assert 1000 < len(await values(log)) == log.durable_offset == last - 9
        ballast.unlink()
        await until(lambda: log.written_offset == last + 1)
        await log.synced(log.append(some(0)))
        assert not await log.verify()
    async with open_seglog(place / "log") as log:
        assert len(await values(log)) == last + 2


async def test_after_a_failed_sync_the_log_refuses_until_it_is_opened_again(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        await fill(log, 3)
        disk.faults.failing["sync"] = OSError(errno.EIO, "input/output error")
        waiting = asyncio.gather(*(log.synced(log.append(some(n))) for n in (3, 4)))
        with pytest.raises(LogFailed, match="input/output") as failed:
            await waiting
        assert failed.value.outcome == "unknown"
        disk.faults.failing.clear()
        for refused in (
            lambda: log.append(some(9)),
            lambda: log.append_opaque(b"", offset_count=1),
        ):
            with pytest.raises(LogFailed):
                refused()
        with pytest.raises(LogFailed):
            await log.synced(4)
        await log.synced(2)
        assert log.durable_offset == 3
        assert len(await values(log)) == 5
    async with open_seglog(PLACE) as log:
        await fill(log, 1)
        assert log.durable_offset == log.next_offset == 6


async def test_after_a_failed_write_the_log_refuses_until_it_is_opened_again(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        await fill(log, 3)
        disk.faults.failing["write"] = OSError(errno.EIO, "input/output error")
        with pytest.raises(LogFailed):
            await log.written(log.append(some(3)))
        disk.faults.failing.clear()
        with pytest.raises(LogFailed):
            log.append(some(3))
    async with open_seglog(PLACE) as log:
        assert log.repair is None
        assert log.next_offset == 3


async def test_a_sync_that_fails_in_closing_is_told(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        log.append(some(0))
        disk.faults.failing["sync"] = OSError(errno.EIO, "input/output error")
        with pytest.raises(LogFailed):
            await log.close()


async def test_a_closed_log_refuses_and_lets_nobody_wait(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        waiting = asyncio.create_task(log.written(7))
        await fill(log, 1)
    with pytest.raises(LogClosed):
        await waiting
    with pytest.raises(LogClosed):
        log.append(some(0))


async def test_a_waiter_that_gives_up_harms_no_other(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        last = log.append(some(0))
        gives_up, stays = (asyncio.create_task(log.synced(last)) for _ in range(2))
        await asyncio.sleep(0)
        gives_up.cancel()
        await stays
