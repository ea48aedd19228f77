"""Opens the systems of the list, from the ground up, and closes them in reverse.

open_town ── for each manifest, in order
               grants: for each of its needs, what was opened for that contract, counted for it;
                       of an engine with backends, a view on the backend that this client's URL
                       names; of one with a hub, a view that stands on this client's own views
               open:   manifest.open(use), then its workers, then what it hears of the bus
"""

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from bastide.base import settings
from bastide.base.errors import Invalid, Refusal, Unavailable
from bastide.base.events import Consume
from bastide.base.manifest import (
    Backend,
    Health,
    Manifest,
    Miswired,
    Use,
    backend_variables,
    load,
)
from bastide.base.metrics import counted
from bastide.base.rt.runtime import Runtime, run_on
from bastide.base.settings import PREFIX, BackendUrl, Setting, parse_url, prefix_of
from bastide.base.work import Task
from bastide.engines.bus.contract import Bus
from bastide.parts.http.contract import HTTP_PREFIX, HttpSettings
from bastide.systems import SYSTEMS

HEALTH_S = 2.0
SECRET_WORDS = ("key", "secret", "password", "token")
TEST_PREFIX = f"{PREFIX}TEST_"  # belongs to the tests, and is no setting


class Settings(msgspec.Struct, frozen=True):
    """The town's own settings."""

    data: Annotated[str, msgspec.Meta(description="directory that holds all that is kept")] = (
        "bastide-data"
    )
    http: Annotated[str, msgspec.Meta(description="main address; port 0 picks a free one")] = (
        "127.0.0.1:8800"
    )
    trusted_proxies: Annotated[
        str,
        msgspec.Meta(
            description="networks of proxies, by commas: X-Forwarded-For is believed from them"
            " alone, and nobody who comes through them is the operator"
        ),
    ] = ""


class Opened(msgspec.Struct, frozen=True):
    """One opening of a system: for itself, or an engine's view for a client."""

    manifest: Manifest
    client: Manifest
    served: Any
    use: Use


