"""An engine with an address of its own, a setting, commands, and doors that take their time."""

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import msgspec
from httpx import AsyncClient

from bastide.base.errors import NotFound, Unavailable
from bastide.base.gate import anyone
from bastide.base.manifest import Address, Bench, Command, Manifest, Use
from bastide.base.routes.rows import Stream, events, route

GRAIN_MAX = 100


class Settings(msgspec.Struct, frozen=True):
    stones: Annotated[int, msgspec.Meta(ge=1, le=8, description="that grind at once")] = 2
    stuck: Annotated[bool, msgspec.Meta(description="whether the wheel is")] = False


class Flour(msgspec.Struct, frozen=True):
    text: str


class Grain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: Annotated[str, msgspec.Meta(max_length=GRAIN_MAX)]


class Mill:
    def __init__(self, stones: int) -> None:
        self.stones = stones

    async def grind(self, grain: str) -> Flour:
        if grain == "stones":
            raise NotFound("this is no grain")
        return Flour(grain.lower())


@asynccontextmanager
async def open_mill(use: Use) -> AsyncIterator[Mill]:
    settings = use.settings(Settings)
    if settings.stuck:
        raise Unavailable("the wheel is stuck")
    yield Mill(settings.stones)


async def grind(mill: Mill, grain: Grain) -> Flour:
    return await mill.grind(grain.text)


async def wait(mill: Mill, seconds: float) -> Flour:
    await asyncio.sleep(seconds)
    return Flour("waited")


async def watch_turns(mill: Mill) -> Stream:
    """The first, and then none that anybody would live to see."""

    async def turns() -> AsyncGenerator[Flour, None]:
        yield Flour("1")
        await asyncio.Event().wait()

    return events(turns())


async def carry_sacks(mill: Mill, count: int) -> Stream:
    async def sacks() -> AsyncGenerator[bytes, None]:
        for number in range(1, count + 1):
            yield b"sack %d\n" % number
            await asyncio.sleep(0.1)

    return Stream(sacks())


async def _grind(client: AsyncClient, arguments: Namespace) -> None:
    reply = await client.post("/grind", json={"text": arguments.grain})
    if reply.status_code == 404:
        raise NotFound(reply.json()["detail"])
    print(reply.json()["text"])


def _declare(parser: ArgumentParser) -> None:
    parser.add_argument("grain")


async def _measure(directory: object, seconds: float) -> dict[str, float]:
    return {"grains_per_s": 1234.5 * seconds}


COMMANDS = (Command("grind", "grain becomes flour", _declare, _grind),)
BENCHES = (Bench("grinding", "how fast", _measure),)
DOORS = (
    route("POST", "/grind", grind, allow=anyone),
    route("GET", "/wait", wait, allow=anyone),
    route("GET", "/turns", watch_turns, allow=anyone),
    route("GET", "/sacks", carry_sacks, allow=anyone),
)
MANIFEST = Manifest(
    name="mill",
    floor="engines",
    summary="Grinds.",
    provides=Mill,
    open=open_mill,
    settings=Settings,
    doors=("neighbours.mill.manifest:DOORS",),
    commands="neighbours.mill.manifest:COMMANDS",
    benches="neighbours.mill.manifest:BENCHES",
    address=Address("http", 8890),
    try_line="curl {http}/wait?seconds=1",
)
