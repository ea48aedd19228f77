"""Who followed a link, by day, country, device, browser, system and referrer; and nothing more."""

import struct
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec
import pytest

from bastide.apps.shortener.contract import DAYS_SHOWN_MAX, OTHER, PLACES_MAX
from bastide.apps.shortener.core.clicks import SHARES_SHOWN_MAX
from bastide.apps.shortener.core.owners import owner_of_key
from bastide.apps.shortener.service.upkeep import CLEANED_MAX
from bastide.apps.shortener.tables import DAY_ADD, DAYS_OF_LINK, DAYS_OLD
from bastide.base.faults import armed, failing
from bastide.engines.log.contract import LogAway
from bastide.engines.sql.contract import FETCH_ROWS_MAX
from bastide.testing.town import raised
from tests.apps.shortener.conftest import Visitor, bearer, settle
from tests.apps.shortener.test_rules import (
    FINNISH_ADDRESS,
    FIREFOX,
    GOOGLEBOT,
    IPHONE,
    SWISS_ADDRESS,
)
from tests.base.told import at_rest

DAY_S = 24 * 3600
ALL_DAYS = 1 << 40
KINDS = {"country", "device", "browser", "system", "referrer"}


async def visit(visitor, code, *, agent=FIREFOX, address="127.0.0.1", referrer="", **headers):
    client = await visitor.town.client("shortener", address=address)
    sent = {"user-agent": agent, **({"referer": referrer} if referrer else {}), **headers}
    assert (await client.get(f"/{code}", headers=sent)).status_code == 302


def shares(stats, kind):
    return {share["name"]: share["clicks"] for share in stats["by"][kind]}


def today(town):
    return datetime.fromtimestamp(town.clock.now_ms() / 1000, UTC).date()


@pytest.fixture
async def linked(visitor):
    """A visitor, a code, its key."""
    made = await visitor.made()
    return visitor, made["short_code"], made["manage_key"]


# By day


@pytest.mark.limit("shortener.DAYS_SHOWN_MAX")
@pytest.mark.box("shortener.days")
async def test_the_last_days_are_told_the_oldest_first_and_today_last(linked, town):
    visitor, code, key = linked
    days = (await visitor.stats(code, key))["days"]
    dates = [today(town) - timedelta(days=n) for n in range(DAYS_SHOWN_MAX)]
    assert [day["date"] for day in days] == [date.isoformat() for date in reversed(dates)]
    assert {(day["clicks"], day["bots"]) for day in days} == {(0, 0)}
    asked = (1, DAYS_SHOWN_MAX, DAYS_SHOWN_MAX + 1)
    shortener, owner = town.served("shortener"), owner_of_key(key)
    told = [len((await shortener.analytics(code, owner, days=n)).days) for n in asked]
    assert told == [1, DAYS_SHOWN_MAX, DAYS_SHOWN_MAX]


@pytest.mark.box("shortener.days")
async def test_a_day_begins_at_midnight_utc(linked, town):
    visitor, code, key = linked
    left_ms = DAY_S * 1000 - town.clock.now_ms() % (DAY_S * 1000)
    town.clock.advance((left_ms - 1) / 1000)
    await visit(visitor, code)
    town.clock.advance(0.001)
    assert town.clock.now_ms() % (DAY_S * 1000) == 0
    for _ in range(2):
        await visit(visitor, code)
    await visit(visitor, code, agent=GOOGLEBOT)
    days = (await visitor.stats(code, key))["days"]
    assert [(day["clicks"], day["bots"]) for day in days[-2:]] == [(1, 0), (2, 1)]
    assert days[-1]["date"] == today(town).isoformat()


@pytest.mark.box("shortener.days")
async def test_a_day_that_is_no_longer_shown_stays_in_the_total(linked, town):
    visitor, code, key = linked
    await visit(visitor, code)
    town.clock.advance((DAYS_SHOWN_MAX - 1) * DAY_S)
    assert (await visitor.stats(code, key))["days"][0]["clicks"] == 1
    town.clock.advance(DAY_S)
    stats = await visitor.stats(code, key)
    assert sum(day["clicks"] for day in stats["days"]) == 0
    assert stats["by"]["country"] == []
    assert stats["total_clicks"] == 1


# By what is known of a visit


