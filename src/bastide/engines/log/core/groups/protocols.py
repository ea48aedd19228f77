"""What a group can be assigned by: a protocol that all members know, the one that most prefer."""

from collections import Counter
from collections.abc import Collection

from bastide.engines.log.core.groups.member import Member
from bastide.engines.log.core.groups.messages import Join


def has_common(asked: Join, others: Collection[Member]) -> bool:
    """Whether who asks and all others know one. O(members * protocols)."""
    names = {name for name, _ in asked.protocols}
    return bool(names.intersection(*(member.protocols for member in others)))


def elect(members: Collection[Member]) -> str:
    """Each member votes for the one that it likes best of those that all know; who came first
    decides a tie. O(members * protocols). There is a member, and a protocol that all know.
    """
    first, *others = members
    known = set(first.protocols).intersection(*(member.protocols for member in others))
    votes = Counter(next(name for name in one.protocols if name in known) for one in members)
    return votes.most_common(1)[0][0]
