"""Locks: who believed to hold one, when, and what a fenced resource let in.

A lock with a time-out cannot exclude: a holder that is paused doesn't see its lease end. What it
can do is to number its grants, so that the resource refuses whoever comes with an older number.

    a   ├─ holds, token 5 ── paused ─────────────┤ write, 5: refused
    b                 ├─ holds, token 6 ──┤ write, 6
                      └─ two hold: no bare lock can help it, `check_exclusion` finds it

So `check_exclusion` is for what must hold without pauses and clock trouble, and to show that a bare
lock breaks; `check_tokens` and `check_fence` for what must hold always.

Costs: sorting.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush
from math import inf

from bastide.parts.histories.contract import Access, Finding, Grant


def check_exclusion(grants: Sequence[Grant]) -> Sequence[Finding]:
    """Whether ever two believed to hold a lock: one that is released at the moment in which the
    next is acquired is no two.
    """
    return [found for each in _by_lock(grants).values() for found in _together(each)]


def _together(grants: Sequence[Grant]) -> Iterator[Finding]:
    longest: Grant | None = None
    for grant in sorted(grants, key=lambda g: g.acquired):
        if longest is not None and _end(longest) > grant.acquired:
            told = f"{grant.lock}: {_named(grant)} acquired at {grant.acquired}"
            yield Finding("two hold", f"{told}, {_named(longest)} held until {longest.released}")
        if longest is None or _end(grant) > _end(longest):
            longest = grant


def check_tokens(grants: Sequence[Grant]) -> Sequence[Finding]:
    """Whether each grant has a token of its own, and a higher one than all that were acquired
    before it was asked for.
    """
    return [found for each in _by_lock(grants).values() for found in _rising(each)]


def _rising(grants: Sequence[Grant]) -> Iterator[Finding]:
    holders: dict[int, Grant] = {}
    acquired: list[tuple[float, int]] = []
    highest = -1
    for grant in grants:
        if grant.token is None:
            yield Finding("no token", f"{grant.lock}: {_named(grant)} got none")
        elif grant.token in holders:
            told = f"{grant.lock}: {_named(grant)} and {_named(holders[grant.token])}"
            yield Finding("token used twice", told)
        else:
            holders[grant.token] = grant
            heappush(acquired, (grant.acquired, grant.token))
    for grant in sorted(holders.values(), key=lambda g: g.asked):
        while acquired[0][0] < grant.asked:
            highest = max(highest, heappop(acquired)[1])
        assert grant.token is not None
        if grant.token < highest:
            told = f"{grant.lock}: {_named(grant)} asked when {highest} was held"
            yield Finding("token went back", told)


def check_fence(accesses: Sequence[Access]) -> Sequence[Finding]:
    """Whether the resource of each lock took no token below one that it had taken before, and
    refused none that was as high as all that it was ever shown.
    """
    found = []
    taken: defaultdict[str, int] = defaultdict(lambda: -1)
    shown: defaultdict[str, int] = defaultdict(lambda: -1)
    for access in accesses:
        told = f"{access.lock}: {access.holder} with {access.token}"
        if access.taken and access.token < taken[access.lock]:
            found.append(Finding("stale token taken", f"{told} behind {taken[access.lock]}"))
        if not access.taken and access.token >= shown[access.lock]:
            found.append(Finding("newest token refused", told))
        shown[access.lock] = max(shown[access.lock], access.token)
        if access.taken:
            taken[access.lock] = max(taken[access.lock], access.token)
    return found


def check_queue(grants: Sequence[Grant]) -> Sequence[Finding]:
    """Whether the lock was granted in the order of the queue, and whoever waited was woken once for
    it: those whose place, and whose wakes, are known.
    """
    return [found for each in _by_lock(grants).values() for found in _in_turn(each)]


def _in_turn(grants: Sequence[Grant]) -> Iterator[Finding]:
    latest: tuple[int, Grant] | None = None
    for grant in sorted(grants, key=lambda g: g.acquired):
        if grant.wakes is not None and grant.wakes > 1:
            told = f"{grant.lock}: {_named(grant)} was woken {grant.wakes} times"
            yield Finding("woken in vain", told)
        if grant.place is None:
            continue
        if latest is not None and grant.place < latest[0]:
            told = f"{grant.lock}: {_named(grant)} from place {grant.place}"
            yield Finding("out of turn", f"{told} behind {_named(latest[1])} from {latest[0]}")
        if latest is None or grant.place > latest[0]:
            latest = (grant.place, grant)


def _by_lock(grants: Sequence[Grant]) -> Mapping[str, Sequence[Grant]]:
    found: defaultdict[str, list[Grant]] = defaultdict(list)
    for grant in grants:
        found[grant.lock].append(grant)
    return found


def _end(grant: Grant) -> float:
    return inf if grant.released is None else grant.released


def _named(grant: Grant) -> str:
    return grant.holder if grant.token is None else f"{grant.holder} (token {grant.token})"
