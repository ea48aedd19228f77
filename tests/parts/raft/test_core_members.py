"""Who votes, and how that changes (thesis chapter 4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.parts.raft.contract import (
    MEMBERS_MAX,
    NODE_MAX,
    PAYLOAD_BYTES_MAX,
    Change,
    ChangeRefused,
    Members,
    NotLeader,
    PayloadTooLarge,
)
from bastide.parts.raft.core.members import decode_change, left, planned
from bastide.parts.raft.core.quorum import Poll, agreed
from tests.parts.raft.core_kit import (
    ELECTION_S,
    HEARTBEAT_S,
    Group,
    Node,
    group_of,
    payloads_of,
)


@pytest.fixture
def led():
    group = group_of(1, 2, 3)
    group.elect(1)
    group.pass_s(HEARTBEAT_S)
    return group


def join(group: Group, *nodes: int) -> None:
    for node in nodes:
        group.nodes[node] = Node(node, Members(()), options=group[1].options)
        group[node].start(group.now_s)


def change(group: Group, voters: tuple[int, ...], learners: tuple[int, ...] = ()) -> None:
    group.core(group.leader).change(group.now_s, Change(voters, learners))
    group.pass_s(2 * HEARTBEAT_S)


# --- quorums --------------------------------------------------------------------------------------

NODES = st.lists(st.integers(1, 9), min_size=1, max_size=9, unique=True).map(sorted).map(tuple)


@given(NODES, st.one_of(st.just(()), NODES), st.lists(st.integers(0, 9), min_size=10, max_size=10))
def test_a_quorum_s_value_is_the_greatest_that_a_majority_of_each_has(voters, outgoing, values):
    """Against the definition: how many have at least so much."""
    found = agreed(Members(voters, outgoing=outgoing), values.__getitem__)

    def has(least: int) -> bool:
        groups = [g for g in (voters, outgoing) if g]
        return all(2 * sum(values[n] >= least for n in g) > len(g) for g in groups)

    assert has(found)
    assert not has(found + 1)


@given(NODES, st.one_of(st.just(()), NODES), st.sets(st.integers(1, 9)), st.sets(st.integers(1, 9)))
def test_a_poll_is_won_by_majorities_and_lost_when_one_is_out_of_reach(voters, outgoing, yes, no):
    poll = Poll(Members(voters, outgoing=outgoing), is_pre=False)
    for node in yes:
        poll.count(node, granted=True)
    for node in no - yes:
        poll.count(node, granted=False)
    groups = [g for g in (voters, outgoing) if g]
    assert poll.is_won == all(2 * len(yes & set(g)) > len(g) for g in groups)
    assert poll.is_lost == any(2 * len(set(g) - (no - yes)) <= len(g) for g in groups)


# --- plans ----------------------------------------------------------------------------------------


@given(NODES, NODES)
def test_a_step_without_a_joint_phase_leaves_no_two_majorities_apart(old, new):
    """4.1, figure 4.3: any majority of the old meets any of the new."""
    if old == new:
        return
    members = planned(Members(old), Change(new))
    if not members.is_joint:
        least = len(old) // 2 + 1 + len(new) // 2 + 1
        assert least > len(set(old) | set(new))
    assert left(members).voters == new if members.is_joint else members.voters == new


def test_a_voter_that_becomes_a_learner_votes_on_until_the_joint_phase_is_over():
    members = planned(Members((1, 2, 3)), Change((1, 4, 5), (2, 6)))
    assert members == Members((1, 4, 5), outgoing=(1, 2, 3), learners=(6,), coming=(2,))
    assert left(members) == Members((1, 4, 5), learners=(2, 6))


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (Change(()), "without a voter"),
        (Change((1, 2, 3)), "has now"),
        (Change((3, 2, 1, 1)), "has now"),
        (Change((1, 2), (2, 3)), "vote and learn"),
        (Change((0, 1, 2, 3)), "1 to"),
        (Change((1, 2, 3, NODE_MAX + 1)), "1 to"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(wanted, why):
    with pytest.raises(ChangeRefused, match=why):
        planned(Members((1, 2, 3)), wanted)


@pytest.mark.limit("raft.MEMBERS_MAX")
def test_a_group_has_no_more_members_than_the_limit():
    learners = tuple(range(4, MEMBERS_MAX + 1))
    assert planned(Members((1, 2, 3)), Change((1, 2, 3), learners)).learners == learners
    with pytest.raises(ChangeRefused, match=str(MEMBERS_MAX)):
        planned(Members((1, 2, 3)), Change((1, 2, 3), (*learners, MEMBERS_MAX + 1)))


@pytest.mark.limit("raft.NODE_MAX")
def test_a_node_s_number_may_be_the_greatest():
    assert planned(Members((1,)), Change((1,), (NODE_MAX,))).learners == (NODE_MAX,)
    with pytest.raises(ChangeRefused):
        planned(Members((1,)), Change((1,), (NODE_MAX + 1,)))


# --- single steps ---------------------------------------------------------------------------------


def test_a_learner_gets_all_and_counts_for_nothing(led):
    join(led, 4)
    change(led, (1, 2, 3), (4,))
    led.crash(2)
    led.crash(3)
    led.core(1).propose(led.now_s, [b"a"])
    led.settle()
    assert led.core(4).status().last_index == 3
    assert payloads_of(led[1]) == []
    led.restart(2)
    led.pass_s(2 * HEARTBEAT_S)
    assert payloads_of(led[1]) == payloads_of(led[4]) == [b"a"]


def test_a_learner_is_promoted_and_counts_from_then_on(led):
    join(led, 4)
    change(led, (1, 2, 3), (4,))
    change(led, (1, 2, 3, 4))
    assert led.core(4).status().kind == "follower"
    led.crash(2)
    led.core(1).propose(led.now_s, [b"a"])
    led.pass_s(HEARTBEAT_S)
    assert payloads_of(led[1]) == [b"a"]
    led.crash(3)
    led.core(1).propose(led.now_s, [b"b"])
    led.settle()
    assert payloads_of(led[1]) == [b"a"]


def test_the_new_members_are_in_force_once_the_entry_is_in_the_log():
    """4.1: not once it is committed. The second node's word is needed to commit that it is in."""
    group = group_of(1)
    group.pass_s(0)
    join(group, 2)
    group.core(1).change(0, Change((1,), (2,)))
    group.pass_s(2 * HEARTBEAT_S)
    group.core(1).change(group.now_s, Change((1, 2)))
    group.crash(2)
    group.settle()
    assert group.core(1).status().members == Members((1, 2))
    assert group.core(1).status().committed == 2


