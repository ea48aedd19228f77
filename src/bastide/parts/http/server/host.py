"""Steps a connection's coroutines, with one task for all of them.

    step(coroutine) ──► first step at once, in the name of the connection's task
         │ it returned: nothing else happens
         └ it waits:    the task is woken and drives it to its end, then asks for more work

Why a task at all, if the step is taken without it? Code that asks who runs it (time-outs, cancel
scopes) must see the same task before and after it has waited. So the first step runs in the name
of a task that exists already and sleeps; it is the documented way for those who bring their own
tasks ("Extending", in asyncio's manual). One is made for a connection when its first coroutine
comes, none for a request.
"""

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any

from bastide.base.steps import resumed

Work = Coroutine[Any, Any, None]


class Host:
    """`idle` is called in the task whenever work that had to wait has ended."""

    __slots__ = (
        "_cancels",
        "_closed",
        "_context",
        "_idle",
        "_inside",
        "_loop",
        "_pending",
        "_task",
        "_wake",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, idle: Callable[[], None]) -> None:
        self._loop = loop
        self._idle = idle
        self._context = copy_context()
        self._pending: tuple[Work, Any] | None = None
        self._inside = self._closed = self._cancels = False
        self._wake: asyncio.Future[None] = loop.create_future()
        self._task = loop.create_task(self._drive(), context=self._context)

    def step(self, work: Work) -> bool:
        """Whether `work` has ended. If not, it goes on by itself, and no other may be stepped
        before `idle` was called.
        """
        assert self._pending is None
        try:
            waits_for = self.first(work)
        except StopIteration:
            return True
        self._pending = work, waits_for
        if not self._inside:
            self._wake.set_result(None)
        return False

    def cancel(self) -> None:
        """Whatever waits is cancelled; if nothing does, the task is."""
        if self._pending is not None:  # its first step was taken, and the task may not have begun
            self._cancels = True
        else:
            self._task.cancel()

    def close(self) -> None:
        """There is no more to do: it ends behind what it does."""
        if self._inside:
            self._closed = True
        else:
            self._task.cancel()

    def first(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The first step of `work`, and nothing else: a `base.steps.Step`."""
        if self._inside:
            return work.send(None)
        loop, task = self._loop, self._task
        try:
            _enter_task(loop, task)
        except RuntimeError:  # another task calls us: none of a loop does, but one of a test
            return self._first_beside(work)
        try:
            return self._context.run(work.send, None)
        finally:
            _leave_task(loop, task)

    def _first_beside(self, work: Coroutine[Any, Any, Any]) -> Any:
        calls_us = asyncio.current_task(self._loop)
        assert calls_us is not None
        _leave_task(self._loop, calls_us)
        try:
            return self.first(work)
        finally:
            _enter_task(self._loop, calls_us)

    async def _drive(self) -> None:
        while not self._closed:
            await self._woken()
            self._inside = True
            try:
                while self._pending is not None:
                    work, waits_for = self._pending
                    self._pending = None
                    if self._cancels:
                        self._cancels = False
                        self._task.cancel()
                    await resumed(work, waits_for)
                    self._idle()
            finally:
                self._inside = False
            self._wake = self._loop.create_future()

    async def _woken(self) -> None:
        try:
            await self._wake
        except asyncio.CancelledError:
            if self._pending is None:
                raise
            self._task.uncancel()  # what waits must hear of it: it is cancelled at its next wait,
            self._task.cancel()  # which is the one that it waits for
