"""What a system says of itself, and how it gets what it stands on.

A manifest is plain data: nothing is registered, nothing is discovered. `systems.py` lists the
systems, `town.py` opens them from the ground up and hands each a `Use`; a system that asks for what
its manifest does not name is wired wrongly, and the town does not start.

An engine with backends is opened once per client, on that client's view of a backend; a backend is
opened once per distinct URL. An engine with a hub is opened once per client too, on what of other
engines is the client's own: on its database, say. Everything else is opened once. What
`use(Contract)` returns is counted for its client.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import msgspec

from bastide.base import settings
from bastide.base.events import Consume, EventTopic
from bastide.base.rt.runtime import Runtime
from bastide.base.settings import Setting
from bastide.base.work import Crew, Task, Work

if TYPE_CHECKING:  # it takes a tenth of a second to import, and only commands need it
    from httpx import AsyncClient

T = TypeVar("T")
StructT = TypeVar("StructT", bound=msgspec.Struct)

Reach = Literal["process", "machine", "cluster"]


class Miswired(Exception):
    """The town is put together wrongly. It ends the start; it is no refusal."""


class Backend(msgspec.Struct, frozen=True):
    """`opener` is "module:function", called as `function(url, use)`; `reach` says how far apart two
    processes may be that share it; `extra` names the optional dependencies it needs. `serves`: it
    stands on a server of ours, which strangers may speak to: the engine's wire door.
    """

    opener: str
    reach: Reach
    extra: str = ""
    serves: bool = False


class Address(msgspec.Struct, frozen=True):
    """An address of its own, for a system whose protocol wants the root of a host or a port."""

    protocol: str  # the key in town.json: http, resp, kafka, etcd
    port: int

    @property
    def is_http(self) -> bool:
        return self.protocol == "http"


class Command(msgspec.Struct, frozen=True):
    """`bastide SYSTEM NAME ...`: `declare` adds its arguments, `run` speaks HTTP to the system.

    `run` gets a client whose base address is the system's, of the running town or, if none runs, of
    one opened for this command; it prints, and raises a Refusal, whose kind is the exit code. One
    that `needs_town` not, since it works on files that no town may use meanwhile, gets None.
    """

    name: str
    summary: str
    declare: Callable[[ArgumentParser], None]
    run: Callable[["AsyncClient", Namespace], Awaitable[None]]
    needs_town: bool = True


class Bench(msgspec.Struct, frozen=True):
    """A workload: `run(directory, seconds)` gives its figures, a peer's beside ours from the same
    run.

    A figure's name ends in its unit: `writes_per_s`, `read_us_p50`, `beside_one_sync_each_ratio`.
    """

    name: str
    meaning: str
    run: Callable[[Path, float], Awaitable[Mapping[str, float]]]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One system. Dotted names ("module:NAME") are imported only when the system opens.

    `doors` name sequences of rows (base.routes); those of an engine with backends are bound to its
    backend, and shut if that is a foreign engine's. `workers` functions `async (system, use)`;
    `commands`, `benches` and `sims` what `commands.py`, `bench.py` and `sim.py` offer;
    `migrations` the tables' history (engines/sql). `wire` is what speaks the protocol of `address`,
    if that is not HTTP: `open(served, listeners)`, an async context manager; `served` is the
    engine's backend, if that serves. `try_line` is shown by `bastide up`: `{http}` stands for the
    system's address, `{wire}` for host:port of its wire door. `exempt` says of a check of the
    quality scale (tools/quality.py) that can't apply why; or of one box, limit or error, as
    "ids.SERIES_MAX".
    """

    name: str
    floor: Literal["engines", "apps"]
    summary: str
    provides: type
    open: Callable[["Use"], AbstractAsyncContextManager[Any]]
    needs: Sequence[type] = ()
    settings: type[msgspec.Struct] | None = None
    backends: Mapping[str, Backend] = {}
    backend_default: str = ""
    hub: str = ""
    publishes: Sequence[EventTopic] = ()
    consumes: Sequence[Consume] = ()
    migrations: str = ""
    doors: Sequence[str] = ()
    workers: Sequence[str] = ()
    commands: str = ""
    benches: str = ""
    sims: str = ""
    address: Address | None = None
    wire: str = ""
    try_line: str = ""
    exempt: Mapping[str, str] = {}


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How one system is. `error` says what is wrong, for an operator."""

    ok: bool
    error: str = ""
    tasks: Mapping[str, Task] = {}


class TownView(Protocol):
    """What a system may see of the town that it stands in: the console shows it."""

    @property
    def manifests(self) -> Sequence[Manifest]: ...

    def address_of(self, system: str) -> str:
        """Where the system's HTTP paths answer, without a trailing slash."""
        ...

    def wire_of(self, system: str) -> str:
        """host:port where its wire door answers; "" if none is open."""
        ...

    def needs_of(self, system: str) -> Sequence[str]:
        """The systems it stands on, by name."""
        ...

    def settings_of(self, system: str) -> Sequence[Setting]:
        """With the values in force; secrets hidden. `system` "" is the town itself."""
        ...

    def backend_of(self, system: str, client: str) -> str:
        """The URL in force, without secrets; '' if none is open."""
        ...

    async def health(self) -> Mapping[str, Health]: ...


