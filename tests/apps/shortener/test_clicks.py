"""Clicks: each answered redirect is counted once, whatever happens in between."""

import asyncio
import errno
import shutil
from contextlib import asynccontextmanager
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.apps.shortener.contract import CLICKS, Clicked
from bastide.apps.shortener.core.clicks import tallies, totals
from bastide.apps.shortener.model import Visit
from bastide.base.faults import armed, failing
from bastide.engines.bus.contract import JournalBehind
from bastide.parts.visitor.contract import Browser, Client, Device, System, Visitor
from bastide.testing.town import raised
from tests.apps.shortener.conftest import bus_of, settle

DAY_S = 24 * 3600
LONG = "https://example.com/a/long/address?with=query"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


SOMEBODY = Visitor(Client("desktop", "linux", "firefox", False), "FI", (), "")


def visit(request_id):
    return Visit(request_id, SOMEBODY, {})


def bearer(key):
    return {"authorization": f"Bearer {key}"}


@pytest.mark.box("shortener.stats")
async def test_stats_have_every_click_answered_before_they_were_asked_for(visitor):
    made = await visitor.made()
    code, key = made["short_code"], made["manage_key"]
    for count in range(1, 6):
        await visitor.follow(code)
        assert (await visitor.stats(code, key))["total_clicks"] == count


@pytest.mark.box("shortener.stats")
async def test_both_spellings_of_stats_say_the_same(visitor):
    made = await visitor.made()
    code, key = made["short_code"], made["manage_key"]
    await visitor.follow(code)
    reply = await visitor.client.get(f"/api/analytics/{code}", headers=bearer(key))
    assert reply.json() == await visitor.stats(code, key)


@pytest.mark.box("shortener.stats")
async def test_bots_are_a_part_of_the_total(visitor):
    made = await visitor.made()
    code, key = made["short_code"], made["manage_key"]
    for agent in (FIREFOX, GOOGLEBOT, "facebookexternalhit/1.1", ""):
        await visitor.follow(code, agent=agent)
    await visitor.follow(code, agent=FIREFOX, method="HEAD")
    stats = await visitor.stats(code, key)
    assert (stats["total_clicks"], stats["bot_clicks"]) == (5, 3)


async def test_only_answered_redirects_count(visitor, town):
    made = await visitor.made(expires_days=1)
    code, key = made["short_code"], made["manage_key"]
    await visitor.follow(code)
    await visitor.change(code, key, disabled=True)
    await visitor.follow(code)
    await visitor.change(code, key, disabled=False)
    town.clock.advance(DAY_S)
    await visitor.follow(code)
    assert (await visitor.stats(code, key))["total_clicks"] == 1


async def test_a_301_counts_as_often_as_it_is_asked_for(visitor):
    """Trap: a 301 makes clicks invisible; those that reach us are counted all the same."""
    made = await visitor.made(permanent=True)
    for _ in range(3):
        await visitor.follow(made["short_code"])
    assert (await visitor.stats(made["short_code"], made["manage_key"]))["total_clicks"] == 3


@pytest.mark.box("shortener.exact")
async def test_clicks_at_once_on_many_links_are_counted_each(visitor):
    key = (await visitor.made("https://example.com/0"))["manage_key"]
    codes = [
        (await visitor.made(f"https://example.com/{n}", key=key))["short_code"] for n in range(5)
    ]
    replies = await asyncio.gather(*(visitor.follow(codes[n % 5]) for n in range(200)))
    assert {r.status_code for r in replies} == {302}
    listed = await visitor.client.get("/api/links", headers=bearer(key))
    assert [link["total_clicks"] for link in listed.json()["items"]] == [40] * 5


