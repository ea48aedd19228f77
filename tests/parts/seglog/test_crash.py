"""What a crash leaves: of a process at any byte, of the power at any sector, of a bit anywhere."""

import asyncio
import errno
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bastide.base import faults
from bastide.parts.seglog.contract import LogFailed, Options, SegmentDamaged
from bastide.parts.seglog.core import Record, entries
from bastide.parts.seglog.log import open_seglog

PLACE = Path("/log")
SMALL = Options(segment_bytes=1 << 10)


def value(offset):
    return f"value {offset} ".encode() * (1 + offset % 4)


async def append(log, count):
    first = log.next_offset
    return log.append([Record(value(first + n), b"key %d" % (n % 3)) for n in range(count)])


async def read_all(log):
    return {entry.offset: entry.value async for entry in log.scan(log.first_offset)}


async def busy_log(acked):
    """Some appends, written, synced and neither, over some segments; `acked` tells what is safe."""
    async with open_seglog(PLACE, SMALL) as log:
        for turn in range(12):
            last = await append(log, 1 + turn % 5)
            if turn % 3 == 0:
                await log.synced(last)
                acked["synced"] = last + 1
            await log.written(last)
            acked["written"] = last + 1
            if turn % 2:
                acked["written"] = log.append_now(value(last + 1)) + 1
    acked["synced"] = acked["written"]


@pytest.mark.box("seglog.kill-at-every-write")
async def test_a_process_killed_at_any_byte_of_any_write_loses_nothing_acknowledged(disks):
    disk, acked, images = disks.new(), {"written": 0, "synced": 0}, []

    def remember(path, at, data):
        image = {name: bytes(inode.content) for name, inode in disk.files.items()}
        images.append((image, acked["written"], path, at, data))

    disks.on_write(disk, remember)
    disks.use(disk)
    await busy_log(acked)
    assert len(disk.files) >= 3
    for image, safe, path, at, data in images:
        for length in range(len(data) + 1):
            torn = {**image, path: image[path][:at] + data[:length] + image[path][at + length :]}
            disks.use(disks.of(torn))
            async with open_seglog(PLACE, SMALL) as log:
                found = await read_all(log)
                assert log.next_offset == len(found) >= safe
                assert found == {offset: value(offset) for offset in found}


@pytest.mark.box("seglog.flipped-bits")
@pytest.mark.parametrize("state", ["closed", "killed after synced", "killed after written"])
async def test_no_flipped_bit_goes_unnoticed_or_costs_a_record_silently(disks, state):
    disk = disks.new()
    disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        for turn in range(6):
            last = await append(log, 1 + turn % 4)
            last = log.append_now(value(last + 1))
            await (log.written if state == "killed after written" else log.synced)(last)
        killed = disk.killed()
    disk = disk.killed() if state == "closed" else killed
    image = {path: bytes(inode.content) for path, inode in disk.files.items()}
    assert len(image) >= 2
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    for path, content in image.items():
        for at in range(len(content)):
            for bit in chance.sample(range(8), min(disks.rounds, 8)):
                flipped = bytearray(content)
                flipped[at] ^= 1 << bit
                await _check_flipped(disks, {**image, path: bytes(flipped)}, count=last + 1)


async def _check_flipped(disks, image, count):
    disks.use(disks.of(image))
    found, cut = {}, False
    try:
        async with open_seglog(PLACE, SMALL) as log:
            cut = bool(log.repair)
            told = cut or bool(await log.verify())
            offset = log.first_offset
            while offset < log.next_offset:
                offset = _read_or_step_over(log, offset, found)
    except SegmentDamaged:
        told = True
    assert told  # even of a mark or a seal, which hold no record
    assert all(found[offset] == value(offset) for offset in found)
    assert len(found) == count or not cut  # what was acknowledged is never cut off


def _read_or_step_over(log, offset, found):
    try:
        batches = log.read(offset)
    except SegmentDamaged as error:
        damage = error.damage
    else:
        for batch in batches:
            found |= {entry.offset: entry.value for entry in entries(batch)}
        return batches[-1].next_offset
    assert damage.first_offset <= offset < damage.resume_offset
    return damage.resume_offset


@pytest.mark.box("seglog.power-cut")
async def test_a_power_cut_loses_nothing_synced_and_never_looks_like_damage(disks):
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(60 * disks.rounds):
        disk, acked, cuts = disks.new(chance), {"written": 0, "synced": 0}, []

        def cut(path, at, data, disk=disk, acked=acked, cuts=cuts):
            if chance.random() < 0.3:
                cuts.append((disk.crashed(), acked["synced"]))

        disks.on_write(disk, cut)
        disks.use(disk)
        await busy_log(acked)
        for after, safe in [*cuts, (disk.crashed(), acked["synced"])]:
            disks.use(after)
            async with open_seglog(PLACE, SMALL) as log:
                assert log.next_offset >= safe
                found = await read_all(log)
                assert found == {offset: value(offset) for offset in range(log.next_offset)}
                await log.synced(await append(log, 1))
                assert all(_hits_no_record(damage) for damage in await log.verify())


def _hits_no_record(damage):
    return damage.first_offset == damage.resume_offset


