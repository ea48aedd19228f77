"""How long one request waits: for each phase, and in all."""

import asyncio
from math import inf

from bastide.parts.http.client.contract import TimedOut, Timeouts, TotalLate

LATE_S = 0.01  # a loop that stood still finds the answer on its doorstep: one more look


class Patience:
    """Of one request, through all its attempts. `outcome` is what a time-out means at this point:
    'none' until something is sent.
    """

    __slots__ = ("_loop", "_until_s", "outcome", "timeouts")

    def __init__(self, timeouts: Timeouts) -> None:
        self._loop = asyncio.get_running_loop()
        self._until_s = inf if timeouts.total_s is None else self.now_s + timeouts.total_s
        self.timeouts = timeouts
        self.outcome = "none"

    @property
    def now_s(self) -> float:
        return self._loop.time()

    @property
    def left_s(self) -> float:
        return self._until_s - self.now_s

    def end_of(self, phase_s: float) -> float:
        """When a phase that begins now is late."""
        return self.now_s + phase_s

    def check(self, told: str) -> None:
        """For what may go on without ever waiting.

        Raises:
            TotalLate
        """
        if self.left_s < -LATE_S:
            raise self.lateness(inf, TotalLate, told)

    async def wait(
        self, waiter: "asyncio.Future[None]", end_s: float, late: type[TimedOut], told: str
    ) -> None:
        """Until `waiter` is done.

        Raises:
            late at `end_s`, or TotalLate.
        """
        end_all_s = min(end_s, self._until_s)
        if self.now_s > end_all_s + LATE_S:  # a look was had, and what came was not enough
            raise self.lateness(end_s, late, told)
        timer = None
        if end_all_s != inf:
            timer = self._loop.call_at(end_all_s, _ring, self._loop, waiter)
        try:
            await waiter
        except TimeoutError:
            raise self.lateness(end_s, late, told) from None
        finally:
            if timer is not None:
                timer.cancel()

    def timeout(self, end_s: float) -> asyncio.Timeout:
        """For what is no future of ours; its TimeoutError becomes `lateness`."""
        return asyncio.timeout_at(min(end_s, self._until_s))

    def lateness(self, end_s: float, late: type[TimedOut], told: str) -> TimedOut:
        if self._until_s <= end_s:
            late, told = TotalLate, f"{told}, and {self.timeouts.total_s:g} s are over in all"
        return late(told, outcome=self.outcome)


def _ring(loop: asyncio.AbstractEventLoop, waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        loop.call_later(LATE_S, _give_up, waiter)


def _give_up(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