class Town:
    """The opened systems. It is the TownView that the console shows."""

    def __init__(
        self, only: Collection[str], environ: Mapping[str, str], data: Path, runtime: Runtime
    ) -> None:
        self.manifests: Sequence[Manifest] = [_as_open(m, environ) for m in manifests(only)]
        self.runtime = runtime
        self.data = data
        self.opened: list[Opened] = []
        self.addresses: dict[str, str] = {}
        self.wires: dict[str, str] = {}  # host:port of the wire doors
        self.environ = environ
        self._providers = {m.provides: m for m in self.manifests}
        self._shared: dict[type, object] = {}
        self._views: dict[tuple[str, str], object] = {}  # by engine and client
        self._backends: dict[tuple[str, str], object] = {}
        self._hubs: dict[str, object] = {}
        self._serving: list[Opened] = []  # backends that strangers speak to
        self._stack = AsyncExitStack()

    def served(self, system: str) -> Any:
        """What the system's workers and tests are bound to."""
        return next(o.served for o in self.opened if o.manifest.name == system)

    def address_of(self, system: str) -> str:
        return self.addresses.get(system) or f"{self.addresses['']}/{system}"

    def wire_of(self, system: str) -> str:
        return self.wires.get(system, "")

    def needs_of(self, system: str) -> Sequence[str]:
        manifest = next(m for m in self.manifests if m.name == system)
        return [self._providers[need].name for need in manifest.needs]

    def settings_of(self, system: str) -> Sequence[Setting]:
        """`system` "" is the town itself."""
        return [self._in_force(s) for s in all_settings()[system]]

    def backend_of(self, system: str, client: str) -> str:
        by_name = {m.name: m for m in self.manifests}
        return self._url(by_name[system], by_name[client]).safe

    async def health(self) -> Mapping[str, Health]:
        opened = [*self._serving, *self.opened]
        answers = await asyncio.gather(*(_health(o) for o in opened))
        found: dict[str, Health] = {m.name: Health(ok=True) for m in self.manifests}
        for one, health in zip(opened, answers, strict=True):
            found[one.manifest.name] = _worse(found[one.manifest.name], health)
        return found

    async def open(self) -> None:
        for manifest in self.manifests:
            if manifest.hub:
                await self._open_hub(manifest)
            elif not manifest.backends:
                served = await self._open(manifest, client=manifest, backend=None)
                self._shared[manifest.provides] = served
            elif serves_wire(manifest, self.environ):
                await self._backend(manifest, self._url(manifest, manifest))

    def behind_wire(self, system: str) -> object:
        """What the system's doors are bound to, and its wire door speaks for."""
        manifest = next(m for m in self.manifests if m.name == system)
        if manifest.hub:
            return self._hubs[system]
        if not manifest.backends:
            return self.served(system)
        return self._backends[system, self._url(manifest, manifest).text]

    async def close(self) -> None:
        await self._stack.aclose()

    async def _open(self, manifest: Manifest, *, client: Manifest, backend: object) -> Any:
        granted = {need: await self._grant(need, manifest, client) for need in manifest.needs}
        use = self._use(manifest, client=client, granted=granted, backend=backend)
        served = await self._stack.enter_async_context(manifest.open(use))
        self._stack.push_async_callback(use.crew.stop)
        self.opened.append(Opened(manifest, client, served, use))
        for dotted in manifest.workers:
            _employ(dotted, served, use)
        for row in manifest.consumes:
            _subscribe(row, served, use)
        return served

    async def _grant(self, need: type, asking: Manifest, client: Manifest) -> object:
        """What `asking` gets, which is being opened for `client`: mostly for itself."""
        engine = self._providers.get(need)
        if engine is None or self.manifests.index(engine) >= self.manifests.index(asking):
            wanted = f"{asking.name} needs {need.__name__}"
            raise Miswired(f"{wanted}, which no system above it in systems.py provides")
        is_viewed = engine.backends or engine.hub
        served = await self._view(engine, client) if is_viewed else self._shared[need]
        return counted(
            need,
            served,
            system=engine.name,
            client=asking.name,
            registry=self.runtime.metrics,
            monotonic=self.runtime.clock.monotonic,
        )

    async def _view(self, engine: Manifest, client: Manifest) -> object:
        """What a client has of an engine, once, whoever asks for it."""
        key = (engine.name, client.name)
        if key not in self._views:
            if engine.hub:
                shared = self._hubs[engine.name]
            else:
                shared = await self._backend(engine, self._url(engine, client))
            self._views[key] = await self._open(engine, client=client, backend=shared)
        return self._views[key]

    async def _open_hub(self, engine: Manifest) -> None:
        use = self._use(engine, client=engine, granted={}, backend=None)
        self._hubs[engine.name] = await self._stack.enter_async_context(load(engine.hub)(use))
        self._stack.push_async_callback(use.crew.stop)

    async def _backend(self, engine: Manifest, url: BackendUrl) -> object:
        """One for each distinct URL of an engine."""
        key = (engine.name, url.text)
        if key not in self._backends:
            row = engine.backends[url.scheme]
            use = self._use(engine, client=engine, granted={}, backend=None)
            opener = _opener(url, row)
            made = await self._stack.enter_async_context(opener(url, use))
            self._stack.push_async_callback(use.crew.stop)
            self._backends[key] = made
            if row.serves:
                self._serving.append(Opened(engine, engine, made, use))
        return self._backends[key]

    def _url(self, engine: Manifest, client: Manifest) -> BackendUrl:
        return backend_url(engine, client, self.environ)

    def _use(
        self, manifest: Manifest, *, client: Manifest, granted: Mapping[type, object], backend: Any
    ) -> Use:
        return Use(
            manifest,
            client=client,
            granted=granted,
            environ=self.environ,
            data=self.data,
            runtime=self.runtime,
            town=self,
            backend=backend,
        )

    def _in_force(self, setting: Setting) -> Setting:
        value = self._chosen(setting) or self.environ.get(setting.variable, setting.default)
        if "://" in value:
            value = parse_url(value).safe
        if any(word in setting.variable.lower().split("_") for word in SECRET_WORDS):
            value = "hidden" if value else ""
        return msgspec.structs.replace(setting, value=value)

    def _chosen(self, setting: Setting) -> str:
        """Where a system really answers: its port may be another than the one that is set."""
        if setting.variable == f"{PREFIX}HTTP":
            return urlsplit(self.addresses[""]).netloc
        for manifest in self.manifests:
            if manifest.address and setting.variable == address_variable(manifest):
                at = urlsplit(self.addresses.get(manifest.name, "")).netloc
                return self.wires.get(manifest.name, at)
        return ""


