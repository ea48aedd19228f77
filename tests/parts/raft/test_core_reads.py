"""Reads that are never stale (thesis 6.4, and 6.4.1 for leases)."""

import msgspec
import pytest

from bastide.parts.raft.contract import (
    READS_MAX,
    NotLeader,
    OptionInvalid,
    Options,
    ReadAsk,
    ReadAt,
    ReadReply,
    ReadsOver,
)
from bastide.parts.raft.core.reads import ROUNDS_KEPT_MAX, Rounds
from tests.parts.raft.core_kit import ELECTION_S, HEARTBEAT_S, OPTIONS, Group, group_of

LEASE_S = ELECTION_S * (1 - OPTIONS.lease_drift)


@pytest.fixture
def led():
    """Three nodes, 1 leads, and one entry beside the empty one is committed everywhere."""
    group = group_of(1, 2, 3)
    group.elect(1)
    group.core(1).propose(group.now_s, [b"x"])
    group.pass_s(HEARTBEAT_S)
    return group


def read(group: Group, node: int, token: int, *, lease: bool = False) -> None:
    group.core(node).read(group.now_s, token, lease=lease)
    group.collect()


# --- by a round -----------------------------------------------------------------------------------


def test_a_read_is_answered_once_a_quorum_says_that_nobody_else_leads(led):
    read(led, 1, 5)
    assert led[1].reads == []
    led.settle()
    assert led[1].reads == [ReadAt(5, 2)]


def test_a_read_of_a_leader_that_was_replaced_is_not_answered(led):
    """It does not know it yet; 6.4 step 3 is what the round is for."""
    led.isolate(1)
    led.core(2).tick(led.now_s + ELECTION_S)
    now_s = led.now_s + 0.5 * ELECTION_S
    led.core(1).read(now_s, 5)
    led[1].pump(now_s)
    assert led.core(1).status().kind == "leader"
    assert led[1].reads == []
    led.pass_s(2 * ELECTION_S)
    assert led[1].reads == [ReadAt(5, None)]


def test_an_echo_of_a_round_that_began_before_the_read_does_not_count(led):
    led.now_s = led.core(1).next_tick_s
    led.core(1).tick(led.now_s)
    led.collect()
    for message in [m for m in led.wire if m.sender == 1]:
        led.deliver(message)
    led.wire = []
    led.collect()
    echoes = [m for m in led.wire if m.to == 1]
    read(led, 1, 5)
    for echo in echoes:
        led.deliver(echo)
    led[1].pump(led.now_s)
    assert led[1].reads == []


def test_reads_between_two_readies_share_a_round(led):
    for token in range(100):
        led.core(1).read(led.now_s, token)
    led.collect()
    assert len(led.wire) == 2
    led.settle()
    assert [r.token for r in led[1].reads] == list(range(100))


def test_a_leader_answers_no_read_before_it_has_committed_in_its_term(led):
    """6.4 step 1: until then it does not know what is committed."""
    led.crash(1)
    led.now_s += 2 * ELECTION_S
    led.win(2)
    led.core(2).read(led.now_s, 5, lease=True)
    led.core(2).read(led.now_s, 6)
    appends, led.wire = led.wire, []
    led.collect()
    assert led[2].reads == []
    led.wire += appends
    led.settle()
    assert led[2].reads == [ReadAt(5, 3), ReadAt(6, 3)]


def test_a_group_of_one_asks_nobody():
    group = group_of(7)
    group.pass_s(0)
    read(group, 7, 1)
    read(group, 7, 2, lease=True)
    assert group[7].reads == [ReadAt(1, 1), ReadAt(2, 1)]


# --- at a follower --------------------------------------------------------------------------------


def test_a_follower_asks_its_leader(led):
    read(led, 3, 5)
    led.settle()
    assert led[3].reads == [ReadAt(5, 2)]


def test_a_follower_without_a_leader_says_ask_again():
    group = group_of(1, 2, 3)
    read(group, 3, 5)
    assert group[3].reads == [ReadAt(5, None)]


