"""The bus's pages, as somebody sees them: at every width and scheme, with and without scripts."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import msgspec
import pytest

from tests.browser.conftest import STOP_S, RunningTown

ROOT = Path(__file__).parents[2]
LONG = "bad " + "x" * 180


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """A town with a stall on its bus, where an event is tried once."""
    data = tmp_path_factory.mktemp("town")
    environ = {k: v for k, v in os.environ.items() if not k.startswith("BASTIDE_")}
    environ |= {"BASTIDE_BUS_TRIES": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "tests.engines.bus.doors.launch", "up"]
    command += ["--http", "127.0.0.1:0", "--data", str(data)]
    with (
        (data / "stderr").open("w+") as stderr,
        subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process,
    ):
        said = next((line for line in process.stdout if line.startswith("ready in")), None)
        assert said, f"the town did not start: {(data / 'stderr').read_text()}"
        yield msgspec.json.decode((data / "town.json").read_bytes(), type=RunningTown)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0, (data / "stderr").read_text()


@pytest.fixture(scope="module")
def bus(town):
    """Where the bus is."""
    return town.address("bus")


@pytest.fixture(scope="module")
def sell(town):
    def post(*items, note=""):
        sold = {"items": items, "note": note}
        httpx.post(f"{town.address('stall')}/api/sales", json=sold).raise_for_status()

    return post


@pytest.fixture(scope="module")
def dead(bus, sell):
    """The offsets of some dead letters, the newest first."""
    sell("tea", "bad milk", LONG, *(f"bad {n}" for n in range(25)), note="a note " * 20)
    return until_dead(bus, 27)


def until_dead(bus, count):
    while True:
        page = httpx.get(f"{bus}/api/dead/stall", params={"limit": 100}).raise_for_status().json()
        if len(page["items"]) >= count:
            return [one["offset"] for one in page["items"]]


@pytest.mark.box("bus.pages")
def test_an_empty_shelf_is_without_barriers_and_says_what_comes_there(
    bus, page, faults_of, look
) -> None:
    """The first of this module: nothing was sold yet."""
    width, scheme = look
    tab = page(f"{bus}/dead/stall", width=width, scheme=scheme)
    assert tab.get_by_text("No dead letter", exact=True).is_visible()
    assert faults_of(tab, f"bus-empty-{width}-{scheme}") == []


@pytest.mark.box("bus.pages")
@pytest.mark.parametrize(
    "path",
    ["/", "/topics/stall.sales", "/dead/stall", "/dead/stall/1"],
    ids=["bus", "topic", "letters", "letter"],
)
def test_every_page_is_without_barriers_and_fits_its_width(
    bus, dead, page, faults_of, look, path
) -> None:
    width, scheme = look
    tab = page(bus + path, width=width, scheme=scheme)
    assert tab.locator("h1").count() == 1
    if path == "/dead/stall":
        tab.locator("summary").nth(0).click()
        tab.locator("summary", has_text="Discard").nth(0).click()
    name = path.strip("/").replace("/", "-") or "bus"
    assert faults_of(tab, f"bus-{name}-{width}-{scheme}") == []


@pytest.mark.box("bus.pages")
def test_what_is_sold_is_seen_on_the_page_as_it_is_heard(bus, sell, page) -> None:
    tab = page(f"{bus}/")
    row = tab.locator("tr", has_text="stall.books")
    handled = row.locator("[data-label=handled]")
    before = int(handled.inner_text().replace(",", ""))
    sell("rum", "gin")
    tab.locator("tr", has_text="stall.books").locator(
        "[data-label=handled]", has_text=f"{before + 2}"
    ).wait_for()


@pytest.mark.box("bus.pages")
@pytest.mark.box("bus.replay")
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_a_dead_letter_is_discarded_by_keyboard_and_the_outcome_shown(
    bus, dead, page, scripts
) -> None:
    offset = dead[3 if scripts else 4]
    tab = page(f"{bus}/dead/stall", scripts=scripts)
    card = tab.locator(".letters > li", has=tab.get_by_role("link", name=str(offset), exact=True))
    assert not card.get_by_role("button", name=f"Discard {offset}").is_visible()
    card.locator("summary", has_text="Discard").focus()
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    told = tab.get_by_role("status").filter(has_text=f"{offset} was discarded")
    told.wait_for()
    card = tab.locator(".letters > li", has=tab.get_by_role("link", name=str(offset), exact=True))
    assert card.locator("summary", has_text="Discard").count() == 0


@pytest.mark.box("bus.pages")
@pytest.mark.box("bus.replay")
def test_what_fails_again_is_told_and_what_does_not_is_replayed(
    town, bus, dead, page, faults_of
) -> None:
    """The last of this module: then the stall bears all."""
    tab = page(f"{bus}/dead/stall/{dead[0]}", expected=(409,))

    def replay(shown):
        shown.locator("summary", has_text="Replay").click()
        shown.get_by_role("button", name=f"Replay {dead[0]}").click()

    replay(tab)
    alert = tab.get_by_role("alert")
    alert.wait_for()
    assert "failed again, and stays: Poison: bad 24 is hated" in alert.inner_text()
    assert faults_of(tab, "bus-failed-again") == []
    httpx.post(f"{town.address('stall')}/api/bear").raise_for_status()
    replay(tab.locator(".letters > li").first)
    tab.get_by_role("status").filter(has_text=f"{dead[0]} was replayed").wait_for()
