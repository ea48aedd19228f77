"""A simulation and its runs.

    run(simulation, seed)  ->  Outcome: what failed, if anything; hash, figures, the choices made

A run is one world from its first moment to the end of `simulation.run(world)`. It fails by what
that raises, by what is asserted in any node's main or callback, by a deadlock, a runaway or a real
effect. The same seed, code and Python give the same run, in any process whose PYTHONHASHSEED is 0.
"""

import gc
import logging
import sys
import traceback
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

import msgspec

from bastide.base.rt.pretended import cpu_s, pretended
from bastide.parts.sim.contract import TURNS_MAX
from bastide.parts.sim.draws import Draws, Recording
from bastide.parts.sim.guard import guarded, refuse
from bastide.parts.sim.world import Tell, World

Work = Callable[[World], Awaitable[None]]


class Simulation(msgspec.Struct, frozen=True):
    """`run` sets a world up, lets it go its way, and raises if it was not as `meaning` says."""

    name: str
    meaning: str
    run: Work


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    recording: Recording
    spans: Mapping[str, list[tuple[int, int]]]
    error: BaseException | None
    digest: int
    turns: int
    simulated_s: float
    cpu_s: float
    points: Mapping[str, int]  # fault points that were reached
    faults: Mapping[str, int]  # kinds of faults that struck

    @property
    def failed(self) -> bool:
        return self.error is not None


def run(
    simulation: Simulation,
    seed: int,
    *,
    recording: Recording | None = None,
    tell: Tell | None = None,
    turns_max: int = TURNS_MAX,
) -> Outcome:
    """One run. `recording` is replayed instead of drawing from the seed; `tell` gets all events."""
    if recording is None:
        draws = Draws(seed)
    else:
        draws = Draws(recording.seed, noise_seed=recording.noise, tapes=recording.tapes)
    with _still():
        outcome = _lived(simulation, draws, World(draws, tell=tell, turns_max=turns_max))
        if outcome.error is not None:
            _let_go(outcome.error)
    return outcome


def _lived(simulation: Simulation, draws: Draws, world: World) -> Outcome:
    began_s = cpu_s()
    error = _error_of(simulation, world)
    outcome = Outcome(
        recording=draws.recording(simulation.name),
        spans={name: list(tape.spans) for name, tape in draws.tapes.items()},
        error=error,
        digest=world.loop.digest & 0xFFFF_FFFF_FFFF_FFFF,
        turns=world.loop.turns,
        simulated_s=world.now_s,
        cpu_s=cpu_s() - began_s,
        points=dict(world.reached),
        faults=dict(world.struck),
    )
    with guarded(lambda _: None), _unheard():
        world.close()
    return outcome


def _let_go(error: BaseException) -> None:
    """Keep the lines of its traceback, and nothing of the world that it came from."""
    traceback.clear_frames(error.__traceback__)
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            _let_go(one)
    for other in (error.__cause__, error.__context__):
        if other is not None:
            _let_go(other)


def _error_of(simulation: Simulation, world: World) -> BaseException | None:
    loop = world.loop
    chance = world.draws.noise("libraries")
    with guarded(loop.fail), pretended(world.clock, chance, refuse), _logged(world):
        main = world.outside.enter(lambda: loop.create_task(_awaited(simulation.run, world)))
        try:
            loop.run_until_complete(main)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            return loop.failure or error
    return loop.failure


async def _awaited(work: Work, world: World) -> None:
    await work(world)


class _Log(logging.Handler):
    """What is logged is in the trace, and nowhere else: a simulation is full of errors."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._loop = world.loop

    def emit(self, record: logging.LogRecord) -> None:
        if self._loop.trace is not None:
            self._loop.trace(self._loop.process.name, f"log: {self.format(record)}")


@contextmanager
def _logged(world: World) -> Iterator[None]:
    root = logging.getLogger()
    before, root.handlers = root.handlers, [_Log(world)]
    try:
        yield
    finally:
        root.handlers = before


@contextmanager
def _still() -> Iterator[None]:
    """Nothing of Python itself comes in between: garbage is collected when a world has ended, and
    what was there before is not looked at then.
    """
    collects = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        with _unheard():
            gc.collect()
        gc.unfreeze()
        if collects:
            gc.enable()


@contextmanager
def _unheard() -> Iterator[None]:
    """What the dead would still say, such as that nobody awaited them, is of no interest."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.unraisablehook = hook


def is_hashing_fixed() -> bool:
    """Whether sets of texts have the same order in every process."""
    return sys.flags.hash_randomization == 0
