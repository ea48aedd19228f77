"""What a group asks of who comes: protocols, ids, patience; and its limits."""

import pytest

from bastide.engines.log.core.codes import Code
from bastide.engines.log.core.groups.group import GROUP_MEMBERS_MAX, METADATA_BYTES_MAX
from bastide.engines.log.core.groups.messages import Rules, State
from tests.engines.log.groups_kit import (
    REBALANCE_S,
    SESSION_S,
    Consumer,
    Room,
    consumers,
    rebalance,
)


@pytest.fixture
def room():
    return Room()


# Protocols.


def test_the_protocol_is_one_that_all_know_and_most_prefer(room):
    a = Consumer(room, protocols=[("sticky", b"1"), ("range", b"2"), ("round", b"3")])
    b = Consumer(room, protocols=[("range", b"4"), ("round", b"5")])
    c = Consumer(room, protocols=[("round", b"6"), ("range", b"7")])
    rebalance(a, b, c)
    assert a.joined.protocol == b.joined.protocol == "range"
    assert [one.metadata for one in a.joined.roster] == [b"2", b"4", b"7"]


def test_between_protocols_that_as_many_prefer_the_first_member_decides(room):
    a = Consumer(room, protocols=[("range", b""), ("round", b"")])
    b = Consumer(room, protocols=[("round", b""), ("range", b"")])
    rebalance(a, b)
    assert a.joined.protocol == "range"


@pytest.mark.parametrize(
    "odd",
    [
        {"protocols": [("round", b"")]},
        {"protocol_type": "connect"},
        {"protocols": []},
        {"protocol_type": ""},
    ],
)
def test_who_has_no_protocol_with_the_others_is_refused(room, odd):
    a, b = consumers(room, "a", "b")
    assert Consumer(room, **odd).join() is Code.INCONSISTENT_GROUP_PROTOCOL
    assert b.join(**odd) is Code.INCONSISTENT_GROUP_PROTOCOL
    assert a.beat() is b.beat() is Code.NONE


def test_an_empty_group_takes_any_protocol(room):
    [a] = consumers(room, "a")
    a.leave()
    b = Consumer(room, protocol_type="connect", protocols=[("round", b"")])
    rebalance(b)
    assert room.group.described().protocol_type == "connect"


@pytest.mark.parametrize("protocols", [[], [("", b"")]])
def test_an_empty_group_takes_none_without_a_protocol(room, protocols):
    code = Consumer(room, protocol_type="", protocols=protocols).join()
    assert code is Code.INCONSISTENT_GROUP_PROTOCOL


def test_members_can_move_to_another_protocol_one_by_one(room):
    a, b = consumers(room, "a", "b")
    both, new = [("sticky", b""), ("range", b"")], [("sticky", b"")]
    for protocols in (both, new):
        for member in (a, b):
            member.asked["protocols"] = protocols
            rebalance(a, b)
    assert a.joined.protocol == "sticky"


def test_what_a_member_knew_before_does_not_bind_it(room):
    a, b = consumers(room, "a", "b")
    a.asked["protocols"] = [("round", b""), ("range", b"")]
    rebalance(a, b)
    b.asked["protocols"] = [("round", b"")]
    rebalance(a, b)
    assert b.joined.protocol == "round"


def test_a_sync_names_the_protocol_of_the_generation(room):
    _, b = consumers(room, "a", "b")
    assert b.sync(protocol="round") is Code.INCONSISTENT_GROUP_PROTOCOL
    assert b.sync(protocol_type="connect") is Code.INCONSISTENT_GROUP_PROTOCOL
    assert b.sync(protocol_type="consumer", protocol="range") is Code.NONE
    answer = room.answers[b.ticket]
    assert (answer.protocol_type, answer.protocol) == ("consumer", "range")


# Ids given before they are used (KIP-394).


def test_a_new_member_is_told_its_id_first_if_it_asks_for_that(room):
    a = Consumer(room, id_required=True)
    assert a.join() is Code.MEMBER_ID_REQUIRED
    assert a.member_id
    assert room.group.state is State.EMPTY
    assert a.join() is Code.NONE
    assert room.members.keys() == {a.member_id}


def test_who_was_told_its_id_first_can_come_back_when_its_connection_is_lost(room):
    a, b = consumers(room, "a", "b")
    c = Consumer(room, id_required=True)
    c.join()
    c.join()
    room.lose(c.ticket)
    assert c.join() is None
    a.join()
    b.join()
    assert c.take_joined() is Code.NONE


def test_an_id_that_is_not_used_within_its_session_is_forgotten(room):
    a = Consumer(room, id_required=True)
    a.join()
    room.passes(SESSION_S)
    assert a.join() is Code.UNKNOWN_MEMBER_ID
    assert room.group.due_s == float("inf")


