"""One task for all coroutines of a connection: the first step is taken at once, in its name."""

import asyncio
import contextvars

from anyio import CancelScope, move_on_after

from bastide.parts.http.server.host import Host


def hosted() -> tuple[Host, asyncio.Event]:
    idle = asyncio.Event()
    return Host(asyncio.get_running_loop(), idle.set), idle


async def test_what_never_waits_ends_within_the_call() -> None:
    host, idle = hosted()
    ran = []

    async def work() -> None:
        ran.append(asyncio.current_task())

    assert host.step(work())
    assert host.step(work())
    assert ran[0] is ran[1]
    assert ran[0] is not asyncio.current_task()
    assert not idle.is_set()
    host.close()


async def test_what_waits_goes_on_in_the_same_task_and_context() -> None:
    host, idle = hosted()
    seen = []
    variable = contextvars.ContextVar("variable", default="unset")

    async def work() -> None:
        variable.set("set")
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())
        seen.append(variable.get())

    assert not host.step(work())
    await idle.wait()
    assert seen[0] is seen[1]
    assert seen[2] == "set"
    assert variable.get() == "unset", "nothing of it leaks to who steps"
    host.close()


async def test_more_work_is_stepped_from_within() -> None:
    done: list[int] = []
    host: Host
    ended = asyncio.Event()

    async def work(number: int) -> None:
        await asyncio.sleep(0)
        done.append(number)

    def idle() -> None:
        if len(done) < 3:
            assert not host.step(work(len(done)))
        else:
            ended.set()

    host = Host(asyncio.get_running_loop(), idle)
    host.step(work(0))
    await ended.wait()
    assert done == [0, 1, 2]
    host.close()


async def test_time_outs_and_cancel_scopes_work_from_the_first_step_on() -> None:
    host, idle = hosted()
    seen = []

    async def work() -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append("asyncio")
        with move_on_after(0.01):
            await asyncio.Event().wait()
        seen.append("anyio")
        with CancelScope() as scope:
            scope.cancel()
            await asyncio.sleep(1)
        seen.append("scope")

    host.step(work())
    await idle.wait()
    assert seen == ["asyncio", "anyio", "scope"]
    host.close()


async def test_a_cancel_right_behind_the_first_step_is_heard_by_the_work() -> None:
    host, _ = hosted()
    heard = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            heard.set()
            raise

    host.step(work())
    host.cancel()
    await heard.wait()


async def test_work_may_take_a_cancel_and_end_well() -> None:
    host, idle = hosted()
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()

    host.step(work())
    await begun.wait()
    await asyncio.sleep(0)
    host.cancel()
    await idle.wait()
    assert host.step(work_at_once())
    host.close()


async def work_at_once() -> None:
    pass


async def test_a_closed_host_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    host, idle = hosted()

    async def work() -> None:
        await asyncio.sleep(0)
        host.close()

    host.step(work())
    await idle.wait()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
