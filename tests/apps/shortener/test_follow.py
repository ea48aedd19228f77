"""Redirects: where they lead, how they are cached, when they end."""

import pytest

LONG = "https://example.com/a/long/address?with=query"
DAY_S = 24 * 3600


@pytest.mark.box("shortener.redirect")
async def test_a_link_redirects_by_302_that_nobody_keeps(visitor):
    reply = await visitor.follow((await visitor.made())["short_code"])
    assert reply.status_code == 302
    assert reply.headers["location"] == LONG
    assert reply.headers["cache-control"] == "private, no-store"
    assert reply.content == b""


@pytest.mark.box("shortener.redirect")
async def test_a_permanent_link_redirects_by_301(visitor):
    made = await visitor.made(permanent=True)
    reply = await visitor.follow(made["short_code"])
    assert reply.status_code == 301
    assert reply.headers["location"] == LONG


async def test_a_301_is_kept_for_a_day_and_never_past_the_links_end(visitor, town):
    """Trap: a 301 makes expiry invisible."""
    code = (await visitor.made(permanent=True, expires_days=2))["short_code"]
    ages = []
    for _ in range(2):
        ages.append((await visitor.follow(code)).headers["cache-control"])
        town.clock.advance(1.75 * DAY_S)
    assert ages == ["private, max-age=86400", "private, max-age=21600"]


async def test_head_is_answered_as_get_is(visitor):
    code = (await visitor.made())["short_code"]
    reply = await visitor.follow(code, method="HEAD")
    assert (reply.status_code, reply.headers["location"]) == (302, LONG)


@pytest.mark.box("shortener.gone")
@pytest.mark.parametrize("code", ["nothing", "a", "x" * 33, "caf%C3%A9", "a%2Fb", "robots.txt"])
async def test_an_unknown_code_is_404(code, visitor):
    reply = await visitor.follow(code)
    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.box("shortener.gone")
@pytest.mark.box("shortener.expiry")
async def test_a_link_ends_at_its_millisecond(visitor, town):
    code = (await visitor.made(expires_days=1))["short_code"]
    town.clock.advance(DAY_S - 0.001)
    assert (await visitor.follow(code)).status_code == 302
    town.clock.advance(0.001)
    reply = await visitor.follow(code)
    assert reply.status_code == 410
    assert reply.json()["type"] == "urn:bastide:link-expired"


@pytest.mark.box("shortener.expiry")
async def test_a_link_lives_365_days_unless_said_otherwise(visitor, town):
    code = (await visitor.made())["short_code"]
    town.clock.advance(365 * DAY_S - 1)
    assert (await visitor.follow(code)).status_code == 302
    town.clock.advance(1)
    assert (await visitor.follow(code)).status_code == 410


@pytest.mark.box("shortener.gone")
async def test_a_disabled_link_is_410_at_once_and_back_at_once(visitor):
    """Trap: a cache that answers after it was switched off."""
    made = await visitor.made()
    code, key = made["short_code"], made["manage_key"]
    assert (await visitor.follow(code)).status_code == 302
    await visitor.change(code, key, disabled=True)
    reply = await visitor.follow(code)
    assert (reply.status_code, reply.json()["type"]) == (410, "urn:bastide:link-disabled")
    await visitor.change(code, key, disabled=False)
    assert (await visitor.follow(code)).status_code == 302


@pytest.mark.box("shortener.deleted")
async def test_a_deleted_link_is_410_at_once(visitor):
    made = await visitor.made()
    assert (await visitor.follow(made["short_code"])).status_code == 302
    await visitor.delete(made["short_code"], made["manage_key"])
    reply = await visitor.follow(made["short_code"])
    assert (reply.status_code, reply.json()["type"]) == (410, "urn:bastide:link-deleted")


async def test_a_person_with_a_dead_link_gets_a_page(visitor):
    reply = await visitor.client.get("/nothing", headers={"accept": "text/html,*/*"})
    assert reply.status_code == 404
    assert reply.headers["content-type"].startswith("text/html")
    assert "there is no link" in reply.text


async def test_links_answer_below_the_main_address_too(visitor, town):
    code = (await visitor.made())["short_code"]
    main = await town.client()
    assert (await main.get(f"/shortener/{code}")).headers["location"] == LONG
