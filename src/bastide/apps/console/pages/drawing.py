"""The map as it is drawn: the layout's places and lines, with what the last beat found.

A line is the heavier the more calls go along it; its figure lights up if it differs from that of
the beat before. Which of two alike animations lights it changes from beat to beat, since a browser
doesn't begin one again that it already shows.
"""

from collections.abc import Sequence

import msgspec

from bastide.apps.console.contract import OUTSIDE, EdgeCalls, SystemState, TownMap
from bastide.apps.console.core.layout import Layout, Line, Place
from bastide.base.html.figures import rate_text

HEAVIER_FROM_PER_S = (1, 10, 100, 1_000)  # each is a step of a line's weight


class DrawnEdge(msgspec.Struct, frozen=True):
    """`weight` is 0 without calls, then 1 to 5. `lit`: "" or the class that lights its figure."""

    line: Line
    calls: EdgeCalls
    weight: int
    lit: str


class DrawnSystem(msgspec.Struct, frozen=True):
    place: Place
    state: SystemState


class Drawing(msgspec.Struct, frozen=True):
    """`text` says in words what is seen. `outside` is None if no system has doors."""

    width: float
    height: float
    text: str
    outside: Place | None
    systems: Sequence[DrawnSystem]
    edges: Sequence[DrawnEdge]

    @property
    def outside_per_s(self) -> float:
        return sum(e.calls.per_s for e in self.edges if e.calls.client == OUTSIDE)

    def stands_on(self, system: str) -> Sequence[EdgeCalls]:
        return [edge.calls for edge in self.edges if edge.calls.client == system]

    def from_outside(self, system: str) -> EdgeCalls | None:
        """None: it has no doors."""
        pairs = ((e.calls.client, e.calls) for e in self.edges if e.calls.system == system)
        return next((calls for client, calls in pairs if client == OUTSIDE), None)


def drawing_of(town_map: TownMap, layout: Layout) -> Drawing:
    """The edges of both are the same, in the same order."""
    states = {state.name: state for state in town_map.systems}
    places = {place.name: place for place in layout.places}
    return Drawing(
        layout.width,
        layout.height,
        _words(town_map),
        places.get(OUTSIDE),
        [DrawnSystem(p, states[p.name]) for p in layout.places if p.name in states],
        [
            DrawnEdge(line, calls, _weight(calls.per_s), _lit(calls, town_map.beat))
            for line, calls in zip(layout.lines, town_map.edges, strict=True)
        ],
    )


def _weight(per_s: float) -> int:
    return 1 + sum(per_s >= bound for bound in HEAVIER_FROM_PER_S) if per_s > 0 else 0


def _lit(calls: EdgeCalls, beat: int) -> str:
    now = rate_text(calls.per_s), rate_text(calls.failed_per_s)
    before = rate_text(calls.per_s_before), rate_text(calls.failed_per_s_before)
    return "" if now == before else f"lit-{beat % 2}"


def _words(town_map: TownMap) -> str:
    busy = [edge for edge in town_map.edges if edge.per_s > 0]
    systems, edges = len(town_map.systems), len(town_map.edges)
    said = [f"{systems} system{'s'[: systems != 1]}, {edges} edge{'s'[: edges != 1]}."]
    if busy:
        most = max(busy, key=lambda edge: edge.per_s)
        said += [f"{len(busy)} carry calls, most of all {most.client} to {most.system}."]
    unwell = [state.name for state in town_map.systems if not state.ok]
    failing = [f"{e.client} to {e.system}" for e in town_map.edges if e.failed_per_s > 0]
    said += [f"Not well: {', '.join(unwell)}."] if unwell else []
    said += [f"Calls fail from {', '.join(failing)}."] if failing else []
    return " ".join([*said, "The tables below say the same."])
