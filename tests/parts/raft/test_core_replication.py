"""How entries get to followers and are committed (paper 5.3, 5.4.2; thesis 3.5, 3.6, 10.2)."""

import msgspec
import pytest

from bastide.parts.raft.contract import (
    APPEND_BYTES_MAX,
    APPEND_ENTRIES_MAX,
    APPENDS_OUT_MAX,
    COMMITTED_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    PROPOSED_BYTES_MAX,
    PROPOSED_MAX,
    Append,
    AppendReply,
    Entry,
    NotLeader,
    PayloadTooLarge,
    ProposalsOver,
    Vote,
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


def led_by_1(**options: int) -> Group:
    group = group_of(1, 2, 3, options=msgspec.structs.replace(OPTIONS, **options))
    group.elect(1)
    group.pass_s(HEARTBEAT_S)
    return group


def sent(group: Group, to: int = 2) -> list[Append]:
    """The Appends with entries to one node that are on the wire."""
    return [m for m in group.wire if isinstance(m, Append) and m.entries and m.to == to]


# --- in order, once, everywhere -------------------------------------------------------------------


def test_all_nodes_apply_all_in_one_order():
    group = led_by_1()
    for number in range(20):
        group.core(1).propose(group.now_s, [b"%d" % number])
        group.settle()
    group.pass_s(HEARTBEAT_S)
    assert [payloads_of(n) for n in group.up] == [[b"%d" % n for n in range(20)]] * 3


def test_the_index_and_term_of_a_proposal_are_where_it_is_applied():
    group = led_by_1()
    index, term = group.core(1).propose(group.now_s, [b"a", b"b"])
    group.settle()
    assert [(e.index, e.term) for e in group[1].applied if e.payload] == [
        (index, term),
        (index + 1, term),
    ]


def test_who_does_not_lead_takes_nothing_and_names_who_does():
    group = led_by_1()
    with pytest.raises(NotLeader) as raised:
        group.core(2).propose(group.now_s, [b"a"])
    assert raised.value.leader == 1
    assert raised.value.facts["leader"] == 1


def test_nothing_is_committed_by_a_minority():
    group = led_by_1()
    group.crash(2)
    group.crash(3)
    group.core(1).propose(group.now_s, [b"a"])
    group.pass_s(ELECTION_S / 2)
    assert payloads_of(group[1]) == []


def test_followers_hear_at_once_that_an_entry_is_committed():
    """Not with the next heartbeat only."""
    group = led_by_1()
    group.core(1).propose(group.now_s, [b"a"])
    group.settle()
    assert payloads_of(group[2]) == [b"a"]


# --- pipelining and batches -----------------------------------------------------------------------


def test_what_is_proposed_between_two_readies_goes_in_one_append():
    group = led_by_1()
    for number in range(10):
        group.core(1).propose(group.now_s, [b"%d" % number])
    group.collect()
    assert [len(m.entries) for m in sent(group)] == [10]


def test_appends_go_on_before_the_first_is_answered():
    """Thesis 10.2: pipelining."""
    group = led_by_1()
    for number in range(3):
        group.core(1).propose(group.now_s, [b"%d" % number])
        group.collect()
    assert [m.previous_index for m in sent(group)] == [1, 2, 3]


@pytest.mark.limit("raft.APPENDS_OUT_MAX")
def test_no_more_appends_are_out_than_the_limit():
    group = led_by_1()
    for number in range(APPENDS_OUT_MAX + 1):
        group.core(1).propose(group.now_s, [b"%d" % number])
        group.collect()
    assert len(sent(group)) == APPENDS_OUT_MAX
    first = sent(group)[0]
    group.wire.remove(first)
    group.deliver(first)
    group.collect()
    (answer,) = [m for m in group.wire if m.sender == 2]
    group.wire.remove(answer)
    group.deliver(answer)
    group.collect()
    assert len(sent(group)) == APPENDS_OUT_MAX  # one gone, one more
    group.settle()
    assert len(payloads_of(group[2])) == APPENDS_OUT_MAX + 1


@pytest.mark.limit("raft.APPEND_BYTES_MAX")
def test_an_append_has_no_more_bytes_than_the_limit_unless_it_is_one_entry():
    group = led_by_1()
    half = bytes(APPEND_BYTES_MAX // 2)
    group.core(1).propose(group.now_s, [half, half])
    group.collect()
    assert [len(m.entries) for m in sent(group)] == [2]
    group.settle()
    group.core(1).propose(group.now_s, [half, half + b"!"])
    group.collect()
    assert [len(m.entries) for m in sent(group)] == [1, 1]


@pytest.mark.limit("raft.APPEND_ENTRIES_MAX")
def test_an_append_has_no_more_entries_than_the_limit():
    group = led_by_1()
    group.core(1).propose(group.now_s, [b""] * APPEND_ENTRIES_MAX)
    group.collect()
    assert [len(m.entries) for m in sent(group)] == [APPEND_ENTRIES_MAX]
    group.settle()
    group.core(1).propose(group.now_s, [b""] * (APPEND_ENTRIES_MAX + 1))
    group.collect()
    assert [len(m.entries) for m in sent(group)] == [APPEND_ENTRIES_MAX, 1]


@pytest.mark.limit("raft.COMMITTED_BYTES_MAX")
def test_one_ready_hands_out_no_more_to_apply_than_the_limit():
    quarter = bytes(COMMITTED_BYTES_MAX // 4)
    for sizes, readies in (([4], 1), ([4, 1], 2)):
        group = group_of(7)
        group.pass_s(0)
        core = group.core(7)
        core.propose(0, [quarter] * sizes[0] + [b"!"] * sum(sizes[1:]))
        core.ready()
        core.written(0, 0, 0)
        handed = []
        while ready := core.ready():
            handed.append(len(ready.committed))
        assert (len(handed), sum(handed)) == (readies, sum(sizes))


# --- limits of proposals --------------------------------------------------------------------------


@pytest.mark.limit("raft.PAYLOAD_BYTES_MAX")
def test_a_payload_above_the_limit_is_refused_with_all_beside_it():
    core = led_by_1().core(1)
    core.propose(0, [bytes(PAYLOAD_BYTES_MAX)])
    last = core.status().last_index
    with pytest.raises(PayloadTooLarge):
        core.propose(0, [b"fine", bytes(PAYLOAD_BYTES_MAX + 1)])
    assert core.status().last_index == last


@pytest.mark.limit("raft.PROPOSED_MAX")
def test_more_proposals_than_the_limit_are_refused_until_some_are_committed():
    group = led_by_1()
    core = group.core(1)
    core.propose(group.now_s, [b""] * PROPOSED_MAX)
    with pytest.raises(ProposalsOver):
        core.propose(group.now_s, [b""])
    group.settle()
    core.propose(group.now_s, [b""])


@pytest.mark.limit("raft.PROPOSED_BYTES_MAX")
def test_more_proposed_bytes_than_the_limit_are_refused_until_some_are_committed():
    group = led_by_1()
    core = group.core(1)
    piece = bytes(PAYLOAD_BYTES_MAX)
    core.propose(group.now_s, [piece] * (PROPOSED_BYTES_MAX // PAYLOAD_BYTES_MAX))
    with pytest.raises(ProposalsOver) as raised:
        core.propose(group.now_s, [b"!"])
    assert raised.value.retry_after_s > 0
    core.propose(group.now_s, [b""])
    group.settle()
    core.propose(group.now_s, [b"!"])


# --- losses, copies, disorder ---------------------------------------------------------------------


def test_a_lost_append_shows_in_the_next_one():
    group = led_by_1()
    group.core(1).propose(group.now_s, [b"a"])
    group.collect()
    group.wire = []
    group.core(1).propose(group.now_s, [b"b"])
    group.settle()
    assert payloads_of(group[2]) == [b"a", b"b"]


def test_a_lost_append_that_was_the_last_shows_in_the_next_heartbeat():
    group = led_by_1()
    group.core(1).propose(group.now_s, [b"a"])
    group.collect()
    group.wire = []
    group.pass_s(1.01 * HEARTBEAT_S)
    assert payloads_of(group[2]) == [b"a"]


def test_appends_that_come_in_any_order_and_twice_are_applied_once_in_order():
    group = led_by_1()
    for number in range(6):
        group.core(1).propose(group.now_s, [b"%d" % number])
        group.collect()
    group.wire = [*reversed(group.wire), *group.wire]
    group.settle()
    group.pass_s(HEARTBEAT_S)
    assert [payloads_of(n) for n in group.up] == [[b"%d" % n for n in range(6)]] * 3


def test_a_rejection_that_comes_twice_or_late_moves_nothing_back():
    group = led_by_1()
    group.core(1).propose(group.now_s, [b"a", b"b"])
    group.settle()
    (before,) = [f for f in group.core(1).status().followers if f.node == 2]
    for previous in (1, 2, 3, 9):
        group.core(1).step(
            group.now_s,
            AppendReply(
                to=1,
                sender=2,
                term=1,
                previous_index=previous,
                match=0,
                rejected=True,
                conflict_term=0,
                round=0,
            ),
        )
    assert [f for f in group.core(1).status().followers if f.node == 2] == [before]


def test_an_answer_of_who_is_no_follower_is_not_heeded():
    group = led_by_1()
    reply = AppendReply(
        to=1,
        sender=9,
        term=1,
        previous_index=1,
        match=99,
        rejected=False,
        conflict_term=0,
        round=9,
    )
    group.core(1).step(group.now_s, reply)
    assert group.core(1).status().committed == 1


# --- logs that differ -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "terms",
    [
        (1, 1, 1, 4, 4, 5, 5, 6, 6),  # (a) of figure 7
        (1, 1, 1, 4),  # (b)
        (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),  # (c)
        (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),  # (d)
        (1, 1, 1, 4, 4, 4, 4),  # (e)
        (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),  # (f)
        (),
    ],
)
def test_a_follower_s_log_becomes_the_leader_s_in_few_rounds(terms):
    """Figure 7, and thesis 3.6: one rejection a term that differs, not one an entry."""
    members = group_of(1, 2, 3).core(1).status().members
    leading = (1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
    group = Group(
        [
            Node(1, members, term=7, entries=log_of(*leading)),
            Node(2, members, term=7, entries=log_of(*terms)),
            Node(3, members, term=7, entries=log_of(*leading)),
        ]
    )
    group.now_s = 2 * ELECTION_S
    group.crash(2)
    group.elect(1)
    group.restart(2)
    rejections = 0
    group.now_s = group.core(1).next_tick_s
    group.core(1).tick(group.now_s)
    group.collect()
    while group.wire:
        message = group.wire.pop(0)
        rejections += isinstance(message, AppendReply) and message.rejected
        group.deliver(message)
        group.collect()
    assert [e.term for e in group[2].log] == [*leading, 8]
    assert rejections <= 3


def test_an_entry_of_an_earlier_term_is_not_committed_by_counting():
    """Paper 5.4.2, figure 8."""
    group = group_of(1, 2, 3)
    for node in (1, 2, 3):
        group[node].log, group[node].vote = log_of(1, 2), Vote(3)
        group[node].start(0)
    group[1].is_disk_slow = group[2].is_disk_slow = group[3].is_disk_slow = True
    core = group.core(1)
    now_s = core.next_tick_s
    core.tick(now_s)
    core._stand(transfer=False)
    group.collect()
    group[1].finish_write(now_s)
    core.step(now_s, _voted(1, 2, core.status().term))
    assert core.status().kind == "leader"
    core.step(now_s, _matched(2, core.status().term, match=2))
    assert core.status().committed == 0
    core.step(now_s, _matched(2, core.status().term, match=3))
    core.step(now_s, _matched(3, core.status().term, match=3))
    assert core.status().committed == 3


def _voted(to: int, sender: int, term: int):
    return VoteReply(to=to, sender=sender, term=term, granted=True)


def _matched(sender: int, term: int, *, match: int) -> AppendReply:
    return AppendReply(
        to=1,
        sender=sender,
        term=term,
        previous_index=match,
        match=match,
        rejected=False,
        conflict_term=0,
        round=0,
    )


def test_a_follower_commits_no_further_than_what_it_knows_to_be_equal():
    """Figure 2, AppendEntries 5: the lesser of leaderCommit and the last new entry."""
    core = group_of(1, 2, 3).core(1)
    core._log.append(log_of(1, 1, 1))  # the last two are not the leader's
    message = Append(
        to=1,
        sender=2,
        term=2,
        previous_index=1,
        previous_term=1,
        entries=(),
        committed=3,
        round=1,
    )
    core.step(0, message)
    assert core.status().committed == 1
    core.step(0, msgspec.structs.replace(message, entries=(Entry(2, 2, "empty", b""),)))
    assert core.status().committed == 2


def test_an_old_append_with_entries_commits_no_further_than_its_last():
    """What follows in the follower's log may be of another leader."""
    core = group_of(1, 2, 3).core(1)
    core._log.append(log_of(1, 1, 1))
    message = Append(
        to=1,
        sender=2,
        term=2,
        previous_index=0,
        previous_term=0,
        entries=tuple(log_of(1)),
        committed=3,
        round=1,
    )
    core.step(0, message)
    assert core.status().committed == 1


def test_a_committed_index_never_goes_back():
    group = led_by_1()
    group.core(1).propose(group.now_s, [b"a"])
    group.settle()
    late = Append(
        to=2,
        sender=1,
        term=1,
        previous_index=1,
        previous_term=1,
        entries=(),
        committed=1,
        round=0,
    )
    group.core(2).step(group.now_s, late)
    assert group.core(2).status().committed == 2


def test_a_node_that_was_away_catches_up():
    group = led_by_1(append_bytes_max=4)
    group.crash(3)
    for number in range(50):
        group.core(1).propose(group.now_s, [b"%d" % number])
        group.settle()
    group.restart(3)
    group.pass_s(2 * HEARTBEAT_S)
    assert payloads_of(group[3]) == payloads_of(group[1])
