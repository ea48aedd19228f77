"""A group of one: no network, the same code, the same promises."""

import asyncio

import pytest

from bastide.base.errors import Conflict, Unavailable
from bastide.parts.raft.contract import (
    PAYLOAD_BYTES_MAX,
    Change,
    ChangeRefused,
    GroupFailed,
    OptionInvalid,
    Options,
    PayloadTooLarge,
    ProposalsOver,
)
from bastide.parts.raft.host import host as module
from bastide.parts.raft.host import life
from bastide.parts.raft.host.host import open_host
from bastide.parts.raft.host.machine import (
    SNAPSHOT_BYTES_MAX,
    SNAPSHOT_ENTRIES_MAX,
    Keeping,
)
from bastide.parts.seglog.contract import DiskFull, SegmentDamaged
from tests.parts.raft.host_kit import (
    ALONE,
    PLACE,
    QUICK,
    Register,
    fail_syncs,
    files,
    new_disk,
    until,
    use,
)


def alone(machine, **options):
    options.setdefault("options", QUICK)
    return open_host(PLACE, machine, node=1, members=ALONE, **options)


async def led(host):
    await until(lambda: host.leadership.is_here)


async def test_a_proposal_s_answer_is_what_the_machine_made_of_it():
    new_disk()
    machine = Register()
    async with alone(machine) as host:
        assert [await host.propose(b"%d" % n) for n in range(3)] == [1, 2, 3]
        assert machine.seen == [b"0", b"1", b"2"]
        assert host.applied == host.status().committed
        with pytest.raises(Conflict, match="as asked"):
            await host.propose(b"refuse this")


async def test_what_was_answered_is_there_after_a_restart_and_in_order():
    disk = new_disk()
    async with alone(Register()) as host:
        await asyncio.gather(*(host.propose(b"%d" % n) for n in range(500)))
    use(disk)
    machine = Register()
    async with alone(machine) as host:
        await host.read_index()
        assert machine.seen == [b"%d" % n for n in range(500)]


async def test_proposals_of_a_tick_share_a_sync():
    disk = new_disk()
    async with alone(Register()) as host:
        await host.propose(b"first")
        before = disk.counts["sync"]
        await asyncio.gather(*(host.propose(b"%d" % n) for n in range(1000)))
        assert disk.counts["sync"] - before <= 3


async def test_reads_wait_for_what_was_answered_before_and_share_a_round(monkeypatch):
    new_disk()
    machine = Register()
    async with alone(machine) as host:
        for lease in (False, True):
            await host.propose(b"x")
            indexes = await asyncio.gather(*(host.read_index(lease=lease) for _ in range(100)))
            assert set(indexes) <= {host.applied}
    async with alone(machine, options=Options(lease_drift=None)) as host:
        with pytest.raises(OptionInvalid, match="lease"):
            await host.read_index(lease=True)


async def test_a_snapshot_stands_for_the_log_and_is_restored():
    disk = new_disk()
    machine = Register()
    keeping = Keeping(snapshot_entries=100)
    async with alone(machine, keeping=keeping) as host:
        for n in range(450):
            await host.propose(b"%d" % n)
        await until(lambda: files(disk, ".snapshot"))
    use(disk)
    again = Register()
    async with alone(again, keeping=keeping) as host:
        assert again.restored == 1
        assert again.seen == machine.seen[: len(again.seen)]
        assert len(again.seen) >= 100
        await host.read_index()
        assert again.seen == machine.seen


async def test_a_snapshot_is_taken_after_so_many_bytes_too():
    disk = new_disk()
    async with alone(Register(), keeping=Keeping(snapshot_bytes=10_000)) as host:
        for _ in range(11):
            await host.propose(bytes(1000))
        await until(lambda: files(disk, ".snapshot"))


async def test_a_group_of_one_leads_when_it_is_opened_and_watchers_are_told_when_it_ends():
    new_disk()
    seen = []
    async with alone(Register()) as host:
        assert host.leadership.is_here
        stop = host.watch(seen.append)
        host.watch(lambda leadership: None)()
    assert [(each.leader, each.is_here) for each in seen] == [(0, False)]
    stop()


async def test_a_closed_group_refuses_and_who_waits_is_told():
    new_disk()
    async with alone(Register()) as host:
        waiting = asyncio.ensure_future(host.propose(b"late"))
        await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="closed"):
        await waiting
    with pytest.raises(Unavailable, match="closed") as refused:
        await host.propose(b"later")
    assert refused.value.outcome == "none"


async def test_who_asked_and_went_away_hurts_nobody():
    new_disk()
    machine = Register()
    async with alone(machine) as host:
        tasks = [asyncio.ensure_future(host.propose(b"%d" % n)) for n in range(10)]
        reading = asyncio.ensure_future(host.read_index())
        await asyncio.sleep(0)
        for task in (*tasks[::2], reading):
            task.cancel()
        assert await asyncio.gather(*tasks[1::2]) == [2, 4, 6, 8, 10]
        await host.read_index()


async def test_a_machine_that_fails_stops_the_node():
    new_disk()
    machine = Register()
    async with alone(machine) as host:
        machine.apply = lambda entries: 1 / 0
        with pytest.raises(GroupFailed, match="division by zero") as failed:
            await host.propose(b"x")
        assert failed.value.outcome == "unknown"
        with pytest.raises(GroupFailed):
            host.status()


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.limit("raft.PAYLOAD_BYTES_MAX")
async def test_the_largest_payload_is_taken_and_one_byte_more_refused():
    new_disk()
    async with alone(Register()) as host:
        assert await host.propose(bytes(PAYLOAD_BYTES_MAX)) == 1
        with pytest.raises(PayloadTooLarge, match=f"{PAYLOAD_BYTES_MAX + 1} bytes"):
            await host.propose(bytes(PAYLOAD_BYTES_MAX + 1))
        assert await host.propose(b"x") == 2


