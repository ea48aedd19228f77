"""Who leads (paper 5.2, 5.4.1; thesis 3.4, 3.10, 4.2.3, 6.2, 9.6)."""

import msgspec
import pytest

from bastide.parts.raft.contract import (
    AppendReply,
    Change,
    ChangeRefused,
    Members,
    NotLeader,
    PreVote,
    PreVoteReply,
    RequestVote,
    TimeoutNow,
    VoteReply,
)
from tests.parts.raft.core_kit import (
    ELECTION_S,
    HEARTBEAT_S,
    OPTIONS,
    Group,
    Node,
    group_of,
    log_of,
    payloads_of,
)

BARE = msgspec.structs.replace(OPTIONS, pre_vote=False, check_quorum=False)


@pytest.fixture
def led():
    """Three nodes, 1 leads."""
    group = group_of(1, 2, 3)
    group.elect(1)
    return group


# --- time-outs ------------------------------------------------------------------------------------


def test_each_wait_is_drawn_between_once_and_twice_the_election_time():
    """Paper 5.2: from a fixed interval, so that split votes are rare and soon resolved."""
    waits = [group_of(1, 2, 3, seed=seed).core(n).next_tick_s for seed in range(40) for n in (1, 2)]
    assert min(waits) >= ELECTION_S
    assert max(waits) < 2 * ELECTION_S
    assert len(set(waits)) == len(waits)


def test_a_leader_s_heartbeats_keep_others_from_standing(led):
    led.pass_s(20 * ELECTION_S)
    assert led.core(1).status().kind == "leader"
    assert led.core(1).status().term == 1


def test_a_silent_leader_is_followed_by_another_within_a_few_election_times(led):
    led.crash(1)
    led.pass_s(4 * ELECTION_S)
    assert led.leader in (2, 3)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7])
def test_a_group_of_any_size_elects_one_leader(count):
    group = group_of(*range(1, count + 1))
    group.pass_s(5 * ELECTION_S)
    kinds = [n.core.status().kind for n in group.up]
    assert kinds.count("leader") == 1
    assert kinds.count("follower") == count - 1


def test_a_minority_elects_nobody():
    group = group_of(1, 2, 3, 4, 5)
    for node in (1, 2, 3):
        group.crash(node)
    group.pass_s(20 * ELECTION_S)
    assert group.leader == 0


# --- votes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last_index", "last_term", "granted"),
    [(3, 2, True), (2, 2, False), (2, 3, True), (9, 1, False), (4, 2, True)],
)
def test_a_vote_goes_only_to_a_log_that_is_as_up_to_date(last_index, last_term, granted):
    """Paper 5.4.1: the later last term, and of equal ones the longer log. The voter's is 3@2."""
    group = group_of(1, 2, 3, options=BARE)
    group[1].log, group[1].vote = log_of(1, 1, 2), msgspec.structs.replace(group[1].vote, term=2)
    group[1].start(0)
    for kind in (PreVote, RequestVote):
        group.core(1).step(
            9, kind(to=1, sender=2, term=3, last_index=last_index, last_term=last_term)
        )
        group[1].pump(9)
        assert group[1].outbox.pop().granted is granted


def test_one_vote_a_term_and_the_same_one_again():
    """A copy of a request is granted once more, since the first answer may be lost."""
    core = group_of(1, 2, 3, options=BARE).core(1)
    for candidate in (2, 3, 2):
        core.step(0, RequestVote(to=1, sender=candidate, term=1, last_index=0, last_term=0))
    granted = [m.granted for m in core.ready().messages_later]
    assert granted == [True, False, True]


def test_answers_that_come_twice_or_late_elect_nobody():
    group = group_of(1, 2, 3, 4, 5, options=BARE)
    core = group.core(1)
    core.tick(core.next_tick_s)
    core.tick(core.next_tick_s)  # its second term
    group.collect()
    assert core.status().term == 2
    for sender, term in ((2, 2), (2, 2), (3, 1), (4, 1), (5, 1)):
        core.step(9, VoteReply(to=1, sender=sender, term=term, granted=True))
    assert core.status().kind == "candidate"
    core.step(9, VoteReply(to=1, sender=3, term=2, granted=True))
    assert core.status().kind == "leader"


def test_a_yes_does_not_undo_a_no():
    core = group_of(1, 2, 3, options=BARE).core(1)
    core.tick(core.next_tick_s)
    core.step(9, VoteReply(to=1, sender=2, term=1, granted=False))
    core.step(9, VoteReply(to=1, sender=2, term=1, granted=True))
    assert core.status().kind == "candidate"


