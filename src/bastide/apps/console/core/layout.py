"""The map's layout: systems in rows by floor, and a line from each to what it stands on.

Idea (after Sugiyama, Tagawa and Toda, 1981): rows first, then the order within a row, then lines.
A line goes down and never through a system: past a row in between it takes the gap nearest to its
straight way, where lines stand side by side in lanes.

    ████████████ outside ████████████      row 0: a bar; its lines begin where they like
        │ 12/s          │
    ┌───┴───┐       ┌───┴───┐              apps
    │  app  │       │  app  │
    └───┬─┬─┘       └───┬───┘
        │ ╰──────╮      │ 3/s
    ┌───┴───┐    │      │                  engines, each row on those below
    │engine │    │ ╭────╯
    └───┬───┘    │ │     <- a gap, two lanes
        ╰─────┬──┴─┴──┐
              │engine │                    the ground
              └───────┘

Rows       a system stands one layer above the highest of its own floor that it stands on; a layer
           of more than ROW_SYSTEMS_MAX is dealt out to several rows
Order      SWEEPS times down and up, each system goes to the mean of its neighbours; the order with
           the fewest crossings of straight lines is kept
Figures    a line's figure stands on it, nearest its client where no other figure is

Differs from the source: lines take no place in the order of a row, so that the width is bounded
whatever the number of lines. The same town gives the same map. O(SWEEPS x lines²), made once.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations, pairwise

import msgspec

WIDTH = 944.0
SYSTEM_WIDTH, SYSTEM_HEIGHT = 128.0, 48.0
OUTSIDE_HEIGHT = 32.0
BAND = 72.0  # between two rows
ROW_SYSTEMS_MAX = 6
PITCH_MAX = 208.0
FIGURE_WIDTH, FIGURE_HEIGHT = 52.0, 16.0
SWEEPS = 8
_CLEAR = 7.0  # between a line and a system that it passes
_LANE = 6.0
_PORT = 20.0
_FIGURE_AT = (0.5, 0.3, 0.7, 0.4, 0.6, 0.2, 0.8)  # parts of the way from row to row

Edge = tuple[str, str]  # the client, and what it calls
Point = tuple[float, float]


class Place(msgspec.Struct, frozen=True):
    """A system's rectangle; `x` and `y` are its upper left corner."""

    name: str
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


class Line(msgspec.Struct, frozen=True):
    """`points` go from the client's lower edge to the upper edge of the system, by two points for
    each row that is passed; `figure` is the middle of the place for its figure.
    """

    client: str
    system: str
    points: Sequence[Point]
    figure: Point

    @property
    def path(self) -> str:
        """For the `d` of an SVG path: curves from row to row, straight past a row."""
        made = ""
        for (from_x, from_y), (to_x, to_y) in _curves(self.points):
            half = (from_y + to_y) / 2
            made += f"V{from_y:.0f}" if made else f"M{from_x:.0f} {from_y:.0f}"
            made += f"C{from_x:.0f} {half:.0f} {to_x:.0f} {half:.0f} {to_x:.0f} {to_y:.0f}"
        return made


class Layout(msgspec.Struct, frozen=True):
    """`places` from the upper left on; `outside` is among them if a line comes from there."""

    width: float
    height: float
    places: Sequence[Place]
    lines: Sequence[Line]


def layout_of(
    floors: Sequence[Mapping[str, Sequence[str]]], *, outside: str, doors: Collection[str]
) -> Layout:
    """`floors`, the highest first, hold the systems from the ground up, each with what it stands
    on; those with `doors` are called from `outside` too.
    """
    edges = [(outside, name) for floor in floors for name in floor if name in doors]
    edges += [(name, needed) for floor in floors for name, on in floor.items() for needed in on]
    layers = [layer for floor in floors for layer in _layers(floor)]
    rows = _rows(_ordered(layers, edges))
    places = _places(rows, outside if doors else "")
    middles = {p.name: p.middle for row in places for p in row}
    points = _Ways(places, middles, edges, outside).points()
    height = places[-1][0].y + places[-1][0].height if places else 0.0
    return Layout(WIDTH, height, [p for row in places for p in row], _with_figures(points))


def _layers(floor: Mapping[str, Sequence[str]]) -> Sequence[Sequence[str]]:
    """The highest first."""
    heights: dict[str, int] = {}
    for name, needs in floor.items():
        heights[name] = max((heights[n] + 1 for n in needs if n in heights), default=0)
    return [
        [name for name in floor if heights[name] == height]
        for height in range(max(heights.values(), default=-1), -1, -1)
    ]


