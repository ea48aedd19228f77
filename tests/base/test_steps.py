"""A coroutine that never waits costs no timer; one that waits is cut in time, and hears of it."""

import asyncio
import contextvars

import pytest

from bastide.base.steps import resumed, within


async def at_once(value: int) -> int:
    return value


async def test_what_never_waits_returns_without_a_timer(monkeypatch) -> None:
    def no_timer(*_: object) -> None:
        raise AssertionError("a time-out was set")

    monkeypatch.setattr(asyncio, "timeout", no_timer)
    assert await within(0.0, at_once(7)) == 7


async def test_what_waits_returns_what_it_came_to() -> None:
    async def waits() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return "done"

    assert await within(10, waits()) == "done"


async def test_what_waits_too_long_is_cancelled_and_told_late() -> None:
    ended = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(TimeoutError):
        await within(0.01, waits())
    assert ended == [True]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0, "who waited is not cancelled itself"


async def test_an_error_comes_through_before_and_after_a_wait() -> None:
    async def fails(*, later: bool) -> None:
        if later:
            await asyncio.sleep(0)
        raise KeyError("broken")

    for later in (False, True):
        with pytest.raises(KeyError):
            await within(10, fails(later=later))


async def test_time_outs_nest() -> None:
    async def inner() -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        return "inner"

    assert await within(10, inner()) == "inner"


async def test_a_step_taken_by_hand_is_resumed_with_results_and_errors() -> None:
    async def adds() -> int:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, 20)
        found = await future
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        except TimeoutError:
            return found + 1
        raise AssertionError

    work = adds()
    waits_for = work.send(None)
    assert await resumed(work, waits_for) == 21


async def test_context_variables_stay_their_task_s() -> None:
    variable = contextvars.ContextVar("variable", default=0)

    async def sets() -> int:
        variable.set(1)
        await asyncio.sleep(0)
        return variable.get()

    assert await within(10, sets()) == 1
    assert variable.get() == 1, "it is the same task"
