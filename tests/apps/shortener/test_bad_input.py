"""Bad input: each a clear problem, and nothing changes."""

import json

import pytest

from bastide.apps.shortener.contract import EXPIRES_DAYS_MAX

LONG = "https://example.com/a/long/address"
JSON = {"content-type": "application/json"}


def bearer(key):
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
async def unchanged(visitor):
    """Fails the test if it made a link for this key, or counted a click on its link."""
    made = await visitor.made()
    yield made["manage_key"]
    listed = await visitor.client.get("/api/links", headers=bearer(made["manage_key"]))
    [link] = listed.json()["items"]
    assert (link["short_code"], link["total_clicks"]) == (made["short_code"], 0)


BODIES = {
    "no JSON": b"not json",
    "half of it": b'{"original_url": "https://a.exa',
    "a list": b'["https://a.example"]',
    "a number as address": b'{"original_url": 7}',
    "null as address": b'{"original_url": null}',
    "a list as address": b'{"original_url": ["https://a.example"]}',
    "a text as days": b'{"original_url": "https://a.example", "expires_days": "7"}',
    "a text as truth": b'{"original_url": "https://a.example", "permanent": "yes"}',
    "an unknown field": b'{"original_url": "https://a.example", "owner": "key:x"}',
    "a number as code": b'{"original_url": "https://a.example", "custom_code": 7777}',
    "Latin-1": '{"original_url": "https://a.example/ü"}'.encode("latin-1"),
    "UTF-16": '{"original_url": "https://a.example"}'.encode("utf-16"),
    "a lone surrogate": b'{"original_url": "https://a.example/\\ud800"}',
    "an overlong escape": b'{"original_url": "https://a.example/\xc0\xaf"}',
    "deep nesting": b'{"original_url": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "not a number": b'{"original_url": "https://a.example", "expires_days": NaN}',
    "nothing": b"",
}


@pytest.mark.box("shortener.bad-input")
@pytest.mark.parametrize("what", BODIES)
async def test_a_body_that_is_not_as_wanted_is_400(what, visitor, unchanged):
    for path in ("/api/shorten", "/create_url", "/api/links/import"):
        reply = await visitor.client.post(
            path, content=BODIES[what], headers=JSON | bearer(unchanged)
        )
        assert reply.status_code == 400
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["detail"]


@pytest.mark.box("shortener.bad-input")
@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_another_media_type_is_415(media, visitor, unchanged):
    reply = await visitor.client.post(
        "/api/shorten",
        content=b'{"original_url": "https://a.example"}',
        headers=bearer(unchanged) | ({"content-type": media} if media else {}),
    )
    assert reply.status_code == 415


ADDRESSES = [
    *("javascript:alert(1)", "data:text/html,x", "ftp://a.example/", "file:///etc/passwd"),
    *("https://user:password@a.example/", "https://a.example/\r\nSet-Cookie: a=b"),
    *("https://a.example/\u0000", "//a.example", "a.example", "https://", ""),
    *("http://localhost/shortener/abc", "http://LOCALHOST./", "http://127.0.0.1:80/abc"),
]


@pytest.mark.box("shortener.bad-input")
@pytest.mark.parametrize("url", ADDRESSES, ids=ascii)
async def test_an_address_that_we_do_not_redirect_to_is_400(url, visitor, unchanged):
    reply = await visitor.shorten(url, key=unchanged)
    assert reply.status_code == 400
    assert reply.json()["type"] == "urn:bastide:target-refused"
    line = (await visitor.import_(url, key=unchanged)).json()["links"][0]
    assert (line["outcome"], line["reason"]) == ("refused", reply.json()["detail"])


@pytest.mark.box("shortener.loops")
async def test_the_name_by_which_the_client_came_is_ours_too(visitor, unchanged):
    """A proxy's name, which no setting tells us."""
    for url in ("https://proxy.example/abc", "http://PROXY.example./"):
        reply = await visitor.client.post(
            "/api/shorten", json={"original_url": url}, headers={"host": "proxy.example"}
        )
        assert reply.status_code == 400
        assert "loop" in reply.json()["detail"]
    reply = await visitor.client.post(
        "/api/shorten", json={"original_url": LONG}, headers={"host": "\\ no host"}
    )
    assert reply.status_code == 400


@pytest.mark.box("shortener.loops")
async def test_the_public_address_is_ours(raised_with):
    visitor = await raised_with(BASTIDE_SHORTENER_PUBLIC_ADDRESS="https://sho.rt")
    assert (await visitor.shorten("http://SHO.rt/abc")).status_code == 400
    assert (await visitor.shorten("http://localhost/abc")).status_code == 400


