"""What the node that leads does by itself: it ends leases, compacts, and sees to the store's name.

Nothing of it is kept: whoever leads next begins anew. What it finds to be done is an entry, like
all that changes the store.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from bastide.base.errors import Unavailable
from bastide.base.rt import runtime
from bastide.engines.coord.core.commands import (
    Command,
    Compact,
    Grant,
    Identify,
    Outcome,
    Revoke,
    SetSpace,
)
from bastide.engines.coord.core.leases import Deadlines
from bastide.engines.coord.model import Settings
from bastide.engines.coord.service.replica import Replica

Agree = Callable[[Command], Awaitable[Outcome]]

AGES_KEPT = 20  # of revisions, over `compact_s`
AGAIN_S = 0.5
CLUSTER_BITS = 63
_log = logging.getLogger(__name__)


class Leading:
    """`begin` and `end` as this node comes to lead and falls; `told` of each command."""

    def __init__(self, replica: Replica, settings: Settings, agree: Agree) -> None:
        self.deadlines = Deadlines()
        self._replica = replica
        self._settings = settings
        self._agree = agree
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._leads = False

    # --- life -----------------------------------------------------------------------------------

    def begin(self) -> None:
        """From here on leases end by this node's clock, each after its full time."""
        self._leads = True
        self.deadlines.lead(self._replica.machine.leases, runtime.monotonic())
        self._plan()
        self._spawn(self._settle())
        if self._settings.compact_s:
            self._spawn(self._keep_compacting())

    def end(self) -> None:
        self._leads = False
        self.deadlines.follow()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        self.end()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def told(self, command: Command) -> None:
        if not self._leads:
            return
        if isinstance(command, Grant):
            self.deadlines.begin(command.id, command.ttl_s, runtime.monotonic())
            self._plan()
        elif isinstance(command, Revoke):
            self.deadlines.forget(command.id)

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("a leader's work has ended: %s", error, exc_info=error)

    # --- leases ---------------------------------------------------------------------------------

    def _plan(self) -> None:
        """When to look for leases that are over."""
        next_s = self.deadlines.next_s()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if next_s is not None:
            wait_s = max(0.0, next_s - runtime.monotonic())
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._expire)

    def _expire(self) -> None:
        self._timer = None
        for lease in self.deadlines.over(runtime.monotonic()):
            self._spawn(self._revoke(lease))
        self._plan()

    async def _revoke(self, lease: int) -> None:
        """Not given up: while it can't be agreed on it may not be kept alive either."""
        while self._leads and lease in self._replica.machine.leases:
            try:
                await self._agree(Revoke(lease))
            except Unavailable as error:
                _log.info("lease %x is over, and can't be revoked yet: %s", lease, error)
                await asyncio.sleep(AGAIN_S)

    # --- the store ------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """The store has a number, and its size is as this node is set."""
        while self._leads:
            try:
                machine = self._replica.machine
                if not machine.cluster:
                    random = runtime.current().chance.random
                    await self._agree(Identify(random.getrandbits(CLUSTER_BITS) | 1))
                if machine.space_bytes_max != self._settings.space_bytes:
                    await self._agree(SetSpace(self._settings.space_bytes))
                return
            except Unavailable:
                await asyncio.sleep(AGAIN_S)

    async def _keep_compacting(self) -> None:
        """Up to the revision that stood `compact_s` ago."""
        every_s = self._settings.compact_s / AGES_KEPT
        ages: deque[int] = deque()
        while self._leads:
            ages.append(self._replica.machine.store.revision)
            if len(ages) > AGES_KEPT:
                revision = ages.popleft()
                if revision > max(1, self._replica.machine.store.compacted):
                    try:
                        await self._agree(Compact(revision))
                    except Unavailable as error:
                        _log.info("history is not compacted yet: %s", error)
            await asyncio.sleep(every_s)