def test_votes_of_who_is_no_member_do_not_count():
    core = group_of(1, 2, 3, options=BARE).core(1)
    core.tick(core.next_tick_s)
    for stranger in (8, 9):
        core.step(9, VoteReply(to=1, sender=stranger, term=1, granted=True))
    assert core.status().kind == "candidate"


def test_what_is_for_another_node_is_not_heeded(led):
    led.core(1).step(led.now_s, VoteReply(to=2, sender=3, term=9, granted=False))
    led.core(1).step(led.now_s, VoteReply(to=1, sender=1, term=9, granted=False))
    assert led.core(1).status().term == 1


# --- terms ----------------------------------------------------------------------------------------


def test_a_leader_that_hears_of_a_newer_term_follows(led):
    reply = AppendReply(
        to=1,
        sender=2,
        term=5,
        previous_index=0,
        match=0,
        rejected=True,
        conflict_term=0,
        round=0,
    )
    led.core(1).step(led.now_s, reply)
    assert (led.core(1).status().kind, led.core(1).status().term) == ("follower", 5)


def test_a_leader_of_an_older_term_is_told_so_and_its_entries_are_not_taken(led):
    """Figure 2, AppendEntries 1. It was cut off, and another was elected."""
    led.isolate(1)
    led.core(1).propose(led.now_s, [b"lost"])
    led.collect()
    late, led.wire = led.wire, []
    led.elect(2)
    led.heal()
    for message in late:
        led.deliver(message)
    led.settle()
    led.pass_s(2 * HEARTBEAT_S)
    assert led.leader == 2
    assert led.core(1).status().term == led.core(2).status().term
    assert payloads_of(led[1]) == []


@pytest.mark.parametrize("kind", [PreVote, RequestVote])
def test_who_asks_in_an_older_term_is_told_the_newer_one(led, kind):
    led.core(2).step(led.now_s, kind(to=2, sender=3, term=0, last_index=9, last_term=9))
    led[2].pump(led.now_s)
    reply = led[2].outbox.pop()
    assert (reply.term, reply.granted) == (1, False)


# --- PreVote --------------------------------------------------------------------------------------


def test_a_node_that_is_cut_off_does_not_grow_its_term(led):
    """Thesis 9.6."""
    led.isolate(3)
    led.pass_s(20 * ELECTION_S)
    assert led.core(3).status().term == 1
    led.heal()
    led.pass_s(ELECTION_S)
    assert (led.leader, led.core(1).status().term) == (1, 1)


def test_without_pre_vote_and_check_quorum_it_comes_back_and_unseats_the_leader():
    """What the two are for."""
    group = group_of(1, 2, 3, options=BARE)
    group.elect(1)
    group.isolate(3)
    group.pass_s(10 * ELECTION_S)
    assert group.core(3).status().term > 3
    group.heal()
    group.pass_s(ELECTION_S)
    assert group.core(1).status().term > 3


def test_a_grant_of_an_earlier_question_does_not_start_an_election():
    group = group_of(1, 2, 3)
    core = group.core(1)
    core.tick(core.next_tick_s)
    for term in (0, 2, 3):
        core.step(9, PreVoteReply(to=1, sender=2, term=term, granted=True))
    assert core.status().term == 0
    core.step(9, PreVoteReply(to=1, sender=2, term=1, granted=True))
    assert core.status().term == 1


# --- CheckQuorum ----------------------------------------------------------------------------------


def test_a_leader_that_hears_no_quorum_steps_down_within_the_election_time(led):
    """Thesis 6.2: so that its clients turn to another."""
    led.isolate(1)
    led.pass_s(ELECTION_S + HEARTBEAT_S)
    assert led.core(1).status().kind == "follower"
    with pytest.raises(NotLeader) as raised:
        led.core(1).propose(led.now_s, [b"x"])
    assert raised.value.leader == 0


def test_a_leader_that_hears_just_a_quorum_goes_on(led):
    led.isolate(3)
    led.pass_s(10 * ELECTION_S)
    assert led.core(1).status().kind == "leader"


def test_a_leader_whose_clock_jumps_forward_does_not_lead_on(led):
    """After a pause what it is asked first already finds it deposed."""
    with pytest.raises(NotLeader):
        led.core(1).propose(led.now_s + 2 * ELECTION_S, [b"x"])


def test_answers_to_what_was_sent_before_a_pause_do_not_prolong_it(led):
    """They tell when they were asked for, not only that they came."""
    led.now_s = led.core(1).next_tick_s
    led.core(1).tick(led.now_s)
    led.collect()
    for message in [m for m in led.wire if m.sender == 1]:
        led.deliver(message)
    led.wire = []
    led.collect()
    late_s = led.now_s + 1.01 * ELECTION_S
    for reply in led.wire:
        led.core(1).step(late_s, reply)
    assert led.core(1).status().kind == "follower"


