"""Links that change: labels, targets, ends; one or many at once."""

import errno

import pytest

from bastide.apps.shortener.contract import (
    BULK_LINKS_MAX,
    TAG_CHARACTERS_MAX,
    TAGS_MAX,
    TITLE_CHARACTERS_MAX,
)
from bastide.base.faults import armed, failing
from tests.apps.shortener.conftest import LONG, bearer, bus_of, settle


async def listed(visitor, key, **query):
    reply = await visitor.client.get("/api/links", params=query, headers=bearer(key))
    return [link["short_code"] for link in reply.json()["items"]]


async def made_some(visitor, *codes, **more):
    """Links of one key; it comes first."""
    key = (await visitor.made("https://first.example"))["manage_key"]
    for code in codes:
        await visitor.made(f"https://{code}.example", key=key, custom_code=code, **more)
    return key


async def edit(visitor, key, *codes, **change):
    asked = {"codes": list(codes), "change": change}
    return await visitor.client.patch("/api/links", json=asked, headers=bearer(key))


@pytest.mark.box("shortener.tags")
async def test_a_link_bears_a_title_and_tags_and_is_found_by_them(visitor):
    key = await made_some(visitor, "one", "two", title=" Spring sale ", tags=["Mail", "sale"])
    told = (await visitor.client.get("/api/one", headers=bearer(key))).json()
    assert (told["title"], told["tags"]) == ("Spring sale", ["mail", "sale"])
    await visitor.change("two", key, remove_tags=["mail"], add_tags=["web"])
    assert await listed(visitor, key, tag="Sale") == ["two", "one"]
    assert await listed(visitor, key, tag="mail") == ["one"]
    assert await listed(visitor, key, tag="web", limit=1) == ["two"]
    tags = await visitor.client.get("/api/tags", headers=bearer(key))
    assert tags.json() == ["sale", "mail", "web"]


@pytest.mark.box("shortener.tags")
async def test_another_owners_tags_are_not_seen(visitor):
    await made_some(visitor, "one", tags=["mail"])
    other = (await visitor.made())["manage_key"]
    assert await listed(visitor, other, tag="mail") == []
    assert (await visitor.client.get("/api/tags", headers=bearer(other))).json() == []


@pytest.mark.limit("shortener.TAGS_MAX")
async def test_a_link_has_so_many_tags_and_not_one_more(visitor):
    tags = [f"t{n}" for n in range(TAGS_MAX)]
    made = await visitor.made(tags=tags)
    reply = await visitor.shorten(tags=[*tags, "more"])
    assert (reply.status_code, reply.json()["type"]) == (400, "urn:bastide:label-wrong")
    changed = await visitor.change(made["short_code"], made["manage_key"], add_tags=["more"])
    assert changed.json()["type"] == "urn:bastide:label-wrong"


@pytest.mark.limit("shortener.TAG_CHARACTERS_MAX")
async def test_a_tag_has_so_many_characters_and_not_one_more(visitor):
    assert (await visitor.shorten(tags=["t" * TAG_CHARACTERS_MAX])).is_success
    assert (await visitor.shorten(tags=["t" * (TAG_CHARACTERS_MAX + 1)])).status_code == 400


@pytest.mark.limit("shortener.TITLE_CHARACTERS_MAX")
async def test_a_title_has_so_many_characters_and_not_one_more(visitor):
    assert (await visitor.shorten(title="t" * TITLE_CHARACTERS_MAX)).is_success
    reply = await visitor.shorten(title="t" * (TITLE_CHARACTERS_MAX + 1))
    assert reply.json()["type"] == "urn:bastide:label-wrong"


@pytest.mark.box("shortener.tags")
@pytest.mark.parametrize("more", [{"title": "a\0b"}, {"tags": ["a,b"]}, {"tags": ["a\nb"]}])
async def test_a_label_that_could_not_be_shown_is_refused(more, visitor):
    assert (await visitor.shorten(**more)).json()["type"] == "urn:bastide:label-wrong"


@pytest.mark.box("shortener.edit")
async def test_a_link_can_be_led_elsewhere(visitor):
    made = await visitor.made()
    code, key = made["short_code"], made["manage_key"]
    assert (await visitor.follow(code)).headers["location"] == LONG
    changed = await visitor.change(code, key, original_url="HTTPS://Other.example/a b")
    assert changed.json()["original_url"] == "https://other.example/a%20b"
    assert (await visitor.follow(code)).headers["location"] == "https://other.example/a%20b"
    again = await visitor.shorten("https://other.example/a%20b", key=key)
    assert (again.status_code, again.json()["short_code"]) == (200, code)


@pytest.mark.box("shortener.edit")
async def test_a_link_is_not_led_where_none_may_lead(visitor):
    made = await visitor.made()
    reply = await visitor.change(
        made["short_code"], made["manage_key"], original_url="javascript:alert(1)"
    )
    assert reply.json()["type"] == "urn:bastide:target-refused"
    assert (await visitor.follow(made["short_code"])).headers["location"] == LONG


