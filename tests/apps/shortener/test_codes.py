"""Codes: made in all four ways, custom, reserved; nobody gets one twice."""

import asyncio
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.app import make_http
from bastide.apps.shortener import api, pages
from bastide.apps.shortener.contract import CODE_TRIES_MAX
from bastide.apps.shortener.core.codes import (
    ALPHABET,
    RESERVED,
    base62,
    hash_code,
    is_code,
    is_reserved,
)
from bastide.apps.shortener.core.owners import owner_of_key
from bastide.apps.shortener.core.targets import parse
from bastide.base.errors import Invalid
from bastide.testing.town import raised

WAYS = ["counter", "random", "hash", "pool"]


@pytest.mark.box("shortener.codes")
@pytest.mark.parametrize("way", WAYS)
async def test_each_way_makes_codes_that_lead_where_they_should(way, raised_with):
    visitor = await raised_with(BASTIDE_SHORTENER_CODES=way)
    reply = await visitor.import_(*(f"https://example.com/{n}" for n in range(200)))
    codes = [line["short_code"] for line in reply.json()["links"]]
    assert len(set(codes)) == 200
    assert all(re.fullmatch(r"[0-9A-Za-z]{7}", code) for code in codes)
    reply = await visitor.follow(codes[123])
    assert reply.headers["location"] == "https://example.com/123"


@pytest.mark.box("shortener.codes")
@pytest.mark.parametrize(("length", "fits"), [(4, True), (10, True), (3, False), (11, False)])
async def test_the_length_of_codes_is_a_setting_from_4_to_10(length, fits, raised_with):
    if not fits:
        with pytest.raises(Invalid, match="BASTIDE_SHORTENER_CODE_LENGTH"):
            await raised_with(BASTIDE_SHORTENER_CODE_LENGTH=str(length))
        return
    visitor = await raised_with(BASTIDE_SHORTENER_CODE_LENGTH=str(length))
    assert len((await visitor.made())["short_code"]) == length


@pytest.mark.box("shortener.codes")
async def test_codes_do_not_follow_each_other(visitor):
    """Trap: a counter in Base62 tells its neighbours."""
    codes = [(await visitor.made())["short_code"] for _ in range(50)]
    numbers = [sum(ALPHABET.index(c) * 62**n for n, c in enumerate(reversed(k))) for k in codes]
    gaps = [abs(a - b) for a, b in pairwise(numbers)]
    assert min(gaps) > 62**3


async def test_all_chance_in_a_code_is_the_runtimes():
    """Trap: `Math.random` codes are predictable. Ours come from the machine's secure source, which
    a test may seed, and nothing else may."""
    found = []
    for seed in (1, 2, 1):
        async with raised(
            "shortener", environ={"BASTIDE_SHORTENER_CODES": "random"}, seed=seed
        ) as t:
            client = await t.client("shortener")
            reply = await client.post("/api/shorten", json={"original_url": "https://a.example"})
            found.append(reply.json()["short_code"])
    assert found[0] == found[2] != found[1]


NOW_MS = 1_800_000_000_000  # where a test's clock begins


def hash_codes(url, key, *, at_ms=NOW_MS):
    """The codes that the three tries make."""
    target_hash, owner = parse(url).hash, owner_of_key(key)
    return [
        hash_code(target_hash, owner, at_ms=at_ms, attempt=attempt, length=7)
        for attempt in range(CODE_TRIES_MAX)
    ]


@pytest.mark.limit("shortener.CODE_TRIES_MAX")
@pytest.mark.box("shortener.codes")
async def test_a_hash_code_that_is_taken_is_made_anew_up_to_three_times(raised_with):
    visitor = await raised_with(BASTIDE_SHORTENER_CODES="hash")
    key = (await visitor.made("https://first.example"))["manage_key"]
    for url, taken in (
        ("https://a.example", 0),
        ("https://b.example", 1),
        ("https://c.example", 2),
    ):
        tries = hash_codes(url, key)
        for code in tries[:taken]:
            await visitor.made("https://squatter.example", custom_code=code)
        assert (await visitor.made(url, key=key))["short_code"] == tries[taken]