def test_an_entry_that_is_cut_off_takes_its_members_with_it(led):
    led.isolate(1)
    led.core(1).change(led.now_s, Change((1, 2)))
    led.settle()
    assert led.core(1).status().members == Members((1, 2))
    led.elect(2)
    led.heal()
    led.pass_s(2 * HEARTBEAT_S)
    assert led.core(1).status().members == Members((1, 2, 3))


def test_a_leader_that_removes_itself_leads_until_that_is_committed(led):
    """4.2.2: it does not count itself meanwhile, and then steps down."""
    led.crash(3)
    led.core(1).change(led.now_s, Change((2, 3)))
    led.settle()
    assert (led.core(1).status().kind, led.core(1).status().committed) == ("leader", 1)
    led.restart(3)
    led.pass_s(2 * HEARTBEAT_S)
    assert (led.core(1).status().kind, led.core(1).status().committed) == ("learner", 2)
    led.pass_s(3 * ELECTION_S)
    assert led.leader in (2, 3)


def test_a_leader_that_removed_itself_stands_again_if_it_alone_has_the_entry():
    """4.2.2: it may be needed to elect a leader, itself, until the entry is committed."""
    group = group_of(1, 2)
    group.elect(1)
    group.isolate(1)
    group.core(1).change(group.now_s, Change((2,)))
    group.settle()
    group.crash(1)
    group.heal()
    group.restart(1)
    group.pass_s(5 * ELECTION_S)
    assert group.leader == 2
    assert group.core(2).status().members == Members((2,))


def test_a_removed_node_does_not_disturb(led):
    """4.2.3."""
    change(led, (1, 2))
    led.pass_s(10 * ELECTION_S)
    assert led.core(1).status().kind == "leader"
    assert led.core(1).status().term == 1
    assert led.core(3).status().term == 1


