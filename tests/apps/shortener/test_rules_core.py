"""Rules: judged as a simple model judges them, and checked before they are taken."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.apps.shortener.contract import (
    QUERY_CHARACTERS_MAX,
    RULE_VALUES_MAX,
    RULES_MAX,
    Rule,
    RuleWrong,
    When,
)
from bastide.apps.shortener.core.rules import Visit, check_rules, target_of
from bastide.parts.visitor.contract import Client
from bastide.parts.visitor.core import COUNTRIES

PHONE = Client("mobile", "ios", "safari", bot=False)
VISIT = Visit(client=PHONE, country="CH", languages=("de-ch", "fr"), query={"ref": "x"}, now_ms=100)


def judged(when, visit=VISIT):
    [rule] = check_rules([Rule(when, "https://rule.example")])
    return target_of([rule], "https://link.example", visit) == "https://rule.example"


@pytest.mark.parametrize(
    ("when", "met"),
    [
        (When(device=["desktop", "mobile"]), True),
        (When(device=["desktop"]), False),
        (When(system=["ios"], browser=["chrome"]), False),
        (When(system=["ios"], browser=["safari"]), True),
        (When(country=["at", "ch"]), True),
        (When(country=["DE"]), False),
        (When(language=["DE"]), True),
        (When(language=["de-CH"]), True),
        (When(language=["de-AT"]), False),
        (When(language=["en", "fr"]), True),
        (When(language=["*"]), True),
        (When(query={"ref": "x"}), True),
        (When(query={"ref": ""}), True),
        (When(query={"ref": "y"}), False),
        (When(query={"REF": "x"}), False),
        (When(query={"ref": "x", "utm": ""}), False),
        (When(after_ms=100), True),
        (When(after_ms=101), False),
        (When(before_ms=101), True),
        (When(before_ms=100), False),
        (When(after_ms=0), True),
        (When(before_ms=0), False),
        (When(after_ms=100, before_ms=101, country=["CH"], device=["mobile"]), True),
    ],
)
def test_a_rule_is_met_if_all_its_conditions_are(when, met):
    assert judged(when) == met


def test_the_first_rule_that_is_met_says_where_to():
    rules = check_rules(
        [
            Rule(When(device=["desktop"]), "https://desktop.example"),
            Rule(When(country=["CH"]), "https://ch.example"),
            Rule(When(device=["mobile"]), "https://mobile.example"),
        ]
    )
    assert target_of(rules, "https://link.example", VISIT) == "https://ch.example"
    elsewhere = msgspec.structs.replace(VISIT, country="US")
    assert target_of(rules, "https://link.example", elsewhere) == "https://mobile.example"
    assert target_of((), "https://link.example", VISIT) == "https://link.example"


def test_what_is_not_known_of_a_visit_meets_no_condition():
    nobody = Visit(
        client=Client("other", "other", "other", bot=False),
        country="",
        languages=(),
        query={},
        now_ms=0,
    )
    every_country = sorted(COUNTRIES)[:RULE_VALUES_MAX]
    for when in (
        When(country=every_country),
        When(language=["*"]),
        When(query={"ref": ""}),
        When(after_ms=1),
    ):
        assert not judged(when, nobody)


@pytest.mark.parametrize("empty", [When(), When(device=[], query={}), When(country=[])])
def test_a_rule_without_a_condition_is_refused(empty):
    with pytest.raises(RuleWrong, match="rule 2 has no condition"):
        check_rules([Rule(When(device=["mobile"]), "x"), Rule(empty, "x")])


@pytest.mark.parametrize("code", ["XX", "UK", "CHE", "", "C", "ß", "\u0131n", "xk", "🇨🇭"])
def test_a_country_that_iso_3166_does_not_have_is_refused(code):
    """Traps: the United Kingdom is GB; "ß" is "SS" in capitals, and a dotless i is "I"."""
    with pytest.raises(RuleWrong, match=r"rule 1: .* is no country of ISO 3166-1"):
        check_rules([Rule(When(country=["CH", code]), "x")])


@pytest.mark.parametrize(
    "text", ["", "d3", "de_CH", "de-", "-de", "abcdefghi", "de-*", "de CH", "ß"]
)
def test_a_malformed_language_is_refused(text):
    with pytest.raises(RuleWrong, match=r"rule 1: .* is no language"):
        check_rules([Rule(When(language=["de", text]), "x")])


@pytest.mark.parametrize(("after_ms", "before_ms"), [(5, 5), (6, 5)])
def test_a_time_that_ends_before_it_begins_is_refused(after_ms, before_ms):
    with pytest.raises(RuleWrong, match=r"after_ms . is not less than before_ms 5"):
        check_rules([Rule(When(after_ms=after_ms, before_ms=before_ms), "x")])


def test_rules_are_brought_to_one_spelling():
    when = When(country=["ch", "CH", "de"], language=["de-CH", "DE-ch", "PT"], device=["mobile"])
    [rule] = check_rules([Rule(when, "x")])
    assert (rule.when.country, rule.when.language) == (("CH", "DE"), ("de-ch", "pt"))
    assert rule.when.device == ["mobile"]
    assert check_rules([rule]) == (rule,)


@pytest.mark.limit("shortener.RULES_MAX")
def test_so_many_rules_are_taken_and_no_more():
    rule = Rule(When(country=["CH"]), "x")
    assert len(check_rules([rule] * RULES_MAX)) == RULES_MAX
    with pytest.raises(RuleWrong, match=f"at most {RULES_MAX} "):
        check_rules([rule] * (RULES_MAX + 1))


@pytest.mark.limit("shortener.RULE_VALUES_MAX")
@pytest.mark.parametrize(
    "condition",
    [
        lambda n: When(device=["mobile"] * n),
        lambda n: When(system=["ios"] * n),
        lambda n: When(browser=["safari"] * n),
        lambda n: When(country=["CH"] * n),
        lambda n: When(language=["de"] * n),
        lambda n: When(query={str(number): "" for number in range(n)}),
    ],
)
def test_a_condition_takes_so_many_values_and_no_more(condition):
    check_rules([Rule(condition(RULE_VALUES_MAX), "x")])
    with pytest.raises(RuleWrong, match=f"at most {RULE_VALUES_MAX} "):
        check_rules([Rule(condition(RULE_VALUES_MAX + 1), "x")])


@pytest.mark.limit("shortener.QUERY_CHARACTERS_MAX")
def test_a_parameter_has_so_many_characters_and_no_more():
    longest = "x" * QUERY_CHARACTERS_MAX
    check_rules([Rule(When(query={longest: longest}), "x")])
    for query in ({longest + "x": ""}, {"a": longest + "x"}):
        with pytest.raises(RuleWrong, match=f"at most {QUERY_CHARACTERS_MAX} "):
            check_rules([Rule(When(query=query), "x")])
    with pytest.raises(RuleWrong, match="without a name"):
        check_rules([Rule(When(query={"": "x"}), "x")])


devices = st.sampled_from(["desktop", "mobile"])
systems = st.sampled_from(["ios", "windows"])
browsers = st.sampled_from(["chrome", "safari"])
countries = st.sampled_from(["CH", "DE"])
tags = st.sampled_from(["de", "de-ch", "deu", "en"])
queries = st.dictionaries(st.sampled_from("ab"), st.sampled_from(["", "1", "2"]), max_size=2)
whens = st.builds(
    When,
    device=st.lists(devices, max_size=2),
    system=st.lists(systems, max_size=2),
    browser=st.lists(browsers, max_size=2),
    country=st.lists(countries, max_size=2),
    language=st.lists(tags, max_size=2),
    query=queries,
    after_ms=st.none() | st.integers(0, 4),
    before_ms=st.none() | st.integers(5, 9),
)
visits = st.builds(
    Visit,
    client=st.builds(Client, devices, systems, browsers, st.booleans()),
    country=countries | st.just(""),
    languages=st.lists(tags, max_size=2),
    query=queries,
    now_ms=st.integers(0, 9),
)


def conditional(when):
    lists = (when.device, when.system, when.browser, when.country, when.language, when.query)
    return any(lists) or when.after_ms is not None or when.before_ms is not None


def model(when, visit):
    """Every condition as a list of what is wanted and what is there: none wanted, or one shared."""
    prefixes = {whole for tag in visit.languages for whole in (tag, tag.rpartition("-")[0])}
    times = range(when.after_ms or 0, 10 if when.before_ms is None else when.before_ms)
    pairs = {(n, v) for n, value in visit.query.items() for v in ("", value)}
    return (
        all(
            not wanted or set(wanted) & there
            for wanted, there in (
                (when.device, {visit.client.device}),
                (when.system, {visit.client.system}),
                (when.browser, {visit.client.browser}),
                (when.country, {visit.country}),
                (when.language, prefixes),
            )
        )
        and set(when.query.items()) <= pairs
        and visit.now_ms in times
    )


@given(st.lists(whens.filter(conditional), max_size=5), visits)
def test_rules_lead_where_a_simple_model_says(given_whens, visit):
    rules = check_rules([Rule(when, str(n)) for n, when in enumerate(given_whens)])
    met = [str(n) for n, when in enumerate(given_whens) if model(when, visit)]
    assert target_of(rules, "link", visit) == [*met, "link"][0]