def test_a_question_that_is_lost_is_told_after_the_election_time(led):
    read(led, 3, 5)
    led.wire = []
    led.pass_s(0.9 * ELECTION_S)
    assert led[3].reads == []
    led.pass_s(0.2 * ELECTION_S)
    assert led[3].reads == [ReadAt(5, None)]


@pytest.mark.parametrize("after_s", [0.1 * place for place in range(1, 40)])
def test_a_tick_at_just_its_time_leaves_no_question_that_is_due(led, after_s):
    """Sums of floats are rounded; a host whose clock stands would else tick for ever."""
    led.core(3).read(led.now_s + after_s, 5)
    due_s = led.now_s + after_s + ELECTION_S
    while (next_s := led.core(3).next_tick_s) < due_s:
        led.core(3).tick(next_s)
    led.core(3).tick(due_s)
    assert led.core(3).next_tick_s > due_s


def test_who_does_not_lead_says_so(led):
    led.core(2).step(led.now_s, ReadAsk(to=2, sender=3, term=1, token=9))
    (reply,) = led.core(2).ready().messages
    assert (reply.token, reply.index) == (9, 0)
    read(led, 3, 5)
    led.wire = []
    (ask,) = led.core(3)._asks._asked
    led.core(3).step(led.now_s, ReadReply(to=3, sender=2, term=1, token=ask, index=0))
    led.collect()
    assert led[3].reads == [ReadAt(5, None)]


def test_an_answer_that_comes_twice_or_for_a_life_before_is_not_heeded(led):
    """The same token after a restart is another on the wire."""
    read(led, 3, 5)
    led.settle()
    (answered,) = led[3].reads
    led[3].reads = []
    read(led, 3, 6)
    (old,) = led.core(3)._asks._asked
    led.wire = []
    led.crash(3)
    led.restart(3, seed=2)
    led.pass_s(2 * HEARTBEAT_S)
    read(led, 3, 6)
    led.core(3).step(led.now_s, ReadReply(to=3, sender=1, term=1, token=old, index=1))
    led.core(3).step(led.now_s, ReadReply(to=3, sender=1, term=1, token=5, index=1))
    led[3].pump(led.now_s)
    assert led[3].reads == []
    led.settle()
    assert led[3].reads == [ReadAt(6, answered.index)]


def test_a_leader_that_falls_tells_all_who_wait(led):
    read(led, 1, 5)
    led.wire = []
    led.pass_s(0)
    led.isolate(1)
    led.pass_s(2 * ELECTION_S)
    assert led[1].reads == [ReadAt(5, None)]


# --- by lease -------------------------------------------------------------------------------------


def test_a_read_by_lease_is_answered_at_once(led):
    read(led, 1, 5, lease=True)
    assert led[1].reads == [ReadAt(5, 2)]


@pytest.mark.parametrize(("after_s", "at_once"), [(LEASE_S - 0.01, True), (LEASE_S, False)])
def test_a_lease_counts_from_when_it_was_asked_for(led, after_s, at_once):
    """Not from when the answers came: they may have been on their way for long."""
    led.pass_s(HEARTBEAT_S)
    led.now_s = asked_s = led.core(1).next_tick_s
    led.core(1).tick(led.now_s)
    led.collect()
    questions, led.wire = led.wire, []
    led.now_s = asked_s + 0.5 * LEASE_S
    for question in questions:
        led.deliver(question)
    led.settle()
    led.core(1).read(asked_s + after_s, 5, lease=True)
    led[1].pump(asked_s + after_s)
    assert led[1].reads == ([ReadAt(5, 2)] if at_once else [])


def test_after_a_pause_a_lease_is_over(led):
    led.core(1).read(led.now_s + 0.95 * ELECTION_S, 5, lease=True)
    led[1].pump(led.now_s + 0.95 * ELECTION_S)
    assert led[1].reads == []
    led.core(1).read(led.now_s + 1.2 * ELECTION_S, 6, lease=True)
    led[1].pump(led.now_s + 1.2 * ELECTION_S)
    assert led[1].reads == [ReadAt(5, None), ReadAt(6, None)]


