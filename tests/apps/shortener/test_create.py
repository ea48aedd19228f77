"""Making links: both of the sources' spellings, owners, repetitions."""

import asyncio
import re

import pytest

from bastide.base.errors import Invalid
from bastide.base.routes.rows import Request

LONG = "https://example.com/a/long/address?with=query"
DAY_S = 24 * 3600


def bearer(key):
    return {"authorization": f"Bearer {key}"}


@pytest.mark.box("shortener.create")
@pytest.mark.parametrize("path", ["/api/shorten", "/create_url"])
async def test_either_door_makes_a_link_from_original_url(path, visitor):
    reply = await visitor.client.post(path, json={"original_url": LONG})
    made = reply.json()
    assert reply.status_code == 201
    assert made["original_url"] == LONG
    assert re.fullmatch(r"[0-9A-Za-z]{7}", made["short_code"])
    assert made["short_url"] == f"http://localhost/shortener/{made['short_code']}"
    assert made["expires_at"] == "2028-01-15T08:00:00Z"
    assert re.fullmatch(r"[0-9A-Za-z]{22}", made["manage_key"])
    assert "shortUrl" not in made


@pytest.mark.box("shortener.create")
@pytest.mark.parametrize("path", ["/api/shorten", "/create_url"])
async def test_either_door_answers_short_url_in_the_spelling_of_long_url(path, visitor):
    made = (await visitor.client.post(path, json={"longUrl": LONG})).json()
    assert made["shortUrl"] == made["short_url"]
    assert (await visitor.follow(made["short_code"])).headers["location"] == LONG


async def test_neither_and_both_spellings_are_refused(visitor):
    for asked in ({}, {"original_url": LONG, "longUrl": LONG}):
        reply = await visitor.client.post("/api/shorten", json=asked)
        assert reply.status_code == 400
        assert reply.json()["detail"] == "send either original_url or longUrl"


@pytest.mark.box("shortener.owner")
async def test_an_anonymous_maker_gets_a_new_code_and_a_new_key_each_time(visitor):
    made = [await visitor.made() for _ in range(3)]
    assert len({m["short_code"] for m in made}) == 3
    assert len({m["manage_key"] for m in made}) == 3


@pytest.mark.box("shortener.owner")
async def test_the_same_owner_and_address_give_the_existing_code(visitor):
    first = await visitor.made("https://Example.com:443")
    again = await visitor.shorten("https://example.com/", key=first["manage_key"])
    assert again.status_code == 200
    assert again.json()["short_code"] == first["short_code"]
    assert "manage_key" not in again.json()


async def test_two_at_once_of_one_owner_make_one_link(visitor):
    key = (await visitor.made("https://other.example"))["manage_key"]
    replies = await asyncio.gather(*(visitor.shorten(key=key) for _ in range(20)))
    assert sorted(r.status_code for r in replies) == [200] * 19 + [201]
    assert len({r.json()["short_code"] for r in replies}) == 1


async def test_a_link_that_no_longer_redirects_is_not_given_again(visitor, town):
    first = await visitor.made(expires_days=1)
    key = first["manage_key"]
    await visitor.change(first["short_code"], key, disabled=True)
    second = await visitor.shorten(key=key, expires_days=1)
    town.clock.advance(DAY_S)
    third = await visitor.shorten(key=key)
    assert (second.status_code, third.status_code) == (201, 201)
    codes = {first["short_code"], second.json()["short_code"], third.json()["short_code"]}
    assert len(codes) == 3


async def test_301_and_302_to_one_address_are_two_links(visitor):
    first = await visitor.made()
    second = await visitor.shorten(key=first["manage_key"], permanent=True)
    assert second.status_code == 201
    assert second.json()["permanent"] is True


@pytest.mark.shows("shortener.repeat")
@pytest.mark.box("shortener.repeat")
async def test_a_repeated_request_gets_the_first_reply_and_its_key(visitor):
    first = await visitor.shorten(repeat="one")
    again = await visitor.shorten(repeat="one")
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    key = first.json()["manage_key"]
    listed = await visitor.client.get("/api/links", headers=bearer(key))
    assert len(listed.json()["items"]) == 1


@pytest.mark.box("shortener.repeat")
async def test_a_custom_code_is_not_taken_by_its_own_repetition(visitor):
    replies = [await visitor.shorten(repeat="one", custom_code="spring") for _ in range(2)]
    assert [r.status_code for r in replies] == [201, 201]


@pytest.mark.box("shortener.repeat")
async def test_one_idempotency_key_for_two_requests_is_a_mismatch(visitor):
    await visitor.shorten(repeat="one")
    reply = await visitor.shorten("https://other.example", repeat="one")
    assert reply.status_code == 422
    assert reply.json()["type"] == "urn:bastide:once-mismatch"


async def test_a_bearer_that_is_no_key_of_ours_is_refused_at_creation(visitor):
    reply = await visitor.shorten(key="password")
    assert reply.status_code == 403
    assert reply.json()["type"] == "urn:bastide:key-wrong"


async def test_the_key_is_kept_as_a_hash_only(visitor, town):
    made = await visitor.made()
    shortener = town.served("shortener")
    visit = shortener.visit_of(Request(method="GET", path="/", query={}, headers={}, id_=""))
    link = (await shortener.preview(made["short_code"], visit)).link
    assert link.owner.startswith("key:")
    assert made["manage_key"] not in link.owner


async def test_short_links_begin_with_the_public_address(raised_with):
    visitor = await raised_with(BASTIDE_SHORTENER_PUBLIC_ADDRESS="https://sho.rt/")
    made = await visitor.made()
    assert made["short_url"] == f"https://sho.rt/{made['short_code']}"


async def test_the_lifetime_is_a_setting(raised_with):
    visitor = await raised_with(BASTIDE_SHORTENER_EXPIRES_DAYS="1")
    assert (await visitor.made())["expires_at"] == "2027-01-16T08:00:00Z"


@pytest.mark.parametrize(
    "address", ["sho.rt", "ftp://sho.rt", "https://", "https://sho.rt?x", "x y"]
)
async def test_a_public_address_that_is_none_ends_the_start(address, raised_with):
    with pytest.raises(Invalid, match="BASTIDE_SHORTENER_PUBLIC_ADDRESS"):
        await raised_with(BASTIDE_SHORTENER_PUBLIC_ADDRESS=address)
