"""Background work that the town owns: named, restarted with back-off, visible, ended cleanly."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from bastide.base.errors import Unavailable
from bastide.base.rt import runtime

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0
HEALTHY_AFTER_S = 60.0
BREATH_S = 0.002

Work = Callable[[], Awaitable[None]]
_log = logging.getLogger(__name__)


class Task(msgspec.Struct):
    """What /healthz shows of one piece of work."""

    state: str = "running"  # running, backing-off, done
    restarts: int = 0
    error: str = ""


class Crew:
    """The background work of one system. `stop` ends it in the reverse order of its start."""

    def __init__(self, system: str) -> None:
        self._system = system
        self._running: dict[str, asyncio.Task[None]] = {}
        self._tasks: dict[str, Task] = {}

    @property
    def tasks(self) -> Mapping[str, Task]:
        return self._tasks

    def spawn(self, name: str, work: Work) -> None:
        """Run `work()` until it returns or the town stops; after an error again, ever later."""
        assert name not in self._running, f"{self._system} spawns {name} twice"
        self._tasks[name] = Task()
        running = asyncio.create_task(self._keep(name, work), name=f"{self._system}.{name}")
        self._running[name] = running

    async def stop(self) -> None:
        for running in reversed(list(self._running.values())):
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        self._running.clear()

    async def _keep(self, name: str, work: Work) -> None:
        task, backoff_s = self._tasks[name], BACKOFF_FIRST_S
        while True:
            started_s = runtime.monotonic()
            try:
                task.state = "running"
                await work()
                task.state = "done"
                return
            except Exception as error:
                if runtime.monotonic() - started_s > HEALTHY_AFTER_S:
                    backoff_s = BACKOFF_FIRST_S
                task.state, task.error = "backing-off", f"{type(error).__name__}: {error}"
                task.restarts += 1
                is_fault = not isinstance(error, Unavailable)  # what is away needs no trace
                _log.warning("%s.%s: %s", self._system, name, task.error, exc_info=is_fault)
                await asyncio.sleep(jittered(backoff_s))
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)


def jittered(seconds: float) -> float:
    """Between half and all of `seconds`, so that those who failed together don't come back
    together.
    """
    return seconds * (0.5 + runtime.current().chance.random.random() / 2)


class Breath:
    """For long work on the loop: `await breath.taken()` between its pieces lets others run, if it
    has held the loop for BREATH_S.
    """

    def __init__(self) -> None:
        self._began_s = runtime.monotonic()

    async def taken(self) -> None:
        if runtime.monotonic() - self._began_s > BREATH_S:
            await asyncio.sleep(0)
            self._began_s = runtime.monotonic()


async def every(seconds: float, step: Work) -> None:
    """`step()` again and again, about `seconds` apart. An error ends the loop: its crew restarts
    it.
    """
    while True:
        await asyncio.sleep(jittered(seconds))
        await step()
