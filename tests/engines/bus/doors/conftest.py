"""A town with a stall on its bus, and the doors of both."""

import asyncio
import secrets
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest

from bastide.engines.bus.core.envelopes import HEADERS, packed, sealed
from bastide.engines.bus.core.letters import DeadLettered, dead_topic_of
from bastide.engines.bus.service.hub import Hub
from bastide.engines.log.contract import Record, Topic, TopicExists
from bastide.engines.log.service.log import View
from bastide.systems import SYSTEMS
from bastide.testing.town import raised

ENGINES = tuple(name for name in SYSTEMS if ".engines." in name)
STREET = (*ENGINES, "tests.engines.bus.doors.stall", "tests.engines.bus.street.kiosk")
ONE_TRY = {"BASTIDE_BUS_TRIES": "1"}


async def until(ask):
    """Returns when `await ask()` is true, and gives what it was."""
    async with asyncio.timeout(20):
        while not (found := await ask()):  # noqa: ASYNC110 (what is asked has no bell)
            await asyncio.sleep(0.005)
    return found


class DoorsOfBus:
    """`client` is the operator's; `log` is what the stall itself was given."""

    def __init__(self, town, client):
        self.town = town
        self.client = client
        self.stall = town.served("stall")
        self.hub: Hub = town.town.behind_wire("bus")
        self.log = View(town.town.behind_wire("log").node, "stall")

    async def until_dead(self, count):
        """The dead letters of the stall, the newest first, when there are `count` of them."""

        async def ask():
            found = (await self.hub.shelf("stall", limit=100)).items
            return found if len(found) >= count else None

        return await until(ask)

    async def until_sold(self, count):
        async def ask():
            found = await self.stall.lines()
            return found if len(found) >= count else None

        return await until(ask)

    async def lay(self, count, value="{}", *, base64=False):
        """Dead letters as a relay would bring them."""
        topic, source = dead_topic_of("stall").name, secrets.token_hex(4)
        letters = [
            DeadLettered("stall.sales", 0, n, "books", f"k{n}", value, base64, "no <good>", 0, n)
            for n in range(count)
        ]
        values = [
            sealed(topic, source, n, packed("dead.v1", n, msgspec.json.encode(letter)))
            for n, letter in enumerate(letters)
        ]
        with suppress(TopicExists):
            await self.log.create(Topic(topic))
        await self.log.append(topic, [Record(one, b"k", HEADERS) for one in values])


@pytest.fixture(autouse=True)
def _street(monkeypatch):
    monkeypatch.setattr("bastide.town.SYSTEMS", STREET)


@asynccontextmanager
async def doors_of_bus(*systems, environ=None):
    async with raised("stall", *systems, environ={**ONE_TRY, **(environ or {})}) as town:
        yield DoorsOfBus(town, await town.client("bus"))


@pytest.fixture
async def doors():
    async with doors_of_bus() as found:
        yield found
