"""Static members (KIP-345): found by their instance id, whoever runs under it."""

import pytest

from bastide.engines.log.core.codes import Code
from bastide.engines.log.core.groups.messages import Leaving, State
from tests.engines.log.groups_kit import REBALANCE_S, SESSION_S, Consumer, Room, rebalance


@pytest.fixture
def room():
    return Room()


@pytest.fixture
def pair(room):
    """A stable group of two static members, the first of them its leader."""
    members = [Consumer(room, instance_id=name, id_required=True) for name in ("a", "b")]
    rebalance(*members)
    return members


def test_a_static_member_that_bounces_gets_back_what_it_had(room, pair):
    a, b = pair
    room.passes(SESSION_S - 1)
    a.beat()
    again = b.restarted()
    assert again.join() is Code.NONE
    assert again.member_id != b.member_id
    assert (again.generation, again.joined.leader) == (a.generation, a.member_id)
    assert again.sync() is Code.NONE
    assert again.assignment == b.assignment
    assert a.beat() is again.beat() is again.commit() is Code.NONE
    assert set(room.members) == {a.member_id, again.member_id}


def test_its_former_self_is_fenced(room, pair):
    _, b = pair
    b.restarted().join()
    assert b.beat() is b.commit() is b.sync() is b.join() is Code.FENCED_INSTANCE_ID
    assert b.leave() is Code.FENCED_INSTANCE_ID


def test_its_former_self_is_unknown_if_it_does_not_say_who_it_was(room, pair):
    _, b = pair
    b.restarted().join()
    b.instance_id = None
    assert b.beat() is b.commit() is Code.UNKNOWN_MEMBER_ID


def test_a_leader_that_bounces_is_told_to_assign_nothing_if_it_understands(room, pair):
    a, b = pair
    again = a.restarted()
    assert again.join(skip_known=True) is Code.NONE
    assert again.leads
    assert again.joined.skip_assignment
    assert {one.instance_id for one in again.joined.roster} == {"a", "b"}
    again.sync()
    assert again.take_synced() is Code.NONE
    assert again.assignment == a.assignment
    assert b.beat() is Code.NONE
    assert room.group.leader == again.member_id


def test_a_leader_that_bounces_is_told_that_it_follows_if_it_would_not_understand(room, pair):
    a, b = pair
    again = a.restarted()
    assert again.join() is Code.NONE
    assert not again.leads
    assert not again.joined.skip_assignment
    assert again.sync() is Code.NONE
    assert again.assignment == a.assignment
    assert b.beat() is Code.NONE
    # In the next generation it leads.
    assert b.join(protocols=[("range", b"other")]) is None
    again.join()
    assert again.leads
    assert len(again.joined.roster) == 2


def test_a_static_member_that_comes_back_with_another_protocol_begins_a_rebalance(room):
    both = [("range", b""), ("round", b"")]
    a, b = (Consumer(room, instance_id=name, protocols=both) for name in ("a", "b"))
    rebalance(a, b)
    again = b.restarted()
    assert again.join(protocols=both[1:]) is None
    assert a.beat() is Code.REBALANCE_IN_PROGRESS
    a.join()
    assert a.joined.protocol == "round"
    assert again.take_joined() is Code.NONE


def test_all_restart_one_by_one_and_there_is_no_rebalance(room, pair):
    """A rolling restart, of static members."""
    for member in pair:
        again = member.restarted()
        again.join()
        again.sync()
        assert again.assignment == member.assignment
    assert room.group.state is State.STABLE
    assert room.group.generation == pair[0].generation


def test_who_bounces_in_phase_1_takes_the_place_of_its_former_self(room, pair):
    a, b = pair
    b.join(protocols=[("range", b"other")])
    again = b.restarted()
    assert again.join() is None
    assert b.take_joined() is Code.FENCED_INSTANCE_ID
    a.join()
    assert again.take_joined() is Code.NONE
    assert len(a.joined.roster) == 2


