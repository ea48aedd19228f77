"""What a simulated disk keeps, loses and refuses."""

import asyncio
import errno
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.base.rt import runtime
from bastide.base.rt.clock import ManualClock
from bastide.base.rt.runtime import Runtime
from bastide.parts.sim.disk.disk import DiskGone, SimDisk
from bastide.parts.sim.disk.inode import SECTOR_BYTES, VERSIONS_MAX
from tests.parts.sim_disk.kit import run

PLACE = Path("/place")
A, B = PLACE / "a", PLACE / "b"
NAMES = [PLACE / name for name in "abc"]
SEEDS = range(60)


def disk_with(content=None, seed=1):
    disk = SimDisk(random.Random(seed))
    disk.make_directory(PLACE)
    if content is not None:
        file = disk.open(A, create=True)
        file.write([content], at=0)
        file.sync_now()
        disk.sync_directory_now(PLACE)
    return disk


def content_of(disk, path=A):
    file = disk.open_to_read(path)
    return file.read(file.size(), at=0)


def outcomes(disk, path=A):
    """The different contents that many crashes leave; None for no file."""
    found = set()
    for _ in SEEDS:
        after = disk.crashed()
        found.add(content_of(after, path) if after.exists(path) else None)
    return found


# a model: of each byte, what may be there after a crash


class Model:
    """For each file the contents that it has had since its last sync, and of each name those files
    that it may stand for.
    """

    def __init__(self):
        self.files = {}  # of each path, the versions of its file since the last sync
        self.names = {path: [None] for path in NAMES}  # None: no file

    def check(self, disk):
        """`disk` came out of a crash."""
        for path, files in self.names.items():
            if not disk.exists(path):
                assert None in files
                continue
            content = content_of(disk, path)
            assert any(file is not None and _could_be(content, file) for file in files)


def _could_be(content, versions):
    return len(content) in map(len, versions) and all(
        any(_sector(content, at) == _sector(old, at, len(content)) for old in versions)
        for at in range(0, len(content), SECTOR_BYTES)
    )


def _sector(content, at, size=None):
    cut = content if size is None else content[:size].ljust(size, b"\0")
    return cut[at : at + SECTOR_BYTES]


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("write"),
            st.sampled_from(NAMES),
            st.integers(0, 1500),
            st.integers(1, 1200),
            st.integers(1, 255),
        ),
        st.tuples(st.just("truncate"), st.sampled_from(NAMES), st.integers(0, 1500)),
        st.tuples(st.sampled_from(["sync", "remove"]), st.sampled_from(NAMES)),
        st.tuples(st.just("rename"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
        st.just(("sync_directory",)),
    ),
    max_size=25,
)


@given(STEPS, st.integers(0, 1 << 30))
@settings(max_examples=250, deadline=None, database=None)
def test_a_crash_leaves_what_was_synced_and_of_the_rest_any_version_of_each_sector(steps, seed):
    disk, model, now = disk_with(seed=seed), Model(), {}
    for step in steps:
        _take(disk, model, now, *step)
        for path, versions in now.items():
            assert content_of(disk, path) == versions[-1]
        assert disk.list_directory(PLACE) == sorted(path.name for path in now)
        model.check(disk.crashed())
    after = disk.crash()
    model.check(after)
    assert {path: content_of(after, path) for path in after.files} == {
        path: inode.durable for path, inode in after.crashed().files.items()
    }


def _take(disk, model, now, verb, path=None, *rest):
    if verb == "write":
        at, count, byte = rest
        if path not in now:
            disk.open(path, create=True)
            now[path] = [b""]
            model.names[path].append(now[path])
        data = bytes([byte]) * count
        disk.open(path).write([data], at=at)
        old = now[path][-1].ljust(at, b"\0")
        now[path].append(old[:at] + data + old[at + count :])
    elif verb == "sync_directory":
        disk.sync_directory_now(PLACE)
        model.names = {path: [now.get(path)] for path in NAMES}
    elif path in now:
        _change(disk, model, now, verb, path, *rest)


def _change(disk, model, now, verb, path, *rest):
    match verb:
        case "truncate":
            (size,) = rest
            disk.open(path).truncate(size)
            now[path].append(now[path][-1][:size].ljust(size, b"\0"))
        case "sync":
            disk.open(path).sync_now()
            del now[path][:-1]
        case "remove":
            disk.remove(path)
            del now[path]
            model.names[path].append(None)
        case "rename":
            (target,) = rest
            disk.rename(path, target)
            moved = now.pop(path)
            now[target] = moved
            model.names[path].append(None)
            model.names[target].append(moved)


# bytes and lengths


