"""Time, turns and tasks of the simulated loop."""

import asyncio
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from bastide.parts.sim import loop as loop_module
from bastide.parts.sim.contract import SIMULATED_S_MAX, Deadlock, RealEffect, Runaway
from tests.parts.sim.sim_kit import ask_echo, echoing, outcome_of, same_twice, simulated


def test_a_day_passes_at_once():
    async def work(world):
        await asyncio.sleep(86_400)
        assert world.now_s == pytest.approx(86_400)

    assert simulated(work).cpu_s < 5


def test_asyncios_own_tools_work():
    async def work(world):
        loop, queue = asyncio.get_running_loop(), asyncio.Queue(2)

        async def give():
            for number in range(10):
                await queue.put(number)

        async with asyncio.TaskGroup() as group:
            group.create_task(give())
            taken = group.create_task(asyncio.wait_for(take_ten(queue), 5))
        assert taken.result() == list(range(10))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await asyncio.Event().wait()
        with ThreadPoolExecutor(1) as threads:
            assert await loop.run_in_executor(threads, sum, (1, 2)) == 3
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        done, waiting = await asyncio.wait(
            [loop.create_task(asyncio.sleep(1)), loop.create_task(asyncio.sleep(9))],
            return_when=asyncio.FIRST_COMPLETED,
        )
        assert (len(done), len(waiting)) == (1, 1)
        assert 4 < world.now_s < 4.1

    simulated(work)


async def take_ten(queue):
    return [await queue.get() for _ in range(10)]


def test_an_executor_with_one_thread_keeps_the_order_and_one_with_more_does_not():
    async def work(world):
        for count in (1, 4):
            ran, loop = [], asyncio.get_running_loop()
            with ThreadPoolExecutor(count) as threads:
                calls = [loop.run_in_executor(threads, ran.append, n) for n in range(50)]
                await asyncio.gather(*calls)
            assert (ran == list(range(50))) == (count == 1)

    simulated(work)


def test_callbacks_of_a_node_run_in_their_order_and_those_of_two_nodes_in_any():
    orders = set()

    async def work(world):
        ran = []

        async def call_three(name):
            for number in range(3):
                asyncio.get_running_loop().call_soon(ran.append, (name, number))

        both = [world.node(name).call(call_three, name) for name in "ab"]
        await asyncio.gather(*both)
        await asyncio.sleep(1)
        for name in "ab":
            assert [number for one, number in ran if one == name] == [0, 1, 2]
        orders.add(tuple(name for name, _ in ran))

    for seed in range(30):
        simulated(work, seed)
    assert len(orders) > 3


def test_who_turns_in_circles_sees_time_pass():
    async def work(world):
        while world.now_s < 0.01:  # noqa: ASYNC110 (it is what is tested)
            await asyncio.sleep(0)

    simulated(work)


def test_waiting_for_nothing_is_told():
    async def work(_):
        await asyncio.Event().wait()

    error = outcome_of(work).error
    assert isinstance(error, Deadlock)
    assert "1 wait: " in str(error)


def test_a_run_that_never_ends_is_told():
    async def work(_):
        while True:  # noqa: ASYNC110 (it is what is tested)
            await asyncio.sleep(0)

    assert outcome_of(work, turns_max=1_000).turns == 1_000
    assert isinstance(outcome_of(work, turns_max=1_000).error, Runaway)


@pytest.mark.limit("sim.SIMULATED_S_MAX")
def test_a_run_that_takes_longer_than_it_may_is_told():
    async def work(_):
        await asyncio.sleep(SIMULATED_S_MAX - 1)

    async def longer(world):
        await work(world)
        await asyncio.sleep(1.001)

    assert outcome_of(work).error is None
    assert isinstance(outcome_of(longer).error, Runaway)


def test_what_is_asserted_in_a_callback_that_nobody_awaits_fails_the_run():
    async def work(_):
        def check():
            raise AssertionError("no")

        asyncio.get_running_loop().call_later(1, check)
        await asyncio.sleep(5)

    outcome = outcome_of(work)
    assert str(outcome.error) == "no"
    assert outcome.simulated_s < 2


