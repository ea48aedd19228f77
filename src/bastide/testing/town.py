"""A town in this process: memory backends, a clock that moves when told, doors without a network.

async with raised("shortener") as town:
    client = await town.client("shortener")
    await client.post("/api/shorten", json={"original_url": "https://a.example"})
    town.clock.advance(5)
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from httpx import ASGITransport, AsyncClient

from bastide.app import make_http
from bastide.base.rt.clock import ManualClock
from bastide.base.rt.runtime import Chance, Runtime
from bastide.parts.http.asgi import Asgi
from bastide.town import Town, all_manifests, open_town


class RaisedTown:
    """What a test holds. `client(system)` speaks to that system's doors as from this machine."""

    def __init__(self, town: Town, clock: ManualClock, clients: AsyncExitStack) -> None:
        self.town = town
        self.clock = clock
        self._clients = clients
        self._http = Asgi(make_http(town, {}))

    def served(self, system: str) -> Any:
        return self.town.served(system)

    async def client(self, system: str = "", *, address: str = "127.0.0.1") -> AsyncClient:
        """For `system`'s paths; for the main address's without one. Requests come from
        `address`.
        """
        transport = ASGITransport(self._http, raise_app_exceptions=False, client=(address, 50_000))
        base = self.town.address_of(system) if system else self.town.addresses[""]
        client = AsyncClient(transport=transport, base_url=base, follow_redirects=False)
        return await self._clients.enter_async_context(client)


def memory_urls() -> Mapping[str, str]:
    """The setting of every engine's memory backend."""
    engines = [m for m in all_manifests() if "memory" in m.backends]
    return {f"BASTIDE_{m.name.upper()}_URL": "memory://" for m in engines}


@asynccontextmanager
async def raised(
    *names: str,
    environ: Mapping[str, str] | None = None,
    data: Path | None = None,
    seed: int | None = None,
) -> AsyncIterator[RaisedTown]:
    """The systems `names` and what they stand on. `environ` wins over the memory backends."""
    clock = ManualClock()
    runtime = Runtime(clock=clock, chance=Chance(seed))
    settings = {**memory_urls(), **(environ or {})}
    async with AsyncExitStack() as clients:
        town = await clients.enter_async_context(
            open_town(names, settings, runtime=runtime, data=data)
        )
        yield RaisedTown(town, clock, clients)
