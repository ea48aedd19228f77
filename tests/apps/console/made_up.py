"""A town that there is not: forty systems, on floors as in the list, each with what it stands on.

`MadeUpTown` is a TownView for the console; its calls are counted by the test.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import msgspec

from bastide.apps.console.manifest import MANIFEST
from bastide.base.html.shell import CONSOLE
from bastide.base.manifest import Health, Manifest
from bastide.base.settings import Setting

ENGINES = """
    sql; kv; dfs; raft; cache; ids: sql; log: dfs; coord: raft; pubsub: cache; blob: dfs kv; geo: kv
    limits: cache; transactions: sql coord; identity: sql cache; queue: log sql; search: dfs log
    stream: log kv
"""
APPS = """
    shortener: sql ids cache log; bank: sql transactions log; books: sql search; cdn: cache blob
    chat: log pubsub ids kv; cinema: blob queue cdn; crawler: queue dfs search; feed: cache log ids
    docs: sql pubsub blob; drive: blob sql queue; gateway: limits identity; notify: queue pubsub
    photos: blob search cache; places: geo search; recommend: stream kv; rides: geo pubsub stream
    shop: sql cache transactions queue; stays: sql search geo; suggest: kv stream
    teams: pubsub log search identity; tickets: sql limits queue; video: blob stream cdn; console
"""
UNWELL = "limits"


class Forty(msgspec.Struct, frozen=True):
    apps: Mapping[str, Sequence[str]]
    engines: Mapping[str, Sequence[str]]

    @property
    def doors(self) -> Sequence[str]:
        """All apps are opened by somebody, and every other engine."""
        return [*self.apps, *list(self.engines)[::2]]


def _read(text: str) -> Mapping[str, Sequence[str]]:
    systems = (one.partition(":") for one in text.replace("\n", ";").split(";") if one.strip())
    return {name.strip(): needs.split() for name, _, needs in systems}


FORTY = Forty(_read(APPS), _read(ENGINES))


class MadeUpTown:
    """Forty systems of which one is not well."""

    environ: Mapping[str, str] = {}

    def __init__(self) -> None:
        self._needs = {**FORTY.engines, **FORTY.apps}
        self.manifests = [*(_manifest(name) for name in self._needs if name != CONSOLE), MANIFEST]

    def address_of(self, system: str) -> str:
        return f"http://127.0.0.1:8800/{system}"

    def needs_of(self, system: str) -> Sequence[str]:
        return self._needs[system]

    def settings_of(self, system: str) -> Sequence[Setting]:
        return ()

    def wire_of(self, system: str) -> str:
        return ""

    def backend_of(self, system: str, client: str) -> str:
        return ""

    async def health(self) -> Mapping[str, Health]:
        return {
            name: Health(ok=name != UNWELL, error="its disk is full" if name == UNWELL else "")
            for name in self._needs
        }


def _manifest(name: str) -> Manifest:
    return Manifest(
        name=name,
        floor="apps" if name in FORTY.apps else "engines",
        summary=f"What {name} is, in as many words as a summary has.",
        provides=object,
        open=lambda use: nullcontext(),  # type: ignore[arg-type,return-value] # never opened
        doors=("bastide.apps.console.api:ROWS",) if name in FORTY.doors else (),
    )