def all_manifests() -> Sequence[Manifest]:
    found: list[Manifest] = [import_module(f"{name}.manifest").MANIFEST for name in SYSTEMS]
    return found


def manifests(only: Collection[str] = ()) -> Sequence[Manifest]:
    """Those named in `only` and what they need, in the order of the list; all, if none is named.

    Raises:
        Invalid: there is no system of that name.
    """
    everything = all_manifests()
    if unknown := set(only) - {m.name for m in everything}:
        raise Invalid(
            f"there is no system {', '.join(sorted(unknown))}; "
            f"there are {', '.join(m.name for m in everything)}"
        )
    wanted, needed = set(only or (m.name for m in everything)), set[type]()
    for manifest in reversed(everything):
        if manifest.name in wanted or manifest.provides in needed:
            wanted.add(manifest.name)
            needed.update(manifest.needs)
    return [m for m in everything if m.name in wanted]


def backend_url(engine: Manifest, client: Manifest, environ: Mapping[str, str]) -> BackendUrl:
    """The URL in force of `engine` for `client`.

    Raises:
        Invalid
    """
    named = (v for v in backend_variables(engine, client) if v in environ)
    variable = next(named, None)
    url = parse_url(environ[variable] if variable else engine.backend_default)
    if url.scheme not in engine.backends:
        expected = ", ".join(f"{scheme}://" for scheme in engine.backends)
        raise Invalid(f"{variable}={url.safe}: unknown scheme; one of {expected} is expected")
    return url


def serves_wire(manifest: Manifest, environ: Mapping[str, str]) -> bool:
    """Whether its wire door is ours to open, and no foreign engine's."""
    if not manifest.wire or not manifest.backends:
        return bool(manifest.wire)
    return manifest.backends[backend_url(manifest, manifest, environ).scheme].serves


def _as_open(manifest: Manifest, environ: Mapping[str, str]) -> Manifest:
    """A foreign engine has doors of its own, and none here."""
    if not manifest.backends or not manifest.doors or serves_wire(manifest, environ):
        return manifest
    return msgspec.structs.replace(manifest, doors=())


def address_variable(manifest: Manifest) -> str:
    """The setting of a system's own address."""
    assert manifest.address is not None
    return f"{prefix_of(manifest.name)}_{manifest.address.protocol.upper()}"


def settings_of(manifest: Manifest) -> Sequence[Setting]:
    """Every variable that this system reads: its Struct's, its address, its backends' URLs."""
    prefix = prefix_of(manifest.name)
    found = list(settings.describe(manifest.settings, prefix)) if manifest.settings else []
    if address := manifest.address:
        default = f"127.0.0.1:{address.port}"
        found.append(Setting(address_variable(manifest), default, "address of its own"))
    if manifest.backends:
        schemes = ", ".join(manifest.backends)
        meaning = f"backend for every client ({schemes})"
        found.append(Setting(f"{prefix}_URL", manifest.backend_default, meaning))
    for engine in _viewed_by(manifest):
        meaning = f"backend of {engine.name} for this system alone"
        found.append(Setting(backend_variables(engine, manifest)[0], "", meaning))
    return found