@pytest.mark.limit("shortener.TARGET_CHARACTERS_MAX")
@pytest.mark.box("shortener.bad-input")
async def test_an_address_of_2048_characters_is_taken_and_one_more_is_not(visitor):
    longest = "https://example.com/" + "a" * 2028
    made = await visitor.made(longest)
    assert (await visitor.follow(made["short_code"])).headers["location"] == longest
    reply = await visitor.shorten(longest + "a")
    assert reply.status_code == 400
    assert "2048" in reply.json()["detail"]


@pytest.mark.box("shortener.bad-input")
async def test_an_address_with_a_thousand_parameters_is_one_like_any_other(visitor):
    url = "https://example.com/?" + "&".join("a" for _ in range(1000))
    made = await visitor.made(url)
    assert (await visitor.follow(made["short_code"])).headers["location"] == url


@pytest.mark.box("shortener.bad-input")
async def test_thousands_of_query_parameters_are_refused(visitor, unchanged):
    query = "&".join(f"a{n}=1" for n in range(1500))
    for path in (f"/nothing?{query}", f"/api/links?{query}"):
        reply = await visitor.client.get(path, headers=bearer(unchanged))
        assert reply.status_code in (400, 414)
        assert reply.json()["detail"]


@pytest.mark.box("shortener.bad-input")
async def test_a_body_over_the_limit_is_413_before_it_is_read(visitor, unchanged):
    for headers, pieces_max in (({"content-length": "65536000"}, 0), ({}, 2)):
        read = []

        async def body(read=read):
            for _ in range(1000):
                read.append(1)
                yield b" " * 65_536

        reply = await visitor.client.post(
            "/api/shorten", content=body(), headers=JSON | headers | bearer(unchanged)
        )
        assert reply.status_code == 413
        assert len(read) <= pieces_max


@pytest.mark.limit("shortener.EXPIRES_DAYS_MAX")
@pytest.mark.box("shortener.bad-input")
@pytest.mark.parametrize(
    ("days", "status"),
    [
        (0, 201),
        (0.5, 201),
        (EXPIRES_DAYS_MAX, 201),
        (EXPIRES_DAYS_MAX + 1, 400),
        (-1, 400),
        (1e308, 400),
    ],
)
async def test_a_link_lives_0_to_36500_days(days, status, visitor):
    assert (await visitor.shorten(expires_days=days)).status_code == status


@pytest.mark.box("shortener.bad-input")
async def test_a_homograph_is_shown_as_what_it_is(visitor):
    made = await visitor.made("https://\u0430pple.com/")
    assert made["original_url"] == "https://xn--pple-43d.com/"
    location = (await visitor.follow(made["short_code"])).headers["location"]
    assert location == "https://xn--pple-43d.com/"


@pytest.mark.box("shortener.bad-input")
async def test_line_breaks_in_an_address_stay_escaped_in_location(visitor):
    made = await visitor.made("https://a.example/%0d%0aSet-Cookie:%20a=b")
    reply = await visitor.follow(made["short_code"])
    assert reply.headers["location"] == "https://a.example/%0d%0aSet-Cookie:%20a=b"
    assert "set-cookie" not in reply.headers


@pytest.mark.box("shortener.bad-input")
async def test_forged_forwarding_headers_change_nothing(visitor, unchanged):
    forged = {
        "x-forwarded-for": "10.0.0.1, 127.0.0.1",
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "https",
        "forwarded": "for=127.0.0.1;host=evil.example",
    }
    reply = await visitor.client.post("/api/shorten", json={"original_url": LONG}, headers=forged)
    assert reply.json()["short_url"].startswith("http://localhost/shortener/")
    assert (await visitor.client.get("/api/reserved", headers=forged)).status_code == 403


@pytest.mark.box("shortener.bad-input")
async def test_a_page_elsewhere_may_not_act_for_its_reader(visitor, unchanged):
    for path, asked in (("/api/shorten", {"original_url": LONG}), ("/manage", {"code": "abc"})):
        reply = await visitor.client.post(
            path, content=json.dumps(asked), headers=JSON | {"origin": "https://evil.example"}
        )
        assert reply.status_code == 403


@pytest.mark.box("shortener.bad-input")
@pytest.mark.parametrize("header", ["Basic dXNlcg==", "Bearer", "Bearer  ", "x" * 100])
async def test_credentials_that_are_no_bearer_are_401(header, visitor):
    reply = await visitor.client.get("/api/links", headers={"authorization": header})
    assert reply.status_code == 401


@pytest.mark.box("shortener.bad-input")
@pytest.mark.parametrize(("repeat", "status"), [("a" * 255, 201), ("a" * 256, 400), ("\x7f", 400)])
async def test_an_idempotency_key_has_1_to_255_printable_characters(repeat, status, visitor):
    assert (await visitor.shorten(repeat=repeat)).status_code == status
