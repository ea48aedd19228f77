"""The map through its doors: rates to the call, failures, what lights up, a town of forty."""

from collections.abc import AsyncIterator, Mapping
from typing import Any
from xml.etree import ElementTree

import pytest

from bastide.apps.console.contract import OUTSIDE
from bastide.apps.console.core.layout import SYSTEM_WIDTH
from bastide.apps.console.pages import show_town
from bastide.apps.console.service.console import Console
from bastide.apps.console.service.counts import LINE_LOOKS, RATE_LOOKS
from bastide.base.gate import Caller
from bastide.base.html.pages import Pages
from bastide.base.metrics import CALLS, CALLS_FAILED, Registry
from bastide.base.routes.rows import Request
from bastide.base.rt.clock import ManualClock
from bastide.base.rt.runtime import Runtime, run_on
from bastide.testing.town import RaisedTown, raised
from tests.apps.console.made_up import FORTY, UNWELL, MadeUpTown
from tests.base.told import at_rest

BEAT_S = 2.0
SPAN_S = BEAT_S * (RATE_LOOKS - 1)
PAGE_BYTES_MAX = 120_000
LETTER_PX = 8.0  # of a name, at most


@pytest.fixture
async def town() -> AsyncIterator[RaisedTown]:
    """It has stood for so long that a rate is of SPAN_S."""
    async with raised() as town:
        for _ in range(RATE_LOOKS + 1):
            await beat(town)
        yield town


async def beat(town: RaisedTown) -> None:
    town.clock.advance(BEAT_S)
    await town.served("console").beat()


async def edges(town: RaisedTown) -> Mapping[tuple[str, str], dict[str, Any]]:
    told = (await (await town.client()).get("/api/map")).json()
    return {(edge["client"], edge["system"]): edge for edge in told["edges"]}


def calls(town: RaisedTown, *, client: str, system: str, count: int, outcome: str = "") -> None:
    """Counts as the wrapper of a contract does."""
    registry, labels = town.town.runtime.metrics, {"system": system, "client": client}
    registry.counter(CALLS, "", verb="transact", **labels).add(count)
    if outcome:
        failed = {"verb": "transact", "outcome": outcome, **labels}
        registry.counter(CALLS_FAILED, "", **failed).add(count)


async def drawing(town: RaisedTown) -> ElementTree.Element:
    client = await town.client()
    return svg_of((await client.get("/", headers={"accept": "text/html"})).text)


def svg_of(page: str) -> ElementTree.Element:
    return ElementTree.fromstring(
        page[page.index('<svg class="map"') : page.index("</svg>\n</div>") + 6]
    )


def one(drawn: ElementTree.Element, id_: str) -> ElementTree.Element:
    [found] = [element for element in drawn.iter() if element.get("id") == id_]
    return found