@pytest.mark.box("shortener.exact")
async def test_a_link_that_is_near_is_followed_without_a_turn_of_the_loop():
    """Its click is written when the call returns."""
    async with raised("shortener") as town:
        client, shortener = await town.client("shortener"), town.served("shortener")
        reply = await client.post("/api/shorten", json={"original_url": LONG})
        code = reply.json()["short_code"]
        await client.get(f"/{code}")  # so that it is near
        writes = []
        with armed("seglog.before_write", lambda: writes.append(1)):
            with pytest.raises(StopIteration) as returned:
                shortener.follow(code, visit("1")).send(None)
            assert writes == [1]
        assert returned.value.value.target == LONG
        made = reply.json()
        assert await total(client, made) == 2


@pytest.mark.box("shortener.exact")
async def test_a_click_that_cannot_be_kept_is_not_answered_with_a_redirect(visitor):
    made = await visitor.made()
    code, key = made["short_code"], made["manage_key"]
    with armed("seglog.before_write", failing(OSError(errno.ENOSPC, "full"))):
        reply = await visitor.follow(code)
        assert reply.status_code == 503
        assert "location" not in reply.headers
        assert "full" in await health_error(visitor.client)
    await until(lambda: visitor.client.get("http://localhost/healthz"), 200)  # without a click
    assert (await visitor.follow(code)).status_code == 302
    total = (await visitor.stats(code, key))["total_clicks"]
    assert total >= 1  # the refused click is written too, once there is room: it was in flight


async def health_error(client):
    health = (await client.get("http://localhost/healthz")).json()
    return health["systems"]["shortener"]["error"]


@pytest.mark.box("shortener.exact")
async def test_on_a_full_disk_counts_are_read_and_say_that_they_may_lag(visitor):
    made = await visitor.made()
    code, key = made["short_code"], made["manage_key"]
    await visitor.follow(code)
    stats = await visitor.stats(code, key)
    assert (stats["total_clicks"], stats["bot_clicks"], stats["pending"]) == (1, 0, False)
    with armed("seglog.before_write", failing(OSError(errno.ENOSPC, "full"))):
        assert (await visitor.follow(code)).status_code == 503
        stats = await visitor.stats(code, key)
        assert (stats["total_clicks"], stats["pending"]) == (1, True)
        listed = await visitor.client.get("/api/links", headers=bearer(key))
        assert [link["pending"] for link in listed.json()["items"]] == [True]
    await until(lambda: visitor.client.get("http://localhost/healthz"), 200)
    assert not (await visitor.stats(code, key))["pending"]
    listed = await visitor.client.get("/api/links", headers=bearer(key))
    assert [link["pending"] for link in listed.json()["items"]] == [False]


@pytest.mark.box("shortener.exact")
@pytest.mark.parametrize("point", ["before_write", "before_sync", "after_sync"])
async def test_a_journal_that_failed_is_opened_again_and_loses_no_answered_click(visitor, point):
    made = await visitor.made()
    code, key = made["short_code"], made["manage_key"]
    answered = (await visitor.follow(code)).status_code == 302
    with armed(f"seglog.{point}", failing(OSError(errno.EIO, "input/output error"))):
        async with asyncio.timeout(5):
            while (reply := await visitor.follow(code)).status_code == 302:
                answered += 1
                await asyncio.sleep(0)  # a redirect gives no turn to the sync
    assert reply.status_code == 503
    await until(lambda: visitor.follow(code), 302)
    await until(lambda: visitor.client.get("http://localhost/healthz"), 200)
    stats = await visitor.stats(code, key)
    assert (stats["total_clicks"], stats["pending"]) == (answered + 1, False)


async def until(ask, status):
    """The disk is tried again by itself."""
    for _ in range(300):
        reply = await ask()
        if reply.status_code == status:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(reply.text)


@pytest.mark.box("shortener.exact")
@pytest.mark.parametrize("mode", ["written", "synced"])
async def test_a_redirect_waits_for_the_disk_only_if_told_to(mode):
    async with raised("shortener", environ={"BASTIDE_SHORTENER_CLICKS": mode}) as town:
        client, shortener = await town.client("shortener"), town.served("shortener")
        made = (await client.post("/api/shorten", json={"original_url": LONG})).json()
        await settle(town)
        syncs = []
        with armed("seglog.after_sync", lambda: syncs.append(1)):
            await shortener.follow(made["short_code"], visit("1"))
            assert bool(syncs) == (mode == "synced")
        assert await total(client, made) == 1