def test_what_is_synced_is_there_after_every_crash():
    assert outcomes(disk_with(b"x" * 3000)) == {b"x" * 3000}


def test_an_unsynced_write_is_there_or_not_or_torn_between_sectors():
    disk = disk_with(b"x" * 1024)
    disk.open(A).write([b"y" * 512, b"z" * 512], at=0)
    old, new, other = b"x" * 512, b"y" * 512, b"z" * 512
    assert outcomes(disk) == {old * 2, new + old, old + other, new + other}


def test_an_older_version_of_a_sector_may_be_the_one_that_was_written_back():
    disk = disk_with(b"x" * 512)
    for byte in (b"1", b"2", b"3"):
        disk.open(A).write([byte * 512], at=0)
    assert outcomes(disk) == {byte * 512 for byte in (b"x", b"1", b"2", b"3")}


def test_of_many_versions_a_sync_brings_down_its_own():
    async def main():
        disk = disk_with(b"x" * 512)
        disk.faults.sync_s = (1.0, 1.0)
        file = disk.open(A)
        file.write([b"synced"], at=0)
        sync = asyncio.create_task(file.sync())
        await asyncio.sleep(0.5)
        for n in range(VERSIONS_MAX + 1):
            file.write([b"later%d" % n], at=0)
        await sync
        assert disk.files[A].durable[:6] == b"synced"
        found = {content[:6] for content in outcomes(disk)}
        assert {b"synced", b"later%d" % VERSIONS_MAX} <= found
        assert b"later0" not in found  # the oldest of VERSIONS_MAX + 1

    run(main())


def test_two_syncs_that_overlap_leave_the_newer_bytes():
    async def main():
        disk = disk_with(b"x" * 512)
        file = disk.open(A)
        file.write([b"1"], at=0)
        disk.faults.sync_s = (2.0, 2.0)
        slow = asyncio.create_task(file.sync())
        await asyncio.sleep(0)
        file.write([b"2"], at=0)
        disk.faults.sync_s = (1.0, 1.0)
        await file.sync()
        await slow
        assert outcomes(disk) == {b"2" + b"x" * 511}

    assert run(main())[1] == 2.0


def test_a_length_is_durable_only_after_a_sync():
    disk = disk_with(b"x" * 10)
    disk.open(A).truncate(600)
    disk.open(A).truncate(4)
    assert {len(content) for content in outcomes(disk)} == {4, 10, 600}
    disk.open(A).sync_now()
    assert outcomes(disk) == {b"xxxx"}


def test_bytes_cut_off_do_not_come_back_when_the_file_grows_again():
    disk = disk_with(b"x" * 1024)
    disk.open(A).truncate(0)
    disk.open(A).truncate(1024)
    assert content_of(disk) == bytes(1024)
    disk.open(A).sync_now()
    assert outcomes(disk) == {bytes(1024)}


def test_a_process_that_is_killed_loses_nothing_but_what_it_left_unsynced_stays_so():
    disk = disk_with(b"old")
    disk.open(A).write([b"new"], at=0)
    after = disk.kill()
    assert content_of(after) == b"new"
    assert outcomes(after) == {b"old", b"new"}
    after.open(A).sync_now()
    assert outcomes(after) == {b"new"}


def test_a_crash_repeats_with_its_seed():
    def crashed():
        disk = disk_with(b"x" * 5000, seed=5)
        for at in range(0, 5000, 700):
            disk.open(A).write([b"y" * 600], at=at)
        return [content_of(disk.crashed()) for _ in range(20)]

    assert crashed() == crashed()
    assert len(set(crashed())) > 5


# names


def test_a_name_is_durable_only_after_the_directory_was_synced():
    disk = disk_with()
    file = disk.open(A, create=True)
    file.write([b"x"], at=0)
    file.sync_now()
    assert outcomes(disk) == {b"x", None}
    disk.sync_directory_now(PLACE)
    assert outcomes(disk) == {b"x"}
    disk.remove(A)
    assert outcomes(disk) == {b"x", None}


def test_a_rename_is_whole_or_has_not_been():
    disk = disk_with(b"new")
    file = disk.open(B, create=True)
    file.write([b"old"], at=0)
    file.sync_now()
    disk.sync_directory_now(PLACE)
    disk.rename(A, B)
    left = {
        tuple((path.name, content_of(after, path)) for path in sorted(after.files))
        for after in (disk.crashed() for _ in SEEDS)
    }
    assert left == {(("a", b"new"), ("b", b"old")), (("b", b"new"),)}


