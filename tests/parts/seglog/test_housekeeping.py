"""Trimming and compacting: what stays, and what a refusing disk leaves."""

import errno

import pytest

from bastide.parts.seglog.contract import (
    HousekeepingFailed,
    SegmentDamaged,
)
from bastide.parts.seglog.core import HEADER_BYTES, Record
from bastide.parts.seglog.log import open_seglog
from tests.parts.seglog.kit import PLACE, SMALL, fill, values


@pytest.fixture
def disk(disks):
    return disks.new()


async def test_trim_by_size_age_and_offset_removes_whole_old_segments(disks, disk):
    clock = disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        await fill(log, 30)
        clock.advance(60)
        early = clock.now_ms()
        await fill(log, 60)
        assert await log.trim() == 0
        first = await log.trim(stamped_before_ms=early)
        assert 0 < first <= 30
        size = log.size
        assert await log.trim(bytes_max=size) == first
        second = await log.trim(bytes_max=size - 1)
        assert first < second
        third = await log.trim(below_offset=60)
        assert second < third <= 60
        assert [offset for offset, _ in await values(log)] == list(range(third, 90))
        assert await log.trim(bytes_max=0) < 90
    async with open_seglog(PLACE, SMALL) as log:
        assert third <= log.first_offset < log.next_offset == 90


async def test_trim_never_takes_what_it_is_told_to_keep(disks, disk):
    clock = disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        await fill(log, 90)
        clock.advance(60)
        everything = {"bytes_max": 0, "stamped_before_ms": clock.now_ms(), "below_offset": 90}
        for kept in (0, 1, 40):
            first = await log.trim(**everything, never_from=kept)
            assert first <= kept < log.read(first, bytes_max=1 << 20)[-1].next_offset
        assert await log.trim(**everything, never_from=1000) > 40


async def keyed(log, count, keys):
    for _ in range(count):
        offset = log.next_offset
        await log.synced(log.append([Record(b"%d" % offset * 10, b"k%d" % (offset % keys))]))


async def test_compact_keeps_the_newest_of_each_key_at_its_offset(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        await fill(log, 3)  # without keys: they stay
        await keyed(log, 60, keys=5)
        before = dict(await values(log))
        sealed_end = max(int(path.name[:20]) for path in disk.files)
        size = log.size
        freed = await log.compact()
        assert freed > 0
        assert log.size == size - freed
        after = dict(await values(log))
        newest = {0, 1, 2, *range(58, 63), *range(sealed_end, 63)}
        assert after == {offset: before[offset] for offset in newest}
        assert await log.compact() == 0
        assert all(log.read(offset)[0].next_offset > offset for offset in range(63))
        assert not await log.verify()
    async with open_seglog(PLACE, SMALL) as log:
        assert dict(await values(log)) == after


async def test_tombstones_stay_until_their_time(disks, disk):
    clock = disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        await keyed(log, 1, keys=1)
        await log.synced(log.append([Record(None, b"k0")]))
        clock.advance(1)
        await fill(log, 30)
        await log.compact()
        assert (await values(log))[0] == (1, None)
        await log.compact(tombstones_before_ms=clock.now_ms())
        assert (await values(log))[0][0] == 2


async def test_a_key_whose_newest_record_is_not_durable_keeps_the_older_one(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        await keyed(log, 1, keys=1)
        await fill(log, 30)
        await log.written(log.append([Record(b"new", b"k0")]))
        await log.compact()
        assert (await values(log))[0][0] == 0


async def test_housekeeping_leaves_alone_what_is_not_durable(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        for _ in range(60):
            await log.written(log.append([Record(b"v" * 50, b"k")]))
        assert len(disk.files) > 2
        assert await log.compact() == 0
        assert await log.trim(bytes_max=0) == 0


async def test_housekeeping_that_the_disk_refuses_leaves_the_log_whole(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        await keyed(log, 60, keys=5)
        before = await values(log)
        disk.room_bytes = 0
        with pytest.raises(HousekeepingFailed, match="compact stopped"):
            await log.compact()
        disk.room_bytes = 60
        with pytest.raises(HousekeepingFailed, match="compact stopped"):
            await log.compact()
        disk.room_bytes = None
        assert await values(log) == before
        disk.faults.failing["sync_directory"] = OSError(errno.EIO, "input/output error")
        with pytest.raises(HousekeepingFailed, match="trim stopped"):
            await log.trim(below_offset=20)
        disk.faults.failing.clear()
        assert await log.compact() > 0
        assert not [path for path in disk.files if path.name.endswith("compacting")]


async def test_compact_refuses_a_damaged_segment_and_keeps_it(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        await keyed(log, 60, keys=5)
        path = min(disk.files)
        disk.files[path].content[HEADER_BYTES + 20] ^= 1
        before = bytes(disk.files[path].content)
        with pytest.raises(SegmentDamaged):
            await log.compact()
        assert bytes(disk.files[path].content) == before
