"""The console through its doors, in a town on memory backends."""

import re
from collections.abc import AsyncIterator
from importlib.resources import files

import pytest

from bastide.apps.console.contract import NAME_MAX, NoSuchSystem
from bastide.apps.console.service.counts import LINE_LOOKS, RATE_LOOKS
from bastide.base.errors import Unavailable
from bastide.base.html.shell import has_page
from bastide.base.levels import level_of
from bastide.testing.town import RaisedTown, raised

PAGES = (
    *("/", "/settings", "/systems/ids", "/systems/ids/settings", "/systems/ids/backends"),
    *("/systems/ids/metrics", "/fragments/town", "/fragments/rail", "/fragments/systems/ids/pulse"),
    "/fragments/systems/ids/metrics",
)
DOORS = (*PAGES, "/api/map", "/api/systems", "/api/systems/ids")
BROWSER = {"accept": "text/html"}


@pytest.fixture
async def town() -> AsyncIterator[RaisedTown]:
    async with raised() as town:
        yield town


async def read(town: RaisedTown, path: str, **headers: str) -> str:
    client = await town.client()
    reply = await client.get(path, headers={**BROWSER, **headers})
    assert reply.status_code == 200, (path, reply.text)
    return reply.text


async def beat(town: RaisedTown, seconds: float = 2.0) -> None:
    town.clock.advance(seconds)
    await town.served("console").beat()


@pytest.mark.box("console.systems-by-floor")
async def test_the_front_page_shows_every_system_where_it_is_and_what_it_stands_on(town) -> None:
    told = await read(town, "/")
    tables = told[told.index(">Apps") :]
    assert (
        tables.index("/systems/shortener")
        < tables.index(">Engines")
        < tables.index('"title" href="/systems/ids"')
    )
    for manifest in town.town.manifests:
        assert f'href="/systems/{manifest.name}"' in told
        assert manifest.summary in told
    assert town.town.address_of("ids") in told
    assert "Stands on" in told
    assert "well" in told


async def test_the_first_example_of_the_readme_runs(town) -> None:
    text = (files("bastide.apps.console") / "README.md").read_text("utf-8")
    example = re.search(r"```sh\ncurl -s http://127.0.0.1:8800(\S+)\n```", text)
    assert example
    reply = await (await town.client()).get(example.group(1))
    assert [system["name"] for system in reply.json()][-1] == "console"


@pytest.mark.box("console.systems-by-floor")
async def test_systems_as_json_say_the_same(town) -> None:
    client = await town.client()
    found = {s["name"]: s for s in (await client.get("/api/systems")).json()}
    assert list(found) == [m.name for m in town.town.manifests]
    assert found["ids"]["stands_on"] == ["sql"]
    assert "shortener" in found["ids"]["carries"]
    assert found["ids"]["floor"] == "engines"
    assert {name: s["level"] for name, s in found.items()} == {
        name: level_of(name) for name in found
    }
    assert found["ids"]["ok"] is True
    assert (found["sql"]["address"], found["sql"]["has_page"]) == ("", False)


async def test_a_rate_is_of_the_last_beats_and_counts_calls_and_requests(town) -> None:
    client = await town.client()
    for _ in range(RATE_LOOKS - 1):
        await beat(town)
    for _ in range(20):
        await client.get("/ids/api/new", params={"count": 1})
    await beat(town)
    state = (await client.get("/api/systems/ids")).json()["state"]
    assert state["calls_per_s"] == 20 / (2 * (RATE_LOOKS - 1))
    assert '<span class="rate number">2.0/s</span>' in await read(town, "/fragments/rail")
    metrics = (await client.get("/metrics")).text
    assert 'bastide_system_calls_per_s{system="ids"} 2' in metrics
    assert 'bastide_system_ok{system="ids"} 1' in metrics


async def test_the_lines_are_bounded(town) -> None:
    for _ in range(LINE_LOOKS + 5):
        await beat(town)
    counts = town.served("console").counts
    assert len(counts.line("ids")) == LINE_LOOKS - 1
    assert counts.span_s == pytest.approx(2 * (LINE_LOOKS - 1))


@pytest.mark.box("console.page-for-each")
async def test_every_system_has_its_four_pages(town) -> None:
    for manifest in town.town.manifests:
        for part in ("", "/settings", "/backends", "/metrics"):
            told = await read(town, f"/systems/{manifest.name}{part}")
            assert f"<h1>{manifest.name}</h1>" in told


@pytest.mark.box("console.page-for-each")
async def test_a_readme_is_shown_as_a_page(town) -> None:
    told = await read(town, "/systems/console")
    assert '<h2 id="readme-failure-modes">Failure modes</h2>' in told
    assert "generated:" not in told


@pytest.mark.box("console.page-for-each")
async def test_settings_are_those_in_force() -> None:
    async with raised(environ={"BASTIDE_SHORTENER_CODE_LENGTH": "9"}) as town:
        client = await town.client()
        settings = (await client.get("/api/systems/shortener")).json()["settings"]
        [length] = [s for s in settings if s["variable"] == "BASTIDE_SHORTENER_CODE_LENGTH"]
        assert (length["value"], length["default"]) == ("9", "7")
        for path in ("/settings", "/systems/shortener/settings"):
            told = await read(town, path)
            assert '<code>9</code> <span class="tag">set</span>' in told


@pytest.mark.box("console.page-for-each")
async def test_backends_say_what_is_in_force_for_each_client(town) -> None:
    client = await town.client()
    found = (await client.get("/api/systems/sql")).json()["backends"]
    assert {"engine": "sql", "client": "ids", "url": "memory://"} in found
    assert {"engine": "sql", "client": "shortener", "url": "memory://"} in found
    own = (await client.get("/api/systems/ids")).json()["backends"]
    assert own == [{"engine": "sql", "client": "ids", "url": "memory://"}]
    told = await read(town, "/systems/sql/backends")
    assert "pip install 'bastide[postgres]'" in told
    assert "<code>memory://</code>" in told