def _ordered(layers: Sequence[Sequence[str]], edges: Sequence[Edge]) -> Sequence[Sequence[str]]:
    neighbours: dict[str, list[str]] = defaultdict(list)
    for client, system in edges:
        neighbours[client].append(system)
        neighbours[system].append(client)
    now, best = [list(layer) for layer in layers], layers
    fewest = _crossings(layers, edges)
    for sweep in range(SWEEPS):
        upwards = range(len(now) - 1, -1, -1)
        for at in upwards if sweep % 2 else reversed(upwards):
            now[at] = _to_their_neighbours(now, at, neighbours)
        if (crossings := _crossings(now, edges)) < fewest:
            fewest, best = crossings, [list(layer) for layer in now]
    return best


def _to_their_neighbours(
    layers: Sequence[Sequence[str]], at: int, neighbours: Mapping[str, Sequence[str]]
) -> list[str]:
    x_of = {name: x for name, (x, _) in _spots(_rows(layers)).items()}

    def mean(name: str) -> float:
        near = [x_of[other] for other in neighbours.get(name, ()) if other in x_of]
        return sum(near) / len(near) if near else x_of[name]

    return sorted(layers[at], key=mean)


def _crossings(layers: Sequence[Sequence[str]], edges: Sequence[Edge]) -> int:
    """How many pairs of straight lines cross; those from outside fall straight down."""
    spots = _spots(_rows(layers))
    lines = [(spots[a], spots[b]) for a, b in edges if a in spots]
    return sum(_cross(one, other) for one, other in combinations(lines, 2))


def _cross(one: tuple[Point, Point], other: tuple[Point, Point]) -> bool:
    upper = max(one[0][1], other[0][1])
    lower = min(one[1][1], other[1][1])
    if upper >= lower:
        return False
    return (_x_at(one, upper) - _x_at(other, upper)) * (_x_at(one, lower) - _x_at(other, lower)) < 0


def _x_at(line: tuple[Point, Point], y: float) -> float:
    (from_x, from_y), (to_x, to_y) = line
    return from_x + (to_x - from_x) * (y - from_y) / (to_y - from_y)


