"""The verbs of the log, its limits, what it refuses, and what it does when the disk refuses."""

import asyncio
import errno
import os
import socket

import pytest

from bastide.base.errors import Invalid, Limited, Unavailable
from bastide.parts.seglog import bench, contract
from bastide.parts.seglog.contract import (
    BufferFull,
    LogBusy,
    OffsetAhead,
    OffsetGone,
    OptionInvalid,
    Options,
    RecordTooLarge,
    SegmentDamaged,
)
from bastide.parts.seglog.core import HEADER_BYTES, Record, decode, entries
from bastide.parts.seglog.log import open_seglog
from bastide.parts.seglog.segment import FILES_OPEN_MAX
from tests.parts.seglog.kit import PLACE, SMALL, fill, some, values


@pytest.fixture
def disk(disks):
    return disks.new()


async def test_records_are_read_back_in_order_with_keys_and_tombstones(disks, disk):
    disks.use(disk)
    given = [Record(b"a", b"k"), Record(None, b"k"), Record(b"", b""), Record(b"b")]
    async with open_seglog(PLACE) as log:
        assert log.append(given) == 3
        await log.written(3)
        found = [entry async for entry in log.scan(0)]
    assert [(each.key, each.value) for each in found] == [(r.key, r.value) for r in given]
    assert [each.offset for each in found] == [0, 1, 2, 3]


