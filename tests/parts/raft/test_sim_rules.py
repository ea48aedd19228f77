"""Each rule sees what it is there for; whole campaigns are in test_mutants.py."""

import pytest

from bastide.parts.raft.contract import Members
from bastide.parts.raft.sim.rules import Violation, is_quorum, is_step
from bastide.parts.raft.sim.world import ANY_LIFE, World


def test_a_joint_group_needs_a_majority_of_both():
    joint = Members((3, 4, 5), outgoing=(1, 2, 3))
    assert is_quorum(joint, {1, 3, 4}.__contains__)
    assert not is_quorum(joint, {3, 4, 5}.__contains__)
    assert not is_quorum(joint, {1, 2, 3}.__contains__)


def test_half_of_an_even_number_is_no_quorum():
    assert not is_quorum(Members((1, 2, 3, 4)), {1, 2}.__contains__)
    assert is_quorum(Members((1, 2, 3, 4)), {1, 2, 4}.__contains__)


def test_nobody_is_no_quorum():
    assert not is_quorum(Members(()), lambda _: True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (Members((1, 2, 3)), Members((1, 2, 3, 4))),
        (Members((1, 2, 3)), Members((1, 2))),
        (Members((1, 2)), Members((3, 4), outgoing=(1, 2))),
        (Members((3, 4), outgoing=(1, 2)), Members((3, 4))),
    ],
)
def test_members_that_overlap_follow_on_one_another(old: Members, new: Members):
    assert is_step(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (Members((1, 2, 3)), Members((1, 2, 4))),
        (Members((1, 2, 3)), Members((4, 5), outgoing=(1, 2))),
        (Members((3, 4), outgoing=(1, 2)), Members((3, 4, 5))),
    ],
)
def test_members_that_need_not_overlap_do_not(old: Members, new: Members):
    assert not is_step(old, new)


def test_a_violation_names_its_rule():
    found = Violation("reads are fresh", "n1 reads at 3")
    assert found.rule == "reads are fresh"
    assert str(found) == "reads are fresh: n1 reads at 3"


def test_events_come_by_time_and_then_in_the_order_asked_for():
    world, seen = World(), []
    world.at(2.0, seen.append, "c")
    world.at(1.0, seen.append, "a")
    world.at(1.0, seen.append, "b")
    world.run_until(1.5)
    assert (seen, world.now_s, world.events) == (["a", "b"], 1.5, 2)
    world.run_until(3.0)
    assert seen == ["a", "b", "c"]


def test_the_digest_tells_other_times_apart():
    one, two = World(), World()
    one.at(1.0, lambda: None)
    two.at(1.1, lambda: None)
    one.run_until(2.0)
    two.run_until(2.0)
    assert one.digest != two.digest
    assert ANY_LIFE < 0  # no life of a node has that number
