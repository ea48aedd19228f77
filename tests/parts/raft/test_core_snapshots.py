"""Snapshots: what they replace, and how one gets to a follower (paper 7, thesis chapter 5)."""

import msgspec
import pytest

from bastide.parts.raft.contract import (
    Append,
    Change,
    Members,
    SnapshotChunk,
    SnapshotMark,
    SnapshotReply,
)
from tests.parts.raft.core_kit import (
    ELECTION_S,
    HEARTBEAT_S,
    OPTIONS,
    Group,
    group_of,
    log_of,
    payloads_of,
)

SMALL = msgspec.structs.replace(OPTIONS, chunk_bytes=64, kept_behind=0)


@pytest.fixture
def behind():
    """1 leads, 3 is away and needs what 1 has only in a snapshot of many chunks."""
    group = group_of(1, 2, 3, options=SMALL)
    group.elect(1)
    group.isolate(3)
    group.core(1).propose(group.now_s, [b"%d" % n for n in range(100)])
    group.pass_s(HEARTBEAT_S)
    group[1].take_snapshot()
    group.heal()
    return group


def chunks(group: Group) -> list[SnapshotChunk]:
    return [m for m in group.wire if isinstance(m, SnapshotChunk)]


def until_chunk(group: Group, at: int) -> SnapshotChunk:
    """Deliver until the chunk at that byte is on the wire; it is taken off."""
    group.now_s = group.core(1).next_tick_s
    group.core(1).tick(group.now_s)
    group.collect()
    while True:
        message = group.wire.pop(0)
        if isinstance(message, SnapshotChunk) and message.at == at:
            return message
        group.deliver(message)
        group.collect()


def test_who_is_too_far_behind_gets_the_snapshot_and_then_the_log(behind):
    behind.core(1).propose(behind.now_s, [b"last"])
    behind.pass_s(2 * HEARTBEAT_S)
    assert payloads_of(behind[3]) == [*(b"%d" % n for n in range(100)), b"last"]
    assert behind[3].mark == behind[1].mark
    assert [e.index for e in behind[3].log] == [102]


def test_one_chunk_is_out_at_a_time(behind):
    behind.now_s = behind.core(1).next_tick_s
    behind.core(1).tick(behind.now_s)
    behind.collect()
    most = 0
    while behind.wire:
        most = max(most, len(chunks(behind)))
        behind.deliver(behind.wire.pop(0))
        behind.collect()
    assert most == 1
    assert behind.core(3).status().committed == 101


def test_a_lost_chunk_is_sent_again_after_the_election_time_and_the_rest_goes_on(behind):
    until_chunk(behind, 128)
    behind.settle()
    behind.pass_s(0.9 * ELECTION_S)
    assert behind.core(3).status().committed == 1
    assert len(behind[3].partial) == 128
    behind.pass_s(0.3 * ELECTION_S)
    assert behind.core(3).status().committed == 101


def test_chunks_that_come_twice_or_late_are_kept_once(behind):
    kept = [until_chunk(behind, 64)]
    behind.deliver(kept[0])
    behind.deliver(kept[0])
    behind.collect()
    behind.deliver(kept[0])
    behind.collect()
    behind.settle()
    behind.deliver(kept[0])
    behind.pass_s(2 * HEARTBEAT_S)
    assert payloads_of(behind[3]) == payloads_of(behind[1])
    assert behind[3].partial == behind[1].image


def test_a_chunk_that_is_with_the_host_is_not_handed_out_again(behind):
    chunk = until_chunk(behind, 0)
    core = behind.core(3)
    core.step(behind.now_s, chunk)
    core.step(behind.now_s, chunk)
    assert len(core.ready().chunks_given) == 1
    core.step(behind.now_s, chunk)
    assert core.ready() is None


def test_a_node_that_fell_is_asked_to_begin_anew(behind):
    until_chunk(behind, 128)
    behind.crash(3)
    behind.restart(3)
    behind.pass_s(2.5 * ELECTION_S)
    assert payloads_of(behind[3]) == payloads_of(behind[1])


def test_a_new_leader_s_snapshot_begins_anew(behind):
    """Two nodes' files of one snapshot need not be equal."""
    until_chunk(behind, 128)
    behind[2].take_snapshot()
    behind.crash(1)
    behind.pass_s(4 * ELECTION_S)
    assert behind.leader == 2
    assert payloads_of(behind[3]) == payloads_of(behind[2])


def test_a_newer_snapshot_does_not_stop_one_on_its_way(behind):
    until_chunk(behind, 128)
    first = behind[1].mark.index
    behind.core(1).propose(behind.now_s, [b"x"] * 10)
    behind.settle()
    behind[1].take_snapshot()
    (follower,) = [f for f in behind.core(1).status().followers if f.node == 3]
    assert follower.snapshot_index == first
    behind.pass_s(3 * ELECTION_S)
    assert payloads_of(behind[3]) == payloads_of(behind[1])


