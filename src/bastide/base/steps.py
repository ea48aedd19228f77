"""A coroutine's first step, taken at once.

Most handlers never wait: what they need is in memory, or a read by index on the loop. A task for
each would cost more than they do. So a coroutine is stepped where it is called, and only one that
waits pays for a time-out.

    coroutine ──send(None)──► it returned: done, no timer, no task
                         └──► it waits for a future: from here on it is driven like any other
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")

Step = Callable[[Coroutine[Any, Any, Any]], Any]
"""Takes a coroutine's first step: what it waits for, or StopIteration, or what it raises."""


def first_step(work: Coroutine[Any, Any, Any]) -> Any:
    """The `Step` of who runs in the task that will drive the rest."""
    return work.send(None)


@coroutine
def within(seconds: float, work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """What `work` returns. A time-out is set only if it waits.

    Raises:
        TimeoutError: `seconds` after it began to wait; `work` was cancelled.
    """
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    return (yield from finished(seconds, work, waits_for))


@coroutine
def finished(
    seconds: float, work: Coroutine[Any, Any, T], waits_for: Any
) -> Generator[Any, Any, T]:
    """What `work` returns, which was stepped and waits: as under `asyncio.timeout`, in a third of
    its time. Raises as `within`.
    """
    task = asyncio.current_task()
    assert task is not None
    cancelling = task.cancelling()
    over = _Over(task)
    timer = asyncio.get_running_loop().call_later(seconds, over.come)
    try:
        return (yield from resumed(work, waits_for))
    except asyncio.CancelledError as error:
        if over.came and task.uncancel() <= cancelling:
            raise TimeoutError from error
        raise
    finally:
        timer.cancel()


class _Over:
    """The end of a time."""

    __slots__ = ("_task", "came")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task
        self.came = False

    def come(self) -> None:
        self.came = True
        self._task.cancel()


@coroutine
def resumed(work: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Goes on with `work`, which was stepped and waits for `waits_for`."""
    while True:
        try:
            sent = yield waits_for
        except BaseException as error:
            thrown: BaseException | None = error
        else:
            thrown = None
        try:
            waits_for = work.send(sent) if thrown is None else work.throw(thrown)
        except StopIteration as done:
            result: T = done.value
            return result
