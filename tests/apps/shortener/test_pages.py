"""The pages as a browser without a script meets them: forms out, HTML back."""

import re
from html import unescape

import msgspec
import pytest

from bastide.apps.shortener.contract import (
    REASON_CHARACTERS_MAX,
    REPORTS_MAX,
    TAG_CHARACTERS_MAX,
    TAGS_MAX,
    TITLE_CHARACTERS_MAX,
    VISITS_MAX,
    Rule,
    RuleWrong,
    When,
)
from bastide.apps.shortener.pages.rulelines import lines_of, rules_from
from bastide.apps.shortener.pages.words import with_scheme

LONG = "https://example.com/a/long/address?with=query"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17.0 Mobile Safari/604.1"
HTML = {"accept": "text/html"}
DAY_S = 24 * 3600
PAGE_BYTES_MAX = 150_000


class Reader:
    """Fills in forms. `texts(reply)` are the words of a page, without its markup."""

    def __init__(self, visitor):
        self.visitor = visitor
        self.client = visitor.client

    async def get(self, path, **headers):
        return await self.client.get(path, headers={**HTML, **headers})

    async def send(self, path, **fields):
        return await self.client.post(path, data=fields, headers=HTML)

    async def shorten(self, url=LONG, **fields):
        """The code and the key of a new link."""
        reply = await self.send("/", original_url=url, **fields)
        assert reply.status_code == 200, reply.text
        code = re.search(r'name="code" value="([^"]+)"', reply.text)[1]
        return code, re.search(r'data-made-key="([^"]+)"', reply.text)[1]

    async def save(self, code, key, **fields):
        facts = {"original_url": LONG, **fields}
        return await self.send("/manage", code=code, key=key, action="save", **facts)


@pytest.fixture
def reader(visitor):
    return Reader(visitor)


def texts(reply):
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", reply.text)))


def error_at(reply, field):
    """What is said at the field, which refers to it."""
    found = re.search(rf'id="{field}-error">([^<]*)<', reply.text)
    assert found, reply.text
    assert re.search(rf'id="{field}"[^>]*aria-invalid="true"', reply.text)
    return unescape(found[1])


# Shortening


@pytest.mark.box("shortener.page")
async def test_a_form_with_everything_makes_the_link_that_it_describes(reader):
    code, key = await reader.shorten(
        "example.com/spring",
        custom_code="spring",
        title="Spring sale",
        tags="Shop, spring",
        expires_at="2027-03-01T12:00",
        visits="5",
        rules="system ios, country FI -> example.com/fi",
    )
    link = (await reader.client.get("/api/spring", headers=bearer(key))).json()
    assert code == "spring"
    assert link["original_url"] == "https://example.com/spring"
    assert (link["title"], link["tags"], link["visits_max"]) == (
        "Spring sale",
        ["shop", "spring"],
        5,
    )
    assert link["expires_at"] == "2027-03-01T12:00:00Z"
    assert link["rules"] == [
        {"when": {"system": ["ios"], "country": ["FI"]}, "original_url": "https://example.com/fi"}
    ]


def bearer(key):
    return {"authorization": f"Bearer {key}"}


WRONG = [
    ("original_url", {"original_url": "javascript:alert(1)"}, "http"),
    ("custom_code", {"custom_code": "ab"}, "3 to 32"),
    ("custom_code", {"custom_code": "links"}, "reserved"),
    ("title", {"title": "t" * (TITLE_CHARACTERS_MAX + 1)}, "at most 200"),
    ("tags", {"tags": ",".join(f"t{n}" for n in range(TAGS_MAX + 1))}, "at most 10"),
    ("tags", {"tags": "t" * (TAG_CHARACTERS_MAX + 1)}, "at most 32"),
    ("expires_at", {"expires_at": "soon"}, "is no time"),
    ("expires_at", {"expires_at": "2026-01-01T00:00"}, "over already"),
    ("expires_at", {"expires_at": "9999-01-01T00:00"}, "36500 days"),
    ("visits", {"visits": "-1"}, "no limit"),
    ("visits", {"visits": "9" * 30}, "no limit"),
    ("visits", {"visits": str(VISITS_MAX + 1)}, "no limit"),
    ("rules", {"rules": "country ZQ -> https://a.example"}, "Rule 1"),
    ("rules", {"rules": "moon full -> https://a.example"}, "is no condition"),
    ("rules", {"rules": "device mobile -> javascript:x"}, "Rule 1"),
    ("rules", {"rules": "device mobile -> https://a.example", "redirect": "301"}, "301"),
]


