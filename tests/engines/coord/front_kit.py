"""A front on a store in memory, and stores whose answers are lost or counted."""

import asyncio
from contextlib import asynccontextmanager

from bastide.base.rt import runtime
from bastide.engines.coord.contract import CoordAway
from bastide.engines.coord.service.front import opened_front
from bastide.engines.coord.service.local import Local


@asynccontextmanager
async def fronts(*clients, keys=None):
    """One for each client, on one store; and the store."""
    keys = keys or Local()
    opened = [opened_front(keys, client) for client in clients or ("shop",)]
    found = [await one.__aenter__() for one in opened]
    try:
        yield *found, keys
    finally:
        for one in opened:
            await one.__aexit__(None, None, None)
        keys.close()


async def settle():
    """Whatever can be done without time is done."""
    for _ in range(20):
        await asyncio.sleep(0)


def clock():
    return runtime.current().clock


class Counting(Local):
    """Counts what watches are told."""

    def __init__(self):
        super().__init__()
        self.told = 0
        self.watching = 0

    @asynccontextmanager
    async def watch(self, watch):
        async with super().watch(watch) as events:
            self.watching += 1
            try:
                yield self._counted(events)
            finally:
                self.watching -= 1

    async def _counted(self, events):
        async for one in events:
            self.told += len(one.events)
            yield one


class Losing(Local):
    """Loses answers: `losing` says of how many of the next transactions, after they were made;
    `failing` of how many nothing is done; `away`, that nobody answers at all.
    """

    def __init__(self):
        super().__init__()
        self.losing = self.failing = 0
        self.away = False
        self.kept_alive_at = []

    async def txn(self, txn):
        self._refuse()
        if self.failing:
            self.failing -= 1
            raise CoordAway("there is no leader")
        done = await super().txn(txn)
        if self.losing:
            self.losing -= 1
            raise CoordAway("the answer was lost", outcome="unknown")
        return done

    async def range(self, range_):
        self._refuse()
        return await super().range(range_)

    async def keep_alive(self, lease):
        self._refuse()
        self.kept_alive_at.append(runtime.monotonic())
        return await super().keep_alive(lease)

    def _refuse(self):
        if self.away:
            raise CoordAway("nobody answers", outcome="unknown")
