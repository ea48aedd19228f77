"""A store without a group, in memory: for examples, tests and simulations of what stands on one.

Whatever is asked is done at once: there is nobody to agree with and nothing to wait for. Machine,
watches and verbs are those of a node; the leader's clock here is the only one.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bastide.base.rt import runtime
from bastide.base.work import Breath
from bastide.engines.coord.contract import (
    SPACE_BYTES_MAX,
    AskInvalid,
    CoordAway,
    LeaseMissing,
    Member,
    Standing,
)
from bastide.engines.coord.core.commands import (
    Command,
    Compact,
    Grant,
    Outcome,
    Refused,
    Revoke,
    SetSpace,
    refusal,
)
from bastide.engines.coord.core.leases import Deadlines
from bastide.engines.coord.core.machine import Machine
from bastide.engines.coord.service.questions import Kept
from bastide.engines.coord.service.verbs import Verbs
from bastide.engines.coord.service.watches import Watches

MEMBER = 1
ALONE = "a store without a group is one node"


@asynccontextmanager
async def opened_local(*, space_bytes: int = SPACE_BYTES_MAX) -> AsyncIterator["Local"]:
    local = Local()
    local.apply(SetSpace(space_bytes))
    try:
        yield local
    finally:
        local.close()


class Local(Verbs):
    """`model.Node`."""

    def __init__(self) -> None:
        self._machine = Machine()
        self._watches = Watches(self._machine.store)
        self._deadlines = Deadlines()
        self._applied = 0
        self._timer: asyncio.TimerHandle | None = None
        self._sweeping: asyncio.Handle | None = None
        self._breath = Breath()

    def close(self) -> None:
        for handle in (self._timer, self._sweeping):
            if handle is not None:
                handle.cancel()
        self._watches.end(CoordAway("the store is closed"))

    # --- agreeing -------------------------------------------------------------------------------

    @property
    def machine(self) -> Machine:
        return self._machine

    @property
    def watches(self) -> Watches:
        return self._watches

    async def agree(self, command: Command) -> Outcome:
        outcome = self.apply(command)
        await self._breath.taken()
        return outcome

    async def catch_up(self) -> None:
        """All there is has been applied here."""

    async def kept(self, lease: int, *, only_look: bool) -> Kept:
        ttl_s, now_s = self._machine.leases.ttl_s(lease), runtime.monotonic()
        if not only_look:
            self._deadlines.keep_alive(lease, ttl_s, now_s)
        left_s = self._deadlines.left_s(lease, now_s)
        if left_s <= 0:
            raise LeaseMissing(f"lease {lease:x} has ended")
        return Kept(ttl_s, left_s)

    def apply(self, command: Command) -> Outcome:
        """
        Raises:
            Refusal: what came of it.
        """
        outcome = self._machine.apply(command)
        self._applied += 1
        if isinstance(outcome, Refused):
            raise refusal(outcome)
        self._watches.advance()
        match command:
            case Compact():
                self._sweep()
            case Grant(id_, ttl_s):
                self._deadlines.begin(id_, ttl_s, runtime.monotonic())
                self._plan()
            case Revoke(id_):
                self._deadlines.forget(id_)
        return outcome

    def _sweep(self) -> None:
        """In pieces, and others have their turn in between."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        more = self._machine.sweep()
        loop = asyncio.get_running_loop()
        self._sweeping = loop.call_soon(self._sweep) if more else None

    # --- leases ---------------------------------------------------------------------------------

    def _plan(self) -> None:
        """When to look for leases that are over."""
        next_s = self._deadlines.next_s()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if next_s is not None:
            wait_s = max(next_s - runtime.monotonic(), 0)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._expire)

    def _expire(self) -> None:
        for lease in self._deadlines.over(runtime.monotonic()):
            self.apply(Revoke(lease))
        self._plan()

    async def standing(self) -> Standing:
        store = self.machine.store
        return Standing(
            cluster=MEMBER,
            member=MEMBER,
            leader=MEMBER,
            term=1,
            committed=self._applied,
            applied=self._applied,
            revision=store.revision,
            space_bytes=store.space_bytes,
            members=[Member(MEMBER, "memory", "", "")],
        )

    async def transfer(self, to: int) -> None:
        if to != MEMBER:
            raise CoordAway(f"{ALONE}; there is no member {to} to lead")

    async def add_member(self, name: str, peer_address: str, *, is_learner: bool) -> int:
        raise AskInvalid(f"{ALONE}; none can be added")

    async def remove_member(self, member: int) -> None:
        raise AskInvalid(f"{ALONE}; none can be removed")

    async def promote_member(self, member: int) -> None:
        raise AskInvalid(f"{ALONE}; it votes")
