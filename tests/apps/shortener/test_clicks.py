"""Clicks: each answered redirect is counted once, whatever happens in between."""

import asyncio
import errno
import shutil
from contextlib import asynccontextmanager

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.apps.shortener.contract import JournalBehind, JournalShared
from bastide.apps.shortener.core.clicks import Click, Stretch, decode, encode, tally, totals
from bastide.apps.shortener.model import Settings, Visit
from bastide.apps.shortener.service.clicks import open_clicks
from bastide.apps.shortener.service.days import Bell
from bastide.base.errors import Unavailable
from bastide.base.faults import armed, failing
from bastide.parts.seglog.contract import LogFailed
from bastide.parts.visitor.contract import Client, Visitor
from bastide.testing.town import raised

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
        assert shortener._clicks.unfolded == 2


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
        syncs = []
        with armed("seglog.after_sync", lambda: syncs.append(1)):
            await shortener.follow(made["short_code"], visit("1"))
            assert bool(syncs) == (mode == "synced")
        assert await total(client, made) == 1


@pytest.mark.box("shortener.exact")
@pytest.mark.parametrize("point", ["sql.before_commit", "sql.after_commit"])
async def test_a_fold_whose_answer_is_lost_counts_nothing_twice(point, tmp_path):
    """Trap: flush by count or timer, then commit the offset: a crash in between counts again."""
    environ = {"BASTIDE_SQL_URL": "sqlite://"}
    async with raised("shortener", environ=environ, data=tmp_path) as town:
        client, shortener = await town.client("shortener"), town.served("shortener")
        made = (await client.post("/api/shorten", json={"original_url": LONG})).json()
        for _ in range(3):
            await client.get(f"/{made['short_code']}")
        with armed(point, failing(OSError(errno.EIO, "lost"))):
            with pytest.raises(Unavailable):
                await shortener.upkeep.fold_clicks()
            await client.get(f"/{made['short_code']}")  # the next fold reads further than this one
        path = f"/api/{made['short_code']}/stats"
        stats = (await client.get(path, headers=bearer(made["manage_key"]))).json()
        assert stats["total_clicks"] == 4


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


visitors = st.builds(
    Visitor,
    st.builds(Client),
    st.sampled_from(["", "FI", "CH"]),
    st.just(()),
    st.sampled_from(["", "news.example"]),
)


@given(
    st.text(alphabet="0123456789abcdef", max_size=30),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**63 - 1),
    visitors,
)
def test_a_click_is_read_as_it_was_written(request_id, link_id, at_ms, visitor):
    click = Click(request_id, link_id, at_ms, visitor)
    assert decode(encode(click)) == click


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2 * DAY_S * 1000), visitors)))
def test_a_tally_is_the_count_of_each_link(clicks):
    stretch = Stretch(7)
    for click in clicks:
        stretch.add_record(encode(Click("x", *click)))
    assert (stretch.first, stretch.until) == (7, 7 + len(clicks))
    found = {day: tally(heap) for day, heap in stretch.heaps.items()}
    by_link = totals(found)
    assert sum(one.clicks + one.bots for one in by_link.values()) == len(clicks)
    for link_id in {link_id for link_id, _, _ in clicks}:
        bots = [visitor.client.bot for other, _, visitor in clicks if other == link_id]
        assert (by_link[link_id].clicks, by_link[link_id].bots) == (bots.count(0), bots.count(1))
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
    shutil.rmtree(tmp_path / "shortener" / "clicks")
    (tmp_path / "shortener" / "clicks").mkdir()
    (tmp_path / "shortener" / "clicks" / "of somebody else.txt").touch()
    async with reopened(tmp_path) as (_, client):
        for _ in range(3):
            await client.get(f"/{made['short_code']}")
        assert await total(client, made) == 8