def test_a_minority_s_echoes_are_no_lease(led):
    led.core(1).read(led.now_s, 1, lease=True)
    led.isolate(1)
    led.pass_s(0.95 * ELECTION_S)
    read(led, 1, 5, lease=True)
    assert led[1].reads == [ReadAt(1, 2)]


def test_there_is_no_lease_once_another_was_asked_to_take_over(led):
    """For the whole term: the message may come when the transfer was long given up."""
    led.core(1).transfer(led.now_s, 3)
    led.collect()
    led.wire = []
    read(led, 1, 5, lease=True)
    assert led[1].reads == []
    led.pass_s(2 * ELECTION_S)
    assert led[1].reads == [ReadAt(5, 2)]
    read(led, 1, 6, lease=True)
    assert led[1].reads == [ReadAt(5, 2)]
    led.settle()
    assert led[1].reads == [ReadAt(5, 2), ReadAt(6, 2)]


@pytest.mark.parametrize("off", [{"lease_drift": None}, {"check_quorum": False}])
def test_reads_by_lease_are_refused_where_leases_can_not_hold(off):
    group = group_of(1, 2, 3, options=msgspec.structs.replace(OPTIONS, **off))
    group.elect(1)
    with pytest.raises(OptionInvalid):
        group.core(1).read(group.now_s, 5, lease=True)


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.limit("raft.READS_MAX")
@pytest.mark.parametrize("node", [1, 3])
def test_more_reads_than_the_limit_are_refused_until_some_are_answered(led, node):
    core = led.core(node)
    for token in range(READS_MAX):
        core.read(led.now_s, token)
    with pytest.raises(ReadsOver) as raised:
        core.read(led.now_s, READS_MAX)
    assert raised.value.retry_after_s > 0
    if node == 1:
        led.settle()
        assert len(led[1].reads) == READS_MAX
    else:
        ask = core.ready().messages[0]
        core.step(led.now_s, ReadReply(to=3, sender=1, term=1, token=ask.token, index=2))
    core.read(led.now_s, READS_MAX)


def test_a_leader_that_has_too_many_reads_tells_who_asks_to_ask_again():
    group = group_of(1, 2, 3, options=Options(reads_max=1))
    group.elect(1)
    group.core(1).read(group.now_s, 1)
    group.core(1).step(group.now_s, ReadAsk(to=1, sender=3, term=1, token=9))
    replies = [m for m in group.core(1).ready().messages if isinstance(m, ReadReply)]
    assert [m.index for m in replies] == [0]


def test_of_too_many_rounds_each_is_known_or_taken_for_an_earlier_one():
    """A flood of reads must not make a leader forget what its followers will echo."""
    rounds = Rounds(kept_s=10.0)
    for number in range(1, 3 * ROUNDS_KEPT_MAX + 1):
        rounds.begin(number * 1e-3)
        assert len(rounds._numbers) <= ROUNDS_KEPT_MAX
    for number in range(ROUNDS_KEPT_MAX, 3 * ROUNDS_KEPT_MAX + 1):
        began_s = rounds.began_s(number)
        assert began_s is None or began_s <= number * 1e-3
    assert rounds.began_s(3 * ROUNDS_KEPT_MAX) == 3 * ROUNDS_KEPT_MAX * 1e-3
    assert rounds.began_s(3 * ROUNDS_KEPT_MAX - 1_000) > 3 * ROUNDS_KEPT_MAX * 1e-3 - 1.1
    assert rounds.began_s(0) is None


def test_who_does_not_lead_any_more_takes_no_read_by_lease(led):
    led.core(1).read(led.now_s + 3 * ELECTION_S, 5, lease=True)
    with pytest.raises(NotLeader):
        led.core(1).propose(led.now_s, [b"x"])
    led[1].pump(led.now_s)
    assert led[1].reads == [ReadAt(5, None)]
