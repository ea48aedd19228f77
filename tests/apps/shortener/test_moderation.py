"""Links to bad places: anyone reports them, the operator decides, and no owner undoes it."""

import pytest

from bastide.apps.shortener.contract import REASON_CHARACTERS_MAX, REPORTS_MAX
from tests.apps.shortener.conftest import LONG, bearer

STRANGER = "192.0.2.7"


async def report(visitor, code, reason="It takes passwords."):
    """As a visitor from elsewhere does."""
    client = await visitor.town.client("shortener", address=STRANGER)
    return await client.post(f"/api/{code}/reports", json={"reason": reason})


async def reports(visitor, **query):
    reply = await visitor.client.get("/api/reports", params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()


def problem(reply):
    return reply.status_code, reply.json()["type"].removeprefix("urn:bastide:")


@pytest.fixture
async def linked(visitor):
    """A visitor, a code, its key."""
    made = await visitor.made()
    return visitor, made["short_code"], made["manage_key"]


@pytest.mark.box("shortener.abuse")
async def test_anyone_reports_and_the_operator_reads_the_oldest_first(linked, town):
    visitor, code, _ = linked
    other = (await visitor.made("https://other.example"))["short_code"]
    for one, reason in ((code, "first"), (other, "second"), (code, "third")):
        assert (await report(visitor, one, reason)).status_code == 204
        town.clock.advance(1)
    told = (await reports(visitor))["items"]
    assert [(one["short_code"], one["reason"]) for one in told] == [
        (code, "first"),
        (other, "second"),
        (code, "third"),
    ]
    assert told[0]["original_url"] == LONG
    assert told[0]["reported_at"] < told[1]["reported_at"]
    page = await reports(visitor, limit=2)
    rest = await reports(visitor, limit=2, cursor=page["next"])
    assert page["items"] + rest["items"] == told
    assert rest["next"] is None


@pytest.mark.box("shortener.abuse")
async def test_nobody_else_reads_or_decides(linked):
    visitor, code, key = linked
    client = await visitor.town.client("shortener", address=STRANGER)
    asked = [
        ("GET", "/api/reports"),
        ("DELETE", f"/api/reports/{code}"),
        ("PUT", f"/api/blocked/{code}"),
        ("DELETE", f"/api/blocked/{code}"),
    ]
    for method, path in asked:
        for headers in ({}, bearer(key)):
            assert (await client.request(method, path, headers=headers)).status_code == 403
    assert (await visitor.follow(code)).status_code == 302


@pytest.mark.box("shortener.abuse")
async def test_reports_that_are_dismissed_wait_no_more(linked):
    visitor, code, _ = linked
    other = (await visitor.made("https://other.example"))["short_code"]
    for one in (code, code, other):
        await report(visitor, one)
    assert (await visitor.client.delete(f"/api/reports/{code}")).status_code == 204
    assert [one["short_code"] for one in (await reports(visitor))["items"]] == [other]
    assert (await visitor.client.delete(f"/api/reports/{code}")).status_code == 204
    assert (await visitor.follow(code)).status_code == 302, "nobody has blocked it"


@pytest.mark.limit("shortener.REPORTS_MAX")
@pytest.mark.box("shortener.abuse")
async def test_so_many_reports_of_a_link_wait_and_not_one_more(linked):
    visitor, code, _ = linked
    for _ in range(REPORTS_MAX):
        assert (await report(visitor, code)).status_code == 204
    assert problem(await report(visitor, code)) == (400, "reports-over")
    other = (await visitor.made("https://other.example"))["short_code"]
    assert (await report(visitor, other)).status_code == 204
    assert len((await reports(visitor))["items"]) == REPORTS_MAX + 1
    await visitor.client.delete(f"/api/reports/{code}")
    assert (await report(visitor, code)).status_code == 204


@pytest.mark.limit("shortener.REASON_CHARACTERS_MAX")
@pytest.mark.box("shortener.abuse")
@pytest.mark.parametrize(
    ("length", "status"), [(0, 400), (REASON_CHARACTERS_MAX, 204), (REASON_CHARACTERS_MAX + 1, 400)]
)
async def test_a_reason_has_so_many_characters_and_not_one_more(length, status, linked):
    visitor, code, _ = linked
    assert (await report(visitor, code, "ä" * length)).status_code == status


@pytest.mark.box("shortener.abuse")
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/{}/reports", {"reason": "bad"}),
        ("DELETE", "/api/reports/{}", None),
        ("PUT", "/api/blocked/{}", None),
        ("DELETE", "/api/blocked/{}", None),
    ],
)
async def test_what_is_not_there_is_neither_reported_nor_blocked(method, path, body, linked):
    visitor, code, key = linked
    await visitor.delete(code, key)
    for one, expected in (("nowhere", (404, "link-missing")), (code, (410, "link-deleted"))):
        assert (
            problem(await visitor.client.request(method, path.format(one), json=body)) == expected
        )


@pytest.mark.box("shortener.abuse")
async def test_a_blocked_link_redirects_nobody_whatever_its_owner_does(linked):
    visitor, code, key = linked
    await visitor.follow(code)
    blocked = await visitor.client.put(f"/api/blocked/{code}")
    assert (blocked.status_code, blocked.json()["blocked"]) == (200, True)
    assert problem(await visitor.follow(code)) == (410, "link-blocked")
    changes = ({"disabled": False}, {"original_url": "https://good.example"}, {"expires_days": 9})
    for change in changes:
        changed = await visitor.change(code, key, **change)
        assert changed.json()["blocked"] is True
        assert problem(await visitor.follow(code)) == (410, "link-blocked")
    again = await visitor.shorten("https://good.example", key=key)
    assert again.status_code == 201, "what is blocked serves for nothing"


@pytest.mark.box("shortener.abuse")
async def test_an_owner_sees_the_block_and_keeps_link_and_counts(linked):
    visitor, code, key = linked
    await visitor.follow(code)
    await visitor.client.put(f"/api/blocked/{code}")
    listed = (await visitor.client.get("/api/links", headers=bearer(key))).json()["items"]
    assert [(one["short_code"], one["blocked"]) for one in listed] == [(code, True)]
    assert (await visitor.stats(code, key))["total_clicks"] == 1


@pytest.mark.box("shortener.abuse")
async def test_a_link_that_is_unblocked_is_its_owners_again(linked):
    visitor, code, key = linked
    for _ in range(2):
        assert (await visitor.client.put(f"/api/blocked/{code}")).status_code == 200
    await visitor.change(code, key, disabled=True)
    for _ in range(2):
        unblocked = await visitor.client.delete(f"/api/blocked/{code}")
        assert (unblocked.status_code, unblocked.json()["blocked"]) == (200, False)
    assert problem(await visitor.follow(code)) == (410, "link-disabled")
    await visitor.change(code, key, disabled=False)
    assert (await visitor.follow(code)).status_code == 302


@pytest.mark.box("shortener.abuse")
async def test_a_deleted_links_reports_go_with_it(linked):
    visitor, code, key = linked
    await report(visitor, code)
    await visitor.client.put(f"/api/blocked/{code}")
    await visitor.delete(code, key)
    assert (await reports(visitor))["items"] == []
    assert problem(await visitor.follow(code)) == (410, "link-deleted")
