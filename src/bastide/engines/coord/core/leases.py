"""Leases: what is agreed of them, and the leader's clock for them.

    agreed by all nodes (Leases)           known to the leader alone (Deadlines)
      id 7: ttl 10 s, keys a, b              id 7 ends at 1,234.5 s of my clock
           ^                                       |
           '---- an entry: revoke 7 <--- proposed when that has passed

A clock is not part of the agreed state: nodes have different ones. So a lease has no end there; it
is there until an entry revokes it, and its keys go in that entry's revision. When to propose that
is decided by who leads, by its own monotonic clock. A new leader knows nothing of the old one's
clock and gives every lease its full time again: a lease may last longer than was promised, never
shorter.

**A lease once late stays late.** Whoever's lease has passed its deadline is told that it is gone,
also while the entry that revokes it is still on its way: else he would hold on to it while it goes.

**Who may answer that a lease was kept alive?** Its holder counts from when he *sent* the request.
`keep_alive` moves the deadline first; then the node makes sure that it still leads, and only then
answers. If another has led since before, this node finds out and does not answer; if another comes
to lead later, it begins with the full time, and from a later moment.

As in etcd (lease/lessor.go) without its checkpoints.
"""

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush

import msgspec

from bastide.engines.coord.contract import (
    LEASE_KEYS_MAX,
    LEASES_MAX,
    NO_LEASE,
    LeaseExists,
    LeaseMissing,
    TooMany,
)

RETRY_AFTER_S = 1.0


class Agreed(msgspec.Struct):
    """One lease. Its keys are in no order."""

    ttl_s: int
    keys: set[bytes]


class Leases:
    """By id. A key has at most one."""

    def __init__(self) -> None:
        self._leases: dict[int, Agreed] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def __contains__(self, id_: int) -> bool:
        return id_ in self._leases

    def __iter__(self) -> Iterator[int]:
        return iter(self._leases)

    def ttl_s(self, id_: int) -> int:
        """
        Raises:
            LeaseMissing
        """
        return self._read(id_).ttl_s

    def keys(self, id_: int) -> Sequence[bytes]:
        """Sorted, so that all nodes delete them in one order.

        Raises:
            LeaseMissing
        """
        return sorted(self._read(id_).keys)

    def _read(self, id_: int) -> Agreed:
        lease = self._leases.get(id_)
        if lease is None:
            raise LeaseMissing(f"lease {id_:x} has ended or never was")
        return lease

    def check_room(self, id_: int, more: int) -> None:
        """Whether `more` keys can be put with it.

        Raises:
            LeaseMissing, TooMany.
        """
        if len(self._read(id_).keys) + more > LEASE_KEYS_MAX:
            raise TooMany(
                f"lease {id_:x} has {LEASE_KEYS_MAX} keys, or would; no more are taken",
                retry_after_s=RETRY_AFTER_S,
            )

    def grant(self, id_: int, ttl_s: int) -> None:
        """
        Raises:
            LeaseExists, TooMany.
        """
        if id_ in self._leases:
            raise LeaseExists(f"there is a lease {id_:x} already")
        if len(self._leases) >= LEASES_MAX:
            raise TooMany(f"{LEASES_MAX} leases; no more are granted", retry_after_s=RETRY_AFTER_S)
        self._leases[id_] = Agreed(ttl_s, set())

    def remove(self, id_: int) -> None:
        del self._leases[id_]

    def move(self, key: bytes, *, old: int, new: int) -> None:
        """`key` goes with `new` from now on; either may be NO_LEASE."""
        if old == new:
            return
        if old != NO_LEASE:
            self._leases[old].keys.discard(key)
        if new != NO_LEASE:
            self._leases[new].keys.add(key)


class Deadlines:
    """When leases end, by the leader's monotonic clock; who does not lead has none."""

    def __init__(self) -> None:
        self._ends: dict[int, float] = {}
        self._planned: dict[int, float] = {}  # when to look at it; never after its end
        self._soonest: list[tuple[float, int]] = []  # what is planned, and what was once

    def lead(self, leases: Leases, now_s: float) -> None:
        """From now on this node leads: every lease has its full time again."""
        self._ends = {id_: now_s + leases.ttl_s(id_) for id_ in leases}
        self._planned = dict(self._ends)
        self._soonest = [(end_s, id_) for id_, end_s in self._ends.items()]
        heapify(self._soonest)

    def follow(self) -> None:
        """This node leads no more."""
        self._ends.clear()
        self._planned.clear()
        self._soonest.clear()

    def begin(self, id_: int, ttl_s: int, now_s: float) -> None:
        """It was granted."""
        self._ends[id_] = now_s + ttl_s
        self._plan(id_)

    def _plan(self, id_: int) -> None:
        end_s = self._planned[id_] = self._ends[id_]
        heappush(self._soonest, (end_s, id_))

    def keep_alive(self, id_: int, ttl_s: int, now_s: float) -> None:
        """See above for when it may be answered.

        Raises:
            LeaseMissing: also if its time is over and it was not revoked yet.
        """
        if self.left_s(id_, now_s) <= 0:
            raise LeaseMissing(f"lease {id_:x} has ended")
        self._ends[id_] = now_s + ttl_s

    def left_s(self, id_: int, now_s: float) -> float:
        """0 and less: it is over."""
        return self._ends.get(id_, now_s) - now_s

    def forget(self, id_: int) -> None:
        """It was revoked."""
        self._ends.pop(id_, None)
        self._planned.pop(id_, None)

    def over(self, now_s: float) -> Sequence[int]:
        """Those whose time is over, each told once: it is to be revoked. If that fails, `again`."""
        found = []
        while self._soonest and self._soonest[0][0] <= now_s:
            planned_s, id_ = heappop(self._soonest)
            if self._planned.get(id_) != planned_s:
                continue
            if self._ends[id_] <= now_s:
                del self._planned[id_]
                found.append(id_)
            else:
                self._plan(id_)
        return found

    def again(self, id_: int) -> None:
        """`over` will tell it once more, unless it was revoked."""
        if id_ in self._ends:
            self._plan(id_)

    def next_s(self) -> float | None:
        """When `over` may find something; None: there is no lease."""
        return self._soonest[0][0] if self._soonest else None
