"""The console watched itself, and what it shows while a system that it shows is away."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from bastide.apps.console import api, pages
from bastide.base.errors import Unavailable
from bastide.base.faults import failing
from bastide.engines.ids.contract import FencePassed
from bastide.testing.town import RaisedTown, raised
from bastide.town import HEALTH_S
from tests.base.told import at_rest, figures_of, health_of, series_of, told_by

BROWSER = {"accept": "text/html"}
BEARER = "Zm9yLXRoaXMtdGVzdA"
AWAY_S = 3.0  # past the fence of ids
ANSWER_S_MAX = 1.0


@pytest.fixture
async def town() -> AsyncIterator[RaisedTown]:
    async with raised("ids", "console") as town:
        await at_rest(town)
        yield town


async def beat(town: RaisedTown) -> None:
    town.clock.advance(2.0)
    await town.served("console").beat()


async def read(town: RaisedTown, path: str) -> str:
    reply = await (await town.client()).get(path, headers=BROWSER)
    assert reply.status_code == 200, reply.text
    return reply.text


@pytest.mark.shows("console.outage")
async def test_a_system_that_is_away_is_shown_as_away_until_it_is_back(town) -> None:
    ids = town.served("ids")
    await beat(town)
    assert "not well" not in await read(town, "/")
    town.town.runtime.faults["sql.before_commit"] = failing(OSError("unplugged"))
    with pytest.raises(Unavailable):
        await ids.number("a")
    await beat(town)
    told = (await (await town.client()).get("/api/map")).json()
    [edge] = [e for e in told["edges"] if (e["client"], e["system"]) == ("ids", "sql")]
    assert edge["failed_per_s"] > 0
    assert "Calls fail from ids to sql." in await read(town, "/")
    town.town.runtime.faults.clear()
    await ids.number("a")
    for _ in range(7):
        await beat(town)
    assert "Calls fail" not in await read(town, "/")
    assert "not well" not in await read(town, "/")


@pytest.mark.shows("console.outage")
async def test_a_system_that_is_not_well_for_the_outage_of_another_says_so_and_heals() -> None:
    async with raised("ids", "console") as town:
        ids = town.served("ids")
        town.town.runtime.faults["sql.before_commit"] = failing(OSError("unplugged"))
        town.clock.advance(AWAY_S)
        ids.block(4096)
        with pytest.raises(FencePassed):
            ids.new()
        await until(town, ok=False)
        for path in ("/", "/systems/ids", "/fragments/rail"):
            assert "not well" in await read(town, path)
        assert "no extension for" in await read(town, "/systems/ids")
        town.town.runtime.faults.clear()
        await until(town, ok=True)
        for path in ("/", "/systems/ids", "/fragments/rail"):
            assert "not well" not in await read(town, path)


async def until(town: RaisedTown, *, ok: bool) -> None:
    """The mint's own work has come so far, and a beat has seen it."""
    async with asyncio.timeout(5):
        while (await health_of(town, "ids"))["ok"] is not ok:  # noqa: ASYNC110 (sets no event)
            await asyncio.sleep(0)
    await beat(town)


@pytest.mark.shows("console.outage")
async def test_while_a_system_hangs_pages_are_answered_and_then_say_so(town, monkeypatch) -> None:
    asked = asyncio.Event()

    async def hang() -> None:
        asked.set()
        await asyncio.Event().wait()

    await beat(town)
    monkeypatch.setattr(town.served("ids"), "health", hang)
    beating = asyncio.create_task(beat(town))
    await asked.wait()
    async with asyncio.timeout(ANSWER_S_MAX):
        assert "not well" not in await read(town, "/")
    await beating
    assert f"no answer within {HEALTH_S:g} s" in await read(town, "/systems/ids")
    monkeypatch.undo()
    await beat(town)
    assert "not well" not in await read(town, "/systems/ids")


@pytest.mark.shows("console.watch")
async def test_its_own_requests_are_told_by_door_and_status_and_its_health(town) -> None:
    client = await town.client()
    for path in ("/api/systems/ids", "/api/systems/ids", "/api/systems/nothing"):
        await client.get(path)
    figures = await figures_of(town)
    door = {"door": "read_system", "system": "console"}
    assert figures[series_of("bastide_http_requests_total", status="200", **door)] == 2
    assert figures[series_of("bastide_http_requests_total", status="404", **door)] == 1
    assert figures[series_of("bastide_http_seconds_count", **door)] == 3
    assert figures[series_of("bastide_system_ok", system="console")] == 1
    assert (await health_of(town, "console"))["ok"] is True


@pytest.mark.shows("console.watch")
async def test_a_beat_that_fails_is_told_by_health() -> None:
    async with raised("ids", "console") as town:
        town.served("console").counts = None
        async with asyncio.timeout(5):
            while (found := await health_of(town, "console"))["ok"]:  # noqa: ASYNC110 (as above)
                await asyncio.sleep(0)
        assert found["tasks"]["watch"]["state"] == "backing-off"


@pytest.mark.shows("console.watch")
async def test_nothing_that_a_request_brings_is_logged_or_shown(town, caplog, monkeypatch) -> None:
    async def broken(name: str) -> None:
        raise ValueError("broken for this test")

    caplog.set_level(logging.DEBUG)
    headers = {"authorization": f"Bearer {BEARER}", "cookie": f"a={BEARER}"}
    client = await town.client()
    monkeypatch.setattr(town.served("console"), "read", broken)
    for kind in ("text/html", "application/json"):
        reply = await client.get("/api/systems/ids", headers={**headers, "accept": kind})
        assert reply.status_code == 500
        assert BEARER not in reply.text
        assert "broken for this test" not in reply.text
    monkeypatch.undo()
    await beat(town)
    assert "broken for this test" in caplog.text, "this test sees no log at all"
    for where, text in [*(await told_by(town)).items(), ("the log", caplog.text)]:
        assert BEARER not in text, where


def test_no_door_changes_anything() -> None:
    """So neither a repeated request nor a restart has anything to lose: see its manifest."""
    assert {row.method for row in (*api.ROWS, *pages.ROWS)} == {"GET"}
