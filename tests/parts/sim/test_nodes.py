"""What a node's death, pause and clocks do to what runs on it and to those who wait for it."""

import asyncio
from pathlib import Path

import pytest

from bastide.base import faults
from bastide.base.rt import runtime
from bastide.parts.sim.contract import NODES_MAX, NodeDied
from bastide.parts.sim.disk.disk import DiskGone
from tests.parts.sim.sim_kit import ask_echo, echoing, outcome_of, simulated, until

PLACE = Path("/a")


async def write_and_wait(path=PLACE, *, syncs=True):
    file = runtime.current().disk.open(path, create=True)
    file.write([b"kept"], at=0)
    if syncs:
        await file.sync()
        await runtime.current().disk.sync_directory(path.parent)
    await asyncio.Event().wait()


@pytest.mark.parametrize("end", ["kill", "crash"])
def test_the_finally_of_a_dead_node_changes_nothing(end):
    async def work(world):
        server, node, seen = echoing(world), world.node("dead"), []

        async def main():
            disk = runtime.current().disk
            file = disk.open(PLACE, create=True)
            file.write([b"alive"], at=0)
            await file.sync()
            await disk.sync_directory(PLACE.parent)
            _, writer = await asyncio.open_connection(server.ip, 7)
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("finally")  # by the time that the world ends, and no earlier
                writer.write(b"from the dead\n")
                with pytest.raises(DiskGone):
                    file.write([b"dead!"], at=0)

        node.start(main)
        await asyncio.sleep(1)
        getattr(node, end)()
        await asyncio.sleep(100)
        assert seen == []
        assert bytes(node.disk.open(PLACE).read(9, at=0)) == b"alive"

    simulated(work)


def test_a_kill_keeps_the_page_cache_and_a_crash_what_was_synced():
    lost = 0

    async def work(world):
        nonlocal lost
        killed, crashed = world.node("killed"), world.node("crashed")
        for node in (killed, crashed):
            node.start(lambda: write_and_wait(syncs=False))
        await asyncio.sleep(1)
        killed.kill()
        crashed.crash()
        assert killed.disk.exists(PLACE)
        lost += not crashed.disk.exists(PLACE)

    for seed in range(10):
        simulated(work, seed)
    assert lost > 0


def test_a_node_starts_again_on_its_disk():
    async def work(world):
        node, found = world.node("a"), []

        async def main():
            found.append(runtime.current().disk.exists(PLACE))
            if not found[-1]:
                await write_and_wait()

        node.start(main)
        await asyncio.sleep(1)
        node.crash()
        assert not node.alive
        node.restart()
        await asyncio.sleep(1)
        assert found == [False, True]
        assert node.starts == 2

    simulated(work)


def test_a_node_crashes_at_any_turn():
    steps_seen = set()

    async def work(world):
        node, steps = world.node("a"), []

        async def main():
            for number in range(20):
                steps.append(number)
                await asyncio.sleep(0)
            await asyncio.Event().wait()

        node.start(main)
        node.crash_after(world.draws.tape("when").integer("turns", 0, 19))
        await asyncio.sleep(1)
        assert not node.alive
        steps_seen.add(len(steps))

    for seed in range(60):
        simulated(work, seed)
    assert len(steps_seen) > 10


def test_a_fault_point_may_crash_the_node_where_it_stands():
    async def work(world):
        node, passed = world.node("a"), []

        async def main():
            try:
                faults.point("mill.before_grinding")
                passed.append("point")
            finally:
                await write_and_wait()

        node.arm("mill.before_grinding", node.die_here)
        node.start(main)
        await asyncio.sleep(1)
        assert not node.alive
        assert passed == []
        assert not node.disk.exists(PLACE)
        assert world.reached["mill.before_grinding"] == 1
        node.restart()
        await asyncio.sleep(1)
        assert passed == ["point"]

    simulated(work)


def test_who_is_called_on_a_node_that_dies_hears_of_it():
    async def work(world):
        node = world.node("a")
        waiting = node.call(asyncio.sleep, 100)
        await asyncio.sleep(1)
        node.kill()
        with pytest.raises(NodeDied):
            await waiting
        assert world.now_s < 2
        node = echoing(world)
        node.kill()
        with pytest.raises(NodeDied):
            await node.call(asyncio.sleep, 1)

    simulated(work)