def words(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


@pytest.mark.box("console.map")
async def test_there_is_an_edge_for_each_need_and_from_outside_to_each_system_with_doors(
    town,
) -> None:
    view = town.town
    needs = {(m.name, need) for m in view.manifests for need in view.needs_of(m.name)}
    doors = {(OUTSIDE, m.name) for m in view.manifests if m.doors}
    assert set(await edges(town)) == needs | doors
    assert ("shortener", "sql") in needs
    assert (OUTSIDE, "sql") not in doors


@pytest.mark.box("console.map-rates")
async def test_a_rate_is_to_the_call_what_was_counted_by_the_time_it_took(town) -> None:
    before = await edges(town)
    calls(town, client="shortener", system="ids", count=30)
    calls(town, client="ids", system="sql", count=7)
    await beat(town)
    found = await edges(town)
    assert found["shortener", "ids"]["per_s"] - before["shortener", "ids"]["per_s"] == 30 / SPAN_S
    assert found["ids", "sql"]["per_s"] - before["ids", "sql"]["per_s"] == 7 / SPAN_S
    assert found["shortener", "ids"]["per_s_before"] == before["shortener", "ids"]["per_s"]


@pytest.mark.box("console.map-rates")
async def test_a_rate_goes_back_to_nothing_when_its_ten_seconds_are_over(town) -> None:
    calls(town, client="shortener", system="ids", count=30)
    seen = []
    for _ in range(RATE_LOOKS):
        await beat(town)
        seen.append((await edges(town))["shortener", "ids"]["per_s"])
    assert seen == [3.0, 3.0, 3.0, 3.0, 3.0, 0.0]


@pytest.mark.box("console.map-rates")
async def test_a_town_that_nobody_calls_is_idle_though_its_health_is_asked_every_beat(town) -> None:
    await at_rest(town)
    for _ in range(RATE_LOOKS + 1):
        await beat(town)
    verbs = (await (await town.client()).get("/api/systems/sql")).json()["calls"]
    assert [v for v in verbs if v["verb"] == "health" and v["calls"]], "nothing asked in this test"
    for (client, _), edge in (await edges(town)).items():
        assert client == OUTSIDE or edge["per_s"] == 0


@pytest.mark.box("console.map-rates")
async def test_the_edges_into_a_system_add_up_to_its_own_rate(town) -> None:
    client = await town.client("shortener")
    for n in range(5):
        await client.post("/api/shorten", json={"original_url": f"https://a.example/{n}"})
    await beat(town)
    told = (await (await town.client()).get("/api/map")).json()
    for state in told["systems"]:
        into = [edge["per_s"] for edge in told["edges"] if edge["system"] == state["name"]]
        assert sum(into) == pytest.approx(state["calls_per_s"])
    assert (await edges(town))[OUTSIDE, "shortener"]["per_s"] == 5 / SPAN_S


@pytest.mark.box("console.map")
async def test_an_edge_has_its_rate_written_on_it_and_is_the_heavier_the_more_go_along(
    town,
) -> None:
    calls(town, client="shortener", system="ids", count=150)
    calls(town, client="shortener", system="sql", count=30_000)
    await beat(town)
    drawn = await drawing(town)
    assert words(one(drawn, "figure-shortener-ids")) == "15/s"
    assert words(one(drawn, "figure-shortener-sql")) == "3,000/s"
    assert "weight-3" in one(drawn, "edge-shortener-ids").get("class", "")
    assert "weight-5" in one(drawn, "edge-shortener-sql").get("class", "")
    assert "weight-0" in one(drawn, "edge-ids-sql").get("class", "")
    assert not [e for e in drawn.iter() if e.get("id") == "figure-ids-sql"]
    assert "most of all shortener to sql" in words(one(drawn, "map-text"))
    assert one(drawn, "node-ids").get("href") == "/systems/ids"


@pytest.mark.box("console.map-lights")
async def test_only_a_figure_that_differs_from_the_beat_before_lights_up(town) -> None:
    for _ in range(RATE_LOOKS + 1):  # an even stream
        calls(town, client="ids", system="sql", count=10)
        await beat(town)
    calls(town, client="ids", system="sql", count=10)
    calls(town, client="shortener", system="ids", count=30)
    await beat(town)
    drawn = await drawing(town)
    first = one(drawn, "figure-shortener-ids").get("class", "")
    assert "lit" in first
    assert "lit" not in one(drawn, "figure-ids-sql").get("class", "")
    calls(town, client="shortener", system="ids", count=30)
    await beat(town)
    second = one(await drawing(town), "figure-shortener-ids").get("class", "")
    assert "lit" in second
    assert second != first, "a browser would not begin the same animation again"


@pytest.mark.box("console.map-failures")
@pytest.mark.parametrize("outcome", ["Unavailable", "ValueError"])
async def test_what_was_away_or_broken_is_said_in_red_and_in_a_word(town, outcome) -> None:
    calls(town, client="ids", system="sql", count=20, outcome=outcome)
    await beat(town)
    found = (await edges(town))["ids", "sql"]
    assert (found["per_s"], found["failed_per_s"]) == (2.0, 2.0)
    drawn = await drawing(town)
    assert "wrong" in one(drawn, "edge-ids-sql").get("class", "")
    assert words(one(drawn, "figure-ids-sql")) == "2.0/s2.0 failed"
    assert "Calls fail from ids to sql." in words(one(drawn, "map-text"))


@pytest.mark.box("console.map-failures")
@pytest.mark.parametrize("outcome", ["NotFound", "Conflict", "CancelledError"])
async def test_a_refusal_of_another_kind_is_an_answer(town, outcome) -> None:
    calls(town, client="ids", system="sql", count=20, outcome=outcome)
    await beat(town)
    found = (await edges(town))["ids", "sql"]
    assert (found["per_s"], found["failed_per_s"]) == (2.0, 0.0)


@pytest.mark.box("console.map-failures")
async def test_a_request_that_a_fault_ended_failed_and_a_refused_one_did_not(
    town, monkeypatch
) -> None:
    async def broken() -> None:
        raise ValueError("broken for this test")

    client = await town.client()
    assert (await client.get("/api/systems/nothing")).status_code == 404
    monkeypatch.setattr(town.served("console"), "systems", broken)
    assert (await client.get("/api/systems")).status_code == 500
    monkeypatch.undo()
    await beat(town)
    found = (await edges(town))[OUTSIDE, "console"]
    assert (found["per_s"], found["failed_per_s"]) == (2 / SPAN_S, 1 / SPAN_S)


@pytest.mark.box("console.map-table")
async def test_the_tables_say_what_the_map_says(town) -> None:
    calls(town, client="shortener", system="ids", count=150, outcome="Unavailable")
    await beat(town)
    told = await (await town.client()).get("/fragments/town")
    tables = told.text[told.text.index("<table") :]
    for client, system in await edges(town):
        assert client == OUTSIDE or f'<a href="/systems/{system}">{system}</a>' in tables
    foot = tables[tables.index('class="foot"><a href="/systems/ids"') :]
    assert foot.index("15/s") < foot.index("15 failed") < foot.index("</td>")


async def test_a_town_with_nothing_but_the_console_has_a_map_of_one() -> None:
    async with raised("console") as town:
        assert list(await edges(town)) == [(OUTSIDE, "console")]
        assert "1 system, 1 edge." in words(one(await drawing(town), "map-text"))


# forty systems


@pytest.fixture
async def forty() -> tuple[Console, str]:
    """A console on forty systems, all edges busy, and the page that it shows."""
    town, runtime = MadeUpTown(), Runtime(clock=ManualClock())
    console = Console(town, runtime)
    for _ in range(LINE_LOOKS):
        runtime.clock.advance(BEAT_S)
        count_on_all_edges(runtime.metrics)
        await console.beat()
    request = Request(
        method="GET", path="/", query={}, headers={}, id_="1", origin="http://localhost:8800"
    )
    request.caller = Caller(operator=True)
    run_on(runtime)
    pages = Pages(town, "console", "bastide.apps.console.pages")
    return console, (await show_town(console, request, pages)).body.decode()


def count_on_all_edges(registry: Registry) -> None:
    for floor in (FORTY.apps, FORTY.engines):
        for client, needs in floor.items():
            for n, system in enumerate(needs):
                labels = {"system": system, "client": client, "verb": "get"}
                registry.counter(CALLS, "", **labels).add(2 * 10 ** (n + 1))


@pytest.mark.box("console.map-forty")
async def test_forty_systems_are_drawn_and_said_on_a_light_page(forty) -> None:
    console, page = forty
    drawn = svg_of(page)
    for name in (*FORTY.apps, *FORTY.engines):
        assert words(one(drawn, f"node-{name}")).startswith(name)
        assert len(name) * LETTER_PX < SYSTEM_WIDTH
    assert "not well" in words(one(drawn, f"node-{UNWELL}"))
    assert words(one(drawn, "figure-shop-queue")) == "10 k/s"
    assert f"Not well: {UNWELL}." in words(one(drawn, "map-text"))
    assert len(page.encode()) < PAGE_BYTES_MAX
    assert "style=" not in page
    assert len((await console.map()).edges) == len(console.layout.lines)
