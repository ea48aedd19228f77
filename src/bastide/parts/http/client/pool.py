"""Connections that are kept for the next request, and a queue for those who must wait.

    acquire ── a place is free? ── yes ──> a kept connection of this address, the newest first;
                    │ no                   else a new one, and if that is one too many,
                    v                      the oldest kept one goes
                the queue ── somebody's place became free ──> ^

What is limited is places: requests in flight, of an origin and in all. Kept connections fill what
is left, so that busy and kept ones together never exceed the limits, and a connection that nobody
uses is no obstacle to anybody.

Fair: of those whom a free place could serve the one who has waited longest gets it. Who waits for a
busy origin is passed by those who don't, and by nobody else.

Last in, first out: what is busy stays warm, and what is not needed grows old and is closed.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from itertools import count

from bastide.base.errors import Unavailable
from bastide.parts.http.client.addresses import Address, Origin
from bastide.parts.http.client.connection import Connection
from bastide.parts.http.client.contract import PoolFull, PoolLate, PoolLimits
from bastide.parts.http.client.patience import Patience

Dial = Callable[[Origin, Address, Callable[[Connection], None], Patience], Awaitable[Connection]]


class Held:
    """A connection of the pool: whose it is, and since when."""

    __slots__ = ("address", "born_s", "connection", "free_s", "origin")

    def __init__(self, origin: str, address: Address, connection: Connection, now_s: float) -> None:
        self.origin = origin
        self.address = address
        self.connection = connection
        self.born_s = now_s
        self.free_s = now_s


class Pool:
    """Each `acquire` is followed by one `release`."""

    def __init__(self, limits: PoolLimits, dial: Dial) -> None:
        self._limits = limits
        self._dial = dial
        self._loop = asyncio.get_running_loop()
        self._queue = _Queue(limits)
        self._free: dict[str, list[Held]] = {}  # of an origin, the newest last
        self._open: dict[Connection, Held] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def connections(self) -> int:
        return len(self._open)

    @property
    def waiting(self) -> int:
        return self._queue.waiting

    async def acquire(
        self, origin: Origin, choose: Callable[[], Address], patience: Patience, *, fresh: bool
    ) -> Held:
        """A connection to the address that `choose` names once there is a place; `fresh` for one
        that served nobody yet.

        Raises:
            PoolFull, PoolLate, TotalLate, and what dialling raises.
        """
        await self._queue.enter(origin.name, patience)
        try:
            address = choose()
            held = None if fresh else self._kept(origin.name, address)
            return held or await self._new(origin, address, patience)
        except BaseException:
            self._queue.leave(origin.name)
            raise

    def release(self, held: Held, *, is_good: bool) -> None:
        """Keeps the connection if it `is_good` and not too old; the place is free for the next."""
        now_s = self._loop.time()
        held.free_s = now_s
        if self._is_closed or not is_good or self._is_old(held, now_s):
            held.connection.close()
        else:
            self._free.setdefault(held.origin, []).append(held)
            self._sweep_later()
        self._queue.leave(held.origin)

    async def close(self) -> None:
        """Nobody waits any more, nothing is kept, and what is in flight ends now."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        self._queue.close()
        lost = [connection.lost for connection in self._open]
        for connection in self._open:
            connection.close()
        self._free.clear()
        await asyncio.gather(*lost)

    def _kept(self, origin: str, address: Address) -> Held | None:
        now_s, free = self._loop.time(), self._free.get(origin, [])
        for held in reversed(free):
            if held.address == address and held.connection.is_free:
                self._forget(held)
                if not self._is_old(held, now_s):
                    return held
                held.connection.close()
        return None

    async def _new(self, origin: Origin, address: Address, patience: Patience) -> Held:
        self._make_room(origin.name)
        connection = await self._dial(origin, address, self._lost, patience)
        held = Held(origin.name, address, connection, self._loop.time())
        self._open[connection] = held
        connection.lost.add_done_callback(lambda _: self._open.pop(connection))
        if self._is_closed:
            connection.close()
        return held

    def _make_room(self, origin: str) -> None:
        """Of what is kept, the oldest go until busy and kept ones are within the limits."""
        of_one = self._limits.connections_of_one_origin
        while (free := self._free.get(origin)) and len(free) + self._queue.busy_of(origin) > of_one:
            self._close_free(free[0])
        kept = sum(map(len, self._free.values()))
        for _ in range(min(kept, kept + self._queue.busy - self._limits.connections_max)):
            self._close_free(min((f[0] for f in self._free.values()), key=lambda h: h.free_s))

    def _is_old(self, held: Held, now_s: float) -> bool:
        limits = self._limits
        return now_s - held.free_s >= limits.idle_s or now_s - held.born_s >= limits.age_s

    def _sweep_later(self) -> None:
        if self._sweep is None:
            pause_s = min(self._limits.idle_s, self._limits.age_s) / 2
            self._sweep = self._loop.call_later(pause_s, self._close_old)

    def _close_old(self) -> None:
        self._sweep = None
        now_s = self._loop.time()
        for held in [h for free in self._free.values() for h in free if self._is_old(h, now_s)]:
            self._close_free(held)
        if self._free:
            self._sweep_later()

    def _lost(self, connection: Connection) -> None:
        """The other side closed it: if it was kept, it is no more."""
        held = self._open.get(connection)
        if held is not None and held in self._free.get(held.origin, ()):
            self._forget(held)

    def _close_free(self, held: Held) -> None:
        self._forget(held)
        held.connection.close()

    def _forget(self, held: Held) -> None:
        free = self._free[held.origin]
        free.remove(held)
        if not free:
            del self._free[held.origin]


