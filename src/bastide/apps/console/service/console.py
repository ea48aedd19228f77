"""What the console knows: the town that it stands in, looked at every beat.

A page never waits for a system's health: it shows what the last beat found. Rates and health are
given to the metrics, where the rail of every page reads them.
"""

from collections.abc import Mapping, Sequence

from bastide.apps.console.contract import (
    OUTSIDE,
    BackendInForce,
    NoSuchSystem,
    SystemDetail,
    SystemState,
    TownMap,
)
from bastide.apps.console.core.layout import layout_of
from bastide.apps.console.service.counts import Counts
from bastide.base.html.shell import FLOORS, has_page, shell_line, tell_shell
from bastide.base.levels import level_of
from bastide.base.manifest import Health, Manifest, TownView
from bastide.base.rt.runtime import Runtime


class Console:
    def __init__(self, town: TownView, runtime: Runtime) -> None:
        self.town = town
        self.counts = Counts(runtime.metrics, [m.name for m in town.manifests])
        self._runtime = runtime
        self._health: Mapping[str, Health] = {}
        self.layout = layout_of(
            [
                {m.name: town.needs_of(m.name) for m in town.manifests if m.floor == floor}
                for floor in FLOORS
            ],
            outside=OUTSIDE,
            doors={m.name for m in town.manifests if m.doors},
        )
        for manifest in town.manifests:
            self._publish(manifest.name)

    async def beat(self) -> None:
        """Look at every counter, and ask every system how it is."""
        self.counts.look(self._runtime.clock.monotonic())
        self._health = await self.town.health()

    async def systems(self) -> Sequence[SystemState]:
        """Every system, from the ground up, as the last beat found it."""
        if not self._health:
            await self.beat()
        return [self._state(manifest) for manifest in self.town.manifests]

    async def map(self) -> TownMap:
        """The systems and the calls between them, as the last beat found them."""
        states = await self.systems()
        edges = [self.counts.edge(line.client, line.system) for line in self.layout.lines]
        return TownMap(self.counts.beats, states, edges)

    async def read(self, name: str) -> SystemState:
        """
        Raises:
            NoSuchSystem: the town runs none of that name.
        """
        self.manifest(name)
        return next(state for state in await self.systems() if state.name == name)

    async def detail(self, name: str) -> SystemDetail:
        """
        Raises:
            NoSuchSystem: the town runs none of that name.
        """
        return SystemDetail(
            state=await self.read(name),
            settings=self.town.settings_of(name),
            backends=self.backends(name),
            calls=self.counts.calls_of(name),
            made=self.counts.calls_by(name),
            doors=self.counts.doors(name),
            figures=self.counts.figures(name),
        )

    def manifest(self, name: str) -> Manifest:
        """
        Raises:
            NoSuchSystem: the town runs none of that name.
        """
        found = next((m for m in self.town.manifests if m.name == name), None)
        if found is None:
            raise NoSuchSystem(name)
        return found

    def backends(self, name: str) -> Sequence[BackendInForce]:
        """Where the calls of `name`'s clients end, if it is an engine, and where its own do."""
        pairs = [
            (engine, client.name)
            for client in self.town.manifests
            for engine in self.town.needs_of(client.name)
            if name in (engine, client.name) and self.manifest(engine).backends
        ]
        return [
            BackendInForce(engine, client, self.town.backend_of(engine, client))
            for engine, client in pairs
        ]

    def _state(self, manifest: Manifest) -> SystemState:
        name, health = manifest.name, self._health[manifest.name]
        address = self.town.address_of(name) if manifest.doors else ""
        return SystemState(
            name=name,
            floor=manifest.floor,
            summary=manifest.summary,
            level=level_of(name),
            address=address,
            has_page=has_page(manifest),
            ok=health.ok,
            error=health.error,
            stands_on=self.town.needs_of(name),
            carries=[m.name for m in self.town.manifests if name in self.town.needs_of(m.name)],
            calls_per_s=self.counts.per_s(name),
            try_line=shell_line(manifest, http=address, wire=self.town.wire_of(manifest.name)),
        )

    def _publish(self, name: str) -> None:
        def ok() -> float:
            health = self._health.get(name)
            return 1.0 if health is None or health.ok else 0.0

        def per_s() -> float:
            return self.counts.per_s(name)

        tell_shell(self._runtime.metrics, name, per_s=per_s, ok=ok)