@pytest.mark.box("shortener.exact")
@pytest.mark.parametrize(
    "point", ["sql.before_commit", "sql.after_commit", "bus.handled", "bus.drained", "bus.claimed"]
)
async def test_a_count_whose_answer_is_lost_counts_nothing_twice(point, tmp_path):
    """Trap: flush by count or timer, then commit the offset: a crash in between counts again."""
    environ = {"BASTIDE_SQL_URL": "sqlite://"}
    async with raised("shortener", environ=environ, data=tmp_path) as town:
        client = await town.client("shortener")
        made = (await client.post("/api/shorten", json={"original_url": LONG})).json()
        await settle(town)
        for _ in range(3):
            await client.get(f"/{made['short_code']}")
        failed = asyncio.Event()

        def fail():
            failed.set()
            raise OSError(errno.EIO, "lost")

        with armed(point, fail):
            async with asyncio.timeout(10):
                await failed.wait()
            await client.get(f"/{made['short_code']}")
        await settle(town)
        assert await total(client, made) == 4


@pytest.mark.box("shortener.exact")
async def test_clicks_are_counted_after_a_restart(tmp_path):
    environ = {"BASTIDE_SQL_URL": "sqlite://"}
    async with raised("shortener", environ=environ, data=tmp_path) as town:
        client = await town.client("shortener")
        made = (await client.post("/api/shorten", json={"original_url": LONG})).json()
        for _ in range(7):
            await client.get(f"/{made['short_code']}")
    for count in (7, 8):
        async with raised("shortener", environ=environ, data=tmp_path) as town:
            client = await town.client("shortener")
            path = f"/api/{made['short_code']}/stats"
            stats = (await client.get(path, headers=bearer(made["manage_key"]))).json()
            assert stats["total_clicks"] == count
            await client.get(f"/{made['short_code']}")


async def test_clicks_of_a_deleted_link_disturb_nobody(visitor):
    """Trap: the counter is deleted before it is flushed."""
    one, other = await visitor.made(), await visitor.made("https://other.example")
    for made in (one, other):
        await visitor.follow(made["short_code"])
    await visitor.delete(one["short_code"], one["manage_key"])
    assert (await visitor.stats(other["short_code"], other["manage_key"]))["total_clicks"] == 1


async def test_an_expired_link_keeps_its_counts(visitor, town):
    """Kutt #971, #693: what expires is not deleted."""
    made = await visitor.made(expires_days=1)
    await visitor.follow(made["short_code"])
    town.clock.advance(400 * DAY_S)
    assert (await visitor.stats(made["short_code"], made["manage_key"]))["total_clicks"] == 1


clicks = st.builds(
    Clicked,
    st.sampled_from(["1", "2", "3"]),
    st.integers(0, 2 * DAY_S * 1000),
    st.just("x"),
    st.booleans(),
    st.sampled_from(get_args(Device)),
    st.sampled_from(get_args(System)),
    st.sampled_from(get_args(Browser)),
    st.sampled_from(["", "FI", "CH"]),
    st.sampled_from(["", "news.example"]),
)


@given(st.lists(clicks))
def test_a_tally_is_the_count_of_each_link(clicks):
    found = tallies(clicks)
    by_link = totals(found)
    assert sum(one.clicks + one.bots for one in by_link.values()) == len(clicks)
    for link_id in {click.link_id for click in clicks}:
        bots = [click.bot for click in clicks if click.link_id == link_id]
        counted = by_link[int(link_id)]
        assert (counted.clicks, counted.bots) == (bots.count(False), bots.count(True))
    for one in found.values():
        assert all(sum(names.values()) == one.clicks for names in one.shares.values())


# The journal


@asynccontextmanager
async def reopened(data, **environ):
    settings = {"BASTIDE_SQL_URL": "sqlite://", **environ}
    async with raised("shortener", environ=settings, data=data) as town:
        yield town.served("shortener"), await town.client("shortener")