def _rows(layers: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
    """Dealt out like cards, so that each row keeps the order from left to right."""
    rows: list[Sequence[str]] = []
    for layer in layers:
        count = -(-len(layer) // ROW_SYSTEMS_MAX)
        rows += [layer[n::count] for n in range(count)]
    return rows


def _spots(rows: Sequence[Sequence[str]]) -> Mapping[str, Point]:
    """The middle of each system, and the number of its row."""
    return {
        name: (WIDTH / 2 + (n - (len(row) - 1) / 2) * min(PITCH_MAX, WIDTH / len(row)), at)
        for at, row in enumerate(rows)
        for n, name in enumerate(row)
    }


def _places(rows: Sequence[Sequence[str]], outside: str) -> Sequence[Sequence[Place]]:
    spots = _spots(rows)
    places: list[Sequence[Place]] = []
    y = 0.0
    if outside:
        left = min(x for x, _ in spots.values()) - SYSTEM_WIDTH / 2
        places.append([Place(outside, left, 0, WIDTH - 2 * left, OUTSIDE_HEIGHT)])
        y = OUTSIDE_HEIGHT + BAND
    for row in rows:
        lefts = {name: spots[name][0] - SYSTEM_WIDTH / 2 for name in row}
        places.append([Place(n, x, y, SYSTEM_WIDTH, SYSTEM_HEIGHT) for n, x in lefts.items()])
        y += SYSTEM_HEIGHT + BAND
    return places


class _Ways:
    """Finds the way of each edge past the rows between its ends."""

    def __init__(
        self,
        places: Sequence[Sequence[Place]],
        middles: Mapping[str, float],
        edges: Sequence[Edge],
        outside: str,
    ) -> None:
        self._places = places
        self._middles = middles
        self._edges = edges
        self._outside = outside
        self._row_of = {p.name: at for at, row in enumerate(places) for p in row}
        self._lanes: dict[tuple[Edge, int], float] = {}  # where an edge passes a row

    def points(self) -> Mapping[Edge, Sequence[Point]]:
        for row in range(len(self._places)):
            self._pass(row)
        ends = self._ports(1)
        starts = self._ports(0)
        return {e: self._points(e, starts.get(e), ends[e]) for e in self._edges}

    def _pass(self, row: int) -> None:
        """A lane in a gap of `row` for each edge that goes past it."""
        gaps = _gaps(self._places[row])
        inside: dict[Point, list[tuple[float, Edge]]] = defaultdict(list)
        for edge in self._edges:
            if row in self._passed(edge):
                x = self._straight(edge, row)
                inside[min(gaps, key=lambda gap: _distance(x, gap))].append((x, edge))
        for gap, wanted in inside.items():
            wanted.sort()
            xs = _side_by_side([x for x, _ in wanted], gap, step=_LANE)
            for x, (_, edge) in zip(xs, wanted, strict=True):
                self._lanes[edge, row] = x

    def _passed(self, edge: Edge) -> range:
        return range(self._row_of[edge[0]] + 1, self._row_of[edge[1]])

    def _straight(self, edge: Edge, row: int) -> float:
        client, system = edge
        to_x = self._middles[system]
        from_x = to_x if client == self._outside else self._middles[client]
        upper, lower = self._row_of[client], self._row_of[system]
        return from_x + (to_x - from_x) * (row - upper) / (lower - upper)

    def _ports(self, end: int) -> Mapping[Edge, float]:
        """Where edges leave their client (0) or reach their system (1): side by side, each on the
        side that it goes to. From outside they fall straight, and need none.
        """
        at: dict[str, list[Edge]] = defaultdict(list)
        for edge in self._edges:
            if edge[end] != self._outside:
                at[edge[end]].append(edge)
        ports: dict[Edge, float] = {}
        for name, edges in at.items():
            middle, room = self._middles[name], SYSTEM_WIDTH / 2 - _PORT / 2
            edges.sort(key=lambda edge: (self._beside(edge, end), edge))
            xs = _side_by_side([middle] * len(edges), (middle - room, middle + room), step=_PORT)
            ports.update(zip(edges, xs, strict=True))
        return ports

    def _beside(self, edge: Edge, end: int) -> float:
        """Where the edge is at the row before or after that end."""
        passed = self._passed(edge)
        if passed:
            return self._lanes[edge, passed[-1] if end else passed[0]]
        other = edge[1 - end]
        return self._middles[edge[end] if other == self._outside else other]

    def _points(self, edge: Edge, start: float | None, end: float) -> Sequence[Point]:
        client, system = (self._places[self._row_of[name]][0] for name in edge)
        points: list[Point] = []
        for row in self._passed(edge):
            x, passed = self._lanes[edge, row], self._places[row][0]
            points += [(x, passed.y), (x, passed.y + passed.height)]
        points.append((end, system.y))
        if start is None:
            left, right = client.x + _CLEAR, client.x + client.width - _CLEAR
            start = min(max(points[0][0], left), right)
        return [(start, client.y + client.height), *points]


def _gaps(row: Sequence[Place]) -> Sequence[Point]:
    """Where lines may pass: from and to, from left to right."""
    lefts = [0.0, *(p.x + p.width for p in row)]
    rights = [*(p.x for p in row), WIDTH]
    return [(a + _CLEAR, b - _CLEAR) for a, b in zip(lefts, rights, strict=True)]


def _distance(x: float, gap: Point) -> float:
    return max(gap[0] - x, x - gap[1], 0.0)


def _side_by_side(wanted: Sequence[float], room: Point, *, step: float) -> Sequence[float]:
    """`wanted`, which rise, each as near as may be, at least `step` apart and within `room`; where
    there are too many for that, at equal distances.
    """
    low, high = room
    step = min(step, (high - low) / max(len(wanted) - 1, 1))
    count = len(wanted)
    middle = (count - 1) / 2
    if count and wanted[0] == wanted[-1]:  # all want the same: around it, not to its right
        wanted = [wanted[0] + (n - middle) * step for n in range(count)]
    xs: list[float] = []
    for n, x in enumerate(wanted):
        least = xs[-1] + step if xs else low
        xs.append(min(max(x, least), high - (count - 1 - n) * step))
    return xs


def _curves(points: Sequence[Point]) -> Iterator[tuple[Point, Point]]:
    """The ways from row to row; between them a line goes straight."""
    return (pair for n, pair in enumerate(pairwise(points)) if n % 2 == 0)


def _with_figures(ways: Mapping[Edge, Sequence[Point]]) -> Sequence[Line]:
    """The shortest lines have the least choice, and choose first."""
    taken: list[Point] = []
    figures: dict[Edge, Point] = {}
    for edge, points in sorted(ways.items(), key=lambda way: len(way[1])):
        spots = [_along(curve, part) for curve in _curves(points) for part in _FIGURE_AT]
        free = (s for s in spots if not any(_overlap(s, other) for other in taken))
        figures[edge] = next(free, spots[0])
        taken.append(figures[edge])
    return [Line(*edge, points, figures[edge]) for edge, points in ways.items()]


def _along(curve: tuple[Point, Point], part: float) -> Point:
    """A point of the curve that `Line.path` draws, and near enough to the border to be read."""
    (from_x, from_y), (to_x, to_y) = curve
    rest = 1 - part
    x = from_x + (to_x - from_x) * (3 * part**2 - 2 * part**3)
    half = 3 * rest * part * (from_y + to_y) / 2
    y = from_y * rest**3 + half + to_y * part**3
    return min(max(x, FIGURE_WIDTH / 2), WIDTH - FIGURE_WIDTH / 2), y


def _overlap(one: Point, other: Point) -> bool:
    return abs(one[0] - other[0]) < FIGURE_WIDTH and abs(one[1] - other[1]) < FIGURE_HEIGHT