def test_a_call_that_is_cancelled_ends_on_its_node_too():
    async def work(world):
        ended = []

        async def wait():
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(world.loop.process.name)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await world.node("a").call(wait)
        await asyncio.sleep(1)
        assert ended == ["a"]

    simulated(work)


def test_a_main_that_asserts_fails_the_run_and_one_that_raises_ends_its_process():
    async def main(error):
        await asyncio.sleep(1)
        raise error

    async def work(world, error):
        node = world.node("a")
        node.start(lambda: main(error), again_s=0.5)
        await asyncio.sleep(10)
        assert node.starts > 5
        assert isinstance(node.exit, OSError) or node.alive

    assert outcome_of(lambda world: work(world, OSError(28, "full"))).error is None
    failed = outcome_of(lambda world: work(world, ExceptionGroup("both", [AssertionError("no")])))
    assert isinstance(failed.error, ExceptionGroup)


def test_a_program_that_ended_does_not_begin_anew_while_there_is_no_power():
    async def work(world):
        node = world.node("a")

        async def main():
            raise OSError(28, "full")

        node.start(main, again_s=5)
        await asyncio.sleep(1)
        assert not node.alive
        node.crash()
        await asyncio.sleep(100)
        assert node.starts == 1

    simulated(work)


def test_a_paused_node_does_nothing_and_sees_its_clock_jump():
    async def work(world):
        node, beats = world.node("a"), []

        async def main():
            while True:
                beats.append(runtime.monotonic())
                await asyncio.sleep(1)

        node.start(main)
        await asyncio.sleep(5.5)
        node.pause()
        assert node.paused
        await asyncio.sleep(100)
        assert len(beats) == 6
        node.resume()
        await asyncio.sleep(0.5)
        assert len(beats) == 7
        assert beats[-1] - beats[-2] == pytest.approx(100.5, abs=0.1)

    simulated(work)


def test_a_paused_node_is_connected_to_and_answers_when_it_goes_on():
    async def work(world):
        node = echoing(world)
        await asyncio.sleep(1)
        node.pause()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(20):
                await world.outside.call(ask_echo, "server")
        waiting = world.outside.call(ask_echo, "server")
        await asyncio.sleep(5)
        node.resume()
        assert await waiting == b"hello\n"

    simulated(work)


def test_a_node_whose_clock_runs_fast_is_early_and_its_timers_with_it():
    async def work(world):
        fast, woken = world.node("fast"), []

        async def main():
            while True:
                await asyncio.sleep(10)
                woken.append(world.now_s)

        fast.start(main)
        await asyncio.sleep(5)
        fast.drift(2.0)  # in the middle of the first wait
        await asyncio.sleep(25)
        assert woken == pytest.approx([7.5, 12.5, 17.5, 22.5, 27.5], abs=0.01)
        assert fast.clock.monotonic() - world.outside.clock.monotonic() == pytest.approx(
            25, abs=0.1
        )

    simulated(work)


def test_a_wall_clock_that_is_set_leaves_the_monotonic_one():
    async def work(world):
        node = world.node("a")

        async def both():
            return runtime.now_ms(), runtime.monotonic()

        wall_ms, monotonic_s = await node.call(both)
        node.clock.jump(-3_600)
        later_ms, later_s = await node.call(both)
        assert later_ms - wall_ms == pytest.approx(-3_600_000, abs=2)
        assert later_s == pytest.approx(monotonic_s, abs=0.01)

    simulated(work)


def test_healing_starts_the_dead_and_lets_the_paused_go_on():
    async def work(world):
        dead, paused = echoing(world, "dead"), echoing(world, "paused")
        await asyncio.sleep(1)
        dead.crash()
        paused.pause()
        world.net.isolate("paused")
        world.heal()
        await until(lambda: dead.alive)
        for name in ("dead", "paused"):
            assert await world.outside.call(ask_echo, name) == b"hello\n"

    simulated(work)


@pytest.mark.limit("sim.NODES_MAX")
def test_a_world_has_so_many_nodes_and_not_one_more():
    async def work(world):
        for number in range(NODES_MAX - 1):  # and the one outside
            world.node(f"n{number}")
        with pytest.raises(AssertionError, match="at most"):
            world.node("one more")

    simulated(work)
