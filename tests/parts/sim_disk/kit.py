"""A loop whose time is jumped over instead of waited for, and threads that are turns of it."""

import asyncio
import selectors


class Jumping(selectors.DefaultSelector):
    """Whoever waits for the time has it."""

    jumped_s = 0.0

    def select(self, timeout=None):
        found = super().select(0)
        if not found and timeout:
            self.jumped_s += timeout
        return found


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        self._jumping = Jumping()
        super().__init__(self._jumping)

    def time(self):
        return self._jumping.jumped_s

    def run_in_executor(self, executor, function, *arguments):
        future = self.create_future()
        self.call_soon(_settle, future, function, arguments)
        return future


def _settle(future, function, arguments):
    try:
        result = function(*arguments)
    except Exception as error:
        if not future.done():
            future.set_exception(error)
    else:
        if not future.done():
            future.set_result(result)


def run(main):
    """What the coroutine returns, in its own time; and how many seconds of that went by."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        result = runner.run(main)
        return result, runner.get_loop().time()