def _viewed_by(manifest: Manifest) -> Sequence[Manifest]:
    """Engines of whose backends the system has views, also those on which its views of others
    stand. An engine with a hub has none for itself.
    """
    by_contract = {m.provides: m for m in all_manifests()}
    asked = [] if manifest.hub else [by_contract[need] for need in manifest.needs]
    found: dict[str, Manifest] = {}
    for engine in asked:
        below = [by_contract[need] for need in engine.needs] if engine.hub else [engine]
        found |= {one.name: one for one in below if one.backends}
    return list(found.values())


def all_settings() -> Mapping[str, Sequence[Setting]]:
    """Every variable that bastide reads, by system; "" is the town's own."""
    own = [
        *settings.describe(Settings, PREFIX.rstrip("_")),
        *settings.describe(HttpSettings, HTTP_PREFIX),
    ]
    return {"": own, **{m.name: settings_of(m) for m in all_manifests()}}


def refuse_unread(environ: Mapping[str, str]) -> None:
    known = [s.variable for one in all_settings().values() for s in one]
    ours = {k: v for k, v in environ.items() if not k.startswith(TEST_PREFIX)}
    settings.refuse_unread(ours, known)


@asynccontextmanager
async def open_town(
    only: Collection[str] = (),
    environ: Mapping[str, str] = os.environ,
    *,
    runtime: Runtime | None = None,
    data: Path | None = None,
    addresses: Mapping[str, str] | None = None,
) -> AsyncIterator[Town]:
    """The systems in `only` and what they need, open. `data` None: a directory that goes with the
    town.

    Raises:
        Invalid: a setting is wrong, or nothing reads it.
        Miswired: the manifests don't fit.
        Unavailable: a backend is away, or its client library is not installed.
    """
    refuse_unread(environ)
    runtime = runtime or Runtime()
    run_on(runtime)
    with ExitStack() as stack:
        directory = data or Path(stack.enter_context(TemporaryDirectory(prefix="bastide-")))
        town = Town(only, environ, directory, runtime)
        town.addresses.update(addresses or {"": "http://localhost"})
        try:
            await town.open()
            yield town
        finally:
            await town.close()


def _opener(url: BackendUrl, row: Backend) -> Any:
    try:
        return load(row.opener)
    except ModuleNotFoundError as error:
        extra = f"which the extra {row.extra!r} of bastide brings"
        message = f"{url.safe} needs {error.name}, {extra}: pip install {error.name}"
        raise Unavailable(message) from error


def _employ(dotted: str, served: Any, use: Use) -> None:
    worker = load(dotted)
    use.spawn(worker.__name__, lambda: worker(served))


def _subscribe(row: Consume, served: Any, use: Use) -> None:
    bus = use(Bus)
    handler = partial(load(row.handler), served) if row.handler else None
    calls = partial(load(row.calls), served) if row.calls else None
    use.spawn(row.group, lambda: bus.consume(row, handler, calls))


async def _health(opened: Opened) -> Health:
    tasks = dict(opened.use.crew.tasks)
    error = next((t.error for t in tasks.values() if t.state == "backing-off"), "")
    ask = getattr(opened.served, "health", None)
    if ask is not None and not error:
        try:
            async with asyncio.timeout(HEALTH_S):
                await ask()
        except TimeoutError:
            error = f"no answer within {HEALTH_S:g} s"
        except Refusal as refusal:
            error = str(refusal)
        except Exception as fault:
            error = f"{type(fault).__name__}: {fault}"
    return Health(ok=not error, error=error, tasks=tasks)


def _worse(one: Health, other: Health) -> Health:
    tasks: dict[str, Task] = {**one.tasks, **other.tasks}
    return Health(ok=one.ok and other.ok, error=one.error or other.error, tasks=tasks)