def test_a_name_made_while_a_directory_is_being_synced_is_not_durable():
    async def main():
        disk = disk_with()
        disk.faults.sync_s = (1.0, 1.0)
        disk.open(A, create=True)
        sync = asyncio.create_task(disk.sync_directory(PLACE))
        await asyncio.sleep(0.5)
        disk.open(B, create=True)
        await sync
        assert set(disk.durable_files) == {A}

    run(main())


def test_a_file_that_was_removed_is_still_there_for_who_has_it_open():
    disk = disk_with(b"x")
    file = disk.open(A)
    disk.remove(A)
    assert file.read(1, at=0) == b"x"
    assert not disk.exists(A)


# refusals of a healthy disk


def expect(number, call, *args, **kwargs):
    with pytest.raises(OSError) as told:
        call(*args, **kwargs)
    assert told.value.errno == number


def test_names_that_are_wrong_are_refused_as_posix_does():
    disk = disk_with(b"x")
    expect(errno.EEXIST, disk.open, A, create=True)
    expect(errno.EEXIST, disk.make_directory, A / "below")
    expect(errno.ENOENT, disk.open, B)
    expect(errno.ENOENT, disk.open_to_read, B)
    expect(errno.ENOENT, disk.open, PLACE / "none" / "a", create=True)
    expect(errno.ENOENT, disk.remove, B)
    expect(errno.ENOENT, disk.rename, B, A)
    expect(errno.ENOENT, disk.list_directory, PLACE / "none")
    expect(errno.ENOENT, disk.sync_directory_now, PLACE / "none")
    expect(errno.EISDIR, disk.open, PLACE)
    expect(errno.EISDIR, disk.rename, A, PLACE)
    expect(errno.EXDEV, disk.rename, A, Path("/a"))
    assert disk.list_directory(PLACE) == ["a"]
    assert disk.list_directory(Path("/")) == ["place"]


def test_a_file_that_is_closed_or_only_read_refuses():
    disk = disk_with(b"x")
    reading = disk.open_to_read(A)
    expect(errno.EBADF, reading.write, [b"y"], at=0)
    expect(errno.EBADF, reading.truncate, 0)
    expect(errno.EBADF, reading.fileno)
    reading.close()
    expect(errno.EBADF, reading.read, 1, at=0)


def test_a_file_knows_when_it_was_changed():
    clock = ManualClock()
    runtime.run_on(Runtime(clock=clock))
    disk = disk_with(b"x")
    clock.advance(60)
    assert disk.open(A).modified_s() * 1000 == clock.now_ms() - 60_000
    disk.open(A).write([b"y"], at=0)
    assert disk.killed().open(A).modified_s() * 1000 == clock.now_ms()


# death


def test_after_death_everything_raises_and_nothing_has_an_effect():
    async def main():
        disk = disk_with(b"x")
        file = disk.open(A)
        disk.faults.sync_s = (1.0, 1.0)
        file.write([b"y"], at=0)
        syncs = [asyncio.create_task(c) for c in (file.sync(), disk.sync_directory(PLACE))]
        await asyncio.sleep(0.5)
        after = disk.kill()
        for sync in syncs:
            with pytest.raises(DiskGone):
                await sync
        for call in (
            lambda: file.write([b"z"], at=0),
            lambda: file.read(1, at=0),
            lambda: file.truncate(0),
            file.sync_now,
            file.size,
            file.modified_s,
            file.close,
            lambda: disk.open(A),
            lambda: disk.open_to_read(A),
            lambda: disk.open(B, create=True),
            lambda: disk.exists(A),
            lambda: disk.list_directory(PLACE),
            lambda: disk.make_directory(B),
            lambda: disk.rename(A, B),
            lambda: disk.remove(A),
            lambda: disk.sync_directory_now(PLACE),
        ):
            with pytest.raises(DiskGone):
                call()
        assert content_of(after) == b"y"
        assert after.files[A].durable == b"x"

    run(main())


def test_who_dies_before_an_operation_does_not_do_it():
    disk = disk_with(b"x")
    seen = []

    def before(operation, path, at, data):
        seen.append((operation, path, at, data))
        disk.die()

    file = disk.open(A)
    disk.before = before
    expect(errno.EIO, file.write, [b"y", b"z"], at=1)
    assert seen == [("write", A, 1, b"yz")]
    assert content_of(disk.crashed()) == b"x"


# faults


