"""What happens to a group: stories of its members."""

import pytest

from bastide.engines.log.core.codes import Code
from bastide.engines.log.core.groups.group import Group
from bastide.engines.log.core.groups.messages import DEAD, Claim, Leaving, Rules, State
from tests.engines.log.groups_kit import (
    REBALANCE_S,
    SESSION_S,
    Consumer,
    Room,
    consumers,
    join,
    rebalance,
    share,
)


@pytest.fixture
def room():
    return Room()


def beat_for(seconds, *members):
    """Time passes, and these show that they are alive."""
    for _ in range(int(seconds)):
        members[0].room.passes(1.0)
        for member in members:
            member.beat()


def test_one_member_joins_leads_and_has_what_it_gave_itself(room):
    [a] = consumers(room, "a")
    assert a.leads
    assert (a.generation, a.assignment) == (1, share(a.member_id, 1))
    assert (room.group.state, room.group.leader) == (State.STABLE, a.member_id)
    assert (a.beat(), a.commit()) == (Code.NONE, Code.NONE)


def test_three_members_share_a_generation_and_the_first_divides_it(room):
    a, b, c = consumers(room, "a", "b", "c")
    assert a.leads
    assert {one.member_id for one in a.joined.roster} == {a.member_id, b.member_id, c.member_id}
    assert b.joined.roster == c.joined.roster == ()
    assert {m.assignment for m in (a, b, c)} == {
        share(m.member_id, a.generation) for m in (a, b, c)
    }
    assert a.generation == b.generation == c.generation == room.group.generation


def test_a_follower_waits_for_what_the_leader_says(room):
    a = Consumer(room)
    b = Consumer(room)
    a.join()
    a.sync()
    assert b.join() is None
    assert a.beat() is Code.REBALANCE_IN_PROGRESS
    a.join()
    assert b.take_joined() is Code.NONE
    assert b.sync() is None
    assert room.group.state is State.COMPLETING
    a.sync()
    assert b.take_synced() is Code.NONE
    assert b.assignment == share(b.member_id, 2)


def test_of_three_members_one_dies_and_two_go_on(room):
    a, b, dead = consumers(room, "a", "b", "dead")
    before = a.generation
    beat_for(SESSION_S, a, b)
    assert a.beat() is b.beat() is Code.REBALANCE_IN_PROGRESS
    assert set(room.members) == {a.member_id, b.member_id}
    rebalance(a, b)
    assert a.generation == b.generation == before + 1
    assert dead.beat() is dead.commit() is Code.UNKNOWN_MEMBER_ID


def test_a_member_that_leaves_is_gone_at_once(room):
    a, b = consumers(room, "a", "b")
    assert b.leave() is Code.NONE
    assert a.beat() is Code.REBALANCE_IN_PROGRESS
    assert b.leave() is Code.UNKNOWN_MEMBER_ID
    rebalance(a)
    assert set(room.members) == {a.member_id}


def test_when_the_leader_leaves_another_leads(room):
    a, b, c = consumers(room, "a", "b", "c")
    a.leave()
    assert room.group.leader == ""
    rebalance(b, c)
    assert b.leads
    assert not c.leads
    assert room.group.leader == b.member_id


def test_a_leader_stays_it_whoever_joins_first_in_a_later_generation(room):
    a, b, c = consumers(room, "a", "b", "c")
    rebalance(*(Consumer(room), c, b, a))
    assert room.group.leader == a.member_id


def test_when_the_last_member_leaves_the_group_is_empty_at_the_next_generation(room):
    a, b = consumers(room, "a", "b")
    a.leave()
    b.leave()
    shown = room.group.described()
    assert (shown.state, shown.members, shown.protocol) == (State.EMPTY, [], "")
    assert shown.protocol_type == "consumer"
    assert shown.generation == b.generation + 1
    assert room.group.due_s == float("inf")


def test_members_restarted_one_by_one_are_all_in_again(room):
    """A rolling restart, of dynamic members: each is a new one."""
    members = consumers(room, "a", "b", "c")
    generations = [members[0].generation]
    for index in range(3):
        old = members[index]
        members[index] = old.restarted()
        old.leave()
        rebalance(*members)
        assert set(room.members) == {member.member_id for member in members}
        assert sum(member.leads for member in members) == 1
        generations.append(members[index].generation)
    assert generations == sorted(set(generations))