@pytest.mark.box("shortener.page")
@pytest.mark.parametrize(("field", "typed", "said"), WRONG)
async def test_what_is_wrong_is_said_at_its_field_and_what_was_typed_is_kept(
    field, typed, said, reader
):
    fields = {"original_url": LONG, **typed}
    reply = await reader.send("/", **fields)
    assert reply.status_code in (400, 409)
    assert said in error_at(reply, field)
    for text in fields.values():
        assert unescape(reply.text).count(text)
    assert "<details" not in reply.text or '<details class="more" open' in reply.text


async def test_a_code_that_is_taken_is_a_conflict_at_its_field(reader):
    await reader.shorten(custom_code="mine")
    reply = await reader.send("/", original_url="https://other.example", custom_code="mine")
    assert reply.status_code == 409
    assert error_at(reply, "custom_code") == "The code 'mine' is already taken"


async def test_limits_are_taken_at_their_most(reader):
    tags = [f"{n}".rjust(TAG_CHARACTERS_MAX, "t") for n in range(TAGS_MAX)]
    title = "t" * TITLE_CHARACTERS_MAX
    _, key = await reader.shorten(title=title, tags=",".join(tags), visits=str(VISITS_MAX))
    link = (await reader.client.get("/api/links", headers=bearer(key))).json()["items"][0]
    assert (link["title"], link["tags"], link["visits_max"]) == (title, tags, VISITS_MAX)


async def test_a_browser_that_remembers_no_key_of_ours_gets_a_new_one(reader):
    _, key = await reader.shorten(key="not a key")
    assert len(key) == 22
    _, same = await reader.shorten("https://other.example", key=key)
    assert same == key


async def test_what_is_typed_can_t_break_out_of_the_page(reader):
    evil = '"><script>alert(1)</script>'
    code, key = await reader.shorten(title=evil, tags="<b>")
    assert "<script>alert" not in (await reader.send("/", original_url=evil, title=evil)).text
    for path in ("/manage", "/links", "/fragments/newest"):
        fields = {"key": key} if path != "/manage" else {"key": key, "code": code}
        reply = await reader.send(path, **fields)
        assert reply.status_code == 200
        assert "<script>alert" not in reply.text
        assert "<b></" not in reply.text


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("example.com/x", "https://example.com/x"),
        (" example.com:8443/x ", "https://example.com:8443/x"),
        ("http://example.com", "http://example.com"),
        ("mailto:somebody@example.com", "mailto:somebody@example.com"),
        ("javascript:1", "javascript:1"),
        ("", ""),
    ],
)
def test_a_bare_name_means_https(typed, meant):
    assert with_scheme(typed) == meant


# Rules as text

RULES = [
    Rule(When(system=("ios",), country=("FI", "SE")), "https://example.com/fi"),
    Rule(When(query={"from": "a b", "x,y": "->", "any": ""}), "https://example.com/query"),
    Rule(When(after_ms=1_795_521_600_000, before_ms=1_795_608_000_500), "https://example.com/now"),
    Rule(When(device=("mobile",), browser=("safari",), language=("de",)), "https://example.com/m"),
]


def test_rules_are_read_as_they_are_written():
    assert msgspec.json.encode(rules_from(lines_of(RULES))) == msgspec.json.encode(RULES)


REFUSED_LINES = [
    ("device mobile", "leads nowhere"),
    ("device mobile ->", "leads nowhere"),
    ("device -> https://a.example", "has no value"),
    ("device phone -> https://a.example", "'phone' is no device"),
    ("device mobile, device tablet -> https://a.example", "said twice"),
    ("from yesterday -> https://a.example", "is no time"),
    (
        "from 2026-12-02, until 2026-12-01 -> https://a.example",
        "its until is not later than its from",
    ),
]


