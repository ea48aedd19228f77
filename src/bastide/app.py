"""The town behind its doors: sites of endpoints on addresses, served until a signal.

bind   every address gets its socket first, so that systems know where they will answer
open   the town, from the ground up
serve  one ASGI application on all sockets; town.json once everything answers
stop   town.json goes, doors shut, what is in flight is finished, the town closes
"""

import asyncio
import ipaddress
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bastide import __version__
from bastide.base import settings
from bastide.base.errors import Invalid
from bastide.base.gate import Caller, anyone, operator
from bastide.base.html.pages import Pages, assets, pages_module, rail
from bastide.base.manifest import Manifest, TownView, load
from bastide.base.metrics import exposition
from bastide.base.routes.asgi import Http, Network, Site
from bastide.base.routes.binding import Endpoint
from bastide.base.routes.openapi import openapi
from bastide.base.routes.rows import STALL_S, Reply, Request, Row, json_reply, redirect, route
from bastide.base.rt.lock import FileLock, LockHeld
from bastide.base.rt.net import Listener, bind, bind_near
from bastide.base.rt.runtime import Runtime
from bastide.base.settings import PREFIX
from bastide.town import Settings, Town, address_variable, manifests, open_town, refuse_unread

DESCRIPTORS = 65_536
DRAIN_S = 10
HEAD_BYTES_MAX = 64 * 1024  # far above what base.routes takes, so that it can say what is wrong
HEAD_S = 10
LINGER_S = 2  # for a body that nobody wants any more, so that its sender reads why
PIPELINED_MAX = 256  # requests sent ahead on one connection
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
    return Http(main, sites, trusted=trusted, problem_page=pages.problem)


def _endpoints(town: Town, manifest: Manifest) -> Sequence[Endpoint]:
    rows: list[Row] = [row for dotted in manifest.doors for row in load(dotted)]
    if not rows:
        return []
    granted = {
        Pages: Pages(town, manifest.name, pages_module(manifest)),
        TownView: town,
        Runtime: town.runtime,
    }
    return [Endpoint(manifest.name, row, town.served(manifest.name), granted) for row in rows]


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

    @property
    def ports(self) -> Mapping[str, int]:
        return {name: s.getsockname()[1] for name, s in self.sockets.items() if name}


@contextmanager
def bound(only: Collection[str], environ: Mapping[str, str], http: str) -> Iterator[Doors]:
    """Sockets for the main address and for every system that has one of its own. A default port
    that is busy is skipped; one that somebody chose is not.

    Raises:
        Invalid: an address can't be had.
    """
    wanted = {"": ("BASTIDE_HTTP", http)}
    for manifest in manifests(only):
        if manifest.address is not None:
            variable = address_variable(manifest)
            address = environ.get(variable, f"127.0.0.1:{_port(manifest, http)}")
            wanted[manifest.name] = variable, address
    sockets: dict[str, Listener] = {}
    addresses, skipped = {}, []
    with ExitStack() as stack:
        for name, (variable, address) in wanted.items():
            host, port = split_address(address)
            try:
                made = bind(host, port) if variable in environ else bind_near(host, port)
            except (OSError, OverflowError, UnicodeError) as error:
                raise Invalid(f"{variable}={address}: {error}") from error
            sockets[name] = stack.enter_context(made)
            found = made.getsockname()[1]
            if found in (s.getsockname()[1] for n, s in sockets.items() if n != name):
                raise Invalid(f"{variable}={address}: another address of the town has this port")
            if port not in (0, found):
                skipped.append(f"port {port} is busy: {name or 'the town'} is on {found}")
            addresses[name] = _url(host, found)
        yield Doors(sockets, addresses, skipped)


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
        if manifest.address is not None:
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
    """The whole life of `bastide up`: returns after SIGINT or SIGTERM, when all is closed.

    Raises:
        Invalid: a setting is wrong, or another process holds DATA.
    """
    refuse_unread(environ)
    _allow_many_descriptors()
    own = settings.read(Settings, PREFIX.rstrip("_"), environ)
    data = Path(own.data)
    lock = locked(data)
    (data / TOWN_FILE).unlink(missing_ok=True)  # of a town that was killed
    try:
        with bound(only, environ, own.http) as doors:
            addresses = doors.addresses
            async with open_town(only, environ, data=data, addresses=addresses) as town:
                await _serve(town, doors, started)
    finally:
        lock.release()


