"""Named places where a test may make the code fail, stall or die.

`point("sql.before_commit")` costs a dictionary's emptiness in production. A test arms it:
`fail("sql.before_commit", OSError(28, "full"))`, `crash("seglog.after_write")`.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bastide.base.rt.runtime import current


def point(name: str) -> None:
    """Does what a test has armed for `name`; nothing otherwise."""
    armed = current().faults
    if armed and (happens := armed.get(name)):
        happens()


@contextmanager
def armed(name: str, happens: Callable[[], None]) -> Iterator[None]:
    """Within the block, reaching the point `name` calls `happens`."""
    faults = current().faults
    faults[name] = happens
    try:
        yield
    finally:
        faults.pop(name, None)


def failing(error: BaseException) -> Callable[[], None]:
    def happens() -> None:
        raise error

    return happens


def crashing() -> Callable[[], None]:
    """The process is gone at once, as by `kill -9`: no `finally` runs, no buffer is flushed."""

    def happens() -> None:
        os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)

    return happens