def test_a_slow_member_misses_the_rebalance_and_is_told_that_it_is_unknown(room):
    a, slow = consumers(room, "a", "slow")
    b = Consumer(room)
    assert b.join() is None
    a.join()
    beat_for(REBALANCE_S - 1, slow)
    assert a.waits
    assert b.waits
    room.passes(1)
    assert a.take_joined() is b.take_joined() is Code.NONE
    assert slow.beat() is slow.commit() is slow.join() is Code.UNKNOWN_MEMBER_ID
    assert set(room.members) == {a.member_id, b.member_id}


def test_a_zombie_of_an_old_generation_commits_nothing(room):
    a, zombie = consumers(room, "a", "zombie")
    old = zombie.claim
    rebalance(a, zombie)
    assert zombie.commit() is Code.NONE
    assert room.group.fence(old) is Code.ILLEGAL_GENERATION
    assert room.group.heartbeat(old, room.now_s) is Code.ILLEGAL_GENERATION


def test_two_generations_never_both_commit(room):
    a, b = consumers(room, "a", "b")
    c = Consumer(room)
    old = [a.claim, b.claim]
    assert c.join() is None
    # Both may finish what they read, while nobody has taken it up.
    assert {room.group.fence(claim) for claim in old} == {Code.NONE}
    a.join()
    assert {room.group.fence(claim) for claim in old} == {Code.NONE}
    b.join()
    for member in (a, b, c):
        member.take_joined()
    assert {room.group.fence(claim) for claim in old} == {Code.ILLEGAL_GENERATION}
    assert {member.commit() for member in (a, b, c)} == {Code.REBALANCE_IN_PROGRESS}
    for member in (a, b, c):
        member.sync()
    assert {member.commit() for member in (a, b, c)} == {Code.NONE}
    assert {room.group.fence(claim) for claim in old} == {Code.ILLEGAL_GENERATION}


def test_who_is_in_no_group_commits_only_while_there_are_no_members(room):
    simple = Claim(member_id="", generation=-1)
    assert room.group.fence(simple) is Code.NONE
    [a] = consumers(room, "a")
    assert room.group.fence(simple) is Code.UNKNOWN_MEMBER_ID
    a.leave()
    assert room.group.fence(simple) is Code.NONE
    assert a.commit() is Code.UNKNOWN_MEMBER_ID


def test_a_follower_that_joins_again_with_the_same_metadata_disturbs_nobody(room):
    a, b = consumers(room, "a", "b")
    assert b.join() is Code.NONE
    assert (b.generation, b.joined.leader) == (a.generation, a.member_id)
    assert b.sync() is Code.NONE
    assert b.assignment == share(b.member_id, a.generation)
    assert a.beat() is Code.NONE


def test_a_follower_that_joins_again_with_other_metadata_begins_a_rebalance(room):
    a, b = consumers(room, "a", "b")
    assert b.join(protocols=[("range", b"other topics")]) is None
    assert a.beat() is Code.REBALANCE_IN_PROGRESS
    a.join()
    told = {one.member_id: one.metadata for one in a.joined.roster}
    assert told == {a.member_id: b"topics", b.member_id: b"other topics"}


def test_who_joins_again_shows_that_it_is_alive(room):
    a, b = consumers(room, "a", "b")
    beat_for(SESSION_S - 1, a)
    b.join()
    beat_for(SESSION_S - 1, a)
    assert b.beat() is Code.NONE


def test_a_leader_that_joins_again_begins_a_rebalance(room):
    a, b = consumers(room, "a", "b")
    assert a.join() is None
    assert b.beat() is Code.REBALANCE_IN_PROGRESS


def test_who_lost_the_answer_of_phase_1_is_told_it_again(room):
    a, b = consumers(room, "a", "b")
    a.join()
    b.join()
    a.take_joined()
    assert a.join() is b.join() is Code.NONE
    assert len(a.joined.roster) == 2
    assert a.generation == b.generation == room.group.generation
    assert (a.sync(), b.sync()) == (Code.NONE, Code.NONE)


def test_who_comes_in_phase_2_begins_phase_1_anew(room):
    a, b = consumers(room, "a", "b")
    a.join()
    b.join()
    assert b.sync() is None
    c = Consumer(room)
    assert c.join() is None
    assert b.take_synced() is Code.REBALANCE_IN_PROGRESS
    a.take_joined()
    assert a.sync() is Code.REBALANCE_IN_PROGRESS
    rebalance(c, a, b)
    assert {m.assignment for m in (a, b, c)} == {
        share(m.member_id, a.generation) for m in (a, b, c)
    }


