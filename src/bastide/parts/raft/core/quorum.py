"""What a majority has, also while the group is joint (thesis 4.3).

    voters    1 2 3    values 7 9 4    in order 4 7 9    a majority has at least 7
    outgoing  1 2 5    values 7 9 1    in order 1 7 9    a majority has at least 7

The value at place (n - 1) // 2 of n in ascending order is what more than half have at least. A
joint group has the lesser of its two. Truth values do as well: False is less than True, so the
same rule counts votes.
"""

from collections.abc import Callable
from typing import TypeVar

from bastide.parts.raft.contract import Members, NodeId

Value = TypeVar("Value", int, float)


def agreed(members: Members, value_of: Callable[[NodeId], Value]) -> Value:
    """The greatest value that a quorum of `members` has at least."""
    value = _majority(members.voters, value_of)
    if members.outgoing:
        value = min(value, _majority(members.outgoing, value_of))
    return value


def _majority(nodes: tuple[NodeId, ...], value_of: Callable[[NodeId], Value]) -> Value:
    return sorted(map(value_of, nodes))[(len(nodes) - 1) // 2]


class Poll:
    """The answers to one question of a candidate; `is_pre` if it is only whether to stand."""

    def __init__(self, members: Members, *, is_pre: bool) -> None:
        self.is_pre = is_pre
        self._members = members
        self._granted: set[NodeId] = set()
        self._refused: set[NodeId] = set()

    def count(self, node: NodeId, *, granted: bool) -> None:
        """A node's first answer stands; a copy of it that comes late changes nothing."""
        if node not in self._granted and node not in self._refused:
            (self._granted if granted else self._refused).add(node)

    @property
    def is_won(self) -> bool:
        return agreed(self._members, lambda node: int(node in self._granted)) == 1

    @property
    def is_lost(self) -> bool:
        return agreed(self._members, lambda node: int(node not in self._refused)) == 0