@pytest.mark.box("shortener.exact")
async def test_an_older_copy_of_the_journal_is_refused_with_what_to_do(tmp_path):
    """Its offsets would be given again, and the clicks there be skipped."""
    made = await made_and_followed(tmp_path, 5)
    clicks, copy = tmp_path / "shortener" / "clicks", tmp_path / "copy"
    shutil.copytree(clicks, copy)
    async with reopened(tmp_path) as (_, client):
        await client.get(f"/{made['short_code']}")
        assert await total(client, made) == 6
    shutil.rmtree(clicks)
    shutil.copytree(copy, clicks)
    with pytest.raises(JournalBehind, match=r"6 clicks .* are counted, and it holds 5"):
        async with reopened(tmp_path):
            pass
    shutil.rmtree(clicks)
    async with reopened(tmp_path) as (_, client):
        await client.get(f"/{made['short_code']}")
        assert await total(client, made) == 7


@pytest.mark.box("shortener.kept")
async def test_clicks_are_trimmed_when_they_are_counted_and_old_not_before(tmp_path):
    async with counting(tmp_path, kept_days=1) as (clicks, clock):
        await click(clicks, 300)
        full = size(tmp_path)
        clock.advance(2 * DAY_S)
        await clicks.trim()
        assert size(tmp_path) == full, "they are old, but not counted"
        await clicks.fold()
        await clicks.trim()
        left = size(tmp_path)
        assert left <= 2 * SEGMENT_BYTES
        await click(clicks, 300)
        await clicks.fold()
        await clicks.trim()
        assert size(tmp_path) > left + 2 * SEGMENT_BYTES, "they are counted, but not old"


async def test_a_database_that_is_an_older_copy_goes_on_with_what_the_journal_still_has(
    tmp_path, caplog
):
    async with counting(tmp_path, kept_days=0) as (clicks, clock):
        await click(clicks, 300)
        await clicks.fold()
        clock.advance(1)
        await clicks.trim()
    async with counting(tmp_path, kept_days=0) as (clicks, _):  # its database has heard nothing
        assert 0 < clicks.unfolded < 300
        await clicks.fold()
        assert clicks.unfolded == 0
    assert "clicks 0 to" in caplog.text


@pytest.mark.box("shortener.exact")
async def test_a_journal_that_cannot_be_opened_again_refuses_and_is_tried_again(tmp_path):
    async with counting(tmp_path) as (clicks, _):
        await click(clicks, 3)
        failed = failing(OSError(errno.EIO, "input/output error"))
        with armed("seglog.before_sync", failed), pytest.raises(LogFailed):
            await clicks.fold()
        with armed("seglog.before_write", failed):
            for _ in range(2):
                with pytest.raises(Unavailable, match=r"can't be opened: .*input/output"):
                    await clicks.tend()
                with pytest.raises(Unavailable):
                    await click(clicks, 1)
                for refusing in (clicks.fold, clicks.trim):
                    with pytest.raises(Unavailable):
                        await refusing()
        await clicks.tend()
        assert clicks.unfolded == 0
        await click(clicks, 2)
        await clicks.fold()
        clicks.check()


async def test_a_journal_that_is_an_older_copy_when_opened_again_is_refused(tmp_path):
    journal, copy = tmp_path / "clicks", tmp_path / "copy"
    async with counting(journal) as (clicks, _):
        await click(clicks, 3)
        await clicks.fold()
        shutil.copytree(journal, copy)
        await click(clicks, 3)
        await clicks.fold()
        await fail(clicks)
        shutil.rmtree(journal)
        shutil.copytree(copy, journal)
        for _ in range(2):
            with pytest.raises(JournalBehind, match=r"6 clicks .* are counted, and it holds 3"):
                await clicks.tend()
            with pytest.raises(Unavailable):
                await click(clicks, 1)


async def fail(clicks):
    error = failing(OSError(errno.EIO, "input/output error"))
    with armed("seglog.before_write", error), pytest.raises(LogFailed):
        await click(clicks, 1)


