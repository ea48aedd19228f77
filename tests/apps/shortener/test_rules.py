"""One short link, another address for some of its visits; and links that end by being followed."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from bastide.apps.shortener.contract import (
    LANGUAGE_CHARACTERS_MAX,
    QUERY_CHARACTERS_MAX,
    RULE_VALUES_MAX,
    RULES_BYTES_MAX,
    RULES_MAX,
    VISITS_MAX,
    Rule,
    RuleWrong,
    When,
)
from bastide.apps.shortener.core.rules import check_rules
from tests.apps.shortener.conftest import LONG, bearer

IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/18.1 Mobile/15E148 Safari/604.1"
)
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
FINNISH_ADDRESS, SWISS_ADDRESS = "193.166.3.2", "130.60.128.3"  # FUNET, University of Zurich
THERE = "https://there.example/"


def rule(to=THERE, **when):
    return {"when": when, "original_url": to}


async def led_to(visitor, code, *, agent=FIREFOX, language="", address="", path=""):
    client = await visitor.town.client("shortener", address=address or "127.0.0.1")
    headers = {"user-agent": agent, "accept-language": language}
    return (await client.get(f"/{code}{path}", headers=headers)).headers["location"]


@pytest.mark.box("shortener.rules")
async def test_an_iphone_in_finland_is_led_elsewhere(visitor):
    made = await visitor.made(rules=[rule(system=["ios"], country=["FI"])])
    code = made["short_code"]
    assert await led_to(visitor, code, agent=IPHONE, address=FINNISH_ADDRESS) == THERE
    assert await led_to(visitor, code, agent=IPHONE, address=SWISS_ADDRESS) == LONG
    assert await led_to(visitor, code, agent=FIREFOX, address=FINNISH_ADDRESS) == LONG


@pytest.mark.box("shortener.rules")
@pytest.mark.parametrize(
    ("when", "met", "unmet"),
    [
        ({"device": ["mobile", "tablet"]}, {"agent": IPHONE}, {"agent": FIREFOX}),
        ({"browser": ["firefox"]}, {"agent": FIREFOX}, {"agent": IPHONE}),
        ({"language": ["DE"]}, {"language": "en, de-CH;q=0.5"}, {"language": "en"}),
        ({"query": {"ref": "mail"}}, {"path": "?ref=mail"}, {"path": "?ref=web"}),
        ({"query": {"ref": ""}}, {"path": "?ref=any"}, {"path": ""}),
        ({"country": ["ch"]}, {"address": SWISS_ADDRESS}, {"address": "127.0.0.1"}),
    ],
)
async def test_each_condition_is_met_or_not(when, met, unmet, visitor):
    code = (await visitor.made(rules=[rule(**when)]))["short_code"]
    assert await led_to(visitor, code, **met) == THERE
    assert await led_to(visitor, code, **unmet) == LONG


@pytest.mark.box("shortener.rules")
async def test_a_rule_holds_from_its_date_until_the_other(visitor, town):
    begin = datetime.fromtimestamp(town.clock.now_ms() / 1000, UTC) + timedelta(days=1)
    dates = {"after": begin.isoformat(), "before": (begin + timedelta(days=1)).isoformat()}
    code = (await visitor.made(rules=[rule(**dates)]))["short_code"]
    found = []
    for _ in range(3):
        found.append(await led_to(visitor, code))
        town.clock.advance(24 * 3600)
    assert found == [LONG, THERE, LONG]


@pytest.mark.box("shortener.rules")
async def test_the_first_rule_that_is_met_decides(visitor):
    first, second = rule("https://1.example/", device=["desktop"]), rule(browser=["firefox"])
    code = (await visitor.made(rules=[first, second]))["short_code"]
    assert await led_to(visitor, code) == "https://1.example/"


@pytest.mark.box("shortener.rules")
async def test_rules_are_told_back_and_can_be_changed(visitor):
    made = await visitor.made(rules=[rule(country=["fi", "SE"], language=["FI"])])
    assert made["rules"] == [rule(country=["FI", "SE"], language=["fi"])]
    code, key = made["short_code"], made["manage_key"]
    assert await led_to(visitor, code, language="fi", address=FINNISH_ADDRESS) == THERE
    changed = await visitor.change(code, key, rules=[])
    assert changed.json()["rules"] == []
    assert await led_to(visitor, code, language="fi", address=FINNISH_ADDRESS) == LONG


@pytest.mark.box("shortener.rules")
@pytest.mark.parametrize(
    "wrong",
    [
        rule(),
        rule(country=["XX"]),
        rule(language=["d e"]),
        rule(query={"": "x"}),
        rule(after="2026-12-02T00:00:00Z", before="2026-12-01T00:00:00Z"),
    ],
)
async def test_a_rule_that_nobody_could_meet_is_refused(wrong, visitor):
    reply = await visitor.shorten(rules=[wrong])
    assert (reply.status_code, reply.json()["type"]) == (400, "urn:bastide:rule-wrong")
    assert "rule 1" in reply.json()["detail"]


@pytest.mark.box("shortener.rules")
@pytest.mark.parametrize("to", ["javascript:alert(1)", "http://localhost/self", "", "https://"])
async def test_a_rule_leads_nowhere_that_a_link_may_not(to, visitor):
    reply = await visitor.shorten(rules=[rule(to, device=["mobile"])])
    assert (reply.status_code, reply.json()["type"]) == (400, "urn:bastide:rule-wrong")
    assert reply.json()["detail"].startswith("rule 1: ")


@pytest.mark.limit("shortener.RULES_MAX")
async def test_a_link_has_so_many_rules_and_not_one_more(visitor):
    assert (await visitor.shorten(rules=[rule(device=["mobile"])] * RULES_MAX)).is_success
    reply = await visitor.shorten(rules=[rule(device=["mobile"])] * (RULES_MAX + 1))
    assert reply.json()["type"] == "urn:bastide:rule-wrong"


@pytest.mark.limit("shortener.RULE_VALUES_MAX")
async def test_a_condition_has_so_many_values_and_not_one_more(visitor):
    tags = [f"x-{n}" for n in range(RULE_VALUES_MAX + 1)]
    assert (await visitor.shorten(rules=[rule(language=tags[:-1])])).is_success
    assert (await visitor.shorten(rules=[rule(language=tags)])).status_code == 400


@pytest.mark.limit("shortener.QUERY_CHARACTERS_MAX")
async def test_a_parameter_has_so_many_characters_and_not_one_more(visitor):
    name = "n" * QUERY_CHARACTERS_MAX
    assert (await visitor.shorten(rules=[rule(query={name: name})])).is_success
    for query in ({name + "n": ""}, {"n": name + "n"}):
        assert (await visitor.shorten(rules=[rule(query=query)])).status_code == 400


@pytest.mark.box("shortener.rules")
async def test_a_301_has_neither_rules_nor_a_limit(visitor):
    for more in ({"rules": [rule(device=["mobile"])]}, {"visits_max": 1}):
        reply = await visitor.shorten(permanent=True, **more)
        assert reply.json()["type"] == "urn:bastide:rule-wrong"
        made = await visitor.made("https://permanent.example", permanent=True)
        changed = await visitor.change(made["short_code"], made["manage_key"], **more)
        assert changed.json()["type"] == "urn:bastide:rule-wrong"


@pytest.mark.limit("shortener.LANGUAGE_CHARACTERS_MAX")
async def test_a_language_has_so_many_characters_and_not_one_more(visitor):
    tag = "x-" + "-".join(["abcdefgh"] * 3) + "-abcdef"
    assert len(tag) == LANGUAGE_CHARACTERS_MAX
    assert (await visitor.shorten(rules=[rule(language=[tag])])).is_success
    assert (await visitor.shorten(rules=[rule(language=[f"{tag}g"])])).status_code == 400


@pytest.mark.limit("shortener.RULES_BYTES_MAX")
def test_rules_have_so_many_bytes_and_not_one_more():
    def rules(more):
        query = {f"{n:03}": "v" * QUERY_CHARACTERS_MAX for n in range(RULE_VALUES_MAX - 1)}
        full = [Rule(When(query=query), THERE)] * 11
        return [*full, Rule(When(query={"n": ""}), THERE + "x" * more)]

    room = RULES_BYTES_MAX - len(msgspec.json.encode(rules(0)))
    assert room > 0
    assert check_rules(rules(room))
    with pytest.raises(RuleWrong, match=f"of {RULES_BYTES_MAX + 1} bytes"):
        check_rules(rules(room + 1))


# Limits of visits


@pytest.mark.box("shortener.visits")
async def test_a_link_is_followed_as_often_as_its_owner_allows(visitor):
    made = await visitor.made(visits_max=2)
    code, key = made["short_code"], made["manage_key"]
    statuses = [(await visitor.follow(code)).status_code for _ in range(3)]
    assert statuses == [302, 302, 410]
    told = await visitor.client.get(f"/api/{code}", headers=bearer(key))
    assert (told.json()["visits_left"], told.json()["total_clicks"]) == (0, 2)


@pytest.mark.box("shortener.visits")
async def test_of_many_at_once_just_so_many_are_let_through(visitor):
    code = (await visitor.made(visits_max=10))["short_code"]
    replies = await asyncio.gather(*(visitor.follow(code) for _ in range(50)))
    assert sorted(reply.status_code for reply in replies) == [302] * 10 + [410] * 40


@pytest.mark.box("shortener.visits")
async def test_a_limit_that_is_set_anew_counts_anew_and_0_lifts_it(visitor):
    made = await visitor.made(visits_max=1)
    code, key = made["short_code"], made["manage_key"]
    await visitor.follow(code)
    assert (await visitor.follow(code)).json()["type"] == "urn:bastide:link-spent"
    await visitor.change(code, key, visits_max=1)
    assert [(await visitor.follow(code)).status_code for _ in range(2)] == [302, 410]
    await visitor.change(code, key, visits_max=0)
    assert [(await visitor.follow(code)).status_code for _ in range(2)] == [302, 302]


@pytest.mark.box("shortener.visits")
async def test_a_preview_fetcher_does_not_use_up_a_link(visitor):
    """Messengers fetch what is sent through them, before anybody has read it."""
    code = (await visitor.made(visits_max=1))["short_code"]
    for agent, method in ((GOOGLEBOT, "GET"), ("WhatsApp/2.23", "GET"), (FIREFOX, "HEAD")):
        reply = await visitor.follow(code, agent=agent, method=method)
        assert reply.status_code == 403
        assert "location" not in reply.headers
    assert (await visitor.follow(code, agent=FIREFOX)).status_code == 302


@pytest.mark.limit("shortener.VISITS_MAX")
@pytest.mark.parametrize(
    ("visits_max", "status"), [(0, 201), (VISITS_MAX, 201), (VISITS_MAX + 1, 400), (-1, 400)]
)
async def test_a_limit_has_a_limit(visits_max, status, visitor):
    assert (await visitor.shorten(visits_max=visits_max)).status_code == status
