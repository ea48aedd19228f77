"""The console for programs."""

from bastide.apps.console.contract import NoSuchSystem, SystemDetail, SystemState, TownMap
from bastide.apps.console.service.console import Console
from bastide.base.gate import operator
from bastide.base.routes.rows import route


async def list_systems(console: Console) -> list[SystemState]:
    """Every system of the town, from the ground up."""
    return list(await console.systems())


async def read_map(console: Console) -> TownMap:
    """Who stands on whom, and how often each calls the other."""
    return await console.map()


async def read_system(console: Console, name: str) -> SystemDetail:
    """One system: how it is, its settings, its backends, its calls."""
    return await console.detail(name)


ROWS = (
    route("GET", "/api/systems", list_systems, allow=operator),
    route("GET", "/api/map", read_map, allow=operator),
    route("GET", "/api/systems/{name}", read_system, allow=operator, refusals=(NoSuchSystem,)),
)