def test_who_hears_a_leader_does_not_heed_who_wants_votes(led):
    """Thesis 4.2.3, and what leases stand on."""
    led.pass_s(HEARTBEAT_S)
    for kind in (PreVote, RequestVote):
        led.core(2).step(led.now_s, kind(to=2, sender=3, term=7, last_index=9, last_term=9))
    assert led.core(2).ready() is None
    assert led.core(2).status().term == 1


@pytest.mark.parametrize(("transfer", "is_answered"), [(False, False), (True, True)])
def test_who_hears_a_leader_grants_no_vote_either_in_a_term_it_came_to_otherwise(
    led, transfer, is_answered
):
    """A late answer to itself brings 2 to term 2, while 1 reads by a lease that counts on it."""
    led.pass_s(HEARTBEAT_S)
    late = AppendReply(
        to=2, sender=3, term=2, previous_index=0, match=0, rejected=True, conflict_term=0, round=0
    )
    led.core(2).step(led.now_s, late)
    led[2].pump(led.now_s)
    led.wire = []
    asked = RequestVote(to=2, sender=3, term=2, last_index=9, last_term=9, transfer=transfer)
    led.core(2).step(led.now_s, asked)
    led[2].pump(led.now_s)
    led[2].finish_write(led.now_s)
    led.collect()
    assert any(isinstance(m, VoteReply) and m.granted for m in led.wire) is is_answered


def test_a_node_that_comes_back_grants_no_vote_before_a_lease_may_be_over(led):
    """It may have told its leader that it follows just before it fell."""
    led.crash(2)
    led.restart(2)
    asked = PreVote(to=2, sender=3, term=2, last_index=9, last_term=9)
    led.core(2).step(led.now_s + 0.99 * ELECTION_S, asked)
    assert led.core(2).ready() is None
    led.core(2).step(led.now_s + ELECTION_S, asked)
    assert led.core(2).ready().messages[0].granted


def test_the_only_voter_that_is_left_waits_until_its_leader_s_lease_is_over():
    """2 removes itself and reads by lease on the word of 1, which falls and comes back alone."""
    group = group_of(1, 2)
    group.elect(2)
    group.core(2).change(group.now_s, Change((1,)))
    group.collect()
    for message in [m for m in group.wire if m.to == 1]:
        group.deliver(message)
    group.wire = []
    group[1].pump(group.now_s)
    group.crash(1)
    group.restart(1)
    assert group.core(1).status().members == Members((1,))
    assert group.core(1).next_tick_s >= group.now_s + ELECTION_S
    group.pass_s(4 * ELECTION_S)
    assert group.leader == 1
    group.crash(1)
    group.restart(1)
    assert group.core(1).next_tick_s == group.now_s


# --- transfer -------------------------------------------------------------------------------------


def test_leadership_is_handed_over_at_once(led):
    """Thesis 3.10: the target does not wait for its time-out."""
    led.core(1).transfer(led.now_s, 3)
    led.settle()
    assert led.leader == 3
    assert led.core(1).status().leader == 3


def test_a_transfer_to_who_can_not_lead_is_refused():
    group = group_of(1, 2, 3)
    group.elect(1)
    for node in (1, 4):
        with pytest.raises(ChangeRefused):
            group.core(1).transfer(group.now_s, node)
    with pytest.raises(NotLeader):
        group.core(2).transfer(group.now_s, 3)


def test_a_transfer_to_who_is_away_is_given_up_after_the_election_time(led):
    led.crash(3)
    led.core(1).transfer(led.now_s, 3)
    with pytest.raises(NotLeader) as raised:
        led.core(1).propose(led.now_s, [b"x"])
    assert raised.value.leader == 3
    led.pass_s(ELECTION_S + HEARTBEAT_S)
    led.core(1).propose(led.now_s, [b"x"])
    led.settle()
    assert payloads_of(led[1]) == [b"x"]


def test_who_is_asked_to_stand_twice_stands_once_a_term(led):
    now = TimeoutNow(to=3, sender=1, term=1)
    led.core(3).step(led.now_s, now)
    led.core(3).step(led.now_s, now)
    led.settle()
    assert (led.leader, led.core(3).status().term) == (3, 2)


def test_a_learner_does_not_stand():
    members = group_of(1, 2, 3).core(1).status().members
    members = msgspec.structs.replace(members, learners=(4,))
    group = Group([Node(n, members) for n in (1, 2, 3, 4)])
    group.core(4).step(0, TimeoutNow(to=4, sender=1, term=0))
    for node in (1, 2, 3):
        group.crash(node)
    group.pass_s(10 * ELECTION_S)
    assert (group.core(4).status().kind, group.core(4).status().term) == ("learner", 0)