async def test_opening_writes_again_what_a_failed_sync_left_behind(disks):
    disk = disks.new(random.Random(2))  # it draws that the sector did not come down
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        last = await append(log, 3)
        await log.written(last)
        disk.faults.failing["sync"] = OSError(errno.EIO, "input/output error")
        with pytest.raises(LogFailed):
            await log.synced(last)
        disk.faults.failing.clear()
        killed, written = disk.killed(), []
    disks.on_write(killed, lambda path, at, data: written.append((at, len(data))))
    disks.use(killed)
    async with open_seglog(PLACE) as log:
        assert written[0][0] == 0
        assert log.durable_offset == 3
        disks.use(killed.crashed())
    async with open_seglog(PLACE) as log:
        assert len(await read_all(log)) == 3


async def test_a_synced_batch_that_lost_a_sector_is_damaged_not_torn(disks):
    disk = disks.new()
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        await log.synced(log.append([Record(b"x" * 3000)]))
        killed = disk.killed()
    for inode in killed.files.values():
        inode.content[1024:1536] = bytes(512)
    disks.use(killed)
    with pytest.raises(SegmentDamaged):
        async with open_seglog(PLACE):
            pass


async def test_a_write_that_went_to_another_place_is_told(disks):
    disk = disks.new()
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        for _ in range(3):
            await log.synced(log.append([Record(b"same size")]))
        with_marks = disk.files[next(iter(disk.files))].content
        size = len(with_marks) // 3
    with_marks[size : size + size // 2] = with_marks[: size // 2]
    with pytest.raises(SegmentDamaged) as told:
        async with open_seglog(PLACE):
            pass
    assert (told.value.damage.first_offset, told.value.damage.resume_offset) == (1, 2)


async def test_what_compaction_kept_survives_a_power_cut(disks):
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    disk = disks.new(random.Random(seed))
    disks.use(disk)
    async with open_seglog(PLACE, SMALL) as log:
        for _ in range(30):
            await log.synced(await append(log, 3))
        await log.compact()
        cuts = [disk.crashed() for _ in range(20)]
    for after in cuts:
        disks.use(after)
        async with open_seglog(PLACE, SMALL) as log:
            found = await read_all(log)
            assert {87, 88, 89} <= found.keys()
            assert found == {offset: value(offset) for offset in found}
            assert not await log.verify()


async def test_a_batch_of_another_log_inside_a_torn_one_is_not_taken_for_a_following_one(disks):
    disk = disks.new()
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        await log.synced(await append(log, 3))
    stored = bytes(next(iter(disk.files.values())).content)
    other = Path("/other")
    async with open_seglog(other) as log:
        await log.written(log.append_opaque(stored, offset_count=1))
        killed = disk.killed()
    name = next(path for path in killed.files if path.parent == other)
    torn = bytes(killed.files[name].content)[: len(stored) + 20]
    disks.use(disks.of({name: torn}))
    async with open_seglog(other) as log:
        assert log.next_offset == 0
        assert log.repair.first_byte == 0
        assert log.repair.end_byte == len(torn)


POINTS = {
    "seglog.before_write": 14,
    "seglog.after_write": 14,
    "seglog.before_create": 2,
    "seglog.after_create": 2,
    "seglog.before_sync": 5,
    "seglog.before_directory_sync": 1,
    "seglog.after_sync": 5,
    "seglog.trimmed": 1,
    "seglog.compaction_written": 2,
    "seglog.compaction_synced": 2,
    "seglog.compaction_renamed": 2,
}


@pytest.mark.box("seglog.kill-9")
async def test_kill_9_at_every_named_point_loses_nothing_acknowledged(tmp_path):
    program = Path(__file__).with_name("dies.py")
    cases = [(point, nth) for point, count in POINTS.items() for nth in range(1, count + 1)]
    arguments = [f"{point}:{nth}" for point, nth in cases]
    process = await asyncio.create_subprocess_exec(
        sys.executable, program, tmp_path, *arguments, stdout=subprocess.PIPE
    )
    told, _ = await process.communicate()
    ends = dict(line.split() for line in told.decode().splitlines())
    assert process.returncode == 0
    assert ends == dict.fromkeys(arguments, str(-signal.SIGKILL))
    for argument in arguments:
        await _check_after_death(tmp_path / argument)


async def _check_after_death(place):
    acked = [int(line) for line in (place / "acked").read_text().split()]
    async with open_seglog(place / "log", SMALL) as log:
        assert not await log.verify()
        assert log.next_offset >= max(acked, default=0)
        assert not [path for path in os.listdir(place / "log") if path.endswith(".compacting")]
        found = {entry.offset: entry async for entry in log.scan(log.first_offset)}
        assert all(entry.value == value(offset) for offset, entry in found.items())
        newest = {offset % 3: offset for offset in range(log.first_offset, log.next_offset)}
        assert set(newest.values()) <= found.keys()
        if not (place / "compacting").exists():
            assert len(found) == log.next_offset - log.first_offset


async def test_a_failing_point_is_a_failing_write(disks):
    disk = disks.new()
    disks.use(disk)
    async with open_seglog(PLACE) as log:
        with faults.armed("seglog.before_write", faults.failing(OSError(28, "full"))):
            last = await append(log, 1)
            with pytest.raises(Exception, match="full"):
                await log.written(last)
