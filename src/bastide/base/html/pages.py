"""Pages from Jinja templates, in the town's shell.

A system's `pages` room has `templates/` and, if it needs, `static/`; every template extends
`shell.html` and uses the macros of `macros.html`. What a page shows is escaped unless marked.

    {% extends "shell.html" %}                  asset("town.css")         of the base
    {% import "macros.html" as ui %}            asset("shortener/qr.js")  of a system's static/
    {% block main %}<h1>...</h1>{% endblock %}  5000 | count, 0.002 | time, 12.5 | rate
"""

import hashlib
import mimetypes
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from bastide.base.errors import Problem
from bastide.base.gate import anyone, operator
from bastide.base.html import figures
from bastide.base.html.shell import as_read, shell_of
from bastide.base.manifest import Manifest, TownView
from bastide.base.routes.rows import File, NoSuchPage, Reply, Request, route
from bastide.base.rt import runtime

_HERE = Path(str(files("bastide.base.html")))
SUFFIXES = (".css", ".js", ".svg")
_CACHE_S = 31_536_000
NAME_MAX = 100  # of what a fragment is told of its page

ADVICE: Mapping[int, str] = {
    400: "Nothing was changed. Correct what is named above and send it again.",
    401: "Nothing was changed. Send the key that you were given when you made this.",
    403: "Nothing was changed.",
    404: "Nothing was changed. See whether the address is written as you were given it.",
    405: "Nothing was changed.",
    409: "Nothing was changed. Load the page again to see how things stand, then decide.",
    410: "It was here, and was taken away or has run out. Ask whoever gave you the address.",
    413: "Nothing was changed. Send less at once.",
    429: "Nothing was changed. Wait a little, then send it again.",
    500: "This is a fault of the town, and it was written to its log. What you sent may or may "
    "not have been kept: look before you send it again.",
    503: "Send it again in a little while. If you were changing something, look first whether it "
    "was kept.",
}


class Pages:
    """Renders one system's templates. `pages_module` is its `pages` room; None: the
    base's alone.
    """

    def __init__(self, town: TownView, system: str, pages_module: str | None) -> None:
        self._town = town
        self._system = system
        self._registry = runtime.current().metrics
        own = [_folder(pages_module)] if pages_module else []
        self._environment = Environment(
            loader=FileSystemLoader([d / "templates" for d in (*own, _HERE)]),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals["asset"] = self._asset
        self._environment.filters |= {
            "count": figures.count_text,
            "rate": figures.rate_text,
            "time": figures.time_text,
            "value": figures.value_text,
        }

    def reply(
        self,
        template: str,
        request: Request,
        *,
        status: int = 200,
        at: str | None = None,
        **context: Any,
    ) -> Reply:
        """The page, or, for htmx, the fragment that the template is. `at` is the system that it is
        about: this one, unless said; "" is none.
        """
        at = self._system if at is None else at
        made = self._environment.get_template(template).render(
            request=request,
            town=self._town,
            system=self._system,
            shell=shell_of(self._town, self._registry, request, at=at),
            address_of=lambda name: as_read(self._town.address_of(name), request),
            **context,
        )
        headers = {"content-type": "text/html; charset=utf-8", "cache-control": "no-store"}
        return Reply(status, made.encode(), headers)

    def problem(self, problem: Problem, request: Request) -> Reply:
        """A refusal as a page: what happened, what was kept, what to do."""
        advice = ADVICE.get(problem.status, ADVICE[problem.status // 100 * 100])
        return self.reply(
            "problem.html", request, status=problem.status, at="", problem=problem, advice=advice
        )

    def _asset(self, name: str) -> str:
        """Where a page finds the asset; the address changes with the bytes, so that caches may keep
        it.
        """
        return f"/assets/{name}?{_asset(self._town, name).tag}"


class InTown(Protocol):
    """What the town's own doors are bound to."""

    @property
    def town(self) -> TownView: ...


def read_asset(hall: InTown, request: Request, name: str) -> File:
    """To be kept only under the digest of these bytes. A page of an older or newer version names
    another: it gets what there is, and no cache may take that for what the page named.
    """
    asset = _asset(hall.town, name)
    kept = f"public, max-age={_CACHE_S}, immutable" if asset.tag in request.query else "no-store"
    return File(asset.path, asset.content_type, {"cache-control": kept}, asset.tag)


def show_rail(_: object, request: Request, pages: Pages, at: str = "", page: str = "") -> Reply:
    """The rail alone, for the page at `page`, to take the place of the one that it shows."""
    return pages.reply("rail.html", request, at=at[:NAME_MAX], page=page[:NAME_MAX])


assets = route("GET", "/assets/{name:path}", read_asset, allow=anyone, html=True)
rail = route("GET", "/fragments/rail", show_rail, allow=operator, html=True)


def _asset(town: TownView, name: str) -> File:
    """ "town.css", or "shortener/qr.js" of that system's static/."""
    system, _, own = name.rpartition("/")
    module = next((pages_module(m) for m in town.manifests if m.name == system), None)
    shelf = _shelf(module) if module else {} if system else _base_shelf()
    if own not in shelf:
        raise NoSuchPage(f"there is no asset {name[:200]!r}")
    return shelf[own]


def pages_module(manifest: Manifest) -> str | None:
    """The system's `pages` room, if it has one."""
    modules = (dotted.partition(":")[0] for dotted in manifest.doors)
    return next((m for m in modules if ".pages" in m), None)


@cache
def _base_shelf() -> Mapping[str, File]:
    return {**_published(_HERE / "static"), **_published(_HERE / "vendor")}


@cache
def _shelf(module: str) -> Mapping[str, File]:
    return _published(_folder(module) / "static")


def _published(directory: Path) -> Mapping[str, File]:
    """Files under their names, each with the digest of its bytes as its tag."""
    found = sorted(directory.iterdir()) if directory.is_dir() else []
    shown = [path for path in found if path.suffix in SUFFIXES]
    return {path.name: File(path, _type_of(path.name), tag=_digest(path)) for path in shown}


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=6).hexdigest()


def _folder(module: str) -> Path:
    return Path(str(import_module(module).__file__)).parent


def _type_of(name: str) -> str:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
