"""One node's clock, chance, disk, metrics and armed faults, in a context variable."""

import secrets
import socket
from collections.abc import Callable
from contextvars import ContextVar
from random import Random, SystemRandom
from typing import Protocol

from bastide.base.metrics import Registry
from bastide.base.rt.clock import Clock, SystemClock
from bastide.base.rt.disk import Disk, SystemDisk

Dice = Random  # by this name outside, where nobody imports random


class Chance:
    """Randomness that no guesser can follow: keys, tokens, jitter. A seed makes it repeat."""

    def __init__(self, seed: int | None = None) -> None:
        guessable = None if seed is None else Random(seed)  # noqa: S311 (only where it must repeat)
        self.random: Random = guessable or SystemRandom()
        self._seeded = seed is not None

    def token(self, byte_count: int) -> bytes:
        return (
            self.random.randbytes(byte_count) if self._seeded else secrets.token_bytes(byte_count)
        )


class Ports(Protocol):
    """A simulated machine's: what net.bind asks instead of the real one."""

    def bind(self, host: str, port: int) -> socket.socket:
        """A listener that only the simulated loop understands."""
        ...


class Runtime:
    """What a node has of its own. `faults` maps a point's name to what happens there: see
    base.faults. `ports` are the machine's own, unless a simulated one is given.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        chance: Chance | None = None,
        disk: Disk | None = None,
        metrics: Registry | None = None,
        ports: Ports | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.chance = chance or Chance()
        self.disk: Disk = disk or SystemDisk()
        self.metrics = metrics or Registry()
        self.ports = ports
        self.faults: dict[str, Callable[[], None]] = {}


# One default for all is meant: outside a town there is one machine.
_current: ContextVar[Runtime] = ContextVar("runtime", default=Runtime())  # noqa: B039 (see above)


def current() -> Runtime:
    return _current.get()


def run_on(runtime: Runtime) -> None:
    """From here on, this task and those it starts run on `runtime`."""
    _current.set(runtime)


def now_ms() -> int:
    return _current.get().clock.now_ms()


def monotonic() -> float:
    return _current.get().clock.monotonic()