async def test_all_appends_of_one_tick_are_one_write_and_one_batch(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        await asyncio.gather(*(log.written(log.append(some(n))) for n in range(50)))
        assert disk.counts["write"] == 1
        assert len(log.read(0)) == 1


async def test_append_now_has_written_when_it_returns_and_all_that_waited_before_it(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        assert log.append_now(b"first") == 0
        assert (log.written_offset, disk.counts["write"]) == (1, 1)
        waiting = asyncio.create_task(log.written(2))
        log.append(some(1))
        assert log.append_now(b"third") == 2
        assert (log.written_offset, disk.counts["write"]) == (3, 2)
        await waiting
        await log.synced(2)
        assert [value for _, value in await values(log)] == [b"first", some(1)[0].value, b"third"]


async def test_who_waits_for_a_record_is_told_when_it_is_written_now(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        waiting = [asyncio.create_task(wait(0)) for wait in (log.written, log.synced)]
        await asyncio.sleep(0)
        log.append_now(b"it")
        await asyncio.gather(*waiting)


async def test_append_now_begins_a_new_segment_when_one_is_full(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        for n in range(30):
            assert log.append_now(b"%d" % n) == n
    assert len(disk.files) > 3
    async with open_seglog(PLACE, SMALL) as log:
        assert await values(log) == [(n, b"%d" % n) for n in range(30)]


@pytest.mark.box("seglog.group-commit")
async def test_two_hundred_that_wait_for_synced_share_a_few_syncs(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE) as log:

        async def one(turn):
            for _ in range(turn % 5):
                await asyncio.sleep(0)
            await log.synced(log.append(some(turn)))

        await asyncio.gather(*map(one, range(200)))
        assert log.durable_offset == 200
        assert 1 <= log.sync_count <= 5


async def test_a_sync_covers_only_what_was_written_before_it_began(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        first = asyncio.create_task(log.synced(log.append(some(0))))
        await log.written(0)
        await asyncio.sleep(0)  # the sync runs
        await log.synced(log.append(some(1)))
        assert first.done()
        assert log.sync_count == 2


async def test_what_is_appended_while_a_sync_begins_is_not_called_durable(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        log.append_now(b"0")
        waiting = asyncio.create_task(log.synced(0))
        await asyncio.sleep(0)  # it has asked; the sync begins before this tick's write
        log.append(some(1))
        await waiting
        assert (log.durable_offset, log.written_offset) == (1, 2)


async def test_a_background_sync_comes_even_if_nobody_waits(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE, Options(sync_within_s=0.001)) as log:
        log.append(some(0))
        seen = asyncio.get_running_loop().time() + 5
        while log.durable_offset == 0:
            assert asyncio.get_running_loop().time() < seen
            await asyncio.sleep(0.001)


async def test_one_may_wait_for_a_record_that_is_yet_to_be_appended(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        waiting = asyncio.gather(log.written(1), log.synced(1))
        await fill(log, 1)
        assert not waiting.done()
        log.append(some(1))
        await waiting


async def test_an_opaque_batch_is_stored_as_it_is(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        log.append(some(0))
        assert log.append_opaque(b"theirs", offset_count=7) == 7
        await log.written(log.append(some(8)))
        batches = log.read(0)
        assert [(b.base_offset, b.next_offset) for b in batches] == [(0, 1), (1, 8), (8, 9)]
        assert batches[1].payload == b"theirs"
        assert entries(batches[1]) == []
        assert log.read(5)[0].base_offset == 1


async def test_a_log_is_reopened_with_all_its_segments(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        await fill(log, 60, per_batch=3)
        before = await values(log)
    assert len(disk.files) > 3
    async with open_seglog(PLACE, SMALL) as log:
        assert log.repair is None
        assert await values(log) == before
        assert (log.first_offset, log.next_offset, log.durable_offset) == (0, 60, 60)
        for offset in range(60):
            assert log.read(offset, bytes_max=1)[0].base_offset == offset - offset % 3


async def test_foreign_files_in_the_directory_are_left_alone(disks, disk):
    disks.use(disk)
    disk.make_directory(PLACE)
    disk.open(PLACE / "notes.txt", create=True)
    async with open_seglog(PLACE) as log:
        await fill(log, 1)
    async with open_seglog(PLACE) as log:
        assert log.next_offset == 1
    assert PLACE / "notes.txt" in disk.files


async def test_reading_outside_of_the_log_says_where_it_begins_and_ends(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        await fill(log, 40)
        await log.trim(below_offset=20)
        assert log.read(40) == []
        with pytest.raises(OffsetAhead) as ahead:
            log.read(41)
        assert ahead.value.next == 40
        with pytest.raises(OffsetGone) as gone:
            log.read(0)
        assert 0 < gone.value.first == log.first_offset <= 20
        with pytest.raises(OffsetAhead), log.slice_for_sendfile(40):
            pass


# --- limits ---------------------------------------------------------------------------------------


async def test_a_record_at_the_limit_is_taken_and_one_above_refused(disks, disk):
    disks.use(disk)
    limit = contract.RECORD_BYTES_MAX
    async with open_seglog(PLACE) as log:
        await log.written(log.append([Record(bytes(limit - 3), b"key")]))
        with pytest.raises(RecordTooLarge, match=f"{limit + 1} bytes; at most {limit}"):
            log.append([Record(bytes(limit - 2), b"key")])
        assert log.next_offset == 1
        assert log.append_now(bytes(limit)) == 1
        with pytest.raises(RecordTooLarge, match=f"{limit + 1} bytes; at most {limit}"):
            log.append_now(bytes(limit + 1))
        assert log.next_offset == 2


async def test_an_append_at_the_limit_of_a_batch_is_taken_and_one_above_refused(disks, disk):
    disks.use(disk)
    limit = contract.BATCH_BYTES_MAX
    async with open_seglog(PLACE) as log:
        log.append_opaque(bytes(limit), offset_count=1)
        with pytest.raises(RecordTooLarge):
            log.append_opaque(bytes(limit + 1), offset_count=1)
        records = [Record(bytes(contract.RECORD_BYTES_MAX))] * 7
        rest = limit - 4 - 12 * 8 - 7 * contract.RECORD_BYTES_MAX
        assert log.append([*records, Record(bytes(rest))]) == 8
        await log.written(8)
        with pytest.raises(RecordTooLarge):
            log.append([*records, Record(bytes(rest + 1))])


async def test_a_batch_covers_one_to_the_limit_of_offsets(disks, disk):
    disks.use(disk)
    limit = contract.BATCH_OFFSETS_MAX
    async with open_seglog(PLACE) as log:
        log.append_opaque(b"", offset_count=limit)
        for count in (0, limit + 1):
            with pytest.raises(Invalid, match=f"1 to {limit}"):
                log.append_opaque(b"", offset_count=count)
        with pytest.raises(Invalid):
            log.append([])


async def test_appends_of_one_tick_above_a_batch_become_two(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        for _ in range(9):
            last = log.append([Record(bytes(1_000_000))])
        await log.written(last)
        found = log.read(0, bytes_max=1 << 30)
        assert [batch.offset_count for batch in found] == [8, 1]


async def test_the_buffer_takes_its_limit_and_refuses_a_byte_more(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE, Options(buffered_bytes_max=1000)) as log:
        log.append_opaque(bytes(999), offset_count=1)
        log.append_opaque(bytes(1), offset_count=1)
        with pytest.raises(BufferFull) as full:
            log.append_opaque(bytes(1), offset_count=1)
        assert isinstance(full.value, Limited)
        assert full.value.retry_after_s > 0
        await log.written(1)
        log.append_opaque(bytes(1000), offset_count=1)


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        ("segment_bytes", contract.SEGMENT_BYTES_MIN, contract.SEGMENT_BYTES_MIN - 1),
        ("segment_bytes", contract.SEGMENT_BYTES_MAX, contract.SEGMENT_BYTES_MAX + 1),
        ("buffered_bytes_max", 1, 0),
        ("buffered_bytes_max", contract.BUFFERED_BYTES_MAX, contract.BUFFERED_BYTES_MAX + 1),
        ("sync_within_s", 0, -0.001),
    ],
)
def test_options_are_taken_up_to_their_limits(name, taken, refused):
    Options(**{name: taken})
    with pytest.raises(OptionInvalid, match=name):
        Options(**{name: refused})


async def test_a_batch_larger_than_a_segment_gets_one_of_its_own(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        for size in (10, 5000, 10):
            await log.synced(log.append_opaque(bytes(size), offset_count=1))
        assert len(disk.files) == 3
    async with open_seglog(PLACE, SMALL) as log:
        assert [len(log.read(n)[0].payload) for n in range(3)] == [10, 5000, 10]


# --- damage ---------------------------------------------------------------------------------------


async def test_damage_in_an_old_segment_is_told_in_reading_and_can_be_stepped_over(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        await fill(log, 40)
    first = min(disk.files)
    disk.files[first].content[HEADER_BYTES + 20] ^= 1
    async with open_seglog(PLACE, SMALL) as log:
        with pytest.raises(SegmentDamaged, match=first.name) as told:
            await values(log)
        damage = told.value.damage
        assert told.value.facts["first_byte"] == damage.first_byte
        assert isinstance(told.value, Unavailable)
        assert damage.first_byte <= HEADER_BYTES + 20 < damage.end_byte
        rest = await values(log, damage.resume_offset)
        assert [offset for offset, _ in rest] == list(range(damage.resume_offset, 40))
        assert await log.verify() == [damage]


async def test_damage_in_the_last_segment_refuses_to_open_and_changes_nothing(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        await fill(log, 9)
    (path,) = disk.files
    disk.files[path].content[HEADER_BYTES + 20] ^= 1
    before = bytes(disk.files[path].content)
    with pytest.raises(SegmentDamaged) as told:
        async with open_seglog(PLACE):
            pass
    assert (told.value.damage.first_offset, told.value.damage.resume_offset) == (0, 1)
    assert bytes(disk.files[path].content) == before


async def test_an_old_segment_without_its_end_is_told(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        await fill(log, 40)
    first = min(disk.files)
    del disk.files[first].content[300:]
    async with open_seglog(PLACE, SMALL) as log:
        with pytest.raises(SegmentDamaged) as told:
            await values(log)
        assert await log.verify() == [told.value.damage]


# --- time, sendfile -------------------------------------------------------------------------------


async def test_offset_at_finds_the_first_batch_of_a_time(disks, disk):
    clock = disks.use(disk)
    stamps = []
    async with open_seglog(PLACE, SMALL) as log:
        for turn in range(50):
            clock.advance(1 + turn % 3)
            stamps.append(clock.now_ms())
            await fill(log, 1)
    async with open_seglog(PLACE, SMALL) as log:
        for offset, stamp in enumerate(stamps):
            assert log.offset_at(stamp) == offset
            assert log.offset_at(stamp + 1) == offset + 1
        assert log.offset_at(0) == 0


async def test_stamps_stand_still_while_the_clock_is_set_back(disks, disk):
    clock = disks.use(disk)
    async with open_seglog(PLACE) as log:
        await fill(log, 1)
        clock.step(-3600)
        await fill(log, 1)
        clock.step(7200)
        await fill(log, 1)
        found = [entry.stamp_ms async for entry in log.scan(0)]
        assert found[0] == found[1] < found[2]


async def test_a_slice_is_sent_byte_for_byte_and_decodes_at_the_other_end(tmp_path):
    async with open_seglog(tmp_path, Options(segment_bytes=4096)) as log:
        await fill(log, 100, per_batch=2)
        offset, met = 0, []
        while offset < log.next_offset:
            with log.slice_for_sendfile(offset, bytes_max=700) as stored:
                sent = _send(stored)
                assert stored.count <= 700
            at = 0
            while at < len(sent):
                salt = int.from_bytes(sent[8:12], "little")
                batch = decode(sent, at, salt=salt)
                met += [(entry.offset, entry.value) for entry in entries(batch)]
                at += batch.size
            offset = stored.next_offset
        assert met == await values(log)
        batch = log.read(10, bytes_max=1)[0]
        with log.slice_for_sendfile(10, bytes_max=1) as stored:
            assert _send(stored)[HEADER_BYTES:] == batch.payload


def _send(stored):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert os.sendfile(ours.fileno(), stored.fileno, stored.position, stored.count)
        return theirs.recv(1 << 16)


async def test_a_slice_outlives_the_trimming_of_its_segment(tmp_path):
    async with open_seglog(tmp_path, SMALL) as log:
        await fill(log, 40)
        expected = log.read(0, bytes_max=1)[0].payload
        with log.slice_for_sendfile(0, bytes_max=1) as stored:
            assert await log.trim(bytes_max=0) > 0
            assert _send(stored)[HEADER_BYTES:] == expected


async def test_more_segments_than_open_files_are_read(tmp_path):
    async with open_seglog(tmp_path, SMALL) as log:
        for n in range(150):
            last = log.append_opaque(b"%d" % n * 400, offset_count=1)
        await log.synced(last)
        assert len(os.listdir(tmp_path)) > 64
        for n in range(150):
            assert log.read(n)[0].payload == b"%d" % n * 400
        assert len(os.listdir("/proc/self/fd")) < 140


@pytest.mark.parametrize("per_sync", [1, 150])
async def test_segments_that_nobody_has_read_are_not_kept_open(tmp_path, per_sync):
    before = len(os.listdir("/proc/self/fd"))
    async with open_seglog(tmp_path, SMALL) as log:
        for n in range(1, 151):
            last = log.append_opaque(b"%d" % n * 400, offset_count=1)
            if n % per_sync == 0:
                await log.synced(last)
        assert len(os.listdir(tmp_path)) > 100
        assert len(os.listdir("/proc/self/fd")) - before <= FILES_OPEN_MAX + 2
        assert [log.read(n)[0].base_offset for n in range(150)] == list(range(150))
    assert len(os.listdir("/proc/self/fd")) == before


async def test_an_old_segment_that_cannot_be_opened_now_is_read_later(disks, disk):
    disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        await fill(log, 1500)  # more files than are kept open
        disk.faults.failing["open"] = OSError(errno.EMFILE, "too many open files")
        with pytest.raises(LogBusy, match="too many open files"):
            log.read(0)
        disk.faults.failing.clear()
        assert log.read(0)


async def test_the_bench_syncs_as_often_as_the_plain_loop(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "PAIRS_MIN", 1)
    monkeypatch.setattr(bench, "BATCHES", 4)
    figures = await bench.bench_append(tmp_path, 0)  # asserts it
    assert figures["plain_100_ratio"] == 1.0
    assert figures["pipelined_1024_ratio"] > 0