def test_a_leader_that_is_silent_in_phase_2_is_replaced(room):
    a, b = consumers(room, "a", "b")
    a.join()
    b.join()
    b.sync()
    room.passes(SESSION_S)
    assert b.take_synced() is Code.REBALANCE_IN_PROGRESS
    rebalance(b)
    assert b.leads


def test_a_leader_that_is_alive_and_says_nothing_is_removed_by_the_end_of_the_phase(room):
    a, b = consumers(room, "a", "b")
    a.join()
    b.join()
    a.take_joined()
    b.sync()
    beat_for(REBALANCE_S - 1, a)
    assert b.waits
    room.passes(1)
    assert b.take_synced() is Code.REBALANCE_IN_PROGRESS
    assert a.beat() is Code.UNKNOWN_MEMBER_ID


def test_a_follower_that_never_syncs_is_removed_by_the_end_of_the_phase(room):
    a, b = consumers(room, "a", "b")
    a.join()
    b.join()
    a.take_joined()
    b.take_joined()
    a.sync()
    beat_for(REBALANCE_S, a, b)
    assert b.beat() is Code.UNKNOWN_MEMBER_ID
    assert a.beat() is Code.REBALANCE_IN_PROGRESS


def test_who_waits_does_not_expire(room):
    a, slow = consumers(room, "a", "slow")
    a.join()
    beat_for(REBALANCE_S - 1, slow)
    slow.join()
    assert a.take_joined() is Code.NONE
    assert room.now_s > SESSION_S
    room.passes(SESSION_S - 1)
    assert a.sync() is Code.NONE


def test_a_member_that_asks_twice_is_told_so_with_the_first_ticket(room):
    a, b = consumers(room, "a", "b")
    a.join()
    first = a.ticket
    a.join()
    assert room.answers[first].code is Code.REBALANCE_IN_PROGRESS
    assert a.waits
    b.join()
    assert b.sync() is None
    first = b.ticket
    assert b.sync() is None
    assert room.answers[first].code is Code.REBALANCE_IN_PROGRESS


def test_a_member_whose_connection_is_lost_stays_until_its_session_ends(room):
    a, b = consumers(room, "a", "b")
    b.join(protocols=[("range", b"other topics")])
    room.passes(SESSION_S / 2)
    a.beat()
    room.lose(b.ticket)
    room.passes(SESSION_S - 1)
    a.beat()
    assert b.member_id in room.members
    room.passes(1)
    assert b.member_id not in room.members


def test_a_member_whose_connection_is_lost_may_come_back(room):
    a, b = consumers(room, "a", "b")
    b.asked["protocols"] = [("range", b"other topics")]
    b.join()
    room.lose(b.ticket)
    a.join()
    assert a.take_joined() is Code.NONE
    assert b.join() is Code.NONE
    assert a.sync() is b.sync() is Code.NONE


def test_a_lost_sync_is_forgotten_and_can_be_asked_again(room):
    a, b = consumers(room, "a", "b")
    a.join()
    b.join()
    a.take_joined()
    b.sync()
    room.lose(b.ticket)
    a.sync()
    assert b.sync() is Code.NONE
    assert b.assignment == share(b.member_id, a.generation)


def test_who_was_told_its_id_and_loses_its_sync_can_come_back(room):
    a, b = consumers(room, "a", "b")
    c = Consumer(room)
    c.join()
    a.join()
    b.join()
    c.take_joined()
    c.sync()
    room.lose(c.ticket)
    a.take_joined()
    a.sync()
    assert c.sync() is Code.NONE
    assert c.assignment == share(c.member_id, a.generation)


def test_a_leader_whose_connection_is_lost_does_not_lead(room):
    a, b = consumers(room, "a", "b")
    a.join()
    room.lose(a.ticket)
    b.join()
    assert b.leads
    assert {one.member_id for one in b.joined.roster} == {a.member_id, b.member_id}


def test_if_all_connections_are_lost_phase_1_stays_open_for_who_comes_back(room):
    a, b = consumers(room, "a", "b")
    before = room.group.generation
    a.join()
    room.lose(a.ticket)
    b.leave()
    assert (room.group.state, room.group.generation) == (State.PREPARING, before)
    assert a.join() is Code.NONE
    assert a.generation == before + 1


def test_a_new_member_lost_before_it_knew_its_id_goes_at_once(room):
    a, b = consumers(room, "a", "b")
    c = Consumer(room)
    c.join()
    assert len(room.members) == 3
    room.lose(c.ticket)
    assert len(room.members) == 2
    rebalance(a, b)
    assert len(a.joined.roster) == 2


