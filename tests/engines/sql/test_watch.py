"""What an operator sees of a database, and what nobody does: its password."""

import asyncio
import logging
import secrets
import traceback
from urllib.parse import urlsplit

import pytest

from bastide.base.errors import Unavailable
from bastide.base.faults import failing
from bastide.engines.sql.contract import DatabaseAway
from bastide.testing.town import raised
from tests.base.told import at_rest, figures_of, health_of, series_of, told_by

BY_IDS = {"client": "ids", "system": "sql", "verb": "transact"}
COMMIT_S = 0.25


@pytest.mark.shows("sql.watch")
async def test_calls_errors_and_times_are_told_by_who_calls():
    async with raised("ids", "console") as town:
        ids, faults = town.served("ids"), town.town.runtime.faults
        await at_rest(town)
        before = await figures_of(town)
        await ids.number("a")
        faults["sql.before_commit"] = lambda: town.clock.advance(COMMIT_S)
        await ids.number("b")
        faults["sql.before_commit"] = failing(OSError("unplugged"))
        with pytest.raises(Unavailable):
            await ids.number("c")
        faults.clear()
        after = await figures_of(town)

        def more(metric, **labels):
            series = series_of(metric, **labels)
            return after[series] - before.get(series, 0)

        assert more("bastide_calls_total", **BY_IDS) == 3
        assert more("bastide_calls_failed_total", outcome="DatabaseAway", **BY_IDS) == 1
        assert more("bastide_call_seconds_count", **BY_IDS) == 3
        assert more("bastide_call_seconds_sum", **BY_IDS) == pytest.approx(COMMIT_S)
        assert more("bastide_sql_bodies_total", client="ids") >= 2
        assert (await health_of(town, "sql"))["ok"] is True
        [call] = [
            one
            for one in (await (await town.client()).get("/api/systems/sql")).json()["calls"]
            if (one["other"], one["verb"]) == ("ids", "transact")
        ]
        assert call["failures"]["DatabaseAway"] == 1


@pytest.mark.shows("sql.watch")
async def test_a_stranger_is_told_no_figure():
    async with raised("ids") as town:
        stranger = await town.client(address="192.0.2.1")
        assert (await stranger.get("/metrics")).status_code == 403
        assert (await stranger.get("/healthz")).json() == {"ok": True}


@pytest.mark.shows("sql.watch")
async def test_a_start_that_fails_names_no_password(caplog):
    caplog.set_level(logging.DEBUG)
    password = secrets.token_hex()
    url = f"postgres://bastide:{password}@127.0.0.1:1/town?connect_s=0.2"
    with pytest.raises(DatabaseAway, match=r"127\.0\.0\.1") as caught:
        async with raised("ids", environ={"BASTIDE_SQL_URL": url}):
            pass
    assert password not in "".join(traceback.format_exception(caught.value))
    assert password not in caplog.text


@pytest.mark.shows("sql.watch")
@pytest.mark.engine("postgres")
async def test_an_outage_is_told_with_its_reason_and_without_the_password(own_server, caplog):
    caplog.set_level(logging.DEBUG)
    url, server = own_server
    password = urlsplit(url).password
    environ = {"BASTIDE_SQL_URL": f"{url}?connect_s=1"}
    async with raised("ids", "console", environ=environ) as town:
        await asyncio.to_thread(server, "halt")
        with pytest.raises(Unavailable):
            await town.served("ids").number("a")
        found = await health_of(town, "sql")
        assert found["ok"] is False
        assert "does not answer" in str(found["error"])
        town.clock.advance(2)
        await town.served("console").beat()
        away = await told_by(town)
        assert "not well" in away["/"]
        await asyncio.to_thread(server, "start")
        assert await town.served("ids").number("a") == 0
        town.clock.advance(2)
        await town.served("console").beat()
        back = await told_by(town)
        assert (await health_of(town, "sql"))["ok"] is True
    for path, text in [*away.items(), *back.items(), ("the log", caplog.text)]:
        assert password not in text, path
    assert "postgres://127.0.0.1" in back["/systems/ids/backends"], "this test sees no URL at all"