def test_phase_1_waits_for_an_id_that_was_given(room):
    a, b = consumers(room, "a", "b")
    c = Consumer(room, id_required=True)
    a.join()
    c.join()
    assert b.join() is None
    assert c.join() is Code.NONE
    assert a.take_joined() is b.take_joined() is Code.NONE
    assert len(a.joined.roster) == 3


@pytest.mark.parametrize("how", ["expires", "leaves"])
def test_phase_1_ends_when_an_id_that_was_given_is_not_used(room, how):
    a, b = consumers(room, "a", "b")
    c = Consumer(room, id_required=True)
    a.join()
    c.join()
    assert b.join() is None
    if how == "expires":
        room.passes(SESSION_S)
    else:
        assert c.leave() is Code.NONE
    assert a.take_joined() is b.take_joined() is Code.NONE
    assert len(a.joined.roster) == 2


# The initial delay.


def test_the_first_waits_for_others_that_come_and_each_begins_the_delay_anew():
    room = Room(Rules(initial_delay_s=3.0))
    a, b = Consumer(room), Consumer(room)
    assert a.join() is None
    room.passes(2)
    assert b.join() is None
    room.passes(2.5)
    assert a.waits
    room.passes(0.5)
    assert a.take_joined() is b.take_joined() is Code.NONE
    assert a.generation == 1
    assert len(a.joined.roster) == 2


def test_the_initial_delay_is_at_most_the_rebalance_timeout():
    room = Room(Rules(initial_delay_s=3.0))
    first = Consumer(room)
    first.join()
    for _ in range(int(REBALANCE_S / 2)):
        assert first.waits
        Consumer(room).join()
        room.passes(2)
    assert first.take_joined() is Code.NONE


def test_who_comes_later_waits_for_no_initial_delay():
    room = Room(Rules(initial_delay_s=3.0))
    a, b = Consumer(room), Consumer(room)
    a.join()
    room.passes(3)
    a.take_joined()
    a.sync()
    b.join()
    a.join()
    assert a.take_joined() is b.take_joined() is Code.NONE


def test_if_all_are_lost_in_the_initial_delay_the_group_is_empty():
    room = Room(Rules(initial_delay_s=3.0))
    a = Consumer(room)
    a.join()
    room.lose(a.ticket)
    assert room.group.state is State.EMPTY
    assert room.group.due_s == float("inf")


# Limits.


@pytest.mark.limit("log.GROUP_MEMBERS_MAX")
def test_a_group_has_so_many_members_and_not_one_more(room):
    first, *others = [Consumer(room) for _ in range(GROUP_MEMBERS_MAX)]
    first.join()
    for other in others:
        other.join()
    assert len(room.members) == GROUP_MEMBERS_MAX
    assert Consumer(room).join() is Code.GROUP_MAX_SIZE_REACHED
    assert first.join() is Code.NONE
    assert others[-1].take_joined() is Code.NONE
    assert first.leave() is Code.NONE
    assert Consumer(room).join() is None


def test_ids_that_are_not_used_yet_count_as_members(room):
    for _ in range(GROUP_MEMBERS_MAX - 1):
        assert Consumer(room, id_required=True).join() is Code.MEMBER_ID_REQUIRED
    last = Consumer(room, id_required=True)
    last.join()
    assert Consumer(room).join() is Code.GROUP_MAX_SIZE_REACHED
    assert last.join() is Code.NONE
    room.passes(SESSION_S - 1)
    last.beat()
    room.passes(1)
    assert Consumer(room).join() is None


def test_a_full_group_lets_a_static_member_come_back(room):
    a = Consumer(room, instance_id="a")
    a.join()
    for _ in range(GROUP_MEMBERS_MAX - 1):
        Consumer(room).join()
    assert a.restarted().join() is Code.NONE


@pytest.mark.limit("log.METADATA_BYTES_MAX")
def test_metadata_has_so_many_bytes_and_not_one_more(room):
    most = [("range", b""), ("round", b"x" * (METADATA_BYTES_MAX - 10))]
    more = [("range", b"x"), *most[1:]]
    assert Consumer(room, protocols=more).join() is Code.INVALID_REQUEST
    assert Consumer(room, protocols=most).join() is Code.NONE


@pytest.mark.parametrize("session_s", [2.0, 5.0])
def test_a_session_is_within_its_bounds(session_s):
    room = Room(Rules(session_s_min=2.0, session_s_max=5.0))
    beyond_s = session_s + (session_s - 3.5)
    assert Consumer(room, session_s=beyond_s).join() is Code.INVALID_SESSION_TIMEOUT
    assert Consumer(room, session_s=session_s).join() is Code.NONE


def test_a_rebalance_timeout_that_is_none_is_the_least_session(room):
    a, b = consumers(room, "a", "b", rebalance_s=-1.0)
    a.join()
    room.passes(0.9)
    assert a.waits
    room.passes(0.1)
    assert a.take_joined() is Code.NONE
    assert b.member_id not in room.members
