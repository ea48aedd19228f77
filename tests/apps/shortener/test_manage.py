"""What only the owner may: see, change, delete, list."""

import pytest

DAY_S = 24 * 3600


def bearer(key):
    return {"authorization": f"Bearer {key}"}


OWNERS_DOORS = [
    ("GET", "/api/{code}", None),
    ("PATCH", "/api/{code}", {"disabled": True}),
    ("DELETE", "/api/{code}", None),
    ("GET", "/api/{code}/stats", None),
    ("GET", "/api/analytics/{code}", None),
]


@pytest.mark.box("shortener.owner")
@pytest.mark.parametrize(("method", "path", "asked"), OWNERS_DOORS)
async def test_without_a_key_it_is_401_whether_the_link_is_there_or_not(
    method, path, asked, visitor
):
    made = await visitor.made()
    for code in (made["short_code"], "nothing"):
        reply = await visitor.client.request(method, path.format(code=code), json=asked)
        assert reply.status_code == 401
        assert reply.headers["www-authenticate"] == "Bearer"
    assert (await visitor.follow(made["short_code"])).status_code == 302


@pytest.mark.box("shortener.owner")
@pytest.mark.parametrize(("method", "path", "asked"), OWNERS_DOORS)
async def test_with_anothers_key_it_is_403_and_changes_nothing(method, path, asked, visitor):
    made = await visitor.made()
    other = (await visitor.made("https://other.example"))["manage_key"]
    for key in (other, "password"):
        path_ = path.format(code=made["short_code"])
        reply = await visitor.client.request(method, path_, json=asked, headers=bearer(key))
        assert reply.status_code == 403
        assert reply.json()["type"] == "urn:bastide:key-wrong"
        assert "example.com" not in reply.text
    assert (await visitor.follow(made["short_code"])).status_code == 302


@pytest.mark.parametrize(("method", "path", "asked"), OWNERS_DOORS)
async def test_an_unknown_code_is_404_with_any_key(method, path, asked, visitor):
    key = (await visitor.made())["manage_key"]
    for code in ("nothing", "x"):
        path_ = path.format(code=code)
        reply = await visitor.client.request(method, path_, json=asked, headers=bearer(key))
        assert reply.status_code == 404


@pytest.mark.box("shortener.details")
async def test_the_owner_reads_the_link_in_every_state(visitor, town):
    made = await visitor.made(expires_days=1, custom_code="mine")
    key = made.pop("manage_key")
    await visitor.change("mine", key, disabled=True)
    town.clock.advance(2 * DAY_S)
    reply = await visitor.client.get("/api/mine", headers=bearer(key))
    assert made | {"disabled": True} == {name: reply.json()[name] for name in made}
    assert reply.headers["cache-control"] == "no-store"


@pytest.mark.box("shortener.expiry")
async def test_an_expired_link_lives_again(visitor, town):
    """Kutt #525: people let a link expire, and want it back."""
    made = await visitor.made(expires_days=1)
    code, key = made["short_code"], made["manage_key"]
    town.clock.advance(2 * DAY_S)
    assert (await visitor.follow(code)).status_code == 410
    changed = await visitor.change(code, key, expires_days=7)
    assert changed.json()["expires_at"] == "2027-01-24T08:00:00Z"
    assert (await visitor.follow(code)).status_code == 302


async def test_a_change_leaves_what_it_does_not_name(visitor):
    made = await visitor.made()
    code, key = made["short_code"], made.pop("manage_key")
    assert (await visitor.change(code, key)).json() == made
    changed = (await visitor.change(code, key, disabled=True)).json()
    assert changed == {**made, "disabled": True}
    assert (await visitor.change(code, key, expires_days=0)).json()["disabled"] is True


@pytest.mark.box("shortener.deleted")
async def test_deleting_twice_is_no_error_and_a_deleted_link_shows_nothing(visitor):
    made = await visitor.made()
    code, key = made["short_code"], made["manage_key"]
    await visitor.follow(code)
    assert [(await visitor.delete(code, key)).status_code for _ in range(2)] == [204, 204]
    for path in (f"/api/{code}", f"/api/{code}/stats"):
        assert (await visitor.client.get(path, headers=bearer(key))).status_code == 410
    assert (await visitor.change(code, key, disabled=False)).status_code == 410
    listed = await visitor.client.get("/api/links", headers=bearer(key))
    assert listed.json()["items"] == []


async def test_the_same_address_makes_a_new_link_after_deleting(visitor):
    made = await visitor.made()
    key = made["manage_key"]
    await visitor.delete(made["short_code"], key)
    again = await visitor.shorten(key=key)
    assert again.status_code == 201
    assert again.json()["short_code"] != made["short_code"]


@pytest.mark.box("shortener.list")
async def test_the_list_has_every_link_of_the_owner_once_newest_first(visitor):
    key = (await visitor.made("https://example.com/0"))["manage_key"]
    for n in range(1, 25):
        await visitor.made(f"https://example.com/{n}", key=key)
        await visitor.made(f"https://example.com/{n}")
    seen, cursor = [], None
    while True:
        query = {"limit": "10"} | ({"cursor": cursor} if cursor else {})
        reply = await visitor.client.get("/api/links", params=query, headers=bearer(key))
        page = reply.json()
        seen += [link["original_url"] for link in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
        assert len(page["items"]) == 10
    assert seen == [f"https://example.com/{n}" for n in reversed(range(25))]


@pytest.mark.box("shortener.list")
async def test_a_page_of_the_list_has_1_to_100_links(visitor):
    key = (await visitor.made())["manage_key"]
    for limit, status in ((1, 200), (100, 200), (0, 400), (101, 400)):
        reply = await visitor.client.get(f"/api/links?limit={limit}", headers=bearer(key))
        assert reply.status_code == status


async def test_a_cursor_that_is_not_ours_is_refused(visitor):
    key = (await visitor.made())["manage_key"]
    reply = await visitor.client.get("/api/links?cursor=abc", headers=bearer(key))
    assert reply.status_code == 400


async def test_a_list_needs_a_key_and_an_unused_one_has_none(visitor):
    assert (await visitor.client.get("/api/links")).status_code == 401
    reply = await visitor.client.get("/api/links", headers=bearer("0" * 22))
    assert reply.json() == {"items": [], "next": None}
