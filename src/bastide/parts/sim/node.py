"""A machine of the world and the process on it: started, killed, cut from power, paused.

    start ---> alive --pause--> paused --resume--> alive
                 |                |
                 +--- kill -------+--> dead, its files as the page cache has them
                 +--- crash ------+--> dead, its files as the disk has them; peers hear nothing
                                         \\-- restart --> alive, with the same main

What a dead process's code does has no effect: it gets no turns, its streams write nothing, its disk
raises. Each start makes a new runtime, with metrics of its own, on the same clock and disk.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any, ParamSpec, TypeVar

from bastide.base.metrics import Registry
from bastide.base.rt.net import Listener as RealListener
from bastide.base.rt.runtime import Chance, Runtime, run_on
from bastide.parts.sim.clock import NodeClock
from bastide.parts.sim.contract import Killed, NodeDied
from bastide.parts.sim.disk.disk import Faults, SimDisk
from bastide.parts.sim.hosted import HostedLoop
from bastide.parts.sim.loop import PROCESS, Process, Turn, asserted
from bastide.parts.sim.points import Points
from bastide.parts.sim.tcp import Listener

P = ParamSpec("P")
T = TypeVar("T")

Main = Callable[[], Awaitable[None]]


class SimPorts:
    """What base.rt.net.bind asks on a node."""

    def __init__(self, loop: HostedLoop, process: Process) -> None:
        self._loop = loop
        self._process = process

    def bind(self, host: str, port: int) -> RealListener:
        return Listener(  # type: ignore[return-value] # it has what is used of a socket
            self._loop.net, self._process, self._loop.net.resolve(self._process, host), port
        )


class Node:
    """Made by World.node."""

    def __init__(
        self, name: str, loop: HostedLoop, *, disk: SimDisk, chance: Chance, points: Points
    ) -> None:
        self.name = name
        self.disk = disk
        self.clock = NodeClock(lambda: loop.now_ns)
        self.points = points
        self.exit: BaseException | None = None  # what ended its main, if an error did
        self._loop = loop
        self._host = loop.net.add_host(name)
        self._chance = chance
        self._main: Main | None = None
        self._again_s: float | None = None
        self._process: Process | None = None
        self._context = Context()
        self._running: asyncio.Task[None] | None = None
        self._again: Turn | None = None
        self._called: dict[asyncio.Future[Any], None] = {}
        self.starts = 0

    def __repr__(self) -> str:
        return self.name

    @property
    def ip(self) -> str:
        return self._host.ip

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.alive

    @property
    def paused(self) -> bool:
        return self._process is not None and self._process.frozen

    @property
    def turns(self) -> int:
        """How many turns this process has had."""
        return self._process.steps if self._process is not None else 0

    # Its life

    def start(self, main: Main, *, again_s: float | None = None) -> None:
        """Run `main` as the node's program. What is asserted in it ends the simulation; another
        error ends the program, which begins anew after `again_s`, if that is given.
        """
        assert not self.alive, f"{self.name} runs already"
        self._main, self._again_s = main, again_s
        self.restart()

    def restart(self) -> None:
        """Start the same program on what the disk has. Without effect on one that runs."""
        self._forget_again()
        if self.alive:
            return
        assert self._main is not None, f"{self.name} was never started"
        self._boot()
        self._running = self._loop.create_task(
            self._run(self._main), name=f"{self.name}.main", context=self._context
        )

    def kill(self) -> None:
        """kill -9: no `finally`; the machine goes on, with its page cache, and closes the
        connections.
        """
        if self.alive:
            self._end("killed", self._host.close_all)
            self.disk = self.disk.kill()

    def crash(self) -> None:
        """The power fails: what was not synced is lost, and peers are not told, until the machine
        is back and knows nothing of them.
        """
        if self.alive:
            self._end("crashed", self._host.lose_power)
        else:
            self._host.is_up = False
        self._forget_again()
        self.disk = self.disk.crash()

    def crash_after(self, turns: int) -> None:
        """Crash before the turn after so many more of this process: that is, at any await."""
        process = self._alive_one()
        process.end = self.crash
        process.dies_at = process.steps + turns + 1

    def pause(self) -> None:
        """SIGSTOP: no turns; its clocks go on, and its kernel takes what the windows hold."""
        if self.alive and not self.paused:
            self._told("paused")
            self._loop.freeze(self._alive_one())

    def resume(self) -> None:
        """SIGCONT: all that waited comes at once."""
        if self.alive and self.paused:
            self._told("resumed")
            self._loop.thaw(self._alive_one())

    def drift(self, rate: float) -> None:
        """Its clocks run at `rate` from now on; its timers with them."""
        if self._process is None:
            self.clock.drift(rate)
        else:
            self._loop.replan(self._process, lambda: self.clock.drift(rate))

    def heal(self) -> None:
        """It runs, well, and sees time pass as others do. What its clock was set to stays."""
        self.points.disarm()
        if self._process is not None:
            self._process.dies_at = -1
        self.resume()
        self.drift(1.0)
        self.disk.faults = Faults()
        self.disk.room_bytes = None
        if self._main is not None:
            self.restart()

    # What is done on it

    def call(
        self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> "asyncio.Future[T]":
        """Run a coroutine function on the node, beside its program; await the result from outside.
        On a node that was never started, such as a client's, a process is made for it.

        Raises:
            NodeDied: it died before the result was there.
        """
        if not self.alive:
            if self._main is not None:
                raise NodeDied(f"{self.name} is dead")
            self._boot()
        result: asyncio.Future[T] = self._loop.create_future()
        self._called[result] = None

        async def run() -> None:
            try:
                found = await function(*args, **kwargs)
            except asyncio.CancelledError:
                result.cancel()
                raise
            except Exception as error:
                if not result.done():
                    result.set_exception(error)
            else:
                if not result.done():
                    result.set_result(found)

        running = self._loop.create_task(run(), context=self._context.copy())
        result.add_done_callback(lambda one: self._over(one, running))
        return result

    def arm(self, point: str, happens: Callable[[], None]) -> None:
        """Once, when code on this node reaches the fault point `point`."""
        self.points.arm(point, happens)

    def die_here(self) -> None:
        """For `arm`: the power fails at the point itself."""
        self.crash()
        raise Killed

    # For the world

    def open_outside(self, process: Process) -> None:
        """This node is the world's own: it is always there."""
        self._become(process)

    def enter(self, call: Callable[[], T]) -> T:
        """In the context of this node's process."""
        return self._context.run(call)

    def forget(self) -> None:
        """The world is over: let go of all."""
        self._called.clear()
        self._process = self._running = self._main = None
        self._context = Context()

    def _over(self, result: "asyncio.Future[Any]", running: "asyncio.Task[None]") -> None:
        self._called.pop(result, None)
        if result.cancelled() and self.alive:
            running.cancel()

    def _boot(self) -> None:
        self.starts += 1
        self.exit = None
        self._host.is_up = True
        self._become(Process(self.name, self._loop.next_serial(), self.clock))
        self._told(f"start {self.starts}")

    def _become(self, process: Process) -> None:
        self._process = process
        runtime = Runtime(
            clock=self.clock,
            chance=Chance(self._chance.random.getrandbits(62)),
            disk=self.disk,
            metrics=Registry(),
            ports=SimPorts(self._loop, process),
        )
        runtime.faults = self.points
        self._context = Context()
        self._context.run(PROCESS.set, process)
        self._context.run(run_on, runtime)

    async def _run(self, main: Main) -> None:
        try:
            await main()
        except (Killed, GeneratorExit):
            raise
        except BaseException as error:
            if asserted(error):
                self._loop.fail(error)
                return
            self.exit = error
            self._told(f"ended by {error!r}")
        else:
            self._told("ended")
        if self.alive:
            self._leave()

    def _leave(self) -> None:
        """The program has ended by itself."""
        self._end("left", self._host.close_all)
        self.disk = self.disk.kill()
        if self.exit is not None and self._again_s is not None:
            self._again = self._loop.plan(int(self._again_s * 1e9), self.restart)

    def _forget_again(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def _end(self, how: str, close: Callable[[], None]) -> None:
        process = self._alive_one()
        self._told(how)
        self._loop.bury(process)
        process.kept.append(self._running)
        close()
        self.points.disarm()
        for result in tuple(self._called):
            if not result.done():
                result.set_exception(NodeDied(f"{self.name} died"))
                result.exception()  # nobody needs to take it
        self._called.clear()

    def _alive_one(self) -> Process:
        assert self._process is not None
        assert self._process.alive, f"{self.name} is dead"
        return self._process

    def _told(self, what: str) -> None:
        if self._loop.trace is not None:
            self._loop.trace(self.name, what)
