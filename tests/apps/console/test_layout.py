"""The map's layout: what holds for every town, by chance and for one of forty."""

import re
from collections.abc import Mapping, Sequence
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.apps.console.core.layout import (
    FIGURE_HEIGHT,
    FIGURE_WIDTH,
    ROW_SYSTEMS_MAX,
    WIDTH,
    Layout,
    Place,
    layout_of,
)
from tests.apps.console.made_up import FORTY

Floor = Mapping[str, Sequence[str]]
HEIGHT_READ_MAX = 1200  # a screen and a half


def laid_out(apps: Floor, engines: Floor, doors: Sequence[str] = ()) -> Layout:
    return layout_of([apps, engines], outside="outside", doors=doors)


@st.composite
def towns(draw: st.DrawFn) -> tuple[Floor, Floor, Sequence[str]]:
    engines: dict[str, list[str]] = {}
    for n in range(draw(st.integers(0, 20))):
        engines[f"e{n}"] = draw(_some_of(engines))
    apps: dict[str, list[str]] = {}
    for n in range(draw(st.integers(0, 20))):
        apps[f"a{n}"] = draw(_some_of({**engines, **apps}))
    return apps, engines, draw(_some_of({**apps, **engines}, most=40))


def _some_of(names: Mapping[str, object], *, most: int = 4) -> st.SearchStrategy[list[str]]:
    if not names:
        return st.just([])
    return st.lists(st.sampled_from(sorted(names)), unique=True, max_size=most)


def places_of(made: Layout) -> Mapping[str, Place]:
    return {place.name: place for place in made.places}


def apart(one: Place, other: Place) -> bool:
    return (
        one.x + one.width <= other.x
        or other.x + other.width <= one.x
        or one.y + one.height <= other.y
        or other.y + other.height <= one.y
    )


def within(x: float, y: float, place: Place) -> bool:
    """By more than a rounding."""
    right, bottom = place.x + place.width, place.y + place.height
    return place.x + 0.1 < x < right - 0.1 and place.y + 0.1 < y < bottom - 0.1


def drawn_points(path: str) -> list[tuple[float, float]]:
    """Many points of what a browser draws of an SVG path of M, V and C."""
    points: list[tuple[float, float]] = []
    for letter, numbers in re.findall(r"([MVC])([-\d. ]+)", path):
        values = [float(n) for n in numbers.split()]
        match letter:
            case "M":
                points.append((values[0], values[1]))
            case "V":
                points += [(points[-1][0], (points[-1][1] + values[0]) / 2)]
                points += [(points[-1][0], values[0])]
            case _:
                xs, ys = [points[-1][0], *values[::2]], [points[-1][1], *values[1::2]]
                points += [(bezier(xs, n / 20), bezier(ys, n / 20)) for n in range(1, 21)]
    return points


def bezier(corners: Sequence[float], part: float) -> float:
    rest = 1 - part
    a, b, c, d = corners
    return rest**3 * a + 3 * rest**2 * part * b + 3 * rest * part**2 * c + part**3 * d


def faults(made: Layout) -> list[str]:
    """Whatever makes a map wrong or hard to read, but for figures on figures."""
    places = places_of(made)
    found = [f"{a.name} on {b.name}" for a, b in combinations(made.places, 2) if not apart(a, b)]
    found += [
        f"{p.name} sticks out"
        for p in made.places
        if p.x < 0 or p.x + p.width > WIDTH or p.y + p.height > made.height
    ]
    for line in made.lines:
        client, system = places[line.client], places[line.system]
        (from_x, from_y), (to_x, to_y) = line.points[0], line.points[-1]
        if from_y != client.y + client.height or not 0 < from_x - client.x < client.width:
            found.append(f"{line.client}-{line.system} does not begin at its client")
        if to_y != system.y or not 0 < to_x - system.x < system.width:
            found.append(f"{line.client}-{line.system} does not end at its system")
        for x, y in drawn_points(line.path):
            found += [f"{line.path} through {p.name}" for p in made.places if within(x, y, p)]
            if not 0 <= x <= WIDTH:
                found.append(f"{line.path} leaves the map")
        if any(within(*line.figure, place) for place in made.places):
            found.append(f"the figure of {line.client}-{line.system} is on a system")
    return found


def figures_on_figures(made: Layout) -> int:
    return sum(
        abs(a.figure[0] - b.figure[0]) < FIGURE_WIDTH
        and abs(a.figure[1] - b.figure[1]) < FIGURE_HEIGHT
        for a, b in combinations(made.lines, 2)
    )


@pytest.mark.box("console.map-layout")
@settings(max_examples=40, deadline=None)
@given(towns())
def test_in_any_town_no_system_is_covered_and_every_line_ends_at_its_systems(
    town: tuple[Floor, Floor, Sequence[str]],
) -> None:
    made = laid_out(*town)
    apps, engines, doors = town
    wanted = {(c, s) for floor in (apps, engines) for c, on in floor.items() for s in on}
    assert {(line.client, line.system) for line in made.lines} == wanted | {
        ("outside", name) for name in doors
    }
    assert {p.name for p in made.places} == {*apps, *engines, *(["outside"] if doors else [])}
    assert faults(made) == []


@settings(max_examples=40, deadline=None)
@given(towns())
def test_whoever_stands_on_another_is_above_it_and_apps_are_above_engines(
    town: tuple[Floor, Floor, Sequence[str]],
) -> None:
    made = laid_out(*town)
    places = places_of(made)
    for line in made.lines:
        assert places[line.client].y < places[line.system].y
    apps, engines, _ = town
    assert all(places[a].y < places[e].y for a in apps for e in engines)


@given(towns())
@settings(max_examples=20, deadline=None)
def test_the_same_town_gives_the_same_map(town: tuple[Floor, Floor, Sequence[str]]) -> None:
    apps, engines, doors = town
    assert laid_out(apps, engines, doors) == laid_out(apps, engines, doors[::-1])


@pytest.mark.box("console.map-layout")
def test_a_town_of_forty_can_be_read() -> None:
    made = laid_out(FORTY.apps, FORTY.engines, FORTY.doors)
    assert len(made.places) == 41
    assert len(made.lines) > 100
    assert faults(made) == []
    assert figures_on_figures(made) == 0
    assert made.height < HEIGHT_READ_MAX


@pytest.mark.parametrize("count", [ROW_SYSTEMS_MAX, ROW_SYSTEMS_MAX + 1])
def test_a_row_holds_so_many_and_not_one_more(count: int) -> None:
    made = laid_out({}, {f"e{n}": () for n in range(count)})
    assert len({place.y for place in made.places}) == (1 if count == ROW_SYSTEMS_MAX else 2)
    assert faults(made) == []


def test_two_that_cross_are_put_in_order() -> None:
    made = laid_out({"a": ["y"], "b": ["x"]}, {"x": (), "y": ()})
    places = places_of(made)
    assert (places["a"].x < places["b"].x) == (places["y"].x < places["x"].x)


def test_a_line_past_a_row_goes_around_what_stands_there() -> None:
    made = laid_out({"app": ["ground", "middle"]}, {"ground": (), "middle": ["ground"]})
    [line] = [one for one in made.lines if (one.client, one.system) == ("app", "ground")]
    assert len(line.points) == 4
    assert faults(made) == []


def test_a_town_of_nothing_is_an_empty_map() -> None:
    assert laid_out({}, {}) == Layout(WIDTH, 0.0, [], [])
