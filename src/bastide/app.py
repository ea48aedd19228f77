"""The town behind its doors: sites of endpoints on addresses, served until a signal.

bind   every address gets its socket first, so that systems know where they will answer
open   the town, from the ground up
serve  one server on all sockets; town.json once everything answers
stop   town.json goes, doors shut, what is in flight is finished, the town closes
anew   after SIGHUP: stop, then the same command again, with the sockets handed on
"""

import asyncio
import gc
import ipaddress
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    contextmanager,
    suppress,
)
from pathlib import Path

import msgspec

from bastide import __version__
from bastide.base import settings
from bastide.base.errors import Invalid
from bastide.base.gate import Caller, anyone, operator
from bastide.base.html.pages import Pages, assets, pages_module, rail
from bastide.base.manifest import Manifest, TownView, load
from bastide.base.metrics import exposition
from bastide.base.routes.binding import Endpoint
from bastide.base.routes.heads import Network
from bastide.base.routes.http import Http, Site
from bastide.base.routes.openapi import openapi
from bastide.base.routes.rows import Reply, Request, Row, json_reply, redirect, route
from bastide.base.rt.lock import FileLock, LockHeld
from bastide.base.rt.net import (
    Listener,
    allow_many_descriptors,
    bind,
    bind_near,
    bind_unix,
    hand_on,
    handed_on,
)
from bastide.base.rt.runtime import Runtime
from bastide.base.settings import PREFIX
from bastide.parts.http.contract import HTTP_PREFIX, HttpSettings
from bastide.parts.http.server.server import Server
from bastide.town import (
    Settings,
    Town,
    address_variable,
    manifests,
    open_town,
    refuse_unread,
    serves_wire,
)

DRAIN_S = 10
RESTART_DRAIN_S = 1  # while a town begins anew, those who connect wait in the socket's queue
UNIX = "unix"  # the main address too, for who is on this machine
CONSOLE = "console"  # it answers at the main address' root too
TOWN_FILE = "town.json"


class TownFile(msgspec.Struct, frozen=True):
    """DATA/town.json: how commands, tests and other programs find a running town."""

    pid: int
    http: str
    systems: Mapping[str, Mapping[str, str]]


class Hall(msgspec.Struct, frozen=True):
    """What the town's own doors are bound to."""

    town: Town
    site: Site


async def read_health(hall: Hall, caller: Caller) -> Reply:
    """Whether all is well, else 503; the operator is told how each system is."""
    found = await hall.town.health()
    ok = all(health.ok for health in found.values())
    told = {"ok": ok, "systems": found} if caller.operator else {"ok": ok}
    return json_reply(told, 200 if ok else 503)


def read_life(_: Hall) -> Reply:
    """That the process answers; no system is asked."""
    return Reply(204)


def read_schema(hall: Hall, caller: Caller) -> Reply:
    """OpenAPI 3.1 of every door on this address that may be open to the caller."""
    rows = [m for m in hall.site.mounted if caller.operator or m[1].row.allow is not operator]
    return json_reply(openapi("bastide", __version__, rows))


def read_metrics(hall: Hall) -> Reply:
    """Counts and times, in the text format that Prometheus reads."""
    body = exposition(hall.town.runtime.metrics).encode()
    return Reply(200, body, {"content-type": "text/plain; version=0.0.4; charset=utf-8"})


def add_slash(_: Hall, request: Request) -> Reply:
    """`/shortener` is a system's root without its slash: relative links would miss."""
    return redirect(f"{request.path}/", 308)


HALL_ROWS = (
    route("GET", "/healthz", read_health, allow=anyone, html=True),
    route("GET", "/livez", read_life, allow=anyone, html=True),
    route("GET", "/schema", read_schema, allow=anyone, html=True),
    route("GET", "/metrics", read_metrics, allow=operator, html=True),
)


def make_http(town: Town, ports: Mapping[str, int]) -> Http:
    """The town's doors: the main site, and one for each system in `ports` (system to port)."""
    main, sites = Site(), {port: Site() for port in ports.values()}
    for manifest in town.manifests:
        endpoints = _endpoints(town, manifest)
        main.mount(f"/{manifest.name}", endpoints, town.runtime.metrics)
        own = main if manifest.name == CONSOLE else sites.get(ports.get(manifest.name, 0))
        if own is not None:
            own.mount("", endpoints, town.runtime.metrics)
    pages = Pages(town, CONSOLE, None)
    for site in (main, *sites.values()):
        hall = Hall(town, site)
        rows = [*HALL_ROWS, *_slashes(site), assets, rail]
        endpoints = [Endpoint("town", row, hall, {Pages: pages}) for row in rows]
        site.mount("", endpoints, town.runtime.metrics)
    trusted = _networks(settings.read(Settings, PREFIX.rstrip("_"), town.environ).trusted_proxies)
    limits = settings.read(HttpSettings, HTTP_PREFIX, town.environ)
    return Http(main, sites, trusted=trusted, limits=limits, problem_page=pages.problem)


