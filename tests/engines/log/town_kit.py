"""A town of the log and of a system that owns topics in it: `owner.*`."""

import asyncio
from contextlib import asynccontextmanager

from bastide.engines.log.contract import Record, Topic
from bastide.town import open_town
from tests.engines.log.kafka_kit import kafka_tools

PATIENCE_S = 20


class Opened:
    """`log` is the owner's view; `view` gives another system's; `node` and `backend` are there for
    a broker of ours.
    """

    def __init__(self, town, tools):
        self.town = town
        self.log = town.served("owner").engine
        self.tools = tools

    @property
    def backend(self):
        return self.town.behind_wire("log")

    @property
    def node(self):
        return self.backend.node

    def view(self, client):
        return self.tools.view(client)


class OurTools:
    """What an operator does to a topic, on a broker of ours."""

    def __init__(self, town):
        self._backend = town.behind_wire("log")
        self._broker = self._backend.node.broker

    def view(self, client):
        return self._backend.view(client)

    async def delete_below(self, topic, number, offset):
        await (await self._broker.partition(topic, number)).delete_below(offset)

    async def grow(self, topic, count):
        await self._broker.change(Topic(topic, partitions=count))

    async def delete(self, topic):
        await self._broker.delete(topic)


class Places:
    """Opens the town at one URL; all but `memory://` find again what they had."""

    def __init__(self, url, data):
        self.url = url
        self.data = data

    @property
    def is_kafka(self):
        return self.url.startswith("kafka:")

    @asynccontextmanager
    async def open(self, runtime=None, **settings):
        found = {f"BASTIDE_LOG_{name.upper()}": str(value) for name, value in settings.items()}
        environ = {"BASTIDE_LOG_URL": self.url, **found}
        async with open_town(["owner"], environ, data=self.data, runtime=runtime) as town:
            if not self.is_kafka:
                yield Opened(town, OurTools(town))
                return
            async with kafka_tools(self.url, partitions=settings.get("partitions", 1)) as tools:
                yield Opened(town, tools)


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