def test_a_ticket_that_waits_for_nothing_may_be_lost_too(room):
    [a] = consumers(room, "a")
    room.lose(a.ticket)
    room.lose("another")
    assert a.beat() is Code.NONE


# Answers that refuse.


def test_a_member_that_nobody_knows_is_refused_everywhere(room):
    consumers(room, "a")
    nobody = Consumer(room)
    nobody.member_id, nobody.generation = "nobody", 1
    nobody.joined = room.answers[1]
    assert nobody.join() is nobody.sync() is Code.UNKNOWN_MEMBER_ID
    assert nobody.beat() is nobody.commit() is nobody.leave() is Code.UNKNOWN_MEMBER_ID


def test_a_group_that_is_new_knows_no_member(room):
    late = Consumer(room)
    late.member_id, late.generation = "late", 7
    assert late.join() is late.beat() is late.commit() is Code.UNKNOWN_MEMBER_ID


def test_a_sync_of_an_old_generation_is_refused(room):
    a, b = consumers(room, "a", "b")
    old = b.claim
    rebalance(a, b)
    ticket = room.sync(old)
    assert room.answers[ticket].code is Code.ILLEGAL_GENERATION


def test_a_sync_in_phase_1_is_refused(room):
    a, b = consumers(room, "a", "b")
    a.join()
    assert b.sync() is Code.REBALANCE_IN_PROGRESS


def test_a_member_that_the_leader_forgot_has_nothing(room):
    a, b = consumers(room, "a", "b")
    a.join()
    b.join()
    a.take_joined()
    ticket = room.sync(a.claim, {a.member_id: b"all", "stranger": b"some"})
    assert room.answers[ticket].assignment == b"all"
    assert b.sync() is Code.NONE
    assert b.assignment == b""


# What is shown and what is kept.


def test_a_stable_group_shows_what_its_members_have(room):
    a, b = consumers(room, "a", "b", host="/127.0.0.1")
    shown = room.group.described()
    assert (shown.state, shown.protocol_type, shown.protocol) == ("Stable", "consumer", "range")
    assert [(m.client_id, m.host, m.metadata) for m in shown.members] == [
        ("a", "/127.0.0.1", b"topics"),
        ("b", "/127.0.0.1", b"topics"),
    ]
    assert [m.assignment for m in shown.members] == [a.assignment, b.assignment]


def test_a_rebalancing_group_shows_who_is_there_but_not_what_they_have(room):
    a, b = consumers(room, "a", "b")
    for state in ("PreparingRebalance", "CompletingRebalance"):
        (a if state == "PreparingRebalance" else b).join()
        shown = room.group.described()
        assert (shown.state, shown.protocol) == (state, "")
        assert [(m.metadata, m.assignment) for m in shown.members] == [(b"", b"")] * 2


def test_a_group_that_is_not_there_is_dead():
    assert (DEAD.state, DEAD.members) == ("Dead", ())


def test_after_a_restart_generations_go_on_where_they_were():
    room = Room()
    room.group = Group.restored(Rules(), generation=41, protocol_type="consumer")
    shown = room.group.described()
    assert (shown.state, shown.generation, shown.protocol_type) == (State.EMPTY, 41, "consumer")
    zombie = Claim(member_id="zombie", generation=41)
    assert room.group.fence(zombie) is Code.UNKNOWN_MEMBER_ID
    [a] = consumers(room, "a")
    assert a.generation == 42


def test_several_leave_at_once_and_each_has_its_answer(room):
    a, b, c = consumers(room, "a", "b", "c")
    codes = room.leave(*(Leaving(member_id=name) for name in (a.member_id, "x", a.member_id)))
    assert codes == [Code.NONE, Code.UNKNOWN_MEMBER_ID, Code.UNKNOWN_MEMBER_ID]
    b.join()
    c.join()
    assert b.take_joined() is Code.NONE


def test_who_leaves_while_it_waits_is_told_that_it_is_unknown(room):
    a, b = consumers(room, "a", "b")
    a.join()
    a.leave()
    assert a.take_joined() is Code.UNKNOWN_MEMBER_ID
    assert b.join() is Code.NONE


def test_a_join_has_no_side_effects_if_it_is_refused(room):
    [a] = consumers(room, "a")
    before = room.group.described()
    room.group.join("t", join(new_id="x", session_s=0.1), room.now_s)
    room.group.join("t", join(new_id="x", protocol_type="connect"), room.now_s)
    room.group.join("t", join(new_id="x", member_id="nobody"), room.now_s)
    assert room.group.described() == before
    assert a.beat() is Code.NONE
