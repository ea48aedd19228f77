"""Outlier ejection: of several addresses of one name, the one that fails is left out for a while.

    picked in turn        b fails `failures` times in a row          it is back, and tried again

      a  b  c  d            a  ·  c  d                                 a  b  c  d
      ^                     b is ejected for eject_s,                  fails again: 2 * eject_s,
                            at most half of them at once               then 4, ... eject_max_s

Idea: a server that breaks often fails fast, so the one that fails draws the most calls to it from
whoever picks the least busy. Counting failures in a row for each address tells a broken server
apart from a broken request, which fails everywhere.

At most half may be out at once: if more fail, the fault is with what they share, or with us, and
sending everything to the few that are left would finish those too. One address alone is never out.

How long: the first time `eject_s`, then twice the last time, up to `eject_max_s`. Forgiven by a
success later than it was out for, counted from its return.

Costs: O(addresses) a pick, five figures an address. Time is handed in and never steps back. Differs
from the source (Envoy's outlier detection): in a row only, no shares of successes over an interval,
which need volume that a client of a few addresses does not have.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

Balance = Literal["round-robin", "least-in-flight"]


class OutlierRules(Struct, frozen=True, kw_only=True):
    """Who is picked, and who is not for a while."""

    balance: Balance = "round-robin"
    failures: Annotated[int, Meta(ge=1, description="in a row; then it is ejected")] = 5
    eject_s: Annotated[float, Meta(gt=0)] = 5.0
    eject_max_s: Annotated[float, Meta(gt=0)] = 300.0


class _Standing:
    """What is known of one address."""

    __slots__ = ("back_s", "failures", "in_flight", "out_s")

    def __init__(self) -> None:
        self.in_flight = 0
        self.failures = 0  # in a row
        self.out_s = 0.0  # how long it was out the last time; 0: never, or forgiven
        self.back_s = 0.0  # when it is, or was, back


class Outliers:
    """Picks one of `count` addresses, by their places: 0 to count - 1. Each pick is handed back
    once by `left`, and told of by `succeeded` or `failed` if something was learned.
    """

    def __init__(self, count: int, rules: OutlierRules) -> None:
        assert count, "a name has at least one address"
        self._rules = rules
        self._all = [_Standing() for _ in range(count)]
        self._turn = 0

    def pick(self, now_s: float) -> int:
        """The address of the next call, counted as in flight."""
        ready = self._in_turn(now_s)
        place = ready[0]
        if self._rules.balance == "least-in-flight":
            place = min(ready, key=lambda n: self._all[n].in_flight)
        self._turn = (place + 1) % len(self._all)
        self._all[place].in_flight += 1
        return place

    def left(self, place: int) -> None:
        """The call is over, however it ended."""
        self._all[place].in_flight -= 1

    def succeeded(self, place: int, now_s: float) -> None:
        one = self._all[place]
        one.failures = 0
        if now_s >= one.back_s + one.out_s:
            one.out_s = 0.0

    def failed(self, place: int, now_s: float) -> None:
        one = self._all[place]
        one.failures += 1
        if one.failures >= self._rules.failures and self._may_go(one, now_s):
            one.failures = 0
            one.out_s = min(one.out_s * 2 or self._rules.eject_s, self._rules.eject_max_s)
            one.back_s = now_s + one.out_s

    def ejected(self, now_s: float) -> Sequence[int]:
        return [place for place, one in enumerate(self._all) if one.back_s > now_s]

    def _in_turn(self, now_s: float) -> list[int]:
        """Who may be picked, the next in turn first."""
        count = len(self._all)
        places = ((self._turn + n) % count for n in range(count))
        return [place for place in places if self._all[place].back_s <= now_s]

    def _may_go(self, one: _Standing, now_s: float) -> bool:
        if one.back_s > now_s:  # a call from before it was ejected
            return False
        return (len(self.ejected(now_s)) + 1) * 2 <= len(self._all)
