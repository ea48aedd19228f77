"""The console's pages. Each shows what the last beat saw; its live part is asked for again every
two seconds.
"""

from collections.abc import Callable, Mapping
from typing import Any

from bastide.apps.console.pages.drawing import drawing_of
from bastide.apps.console.service.console import Console
from bastide.base.gate import operator
from bastide.base.html import charts
from bastide.base.html.pages import Pages
from bastide.base.html.readme import readme
from bastide.base.metrics import BUCKETS_S
from bastide.base.routes.rows import Reply, Request, Row, route

SPARK_POINTS = 30  # a minute: more than that isn't seen, and forty systems have forty


async def show_town(console: Console, request: Request, pages: Pages) -> Reply:
    return await _systems(console, request, pages, "town.html")


async def show_town_live(console: Console, request: Request, pages: Pages) -> Reply:
    return await _systems(console, request, pages, "town_live.html")


async def show_system(console: Console, request: Request, pages: Pages, name: str) -> Reply:
    seen = await _seen(console, name)
    text = readme(console.manifest(name))
    return pages.reply("about.html", request, at=name, readme=text, **seen)


async def show_pulse(console: Console, request: Request, pages: Pages, name: str) -> Reply:
    return pages.reply("pulse.html", request, at=name, **await _seen(console, name))


async def show_settings(console: Console, request: Request, pages: Pages, name: str) -> Reply:
    seen = await _seen(console, name)
    settings = console.town.settings_of(name)
    return pages.reply("settings.html", request, at=name, settings=settings, **seen)


async def show_backends(console: Console, request: Request, pages: Pages, name: str) -> Reply:
    seen, manifest = await _seen(console, name), console.manifest(name)
    found = console.backends(name)
    return pages.reply("backends.html", request, at=name, manifest=manifest, in_force=found, **seen)


async def show_metrics(console: Console, request: Request, pages: Pages, name: str) -> Reply:
    return pages.reply("metrics.html", request, at=name, **await _measured(console, name))


async def show_metrics_live(console: Console, request: Request, pages: Pages, name: str) -> Reply:
    return pages.reply("metrics_live.html", request, at=name, **await _measured(console, name))


async def show_all_settings(console: Console, request: Request, pages: Pages) -> Reply:
    found = [(m, console.town.settings_of(m.name)) for m in console.town.manifests]
    own = console.town.settings_of("")
    return pages.reply("all_settings.html", request, at="", systems=found, own=own)


async def _systems(console: Console, request: Request, pages: Pages, template: str) -> Reply:
    town_map = await console.map()
    states = town_map.systems
    lines = {s.name: charts.line(console.counts.line(s.name)[-SPARK_POINTS:]) for s in states}
    drawn = drawing_of(town_map, console.layout)
    return pages.reply(template, request, at="", states=states, lines=lines, drawn=drawn)


async def _seen(console: Console, name: str) -> Mapping[str, Any]:
    """What every page of a system begins with."""
    seconds = console.counts.span_s
    return {
        "state": await console.read(name),
        "line": charts.line(console.counts.line(name)),
        "span": f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min",
    }


async def _measured(console: Console, name: str) -> Mapping[str, Any]:
    counts = console.counts
    return {
        **await _seen(console, name),
        "call_times": charts.histogram(BUCKETS_S, counts.call_times(name)),
        "request_times": charts.histogram(BUCKETS_S, counts.request_times(name)),
        "calls": counts.calls_of(name),
        "made": counts.calls_by(name),
        "doors": counts.doors(name),
        "figures": counts.figures(name),
    }


def _page(path: str, handler: Callable[..., Any]) -> Row:
    return route("GET", path, handler, allow=operator, html=True)


ROWS = (
    _page("/", show_town),
    _page("/settings", show_all_settings),
    _page("/systems/{name}", show_system),
    _page("/systems/{name}/settings", show_settings),
    _page("/systems/{name}/backends", show_backends),
    _page("/systems/{name}/metrics", show_metrics),
    _page("/fragments/town", show_town_live),
    _page("/fragments/systems/{name}/pulse", show_pulse),
    _page("/fragments/systems/{name}/metrics", show_metrics_live),
)
