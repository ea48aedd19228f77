"""Clock, chance, disk, lock and sockets of the machine, and the runtime that holds them."""

import asyncio
import errno
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.base.rt import disk as disks
from bastide.base.rt import net
from bastide.base.rt.clock import ManualClock, SystemClock
from bastide.base.rt.disk import WRITEV_MAX, File, SystemDisk
from bastide.base.rt.lock import FileLock, LockHeld
from bastide.base.rt.runtime import Chance, Runtime, current, monotonic, now_ms, run_on


def test_the_systems_clock_is_in_milliseconds_and_never_steps_back() -> None:
    clock = SystemClock()
    seen_s = [clock.monotonic() for _ in range(1000)]
    assert seen_s == sorted(seen_s)
    assert 1_700_000_000_000 < clock.now_ms() < 5_000_000_000_000


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(now_ms=1_000)
    begun_s = clock.monotonic()
    clock.advance(1.5)
    assert (clock.now_ms(), clock.monotonic() - begun_s) == (2_500, 1.5)
    clock.step(-2)
    assert (clock.now_ms(), clock.monotonic() - begun_s) == (500, 1.5), "only the wall clock steps"
    with pytest.raises(AssertionError):
        clock.advance(-1)


def test_chance_with_a_seed_repeats_and_without_one_does_not() -> None:
    assert Chance(7).token(16) == Chance(7).token(16) != Chance(8).token(16)
    assert Chance().token(16) != Chance().token(16)
    assert len(Chance().token(5)) == 5
    with pytest.raises(NotImplementedError):
        Chance().random.getstate()  # the system's own chance has no state that could be guessed


async def test_a_task_runs_on_the_runtime_of_the_one_that_started_it() -> None:
    outside = current()
    clock = ManualClock(now_ms=7)

    async def node() -> tuple[int, float]:
        run_on(Runtime(clock=clock))
        return await asyncio.create_task(read())

    async def read() -> tuple[int, float]:
        return now_ms(), monotonic()

    assert await asyncio.create_task(node()) == (7, clock.monotonic())
    assert current() is outside


@pytest.fixture
def disk() -> SystemDisk:
    return SystemDisk()


@pytest.fixture
def file(disk: SystemDisk, tmp_path: Path):
    made = disk.open(tmp_path / "file", create=True)
    yield made
    made.close()


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(0, 100))
def test_what_is_written_is_read_from_any_place(buffers: list[bytes], at: int) -> None:
    whole = b"".join(buffers)
    with TemporaryDirectory() as directory:
        file = SystemDisk().open(Path(directory) / "file", create=True)
        file.write(buffers, at=at)
        assert file.read(len(whole) + 10, at=at) == whole
        assert file.read(3, at=at + 1) == whole[1:4]
        assert file.size() == (at + len(whole) if whole else 0)
        file.close()


@pytest.mark.parametrize("count", [WRITEV_MAX, WRITEV_MAX + 1, WRITEV_MAX * 2 + 1])
def test_more_buffers_than_one_call_takes_are_all_written(file: File, count: int) -> None:
    file.write([str(n % 10).encode() for n in range(count)], at=0)
    assert file.read(count + 1, at=0) == "".join(str(n % 10) for n in range(count)).encode()


def test_a_write_that_was_cut_short_is_gone_on_with(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.pwritev

    def short(descriptor: int, buffers: list[bytes], at: int) -> int:
        return whole(descriptor, [b"".join(buffers)[:3]], at)

    monkeypatch.setattr(disks.os, "pwritev", short)
    file.write([b"abcd", b"efgh", b"ij"], at=2)
    assert file.read(100, at=2) == b"abcdefghij"


def test_a_disk_that_takes_nothing_more_is_full(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks.os, "pwritev", lambda *_: 0)
    with pytest.raises(OSError) as full:
        file.write([b"abc"], at=0)
    assert full.value.errno == errno.ENOSPC


async def test_files_are_synced_cut_and_closed(file: File) -> None:
    file.write([b"abcdef"], at=0)
    await file.sync()
    file.truncate(2)
    assert (file.size(), file.read(10, at=0)) == (2, b"ab")
    assert os.fstat(file.fileno()).st_size == 2


async def test_names_are_made_listed_renamed_and_removed(disk: SystemDisk, tmp_path: Path) -> None:
    directory = tmp_path / "a/b"
    disk.make_directory(directory)
    disk.make_directory(directory)
    for name in ("two", "one"):
        disk.open(directory / name, create=True).close()
    assert disk.list_directory(directory) == ["one", "two"]
    disk.rename(directory / "one", directory / "two")
    assert disk.list_directory(directory) == ["two"]
    assert disk.exists(directory / "two")
    disk.remove(directory / "two")
    assert not disk.exists(directory / "two")
    await disk.sync_directory(directory)


def test_create_refuses_what_is_there_and_open_what_is_not(
    disk: SystemDisk, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        disk.open(tmp_path / "file")
    disk.open(tmp_path / "file", create=True).close()
    with pytest.raises(FileExistsError):
        disk.open(tmp_path / "file", create=True)
    disk.open(tmp_path / "file").close()


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no mode")
def test_files_are_for_their_owner_alone(file: File) -> None:
    assert os.fstat(file.fileno()).st_mode & 0o077 == 0


def test_a_lock_is_held_by_one_and_names_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = FileLock(path)
    with pytest.raises(LockHeld) as held:
        FileLock(path)
    assert held.value.holder == f"process {os.getpid()}"
    lock.release()
    FileLock(path).release()


def test_a_lock_goes_with_its_process_however_that_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    program = (
        "import os; from pathlib import Path; from bastide.base.rt.lock import FileLock\n"
        f"lock = FileLock(Path({str(path)!r}))\n"
        "print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockHeld, match=f"process {holder.pid}"):
            FileLock(path)
        holder.kill()
    FileLock(path).release()


def test_a_busy_port_is_refused_and_one_near_it_found() -> None:
    with net.bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(OSError) as busy:
            net.bind("127.0.0.1", port)
        assert busy.value.errno == errno.EADDRINUSE
        with net.bind_near("127.0.0.1", port) as near:
            assert port < near.getsockname()[1] < port + net.PORTS_SKIPPED_MAX


def test_no_more_than_the_limit_of_ports_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net, "PORTS_SKIPPED_MAX", 1)
    with net.bind("127.0.0.1", 0) as first, pytest.raises(OSError) as busy:
        net.bind_near("127.0.0.1", first.getsockname()[1])
    assert busy.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("bind", [net.bind, net.bind_near])
def test_a_host_that_is_not_ours_is_refused(bind) -> None:
    with pytest.raises(OSError):
        bind("192.0.2.1", 0)