@pytest.mark.box("shortener.exact")
async def test_two_processes_on_copies_of_one_journal_are_found_and_nothing_is_skipped(tmp_path):
    """A volume is cloned with its journal, and both machines count into one database."""
    async with reopened(tmp_path) as (shortener, client):
        made = (await client.post("/api/shorten", json={"original_url": LONG})).json()
        await client.get(f"/{made['short_code']}")
        assert await total(client, made) == 1
        shutil.copytree(tmp_path / "shortener" / "clicks", tmp_path / "copy")
        copy, bell = tmp_path / "copy", shortener._bell
        async with open_clicks(copy, shortener._db, bell, Settings()) as other:
            await click(other, 3)
            await other.fold()
        await client.get(f"/{made['short_code']}")
        with pytest.raises(JournalShared, match=r"4 clicks .* and we have counted 1: .* a copy"):
            await shortener.upkeep.fold_clicks()
        stats = await client.get(
            f"/api/{made['short_code']}/stats", headers=bearer(made["manage_key"])
        )
        assert (stats.json()["total_clicks"], stats.json()["pending"]) == (1, True)
        await until(lambda: client.get("http://localhost/healthz"), 503)  # by its worker
        assert "JournalShared" in await health_error(client)


@pytest.mark.box("shortener.exact")
async def test_a_copy_of_the_journal_is_found_also_after_a_fold_that_failed(tmp_path):
    async with reopened(tmp_path) as (shortener, _):
        async with open_clicks(tmp_path / "one", shortener._db, shortener._bell, Settings()) as one:
            await click(one, 5)
            await one.fold()
        shutil.copytree(tmp_path / "one", tmp_path / "other")
        async with (
            open_clicks(tmp_path / "one", shortener._db, shortener._bell, Settings()) as one,
            open_clicks(tmp_path / "other", shortener._db, shortener._bell, Settings()) as other,
        ):
            await click(one, 12)
            await click(other, 10)
            lost = failing(OSError(errno.EIO, "lost"))
            with armed("sql.before_commit", lost), pytest.raises(Unavailable):
                await other.fold()
            await one.fold()
            for _ in range(2):
                with pytest.raises(JournalShared):
                    await other.fold()
            assert (one.unfolded, other.unfolded) == (0, 10)


@pytest.mark.box("shortener.kept")
async def test_a_journal_above_its_size_drops_counted_clicks_though_their_stamps_are_wrong(
    tmp_path,
):
    """A clock that was once far ahead: stamps never fall, so no click since then looks old."""
    bytes_max = 3 * SEGMENT_BYTES
    async with counting(tmp_path, clicks_journal_bytes_max=bytes_max) as (clicks, clock):
        clock.step(3650 * DAY_S)
        await click(clicks, 1)
        clock.step(-3650 * DAY_S)
        for _ in range(3):
            await click(clicks, 300)
            clock.advance(30 * DAY_S)
            await clicks.trim()
            assert size(tmp_path) > bytes_max, "they are not counted"
            await clicks.fold()
            await clicks.trim()
            assert size(tmp_path) <= bytes_max
        assert clicks.unfolded == 0


def test_the_size_of_the_journal_has_a_least():
    least = 16 << 20
    msgspec.convert({"clicks_journal_bytes_max": least}, Settings)
    with pytest.raises(msgspec.ValidationError, match="clicks_journal_bytes_max"):
        msgspec.convert({"clicks_journal_bytes_max": least - 1}, Settings)


SEGMENT_BYTES = 4096


@asynccontextmanager
async def counting(directory, *, kept_days=7, **more):
    """Clicks on a journal of small files, and a new database."""
    settings = Settings(clicks_kept_days=kept_days, **more)
    async with raised("shortener") as town:
        names = [(opened.manifest.name, opened.client.name) for opened in town.town.opened]
        database = town.town.opened[names.index(("sql", "shortener"))].served
        bell = Bell(town.town.opened[names.index(("pubsub", "shortener"))].served)
        small = {"segment_bytes": SEGMENT_BYTES}
        async with open_clicks(directory, database, bell, settings, **small) as clicks:
            yield clicks, town.clock


async def click(clicks, count):
    for n in range(count):
        await clicks.record(Click(f"{n:018}", 1, 0, SOMEBODY))


def size(directory):
    return sum(file.stat().st_size for file in directory.rglob("*.segment"))
