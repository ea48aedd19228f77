"""Circuit breaker: who fails most of the time is left alone for a while, and then tried gently.

                 in the last `window_s`: at least `volume_min` calls ended,
                 and a share of at least `share` of them failed
      ┌────────┐ ──────────────────────────────────────────────────> ┌──────┐
      │ closed │                                                     │ open │ <─────┐
      └────────┘                                                     └──────┘       │
           ^                                        `open_s` are over   │           │ one probe
           │  `probes` calls succeeded    ┌───────────┐                 │           │ failed
           └───────────────────────────── │ half-open │ <───────────────┘           │
                                          └───────────┘ ────────────────────────────┘
                                           at most `probes` calls at once

Idea: a caller that waits for a dead server holds its own callers, memory and connections. Once it
is known that calls fail, refusing at once costs nothing and leaves the server room to come back.
Below `volume_min` nothing is known: one failure of one call is no outage, and a breaker that opens
on it turns a rare error into a pause for everybody.

The window is BUCKETS counters in a ring, aligned to the clock. A call is forgotten when its bucket
falls out: between 9/10 and all of `window_s` after it ended.

    |  3/0  |  5/1  |  4/4  |  6/5  |  ...         calls / failures a bucket
        ^ falls out as the newest begins

A ticket is the number of the state's period. A call that was admitted before the breaker opened may
end while it is half-open: its ticket is of another period, so it is no probe and counts nothing.

Costs: O(1) a call, 2 * BUCKETS integers. Time is handed in and never steps back. Differs from the
source (Nygard, "Release It!", 2007): a share of a volume in a window in place of a count of
failures in a row, as in Hystrix; several probes in place of one.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

BUCKETS = 10

State = Literal["closed", "open", "half-open"]


class BreakerRules(Struct, frozen=True, kw_only=True):
    """When it opens, for how long, and how it closes."""

    window_s: Annotated[float, Meta(gt=0)] = 10.0
    volume_min: Annotated[int, Meta(ge=1)] = 20
    share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    open_s: Annotated[float, Meta(gt=0)] = 5.0
    probes: Annotated[int, Meta(ge=1)] = 3


class Breaker:
    """Each ticket is handed back once: by `succeeded`, `failed`, or `dropped` if nothing was
    learned.
    """

    def __init__(self, rules: BreakerRules) -> None:
        self._rules = rules
        self._window = _Window(rules.window_s)
        self._state: State = "closed"
        self._period = 1
        self._opened_s = 0.0
        self._probes_out = 0
        self._probes_done = 0

    def state(self, now_s: float) -> State:
        if self._state == "open" and now_s >= self._opened_s + self._rules.open_s:
            self._turn("half-open")
        return self._state

    def admit(self, now_s: float) -> int | None:
        """A ticket for one call; None if it must not be made now."""
        state = self.state(now_s)
        if state == "open":
            return None
        if state == "half-open":
            if self._probes_out + self._probes_done >= self._rules.probes:
                return None
            self._probes_out += 1
        return self._period

    def retry_after_s(self, now_s: float) -> float:
        """After how long a call may be admitted. While probes are out nobody knows: if one fails,
        it is `open_s`.
        """
        state = self.state(now_s)
        if state == "closed":
            return 0.0
        if state == "half-open":
            return self._rules.open_s
        return self._opened_s + self._rules.open_s - now_s

    def succeeded(self, ticket: int, now_s: float) -> None:
        if ticket != self._period:
            return
        if self._state == "closed":
            self._window.count(now_s, failures=0)
            return
        self._probes_out -= 1
        self._probes_done += 1
        if self._probes_done == self._rules.probes:
            self._turn("closed")

    def failed(self, ticket: int, now_s: float) -> None:
        if ticket != self._period:
            return
        if self._state == "closed":
            self._window.count(now_s, failures=1)
            if not self._is_sick():
                return
        self._opened_s = now_s
        self._turn("open")

    def dropped(self, ticket: int) -> None:
        if ticket == self._period and self._state == "half-open":
            self._probes_out -= 1

    def _is_sick(self) -> bool:
        calls, failures = self._window.calls, self._window.failures
        return calls >= self._rules.volume_min and failures >= self._rules.share * calls

    def _turn(self, state: State) -> None:
        self._state = state
        self._period += 1
        self._probes_out = self._probes_done = 0
        self._window = _Window(self._rules.window_s)


class _Window:
    """Calls and failures of the last BUCKETS buckets, the running one included."""

    def __init__(self, window_s: float) -> None:
        self._bucket_s = window_s / BUCKETS
        self._ring = [[0, 0] for _ in range(BUCKETS)]
        self._newest = 0
        self.calls = 0
        self.failures = 0

    def count(self, now_s: float, *, failures: int) -> None:
        newest = int(now_s / self._bucket_s)
        for bucket in range(self._newest + 1, min(newest, self._newest + BUCKETS) + 1):
            self._forget(self._ring[bucket % BUCKETS])
        self._newest = newest
        bucket_counts = self._ring[newest % BUCKETS]
        bucket_counts[0] += 1
        bucket_counts[1] += failures
        self.calls += 1
        self.failures += failures

    def _forget(self, counts: list[int]) -> None:
        self.calls -= counts[0]
        self.failures -= counts[1]
        counts[:] = (0, 0)
