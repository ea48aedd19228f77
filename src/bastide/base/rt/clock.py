"""Time. `now` only stamps and may step; time-outs, leases and times to live use `monotonic`."""

import time
from typing import Protocol


class Clock(Protocol):
    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC. May step either way: only to stamp."""
        ...

    def monotonic(self) -> float:
        """Seconds since some start; never steps."""
        ...


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    monotonic = staticmethod(time.perf_counter)  # itself: a call of ours would cost twice as much


class ManualClock:
    """Moves only when told: `advance` moves both hands, `step` the wall clock alone."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic = 1_000.0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        assert seconds >= 0
        self._now_ms += round(seconds * 1000)
        self._monotonic += seconds

    def step(self, seconds: float) -> None:
        """As when an operator, or NTP, sets the clock."""
        self._now_ms += round(seconds * 1000)