def test_an_error_that_nobody_takes_is_in_the_trace():
    async def work(_):
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)

    told = []
    assert outcome_of(work, tell=lambda *event: told.append(event)).error is None
    assert any("untaken error" in what and "ZeroDivisionError" in what for _, _, what in told)


def test_what_is_logged_is_in_the_trace_and_not_on_the_screen(capfd):
    async def work(_):
        logging.getLogger("mill").error("no water")

    told = []
    simulated(work, tell=lambda *event: told.append(event))
    assert any("no water" in what for _, _, what in told)
    assert capfd.readouterr() == ("", "")


def test_many_cancelled_timers_are_taken_out(monkeypatch):
    monkeypatch.setattr(loop_module, "CANCELLED_MAX", 10)

    async def work(world):
        for _ in range(100):
            asyncio.get_running_loop().call_later(1_000, print).cancel()
        assert len(world.loop._planned) < 30

    simulated(work)


EFFECTS = {
    "a file written": lambda: Path("/tmp/x").write_text("x"),
    "a file read": lambda: Path("/etc/hostname").read_text(),
    "a directory made": lambda: os.mkdir("/tmp/x-simulated"),
    "a directory listed": lambda: os.listdir("/etc"),
    "a socket": lambda: __import__("socket").create_connection(("127.0.0.1", 1)),
    "a name looked up": lambda: __import__("socket").getaddrinfo("localhost", 1),
    "a sleep": lambda: __import__("time").sleep(0.001),
    "a process": lambda: subprocess.run(["true"]),
    "a thread": lambda: __import__("threading").Thread(target=print).start(),
}


@pytest.mark.parametrize("what", EFFECTS)
def test_a_real_effect_is_refused_and_fails_the_run_though_its_caller_takes_the_error(what):
    async def work(_):
        with suppress(Exception):
            EFFECTS[what]()
        await asyncio.sleep(1)

    error = outcome_of(work).error
    assert isinstance(error, RealEffect)
    assert not Path("/tmp/x-simulated").exists()


def test_code_may_be_imported_and_what_lies_beside_it_read():
    async def work(_):
        __import__("wave")
        assert "sleep" in Path(asyncio.tasks.__file__).read_text()  # noqa: ASYNC240 (it is tested)

    simulated(work)


def test_between_runs_the_guard_does_nothing(tmp_path):
    async def work(_):
        pass

    simulated(work)
    (tmp_path / "a").write_text("a")


def test_a_seed_run_twice_is_the_same_and_another_is_not():
    async def work(world):
        echoing(world)
        await asyncio.gather(*(world.node(f"c{n}").call(ask_echo, "server") for n in range(5)))

    assert same_twice(work, 1).digest != same_twice(work, 2).digest


def test_a_seed_is_the_same_in_another_process():
    code = (
        "from bastide.parts.sim.sim import SIMULATIONS\n"
        "from bastide.parts.sim.simulation import run\n"
        "print([run(SIMULATIONS[0], seed).digest for seed in range(3)])"
    )

    def printed(padding):
        environ = {**os.environ, "PYTHONHASHSEED": "0", "PADDING": "x" * padding}
        call = [sys.executable, "-c", f"a = 'x' * {padding}\n{code}"]
        return subprocess.run(call, env=environ, check=True, capture_output=True).stdout

    assert printed(10) == printed(50_000)


def test_libraries_get_the_time_and_the_chance_of_the_simulation():
    async def work(world):
        import random
        import time
        import uuid

        began_s = time.monotonic()
        await asyncio.sleep(100)
        assert time.monotonic() - began_s == pytest.approx(100)
        assert time.time() == pytest.approx(world.outside.clock.now_ms() / 1000)
        world.note(f"{random.random()} {uuid.uuid4()} {os.urandom(8).hex()}")

    same_twice(work)
