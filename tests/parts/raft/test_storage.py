"""What a node keeps of a group is what it wrote, whatever is cut, replaced or marked in between."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.parts.raft.contract import Entry, GroupFailed, Members, Vote
from bastide.parts.raft.storage import store
from bastide.parts.raft.storage.replay import Written, encode
from bastide.parts.raft.storage.store import open_storage
from bastide.parts.seglog.contract import DiskFull, SegmentDamaged
from bastide.parts.seglog.log import open_seglog
from bastide.parts.sim.disk.disk import SimDisk
from tests.parts.raft.host_kit import (
    ALONE,
    PLACE,
    SMALL,
    entries,
    fail_syncs,
    files,
    mark,
    new_disk,
    until,
    use,
)


def opened(members=ALONE):
    return open_storage(PLACE, members, segment_bytes=SMALL)


async def found():
    async with opened() as storage:
        return storage.durable


async def pieces_of(storage):
    return [piece async for piece in storage.pieces()]


async def hand_over(storage, source, mark, chunk_bytes=50):
    """As a leader sends its snapshot."""
    for at in range(0, mark.bytes_count, chunk_bytes):
        chunk = source.read_chunk(mark, at, min(at + chunk_bytes, mark.bytes_count))
        assert storage.keep_chunk(mark, at, chunk) == at + len(chunk)


async def test_an_empty_directory_begins_with_the_members_given_and_keeps_them():
    new_disk()
    three = Members((1, 2, 3))
    async with opened(three) as storage:
        assert storage.durable.mark.members == three
        assert storage.durable.vote == Vote()
    async with opened(ALONE) as storage:
        assert storage.durable.mark.members == three


async def test_votes_and_entries_are_found_again():
    new_disk()
    async with opened() as storage:
        await storage.synced(storage.write(Vote(1, 1), entries(1, 3)))
        await storage.synced(storage.write(Vote(2, 3), ()))
        await storage.synced(storage.write(None, entries(4, 2, term=2)))
    durable = await found()
    assert durable.vote == Vote(2, 3)
    assert durable.entries == entries(1, 3) + entries(4, 2, term=2)


async def test_entries_that_a_leader_replaced_do_not_come_back():
    new_disk()
    async with opened() as storage:
        storage.write(Vote(1, 1), entries(1, 5))
        await storage.synced(storage.write(Vote(2, 0), entries(3, 1, term=2)))
    assert (await found()).entries == entries(1, 2) + entries(3, 1, term=2)


async def test_a_large_write_is_cut_into_records_and_is_whole_again():
    new_disk()
    many = entries(1, 7, size=1 << 20)
    async with open_storage(PLACE, ALONE) as storage:
        await storage.synced(storage.write(Vote(1, 1), many))
    async with open_storage(PLACE, ALONE) as storage:
        assert storage.durable.entries == many


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_history_is_read_again_as_a_simple_model_has_it(data):
    async def play():
        new_disk()
        vote, log, base, term = Vote(), [], (0, 0), 1
        for _ in range(data.draw(st.integers(1, 4))):
            async with opened() as storage:
                for step in data.draw(st.lists(st.sampled_from("wwwvcsi"), max_size=12)):
                    match step:
                        case "w":
                            count = data.draw(st.integers(1, 5))
                            written = entries(base[0] + len(log) + 1, count, term=term)
                            log += written
                            await storage.synced(storage.write(None, written))
                        case "v":
                            term += 1
                            vote = Vote(term, data.draw(st.integers(0, 3)))
                            await storage.synced(storage.write(vote, ()))
                        case "c" if log:
                            keep = data.draw(st.integers(0, len(log) - 1))
                            term += 1
                            vote = Vote(term, 0)
                            written = entries(base[0] + keep + 1, 1, term=term)
                            log = log[:keep] + written
                            await storage.synced(storage.write(vote, written))
                        case "s" if log:
                            at = data.draw(st.integers(0, len(log) - 1))
                            base = (log[at].index, log[at].term)
                            log = log[at + 1 :]
                            await storage.keep_snapshot(mark(*base), [b"%d" % base[0]])
                            await storage.forget()
                        case "i":
                            ahead = data.draw(st.integers(1, 20))
                            index, has = base[0] + ahead, ahead <= len(log)
                            follows = has and data.draw(st.booleans())
                            term += 1
                            its_term = log[ahead - 1].term if follows else term
                            log = log[ahead:] if follows else []
                            base = (index, its_term)
                            await install(storage, mark(*base), [b"%d" % index])
            durable = await found()
            assert durable.vote == vote
            assert (durable.mark.index, durable.mark.term) == base
            assert durable.entries == log

    asyncio.run(play())


async def install(storage, its_mark, pieces):
    """Made elsewhere, sent in chunks."""
    async with open_storage(PLACE / "other", ALONE) as other:
        made = await other.keep_snapshot(its_mark, pieces)
        await hand_over(storage, other, made)
    await storage.install(made)
    await storage.forget()
    for path in [p for p in store.runtime.current().disk.files if p.parent == PLACE / "other"]:
        store.runtime.current().disk.remove(path)


async def test_a_snapshot_stands_for_the_log_before_it_which_is_removed():
    disk = new_disk()
    async with opened() as storage:
        await storage.synced(storage.write(Vote(3, 1), entries(1, 200)))
        for index in range(201, 400):
            await storage.synced(storage.write(None, entries(index)))
        before = storage.size
        first = await storage.keep_snapshot(mark(150), [b"state ", b"at 150"])
        second = await storage.keep_snapshot(mark(390), [b"state ", b"", b"at 390"])
        await storage.forget()
        assert storage.size < before / 4
        assert await pieces_of(storage) == [b"state ", b"", b"at 390"]
        assert storage.read_chunk(first, 0, 10) is None
        assert len(files(disk, ".snapshot")) == 1
    async with opened() as storage:
        assert storage.durable.vote == Vote(3, 1)
        assert storage.durable.mark == second
        assert storage.durable.entries == entries(391, 9)
        assert await pieces_of(storage) == [b"state ", b"", b"at 390"]


async def test_a_snapshot_that_is_being_sent_stays_until_it_is_not():
    new_disk()
    async with opened() as storage:
        await storage.synced(storage.write(None, entries(1, 9)))
        first = await storage.keep_snapshot(mark(3), [b"three"])
        assert storage.read_chunk(first, 8, 10) == b"th"
        await storage.keep_snapshot(mark(5), [b"five"])
        await storage.forget(in_use=[3])
        await storage.keep_snapshot(mark(6), [b"six"])
        await storage.forget(in_use=[3])
        assert storage.read_chunk(first, 10, 13) == b"ree"
        await storage.keep_snapshot(mark(7), [b"seven"])
        assert storage.read_chunk(first, 10, 13) == b"ree"
        await storage.forget()
        assert storage.read_chunk(first, 10, 13) is None


@pytest.mark.parametrize("follows", [True, False])
async def test_an_installed_snapshot_keeps_what_follows_on_it_only_if_its_entry_is_there(follows):
    new_disk()
    async with opened() as storage:
        await storage.synced(storage.write(None, entries(1, 10)))
        await install(storage, mark(8, 1 if follows else 2), [b"state"])
        assert await pieces_of(storage) == [b"state"]
    assert (await found()).entries == (entries(9, 2) if follows else [])


async def test_a_missing_chunk_is_asked_for_again_and_another_snapshot_begins_anew():
    new_disk()
    async with opened() as storage, open_storage(PLACE / "other", ALONE) as other:
        made = await other.keep_snapshot(mark(5), [b"x" * 100])
        assert storage.keep_chunk(made, 0, other.read_chunk(made, 0, 40)) == 40
        assert storage.keep_chunk(made, 60, other.read_chunk(made, 60, 80)) == 40
        later = await other.keep_snapshot(mark(6), [b"y" * 100])
        assert storage.keep_chunk(later, 40, other.read_chunk(later, 40, 80)) == 0
        await hand_over(storage, other, later)
        await storage.install(later)
        assert await pieces_of(storage) == [b"y" * 100]


async def test_a_snapshot_that_was_damaged_on_its_way_is_told_and_not_installed():
    new_disk()
    async with opened() as storage, open_storage(PLACE / "other", ALONE) as other:
        await storage.synced(storage.write(None, entries(1, 3)))
        made = await other.keep_snapshot(mark(5, 2), [b"x" * 100, b"y" * 100])
        whole = other.read_chunk(made, 0, made.bytes_count)
        for at in range(len(whole)):
            flipped = whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]
            storage.keep_chunk(made, 0, flipped)
            with pytest.raises(GroupFailed):
                await storage.install(made)
        assert storage.keep_chunk(made, 0, whole[:-1]) == len(whole) - 1
        with pytest.raises(GroupFailed, match=r"bytes came of"):
            await storage.install(made)
    assert (await found()).entries == entries(1, 3)


# --- the disk -------------------------------------------------------------------------------------


@pytest.mark.box("raft.flipped-bits")
async def test_no_flipped_bit_costs_a_synced_entry_or_a_vote_silently():
    disk = new_disk()
    async with opened() as storage:
        for index in range(1, 12):
            await storage.synced(storage.write(Vote(index, 1), entries(index)))
            if index == 6:
                await storage.keep_snapshot(mark(5), [b"state", b"of five"])
    image = {path: bytes(inode.content) for path, inode in disk.files.items()}
    whole, told = await found(), 0
    for path, content in image.items():
        for at in range(len(content)):
            flipped = content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]
            use(SimDisk.of({**image, path: flipped}, random.Random(7)))
            try:
                assert await found() == whole
            except (SegmentDamaged, GroupFailed):
                told += 1
    assert told > sum(map(len, image.values())) / 3  # the rest are marks: newer follow


async def test_a_missing_snapshot_and_a_log_that_is_none_of_a_group_are_told():
    disk = new_disk()
    async with opened() as storage:
        await storage.synced(storage.write(None, entries(1, 3)))
        await storage.keep_snapshot(mark(2), [b"state"])
    for path in files(disk, ".snapshot"):
        disk.remove(path)
    with pytest.raises(GroupFailed, match="is missing"):
        await found()


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([b"\xc1"], "none of a group's"),
        ([encode(Written(Vote()))], "no mark"),
        ([encode(Written(Vote(), mark(0))), encode(Written(None, None, False, entries(2)))], "gap"),
        (
            [
                encode(Written(Vote(), mark(0), False, entries(1))),
                encode(Written(None, None, False, entries(3))),
            ],
            "gap",
        ),
    ],
)
async def test_a_log_whose_records_make_no_sense_is_told(records, told):
    new_disk()
    async with open_seglog(PLACE) as log:
        for record in records:
            await log.synced(log.append_opaque(record, offset_count=1))
    with pytest.raises(GroupFailed, match=told):
        await found()


async def test_what_finds_no_room_is_held_in_order_and_written_when_there_is_some():
    disk = new_disk()
    async with opened() as storage:
        await storage.synced(storage.write(Vote(1, 1), entries(1)))
        disk.room_bytes = 10
        last = storage.write(None, entries(2))
        waiting = asyncio.ensure_future(storage.synced(last))
        await until(lambda: refused(storage))
        last = storage.write(Vote(2, 2), entries(3, term=2))
        also = asyncio.ensure_future(storage.synced(last))
        await asyncio.sleep(0.15)
        assert not waiting.done()
        assert not also.done()
        disk.room_bytes = None
        await asyncio.gather(waiting, also)
        storage.check()
    durable = await found()
    assert durable.vote == Vote(2, 2)
    assert durable.entries == entries(1, 2) + entries(3, term=2)


def refused(storage):
    try:
        storage.check()
    except DiskFull:
        return True
    return False


async def test_a_snapshot_that_finds_no_room_leaves_the_one_before():
    disk = new_disk()
    async with opened() as storage:
        await storage.synced(storage.write(None, entries(1, 9)))
        kept = await storage.keep_snapshot(mark(3), [b"three"])
        disk.room_bytes = 20
        with pytest.raises(DiskFull):
            await storage.keep_snapshot(mark(8), [b"eight" * 100])
        assert storage.keep_chunk(mark(9), 0, b"nine" * 100) == 0
        disk.room_bytes = None
        assert await pieces_of(storage) == [b"three"]
    assert (await found()).mark == kept
    assert not files(disk, ".coming")


async def test_after_a_failed_sync_nothing_is_taken_until_it_is_opened_again():
    disk = new_disk()
    async with opened() as storage:
        await storage.synced(storage.write(Vote(1, 1), entries(1)))
        fail_syncs(disk)
        with pytest.raises(GroupFailed) as failed:
            await storage.synced(storage.write(None, entries(2)))
        assert failed.value.outcome == "unknown"
        for refusing in (storage.check, lambda: storage.write(None, entries(3))):
            with pytest.raises(GroupFailed):
                refusing()
        disk.faults.failing.clear()
    durable = await found()
    assert durable.entries[:1] == entries(1)
    assert len(durable.entries) <= 2


@pytest.mark.parametrize("seed", range(40))
async def test_a_power_cut_loses_nothing_that_was_synced(seed):
    chance = random.Random(seed)
    disk = new_disk(seed)
    synced, vote, written = 0, Vote(), 0
    async with opened() as storage:
        for turn in range(1, chance.randrange(2, 40)):
            written += 1
            its_vote = Vote(turn, 1)
            offset = storage.write(its_vote, entries(written))
            if chance.random() < 0.6:
                await storage.synced(offset)
                synced, vote = written, its_vote
            if synced > 3 and chance.random() < 0.1:
                await storage.keep_snapshot(mark(synced - 2), [b"state %d" % (synced - 2)])
                if chance.random() < 0.7:
                    await storage.forget()
                synced, vote = written, its_vote
        after = disk.crashed()
    use(after)
    async with opened() as storage:
        durable = storage.durable
        assert durable.vote.term >= vote.term
        assert durable.mark.index + len(durable.entries) >= synced
        assert durable.entries == entries(durable.mark.index + 1, len(durable.entries))
        if durable.mark.index:
            assert await pieces_of(storage) == [b"state %d" % durable.mark.index]


def test_an_entry_at_the_limit_fits_a_record():
    from bastide.parts.raft.contract import PAYLOAD_BYTES_MAX
    from bastide.parts.seglog.contract import BATCH_BYTES_MAX

    largest = Entry(1 << 60, 1 << 60, "payload", bytes(PAYLOAD_BYTES_MAX))
    assert len(encode(Written(None, None, False, [largest]))) + store.WRITE_BYTES < BATCH_BYTES_MAX
