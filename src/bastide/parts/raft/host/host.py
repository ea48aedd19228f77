"""One node of one group, at work: its verbs, and its lives one after another.

    running ──a write or sync fails──► failed: refuses, says nothing ──opened again──► running
       └──────the disk is full───────► refuses proposals, hands over leadership, serves reads

A group of one has the same code and no network. The machine is never behind what was answered: it
keeps its state while the disk is opened again, and skips what it has applied.
"""

import asyncio
import logging
from asyncio import Future, Task
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Generic, TypeVar

from bastide.base.errors import Refusal, Unavailable
from bastide.base.rt import runtime
from bastide.parts.raft.contract import (
    PAYLOAD_BYTES_MAX,
    Change,
    GroupFailed,
    Members,
    NodeId,
    Options,
    PayloadTooLarge,
    Status,
)
from bastide.parts.raft.host.life import NOT_LED, Life, Seat, again
from bastide.parts.raft.host.machine import Keeping, Leadership, StateMachine
from bastide.parts.raft.storage.store import open_storage
from bastide.parts.raft.transport.links import Transport
from bastide.parts.seglog.contract import SegmentDamaged

BACK_OFF_S = 0.1
BACK_OFF_S_MAX = 5.0

R = TypeVar("R")

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_host(
    directory: Path,
    machine: StateMachine[R],
    *,
    node: NodeId,
    members: Members,
    group: int = 0,
    transport: Transport | None = None,
    options: Options | None = None,
    keeping: Keeping | None = None,
) -> AsyncIterator["RaftHost[R]"]:
    """The node of a group that is kept in `directory`; an empty one begins with `members`. Without
    a `transport` it has nobody to speak to, which is right for a group of one: that leads already
    when this is entered, unless its disk is full.

    Raises:
        SegmentDamaged, GroupFailed: what was acknowledged is damaged on the disk.
        OSError: the directory can't be read, or not be begun.
    """
    seat = Seat(node, group, machine, transport, options or Options(), keeping or Keeping())
    host = RaftHost(directory, seat, members)
    try:
        await host.open()
        await host.begin()
        yield host
    finally:
        await host.close()


class RaftHost(Generic[R]):
    def __init__(self, directory: Path, seat: Seat[R], members: Members) -> None:
        """Nothing is opened yet; an empty `directory` will begin with `members`."""
        self.node = seat.node
        self.group = seat.group
        self._directory = directory
        self._seat = seat
        self._members = members
        self._opened = AsyncExitStack()
        self._life: Life[R] | None = None
        self._applied = 0  # by lives before
        self._refusal: Refusal = Unavailable("the group is not open")
        self._mending: Task[None] | None = None
        self._watchers: dict[Callable[[Leadership], None], None] = {}

    # --- lives ----------------------------------------------------------------------------------

    async def open(self) -> None:
        storage = await self._opened.enter_async_context(
            open_storage(self._directory, self._members)
        )
        if storage.mark.index > self._applied:
            await self._seat.machine.restore(storage.pieces())
            self._applied = storage.mark.index
        self._life = Life(self._seat, storage, self, applied=self._applied)

    async def begin(self) -> None:
        """Whose members are just this node needs no other to lead; that takes one sync."""
        if self.status().members.voters == (self.node,):
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seat.options.election_s):
                    await self._leads(self.node)

    async def _leads(self, node: NodeId) -> None:
        """Returns once `node` leads, as far as this one knows."""
        told: Future[None] = asyncio.get_running_loop().create_future()

        def see(leadership: Leadership) -> None:
            if leadership.leader == node and not told.done():
                told.set_result(None)

        stop = self.watch(see)
        try:
            see(self.leadership)
            await told
        finally:
            stop()

    async def close(self) -> None:
        if self._mending:
            self._mending.cancel()
            await asyncio.wait([self._mending])
        closed = Unavailable("the group is closed", outcome="unknown")
        if self._life:
            await self._end(self._life, closed).ended()
        self._refusal = closed
        await self._opened.aclose()

    def _end(self, life: Life[R], refusal: Refusal) -> Life[R]:
        self._life = None
        self._refusal = refusal
        self._applied = life.applied
        life.end(refusal)
        return life

    def failed(self, error: GroupFailed) -> None:
        """It is opened again, since only that shows what is on the disk."""
        if self._life:
            _log.error("group %s of node %s has failed: %s", self.group, self.node, error)
            life = self._end(self._life, GroupFailed(str(error), outcome="unknown"))
            self._mending = asyncio.create_task(self._mend(life))

    def broken(self, error: BaseException) -> None:
        """It stands still: trying again would come to the same."""
        if self._life:
            told = f"group {self.group} of node {self.node} has a fault and stands still: {error}"
            _log.error(told, exc_info=error)
            self._end(self._life, GroupFailed(told, outcome="unknown"))

    async def _mend(self, life: Life[R]) -> None:
        random = runtime.current().chance.random
        delay_s = BACK_OFF_S
        await life.ended()
        self._applied = life.applied
        while self._life is None:
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))
            delay_s = min(delay_s * 2, BACK_OFF_S_MAX)
            with suppress(Unavailable, OSError):
                await self._opened.aclose()
            try:
                await self.open()
            except SegmentDamaged as error:
                _log.error("group %s of node %s stands still: %s", self.group, self.node, error)
                self._refusal = GroupFailed(str(error))
                return
            except (Unavailable, OSError) as error:
                _log.warning("group %s can't be opened yet: %s", self.group, error)
        _log.info("group %s of node %s is open again", self.group, self.node)

    def led(self, leadership: Leadership) -> None:
        for see in tuple(self._watchers):
            see(leadership)

    def _running(self) -> Life[R]:
        if self._life is None:
            raise again(self._refusal, outcome="none")
        return self._life

    # --- verbs ----------------------------------------------------------------------------------

    async def propose(self, payload: bytes) -> R:
        """What the machine of this node made of `payload`, once a majority keeps it.

        Raises:
            PayloadTooLarge, NotLeader, ProposalsOver: nothing was proposed.
            DiskFull: of this node; `outcome` tells whether it was proposed.
            LeadershipLost, GroupFailed: it may come to be applied, or not.
            Refusal: what the machine returned.
        """
        life = self._running()
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise PayloadTooLarge(
                f"a payload of {len(payload)} bytes; at most {PAYLOAD_BYTES_MAX} are taken"
            )
        life.storage.check()
        return await life.propose(payload)

    async def read_index(self, *, lease: bool = False) -> int:
        """Returns once the machine has applied all that was acknowledged anywhere before this call:
        a read of it is linearizable then. All who ask in one tick share a round of messages, and by
        `lease` a leader needs none. Works on every node.

        Raises:
            NotLeader: no leader was found within READ_ELECTIONS election times.
            ReadsOver, GroupFailed.
            OptionInvalid: by `lease`, if leases are off.
        """
        return await self._running().read(lease=lease)

    async def change(self, change: Change) -> None:
        """Returns once the members are as `change` says, and no two groups of voters any more.

        Raises:
            NotLeader, ChangeRefused: nothing was changed.
            LeadershipLost, GroupFailed: it may yet come to be.
        """
        life = self._running()
        life.storage.check()
        await life.changed(life.core.change(life.now_s(), change))

    async def transfer(self, to: NodeId) -> None:
        """Returns once `to` leads.

        Raises:
            NotLeader, ChangeRefused: it was not tried.
            Unavailable: it did not take over within two election times.
        """
        life = self._running()
        life.core.transfer(life.now_s(), to)
        life.wake()
        try:
            async with asyncio.timeout(2 * self._seat.options.election_s):
                await self._leads(to)
        except TimeoutError:
            raise Unavailable(f"node {to} did not take over", outcome="unknown") from None

    def status(self) -> Status:
        """Raises GroupFailed."""
        return self._running().core.status()

    @property
    def leadership(self) -> Leadership:
        return self._life.leadership if self._life else NOT_LED

    @property
    def applied(self) -> int:
        """The index of the last entry that the machine has."""
        return self._life.applied if self._life else self._applied

    def watch(self, see: Callable[[Leadership], None]) -> Callable[[], None]:
        """`see` is called at each change of leader or term, until what is returned is called."""
        self._watchers[see] = None
        return lambda: self._watchers.pop(see, None)