class Use:
    """Handed to a system while it opens: what its manifest says it needs, and what is its own.

    `client` is the system that an engine with backends or a hub is being opened for; else the
    system itself.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        client: Manifest | None = None,
        granted: Mapping[type, object],
        environ: Mapping[str, str],
        data: Path,
        runtime: Runtime,
        town: TownView,
        backend: object = None,
    ) -> None:
        self.manifest = manifest
        self.client = client or manifest
        self.environ = environ
        self.runtime = runtime
        self.town = town
        self.crew = Crew(manifest.name)
        self._granted = granted
        self._data = data
        self._backend = backend

    def __call__(self, contract: type[T]) -> T:
        """What was opened for `contract`, counted as used by this system.

        Raises:
            Miswired: it is not among the manifest's needs, or stands above it in systems.py.
        """
        if contract not in self.manifest.needs:
            wanted = f"{self.manifest.name} asks for {contract.__name__}"
            raise Miswired(f"{wanted}, which is not among its needs")
        if contract not in self._granted:
            wanted = f"{self.manifest.name} needs {contract.__name__}"
            raise Miswired(f"{wanted}, which no system above it in systems.py provides")
        found: T = self._granted[contract]  # type: ignore[assignment] # keyed by its own contract
        return found

    def settings(self, type_: type[StructT]) -> StructT:
        if type_ is not self.manifest.settings:
            raise Miswired(f"{self.manifest.name} reads {type_.__name__}: name it in its manifest")
        return settings.read(type_, settings.prefix_of(self.manifest.name), self.environ)

    def backend(self, type_: type[T]) -> T:
        """The backend that this client's URL names, or the engine's hub, open."""
        assert isinstance(self._backend, type_), f"{self.manifest.name} opened {self._backend!r}"
        return self._backend

    def reach(self, contract: type) -> Reach:
        """How far apart two processes may be that share what `use(contract)` returns."""
        engine = next(m for m in self.town.manifests if m.provides is contract)
        if not engine.backends:
            return "process"
        url = settings.parse_url(self.town.backend_of(engine.name, self.client.name))
        reach = engine.backends[url.scheme].reach
        in_data = reach == "machine" and not url.location  # which one process holds
        return "process" if in_data else reach

    def directory(self) -> Path:
        """DATA/name of the client, made if absent: for files that are its alone."""
        directory = self._data / self.client.name
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def address(self) -> str:
        """Where this system's HTTP paths answer, without a trailing slash."""
        return self.town.address_of(self.client.name)

    def spawn(self, name: str, work: Work) -> None:
        """Background work, restarted with back-off, stopped before the system closes."""
        self.crew.spawn(name, work)


def load(dotted: str) -> Any:
    """What "module:NAME" names."""
    module, _, name = dotted.partition(":")
    try:
        return getattr(import_module(module), name)
    except AttributeError as error:
        raise Miswired(f"{dotted}: there is no such name") from error


def backend_variables(engine: Manifest, client: Manifest) -> Sequence[str]:
    """The variables that name the backend of `engine` for `client`, the first set one wins."""
    name = engine.name.upper()
    return (f"{settings.prefix_of(client.name)}_{name}_URL", f"{settings.PREFIX}{name}_URL")