async def total(client, made):
    reply = await client.get(f"/api/{made['short_code']}/stats", headers=bearer(made["manage_key"]))
    assert reply.status_code == 200, reply.text
    return reply.json()["total_clicks"]


async def made_and_followed(data, times):
    async with reopened(data) as (_, client):
        made = (await client.post("/api/shorten", json={"original_url": LONG})).json()
        for _ in range(times):
            await client.get(f"/{made['short_code']}")
        assert await total(client, made) == times
    return made


@pytest.mark.box("shortener.exact")
async def test_a_journal_that_is_lost_is_begun_anew_and_its_clicks_are_not_taken_for_old_ones(
    tmp_path,
):
    made = await made_and_followed(tmp_path, 5)
    shutil.rmtree(tmp_path / "shortener" / "bus")
    (tmp_path / "shortener" / "bus").mkdir()
    (tmp_path / "shortener" / "bus" / "of somebody else.txt").touch()
    async with reopened(tmp_path) as (_, client):
        for _ in range(3):
            await client.get(f"/{made['short_code']}")
        assert await total(client, made) == 8


@pytest.mark.box("shortener.exact")
async def test_an_older_copy_of_the_journal_is_refused_with_what_to_do(tmp_path):
    """Its offsets would be given again, and the clicks there be skipped."""
    made = await made_and_followed(tmp_path, 5)
    clicks, copy = tmp_path / "shortener" / "bus", tmp_path / "copy"
    shutil.copytree(clicks, copy)
    async with reopened(tmp_path) as (_, client):
        await client.get(f"/{made['short_code']}")
        assert await total(client, made) == 6
    shutil.rmtree(clicks)
    shutil.copytree(copy, clicks)
    with pytest.raises(JournalBehind, match=r"6 events .* were relayed, and it holds 5"):
        async with reopened(tmp_path):
            pass
    shutil.rmtree(clicks)
    async with reopened(tmp_path) as (_, client):
        await client.get(f"/{made['short_code']}")
        assert await total(client, made) == 7


@pytest.mark.box("shortener.exact")
async def test_two_processes_on_copies_of_one_journal_are_found_and_nothing_is_skipped(tmp_path):
    """A volume is cloned with its journal, and both machines count into one database."""
    shared = {"BASTIDE_SQL_URL": f"sqlite://{tmp_path / 'rows'}"}
    async with raised("shortener", environ=shared, data=tmp_path / "one") as town:
        client = await town.client("shortener")
        made = (await client.post("/api/shorten", json={"original_url": LONG})).json()
        await client.get(f"/{made['short_code']}")
        assert await total(client, made) == 1
        shutil.copytree(tmp_path / "one/shortener/bus", tmp_path / "two/shortener/bus")
        async with raised("shortener", environ=shared, data=tmp_path / "two") as other:
            there = await other.client("shortener")
            for _ in range(3):
                await there.get(f"/{made['short_code']}")
            assert await total(there, made) == 4
        await client.get(f"/{made['short_code']}")
        path = f"/api/{made['short_code']}/stats"
        stats = (await client.get(path, headers=bearer(made["manage_key"]))).json()
        assert (stats["total_clicks"], stats["pending"]) == (4, True)
        await until(lambda: client.get("http://localhost/healthz"), 503)
        assert "relayed by somebody else" in await health_error(client)
        assert (await client.get(f"/{made['short_code']}")).status_code == 503


@pytest.mark.box("shortener.kept")
async def test_every_answered_redirect_is_in_the_log_once_by_its_request(visitor, town):
    made = await visitor.made()
    replies = [await visitor.follow(made["short_code"]) for _ in range(5)]
    await settle(town)
    log = bus_of(town)._log
    entries = await log.read(CLICKS.name, 0, 0)
    found = [msgspec.json.decode(e.record.value)["data"]["request_id"] for e in entries]
    assert found == [reply.headers["x-request-id"] for reply in replies]
