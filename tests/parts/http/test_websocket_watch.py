import asyncio
from itertools import pairwise

import pytest

from bastide.parts.http.websocket.watch import Watch

TICK_S = 0.005


class Looked:
    """Notes when it was looked at."""

    def __init__(self, *answers):
        self.tick = 0
        self.at_s = []
        self.done = asyncio.Event()
        self._answers = list(answers)

    def look(self):
        self.at_s.append(asyncio.get_running_loop().time())
        if not self._answers:
            self.done.set()
            return 0
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def done(*watched):
    async with asyncio.timeout(20):
        for one in watched:
            await one.done.wait()


async def test_nobody_is_looked_at_too_early_and_each_as_often_as_it_asks():
    watch = Watch(tick_s=TICK_S)
    start_s = asyncio.get_running_loop().time()
    often, once = Looked(0.01, 0.02, 0.03), Looked()
    watch.put(often, 0.01)
    watch.put(once, 0.04)
    await done(often, once)
    waits_s = [after - before for before, after in pairwise([start_s, *often.at_s])]
    asked_s = (0.01, 0.01, 0.02, 0.03)
    assert all(waited >= asked for waited, asked in zip(waits_s, asked_s, strict=True))
    assert len(once.at_s) == 1
    assert once.at_s[0] - start_s >= 0.04


async def test_who_is_put_again_or_dropped_is_not_looked_at_when_it_was_due():
    watch = Watch(tick_s=TICK_S)
    moved, dropped, last = Looked(), Looked(), Looked()
    for one in (moved, dropped):
        watch.put(one, 0)
    watch.put(moved, 0.05)
    watch.drop(dropped)
    watch.drop(dropped)
    watch.put(last, 0.03)
    await done(last)
    assert not moved.at_s
    await done(moved)
    assert not dropped.at_s


async def test_a_look_that_fails_leaves_nobody_else_unwatched():
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    watch = Watch(tick_s=TICK_S)
    wrong, right = Looked(ZeroDivisionError()), [Looked() for _ in range(20)]
    for one in (*right[:10], wrong, *right[10:]):
        watch.put(one, 0.01)
    await done(*right)
    assert len(told) == 1


async def test_there_is_no_timer_while_nobody_is_watched():
    loop = asyncio.get_running_loop()
    watch = Watch(tick_s=TICK_S)
    assert not loop._scheduled
    watched = Looked()
    watch.put(watched, 0)
    assert len(loop._scheduled) == 1
    await done(watched)
    await asyncio.sleep(0)
    assert all(timer.cancelled() for timer in loop._scheduled)


@pytest.mark.parametrize("count", [10_000])
async def test_ten_thousand_are_watched_with_one_timer(count):
    watch = Watch(tick_s=TICK_S)
    watched = [Looked() for _ in range(count)]
    for n, one in enumerate(watched):
        watch.put(one, n / count / 10)
    assert len(asyncio.get_running_loop()._scheduled) == 1
    await done(*watched)
