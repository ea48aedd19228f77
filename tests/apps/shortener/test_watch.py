"""What an operator sees of the shortener; and what nobody sees: keys, and who followed a link."""

import errno
import logging
import secrets
import traceback
from urllib.parse import urlsplit

import pytest

from bastide.base.errors import Unavailable
from bastide.base.faults import failing
from bastide.testing.town import raised
from tests.apps.shortener.conftest import POSTGRES_URL, REDIS_URL, Visitor, bearer, settle
from tests.apps.shortener.test_rules import SWISS_ADDRESS
from tests.base.told import at_rest, figures_of, health_of, series_of, told_by
from tests.engines.cache.kit import eventually

AGENT = "Mozilla/5.0 (X11; Linux x86_64) distinctive/7f3a9c Gecko/20100101 Firefox/140.0"


async def visitor_of(town):
    return Visitor(await town.client("shortener"), town)


def requests(door, status):
    return series_of(
        "bastide_http_requests_total", door=door, status=str(status), system="shortener"
    )


def times(door, part):
    return series_of(f"bastide_http_seconds_{part}", door=door, system="shortener")


def calls(metric, system, verb, **more):
    return series_of(f"bastide_{metric}", client="shortener", system=system, verb=verb, **more)


@pytest.mark.shows("shortener.watch")
async def test_requests_refusals_and_times_are_told_by_door():
    async with raised("shortener") as town:
        visitor = await visitor_of(town)
        await at_rest(town)
        code = (await visitor.made())["short_code"]
        before = await figures_of(town)
        for _ in range(3):
            await visitor.follow(code)
        await visitor.follow("nowhere")
        await visitor.client.get(f"/api/{code}/stats")
        town.town.runtime.faults["sql.before_commit"] = lambda: town.clock.advance(0.25)
        await visitor.shorten("https://slow.example/")
        after = await figures_of(town)

        def more(series):
            return after[series] - before.get(series, 0)

        assert more(requests("follow_link", 302)) == 3
        assert more(requests("follow_link", 404)) == 1
        assert more(requests("read_stats", 401)) == 1
        assert more(requests("shorten", 201)) == 1
        assert more(times("follow_link", "count")) == 4
        assert more(times("shorten", "sum")) >= 0.25
        assert more(calls("calls_total", "sql", "transact")) == 1
        assert more(calls("call_seconds_sum", "sql", "transact")) >= 0.25
        assert more(calls("calls_total", "cache", "get_or_load")) == 4
        assert after[series_of("bastide_bus_unrelayed", client="shortener")] == 3


@pytest.mark.shows("shortener.watch")
async def test_what_fails_is_told_with_its_outcome_and_health_with_its_reason():
    async with raised("shortener", "console") as town:
        visitor, faults = await visitor_of(town), town.town.runtime.faults
        code = (await visitor.made())["short_code"]
        await visitor.follow(code)
        await settle(town)
        assert (await health_of(town, "shortener"))["ok"] is True
        faults["sql.before_commit"] = failing(OSError(errno.EIO, "unplugged"))
        assert (await visitor.shorten("https://a.example/")).status_code == 503
        faults.clear()
        figures = await figures_of(town)
        assert figures[requests("shorten", 503)] == 1
        failed = calls("calls_failed_total", "sql", "transact", outcome="DatabaseAway")
        assert figures[failed] == 1
        faults["seglog.before_write"] = failing(OSError(errno.EIO, "the disk is gone"))
        assert (await visitor.follow(code)).status_code == 503
        found = await health_of(town, "shortener")
        assert found["ok"] is False
        assert "the disk is gone" in str(found["error"])
        faults.clear()

        async def is_well():
            return (await health_of(town, "shortener"))["ok"]

        await eventually(is_well)
        assert (await health_of(town, "shortener"))["ok"] is True
        assert (await visitor.follow(code)).status_code == 302


async def use_all(visitor):
    """Every door that takes a key, also with a wrong one; what must not be told of it."""
    made = await visitor.made(repeat="an-idempotency-key-91b2")
    code, key = made["short_code"], made["manage_key"]
    client = await visitor.town.client("shortener", address=SWISS_ADDRESS)
    await client.get(f"/{code}", headers={"user-agent": AGENT, "referer": "https://r.example/p4th"})
    wrong = f"{key[:-1]}{'0' if key[-1] != '0' else '1'}"
    for bearing in (key, wrong, "nonsense-5c1d"):
        for path in (f"/api/{code}", f"/api/{code}/stats", "/api/links", "/api/links/export.csv"):
            await visitor.client.get(path, headers=bearer(bearing))
        await visitor.change(code, bearing, title="A title")
    await visitor.client.post("/manage", data={"code": code, "key": key})
    return key, wrong, "nonsense-5c1d", SWISS_ADDRESS, "distinctive/7f3a9c", "p4th"


@pytest.mark.shows("shortener.watch")
async def test_no_key_and_no_visitor_is_in_a_log_or_on_a_page(caplog):
    caplog.set_level(logging.DEBUG)
    async with raised("shortener", "console") as town:
        visitor = await visitor_of(town)
        secrets_ = await use_all(visitor)
        town.town.runtime.faults["sql.before_commit"] = failing(OSError(errno.EIO, "unplugged"))
        await visitor.change("spring", secrets_[0], title="Lost")
        town.town.runtime.faults.clear()
        town.clock.advance(2)
        await town.served("console").beat()
        told = {**await told_by(town), "the log": caplog.text}
    for where, text in told.items():
        for secret in secrets_:
            assert secret not in text, where
    assert "shortener" in told["/systems/shortener"]


@pytest.mark.shows("shortener.watch")
async def test_a_stranger_is_told_neither_figures_nor_links():
    async with raised("shortener") as town:
        visitor = await visitor_of(town)
        await visitor.made()
        stranger = await town.client(address="192.0.2.1")
        assert (await stranger.get("/metrics")).status_code == 403
        assert (await stranger.get("/healthz")).json() == {"ok": True}
        own = await town.client("shortener", address="192.0.2.1")
        assert (await own.get("/api/reports")).status_code == 403


@pytest.mark.shows("shortener.watch")
async def test_a_start_that_fails_names_no_password(caplog):
    caplog.set_level(logging.DEBUG)
    password = secrets.token_hex()
    url = f"postgres://bastide:{password}@127.0.0.1:1/town?connect_s=0.2"
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1") as caught:
        async with raised("shortener", environ={"BASTIDE_SHORTENER_SQL_URL": url}):
            pass
    assert password not in "".join(traceback.format_exception(caught.value))
    assert password not in caplog.text


@pytest.mark.engine("postgres")
@pytest.mark.engine("redis")
@pytest.mark.shows("shortener.watch")
async def test_no_password_of_an_engine_is_in_a_log_or_on_a_page(caplog):
    assert POSTGRES_URL, "scripts/engines start"
    assert REDIS_URL, "scripts/engines start"
    caplog.set_level(logging.DEBUG)
    environ = {"BASTIDE_SHORTENER_SQL_URL": POSTGRES_URL, "BASTIDE_CACHE_URL": REDIS_URL}
    async with raised("shortener", "console", environ=environ) as town:
        visitor = await visitor_of(town)
        found = await use_all(visitor)
        told = {**await told_by(town), "the log": caplog.text}
    passwords = [urlsplit(url).password for url in (POSTGRES_URL, REDIS_URL)]
    assert all(passwords)
    for where, text in told.items():
        for secret in (*passwords, *found):
            assert secret not in text, where
    assert "postgres://127.0.0.1" in told["/systems/shortener/backends"], "no URL is seen at all"
