"""A clock and chance for libraries that know nothing of rt, while a simulation runs; no threads.

They call `time.monotonic()`, `random.random()`, `os.urandom()`; within `pretended` these answer
from the simulation. What took a function by its name when it was imported, and `datetime.now`,
which is C, still get the machine's.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from random import Random

from bastide.base.rt.clock import Clock

_STARTS = ("_start_new_thread", "_start_joinable_thread")  # by version of Python
cpu_s = time.process_time  # of this process, whatever is pretended


@contextmanager
def pretended(
    clock: Callable[[], Clock], chance: Random, refuse: Callable[[str], None]
) -> Iterator[None]:
    """`clock` gives the clock of who is running; `refuse` is told of a thread and of a sleep, which
    Python's audit hooks are not told of in every version.
    """

    def start_thread(*_: object, **__: object) -> None:
        refuse("a thread is started")

    def sleep(seconds: float) -> None:
        refuse(f"time.sleep({seconds})")

    def monotonic() -> float:
        return clock().monotonic()

    def monotonic_ns() -> int:
        return round(clock().monotonic() * 1e9)

    def now_s() -> float:
        return clock().now_ms() / 1_000

    def now_ns() -> int:
        return clock().now_ms() * 1_000_000

    instead: tuple[tuple[object, str, object], ...] = (
        (time, "monotonic", monotonic),
        (time, "perf_counter", monotonic),
        (time, "monotonic_ns", monotonic_ns),
        (time, "perf_counter_ns", monotonic_ns),
        (time, "time", now_s),
        (time, "time_ns", now_ns),
        (os, "urandom", chance.randbytes),
        (random, "_urandom", chance.randbytes),  # as `random` and `secrets` know it
        (time, "sleep", sleep),
        *((threading, name, start_thread) for name in _STARTS if hasattr(threading, name)),
    )
    real = [(module, name, getattr(module, name)) for module, name, _ in instead]
    state = random.getstate()
    random.seed(chance.getrandbits(62))
    _set(instead)
    try:
        yield
    finally:
        _set(real)
        random.setstate(state)


def _set(functions: Iterable[tuple[object, str, object]]) -> None:
    for module, name, call in functions:
        setattr(module, name, call)
