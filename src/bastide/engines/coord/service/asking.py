"""How one node asks its group: what it is asked is agreed on by a majority, or done by who leads.

    an entry    ──► the leader proposes it ──► a majority has it ──► applied: its outcome
    a barrier   ──► where the leader stands (ReadIndex) ──► applied here ──► read here
    a question  ──► the leader's clock, and a proof that it still leads

Whatever node is asked: one that follows asks the leader over the links that the group has. A group
of one is the same code, with nobody to wait for but its own disk.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from bastide.base.errors import Conflict, Limited, Refusal, TooLarge, Unavailable
from bastide.base.rt import runtime
from bastide.base.work import Breath
from bastide.engines.coord.contract import (
    AskTooLarge,
    CoordAway,
    LeaderMissing,
    LeaseMissing,
    SpaceOver,
    TooMany,
)
from bastide.engines.coord.core.commands import Command, Outcome, encode
from bastide.engines.coord.core.machine import Machine
from bastide.engines.coord.model import Settings
from bastide.engines.coord.service import questions
from bastide.engines.coord.service.leading import Leading
from bastide.engines.coord.service.questions import (
    Agree,
    Keep,
    Kept,
    Question,
    Regroup,
    Regrouped,
    Reply,
)
from bastide.engines.coord.service.replica import Replica
from bastide.engines.coord.service.verbs import Verbs
from bastide.engines.coord.service.watches import Watches
from bastide.parts.raft.contract import (
    NOBODY,
    Change,
    ChangeRefused,
    NodeId,
    NotLeader,
    Status,
)
from bastide.parts.raft.host.host import RaftHost
from bastide.parts.raft.host.machine import Leadership
from bastide.parts.raft.transport.calls import CallLost, Calls, CallsOver
from bastide.parts.raft.transport.links import Address, Transport

LOOK_AGAIN_S = 0.01
RETRY_AFTER_S = 0.5


@contextmanager
def translated() -> Iterator[None]:
    """Within the block, what the group raises is raised as the contract names it."""
    try:
        yield
    except (CoordAway, AskTooLarge, TooMany, SpaceOver):
        raise
    except NotLeader as error:
        raise LeaderMissing(str(error)) from error
    except ChangeRefused as error:
        raise Conflict(str(error)) from error
    except Unavailable as error:
        raise CoordAway(str(error), outcome=error.outcome) from error
    except TooLarge as error:
        raise AskTooLarge(str(error)) from error
    except Limited as error:
        raise TooMany(str(error), retry_after_s=RETRY_AFTER_S) from error


class Asking(Verbs):
    """One node's part in the group. `me` is its number."""

    def __init__(
        self,
        me: NodeId,
        settings: Settings,
        host: "RaftHost[Outcome | Refusal]",
        replica: Replica,
        transport: Transport | None,
    ) -> None:
        self.me = me
        self._timeout_s = settings.timeout_s
        self._host = host
        self._replica = replica
        self._transport = transport
        self._breath = Breath()
        self._leading = Leading(replica, settings, self.agree)
        self._calls = None if transport is None else Calls(transport, self._answer)
        self._news = asyncio.Event()
        self._leadership = Leadership(NOBODY, 0, is_here=False)
        replica.told = self._leading.told
        replica.moved = self._find_peers
        replica.replaced = self._replaced
        self._unwatch = host.watch(self._led)
        self._led(host.leadership)

    async def close(self) -> None:
        self._unwatch()
        self._replica.close(CoordAway("the store is closed"))
        await self._leading.close()
        if self._calls is not None:
            await self._calls.close()

    @property
    def machine(self) -> Machine:
        return self._replica.machine

    @property
    def watches(self) -> Watches:
        return self._replica.watches

    @property
    def applied(self) -> int:
        return self._host.applied

    def status(self) -> Status:
        """
        Raises:
            CoordAway: this node takes no part.
        """
        with translated():
            return self._host.status()

    # --- agreeing -------------------------------------------------------------------------------

    async def agree(self, command: Command) -> Outcome:
        reply = await self.ask_leader(Agree(encode(command)))
        await self._breath.taken()
        return reply  # type: ignore[return-value] # what an Agree is answered by

    async def catch_up(self) -> None:
        try:
            with translated():
                async with asyncio.timeout(self._timeout_s):
                    await self._host.read_index()
        except TimeoutError as error:
            raise LeaderMissing(f"no leader has answered within {self._timeout_s:g} s") from error

    async def kept(self, lease: int, *, only_look: bool) -> Kept:
        kept = await self.ask_leader(Keep(lease, only_look))
        assert isinstance(kept, Kept)
        return kept

    async def ask_leader(self, question: Question) -> Reply:
        """Asked again as long as nothing was done, and there is time.

        Raises:
            Refusal: what it says. CoordAway: `outcome` tells whether it may have been done.
        """
        until_s = runtime.monotonic() + self._timeout_s
        while True:
            left_s = until_s - runtime.monotonic()
            leader = self._host.leadership
            try:
                if leader.is_here or self._calls is None:
                    return await self._done_here(question, left_s)
                if leader.leader != NOBODY:
                    return await self._done_there(leader.leader, question, left_s)
            except CoordAway as error:
                if error.outcome != "none" or until_s <= runtime.monotonic():
                    raise
            if until_s <= runtime.monotonic():
                raise LeaderMissing(f"the group has had no leader for {self._timeout_s:g} s")
            await self._rest(until_s)

    async def _done_there(self, leader: NodeId, question: Question, left_s: float) -> Reply:
        assert self._calls is not None
        try:
            payload = await self._calls.ask(leader, questions.encode(question), timeout_s=left_s)
        except CallLost as error:
            raise CoordAway(str(error), outcome=error.outcome) from error
        except CallsOver as error:
            raise TooMany(str(error), retry_after_s=RETRY_AFTER_S) from error
        return questions.checked(questions.decode_reply(payload))

    async def _done_here(self, question: Question, left_s: float) -> Reply:
        try:
            with translated():
                async with asyncio.timeout(left_s):
                    return await self._lead(question)
        except TimeoutError as error:
            told = f"a majority has not answered within {self._timeout_s:g} s"
            raise CoordAway(told, outcome="unknown") from error

    async def _answer(self, sender: NodeId, payload: bytes) -> bytes:
        """Of another node's question. Only who leads answers; nobody is asked on behalf."""
        try:
            if not self._host.leadership.is_here:
                raise LeaderMissing("this node does not lead")
            question = questions.decode_question(payload)
            return questions.encode(await self._done_here(question, self._timeout_s))
        except Refusal as error:
            return questions.encode(questions.reply_of(error))

    async def _lead(self, question: Question) -> Reply:
        match question:
            case Agree(entry):
                outcome = await self._host.propose(entry)
                assert not isinstance(outcome, Refusal)  # it was raised
                return outcome
            case Keep(lease, only_look):
                return await self._keep(lease, only_look=only_look)
            case Regroup(voters, learners):
                await self._host.change(Change(voters, learners))
                return Regrouped()

    async def _keep(self, lease: int, *, only_look: bool) -> Kept:
        """Only if this node still leads afterwards: another may have ended the lease by now."""
        if lease not in self._replica.machine.leases:  # a new leader may have yet to apply it
            await self._host.read_index()
        ttl_s = self._replica.machine.leases.ttl_s(lease)
        deadlines = self._leading.deadlines
        if not only_look:
            deadlines.keep_alive(lease, ttl_s, runtime.monotonic())
        await self._host.read_index()
        if not self._host.leadership.is_here:
            raise NotLeader(self._host.leadership.leader)
        left_s = deadlines.left_s(lease, runtime.monotonic())
        if lease not in self._replica.machine.leases or left_s <= 0:
            raise LeaseMissing(f"lease {lease:x} has ended")
        return Kept(ttl_s, left_s)

    # --- who leads ------------------------------------------------------------------------------

    def _led(self, leadership: Leadership) -> None:
        before, self._leadership = self._leadership, leadership
        if leadership.is_here and not (before.is_here and before.term == leadership.term):
            self._leading.end()
            self._leading.begin()
        elif before.is_here and not leadership.is_here:
            self._leading.end()
        self._news.set()

    async def _rest(self, until_s: float) -> None:
        """Until there may be another leader; not for nothing, not for long."""
        self._news.clear()
        wait_s = min(max(0.0, until_s - runtime.monotonic()), self._timeout_s / 10)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._news.wait()
        await asyncio.sleep(LOOK_AGAIN_S)

    def _replaced(self) -> None:
        if self._leadership.is_here:  # a leader installs no snapshot; what it had of clocks is over
            self._leading.end()
            self._leading.begin()

    def _find_peers(self) -> None:
        """As the group has agreed: who is new is dialled. Who was removed is refused by the group
        itself, and forgotten here when the node is started without it.
        """
        if self._transport is None:
            return
        for id_, told in self._replica.machine.members.items():
            host, _, port = told.peer_address.rpartition(":")
            if id_ != self.me and host:
                self._transport.set_peer(id_, Address(host, int(port)))