@pytest.mark.limit("shortener.CODE_TRIES_MAX")
@pytest.mark.box("shortener.codes")
async def test_when_three_tries_are_taken_it_is_503_and_nothing_is_made(raised_with):
    visitor = await raised_with(BASTIDE_SHORTENER_CODES="hash")
    key = (await visitor.made("https://first.example"))["manage_key"]
    for code in hash_codes("https://a.example", key):
        await visitor.made("https://squatter.example", custom_code=code)
    one = await visitor.shorten("https://a.example", key=key)
    many = await visitor.import_("https://b.example", "https://a.example", key=key)
    for reply in (one, many):
        assert reply.status_code == 503
        assert reply.json()["type"] == "urn:bastide:codes-crowded"
    listed = await visitor.client.get("/api/links", headers={"authorization": f"Bearer {key}"})
    assert len(listed.json()["items"]) == 1


@pytest.mark.box("shortener.codes")
async def test_an_address_is_shortened_and_deleted_any_number_of_times(raised_with):
    """Trap: a hash of the address alone runs out of tries, since no code is given out again."""
    visitor = await raised_with(BASTIDE_SHORTENER_CODES="hash")
    key = (await visitor.made("https://first.example"))["manage_key"]
    for _ in range(CODE_TRIES_MAX):
        made = await visitor.made("https://a.example", key=key)
        await visitor.delete(made["short_code"], key)
    visitor.town.clock.advance(0.001)
    assert (await visitor.shorten("https://a.example", key=key)).status_code == 201


@pytest.mark.box("shortener.custom")
async def test_a_custom_code_is_taken_once(visitor):
    first = await visitor.shorten(custom_code="Spring-Sale_24")
    second = await visitor.shorten("https://other.example", custom_code="Spring-Sale_24")
    assert first.status_code == 201
    assert second.status_code == 409
    assert second.json()["detail"] == "the code 'Spring-Sale_24' is already taken"
    assert (await visitor.follow("Spring-Sale_24")).status_code == 302


@pytest.mark.box("shortener.custom")
async def test_of_many_who_want_one_code_at_once_one_gets_it(visitor):
    """Trap: look whether it is free, then insert."""
    replies = await asyncio.gather(
        *(visitor.shorten(f"https://{n}.example", custom_code="wanted") for n in range(50))
    )
    assert sorted(r.status_code for r in replies) == [201] + [409] * 49
    winner = next(r for r in replies if r.status_code == 201).json()["original_url"]
    assert (await visitor.follow("wanted")).headers["location"] == winner


@pytest.mark.limit("shortener.CODE_CHARACTERS_MAX")
@pytest.mark.box("shortener.custom")
@pytest.mark.parametrize("code", ["abc", "a" * 32, "A-b_9"])
async def test_a_custom_code_has_3_to_32_letters_digits_and_dashes(code, visitor):
    assert (await visitor.made(custom_code=code))["short_code"] == code


@pytest.mark.limit("shortener.CODE_CHARACTERS_MAX")
@pytest.mark.box("shortener.custom")
@pytest.mark.parametrize(
    "code", ["", "ab", "a" * 33, "a b", "a/b", "caf\u00e9", "a\n", "abc\n", "a.b"]
)
async def test_what_is_no_code_is_refused(code, visitor):
    reply = await visitor.shorten(custom_code=code)
    assert reply.status_code == 400
    assert reply.json()["type"] == "urn:bastide:code-wrong"


@pytest.mark.box("shortener.reserved")
@pytest.mark.parametrize("code", ["api", "API", "Healthz", "create_url", "links"])
async def test_words_of_ours_are_reserved_in_any_case(code, visitor):
    reply = await visitor.shorten(custom_code=code)
    assert reply.status_code == 409
    assert reply.json()["type"] == "urn:bastide:code-reserved"


@pytest.mark.box("shortener.reserved")
async def test_every_first_word_of_a_path_that_is_served_is_reserved(town):
    """Also those below /api, where a link's code stands beside them."""
    paths = {root + e.row.path for site in sites(town) for root, e in site.mounted}
    words = {path.split("/")[1] for path in paths}
    words |= {path.split("/")[2] for path in paths if path.startswith("/api/")}
    words = {word for word in words if is_code(word)}
    assert {"api", "create_url", "healthz", "metrics", "schema", "assets", "manage"} <= words
    assert words <= RESERVED


def sites(town):
    """The shortener's own address, as `bastide up` mounts it."""
    http = make_http(town.town, {"shortener": 8801})
    return [http.sites[8801]]


@pytest.mark.box("shortener.reserved")
async def test_an_operator_reserves_a_code_and_gives_it_back(visitor):
    reply = await visitor.client.post(
        "/api/reserved", json={"code": "launch", "reserved_by": "marketing"}
    )
    assert reply.status_code == 201
    assert (await visitor.shorten(custom_code="launch")).status_code == 409
    listed = (await visitor.client.get("/api/reserved")).json()["items"]
    assert listed == [
        {"code": "launch", "reserved_by": "marketing", "reserved_at": "2027-01-15T08:00:00Z"}
    ]
    assert (await visitor.client.delete("/api/reserved/launch")).status_code == 204
    assert (await visitor.shorten(custom_code="launch")).status_code == 201


@pytest.mark.box("shortener.reserved")
async def test_a_code_is_reserved_once_and_not_over_a_link(visitor):
    await visitor.made(custom_code="launch")
    asked = {"code": "launch", "reserved_by": "marketing"}
    taken = await visitor.client.post("/api/reserved", json=asked)
    assert (taken.status_code, taken.json()["type"]) == (409, "urn:bastide:code-taken")
    asked["code"] = "other"
    first = await visitor.client.post("/api/reserved", json=asked)
    second = await visitor.client.post("/api/reserved", json=asked)
    assert (first.status_code, second.status_code) == (201, 409)
    assert second.json()["type"] == "urn:bastide:code-reserved"


async def test_only_who_runs_the_town_reserves(town):
    client = await town.client("shortener", address="203.0.113.7")
    asked = {"code": "launch", "reserved_by": "me"}
    forged = {"x-forwarded-for": "127.0.0.1", "forwarded": "for=127.0.0.1"}
    for headers in ({}, forged):
        reply = await client.post("/api/reserved", json=asked, headers=headers)
        assert reply.status_code == 403


async def test_a_made_code_that_is_reserved_is_passed_over(raised_with):
    visitor = await raised_with(BASTIDE_SHORTENER_CODES="hash")
    key = (await visitor.made("https://first.example"))["manage_key"]
    for url in ("https://a.example", "https://b.example"):
        reserved = {"code": hash_codes(url, key)[0], "reserved_by": "me"}
        await visitor.client.post("/api/reserved", json=reserved)
    made = await visitor.made("https://a.example", key=key)
    assert made["short_code"] == hash_codes("https://a.example", key)[1]
    reply = await visitor.import_("https://b.example", key=key)
    assert reply.json()["links"][0]["short_code"] == hash_codes("https://b.example", key)[1]


@pytest.mark.box("shortener.deleted")
async def test_the_code_of_a_deleted_link_is_never_given_out_again(visitor):
    made = await visitor.made(custom_code="gone")
    await visitor.delete("gone", made["manage_key"])
    assert (await visitor.shorten(custom_code="gone")).status_code == 409
    reply = await visitor.import_({"original_url": "https://a.example", "custom_code": "gone"})
    assert reply.json()["links"][0]["outcome"] == "refused"


def test_the_rows_of_api_and_pages_share_no_door():
    doors = [(row.method, row.path) for row in (*api.ROWS, *pages.ROWS)]
    assert len(doors) == len(set(doors))


@given(st.integers(min_value=0, max_value=62**7 - 1))
def test_base62_is_reversible(number):
    code = base62(number, length=7)
    assert sum(ALPHABET.index(c) * 62**n for n, c in enumerate(reversed(code))) == number


@given(st.text())
def test_what_is_reserved_is_so_in_any_case(text):
    assert is_reserved(text) == (text.lower() in RESERVED)


@pytest.mark.parametrize(("length", "status"), [(1, 201), (100, 201), (0, 400), (101, 400)])
async def test_who_reserves_has_a_name_of_1_to_100_characters(length, status, visitor):
    asked = {"code": "launch", "reserved_by": "m" * length}
    assert (await visitor.client.post("/api/reserved", json=asked)).status_code == status
