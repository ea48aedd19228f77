"""A node's clocks: they begin somewhere, run a little fast or slow, and the wall clock may jump.

monotonic = start + elapsed * rate      never steps; frozen processes see it jump, as it ran on
now_ms    = the same elapsed, on an epoch that may be set
"""

from collections.abc import Callable
from math import ceil

EPOCH_MS = 1_800_000_000_000  # when a world begins


class NodeClock:
    """`rate` is seconds of this clock in a second of the world's."""

    def __init__(
        self, now_ns: Callable[[], int], *, start_s: float = 1_000.0, offset_ms: int = 0
    ) -> None:
        self._now_ns = now_ns
        self._since_ns = now_ns()
        self._since_s = start_s
        self._wall_ms = EPOCH_MS + offset_ms - start_s * 1_000
        self.rate = 1.0
        self._per_ns = 1e-9

    def monotonic(self) -> float:
        return self._since_s + (self._now_ns() - self._since_ns) * self._per_ns

    def now_ms(self) -> int:
        return int(self._wall_ms + self.monotonic() * 1_000)

    def ns_of(self, when_s: float) -> int:
        """When, in the world's time, this clock shows `when_s`; not a moment before."""
        return self._since_ns + ceil((when_s - self._since_s) / self._per_ns)

    def jump(self, by_s: float) -> None:
        """The wall clock is set; the monotonic one goes on."""
        self._wall_ms += by_s * 1_000

    def drift(self, rate: float) -> None:
        """From now on at this rate. Timers are to be planned anew: see SimLoop.replan."""
        assert rate > 0
        self._since_s, self._since_ns = self.monotonic(), self._now_ns()
        self.rate = rate
        self._per_ns = rate * 1e-9
