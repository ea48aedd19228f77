"""The picture of a history: well-formed, whole in itself, and about what is marked."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from bastide.parts.histories.core.linearizability import check
from bastide.parts.histories.core.models import Register
from bastide.parts.histories.drawing import SHOWN_MAX, draw
from tests.parts.histories.kit import PlainRegister, lost, op, run

SVG = "{http://www.w3.org/2000/svg}"


def bars(picture):
    """Class and whole text of each bar, and its place."""
    root = ElementTree.fromstring(picture)
    return [
        (group.get("class"), group.find(f"{SVG}title").text, group.find(f"{SVG}rect").attrib)
        for group in root.iter(f"{SVG}g")
    ]


def test_each_operation_is_a_bar_in_the_colour_of_its_outcome():
    history = [
        op("a", "write", 1, 0, 4),
        op("b", "cas", (1, 2), 1, 2, outcome="failed"),
        lost("c", "write", 3, 2),
        op("a", "read", None, 5, 6, 7),
    ]
    picture = draw(history, [history[3].number], title="x <is> wrong")
    found = {text.split(": ")[1]: kind for kind, text, _ in bars(picture)}
    assert found == {
        "write 1 (0 to 4, ok)": "ok",
        "cas (1 2) failed (1 to 2, failed)": "failed",
        "write 3 ? (2 to never, unknown)": "unknown",
        "read → 7 (5 to 6, ok)": "ok marked",
    }
    assert "x &lt;is&gt; wrong" in picture


def test_it_needs_nothing_from_outside_and_knows_light_and_dark():
    picture = draw([op("a", "write", "<&\"'>", 0, 1)], title='"quoted"')
    assert "prefers-color-scheme: dark" in picture
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")
    ElementTree.fromstring(picture)


def test_no_two_bars_of_a_lane_overlap_and_all_are_inside():
    history = run(PlainRegister(), 3, operations=150, clients=6, unknown=0.1, failed=0.1)
    history.append(op("c1", "read", None, 0.01, 50, 1))
    picture = draw(history)
    width = float(re.search(r'width="(\d+)"', picture).group(1))
    lanes = {}
    for _, _, place in bars(picture):
        x, wide = float(place["x"]), float(place["width"])
        assert 90 <= x < x + wide <= width
        lanes.setdefault(place["y"], []).append((x, x + wide))
    for places in lanes.values():
        places.sort()
        narrow = 3.1  # the least width that a bar has, and what rounding adds
        assert all(one[1] <= two[0] + narrow for one, two in pairwise(places))


@pytest.mark.limit("histories.SHOWN_MAX")
def test_so_many_are_drawn_and_of_more_those_around_the_failure():
    history = run(PlainRegister(), 3, operations=SHOWN_MAX, clients=6)
    assert len(bars(draw(history))) == SHOWN_MAX
    history = run(PlainRegister(), 3, operations=SHOWN_MAX + 1, clients=6)
    assert len(bars(draw(history))) == SHOWN_MAX

    history = run(PlainRegister(), 3, operations=2_000, clients=6)
    middle = history[1_000]
    picture = draw(history, [middle.number])
    found = [int(text.split()[0]) for _, text, _ in bars(picture)]
    assert len(found) == SHOWN_MAX
    assert min(found) < 1_000 < max(found)
    assert max(found) - min(found) < SHOWN_MAX + 40
    assert f"{SHOWN_MAX} of 2000 operations" in picture


def test_a_witness_can_be_drawn():
    history = [op("a", "write", 1, 0, 1), op("b", "read", None, 2, 3, 9)]
    (witness,) = check(history, Register()).witnesses
    picture = draw(history, [o.number for o in witness.stuck])
    assert [kind for kind, _, _ in bars(picture)] == ["ok", "ok marked"]


def test_nothing_can_be_drawn():
    assert bars(draw([])) == []
