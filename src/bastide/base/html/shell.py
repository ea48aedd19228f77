"""What stands around every page: the rail, the palette's commands, the scheme.

Whoever runs the town sees all of it. Anybody else sees a page of one system and nothing of the
town that it stands in: no names, no addresses, no rates.

    rail      The town                      palette   every own page of every system, what is
              apps      name  level rate              done there, the console's pages of each, what
              engines   name  level rate              the town says of itself, lines to copy

A system may answer on an address of its own; from there the rail's links lead to the main address.
"""

from collections.abc import Callable, Iterable, Sequence
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from typing import Literal
from urllib.parse import SplitResult, urlsplit

import msgspec

from bastide.base.levels import level_of
from bastide.base.manifest import Manifest, TownView, load
from bastide.base.metrics import Gauge, Registry
from bastide.base.routes.rows import Request, Row

CONSOLE = "console"  # it answers at the main address' root
SYSTEM_PER_S = "bastide_system_calls_per_s"
SYSTEM_OK = "bastide_system_ok"
SCHEME_COOKIE = "bastide_scheme"  # one host's ports share a cookie, so one choice is kept by all
FLOORS = ("apps", "engines")
PARTS = (
    ("About", ""),
    ("Settings", "/settings"),
    ("Backends", "/backends"),
    ("Metrics", "/metrics"),
)
DOCUMENTS = (
    ("Health as JSON", "/healthz"),
    ("Metrics as text", "/metrics"),
    ("OpenAPI document", "/schema"),
)

Scheme = Literal["", "light", "dark"]


class Link(msgspec.Struct, frozen=True):
    text: str
    href: str


