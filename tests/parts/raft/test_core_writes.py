"""What is durable before what is said (paper, figure 2: persistent state; thesis 3.8, 10.2.1)."""

from math import inf

import pytest

from bastide.parts.raft.contract import (
    Append,
    AppendReply,
    Entry,
    RequestVote,
    SnapshotChunk,
    SnapshotMark,
    SnapshotReply,
    VoteReply,
)
from tests.parts.raft.core_kit import ELECTION_S, HEARTBEAT_S, group_of, log_of, payloads_of


def append(to, sender, term, *, entries=(), previous=(0, 0), committed=0, number=1):
    return Append(
        to=to,
        sender=sender,
        term=term,
        previous_index=previous[0],
        previous_term=previous[1],
        entries=tuple(entries),
        committed=committed,
        round=number,
    )


def ask(to, sender, term):
    """For a vote, by a log that is ahead of all; the leader wants it."""
    return RequestVote(to=to, sender=sender, term=term, last_index=9, last_term=9, transfer=True)


@pytest.fixture
def core():
    """Node 1 of three, whose host is the test."""
    return group_of(1, 2, 3).core(1)


def test_a_vote_is_durable_before_it_is_told(core):
    core.step(0, ask(1, 2, 1))
    ready = core.ready()
    assert ready.vote.voted_for == 2
    assert not ready.messages
    assert [type(m) for m in ready.messages_later] == [VoteReply]
    assert core.ready() is None


def test_while_a_vote_is_being_written_nothing_of_its_term_is_said(core):
    """Neither is another vote handed out: one write is out at a time."""
    core.step(0, ask(1, 2, 1))
    core.ready()
    core.step(0, append(1, 2, 1))
    assert core.ready() is None
    core.step(0, ask(1, 3, 2))
    assert core.ready() is None
    core.written(0, 0, 0)
    ready = core.ready()
    assert (ready.vote.term, ready.vote.voted_for) == (2, 3)
    assert not ready.messages
    assert [(type(m), m.term) for m in ready.messages_later] == [(AppendReply, 1), (VoteReply, 2)]


def test_a_node_that_comes_back_keeps_to_its_vote():
    group = group_of(1, 2, 3)
    group.core(1).step(0, ask(1, 2, 1))
    group.collect()
    group.restart(1)
    group.now_s = 5
    for candidate, granted in ((3, False), (2, True)):
        group.core(1).step(5, ask(1, candidate, 1))
        group[1].pump(5)
        assert group[1].outbox.pop().granted is granted


def test_a_vote_that_came_during_a_write_is_not_durable_when_it_ends(core):
    core.step(0, ask(1, 2, 1))
    core.ready()
    core.step(0, ask(1, 3, 2))
    core.written(0, 0, 0)
    core.step(0, ask(1, 3, 2))
    ready = core.ready()
    assert ready.vote.voted_for == 3
    assert not ready.messages


def test_a_candidate_s_own_vote_is_durable_before_it_asks(core):
    core._options = core._options.__class__(pre_vote=False)
    core.tick(core.next_tick_s)
    ready = core.ready()
    assert ready.vote.voted_for == 1
    assert not ready.messages
    assert {m.to for m in ready.messages_later} == {2, 3}


@pytest.fixture
def settled(core):
    """The same in term 1, which is durable, so that only entries are to be written."""
    core.step(0, append(1, 2, 1))
    core.ready()
    core.written(0, 0, 0)
    core.ready()
    return core


def test_entries_are_acknowledged_once_they_are_written(settled):
    core = settled
    core.step(0, append(1, 2, 1, entries=log_of(1, 1)))
    ready = core.ready()
    assert not ready.messages
    assert ready.must_sync
    assert [m.match for m in ready.messages_later] == [2]


def test_a_copy_that_comes_during_the_write_is_acknowledged_behind_it(settled):
    core = settled
    core.step(0, append(1, 2, 1, entries=log_of(1, 1)))
    core.ready()
    core.step(0, append(1, 2, 1, entries=log_of(1, 1)))
    assert core.ready() is None
    core.written(0, 2, 1)
    assert [m.match for m in core.ready().messages_later] == [2]


def test_what_replaces_written_entries_is_not_written_for_that(settled):
    core = settled
    core.step(0, append(1, 2, 1, entries=log_of(1, 1)))
    core.ready()
    core.written(0, 2, 1)
    core.ready()
    core.step(0, append(1, 3, 2))
    core.ready()
    core.written(0, 0, 0)
    core.ready()
    core.step(0, append(1, 3, 2, entries=[Entry(2, 2, "payload", b"")], previous=(1, 1)))
    ready = core.ready()
    assert not ready.messages
    core.step(0, append(1, 3, 2, previous=(2, 2)))
    assert [m.match for m in core.ready().messages] == [1]


def test_a_heartbeat_is_answered_at_once_though_the_disk_is_slow(settled):
    """With what is durable by then: a slow disk is not a dead node."""
    core = settled
    core.step(0, append(1, 2, 1, entries=log_of(1, 1)))
    assert core.ready().must_sync
    core.step(0, append(1, 2, 1, previous=(2, 1)))
    (reply,) = core.ready().messages
    assert (reply.match, reply.rejected) == (0, False)
    core.written(0, 2, 1)
    core.step(0, append(1, 2, 1, previous=(2, 1)))
    assert [m.match for m in core.ready().messages] == [2]


def test_an_old_write_that_ends_after_the_log_was_cut_makes_nothing_durable(core):
    core.step(0, append(1, 2, 1, entries=log_of(1, 1)))
    assert core.ready().must_sync
    core.step(0, append(1, 3, 2, entries=[Entry(2, 2, "payload", b"")], previous=(1, 1)))
    core.written(0, 2, 1)
    assert core._log.written == 1
    ready = core.ready()
    assert [(e.index, e.term) for e in ready.entries] == [(2, 2)]
    assert [m.match for m in ready.messages_later if isinstance(m, AppendReply)] == [2]


def test_written_without_a_write_is_not_heeded(core):
    core.step(0, append(1, 2, 1, entries=log_of(1, 1)))
    core.written(0, 2, 1)
    assert core._log.written == 0


def test_a_group_of_one_leads_at_once_and_commits_what_is_written():
    group = group_of(7)
    core = group.core(7)
    assert core.next_tick_s == 0
    group.pass_s(0)
    assert core.status().kind == "leader"
    assert core.next_tick_s == inf
    group[7].is_disk_slow = True
    core.propose(0, [b"x"])
    group.settle()
    assert payloads_of(group[7]) == []
    group[7].finish_write(0)
    group.settle()
    assert payloads_of(group[7]) == [b"x"]


def test_a_group_of_one_does_not_lead_before_its_vote_is_durable():
    group = group_of(7)
    group[7].is_disk_slow = True
    group.pass_s(0)
    assert group.core(7).status().kind == "candidate"
    group[7].finish_write(0)
    assert group.core(7).status().kind == "leader"


def test_a_leader_sends_before_it_has_written_and_commits_without_itself():
    """Thesis 10.2.1: the disk write of the leader runs beside those of its followers."""
    group = group_of(1, 2, 3)
    group.elect(1)
    group[1].is_disk_slow = True
    for payload in (b"a", b"b"):  # the second while the first one's write is out
        group.core(1).propose(0, [payload])
        group.settle()
    group.pass_s(HEARTBEAT_S)
    assert payloads_of(group[1]) == payloads_of(group[2]) == [b"a", b"b"]
    assert group[1].held is not None


def test_a_leader_counts_itself_only_once_it_has_written():
    group = group_of(1, 2, 3)
    group.elect(1)
    group.crash(3)
    group[1].is_disk_slow = True
    group.core(1).propose(group.now_s, [b"a"])
    group.settle()
    assert group.core(2).status().last_index == 2
    assert payloads_of(group[1]) == []
    group[1].finish_write(group.now_s)
    group.settle()
    assert payloads_of(group[1]) == [b"a"]


def test_what_was_committed_is_learnt_anew_from_a_leader():
    """Figure 2: commitIndex is volatile."""
    group = group_of(1, 2, 3)
    group.elect(1)
    group.core(1).propose(group.now_s, [b"a"])
    group.pass_s(1)
    for node in (1, 2, 3):
        group.crash(node)
        group.restart(node)
        assert group.core(node).status().committed == 0
    group.pass_s(4 * ELECTION_S)
    assert [payloads_of(n) for n in group.up] == [[b"a"]] * 3


def test_a_snapshot_s_entry_that_is_here_but_not_written_is_told_behind_the_write(settled):
    core = settled
    core.step(0, append(1, 2, 1, entries=log_of(1, 1)))
    core.ready()
    mark = SnapshotMark(2, 1, core.status().members)
    core.step(0, SnapshotChunk(to=1, sender=2, term=1, mark=mark, at=0, content=b"", round=1))
    ready = core.ready()
    assert [e.index for e in ready.committed] == [1, 2]
    assert not ready.messages
    assert not ready.chunks_given
    core.written(0, 2, 1)
    (told,) = core.ready().messages_later
    assert isinstance(told, SnapshotReply)
    assert told.installed