class _Queue:
    """Places of origins, and who waits for one, each origin's in a line of its own. A ticket tells
    who came first, across the lines.
    """

    def __init__(self, limits: PoolLimits) -> None:
        self._limits = limits
        self.busy = 0
        self.waiting = 0
        self._busy: Counter[str] = Counter()
        self._lines: dict[str, OrderedDict[int, asyncio.Future[None]]] = {}
        self._tickets = count()
        self._is_closed = False

    def busy_of(self, origin: str) -> int:
        return self._busy[origin]

    async def enter(self, origin: str, patience: Patience) -> None:
        """Waits for a place.

        Raises:
            PoolFull, PoolLate, TotalLate
        """
        if self._is_closed:
            raise Unavailable("the client is closed")
        if self._has_place(origin) and origin not in self._lines:
            self._take(origin)
            return
        if self.waiting >= self._limits.waiting_max:
            told = f"{self.waiting} wait for a connection; at most {self._limits.waiting_max} may"
            raise PoolFull(told, outcome=patience.outcome)
        await self._wait(origin, patience)

    def leave(self, origin: str) -> None:
        self.busy -= 1
        self._busy[origin] -= 1
        if not self._busy[origin]:
            del self._busy[origin]
        self._serve()

    def close(self) -> None:
        self._is_closed = True
        for line in self._lines.values():
            for waiter in line.values():
                if not waiter.done():
                    waiter.set_exception(Unavailable("the client is closed"))

    async def _wait(self, origin: str, patience: Patience) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ticket, line = next(self._tickets), self._lines.setdefault(origin, OrderedDict())
        line[ticket] = waiter
        self.waiting += 1
        pool_s = patience.timeouts.pool_s
        told = f"no connection to {origin} became free: {self._busy[origin]} are busy"
        try:
            await patience.wait(waiter, patience.end_of(pool_s), PoolLate, told)
        except BaseException:
            if _is_served(waiter):  # and in the same moment gone
                self.leave(origin)
            raise
        finally:
            self.waiting -= 1
            if line.pop(ticket, None) is not None and not line:
                self._lines.pop(origin, None)

    def _serve(self) -> None:
        """Whoever can be served, the oldest first."""
        while lines := [o for o in self._lines if self._has_place(o)]:
            origin = min(lines, key=lambda o: next(iter(self._lines[o])))
            line = self._lines[origin]
            _, waiter = line.popitem(last=False)
            if not line:
                del self._lines[origin]
            if not waiter.done():
                self._take(origin)
                waiter.set_result(None)

    def _has_place(self, origin: str) -> bool:
        limits = self._limits
        of_one = limits.connections_of_one_origin
        return self.busy < limits.connections_max and self._busy[origin] < of_one

    def _take(self, origin: str) -> None:
        self.busy += 1
        self._busy[origin] += 1


def _is_served(waiter: "asyncio.Future[None]") -> bool:
    return waiter.done() and not waiter.cancelled() and waiter.exception() is None