async def test_of_too_many_proposals_those_that_fit_are_taken():
    new_disk()
    async with alone(Register(), options=Options(proposed_max=10)) as host:
        await host.propose(b"x")
        told = await asyncio.gather(
            *(host.propose(b"%d" % n) for n in range(11)), return_exceptions=True
        )
        assert told[:10] == list(range(2, 12))
        assert isinstance(told[10], ProposalsOver)


@pytest.mark.limit("raft.SNAPSHOT_ENTRIES_MAX")
@pytest.mark.limit("raft.SNAPSHOT_BYTES_MAX")
def test_how_often_a_snapshot_is_taken_has_limits():
    Keeping(snapshot_entries=SNAPSHOT_ENTRIES_MAX, snapshot_bytes=SNAPSHOT_BYTES_MAX)
    Keeping(snapshot_entries=1, snapshot_bytes=1)
    for wrong in (
        {"snapshot_entries": 0},
        {"snapshot_entries": SNAPSHOT_ENTRIES_MAX + 1},
        {"snapshot_bytes": 0},
        {"snapshot_bytes": SNAPSHOT_BYTES_MAX + 1},
    ):
        with pytest.raises(OptionInvalid, match="are taken"):
            Keeping(**wrong)


@pytest.mark.limit("raft.APPLIED_TURN_MAX")
@pytest.mark.parametrize("more", [0, 1])
async def test_the_loop_turns_while_much_is_applied(monkeypatch, more):
    monkeypatch.setattr(life, "APPLIED_TURN_MAX", 100)
    disk = new_disk()
    async with alone(Register()) as host:
        await asyncio.gather(*(host.propose(b"%d" % n) for n in range(98 + more)))
    use(disk)
    machine, runs = Register(), []
    apply = machine.apply
    machine.apply = lambda entries: runs.append(len(entries)) or apply(entries)
    async with alone(machine) as host:
        await host.read_index()
    assert runs == ([98] if not more else [99])
    assert len(machine.seen) == 98 + more


# --- the disk -------------------------------------------------------------------------------------


@pytest.mark.box("raft.full-disk")
async def test_a_full_disk_refuses_serves_reads_and_goes_on_when_there_is_room():
    disk = new_disk()
    machine = Register()
    async with alone(machine) as host:
        assert await host.propose(b"one") == 1
        disk.room_bytes = 40
        with pytest.raises(DiskFull) as full:
            await host.propose(b"two" * 100)
        assert full.value.outcome == "unknown"
        with pytest.raises(DiskFull) as full:
            await host.propose(b"three")
        assert full.value.outcome == "none"
        assert await host.read_index() == host.applied
        disk.room_bytes = None
        await until(lambda: len(machine.seen) == 2)  # it was only told that it is not known
        await until(lambda: not is_refused(host))
        assert await host.propose(b"four") == 3
    assert machine.seen == [b"one", b"two" * 100, b"four"]


def is_refused(host):
    try:
        host._life.storage.check()
    except Unavailable:
        return True
    return False


async def test_after_a_failed_sync_it_refuses_and_is_opened_again_by_itself(monkeypatch):
    monkeypatch.setattr(module, "BACK_OFF_S", 0.01)
    disk = new_disk()
    machine = Register()
    async with alone(machine) as host:
        assert await host.propose(b"one") == 1
        fail_syncs(disk)
        with pytest.raises(GroupFailed) as failed:
            await host.propose(b"two")
        assert failed.value.outcome == "unknown"
        for refusing in (host.propose(b"three"), host.read_index(), host.change(Change((1, 2)))):
            with pytest.raises(GroupFailed) as failed:
                await refusing
            assert failed.value.outcome == "none"
        assert not host.leadership.is_here
        await asyncio.sleep(0.05)  # it tries, and fails
        disk.faults.failing.clear()
        await led(host)
        assert await host.propose(b"four") == len(machine.seen)
    assert machine.seen in ([b"one", b"four"], [b"one", b"two", b"four"])
    use(disk)
    again = Register()
    async with alone(again) as host:
        await host.read_index()
        assert again.seen == machine.seen


async def test_a_damaged_log_is_told_and_nothing_is_changed():
    disk = new_disk()
    async with alone(Register()) as host:
        for n in range(20):
            await host.propose(b"%d" % n)
    (path,) = files(disk, ".segment")
    disk.rot(path, 200, 0)
    before = bytes(disk.files[path].content)
    with pytest.raises(SegmentDamaged):
        async with alone(Register()):
            pass
    assert bytes(disk.files[path].content) == before


async def test_a_log_that_is_found_damaged_when_it_is_opened_again_stays_shut(monkeypatch):
    monkeypatch.setattr(module, "BACK_OFF_S", 0.01)
    disk = new_disk()
    async with alone(Register()) as host:
        for n in range(20):
            await host.propose(b"%d" % n)
        (path,) = files(disk, ".segment")
        fail_syncs(disk)
        with pytest.raises(GroupFailed):
            await host.propose(b"x")
        disk.rot(path, 200, 0)
        disk.faults.failing.clear()
        await until(lambda: "damaged" in str(host._refusal))
        with pytest.raises(GroupFailed, match="damaged"):
            await host.propose(b"x")


async def test_a_change_of_a_group_of_one_that_would_stop_it_is_refused():
    new_disk()
    async with alone(Register()) as host:
        await host.propose(b"x")
        for wrong in (Change((1,)), Change(()), Change((2, 3))):
            with pytest.raises(ChangeRefused):
                await host.change(wrong)
        with pytest.raises(ChangeRefused):
            await host.transfer(2)
