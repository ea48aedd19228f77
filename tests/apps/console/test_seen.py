"""What Chromium shows: each system's level, that a table goes on, what the palette copies."""

import re
from collections.abc import Iterator

import httpx
import pytest

from bastide.base.levels import level_of
from tests.base.running import running

pytestmark = pytest.mark.browser

SYSTEMS = ("sql", "ids", "console")
STRIP_PX = 6


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    with running("ids", "console", data=tmp_path_factory.mktemp("town")) as address:
        yield address


def test_the_rail_shows_each_system_s_level_beside_its_name(address, page, faults_of, look) -> None:
    width, scheme = look
    tab = page(address, width=width, scheme=scheme)
    if width < 800:
        tab.get_by_role("button", name="Systems").click()
    rail = tab.get_by_role("navigation", name="Systems")
    for name in SYSTEMS:
        link = rail.get_by_role("link", name=re.compile(f"^{name} "))
        mark = link.get_by_role("img", name=f"level: {level_of(name)}", exact=True)
        assert mark.is_visible()
        beside, box = link.locator(".name").bounding_box(), mark.bounding_box()
        assert beside["x"] + beside["width"] <= box["x"], "the mark is on the name"
        assert abs(beside["y"] + beside["height"] / 2 - box["y"] - box["height"] / 2) < 4
        reached = mark.locator(".reached").count()
        assert reached == ("unrated", "bronze", "silver", "gold", "platinum").index(level_of(name))
    assert faults_of(tab, f"rail-{width}-{scheme}") == []


def edges(tab, part) -> tuple[bool, bool]:
    """Whether the left and the right edge of `part` are shaded: with nothing on it, its edge is
    not as its middle.
    """
    part.evaluate("(e) => [...e.children].forEach((c) => (c.style.visibility = 'hidden'))")
    box = part.bounding_box()

    def strip(x: float) -> bytes:
        clip = {"x": x, "y": box["y"] + 8, "width": STRIP_PX, "height": box["height"] - 16}
        picture: bytes = tab.screenshot(clip=clip)
        return picture

    middle = strip(box["x"] + box["width"] // 2)
    left, right = strip(box["x"]), strip(box["x"] + box["width"] - STRIP_PX)
    return left != middle, right != middle


def test_a_table_that_goes_on_to_the_side_is_shaded_there(address, page, look) -> None:
    width, scheme = look
    httpx.get(f"{address}/ids/api/new").raise_for_status()
    tab = page(f"{address}/systems/sql/metrics", width=width, scheme=scheme, scripts=False)
    table = tab.get_by_role("region", name="Calls of sql")
    table.scroll_into_view_if_needed()
    if width == 1280:
        assert edges(tab, table) == (False, False)
        return
    assert edges(tab, table) == (False, True)
    table.evaluate("(e) => (e.scrollLeft = 20)")
    assert edges(tab, table) == (True, True)
    table.evaluate("(e) => (e.scrollLeft = e.scrollWidth)")
    assert edges(tab, table) == (True, False)


def test_a_line_of_code_that_goes_on_to_the_side_is_shaded_too(address, page) -> None:
    tab = page(f"{address}/systems/sql", width=360, scripts=False)
    code = tab.locator(".readme pre").first
    code.scroll_into_view_if_needed()
    assert edges(tab, code) == (False, True)


@pytest.mark.box("console.palette")
def test_the_palette_copies_a_line_to_try(address, page) -> None:
    tab = page(address)
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.keyboard.press("Control+k")
    tab.keyboard.type("copy ids")
    assert tab.locator("#palette li:visible").count() == 1
    tab.keyboard.press("Enter")
    tab.get_by_role("button", name="Copied").wait_for()
    line = tab.evaluate("() => navigator.clipboard.readText()")
    assert line == f"curl '{address}/ids/api/new?count=3'"


@pytest.mark.box("console.palette")
def test_the_palette_has_an_entry_for_every_page_of_the_console(address, page) -> None:
    tab = page(address)
    found = {link.get_attribute("href") for link in tab.locator("#palette li a").all()}
    parts = ("", "/settings", "/backends", "/metrics")
    assert {f"/systems/{name}{part}" for name in SYSTEMS for part in parts} <= found
    assert {"/", "/settings"} <= found
    for href in sorted(found):
        assert tab.request.get(address + href).status == 200, href
