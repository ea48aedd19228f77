"""Rates from counters that only rise: look at all of them every beat, keep the last looks.

Idea: what is counted costs the caller one addition; a rate is the difference of two looks, divided
by the time between them. Nothing is done for each request. A look is a mapping from a key to its
total; a key that a look has not is one that had not been counted yet, and its total was 0.

    looks     t0 ──── t1 ──── t2 ──── t3        `length` of them, then the oldest goes
    totals    10      14      14      20
    line          4       0       6             if they are a second apart
    per_s         (20 - 10) / (t3 - t0)         over all four

State: length x keys numbers. add() is O(1) (the look itself is the caller's), per_s O(1), line
O(length).
"""

from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)


class Looks(Generic[KeyT]):
    """The last `length` looks at a set of counters."""

    def __init__(self, length: int) -> None:
        assert length >= 2, "a rate needs two looks"
        self._looks: deque[tuple[float, Mapping[KeyT, float]]] = deque(maxlen=length)

    @property
    def span_s(self) -> float:
        """Seconds from the oldest look to the newest."""
        return self._looks[-1][0] - self._looks[0][0] if self._looks else 0.0

    def add(self, at_s: float, totals: Mapping[KeyT, float]) -> None:
        """One look, `at_s` seconds of a clock that never goes back. A second look at the same time
        takes the place of the first.
        """
        if self._looks and at_s <= self._looks[-1][0]:
            self._looks.pop()
        self._looks.append((at_s, totals))

    def per_s(self, key: KeyT, *, looks: int, ago: int = 0) -> float:
        """The mean over the newest `looks`, or as many as there are; 0 before the second. What it
        was `ago` looks ago can be asked as far as looks are kept.
        """
        assert looks >= 2
        newest = len(self._looks) - 1 - ago
        if newest < 1:
            return 0.0
        first = max(newest + 1 - looks, 0)
        (from_s, before), (to_s, after) = self._looks[first], self._looks[newest]
        return (after.get(key, 0.0) - before.get(key, 0.0)) / (to_s - from_s)

    def line(self, key: KeyT) -> Sequence[float]:
        """The rate between each two neighbours, oldest first."""
        return [
            (after.get(key, 0.0) - before.get(key, 0.0)) / (to_s - from_s)
            for (from_s, before), (to_s, after) in pairwise(self._looks)
        ]