@pytest.mark.box("shortener.days")
async def test_people_are_counted_by_what_they_tell_and_bots_apart(linked):
    visitor, code, key = linked
    await visit(visitor, code, agent=IPHONE, address=FINNISH_ADDRESS)
    await visit(visitor, code, address=SWISS_ADDRESS, referrer="https://News.example/a?q=secret")
    await visit(visitor, code, referrer="https://news.example/b")
    await visit(visitor, code, agent=GOOGLEBOT, address=FINNISH_ADDRESS, referrer="https://b.eg/")
    stats = await visitor.stats(code, key)
    assert (stats["total_clicks"], stats["bot_clicks"]) == (4, 1)
    assert stats["by"].keys() == KINDS
    assert shares(stats, "country") == {"FI": 1, "CH": 1, "": 1}
    assert shares(stats, "device") == {"mobile": 1, "desktop": 2}
    assert shares(stats, "browser") == {"safari": 1, "firefox": 2}
    assert shares(stats, "system") == {"ios": 1, "linux": 2}
    assert stats["by"]["referrer"][0] == {"name": "news.example", "clicks": 2}
    assert shares(stats, "referrer") == {"news.example": 2, "": 1}


@pytest.mark.box("shortener.days")
async def test_a_country_that_is_claimed_is_not_believed(linked):
    visitor, code, key = linked
    forged = {"x-forwarded-for": FINNISH_ADDRESS, "x-real-ip": FINNISH_ADDRESS, "via": "1.1 fi"}
    await visit(visitor, code, address=SWISS_ADDRESS, **forged)
    assert shares(await visitor.stats(code, key), "country") == {"CH": 1}


@pytest.mark.box("shortener.days")
async def test_behind_a_trusted_proxy_the_visitors_country_counts(raised_with):
    visitor = await raised_with(BASTIDE_TRUSTED_PROXIES="127.0.0.1/32")
    made = await visitor.made()
    claimed = {"x-forwarded-for": f"{SWISS_ADDRESS}, {FINNISH_ADDRESS}"}
    await visit(visitor, made["short_code"], **claimed)
    stats = await visitor.stats(made["short_code"], made["manage_key"])
    assert shares(stats, "country") == {"FI": 1}, "the hop that the proxy itself saw"


@pytest.mark.box("shortener.days")
@pytest.mark.parametrize("seed", range(3))
async def test_all_sums_agree_with_the_totals(seed, visitor, town):
    print(f"seed {seed}")
    chance = Random(seed)
    links = [await visitor.made(f"https://{n}.example/") for n in range(3)]
    expected = {link["short_code"]: [0, 0] for link in links}
    for _ in range(60):
        code, agent = chance.choice([*expected]), chance.choice([FIREFOX, IPHONE, GOOGLEBOT])
        referrer = chance.choice(["", "https://a.example", "https://b.example"])
        address = chance.choice([FINNISH_ADDRESS, SWISS_ADDRESS])
        await visit(visitor, code, agent=agent, address=address, referrer=referrer)
        expected[code][agent == GOOGLEBOT] += 1
        town.clock.advance(chance.choice([0, 3600, 8 * 3600]))
        if chance.random() < 0.2:
            await settle(town)
    for link in links:
        stats = await visitor.stats(link["short_code"], link["manage_key"])
        people, bots = expected[link["short_code"]]
        assert (stats["total_clicks"], stats["bot_clicks"]) == (people + bots, bots)
        assert sum(day["clicks"] for day in stats["days"]) == people
        assert sum(day["bots"] for day in stats["days"]) == bots
        for kind in KINDS:
            assert sum(shares(stats, kind).values()) == people, kind


@pytest.mark.limit("shortener.PLACES_MAX")
@pytest.mark.box("shortener.days")
@pytest.mark.parametrize("counts", [1, 2])
@pytest.mark.parametrize(("names", "others"), [(PLACES_MAX, 0), (PLACES_MAX + 1, 1)])
async def test_a_day_has_so_many_names_and_all_others_are_one(names, others, counts, visitor, town):
    """Whoever invents referrers fills no table."""
    shortener, made = town.served("shortener"), await visitor.made()
    code, key = made["short_code"], made["manage_key"]
    for n in range(names):
        await visit(visitor, code, referrer=f"https://r{n}.example/")
        if counts > 1 and n == PLACES_MAX // 2:
            await settle(town)
    await visit(visitor, code, referrer="https://r0.example/")
    await settle(town)
    kept = await kept_shares(shortener)
    assert len(kept["referrer"]) == PLACES_MAX + bool(others)
    assert kept["referrer"].get(OTHER, 0) == others
    assert sum(kept["referrer"].values()) == names + 1
    shown = (await visitor.stats(code, key))["by"]["referrer"]
    assert len(shown) == SHARES_SHOWN_MAX + 1
    assert shown[0] == {"name": "r0.example", "clicks": 2}
    assert shown[-1] == {"name": OTHER, "clicks": names + 1 - 2 - (SHARES_SHOWN_MAX - 1)}