@pytest.mark.box("shortener.edit")
async def test_an_end_may_be_a_date(visitor, town):
    made = await visitor.made(expires_at="2030-01-01T00:00:00Z")
    assert made["expires_at"] == "2030-01-01T00:00:00Z"
    changed = await visitor.change(
        made["short_code"], made["manage_key"], expires_at="2031-01-01T00:00:00+01:00"
    )
    assert changed.json()["expires_at"] == "2030-12-31T23:00:00Z"
    too_far = await visitor.shorten(expires_at="9000-01-01T00:00:00Z")
    assert too_far.status_code == 400


@pytest.mark.box("shortener.bulk")
async def test_many_links_are_changed_in_one_step(visitor):
    key = await made_some(visitor, "one", "two", "three")
    reply = await edit(visitor, key, "one", "two", "one", disabled=True, add_tags=["old"])
    assert reply.json() == {
        "links": [{"short_code": c, "outcome": "changed"} for c in ("one", "two")]
    }
    found = [(await visitor.follow(code)).status_code for code in ("one", "two", "three")]
    assert found == [410, 410, 302]
    assert await listed(visitor, key, tag="old") == ["two", "one"]


@pytest.mark.box("shortener.bulk")
async def test_what_cannot_be_changed_is_refused_alone(visitor):
    key = await made_some(visitor, "one")
    await visitor.made("https://theirs.example", custom_code="theirs")
    reply = await edit(visitor, key, "one", "theirs", "nowhere", "/", disabled=True)
    told = {link["short_code"]: link for link in reply.json()["links"]}
    assert told["one"]["outcome"] == "changed"
    assert [told[code]["outcome"] for code in ("theirs", "nowhere", "/")] == ["refused"] * 3
    assert "does not manage" in told["theirs"]["reason"]
    assert (await visitor.follow("theirs")).status_code == 302


@pytest.mark.box("shortener.bulk")
async def test_many_links_are_deleted_in_one_step(visitor):
    key = await made_some(visitor, "one", "two")
    for _ in range(2):  # what is deleted is no error
        reply = await visitor.client.post(
            "/api/links/delete", json={"codes": ["one", "two"]}, headers=bearer(key)
        )
        assert [link["outcome"] for link in reply.json()["links"]] == ["deleted"] * 2
    assert (await visitor.follow("one")).json()["type"] == "urn:bastide:link-deleted"


@pytest.mark.limit("shortener.BULK_LINKS_MAX")
@pytest.mark.parametrize(
    ("count", "status"), [(0, 400), (1, 200), (BULK_LINKS_MAX, 200), (BULK_LINKS_MAX + 1, 400)]
)
async def test_so_many_links_are_changed_at_once_and_not_one_more(count, status, visitor):
    key = (await visitor.made())["manage_key"]
    codes = [f"code{n}" for n in range(count)]
    assert (await edit(visitor, key, *codes, disabled=True)).status_code == status


@pytest.mark.limit("shortener.BULK_LINKS_MAX")
async def test_the_verb_itself_refuses_none_and_too_many(town):
    from bastide.apps.shortener.contract import BulkOver

    for codes in ([], [f"code{n}" for n in range(BULK_LINKS_MAX + 1)]):
        with pytest.raises(BulkOver):
            await town.served("shortener").delete_many(codes, "user:1")


@pytest.mark.box("shortener.bulk")
@pytest.mark.parametrize("junk", ["", "x" * 600, "\u00e9" * 300, "a\0b", "a/b"])
async def test_what_is_no_code_disturbs_no_other(junk, visitor, town):
    """Neither those beside it, nor who hears of it later."""
    key = await made_some(visitor, "one", "two")
    for code in ("one", "two"):
        assert (await visitor.follow(code)).status_code == 302  # so that the cache has them
    reply = await edit(visitor, key, "one", junk, disabled=True)
    assert [link["outcome"] for link in reply.json()["links"]] == ["changed", "refused"]
    asked = {"codes": ["two", junk]}
    reply = await visitor.client.post("/api/links/delete", json=asked, headers=bearer(key))
    assert [link["outcome"] for link in reply.json()["links"]] == ["deleted", "refused"]
    assert [(await visitor.follow(code)).status_code for code in ("one", "two")] == [410, 410]
    await settle(town)
    assert not await bus_of(town).letters.page()


@pytest.mark.box("shortener.edit")
async def test_a_change_that_finds_the_disk_full_says_so(visitor):
    """And not that the request is wrong: it may be sent again."""
    made = await visitor.made()
    with armed("sql.before_commit", failing(OSError(errno.ENOSPC, "full"))):
        reply = await visitor.change(made["short_code"], made["manage_key"], title="x")
    assert reply.status_code == 503
    assert (await visitor.change(made["short_code"], made["manage_key"], title="x")).is_success
