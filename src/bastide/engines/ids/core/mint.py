"""A mint: ascending ids of one worker, between a floor and a fence.

The worst fault of this family of generators is the clock. It steps back, and ids repeat; a process
is paused, its worker id is given to another, it wakes and stamps on. So a mint never asks whether
the clock is right. It holds two bounds that its lease (core/lease.py) gives it, and stamps between:

      floor                at                          fence
    ────┤··················├·─·─·─·─·─·─·─·─·─·─·─·─·─·─·┤────────────────>  milliseconds
        owner before us    │ stamped last                │ ours, durable; not beyond
                           └─ each millisecond holds `sequences` ids

1. An id's time is the clock's, held between `at` and `fence`:  min(max(now, at), fence).
   `at` only rises, so ids only rise: a clock that steps back goes on from where it was.
2. A millisecond that is spent is followed by the next. If the clock stands in it, the caller waits
   for the clock. If the clock is behind, waiting may take an hour: the mint steps ahead of it.
3. Nothing is stamped beyond the fence. At the fence, a spent millisecond is the end (FencePassed)
   until the lease is extended. Whoever holds this worker next has our fence as its floor.

Hence two mints of one worker never share a millisecond, whatever any clock says: uniqueness rests
on the fence alone; the clock only decides how well ids are sorted. take() is O(1): while the
millisecond lasts, one comparison of the clock and one addition.

Differs from Twitter's Snowflake (IdWorker.scala): it refuses while the clock is behind (here
`on_backward_clock="refuse"`), and forgets across a restart what was stamped (its issue 6).
"""

from collections.abc import Callable

from bastide.engines.ids.contract import ClockBehind, FencePassed
from bastide.engines.ids.core.layout import Layout
from bastide.engines.ids.model import OnBackwardClock


def _nobody_hears() -> None:
    return None


class Mint:
    """One worker's ids. `fence_reached` is called when the clock is at the fence, or past it."""

    __slots__ = (
        "_at_ms",
        "_end",
        "_fence_ms",
        "_fence_reached",
        "_layout",
        "_next",
        "_on_backward_clock",
        "_worker",
    )

    def __init__(
        self,
        layout: Layout,
        *,
        worker: int,
        floor_ms: int,
        fence_ms: int,
        on_backward_clock: OnBackwardClock = "continue",
        fence_reached: Callable[[], None] = _nobody_hears,
    ) -> None:
        self._layout = layout
        self._worker = worker
        self._at_ms = max(floor_ms, layout.epoch_ms - 1)
        self._fence_ms = min(fence_ms, layout.last_ms)
        self._next = self._end = 0  # the floor is the owner's before us: spent
        self._on_backward_clock = on_backward_clock
        self._fence_reached = fence_reached

    @property
    def at_ms(self) -> int:
        """The millisecond stamped last, or the floor."""
        return self._at_ms

    def raise_fence(self, fence_ms: int) -> None:
        """The lease reaches further now: call it only when that is durable."""
        self._fence_ms = max(self._fence_ms, min(fence_ms, self._layout.last_ms))

    def take(self, now_ms: int) -> int | None:
        """The next id, or None: the clock must pass `at_ms` first, so wait, or `step`.

        Raises:
            FencePassed: nothing is left up to the fence.
            ClockBehind: `now_ms` is below `at_ms`, and the policy is to refuse.
        """
        id_ = self._next
        if (now_ms != self._at_ms or id_ == self._end) and not self._opened(now_ms):
            return None
        id_ = self._next
        self._next = id_ + 1
        return id_

    def take_many(self, now_ms: int, count: int) -> range:
        """At most `count` ids: what is left of one millisecond. None of them as in `take`.

        Raises: as `take`.
        """
        if not self._opened(now_ms):
            return range(0)
        first = self._next
        self._next = min(first + count, self._end)
        return range(first, self._next)

    def step(self) -> None:
        """On to the next millisecond, ahead of the clock.

        Raises:
            FencePassed: that is beyond the fence.
            ClockBehind: the policy is to refuse.
        """
        if self._at_ms >= self._fence_ms:
            self._fence_reached()
            raise FencePassed(f"worker {self._worker} holds no time beyond {self._fence_ms} ms")
        if self._on_backward_clock == "refuse":
            raise ClockBehind(f"the clock has not passed the last id's {self._at_ms} ms")
        self._open(self._at_ms + 1)

    def _opened(self, now_ms: int) -> bool:
        """Whether a millisecond with ids left is open now. False: the clock stands in a spent
        one.
        """
        if now_ms >= self._fence_ms:
            self._fence_reached()
        stamp_ms = min(now_ms, self._fence_ms)
        if stamp_ms > self._at_ms:
            self._open(stamp_ms)
            return True
        if now_ms < self._at_ms and self._on_backward_clock == "refuse":
            raise ClockBehind(f"the clock, {now_ms} ms, is behind the last id's {self._at_ms} ms")
        if self._next < self._end:
            return True
        if now_ms == self._at_ms:
            return False
        self.step()
        return True

    def _open(self, at_ms: int) -> None:
        self._at_ms = at_ms
        self._next = self._layout.encode(at_ms, self._worker, 0)
        self._end = self._next + self._layout.sequences
