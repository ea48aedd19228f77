"""From who votes now to who shall vote (thesis chapter 4).

One voter more or fewer is one entry, for any majority of the old group and any of the new one
have a node in common. More at once have not:

    {1 2 3} ──► {1 2 3} and {3 4 5} ──► {3 4 5}
                  joint: both must agree

A group's members are those of the last `change` entry in the log, committed or not: what is cut off
takes its members with it. Differs from etcd's raft, where a change counts once it is applied.
"""

from collections.abc import Iterable

import msgspec

from bastide.parts.raft.contract import (
    MEMBERS_MAX,
    NODE_MAX,
    Change,
    ChangeRefused,
    Entry,
    Members,
    NodeId,
)

_decoder = msgspec.msgpack.Decoder(tuple[Members, bytes])


def encode_change(members: Members, context: bytes) -> bytes:
    return msgspec.msgpack.encode((members, context))


def decode_change(entry: Entry) -> tuple[Members, bytes]:
    """The members that an entry of kind `change` makes, and the context that its Change had."""
    return _decoder.decode(entry.payload)


def ordered(nodes: Iterable[NodeId]) -> tuple[NodeId, ...]:
    return tuple(sorted(set(nodes)))


def planned(old: Members, change: Change) -> Members:
    """The members of the first entry on the way to `change`. Raises ChangeRefused."""
    voters, learners = ordered(change.voters), ordered(change.learners)
    _check(voters, learners)
    if (voters, learners) == (old.voters, old.learners):
        raise ChangeRefused(f"voters {voters} and learners {learners} are what the group has now")
    if len(set(voters) ^ set(old.voters)) <= 1:
        return Members(voters, learners=learners)
    return Members(
        voters,
        outgoing=old.voters,
        learners=ordered(set(learners) - set(old.voters)),
        coming=ordered(set(learners) & set(old.voters)),
    )


def left(joint: Members) -> Members:
    """The members once the joint phase is over."""
    return Members(joint.voters, learners=ordered(joint.learners + joint.coming))


def _check(voters: tuple[NodeId, ...], learners: tuple[NodeId, ...]) -> None:
    nodes = voters + learners
    if not voters:
        raise ChangeRefused("a group without a voter could never change again")
    if len(set(nodes)) != len(nodes):
        raise ChangeRefused(f"{ordered(set(voters) & set(learners))} can't vote and learn")
    if len(nodes) > MEMBERS_MAX:
        raise ChangeRefused(f"{len(nodes)} members; a group has at most {MEMBERS_MAX}")
    if min(nodes) < 1 or max(nodes) > NODE_MAX:
        raise ChangeRefused(f"a node's number is 1 to {NODE_MAX}")


def everyone(members: Members) -> tuple[NodeId, ...]:
    return ordered(members.voters + members.outgoing + members.learners + members.coming)


def is_voter(members: Members, node: NodeId) -> bool:
    return node in members.voters or node in members.outgoing
