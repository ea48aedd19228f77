"""Doors without a town, and an event loop whose time passes only when nothing else can happen."""

import asyncio
import selectors
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from types import ModuleType

import pytest
from httpx import ASGITransport, AsyncClient

from bastide.base.manifest import Manifest
from bastide.base.metrics import Registry
from bastide.base.routes.binding import Endpoint
from bastide.base.routes.http import Http, Site
from bastide.base.routes.rows import Row
from bastide.base.rt.runtime import Runtime, run_on
from bastide.parts.http.asgi import Asgi


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., AsyncClient]]:
    """`serve(*rows, served=...)`: a client of these doors, from 127.0.0.1 unless told otherwise."""
    async with AsyncExitStack() as stack:
        clients = []

        def serve(
            *rows: Row, served: object = None, client: str = "127.0.0.1", **options
        ) -> AsyncClient:
            site = Site()
            site.mount("", [Endpoint("mill", row, served, {}) for row in rows], Registry())
            http = Http(site, {}, **options)
            transport = ASGITransport(
                Asgi(http), raise_app_exceptions=False, client=(client, 50_000)
            )
            clients.append(AsyncClient(transport=transport, base_url="http://localhost:8800"))
            stack.push_async_callback(clients[-1].aclose)
            return clients[-1]

        yield serve


class _VirtualSelector(selectors.DefaultSelector):
    """Never waits: where it would have, the loop's clock is put forward instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None):
        ready = super().select(0)
        if not ready and timeout:
            self.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now_s


class _LoopClock:
    def now_ms(self) -> int:
        return round(self.monotonic() * 1000)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


@pytest.fixture
def virtual() -> Callable[..., object]:
    """`virtual(main)` runs the coroutine function at once, however long it sleeps."""

    def run(main: Callable[[], object], runtime: Runtime | None = None) -> object:
        async def on_runtime():
            run_on(runtime or Runtime(clock=_LoopClock()))
            return await main()

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(on_runtime())

    return run


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """`listed(*manifests)` makes them THE LIST."""

    def listed(*manifests: Manifest) -> None:
        for manifest in manifests:
            module = ModuleType(f"listed_{manifest.name}.manifest")
            module.MANIFEST = manifest
            monkeypatch.setitem(sys.modules, module.__name__, module)
            monkeypatch.setitem(
                sys.modules, f"listed_{manifest.name}", ModuleType(f"listed_{manifest.name}")
            )
        names: Sequence[str] = [f"listed_{manifest.name}" for manifest in manifests]
        monkeypatch.setattr("bastide.town.SYSTEMS", tuple(names))

    return listed
