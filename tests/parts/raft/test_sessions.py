"""Thesis 6.3: a command that is sent again is done once, at every node, also behind a snapshot."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.parts.raft.contract import (
    REPLIES_BYTES_MAX,
    REPLIES_MAX,
    SESSIONS_MAX,
    SessionGone,
)
from bastide.parts.raft.sessions import Sessions


class Adder:
    """A state machine that would show a command done twice."""

    def __init__(self) -> None:
        self.total = 0
        self.sessions = Sessions()

    def add(self, session: int, sequence: int, amount: int) -> bytes:
        return self.sessions.once(session, sequence, lambda: self._add(amount))

    def _add(self, amount: int) -> bytes:
        self.total += amount
        return b"%d" % self.total


@pytest.fixture
def adder():
    machine = Adder()
    machine.sessions.open(7)
    return machine


def test_a_command_that_comes_twice_is_done_once_and_answered_alike(adder):
    assert adder.add(7, 1, 5) == adder.add(7, 1, 5) == b"5"
    assert adder.total == 5


def test_commands_of_one_session_may_come_in_any_order(adder):
    assert adder.add(7, 2, 5) == b"5"
    assert adder.add(7, 1, 1) == b"6"
    assert adder.add(7, 2, 5) == b"5"


def test_two_sessions_may_use_one_number(adder):
    adder.sessions.open(9)
    adder.add(7, 1, 5)
    assert adder.add(9, 1, 5) == b"10"


def test_a_session_that_was_never_opened_or_was_closed_is_gone(adder):
    with pytest.raises(SessionGone, match="session 8"):
        adder.add(8, 1, 5)
    adder.sessions.close(7)
    with pytest.raises(SessionGone):
        adder.add(7, 1, 5)
    assert adder.total == 0


@pytest.mark.limit("raft.SESSIONS_MAX")
def test_one_session_too_many_costs_the_least_recently_used(adder):
    for index in range(8, 7 + SESSIONS_MAX):
        adder.sessions.open(index)
    adder.add(7, 1, 5)  # used again, so that 8 is the oldest now
    adder.add(8, 1, 0)
    adder.add(7, 2, 0)
    assert len(adder.sessions) == SESSIONS_MAX
    adder.sessions.open(1 << 20)
    assert len(adder.sessions) == SESSIONS_MAX
    adder.add(7, 3, 0)
    adder.add(8, 2, 0)
    with pytest.raises(SessionGone):
        adder.add(9, 1, 5)


@pytest.mark.limit("raft.REPLIES_MAX")
def test_a_reply_too_long_ago_is_refused_and_not_done_again(adder):
    for sequence in range(1, REPLIES_MAX + 1):
        adder.add(7, sequence, 1)
    assert adder.add(7, 1, 1) == b"1"
    adder.add(7, REPLIES_MAX + 1, 1)
    with pytest.raises(SessionGone, match="above 1, not 1"):
        adder.add(7, 1, 1)
    assert adder.add(7, 2, 1) == b"2"
    assert adder.total == REPLIES_MAX + 1


@pytest.mark.limit("raft.REPLIES_BYTES_MAX")
def test_long_replies_push_older_ones_out_and_the_newest_stays():
    sessions = Sessions()
    sessions.open(1)
    half = bytes(REPLIES_BYTES_MAX // 2)
    sessions.once(1, 1, lambda: half)
    sessions.once(1, 2, lambda: half)
    assert sessions.once(1, 1, lambda: b"again") == half
    sessions.once(1, 3, lambda: b"!")
    with pytest.raises(SessionGone):
        sessions.once(1, 1, lambda: b"again")
    huge = bytes(2 * REPLIES_BYTES_MAX)
    sessions.once(1, 4, lambda: huge)
    assert sessions.once(1, 4, lambda: b"again") == huge


COMMANDS = st.lists(
    st.tuples(st.integers(1, 6), st.integers(1, 8), st.integers(0, 9), st.booleans()), max_size=60
)


@settings(max_examples=150, deadline=None)
@given(COMMANDS)
def test_a_node_that_begins_with_a_snapshot_is_like_one_that_applied_all(commands):
    """Sessions are part of the snapshot, and what is forgotten depends on the log alone."""
    whole, part = Adder(), Adder()
    for index, (session, sequence, amount, is_snapshot) in enumerate(commands, 10):
        for machine in (whole, part):
            if sequence == 1:
                machine.sessions.open(index)
            try:
                machine.add(session + index // 8, sequence, amount)
            except SessionGone:
                continue
        if is_snapshot:
            restored = Adder()
            restored.total = part.total
            restored.sessions.load(part.sessions.dump())
            part = restored
    assert part.total == whole.total
    assert part.sessions.dump() == whole.sessions.dump()
