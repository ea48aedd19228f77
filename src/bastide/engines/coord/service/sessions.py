"""A lease that is kept alive while a block of code runs.

    sent      answered          sent      no answer ...
     |--keep alive--|            |--keep alive--
     '------------------ ttl_s ------------------|  good until here; then the block is stopped

What is known is when a request was *sent*: the store counts from some moment after that, so the
lease lives at least `ttl_s` from then (if clocks run alike; a margin is for the holder to take). A
request that was answered late proves no more than one that was answered at once.

The block is stopped as asyncio.timeout stops one: its task is cancelled, which is taken back at the
block's end (`uncancel`), and HoldLost stands in place of CancelledError; a cancellation by somebody
else at the same time stays what it is. A task that is not waiting can't be stopped: a process that
was paused may go on for as long as it does not wait. That is what tokens are for.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from bastide.base.errors import Refusal
from bastide.base.rt import runtime
from bastide.base.work import jittered
from bastide.engines.coord.contract import HoldLost, LeaseMissing, Session
from bastide.engines.coord.model import Keys

BEATS = 3
"""In `ttl_s`, so that two may be lost."""
RETRY_S = 0.2


@asynccontextmanager
async def opened_session(keys: Keys, ttl_s: int) -> AsyncIterator[Session]:
    """See `Coord.session`."""
    sent_s = runtime.monotonic()
    lease = await keys.grant(ttl_s, 0)
    guard = _Guard(lease.id, until_s=sent_s + ttl_s)
    beating = asyncio.create_task(_beat(keys, guard, ttl_s, sent_s), name="coord session")
    try:
        yield Session(lease.id, ttl_s)
    except asyncio.CancelledError as error:
        guard.end(error)
        raise
    except BaseException:
        guard.end_quietly()
        raise
    else:
        guard.end(None)
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        if not guard.is_lost:
            with suppress(Refusal):  # then it ends by itself
                await keys.revoke(lease.id)


async def _beat(keys: Keys, guard: "_Guard", ttl_s: int, sent_s: float) -> None:
    every_s = ttl_s / BEATS
    while True:
        await asyncio.sleep(sent_s + every_s - runtime.monotonic())
        now_s = runtime.monotonic()
        try:
            async with asyncio.timeout(every_s):
                await keys.keep_alive(guard.lease)
        except LeaseMissing:
            guard.lose()
            return
        except (Refusal, TimeoutError):
            await asyncio.sleep(jittered(min(RETRY_S, every_s / 4)))
            continue
        sent_s = now_s
        guard.until_s = now_s + ttl_s


class _Guard:
    """Stops the task that made it, when the lease can no longer be told to live."""

    def __init__(self, lease: int, *, until_s: float) -> None:
        self.lease = lease
        self.until_s = until_s
        self.is_lost = False
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = self._planned()

    def _planned(self) -> asyncio.TimerHandle:
        wait_s = max(self.until_s - runtime.monotonic(), 0)
        return asyncio.get_running_loop().call_later(wait_s, self._look)

    def _look(self) -> None:
        if runtime.monotonic() < self.until_s:
            self._timer = self._planned()
        else:
            self.lose()

    def lose(self) -> None:
        if not self.is_lost:
            self.is_lost = True
            self._timer.cancel()
            self._task.cancel()

    def end(self, error: BaseException | None) -> None:
        """The block is over.

        Raises:
            HoldLost: in place of `error`, if that is this guard's own.
        """
        if self.end_quietly():
            raise HoldLost(f"lease {self.lease:x} could not be kept alive") from error

    def end_quietly(self) -> bool:
        """Whether it was lost, and nobody else cancels the task too."""
        self._timer.cancel()
        return self.is_lost and self._task.uncancel() <= self._cancelling
