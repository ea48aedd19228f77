"""All that a raised town says of itself, where a test looks for figures and for secrets."""

import json
import re
from collections.abc import Mapping

from bastide.testing.town import RaisedTown

SERIES = re.compile(r"^(\S+) (\S+)$", re.MULTILINE)
PARTS = ("", "/settings", "/backends", "/metrics")


async def told_by(town: RaisedTown) -> Mapping[str, str]:
    """By path: health, metrics, and every page and document of the console. Needs a console."""
    client = await town.client()
    names = [manifest.name for manifest in town.town.manifests]
    paths = [
        *("/", "/settings", "/healthz", "/metrics", "/schema", "/api/systems", "/api/map"),
        *("/fragments/town", "/fragments/rail"),
        *(f"/systems/{name}{part}" for name in names for part in PARTS),
        *(f"/fragments/systems/{name}/{part}" for name in names for part in ("pulse", "metrics")),
        *(f"/api/systems/{name}" for name in names),
    ]
    replies = {path: await client.get(path, headers={"accept": "text/html"}) for path in paths}
    bad = {p: r.status_code for p, r in replies.items() if r.status_code not in (200, 503)}
    assert not bad, bad
    return {path: reply.text for path, reply in replies.items()}


async def figures_of(town: RaisedTown) -> Mapping[str, float]:
    """Every series of /metrics by its name and labels, as Prometheus would read them."""
    text = (await (await town.client()).get("/metrics")).text
    return {name: float(value) for name, value in SERIES.findall(text)}


def series_of(metric: str, **labels: str) -> str:
    """The name of a series in `figures_of`."""
    named = ",".join(f'{name}="{labels[name]}"' for name in sorted(labels))
    return f"{metric}{{{named}}}"


async def health_of(town: RaisedTown, system: str) -> Mapping[str, object]:
    """What /healthz tells the operator of `system`."""
    told = json.loads((await (await town.client()).get("/healthz")).text)
    found: Mapping[str, object] = told["systems"][system]
    return found


async def at_rest(town: RaisedTown) -> None:
    """Ends all background work, so that every call that is counted is the test's."""
    for opened in town.town.opened:
        await opened.use.crew.stop()