def test_who_bounces_in_phase_2_begins_phase_1_anew(room, pair):
    """The leader has been told the old id, and would assign to it."""
    a, b = pair
    a.join()
    b.join()
    a.take_joined()
    b.sync()
    again = b.restarted()
    assert again.join() is None
    assert b.take_synced() is Code.FENCED_INSTANCE_ID
    assert a.sync() is Code.REBALANCE_IN_PROGRESS
    rebalance(a, again)
    assert again.generation == b.generation + 1


def test_a_static_member_that_is_away_too_long_is_removed(room, pair):
    a, b = pair
    for _ in range(int(SESSION_S)):
        room.passes(1)
        a.beat()
    assert set(room.members) == {a.member_id}
    again = b.restarted()
    assert again.join() is None
    assert b.beat() is Code.FENCED_INSTANCE_ID


def test_a_static_member_that_misses_a_rebalance_stays_until_its_session_ends(room, pair):
    a, b = pair
    a.asked["rebalance_s"] = b.asked["rebalance_s"] = 3.0
    b.asked["session_s"] = 20.0
    rebalance(a, b)
    a.join()
    room.passes(3)
    assert a.take_joined() is Code.NONE
    assert {one.member_id for one in a.joined.roster} == {a.member_id, b.member_id}
    a.sync()
    assert b.beat() is Code.ILLEGAL_GENERATION
    for _ in range(16):
        a.beat()
        room.passes(1)
    assert b.member_id in room.members
    assert b.join() is Code.NONE
    assert b.sync() is Code.NONE
    assert b.assignment != b""
    assert a.beat() is Code.NONE


def test_if_only_static_members_are_left_and_all_are_away_phase_1_stays_open(room, pair):
    a, b = pair
    for member in pair:
        member.asked.update(rebalance_s=3.0, session_s=20.0)
    rebalance(a, b)
    new = Consumer(room, rebalance_s=3.0)
    new.join()
    room.lose(new.ticket)
    assert room.group.state is State.PREPARING
    room.passes(5)
    assert (room.group.state, len(room.members)) == (State.PREPARING, 2)
    assert a.join() is None
    assert b.join() is Code.NONE
    assert a.take_joined() is Code.NONE


def test_if_one_of_them_comes_back_it_waits_for_the_others_and_not_for_ever(room, pair):
    a, b = pair
    for member in pair:
        member.asked.update(rebalance_s=3.0, session_s=20.0)
    rebalance(a, b)
    Consumer(room, instance_id="c", rebalance_s=3.0).join()
    room.lose(room.asked)
    room.passes(5)
    assert a.join() is None
    room.passes(2.5)
    assert a.waits
    room.passes(0.5)
    assert a.take_joined() is Code.NONE
    assert len(a.joined.roster) == 3


def test_a_static_member_does_not_leave_unless_its_instance_is_named(room, pair):
    _, b = pair
    assert room.leave(Leaving(member_id=b.member_id)) == [Code.NONE]
    assert b.beat() is Code.NONE
    assert room.leave(Leaving(instance_id="b")) == [Code.NONE]
    assert b.beat() is Code.UNKNOWN_MEMBER_ID
    assert room.leave(Leaving(instance_id="b")) == [Code.UNKNOWN_MEMBER_ID]


def test_a_static_member_that_names_both_ids_leaves(room, pair):
    a, b = pair
    assert b.leave() is Code.NONE
    assert a.beat() is Code.REBALANCE_IN_PROGRESS


def test_a_dynamic_member_can_not_say_that_it_is_static(room, pair):
    c = Consumer(room)
    c.join()
    rebalance(*pair, c)
    c.instance_id = "a"
    assert c.beat() is Code.FENCED_INSTANCE_ID
    c.instance_id = "c"
    assert c.beat() is c.join(instance_id="c") is Code.UNKNOWN_MEMBER_ID


def test_an_id_that_was_given_can_not_be_used_for_a_static_member(room):
    c = Consumer(room, id_required=True)
    c.join()
    assert c.join(instance_id="c") is Code.UNKNOWN_MEMBER_ID


def test_a_new_static_member_whose_connection_is_lost_stays_for_its_session(room, pair):
    c = Consumer(room, instance_id="c", rebalance_s=REBALANCE_S)
    c.join()
    room.lose(c.ticket)
    assert len(room.members) == 3
    again = c.restarted()
    assert again.join() is None
    assert len(room.members) == 3
