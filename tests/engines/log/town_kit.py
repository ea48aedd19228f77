"""A town of the log and of a system that owns topics in it: `owner.*`."""

import asyncio
from contextlib import asynccontextmanager

from bastide.engines.log.contract import Record
from bastide.town import open_town

PATIENCE_S = 20


class Opened:
    """`log` is the owner's view; `view` gives another system's."""

    def __init__(self, town):
        self.town = town
        self.log = town.served("owner").engine
        self.backend = town.behind_wire("log")
        self.node = self.backend.node

    def view(self, client):
        return self.backend.view(client)


class Places:
    """Opens the town at one URL; `file://` finds again what it had."""

    def __init__(self, scheme, data):
        self.scheme = scheme
        self.data = data

    @asynccontextmanager
    async def open(self, runtime=None, **settings):
        found = {f"BASTIDE_LOG_{name.upper()}": str(value) for name, value in settings.items()}
        environ = {"BASTIDE_LOG_URL": f"{self.scheme}://", **found}
        async with open_town(["owner"], environ, data=self.data, runtime=runtime) as town:
            yield Opened(town)


def some(count, first=0, key=None):
    return [Record(b"%d" % n, key) for n in range(first, first + count)]


def values(entries):
    return [entry.record.value for entry in entries]


async def read_all(log, topic, partition=0):
    """What is there now, from the first that is kept on."""
    found, offset = [], (await log.ends(topic))[partition].first
    while entries := await log.read(topic, partition, offset):
        found += entries
        offset = entries[-1].offset + 1
    return found


async def polled(member, count, within_s=PATIENCE_S):
    """The next `count` entries of a member."""
    found = []
    async with asyncio.timeout(within_s):
        while len(found) < count:
            found += await member.poll(entries_max=count - len(found), wait_s=0.2)
    return found


async def until_shared(members, counts, within_s=PATIENCE_S):
    """Polls all of them until they have `counts` partitions, each of another's."""
    async with asyncio.timeout(within_s):
        while True:
            await asyncio.gather(*(member.poll(wait_s=0.05) for member in members))
            has = [len(member.partitions) for member in members]
            every = {place for member in members for place in member.partitions}
            if sorted(has) == sorted(counts) and len(every) == sum(counts):
                return


async def until(reached):
    for _ in range(200 * PATIENCE_S):
        if reached():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"not reached within {PATIENCE_S} s")