async def kept_shares(shortener):
    """Of the only day that is counted."""
    [day] = await shortener._db.fetch(DAYS_OLD, below=ALL_DAYS, limit=10)
    [row] = await shortener._db.fetch(DAYS_OF_LINK, link_id=day.link_id, first=0)
    return msgspec.json.decode(row.shares)


# What goes


async def days_kept(shortener):
    return len(await shortener._db.fetch(DAYS_OLD, below=ALL_DAYS, limit=FETCH_ROWS_MAX))


@pytest.mark.box("shortener.days")
async def test_a_deleted_links_days_are_gone_and_none_come_after(linked, town):
    visitor, code, key = linked
    shortener = town.served("shortener")
    await visit(visitor, code)
    await visitor.stats(code, key)
    assert await days_kept(shortener) == 1
    town.clock.advance(DAY_S)
    with armed("bus.read", failing(LogAway("held"))):  # so that it is counted after the link
        await visit(visitor, code)
        await visitor.delete(code, key)
    await settle(town)
    assert await days_kept(shortener) == 0


@pytest.mark.box("shortener.upkeep")
async def test_old_days_go_and_totals_stay(raised_with):
    visitor = await raised_with(BASTIDE_SHORTENER_DAYS_KEPT="31")
    shortener, made = visitor.town.served("shortener"), await visitor.made()
    code, key = made["short_code"], made["manage_key"]
    for _ in range(2):
        await visit(visitor, code)
        await visitor.stats(code, key)
        visitor.town.clock.advance(31 * DAY_S)
    await shortener.upkeep.clean()
    assert await days_kept(shortener) == 1
    visitor.town.clock.advance(DAY_S)
    await shortener.upkeep.clean()
    assert await days_kept(shortener) == 0
    assert (await visitor.stats(code, key))["total_clicks"] == 2


@pytest.mark.box("shortener.upkeep")
async def test_a_run_drops_so_many_days_and_the_next_one_the_rest(town):
    shortener = town.served("shortener")
    await at_rest(town)
    rows = [
        {"link_id": n, "day": 1, "clicks": 1, "bots": 0, "shares": "{}"}
        for n in range(CLEANED_MAX + 1)
    ]

    async def body(tx):
        await tx.run_many(DAY_ADD, rows)

    await shortener._db.transact(body)
    await shortener.upkeep.clean()
    assert await days_kept(shortener) == 1
    await shortener.upkeep.clean()
    assert await days_kept(shortener) == 0


# What is kept of a visitor


@pytest.mark.box("shortener.private")
async def test_no_address_and_no_browser_lies_in_any_file(tmp_path):
    """Every byte of the data directory, while the town runs and after."""
    agent = f"{FIREFOX} distinctive/7f3a9c"
    referrer = "https://news.example/private-path-51d2?and=query"
    environ = {"BASTIDE_SQL_URL": "sqlite://"}
    async with raised("shortener", environ=environ, data=tmp_path) as town:
        visitor = Visitor(await town.client("shortener"), town)
        made = await visitor.made()
        for _ in range(3):
            await visit(
                visitor, made["short_code"], agent=agent, address=SWISS_ADDRESS, referrer=referrer
            )
        assert shares(await stats_of(visitor, made), "referrer") == {"news.example": 3}
        while_it_runs = bytes_below(tmp_path)
    for kept in (while_it_runs, bytes_below(tmp_path)):
        assert b"news.example" in kept, "this test looks at the wrong files"
        for secret in (agent, "distinctive", "private-path", SWISS_ADDRESS, "Gecko"):
            assert secret.encode() not in kept
            assert secret.encode("utf-16-le") not in kept
        packed = bytes(map(int, SWISS_ADDRESS.split(".")))
        assert packed not in kept
        assert struct.pack("<I", int.from_bytes(packed)) not in kept


async def stats_of(visitor, made):
    code, key = made["short_code"], made["manage_key"]
    reply = await visitor.client.get(f"/api/analytics/{code}", headers=bearer(key))
    return reply.json()


def bytes_below(directory):
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())