def test_a_failed_sync_calls_pages_clean_that_are_not_and_no_later_sync_helps():
    lost = 0
    for seed in SEEDS:
        disk = disk_with(b"x" * 1024, seed)
        file = disk.open(A)
        file.write([b"y" * 1024], at=0)
        disk.faults.risk["sync"] = 1.0
        expect(errno.EIO, file.sync_now)
        disk.faults.risk.clear()
        file.sync_now()  # says that all is well
        assert content_of(disk) == b"y" * 1024
        after = outcomes(disk)
        assert len(after) == 1  # nothing is pending any more
        lost += after != {b"y" * 1024}
        file.write([b"y"], at=0)
        file.write([b"y"], at=512)  # dirty again
        file.sync_now()
        assert outcomes(disk) == {b"y" * 1024}
    assert 0 < lost < len(SEEDS)


def test_a_disk_without_room_takes_a_part_and_says_so():
    disk = disk_with(b"x" * 10)
    disk.room_bytes = 5
    file = disk.open(A)
    expect(errno.ENOSPC, file.write, [b"y" * 6], at=10)
    assert content_of(disk) == b"x" * 10 + b"y" * 5
    file.write([b"z" * 15], at=0)  # what is there needs no room
    expect(errno.ENOSPC, disk.open, B, create=True)
    expect(errno.ENOSPC, file.truncate, 16)
    file.truncate(5)
    assert disk.room_bytes == 10
    disk.open(B, create=True).write([b"w" * 4], at=0)
    disk.rename(B, A)
    assert disk.room_bytes == 11
    disk.remove(A)
    assert disk.room_bytes == 15
    assert disk.crashed().room_bytes in range(16)


@pytest.mark.parametrize("operation", ["open", "create", "rename", "remove", "read", "truncate"])
def test_an_operation_fails_when_it_is_told_to(operation):
    disk = disk_with(b"x")
    calls = {
        "open": lambda: disk.open(A),
        "create": lambda: disk.open(B, create=True),
        "rename": lambda: disk.rename(A, B),
        "remove": lambda: disk.remove(A),
        "read": lambda: content_of(disk),
        "truncate": lambda: disk.open(A).truncate(0),
    }
    disk.faults.failing[operation] = OSError(errno.EMFILE, "too many")
    expect(errno.EMFILE, calls[operation])
    disk.faults.failing.clear()
    disk.faults.risk[operation] = 1.0
    if operation == "create":
        assert disk.exists(B)  # the name is left
        disk.remove(B)
    expect(errno.EIO, calls[operation])
    disk.faults.risk.clear()
    assert content_of(disk) == b"x"


def test_a_write_that_fails_leaves_a_part():
    left = set()
    for seed in SEEDS:
        disk = disk_with(b"", seed)
        disk.faults.risk["write"] = 1.0
        expect(errno.EIO, disk.open(A).write, [b"abc"], at=0)
        left.add(content_of(disk))
    assert left == {b"", b"a", b"ab", b"abc"}


def test_a_bit_that_rots_is_wrong_now_and_after_a_crash_unless_it_is_written_again():
    disk = disk_with(bytes(1024))
    disk.open(A).write([b"\1"], at=600)
    disk.rot(A, 5, 3)
    disk.rot(A, 700, 0)  # below a dirty sector
    assert content_of(disk)[5] == 8
    assert content_of(disk)[700] == 0
    disk.open(A).sync_now()
    (left,) = outcomes(disk)
    assert (left[5], left[600], left[700]) == (8, 1, 0)


def test_a_write_that_is_lost_shows_after_a_crash_though_its_sync_was_well():
    disk = disk_with(b"x" * 1024)
    disk.faults.lost = 1.0
    disk.open(A).write([b"y" * 1024], at=0)
    disk.open(A).sync_now()
    assert content_of(disk) == b"y" * 1024
    (left,) = outcomes(disk)
    assert sorted((left[:512], left[512:])) == [b"x" * 512, b"y" * 512]


def test_a_write_that_goes_astray_overwrites_another_sector():
    left = set()
    for seed in SEEDS:
        disk = disk_with(b"1" * 512 + b"2" * 512 + b"3" * 512, seed)
        disk.faults.misdirected = 1.0
        disk.open(A).write([b"y" * 512], at=512)
        disk.open(A).sync_now()
        left |= {content[::512] for content in outcomes(disk)}
    assert left == {b"y23", b"1y3", b"12y"}


def test_a_slow_disk_takes_its_time_and_others_go_on():
    async def main():
        disk = disk_with(b"x")
        disk.faults.sync_s = (0.5, 1.5)
        ticks = []

        async def ticking():
            while True:
                ticks.append(asyncio.get_running_loop().time())
                await asyncio.sleep(0.1)

        task = asyncio.create_task(ticking())
        for _ in range(10):
            await disk.open(A).sync()
        task.cancel()
        assert len(ticks) > 50

    assert 5 < run(main())[1] < 15