# --- joint ----------------------------------------------------------------------------------------


def test_several_voters_are_replaced_at_once(led):
    join(led, 4, 5)
    change(led, (1, 2, 3), (4, 5))
    change(led, (1, 4, 5), (2,))
    assert led.core(1).status().members == Members((1, 4, 5), learners=(2,))
    assert led.core(2).status().kind == "learner"
    led.crash(2)
    led.crash(3)
    led.core(1).propose(led.now_s, [b"a"])
    led.pass_s(HEARTBEAT_S)
    assert payloads_of(led[4]) == [b"a"]


@pytest.mark.parametrize("away", [(2, 3), (4, 5)])
def test_a_joint_group_needs_a_majority_of_either(led, away):
    join(led, 4, 5)
    change(led, (1, 2, 3), (4, 5))
    led.core(1).change(led.now_s, Change((1, 4, 5)))
    for node in away:
        led.crash(node)
    led.pass_s(0.5 * ELECTION_S)
    assert led.core(1).status().members.is_joint
    assert led.core(1).status().committed == 2
    led.pass_s(5 * ELECTION_S)
    assert led.leader == 0


def test_a_new_leader_ends_a_joint_phase_that_it_finds(led):
    join(led, 4, 5)
    change(led, (1, 2, 3), (4, 5))
    led.core(1).change(led.now_s, Change((1, 4, 5)))
    led.collect()
    for message in list(led.wire):
        led.deliver(message)
    led.wire = []
    led.crash(1)
    led.pass_s(6 * ELECTION_S)
    assert led.leader in (2, 4, 5)
    led.restart(1)
    led.pass_s(6 * ELECTION_S)
    assert led.leader in (1, 4, 5)
    assert led.core(led.leader).status().members == Members((1, 4, 5))


# --- refusals -------------------------------------------------------------------------------------


def test_one_change_at_a_time(led):
    led.core(1).change(led.now_s, Change((1, 2)))
    with pytest.raises(ChangeRefused, match="under way"):
        led.core(1).change(led.now_s, Change((1, 2, 3)))
    led.settle()
    with pytest.raises(ChangeRefused, match="not heard"):
        led.core(1).change(led.now_s, Change((1, 8, 9)))


def test_a_change_waits_until_the_leader_has_committed_in_its_term():
    """The flaw that was found in single changes in 2015: two leaders' changes might not overlap."""
    group = group_of(1, 2, 3)
    group.win(1)
    with pytest.raises(ChangeRefused, match="just being taken"):
        group.core(1).change(group.now_s, Change((1, 2)))
    group.settle()
    group.core(1).change(group.now_s, Change((1, 2)))


def test_a_majority_that_is_not_heard_is_not_made_voters(led):
    with pytest.raises(ChangeRefused, match="learners first"):
        led.core(1).change(led.now_s, Change((1, 4, 5)))
    led.crash(3)
    led.pass_s(2 * ELECTION_S)
    with pytest.raises(ChangeRefused, match="learners first"):
        led.core(1).change(led.now_s, Change((1, 3)))
    led.core(1).change(led.now_s, Change((1, 2)))


def test_no_change_during_a_transfer_nor_by_who_does_not_lead(led):
    led.crash(3)
    led.core(1).transfer(led.now_s, 3)
    with pytest.raises(ChangeRefused, match="handed over"):
        led.core(1).change(led.now_s, Change((1, 2)))
    with pytest.raises(NotLeader):
        led.core(2).change(led.now_s, Change((1, 2)))


def test_a_change_carries_its_host_s_context(led):
    led.core(1).change(led.now_s, Change((1, 2), context=b"an address"))
    led.settle()
    (entry,) = [e for e in led[2].applied if e.kind == "change"]
    assert decode_change(entry) == (Members((1, 2)), b"an address")


@pytest.mark.parametrize("extra", [0, 1])
def test_a_context_takes_half_a_payload(led, extra):
    wanted = Change((1, 2), context=bytes(PAYLOAD_BYTES_MAX // 2 + extra))
    if extra:
        with pytest.raises(PayloadTooLarge):
            led.core(1).change(led.now_s, wanted)
    else:
        led.core(1).change(led.now_s, wanted)