@pytest.mark.parametrize(("line", "said"), REFUSED_LINES)
def test_a_line_that_is_no_rule_is_named(line, said):
    with pytest.raises(RuleWrong, match=f"rule 2.*{said}"):
        rules_from(f"device mobile -> https://a.example\n\n{line}")


# One link


@pytest.mark.box("shortener.page")
async def test_the_owner_changes_every_fact_of_a_link(reader):
    code, key = await reader.shorten()
    reply = await reader.save(
        code,
        key,
        original_url="https://new.example/",
        title="New",
        tags="a, b",
        expires_at="2027-06-01T08:30:00.000Z",
        visits="7",
        rules="device mobile -> https://m.example/",
    )
    assert "Saved." in texts(reply)
    link = (await reader.client.get(f"/api/{code}", headers=bearer(key))).json()
    assert link["original_url"] == "https://new.example/"
    assert (link["title"], link["tags"], link["visits_max"]) == ("New", ["a", "b"], 7)
    assert link["expires_at"] == "2027-06-01T08:30:00Z"
    assert link["rules"][0]["original_url"] == "https://m.example/"


async def test_a_form_that_is_sent_as_it_came_changes_nothing(reader):
    """A limit goes on counting, and an end keeps its seconds."""
    code, key = await reader.shorten(visits="3", title="Keep", rules="device mobile -> a.example")
    before = (await reader.client.get(f"/api/{code}", headers=bearer(key))).json()
    await reader.get(f"/{code}", **{"user-agent": IPHONE})
    shown = await reader.send("/manage", code=code, key=key)
    form = dict(
        re.findall(r'<input id="(\w+)" name="\w+" type="[^"]+" value="([^"]*)"', shown.text)
    )
    rules = unescape(re.search(r"<textarea[^>]*>\n(.*?)</textarea>", shown.text, re.S)[1])
    names = ("original_url", "title", "tags", "expires_at", "visits")
    told = await reader.save(code, key, rules=rules, **{n: unescape(form[n]) for n in names})
    assert "Nothing was changed" in texts(told)
    after = (await reader.client.get(f"/api/{code}", headers=bearer(key))).json()
    assert after["visits_left"] == 2
    assert after["expires_at"] == before["expires_at"]
    assert after["rules"] == before["rules"]


async def test_what_can_t_be_saved_is_said_at_its_field_and_nothing_is_changed(reader):
    code, key = await reader.shorten()
    reply = await reader.save(code, key, original_url="javascript:1", title="Lost?")
    assert reply.status_code == 400
    assert error_at(reply, "original_url")
    assert 'value="Lost?"' in reply.text
    link = (await reader.client.get(f"/api/{code}", headers=bearer(key))).json()
    assert (link["original_url"], link["title"]) == (LONG, "")


async def test_a_link_that_redirects_for_good_offers_no_rules(reader):
    code, key = await reader.shorten(redirect="301")
    shown = await reader.send("/manage", code=code, key=key)
    assert 'name="rules"' not in shown.text
    assert 'name="visits"' not in shown.text
    assert "Saved" in texts(await reader.save(code, key, title="Still"))


@pytest.mark.parametrize(
    "pasted", ["{}", " https://sho.rt/{} ", "https://sho.rt/{}?a=b", "sho.rt/{}+"]
)
async def test_the_whole_short_link_may_be_pasted(pasted, reader):
    code, key = await reader.shorten()
    shown = await reader.send("/manage", code=pasted.format(code), key=key)
    assert shown.status_code == 200
    assert f"/{code}/qr.svg" in shown.text


STATES = [
    ("off", "Switched off: who follows it"),
    ("ended", "It has ended"),
    ("spent", "It was followed 1 times"),
    ("blocked", "The operator has blocked it"),
]


@pytest.mark.parametrize(("state", "said"), STATES)
async def test_each_state_is_named_on_its_page_and_in_the_list(state, said, reader, town):
    code, key = await reader.shorten(visits="1" if state == "spent" else "")
    match state:
        case "off":
            await reader.send("/manage", code=code, key=key, action="disable")
        case "ended":
            town.clock.advance(366 * DAY_S)
        case "spent":
            await reader.get(f"/{code}", **{"user-agent": IPHONE})
        case "blocked":
            await reader.send("/reports", code=code, action="block")
    assert said in texts(await reader.send("/manage", code=code, key=key))
    assert f">{state}<" in (await reader.send("/links", key=key)).text


