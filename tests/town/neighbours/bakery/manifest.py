"""An app that stands on the mill."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bastide.base.gate import anyone
from bastide.base.manifest import Manifest, Use
from bastide.base.routes.rows import route
from neighbours.mill.manifest import Flour, Mill


class Bakery:
    def __init__(self, mill: Mill) -> None:
        self.mill = mill


@asynccontextmanager
async def open_bakery(use: Use) -> AsyncIterator[Bakery]:
    yield Bakery(use(Mill))


async def bake(bakery: Bakery, grain: str) -> Flour:
    return await bakery.mill.grind(grain)


DOORS = (route("GET", "/bread", bake, allow=anyone),)
MANIFEST = Manifest(
    name="bakery",
    floor="apps",
    summary="Bakes.",
    provides=Bakery,
    open=open_bakery,
    needs=(Mill,),
    doors=("neighbours.bakery.manifest:DOORS",),
)