def _endpoints(town: Town, manifest: Manifest) -> Sequence[Endpoint]:
    rows: list[Row] = [row for dotted in manifest.doors for row in load(dotted)]
    if not rows:
        return []
    granted = {
        Pages: Pages(town, manifest.name, pages_module(manifest)),
        TownView: town,
        Runtime: town.runtime,
    }
    bound_to = town.behind_wire(manifest.name)
    return [Endpoint(manifest.name, row, bound_to, granted) for row in rows]


def _slashes(site: Site) -> Sequence[Row]:
    roots = sorted({root for root, _ in site.mounted if root})
    return [route("GET", root, add_slash, allow=anyone, html=True) for root in roots]


def _networks(text: str) -> Sequence[Network]:
    try:
        return [ipaddress.ip_network(one.strip()) for one in text.split(",") if one.strip()]
    except ValueError as error:
        raise Invalid(f"BASTIDE_TRUSTED_PROXIES={text}: {error}") from error


class Doors(msgspec.Struct, frozen=True):
    """The sockets of a process: "" is the main address, others by system."""

    sockets: Mapping[str, Listener]
    addresses: Mapping[str, str]
    skipped: Sequence[str]
    wires: Mapping[str, str] = {}  # host:port, of systems whose address speaks no HTTP

    @property
    def ports(self) -> Mapping[str, int]:
        """Of systems that have an HTTP address of their own."""
        apart = ("", UNIX, *self.wires)
        return {n: s.getsockname()[1] for n, s in self.sockets.items() if n not in apart}

    @property
    def http(self) -> Sequence[Listener]:
        return [one for name, one in self.sockets.items() if name not in self.wires]


@contextmanager
def bound(only: Collection[str], environ: Mapping[str, str], http: str) -> Iterator[Doors]:
    """Sockets for the main address and for every system that has one of its own. A default port
    that is busy is skipped; one that somebody chose is not.

    Raises:
        Invalid: an address can't be had.
    """
    wanted = {"": ("BASTIDE_HTTP", http, True), **_wanted_addresses(only, environ, http)}
    own = settings.read(HttpSettings, HTTP_PREFIX, environ)
    kept = handed_on()
    sockets: dict[str, Listener] = {}
    addresses, wires, skipped = {}, {}, []
    with ExitStack() as stack:
        for name, (variable, address, is_http) in wanted.items():
            host, port = split_address(address)
            chosen = variable in environ
            try:
                made = kept.pop(name) if name in kept else _bind(host, port, own, chosen=chosen)
            except (OSError, OverflowError, UnicodeError) as error:
                raise Invalid(f"{variable}={address}: {error}") from error
            sockets[name] = stack.enter_context(made)
            found = made.getsockname()[1]
            if found in (s.getsockname()[1] for n, s in sockets.items() if n != name):
                raise Invalid(f"{variable}={address}: another address of the town has this port")
            if port not in (0, found):
                skipped.append(f"port {port} is busy: {name or 'the town'} is on {found}")
            if is_http:
                addresses[name] = _url(host, found)
            else:
                wires[name] = f"{host}:{found}"
        if own.unix:
            try:
                inside = kept.pop(UNIX) if UNIX in kept else bind_unix(own.unix)
                sockets[UNIX] = stack.enter_context(inside)
            except OSError as error:
                raise Invalid(f"{HTTP_PREFIX}_UNIX={own.unix}: {error}") from error
            stack.callback(Path(own.unix).unlink, missing_ok=True)
        for unwanted in kept.values():
            unwanted.close()
        yield Doors(sockets, addresses, skipped, wires)


def _wanted_addresses(
    only: Collection[str], environ: Mapping[str, str], http: str
) -> Mapping[str, tuple[str, str, bool]]:
    """By system: what sets its own address, the address, and whether it speaks HTTP."""
    found = {}
    for manifest in manifests(only):
        if manifest.address and (manifest.address.is_http or serves_wire(manifest, environ)):
            variable = address_variable(manifest)
            default = f"127.0.0.1:{_port(manifest, http)}"
            address = environ.get(variable, default)
            found[manifest.name] = variable, address, manifest.address.is_http
    return found


def _bind(host: str, port: int, own: HttpSettings, *, chosen: bool) -> Listener:
    if chosen or own.reuse_port:
        return bind(host, port, shared=own.reuse_port)
    return bind_near(host, port)


