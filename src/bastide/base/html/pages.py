"""Pages from Jinja templates, in the town's shell.

A system's `pages` room has `templates/` and, if it needs, `static/`; every template extends
`shell.html` and uses the macros of `macros.html`. What a page shows is escaped unless marked.
"""

import hashlib
import mimetypes
from functools import cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from bastide.base.errors import Problem
from bastide.base.gate import anyone
from bastide.base.manifest import TownView
from bastide.base.routes.rows import NoSuchPage, Reply, Request, route

_HERE = Path(str(files("bastide.base.html")))
SUFFIXES = (".css", ".js", ".svg")
_CACHE_S = 31_536_000


class Pages:
    """Renders one system's templates. `pages_module` is its `pages` room; None: the
    base's alone.
    """

    def __init__(self, town: TownView, system: str, pages_module: str | None) -> None:
        self._town = town
        self._system = system
        own = [Path(str(import_module(pages_module).__file__)).parent] if pages_module else []
        self._environment = Environment(
            loader=FileSystemLoader([d / "templates" for d in (*own, _HERE)]),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals["asset"] = asset_address

    def reply(self, template: str, request: Request, *, status: int = 200, **context: Any) -> Reply:
        """The page, or, for htmx, the fragment that the template is."""
        made = self._environment.get_template(template).render(
            request=request, town=self._town, system=self._system, **context
        )
        headers = {"content-type": "text/html; charset=utf-8", "cache-control": "no-store"}
        return Reply(status, made.encode(), headers)

    def problem(self, problem: Problem, request: Request) -> Reply:
        return self.reply("problem.html", request, status=problem.status, problem=problem)


@cache
def _assets() -> dict[str, tuple[bytes, str]]:
    """Published files under their names; read once."""
    found = [p for d in ("static", "vendor") for p in sorted((_HERE / d).iterdir())]
    return {p.name: (p.read_bytes(), _type_of(p.name)) for p in found if p.suffix in SUFFIXES}


def _type_of(name: str) -> str:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


@cache
def asset_address(name: str) -> str:
    """Where a page finds the asset; the address changes with the bytes, so that caches
    may keep it.
    """
    body, _ = _assets()[name]
    return f"/assets/{name}?{hashlib.blake2b(body, digest_size=6).hexdigest()}"


def read_asset(_: object, name: str) -> Reply:
    if name not in _assets():
        raise NoSuchPage(f"there is no asset {name!r}")
    body, kind = _assets()[name]
    headers = {"content-type": kind, "cache-control": f"public, max-age={_CACHE_S}, immutable"}
    return Reply(200, body, headers)


assets = route("GET", "/assets/{name}", read_asset, allow=anyone, html=True)
