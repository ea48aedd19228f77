"""Groups of readers: who reads what, and how far each group has come.

The machine of a group is `core.groups`; here are its clock, its waiting answers and what of it is
durable: the generation, before anybody hears of it, and the offsets, before a commit is answered.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from bastide.base.errors import Unavailable
from bastide.base.rt import runtime
from bastide.engines.log.core.codes import Code
from bastide.engines.log.core.groups.group import Group
from bastide.engines.log.core.groups.messages import (
    DEAD,
    Claim,
    Described,
    Join,
    Joined,
    Leaving,
    Rules,
    Sync,
    Synced,
    Told,
)
from bastide.engines.log.core.transactions import Instance
from bastide.engines.log.service.broker import Broker
from bastide.engines.log.service.checks import is_group
from bastide.engines.log.service.journal import Key

METADATA_BYTES_MAX = 4_096  # of one committed offset
GROUPS_MAX = 10_000
ID_BYTES = 12

Partitions = Mapping[tuple[str, int], "Committed"]


class Committed(msgspec.Struct, frozen=True, array_like=True):
    """How far a group is in a partition; `metadata` is its own affair."""

    offset: int
    leader_epoch: int = -1
    metadata: str = ""


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """Of a group in the journal."""

    generation: int
    protocol_type: str


class Seat:
    """A group, and what waits for it."""

    def __init__(self, name: str, group: Group) -> None:
        self.name = name
        self.group = group
        self.waiting: dict[object, asyncio.Future[Joined | Synced]] = {}
        self.timer: asyncio.TimerHandle | None = None
        self.kept_generation = group.generation


class Groups:
    def __init__(self, broker: Broker, *, rules: Rules) -> None:
        self._broker = broker
        self._journal = broker.journal
        self._rules = rules
        self._loop = asyncio.get_running_loop()
        self._seats: dict[str, Seat] = {}
        self._telling: set[asyncio.Task[None]] = set()
        for key, kept in self._journal.items("group", Kept):
            name = str(key[1])
            group = Group.restored(
                rules, generation=kept.generation, protocol_type=kept.protocol_type
            )
            self._seats[name] = Seat(name, group)

    # --- membership -----------------------------------------------------------------------------

    async def join(self, name: str, asked: Join) -> Joined:
        """Waits until the group has gathered."""
        if (code := self.refused_name(name)) != Code.NONE:
            return Joined(code=code, member_id=asked.member_id)
        seat = self._seats.get(name)
        if seat is None:
            if asked.member_id:
                return Joined(code=Code.UNKNOWN_MEMBER_ID, member_id=asked.member_id)
            if len(self._seats) >= GROUPS_MAX:
                return Joined(code=Code.GROUP_MAX_SIZE_REACHED, member_id="")
            seat = self._seats[name] = Seat(name, Group(self._rules))
        ticket = object()
        answer = await self._answer(seat, ticket, seat.group.join(ticket, asked, self._now_s()))
        assert isinstance(answer, Joined)
        return answer

    async def sync(self, name: str, asked: Sync) -> Synced:
        """Waits until the leader has said who reads what."""
        seat = self._seats.get(name)
        if seat is None:
            return Synced(code=Code.UNKNOWN_MEMBER_ID)
        ticket = object()
        answer = await self._answer(seat, ticket, seat.group.sync(ticket, asked, self._now_s()))
        assert isinstance(answer, Synced)
        return answer

    def heartbeat(self, name: str, claim: Claim) -> Code:
        seat = self._seats.get(name)
        if seat is None:
            return Code.UNKNOWN_MEMBER_ID
        return seat.group.heartbeat(claim, self._now_s())

    def leave(self, name: str, members: Sequence[Leaving]) -> Sequence[Code]:
        seat = self._seats.get(name)
        if seat is None:
            return [Code.UNKNOWN_MEMBER_ID for _ in members]
        left = seat.group.leave(members, self._now_s())
        self._tell_soon(seat, left.told)
        return left.codes

    def new_member_id(self, client_id: str) -> str:
        return f"{client_id}-{runtime.current().chance.token(ID_BYTES).hex()}"

    async def _answer(self, seat: Seat, ticket: object, told: Sequence[Told]) -> Joined | Synced:
        waiting: asyncio.Future[Joined | Synced] = self._loop.create_future()
        seat.waiting[ticket] = waiting
        self._tell_soon(seat, told)
        try:
            return await waiting
        finally:
            if seat.waiting.pop(ticket, None) is not None and waiting.cancelled():
                self._tell_soon(seat, seat.group.gone(ticket, self._now_s()))

    def _tell_soon(self, seat: Seat, told: Sequence[Told]) -> None:
        """Answers, behind what must be durable before."""
        self._set_timer(seat)
        if seat.group.generation == seat.kept_generation:
            self._tell(seat, told, None)
            return
        task = asyncio.create_task(self._keep_and_tell(seat, told))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _keep_and_tell(self, seat: Seat, told: Sequence[Told]) -> None:
        group = seat.group
        kept = Kept(group.generation, group.described().protocol_type)
        refusal: Unavailable | None = None
        try:
            await self._journal.kept(self._journal.put(("group", seat.name), kept))
            seat.kept_generation = max(seat.kept_generation, kept.generation)
        except Unavailable as error:
            refusal = error
        self._tell(seat, told, refusal)

    def _tell(self, seat: Seat, told: Sequence[Told], refusal: Unavailable | None) -> None:
        for one in told:
            waiting = seat.waiting.get(one.ticket)
            if waiting is None or waiting.done():
                continue
            if refusal is not None:
                waiting.set_exception(refusal)
            else:
                waiting.set_result(one.answer)

    def _set_timer(self, seat: Seat) -> None:
        if seat.timer is not None:
            seat.timer.cancel()
            seat.timer = None
        due_s = seat.group.due_s
        if due_s != float("inf"):
            delay_s = max(0.0, due_s - self._now_s())
            seat.timer = self._loop.call_later(delay_s, self._tick, seat)

    def _tick(self, seat: Seat) -> None:
        seat.timer = None
        self._tell_soon(seat, seat.group.tick(self._now_s()))

    # --- offsets --------------------------------------------------------------------------------

    def fence(self, name: str, claim: Claim) -> Code:
        """NONE: these offsets may be committed."""
        if (code := self.refused_name(name)) != Code.NONE:
            return code
        seat = self._seats.get(name)
        if seat is None:
            return Code.NONE if claim.generation < 0 else Code.ILLEGAL_GENERATION
        return seat.group.fence(claim)

    def commit(self, name: str, places: Partitions) -> int:
        """Without a wait, for who was let through by `fence` just now. Durable when the place that
        is returned is `kept`.

        Raises:
            Unavailable
        """
        place = self._appear(name)
        for (topic, number), committed in places.items():
            place = self._journal.put(("offset", name, topic, number), committed)
        return place

    async def kept(self, place: int) -> None:
        """Raises Unavailable."""
        if place >= 0:
            await self._journal.kept(place)

    def committed(self, name: str) -> Partitions:
        found = {}
        for key, committed in self._journal.items("offset", Committed, name=name):
            found[str(key[2]), int(key[3])] = committed
        return found

    def committed_at(self, name: str, topic: str, number: int) -> Committed | None:
        return self._journal.get(("offset", name, topic, number), Committed)

    async def forget(self, name: str, places: Sequence[tuple[str, int]]) -> None:
        keys: list[Key] = [("offset", name, topic, number) for topic, number in places]
        await self._drop(keys)

    # --- offsets within transactions ------------------------------------------------------------

    def pend(self, name: str, producer: Instance, places: Partitions) -> int:
        """To be committed if the transaction is; as `commit`."""
        place = self._appear(name)
        for (topic, number), committed in places.items():
            key = ("pending", name, producer.producer_id, topic, number)
            place = self._journal.put(key, committed)
        return place

    def is_pending(self, name: str, topic: str, number: int) -> bool:
        return any(
            key[3:] == (topic, number)
            for key, _ in self._journal.items("pending", Committed, name=name)
        )

    async def settle(self, name: str, producer_id: int, *, commit: bool) -> None:
        """The transaction has ended. Durable when it returns; twice is as once."""
        place = -1
        for key, committed in self._journal.items("pending", Committed, name=name):
            if key[2] != producer_id:
                continue
            if commit:
                self._journal.put(("offset", name, *key[3:]), committed)
            place = self._journal.put(key, None)
        await self.kept(place)

    # --- all of them ----------------------------------------------------------------------------

    def names(self) -> Sequence[str]:
        return sorted(self._seats)

    def described(self, name: str) -> Described:
        seat = self._seats.get(name)
        return seat.group.described() if seat else DEAD

    async def delete(self, name: str) -> Code:
        seat = self._seats.get(name)
        if seat is None:
            return Code.GROUP_ID_NOT_FOUND
        if seat.group.described().members:
            return Code.NON_EMPTY_GROUP
        self._set_timer(seat)
        del self._seats[name]
        keys: list[Key] = [("offset", name, *place) for place in self.committed(name)]
        await self._drop([*keys, ("group", name)])
        return Code.NONE

    def refused_name(self, name: str) -> Code:
        return Code.NONE if is_group(name) else Code.INVALID_GROUP_ID

    async def close(self) -> None:
        for seat in self._seats.values():
            if seat.timer is not None:
                seat.timer.cancel()
            for waiting in seat.waiting.values():
                waiting.cancel()
        for task in list(self._telling):
            with suppress(Unavailable):
                await task

    def _appear(self, name: str) -> int:
        """A group that has committed is one, though it has no members. Returns a place, or -1."""
        if name in self._seats:
            return -1
        self._seats[name] = Seat(name, Group(self._rules))
        return self._journal.put(("group", name), Kept(0, ""))

    async def _drop(self, keys: Sequence[Key]) -> None:
        place = -1
        for key in keys:
            place = self._journal.put(key, None)
        await self.kept(place)

    def _now_s(self) -> float:
        return runtime.monotonic()