def _url(host: str, port: int) -> str:
    """Where a reader on this machine finds it: "all addresses" is none to go to."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (not bound here)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def set_addresses(only: Collection[str], environ: Mapping[str, str]) -> Mapping[str, str]:
    """Where the settings say that the town and its systems answer, though nothing is bound. A port
    that would be picked is taken to be the default one.
    """
    found = {"": settings.read(Settings, PREFIX.rstrip("_"), environ).http}
    defaults = {"": split_address(Settings().http)[1]}
    for manifest in manifests(only):
        if manifest.address is not None and manifest.address.is_http:
            defaults[manifest.name] = manifest.address.port
            default = f"127.0.0.1:{manifest.address.port}"
            found[manifest.name] = environ.get(address_variable(manifest), default)
    split = {name: split_address(text) for name, text in found.items()}
    return {name: _url(host, port or defaults[name]) for name, (host, port) in split.items()}


def _port(manifest: Manifest, http: str) -> int:
    """A town on a port that it picks itself picks all of them."""
    assert manifest.address is not None
    return 0 if split_address(http)[1] == 0 else manifest.address.port


def split_address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:
        raise Invalid(f"{text!r} is no address; one like 127.0.0.1:8800 is expected")
    return host.strip("[]") or "127.0.0.1", int(port)


async def serve(
    only: Collection[str],
    environ: Mapping[str, str],
    *,
    started: Callable[[Town, Doors], None],
) -> None:
    """The whole life of `bastide up`: returns after SIGINT or SIGTERM, when all is closed. After
    SIGHUP the same command begins anew in this process, with the same sockets.

    Raises:
        Invalid: a setting is wrong, or another process holds DATA.
    """
    refuse_unread(environ)
    allow_many_descriptors()
    own = settings.read(Settings, PREFIX.rstrip("_"), environ)
    data = Path(own.data)
    lock = locked(data)
    (data / TOWN_FILE).unlink(missing_ok=True)  # of a town that was killed
    try:
        with bound(only, environ, own.http) as doors:
            addresses = doors.addresses
            async with open_town(only, environ, data=data, addresses=addresses) as town:
                town.wires.update(doors.wires)
                begins_anew = await _serve(town, doors, started)
            if begins_anew:
                lock.release()
                hand_on(doors.sockets)
                os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (us)
    finally:
        lock.release()


def locked(data: Path) -> FileLock:
    """DATA, made if absent, held by this process alone.

    Raises:
        Invalid: another process holds it.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return FileLock(data / "lock")
    except LockHeld as error:
        raise Invalid(
            f"{data} is in use by {error.holder}; stop it or take another --data"
        ) from error


async def _serve(town: Town, doors: Doors, started: Callable[[Town, Doors], None]) -> bool:
    """Whether to begin anew."""
    own = settings.read(HttpSettings, HTTP_PREFIX, town.environ)
    server = Server(make_http(town, doors.ports), own, proxied=own.proxy_protocol)
    path = town.data / TOWN_FILE
    stop = _Stop(server)
    await server.start([one.dup() for one in doors.http])
    wires = AsyncExitStack()
    try:
        for system in doors.wires:
            await wires.enter_async_context(_wire_door(town, doors, system))
        _write_whole(path, msgspec.json.encode(_town_file(town, doors)))
        started(town, doors)
        gc.freeze()  # what is open now stays: no collection need look at it again
        await stop.wanted.wait()
    finally:
        with suppress(FileNotFoundError):
            path.unlink()
        if not stop.begins_anew:  # else those who connect now wait for what comes next
            for one in doors.sockets.values():
                one.close()
        drain_s = RESTART_DRAIN_S if stop.begins_anew else DRAIN_S
        await asyncio.gather(server.stop(drain_s), wires.aclose())
    return stop.begins_anew


def _wire_door(town: Town, doors: Doors, system: str) -> AbstractAsyncContextManager[None]:
    manifest = next(m for m in town.manifests if m.name == system)
    door: AbstractAsyncContextManager[None] = load(manifest.wire)(
        town.behind_wire(system), [doors.sockets[system].dup()]
    )
    return door


class _Stop:
    """Signals: the first one stops, a second one ends at once; SIGHUP stops and begins anew."""

    def __init__(self, server: Server) -> None:
        self.wanted = asyncio.Event()
        self.begins_anew = False
        self._server = server
        for number in (signal.SIGINT, signal.SIGTERM):
            _on_signal(number, self._stop)
        if hasattr(signal, "SIGHUP"):
            _on_signal(signal.SIGHUP, self._restart)

    def _stop(self) -> None:
        if self.wanted.is_set() and not self.begins_anew:
            os._exit(130)
        self.begins_anew = False
        self.wanted.set()
        self._server.http.end_events()

    def _restart(self) -> None:
        if not self.wanted.is_set():
            self.begins_anew = True
            self.wanted.set()
            self._server.http.end_events()


def _on_signal(number: signal.Signals, act: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(number, act)
    except NotImplementedError:  # Windows
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(act))


def _town_file(town: Town, doors: Doors) -> TownFile:
    systems: dict[str, dict[str, str]] = {}
    for manifest in town.manifests:
        found = {}
        if manifest.doors:
            found["http"] = town.address_of(manifest.name)
        if manifest.address and not manifest.address.is_http:
            foreign = town.backend_of(manifest.name, manifest.name)
            found[manifest.address.protocol] = doors.wires.get(manifest.name, foreign)
        if found:
            systems[manifest.name] = found
    return TownFile(os.getpid(), doors.addresses[""], systems)


def _write_whole(path: Path, text: bytes) -> None:
    """A reader sees the old file or the new one."""
    part = path.with_suffix(".part")
    part.write_bytes(text)
    part.replace(path)