class TryLine(msgspec.Struct, frozen=True):
    """A line for a shell, to be copied."""

    system: str
    line: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One system in the rail. `ok` and `per_s` are None as long as nobody has looked."""

    name: str
    summary: str
    href: str
    current: bool
    level: str
    ok: bool | None
    per_s: float | None


class Floor(msgspec.Struct, frozen=True):
    name: str
    entries: Sequence[Entry]


class Shell(msgspec.Struct, frozen=True, kw_only=True):
    """`main` comes before a path of the main address, and is "" where the page is on it; `at` is
    the system that the page is about; `parts` are the console's pages of that one.
    """

    operator: bool
    console: bool
    main: str
    at: str
    scheme: Scheme
    parts: Sequence[Link] = ()
    floors: Sequence[Floor] = ()
    commands: Sequence[Link] = ()
    lines: Sequence[TryLine] = ()

    @property
    def live(self) -> bool:
        """Somebody keeps the rates up to date, so the page may ask for its rail again."""
        return self.console


def shell_of(town: TownView, registry: Registry, request: Request, *, at: str) -> Shell:
    """The shell for one request; `at` is the system that the page is about, "" for none."""
    seen = _Seen(town, registry, request)
    shell = Shell(
        operator=request.caller.operator,
        console=seen.console,
        main=seen.main,
        at=at,
        scheme=_scheme(request),
    )
    if not shell.operator:
        return shell
    floors = [Floor(name, seen.entries(name, at)) for name in FLOORS]
    return msgspec.structs.replace(
        shell,
        parts=seen.parts(at) if at else (),
        floors=[floor for floor in floors if floor.entries],
        commands=[*seen.pages(), *seen.deeds(), *seen.places()],
        lines=list(seen.lines()),
    )


def tell_shell(
    registry: Registry, system: str, *, per_s: Callable[[], float], ok: Callable[[], float]
) -> None:
    """What the rail shows of `system`, from whoever measures it."""
    registry.gauge(SYSTEM_PER_S, "Calls and requests a second, of late.", per_s, system=system)
    registry.gauge(SYSTEM_OK, "1 if it was well when it was last asked.", ok, system=system)


def main_address(town: TownView, request: Request) -> str:
    """What a link to the main address begins with: "" on it, else its address as the reader
    would write it.
    """
    main = town.address_of(CONSOLE).removesuffix(f"/{CONSOLE}")
    own = {town.address_of(m.name) for m in town.manifests}
    own_ports = {urlsplit(a).port for a in own if not a.startswith(f"{main}/")}
    here = _split(request.origin)
    if here is None or here.port not in own_ports:
        return ""
    return as_read(main, request)


def as_read(address: str, request: Request) -> str:
    """`address` with the name by which the reader calls this machine: who came by localhost, a
    tunnel or a name of the network goes on by it.
    """
    parts, here = urlsplit(address), _split(request.origin)
    if here is None or not here.hostname or not _is_this_machine(parts.hostname or ""):
        return address
    host = f"[{here.hostname}]" if ":" in here.hostname else here.hostname
    port = "" if parts.port is None else f":{parts.port}"
    return parts._replace(netloc=f"{host}{port}").geturl()


def has_page(manifest: Manifest) -> bool:
    """It has a page of its own at its root."""
    return any(row.path == "/" for row in _pages(manifest))


def shell_line(manifest: Manifest, *, http: str, wire: str) -> str:
    """Its line to try, unless that is to open it in a browser, which a page has a link for, or a
    wire door that is not open.
    """
    line = manifest.try_line
    if line.startswith("open ") or ("{wire}" in line and not wire):
        return ""
    return line.format(http=http, wire=wire)


class _Seen:
    """The town as one request sees it."""

    def __init__(self, town: TownView, registry: Registry, request: Request) -> None:
        self._town = town
        self._request = request
        self._per_s = _gauge(registry, SYSTEM_PER_S)
        self._ok = _gauge(registry, SYSTEM_OK)
        self.main = main_address(town, request)
        self.console = any(m.name == CONSOLE for m in town.manifests)

    def entries(self, floor: str, at: str) -> Sequence[Entry]:
        return [
            Entry(
                name=m.name,
                summary=m.summary,
                href=self._href(m),
                current=m.name == at,
                level=level_of(m.name),
                ok=None if (well := self._ok(m.name)) is None else well > 0,
                per_s=self._per_s(m.name),
            )
            for m in self._town.manifests
            if m.floor == floor
        ]

    def parts(self, system: str) -> Sequence[Link]:
        """The console's pages of a system."""
        page = f"{self.main}/systems/{system}"
        return [Link(text, page + path) for text, path in PARTS] if self.console else []

    def pages(self) -> Iterable[Link]:
        """Every page of the systems' own."""
        for manifest in self._town.manifests:
            for row in _pages(manifest) if manifest.name != CONSOLE else ():
                text = " ".join(["Open", manifest.name, *row.path.split("/")])
                yield Link(" ".join(text.split()), self._address(manifest) + row.path)

    def deeds(self) -> Iterable[Link]:
        """What forms are for, and the pages that they stand on."""
        for manifest in self._town.manifests:
            paths = {row.path for row in _pages(manifest)}
            for row in _rows(manifest):
                if row.html and row.method == "POST" and row.path in paths:
                    words = row.name.removesuffix("_by_form").replace("_", " ")
                    yield Link(f"{manifest.name}: {words}", self._address(manifest) + row.path)

    def lines(self) -> Iterable[TryLine]:
        for manifest in self._town.manifests:
            wire = self._town.wire_of(manifest.name)
            if line := shell_line(manifest, http=self._address(manifest), wire=wire):
                yield TryLine(manifest.name, line)

    def places(self) -> Iterable[Link]:
        """The console's pages, and what the town says of itself."""
        if self.console:
            yield Link("The town", f"{self.main}/")
            yield Link("Settings of every system", f"{self.main}/settings")
        for manifest in self._town.manifests:
            for part in self.parts(manifest.name):
                yield Link(f"{manifest.name} {part.text.lower()}", part.href)
        for text, path in DOCUMENTS:
            yield Link(text, self.main + path)

    def _href(self, manifest: Manifest) -> str:
        """Its own page, or else the console's page of it, or "" if there is neither."""
        if has_page(manifest) and manifest.name != CONSOLE:
            return f"{self._address(manifest)}/"
        return f"{self.main}/systems/{manifest.name}" if self.console else ""

    def _address(self, manifest: Manifest) -> str:
        return as_read(self._town.address_of(manifest.name), self._request)


def _pages(manifest: Manifest) -> Sequence[Row]:
    """The pages that need no more than their address."""
    return [r for r in _rows(manifest) if r.html and r.method == "GET" and _is_place(r.path)]


def _rows(manifest: Manifest) -> Iterable[Row]:
    return (row for dotted in manifest.doors for row in load(dotted))


def _is_place(path: str) -> bool:
    return "{" not in path and not path.startswith("/fragments/")


def _gauge(registry: Registry, name: str) -> Callable[[str], float | None]:
    """Reads the gauge of a system; None where there is none."""
    family = next((f for f in registry.families() if f.name == name), None)

    def read(system: str) -> float | None:
        series = family.series.get((("system", system),)) if family else None
        return series.read() if isinstance(series, Gauge) else None

    return read


def _scheme(request: Request) -> Scheme:
    try:
        chosen = SimpleCookie(request.headers.get("cookie", "")).get(SCHEME_COOKIE)
    except CookieError:
        return ""
    match chosen.value if chosen else "":
        case "light":
            return "light"
        case "dark":
            return "dark"
    return ""


def _split(address: str) -> SplitResult | None:
    """None for a Host that is no host; what it says is the reader's, and may be anything."""
    try:
        parts = urlsplit(address)
        _ = parts.port  # it is read only here, and may be no number
    except ValueError:
        return None
    return parts


def _is_this_machine(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified
