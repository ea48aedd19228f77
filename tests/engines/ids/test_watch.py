"""What an operator sees of the mint, and what nobody does: the secret of its codes, a bearer."""

import asyncio
import logging
from base64 import b64encode
from collections.abc import Mapping

import pytest

from bastide.base.errors import Unavailable
from bastide.base.faults import failing
from bastide.base.metrics import SAMPLE_ONE_IN
from bastide.engines.ids.contract import CountOver, FencePassed, Ids
from bastide.engines.ids.service.id_mint import SECRET_BYTES
from bastide.engines.ids.service.kept import kept
from bastide.testing.town import RaisedTown, raised
from tests.base.told import at_rest, figures_of, health_of, series_of, told_by

BEARER = "Zm9yLXRoaXMtdGVzdA"
AWAY_S = 3.0  # past the fence


def as_shortener(town: RaisedTown) -> Ids:
    """The mint as the shortener has it: its calls are counted as the shortener's."""
    [use] = [opened.use for opened in town.town.opened if opened.manifest.name == "shortener"]
    return use(Ids)


@pytest.mark.shows("ids.watch")
async def test_calls_errors_and_times_are_told_by_who_calls() -> None:
    async with raised("shortener", "console") as town:
        await at_rest(town)
        ids, before = as_shortener(town), await figures_of(town)
        for _ in range(SAMPLE_ONE_IN):
            ids.new()
        with pytest.raises(CountOver):
            ids.block(0)
        await ids.number("watched")
        town.town.runtime.faults["sql.before_commit"] = failing(OSError("unplugged"))
        with pytest.raises(Unavailable):
            await ids.number("away")
        after = await figures_of(town)

        def more(metric: str, verb: str, **outcome: str) -> float:
            series = series_of(metric, client="shortener", system="ids", verb=verb, **outcome)
            return after[series] - before.get(series, 0)

        assert more("bastide_calls_total", "new") == SAMPLE_ONE_IN
        assert more("bastide_call_seconds_count", "new") == 1
        assert more("bastide_calls_failed_total", "block", outcome="CountOver") == 1
        assert more("bastide_calls_total", "number") == 2
        assert more("bastide_call_seconds_count", "number") == 2
        assert more("bastide_calls_failed_total", "number", outcome="DatabaseAway") == 1


@pytest.mark.shows("ids.watch")
async def test_requests_are_told_by_door_and_status() -> None:
    async with raised("ids", "console") as town:
        client = await town.client("ids")
        assert (await client.get("/api/new")).is_success
        assert (await client.get("/api/new", params={"count": 0})).is_client_error
        figures = await figures_of(town)
        requests = 'bastide_http_requests_total{door="new_ids",status="%d",system="ids"}'
        assert [figures[requests % status] for status in (200, 400)] == [1, 1]
        assert figures['bastide_http_seconds_count{door="new_ids",system="ids"}'] == 2
        assert figures["bastide_ids_worker"] == 0
        assert figures["bastide_ids_fence_ahead_seconds"] > 0


@pytest.mark.shows("ids.watch")
async def test_health_tells_that_the_fence_has_passed_and_that_it_lies_ahead_again() -> None:
    async with raised("ids", "console") as town:
        assert (await health_of(town, "ids"))["ok"] is True
        town.town.runtime.faults["sql.before_commit"] = failing(OSError("unplugged"))
        town.clock.advance(AWAY_S)
        ids = town.served("ids")
        ids.block(4096)
        with pytest.raises(FencePassed):
            ids.new()
        found = await health_once(town, ok=False)
        assert "DatabaseAway" in str(found["error"])
        town.town.runtime.faults.clear()
        await health_once(town, ok=True)


async def health_once(town: RaisedTown, *, ok: bool) -> Mapping[str, object]:
    """When the mint's own work has come so far."""
    async with asyncio.timeout(5):
        while (found := await health_of(town, "ids"))["ok"] is not ok:  # noqa: ASYNC110 (sets no event)
            await asyncio.sleep(0)
    return found


@pytest.mark.shows("ids.watch")
async def test_no_secret_is_told_or_logged_whatever_breaks(caplog, monkeypatch) -> None:
    caplog.set_level(logging.DEBUG)
    async with raised("ids", "console") as town:

        async def broken(series: str) -> int:
            raise ValueError("broken for this test")

        secret = await kept(town.served("sql"), "secret", bytes(SECRET_BYTES))
        headers = {"authorization": f"Bearer {BEARER}", "cookie": f"key={BEARER}"}
        client = await town.client("ids")
        assert (await client.post("/api/code/a", headers=headers)).is_success
        monkeypatch.setattr(town.served("ids"), "number", broken)
        assert (await client.post("/api/number/a", headers=headers)).status_code == 500
        await town.served("console").beat()
        said = await told_by(town)
    assert "broken for this test" in caplog.text, "this test sees no log at all"
    for where, text in [*said.items(), ("the log", caplog.text)]:
        assert BEARER not in text, where
        for written in (secret.hex(), b64encode(secret).decode(), repr(secret)):
            assert written not in text, where
