"""An asyncio loop in which nothing is real: time jumps, and whose turn it is comes from a seed.

      ready     a: [turn turn turn]      the process is drawn, its turns run in their order
                b: [turn]
                c: (frozen)
      planned   heap of (ns, number, turn)   nobody ready: time jumps to the first

A *turn* is one callback: a step of a task, data for a protocol, a timer. Each belongs to a process,
told by its context, and a process is FIFO, as asyncio promises and libraries rely on; between
processes the order is drawn. A turn takes TURN_NS of time, so that who waits by turning in circles
sees time pass. What the network does is no turn of a process: it runs as its time comes, and what
it has for a process waits there as a turn, also while the process is frozen.

Who is dead gets no turns. What it held (tasks, callbacks) is kept until the end of the world, so
that no garbage collection runs a `finally` of the dead at a time of its own.

The digest is a hash over every turn's time and process and over what the network delivers: two runs
of a seed agree in it, or something drew from outside.

It costs 1.2 us a turn above what the callback costs.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from heapq import heapify, heappop, heappush
from typing import Any, TypeVar

from bastide.parts.sim.clock import NodeClock
from bastide.parts.sim.contract import SIMULATED_S_MAX, Deadlock, Killed, Runaway

T = TypeVar("T")

TURN_NS = 1_000
EXECUTOR_NS_MAX = 2_000_000  # how long a function in an executor takes, at most
CANCELLED_MAX = 1_000  # cancelled timers that stay planned, if they are fewer than half

CLOSINGS = 3
NAMED_MAX = 10  # of those that wait in a deadlock

Random01 = Callable[[], float]


class Process:
    """What runs on a node between its start and its death."""

    __slots__ = (
        "alive",
        "clock",
        "dies_at",
        "end",
        "frozen",
        "kept",
        "name",
        "number",
        "ready",
        "steps",
    )

    def __init__(self, name: str, number: int, clock: NodeClock) -> None:
        self.name = name
        self.number = number
        self.clock = clock
        self.alive = True
        self.frozen = False
        self.ready: deque[Turn] = deque()
        self.steps = 0
        self.dies_at = -1
        self.end: Callable[[], None] = lambda: None  # how it dies then
        self.kept: list[object] = []


PROCESS: ContextVar[Process] = ContextVar("process")


class Turn(asyncio.TimerHandle):
    """A callback that waits for its turn; process None is the world's own, such as the network."""

    when_s: float  # by its process's clock, if it is a timer
    __slots__ = ("arguments", "call", "context", "is_off", "loop", "process", "when_s")

    def __init__(  # not the parent's, which asks for a time and looks at debug
        self,
        call: Callable[..., object],
        arguments: tuple[Any, ...],
        context: Context | None,
        process: Process | None,
    ) -> None:
        self.call = call
        self.arguments = arguments
        self.context = context
        self.process = process
        self.is_off = False
        self.loop: SimLoop | None = None  # while it is planned

    def cancel(self) -> None:
        if not self.is_off:
            self.is_off = True
            self.arguments = ()
            if self.loop is not None:
                self.loop.forget_one()

    def cancelled(self) -> bool:
        return self.is_off

    def when(self) -> float:
        return self.when_s

    def __repr__(self) -> str:
        return f"<Turn {described(self)}>"

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


class SimFuture(asyncio.Future[T]):
    """Hashed by a number instead of an address, so that sets of them are the same in each run."""

    _serial: int

    def __hash__(self) -> int:
        try:
            return self._serial
        except AttributeError:
            self._serial = self.get_loop().next_serial()  # type: ignore[attr-defined] # ours
            return self._serial


class SimTask(asyncio.Task[T]):
    """See SimFuture."""

    _serial: int
    context: Context

    def __hash__(self) -> int:
        try:
            return self._serial
        except AttributeError:
            self._serial = self.get_loop().next_serial()  # type: ignore[attr-defined] # ours
            return self._serial