@pytest.mark.box("console.page-for-each")
async def test_metrics_name_client_verb_and_failures(town) -> None:
    client = await town.client()
    reply = await client.post("/shortener/api/shorten", json={"original_url": "https://a.example"})
    assert reply.is_success, reply.text
    refused = await client.post("/shortener/api/shorten", json={"original_url": "no link"})
    assert refused.is_client_error
    found = (await client.get("/api/systems/sql")).json()["calls"]
    calls = {(c["other"], c["verb"]): c for c in found}
    assert calls["shortener", "transact"]["calls"] >= 1
    made = (await client.get("/api/systems/shortener")).json()
    assert ("sql", "transact") in {(c["other"], c["verb"]) for c in made["made"] if c["calls"]}
    [door] = [d for d in made["doors"] if d["statuses"].get("400")]
    assert door["requests"] == sum(door["statuses"].values())
    told = await read(town, "/systems/shortener/metrics")
    assert f"<code>{door['door']}</code>" in told
    assert "400: 1" in told


async def test_a_failed_call_is_told_by_the_name_of_its_error(town) -> None:
    registry = town.town.runtime.metrics
    labels = {"system": "sql", "verb": "transact", "client": "ids"}
    registry.counter("bastide_calls_failed_total", "", outcome="Unavailable", **labels).add(3)
    told = await read(town, "/systems/sql/metrics")
    assert "3 Unavailable" in told


@pytest.mark.box("console.secrets-hidden")
async def test_no_secret_of_the_settings_is_on_any_page(monkeypatch) -> None:
    async with raised() as town:
        monkeypatch.setattr(
            town.town,
            "environ",
            {"BASTIDE_SHORTENER_SQL_URL": "postgres://me:hush@db.example/town?sslkey=hush"},
        )
        for path in DOORS:
            assert "hush" not in await read(town, path.replace("ids", "shortener"))
        told = await read(town, "/systems/shortener/settings")
        assert "postgres://db.example/town" in told


async def test_a_system_that_is_not_well_says_why(town, monkeypatch) -> None:
    async def away() -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(town.served("ids"), "health", away, raising=False)
    await beat(town)
    for path in ("/", "/systems/ids"):
        told = await read(town, path)
        assert "the disk is full" in told
        assert "not well" in told
    assert "not well" in await read(town, "/fragments/rail")


async def test_a_page_asks_no_system_how_it_is(town, monkeypatch) -> None:
    asked = []

    async def ask() -> None:
        asked.append("ids")

    await beat(town)
    monkeypatch.setattr(town.served("ids"), "health", ask, raising=False)
    for path in DOORS:
        await read(town, path)
    assert not asked


@pytest.mark.box("console.operator-only")
@pytest.mark.parametrize("path", DOORS)
async def test_every_door_is_for_who_sits_at_the_machine(town, path) -> None:
    elsewhere, here = await town.client(address="192.0.2.1"), await town.client()
    for reply in (
        await elsewhere.get(path, headers=BROWSER),
        await here.get(path, headers={**BROWSER, "x-forwarded-for": "192.0.2.1"}),
    ):
        assert reply.status_code == 403
        assert not [w for w in ("ids", "sql", "shortener", "/systems/") if w in reply.text]


@pytest.mark.box("console.strangers-see-no-town")
@pytest.mark.parametrize("path", ["/nothing", "/systems/nothing", "/shortener/nothing-here"])
async def test_a_problem_page_tells_a_stranger_nothing_of_the_town(town, path) -> None:
    client = await town.client(address="192.0.2.1")
    reply = await client.get(path, headers=BROWSER)
    assert reply.status_code in (403, 404)
    assert not [w for w in ("/systems/", "http://", "ids", "sql") if w in reply.text]


@pytest.mark.parametrize("path", [path for path in DOORS if "ids" in path])
async def test_a_system_that_there_is_not_is_not_found(town, path) -> None:
    client = await town.client()
    reply = await client.get(path.replace("ids", "nothing"))
    assert reply.status_code == 404
    assert reply.json()["type"] == "urn:bastide:no-such-system"


@pytest.mark.limit("console.NAME_MAX")
@pytest.mark.parametrize(("length", "told"), [(NAME_MAX, NAME_MAX), (NAME_MAX + 1, NAME_MAX)])
def test_a_name_is_told_back_as_far_as_its_limit(length: int, told: int) -> None:
    assert str(NoSuchSystem("x" * length)).count("x") == told


@pytest.mark.box("console.one-shell")
async def test_every_page_of_every_system_stands_in_the_same_shell(town) -> None:
    for manifest in town.town.manifests:
        if has_page(manifest):
            client = await town.client(manifest.name)
            reply = await client.get("/", headers=BROWSER)
            assert '<nav class="rail"' in reply.text, manifest.name
            assert 'class="skip"' in reply.text, manifest.name


async def test_the_front_page_of_a_town_without_apps_says_how_to_begin() -> None:
    async with raised("console") as town:
        assert "bastide up --only" in await read(town, "/")
        assert "uses no engine with backends" in await read(town, "/systems/console/backends")
        assert "has no settings" in await read(town, "/systems/console/settings")


async def test_metrics_of_a_system_that_nobody_used_say_how_to_begin() -> None:
    async with raised("ids", "console") as town:
        told = await read(town, "/systems/ids/metrics")
        assert "Nothing was counted yet" in told or "Not called yet" in told