def test_while_a_snapshot_is_installed_nothing_is_appended_and_none_stands(behind):
    """The log is about to be replaced: what was acknowledged of it would be lost."""
    core = behind.core(3)
    mark = SnapshotMark(50, 1, core.status().members, 1)
    core.step(
        behind.now_s, SnapshotChunk(to=3, sender=1, term=1, mark=mark, at=0, content=b"!", round=1)
    )
    (given,) = core.ready().chunks_given
    assert given.is_last
    core.step(
        behind.now_s,
        Append(
            to=3,
            sender=1,
            term=1,
            previous_index=1,
            previous_term=1,
            entries=(log_of(1, 1)[1],),
            committed=2,
            round=2,
        ),
    )
    (answer,) = core.ready().messages
    assert (answer.match, answer.rejected, core.status().last_index) == (0, False, 1)
    late_s = behind.now_s + 5 * ELECTION_S
    core.tick(late_s)
    assert core.status().kind == "follower"
    core.installed(late_s, mark)
    (told,) = core.ready().messages
    assert (told.installed, told.index) == (True, 50)
    assert core.status().first_index == 51


def test_an_installation_waits_until_no_write_is_out():
    group = group_of(1, 2, 3, options=SMALL)
    core = group.core(3)
    core.step(
        0,
        Append(
            to=3,
            sender=1,
            term=1,
            previous_index=0,
            previous_term=0,
            entries=tuple(log_of(1)),
            committed=0,
            round=1,
        ),
    )
    assert core.ready().must_sync
    mark = SnapshotMark(50, 1, core.status().members, 1)
    core.step(0, SnapshotChunk(to=3, sender=1, term=1, mark=mark, at=0, content=b"!", round=1))
    assert core.ready() is None
    core.written(0, 1, 1)
    assert core.ready().chunks_given


def test_a_snapshot_of_what_is_here_already_is_not_installed(behind):
    """Figure 13, step 6: it is a prefix of the log."""
    core = behind.core(2)
    mark = SnapshotMark(50, 1, core.status().members, 1000)
    core.step(
        behind.now_s, SnapshotChunk(to=2, sender=1, term=1, mark=mark, at=0, content=b"!", round=1)
    )
    ready = core.ready()
    assert not ready.chunks_given
    (told,) = ready.messages
    assert (told.installed, told.index) == (True, 50)
    assert core.status().last_index == 101


def test_an_answer_about_another_snapshot_or_an_old_chunk_moves_nothing(behind):
    until_chunk(behind, 128)
    core = behind.core(1)
    for index, next_at in ((50, 0), (behind[1].mark.index, 128)):
        core.step(
            behind.now_s,
            SnapshotReply(
                to=1, sender=3, term=1, index=index, next_at=next_at, installed=False, round=1
            ),
        )
        behind.collect()
        assert chunks(behind) == []


def test_a_snapshot_brings_its_members(behind):
    behind.core(1).change(behind.now_s, Change((1, 2, 3), (4,)))
    behind.isolate(3)
    behind.pass_s(HEARTBEAT_S)
    behind[1].take_snapshot()
    behind.heal()
    behind.pass_s(2 * HEARTBEAT_S)
    assert behind.core(3).status().members == Members((1, 2, 3), learners=(4,))
    behind.crash(3)
    behind.restart(3)
    assert behind.core(3).status().members == Members((1, 2, 3), learners=(4,))


def test_who_is_a_little_late_gets_entries_though_a_snapshot_was_taken():
    group = group_of(1, 2, 3, options=msgspec.structs.replace(SMALL, kept_behind=10))
    group.elect(1)
    group.pass_s(HEARTBEAT_S)
    group.isolate(3)
    group.core(1).propose(group.now_s, [b"x"] * 10)
    group.pass_s(HEARTBEAT_S)
    group[1].take_snapshot()
    assert group.core(1).status().first_index == 2
    group.heal()
    group.pass_s(2 * HEARTBEAT_S)
    assert len(payloads_of(group[3])) == 10
    assert group[3].mark.index == 0


def test_an_older_snapshot_than_the_last_is_not_heeded(behind):
    mark = behind[1].mark
    behind.core(1).snapshot_taken(SnapshotMark(50, 1, mark.members))
    assert behind.core(1).status().first_index == mark.index + 1


def test_a_snapshot_without_a_byte_is_one_chunk():
    group = group_of(1, 2, 3, options=SMALL)
    core = group.core(3)
    mark = SnapshotMark(50, 1, core.status().members)
    core.step(0, SnapshotChunk(to=3, sender=1, term=1, mark=mark, at=0, content=b"", round=1))
    core.ready()
    core.written(0, 0, 0)
    (given,) = core.ready().chunks_given
    assert given.is_last