def _allow_many_descriptors() -> None:
    """As many as we may have: shells give 1,024, which open streams alone could take."""
    if sys.platform != "win32":
        import resource  # which Windows lacks

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


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


async def _serve(town: Town, doors: Doors, started: Callable[[Town, Doors], None]) -> None:
    server = _Server(make_http(town, doors.ports))
    path = town.data / TOWN_FILE
    serving = asyncio.create_task(server.serve(sockets=list(doors.sockets.values())))
    for number in (signal.SIGINT, signal.SIGTERM):
        _on_signal(number, server)
    try:
        await server.answering.wait()
        if serving.done():
            await serving  # it could not start: this raises why
        _write_whole(path, msgspec.json.encode(_town_file(town, doors)))
        started(town, doors)
        await server.stopping.wait()
    finally:
        with suppress(FileNotFoundError):
            path.unlink()
        server.should_exit = True
        await serving


_FRAMING = (b"content-length", b"transfer-encoding")


class _Protocol(HttpToolsProtocol):
    """uvicorn's, with limits of ours on what it leaves open: a head that goes on for ever or never
    comes, requests sent ahead, the rest of a body that was refused, a client that takes nothing
    (closing alone would wait for it for ever), and a body behind an Upgrade, which llhttp would
    read as the next request.

    What arrived since the last piece of a body is part of a head, or of what frames the pieces.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)  # so that we hear of all that can't leave at once
        self._stall: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._deadline = self.loop.call_later(HEAD_S, self._cut_off)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        self._unwatch()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unwatch()

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > HEAD_BYTES_MAX:
            self._cut_off()

    def on_message_begin(self) -> None:
        self._deadline.cancel()
        self._deadline = self.loop.call_later(HEAD_S, self._cut_off)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        self._deadline.cancel()
        if self.transport.is_closing():
            return
        if self.parser.should_upgrade() and any(name in _FRAMING for name, _ in self.headers):
            self.send_400_response("A request with a body can't be an upgrade.")
            return
        super().on_headers_complete()
        if len(self.pipeline) > PIPELINED_MAX:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._deadline.cancel()
        if not self.transport.is_closing():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        rest = self.cycle.response_complete and self.cycle.more_body
        if rest and not self.transport.is_closing():
            self._deadline.cancel()
            self._deadline = self.loop.call_later(LINGER_S, self.transport.close)

    def _watch(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._stall = self.loop.call_later(STALL_S, self._give_up, left)

    def _give_up(self, before: int) -> None:
        """Unless some of what waited has left."""
        if self.transport.get_write_buffer_size() < before:
            self._watch()
        else:
            self.transport.abort()

    def _unwatch(self) -> None:
        if self._stall is not None:
            self._stall.cancel()

    def _cut_off(self) -> None:
        if not self._head_bytes:  # kept ready by a browser, which would take a reply for its own
            self.transport.close()
        elif not self.transport.is_closing():
            limits = f"{HEAD_BYTES_MAX} bytes, within {HEAD_S} s"
            self.send_400_response(f"A request's head has at most {limits}.")


class _Server(uvicorn.Server):
    """uvicorn, but the signals are ours: the first one stops, a second one ends at once."""

    def __init__(self, http: Http) -> None:
        super().__init__(
            uvicorn.Config(
                http,
                http=_Protocol,
                access_log=False,
                log_config=None,
                lifespan="off",
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=DRAIN_S,
                ws="none",
            )
        )
        self._http = http
        self.answering = asyncio.Event()
        self.stopping = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        if self.stopping.is_set():
            os._exit(130)
        self.stopping.set()
        self._http.end_events()

    async def startup(self, sockets: list[Listener] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.answering.set()


def _on_signal(number: signal.Signals, server: _Server) -> None:
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(number, server.stop)
    except NotImplementedError:  # Windows
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(server.stop))


def _town_file(town: Town, doors: Doors) -> TownFile:
    systems = {
        m.name: {"http": town.address_of(m.name)} for m in town.manifests if m.doors or m.address
    }
    return TownFile(os.getpid(), doors.addresses[""], systems)


def _write_whole(path: Path, text: bytes) -> None:
    """A reader sees the old file or the new one."""
    part = path.with_suffix(".part")
    part.write_bytes(text)
    part.replace(path)