class SimLoop(asyncio.BaseEventLoop):
    """Time, turns and tasks. The network's half is in `hosted.py`."""

    _stopping: bool

    def __init__(self, *, order: Random01, executor: Random01, turns_max: int) -> None:
        super().__init__()
        self.now_ns = 0
        self.turns = 0
        self.digest = 0
        self.trace: Callable[[str, str], None] | None = None  # of whom, what
        self.failure: BaseException | None = None
        self._turns_max = turns_max
        self._order = order
        self._executor = executor
        self._due_ns: dict[object, int] = {}  # of executors with one thread: its last function
        self._runnable: list[Process] = []
        self._planned: list[tuple[int, int, Turn]] = []
        self._off = 0
        self._numbers = 0
        self._serials = 0
        self.outside = Process("outside", 0, NodeClock(lambda: self.now_ns))
        self.process = self.outside
        self.set_exception_handler(_take_note)

    # What asyncio asks of a loop

    def time(self) -> float:
        """The running process's monotonic clock."""
        return self.process.clock.monotonic()

    def call_soon(  # type: ignore[override] # typeshed ties args to the callback's
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Turn:
        if context is None:
            context = copy_context()
        process = context.get(PROCESS, self.outside)
        turn = Turn(callback, args, context, process)
        if process.alive:
            ready = process.ready
            if not ready and not process.frozen:
                self._runnable.append(process)
            ready.append(turn)
        else:
            process.kept.append(turn)
        return turn

    call_soon_threadsafe = call_soon  # type: ignore[assignment] # there is one thread

    def call_later(  # type: ignore[override] # as above
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> Turn:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override] # as above
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> Turn:
        context = context or copy_context()
        process = context.get(PROCESS, self.outside)
        turn = Turn(callback, args, context, process)
        turn.when_s = when
        self._plan(process.clock.ns_of(when), turn)
        return turn

    def create_future(self) -> "asyncio.Future[Any]":
        return SimFuture(loop=self)

    def create_task(  # type: ignore[override] # typeshed's has keywords that differ by version
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
        **_: object,
    ) -> "asyncio.Task[T]":
        self._check_open()
        named = f"task-{self.next_serial()}" if name is None else str(name)
        context = context or copy_context()
        task = SimTask(coro, loop=self, name=named, context=context)
        task.context = context
        return task

    def run_in_executor(  # type: ignore[override] # as call_soon
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> "asyncio.Future[T]":
        """The function runs here, a little later, whatever the executor: no thread is started. One
        with a single thread keeps the order in which it was asked.
        """
        future: asyncio.Future[T] = self.create_future()
        turn = Turn(_work, (future, func, args), copy_context(), self.process)
        due_ns = self.now_ns + int(self._executor() * EXECUTOR_NS_MAX) + 1
        if getattr(executor, "_max_workers", None) == 1:
            due_ns = self._due_ns[executor] = max(due_ns, self._due_ns.get(executor, 0))
        self._plan(due_ns, turn)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        return None

    def close(self) -> None:
        super().close()
        self._planned.clear()
        self._runnable.clear()
        self.outside.ready.clear()
        self.outside.kept.clear()

    # What the world asks

    def plan(self, delay_ns: int, call: Callable[..., object], *arguments: Any) -> Turn:
        """The world's own event, such as a segment that arrives; no turn of a process."""
        turn = Turn(call, arguments, None, None)
        self._plan(self.now_ns + delay_ns, turn)
        return turn

    def mix(self, number: int) -> None:
        """Make `number` part of what two runs must agree in."""
        self.digest = hash((self.digest, number))

    def freeze(self, process: Process) -> None:
        process.frozen = True
        if process in self._runnable:
            self._runnable.remove(process)

    def thaw(self, process: Process) -> None:
        process.frozen = False
        if process.alive and process.ready and process not in self._runnable:
            self._runnable.append(process)

    def bury(self, process: Process) -> None:
        """No turn of it runs from now on. All that it held is kept."""
        process.alive = False
        if process in self._runnable:
            self._runnable.remove(process)
        process.kept.extend(process.ready)
        process.kept.extend(asyncio.all_tasks(self))
        process.ready.clear()

    def close_tasks(self) -> None:
        """All are dead: what waits is closed, and its `finally` meets dead disks and networks. Such
        code may begin more; that is closed too, so often as it is likely to.
        """
        asyncio._set_running_loop(self)
        try:
            for _ in range(CLOSINGS):
                for task in asyncio.all_tasks(self):
                    task._log_destroy_pending = False  # type: ignore[attr-defined] # as runners do
                    with suppress(BaseException):
                        task.context.run(task.get_coro().close)  # type: ignore[attr-defined] # ours
        finally:
            asyncio._set_running_loop(None)

    def replan(self, process: Process, change: Callable[[], None]) -> None:
        """`change` its clock's rate; its timers keep their place on that clock."""
        change()
        planned = [
            (process.clock.ns_of(turn.when_s), number, turn)
            if turn.process is process and hasattr(turn, "when_s")
            else (ns, number, turn)
            for ns, number, turn in self._planned
        ]
        heapify(planned)
        self._planned = planned

    def fail(self, error: BaseException) -> None:
        """End the run; the first error counts."""
        self.failure = self.failure or error
        self.stop()

    def next_serial(self) -> int:
        self._serials += 1
        return self._serials

    def forget_one(self) -> None:
        """A planned turn was cancelled: many of them are taken out together."""
        self._off += 1
        if self._off > CANCELLED_MAX and self._off * 2 > len(self._planned):
            self._planned = [entry for entry in self._planned if not entry[2].is_off]
            heapify(self._planned)
            self._off = 0

    # One turn after the other

    def _check_open(self) -> None:
        if self.is_closed():
            raise RuntimeError("the world has ended")

    def _plan(self, when_ns: int, turn: Turn) -> None:
        self._numbers += 1
        turn.loop = self
        heappush(self._planned, (when_ns, self._numbers, turn))

    def _run_once(self) -> None:
        """What BaseEventLoop.run_forever calls until it is told to stop."""
        runnable, draw = self._runnable, self._order
        while not self._stopping:
            planned = self._planned
            if planned and planned[0][0] <= self.now_ns:
                self._wake()
                continue
            if not runnable:
                self._jump()
                continue
            count = len(runnable)
            process = runnable[int(draw() * count)] if count > 1 else runnable[0]
            turn = process.ready.popleft()
            if not process.ready:
                runnable.remove(process)
            if not turn.is_off:
                self._take(process, turn)

    def _take(self, process: Process, turn: Turn) -> None:
        self.now_ns += TURN_NS
        self.turns += 1
        process.steps += 1
        self.digest = hash((self.digest, self.now_ns, process.number))
        if self.trace is not None:
            self.trace(process.name, described(turn))
        if process.steps == process.dies_at:
            process.kept.append(turn)
            process.end()
            return
        self.process = process
        try:
            turn.context.run(turn.call, *turn.arguments)  # type: ignore[union-attr] # a process's
        except (SystemExit, KeyboardInterrupt):
            raise
        except Killed:
            pass
        except BaseException as error:
            self.call_exception_handler({"message": f"in {turn!r}", "exception": error})
        self.process = self.outside
        if self.turns >= self._turns_max:
            self.fail(Runaway(f"{self.turns:,} turns in {self.now_ns / 1e9:.3f} s of its time"))

    def _wake(self) -> None:
        """Who was planned for now: the world's events run, a process's turns get ready."""
        planned, now_ns = self._planned, self.now_ns
        while planned and planned[0][0] <= now_ns:
            turn = heappop(planned)[2]
            turn.loop = None
            process = turn.process
            if turn.is_off:
                self._off -= 1
            elif process is None:
                turn.call(*turn.arguments)
                if planned is not self._planned:
                    return
            elif not process.alive:
                process.kept.append(turn)
            else:
                if not process.ready and not process.frozen:
                    self._runnable.append(process)
                process.ready.append(turn)

    def _jump(self) -> None:
        if not self._planned:
            waiting = sorted(map(_named, asyncio.all_tasks(self)))
            few = ", ".join(waiting[:NAMED_MAX])
            raise Deadlock(f"nobody has anything to do, and {len(waiting)} wait: {few}")
        self.now_ns = max(self.now_ns, self._planned[0][0])
        if self.now_ns > SIMULATED_S_MAX * 1_000_000_000:
            raise Runaway(f"{SIMULATED_S_MAX:,} s of its time have passed")


def _work(future: "asyncio.Future[T]", function: Callable[..., T], arguments: Any) -> None:
    if future.done():  # who waited was cancelled
        return
    try:
        result = function(*arguments)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def _take_note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Nobody took this error. One that was asserted ends the run; others are in the trace, as they
    would be in a log.
    """
    assert isinstance(loop, SimLoop)
    error = context.get("exception")
    if error is not None and asserted(error):
        loop.fail(error)
    if loop.trace is not None:
        loop.trace(loop.process.name, f"untaken error: {context.get('message')} {error!r}")


def asserted(error: BaseException) -> bool:
    """Whether it says, by itself or within a group, that something must not be."""
    if isinstance(error, BaseExceptionGroup):
        return any(asserted(one) for one in error.exceptions)
    return isinstance(error, AssertionError)


def _named(task: "asyncio.Task[Any]") -> str:
    coroutine = task.get_coro()
    return f"{task.get_name()} {getattr(coroutine, '__qualname__', coroutine)}"


def described(turn: Turn) -> str:
    owner = getattr(turn.call, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return _named(owner)
    return str(getattr(turn.call, "__qualname__", type(turn.call).__name__))