async def test_a_spent_link_counts_anew_and_an_ended_one_lives_again(reader, town):
    code, key = await reader.shorten(visits="1")
    await reader.get(f"/{code}", **{"user-agent": IPHONE})
    assert (await reader.get(f"/{code}", **{"user-agent": IPHONE})).status_code == 410
    await reader.send("/manage", code=code, key=key, action="refill")
    assert (await reader.get(f"/{code}", **{"user-agent": IPHONE})).status_code == 302
    town.clock.advance(366 * DAY_S)
    await reader.send("/manage", code=code, key=key, action="refill")
    assert (await reader.get(f"/{code}", **{"user-agent": IPHONE})).status_code == 410
    await reader.send("/manage", code=code, key=key, action="extend")
    assert (await reader.get(f"/{code}", **{"user-agent": IPHONE})).status_code == 302


@pytest.mark.box("shortener.page")
async def test_clicks_are_drawn_by_day_and_told_by_what_followed(reader):
    code, key = await reader.shorten()
    empty = texts(await reader.send("/fragments/clicks", code=code, key=key))
    assert "No click yet" in empty
    headers = {"user-agent": IPHONE, "referer": "https://news.example/thread"}
    for _ in range(3):
        await reader.get(f"/{code}", **headers)
    await reader.get(f"/{code}", **{"user-agent": "Googlebot/2.1"})
    page = await reader.send("/fragments/clicks", code=code, key=key)
    told = texts(page)
    assert "People 3" in told
    assert "Bots 1" in told
    for name in ("iOS", "Safari", "Phone", "news.example", "Unknown"):
        assert re.search(rf"{name} +3 ", told), told
    assert page.text.count('class="column"') == 1 + 5  # a day, and a bar of each kind
    assert "style=" not in page.text


# All links


@pytest.mark.box("shortener.page")
async def test_the_list_is_paged_and_narrowed_by_tag_without_a_script(reader):
    _, key = await reader.shorten("https://example.com/0", tags="even")
    for n in range(1, 30):
        tags = "even" if n % 2 == 0 else "odd"
        await reader.shorten(f"https://example.com/{n}", tags=tags, key=key)
    first = await reader.send("/links", key=key)
    assert first.text.count("<tr data-code=") == 25
    cursor = re.search(r'name="cursor" value="([^"]+)"', first.text)[1]
    second = await reader.send("/links", key=key, cursor=cursor)
    assert second.text.count("<tr data-code=") == 5
    assert "https://example.com/0" in second.text
    odd = await reader.send("/links", key=key, tag="odd")
    assert odd.text.count("<tr data-code=") == 15
    none = await reader.send("/links", key=key, tag="neither")
    assert "No link with the tag neither" in texts(none)


async def test_an_empty_list_says_what_to_do_first(reader):
    assert "No link yet" in texts(await reader.send("/links", key="0" * 22))


async def test_the_newest_links_are_five(reader):
    _, key = await reader.shorten("https://example.com/0")
    for n in range(1, 7):
        await reader.shorten(f"https://example.com/{n}", key=key)
    newest = await reader.send("/fragments/newest", key=key)
    assert newest.text.count("<li data-code=") == 5
    assert "https://example.com/6" in newest.text


@pytest.mark.box("shortener.owner")
@pytest.mark.parametrize("path", ["/links", "/manage"])
async def test_a_wrong_key_is_asked_for_again_at_its_field(path, reader):
    code, _ = await reader.shorten()
    fields = {"code": code} if path == "/manage" else {}
    malformed = await reader.send(path, key="password", **fields)
    assert malformed.status_code == 403
    assert "22 letters and digits" in error_at(malformed, "key")
    if path == "/manage":
        other = await reader.send(path, key="0" * 22, **fields)
        assert other.status_code == 403
        assert "does not manage" in error_at(other, "key")
        assert LONG not in other.text


@pytest.mark.parametrize("path", ["/fragments/clicks", "/fragments/newest"])
async def test_a_part_of_a_page_wants_the_key_too(path, reader):
    code, _ = await reader.shorten()
    fields = {"code": code} if path.endswith("clicks") else {}
    reply = await reader.send(path, key="password", **fields)
    assert reply.status_code == 403


