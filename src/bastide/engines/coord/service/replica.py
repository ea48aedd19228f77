"""A node's copy of the store: what its group agrees on is applied here, in one order everywhere."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from bastide.base.errors import Refusal
from bastide.base.work import Breath
from bastide.engines.coord.core.commands import (
    Announce,
    Command,
    Compact,
    Forget,
    Outcome,
    Refused,
    decode,
    refusal,
)
from bastide.engines.coord.core.machine import Machine
from bastide.engines.coord.core.snapshots import Restoring, snapshot
from bastide.engines.coord.service.watches import Watches
from bastide.parts.raft.contract import Entry, Members

Told = Callable[[Command], None]


class Replica:
    """`parts.raft` StateMachine. `told` is called with each command that changed something, `moved`
    when members or their addresses have changed, `replaced` when all of the state has.
    """

    def __init__(self) -> None:
        self.machine = Machine()
        self.watches = Watches(self.machine.store)
        self.members = Members(())
        self.told: Told = _nobody
        self.moved: Callable[[], None] = _nothing
        self.replaced: Callable[[], None] = _nothing
        self._sweeping: asyncio.Handle | None = None

    def close(self, error: Refusal) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        self.watches.end(error)

    def apply(self, entries: Sequence[Entry]) -> Sequence[Outcome | Refusal]:
        """
        Raises:
            EntryUnknown: a newer program's entry; this node must not go on.
        """
        results = [self._apply(decode(entry.payload)) for entry in entries]
        self.watches.advance()
        return results

    def _apply(self, command: Command) -> Outcome | Refusal:
        outcome = self.machine.apply(command)
        if isinstance(outcome, Refused):
            return refusal(outcome)
        if isinstance(command, Compact):
            self._sweep_soon()
        elif isinstance(command, Announce | Forget):
            self.moved()
        self.told(command)
        return outcome

    def regroup(self, members: Members, context: bytes) -> None:
        self.members = members
        self.moved()

    def snapshot(self) -> Iterable[bytes]:
        return snapshot(self.machine)

    async def restore(self, pieces: AsyncIterator[bytes]) -> None:
        restoring, breath = Restoring(), Breath()
        async for piece in pieces:
            restoring.feed(piece)
            await breath.taken()
        self.machine = restoring.finish()
        self.watches.restart(self.machine.store)
        self.replaced()
        self.moved()

    def _sweep_soon(self) -> None:
        """In pieces, after all watches were told, and others have their turn in between."""
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_soon(self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        if self.machine.sweep():
            self._sweep_soon()


def _nobody(command: Command) -> None:
    """Who is told of commands is not there yet."""


def _nothing() -> None:
    """Who is told of changes is not there yet."""