async def test_a_link_that_is_missing_or_deleted_is_said_at_its_field(reader):
    code, key = await reader.shorten()
    missing = await reader.send("/manage", code="nothing", key=key)
    assert (missing.status_code, error_at(missing, "code")) == (
        404,
        "There is no link 'nothing'",
    )
    assert "is deleted" in texts(await reader.send("/manage", code=code, key=key, action="delete"))
    gone = await reader.send("/manage", code=code, key=key)
    assert gone.status_code == 410
    assert "was deleted" in error_at(gone, "code")


async def test_a_link_s_address_tells_nothing_of_it(reader):
    code, _ = await reader.shorten()
    page = await reader.get(f"/links/{code}")
    assert page.status_code == 200
    assert "example.com/a" not in page.text
    assert f'value="{code}"' in page.text


# Previews


@pytest.mark.box("shortener.preview")
async def test_a_plus_behind_a_link_shows_where_it_leads_and_counts_nothing(reader):
    code, key = await reader.shorten()
    page = await reader.get(f"/{code}+")
    assert page.status_code == 200
    assert LONG in unescape(page.text)
    assert page.headers["x-robots-tag"] == "noindex"
    assert '<meta name="robots" content="noindex">' in page.text
    assert f'src="/{code}/qr.svg"' in page.text.replace("/shortener/", "/")
    assert (await reader.visitor.stats(code, key))["total_clicks"] == 0


@pytest.mark.box("shortener.preview")
async def test_a_preview_shows_where_rules_lead_whoever_looks(reader):
    code, _ = await reader.shorten(rules="system ios -> https://apps.example/")
    phone = await reader.get(f"/{code}+", **{"user-agent": IPHONE})
    assert "https://apps.example/" in phone.text
    assert "depends on who follows it" in phone.text
    assert LONG in unescape((await reader.get(f"/{code}+")).text)


@pytest.mark.box("shortener.preview")
async def test_a_preview_does_not_tell_where_a_limited_link_leads(reader):
    code, _ = await reader.shorten(visits="2", rules="system ios -> https://apps.example/")
    page = await reader.get(f"/{code}+", **{"user-agent": IPHONE})
    assert page.status_code == 200
    assert "example.com/a" not in page.text
    assert "apps.example" not in page.text
    assert "followed 2 times" in texts(page)


DEAD = [
    ("missing", 404, "There is no link"),
    ("off", 410, "is switched off by its owner"),
    ("ended", 410, "has expired"),
    ("blocked", 410, "was blocked by the operator"),
    ("deleted", 410, "was deleted"),
]


@pytest.mark.box("shortener.gone")
@pytest.mark.parametrize(("state", "status", "said"), DEAD)
async def test_whoever_follows_or_previews_a_dead_link_is_told_what_became_of_it(
    state, status, said, reader, town
):
    code, key = ("nothing", "") if state == "missing" else await reader.shorten()
    match state:
        case "off":
            await reader.send("/manage", code=code, key=key, action="disable")
        case "ended":
            town.clock.advance(366 * DAY_S)
        case "blocked":
            await reader.send("/reports", code=code, action="block")
        case "deleted":
            await reader.send("/manage", code=code, key=key, action="delete")
    for path in (f"/{code}", f"/{code}+"):
        page = await reader.get(path)
        assert page.status_code == status
        headline = unescape(re.search(r"<h1>(.*?)</h1>", page.text)[1])
        assert said.lower() in headline.lower()
        assert "Ask whoever gave you" in texts(page) or "as you were given it" in texts(page)


# Reports


@pytest.mark.box("shortener.report")
async def test_a_report_reaches_the_operator_who_blocks_the_link_and_lifts_that(reader):
    code, _ = await reader.shorten()
    thanks = await reader.send(f"/{code}/report", reason="It asks for <passwords>")
    assert "Thank you" in texts(thanks)
    listed = await reader.get("/reports")
    assert "It asks for &lt;passwords&gt;" in listed.text
    blocked = await reader.send("/reports", code=code, action="block")
    assert f"{code} is blocked" in texts(blocked)
    assert "No report waits" in texts(blocked)
    assert (await reader.get(f"/{code}")).status_code == 410
    await reader.send("/reports", code=code, action="unblock")
    assert (await reader.get(f"/{code}")).status_code == 302


async def test_a_dismissed_report_is_gone_and_the_link_stays(reader):
    code, _ = await reader.shorten()
    await reader.send(f"/{code}/report", reason="I don't like it")
    told = texts(await reader.send("/reports", code=code, action="dismiss"))
    assert "No report waits" in told
    assert (await reader.get(f"/{code}")).status_code == 302


async def test_a_report_has_a_reason_that_is_not_too_long(reader):
    code, _ = await reader.shorten()
    assert (await reader.send(f"/{code}/report", reason="r" * REASON_CHARACTERS_MAX)).is_success
    for reason in (" ", "r" * (REASON_CHARACTERS_MAX + 1)):
        reply = await reader.send(f"/{code}/report", reason=reason)
        assert reply.status_code == 400
        assert f"at most {REASON_CHARACTERS_MAX}" in error_at(reply, "reason")
    assert (await reader.get("/reports")).text.count('<p class="reason') == 1


async def test_one_report_too_many_is_told_that_the_operator_knows(reader):
    code, _ = await reader.shorten()
    for n in range(REPORTS_MAX):
        assert "Thank you" in texts(await reader.send(f"/{code}/report", reason=f"bad {n}"))
    reply = await reader.send(f"/{code}/report", reason="bad too")
    assert "reported already" in texts(reply)
    assert (await reader.get("/reports")).text.count('<p class="reason') == REPORTS_MAX


async def test_nobody_reports_what_is_not_there(reader):
    assert (await reader.send("/nothing/report", reason="bad")).status_code == 404
    assert (await reader.get("/nothing/report")).status_code == 404


async def test_the_operator_s_form_names_a_code_that_is_not_there(reader):
    reply = await reader.send("/reports", code="nothing", action="block")
    assert (reply.status_code, error_at(reply, "code")) == (404, "There is no link 'nothing'")


async def test_only_the_operator_sees_and_judges_reports(reader, town):
    code, _ = await reader.shorten()
    stranger = await town.client("shortener", address="203.0.113.9")
    assert (await stranger.get("/reports", headers=HTML)).status_code == 403
    judged = await stranger.post("/reports", data={"code": code, "action": "block"}, headers=HTML)
    assert judged.status_code == 403
    assert (await reader.get(f"/{code}")).status_code == 302


# Every page


async def every_page(reader):
    code, key = await reader.shorten(rules="country FI -> https://fi.example", tags="tag")
    await reader.get(f"/{code}", **{"user-agent": IPHONE})
    await reader.send(f"/{code}/report", reason="bad")
    paths = ("/", "/links", "/manage", f"/links/{code}", f"/{code}+", f"/{code}/report", "/reports")
    for path in paths:
        yield path, await reader.get(path)
    yield "POST /links", await reader.send("/links", key=key)
    yield "POST /manage", await reader.send("/manage", code=code, key=key)
    yield "POST /", await reader.send("/", original_url="https://other.example", key=key)


async def test_no_page_has_script_or_style_of_its_own_or_a_key_in_an_address(reader):
    async for path, page in every_page(reader):
        assert page.status_code == 200, path
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son[a-z]+=|\sstyle=", page.text), path
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert page.headers["cache-control"] == "no-store"
        addresses = re.findall(r'(?:href|src|action)="([^"]*)"', page.text)
        assert not [one for one in addresses if re.search(r"key|[0-9A-Za-z]{22}", one)], path


async def test_each_page_with_all_that_it_loads_weighs_less_than_150_kb(reader, town):
    anywhere = await town.client()
    async for path, page in every_page(reader):
        wanted = set(re.findall(r'(?:src|href|data-module)="(/assets/[^"]+)"', page.text))
        assets = [await anywhere.get(asset) for asset in wanted]
        assert {asset.status_code for asset in assets} == {200}
        weight = len(page.content) + sum(len(asset.content) for asset in assets)
        assert 30_000 < weight < PAGE_BYTES_MAX, path
