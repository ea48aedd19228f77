"""Rules: one short link, another long address for some of its visits.

    rule 1   device mobile, country CH or AT     ─> https://example.com/app      in a rule: all
    rule 2   language de                         ─> https://example.com/de       conditions, and
    rule 3   from 1.12. to 25.12.                ─> https://example.com/advent   of each any value
    else                                            the link's own target

The first rule that a visit meets is taken, so its owner orders them; nothing is weighed. What isn't
known of a visit ("" for its country, no language) meets no condition on it. Rules are checked once,
when they are written, and brought to one spelling, so that judging compares strings and no more:
0.1 us a rule, 0.3 with a parameter, 0.8 with two languages.

Differs from shorteners that keep one target each for iOS, for Android and for every country: there
the order between the kinds is fixed, and two conditions can't be asked together.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from bastide.apps.shortener.contract import (
    LANGUAGE_CHARACTERS_MAX,
    QUERY_CHARACTERS_MAX,
    RULE_VALUES_MAX,
    RULES_BYTES_MAX,
    RULES_MAX,
    Rule,
    RuleWrong,
    When,
)
from bastide.parts.visitor.contract import Client
from bastide.parts.visitor.core import COUNTRIES, accepts, is_range

# The years 1 to 9999, UTC: what RFC 3339 can say, and so what can be told back.
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
_LISTS = ("device", "system", "browser", "language", "country", "query")


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """What rules are judged by. `query`: parameters of the short link, as it was asked for."""

    client: Client
    country: str
    languages: Sequence[str]
    query: Mapping[str, str]
    now_ms: int


def target_of(rules: Sequence[Rule], target: str, visit: Visit) -> str:
    """Where the first rule that the visit meets leads; `target` if it meets none."""
    for rule in rules:
        if _meets(visit, rule.when):
            return rule.target
    return target


def _meets(visit: Visit, when: When) -> bool:
    client = visit.client
    return (
        (not when.device or client.device in when.device)
        and (not when.system or client.system in when.system)
        and (not when.browser or client.browser in when.browser)
        and (not when.country or visit.country in when.country)
        and (not when.language or _speaks(visit.languages, when.language))
        and (not when.query or _asks(visit.query, when.query))
        and (when.after_ms is None or visit.now_ms >= when.after_ms)
        and (when.before_ms is None or visit.now_ms < when.before_ms)
    )


def _speaks(languages: Sequence[str], ranges: Sequence[str]) -> bool:
    for range_ in ranges:  # noqa: SIM110 (`any` with a generator takes twice as long)
        if accepts(languages, range_):
            return True
    return False


def _asks(query: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    for name, value in wanted.items():
        if name not in query or value not in ("", query[name]):
            return False
    return True


def check_rules(rules: Sequence[Rule]) -> Sequence[Rule]:
    """The rules as `target_of` takes them: countries in capitals, languages in lower case.

    Raises:
        RuleWrong: there are too many, or one of them has no condition, or one that no visit meets.
    """
    if len(rules) > RULES_MAX:
        raise RuleWrong(f"{len(rules)} rules; at most {RULES_MAX} are taken")
    checked = tuple(
        msgspec.structs.replace(rule, when=_checked(rule.when, f"rule {number}"))
        for number, rule in enumerate(rules, start=1)
    )
    if (bytes_ := len(msgspec.json.encode(checked))) > RULES_BYTES_MAX:
        raise RuleWrong(f"rules of {bytes_} bytes; at most {RULES_BYTES_MAX} are taken")
    return checked


def _checked(when: When, place: str) -> When:
    lists: Mapping[str, Collection[str]] = {name: getattr(when, name) for name in _LISTS}
    if not any(lists.values()) and when.after_ms is None and when.before_ms is None:
        raise RuleWrong(f"{place} has no condition; the link's own target serves everybody else")
    for name, values in lists.items():
        _check_count(values, f"{place}, {name}")
    for name, value in when.query.items():
        _check_parameter(name, value, place)
    _check_times(when, place)
    return msgspec.structs.replace(
        when,
        country=_unique(_country(code, place) for code in when.country),
        language=_unique(_language(text, place) for text in when.language),
    )


def _check_count(values: Collection[str], place: str) -> None:
    if len(values) > RULE_VALUES_MAX:
        raise RuleWrong(f"{place}: {len(values)} values; at most {RULE_VALUES_MAX} are taken")


def _check_parameter(name: str, value: str, place: str) -> None:
    if not name:
        raise RuleWrong(f"{place}, query: a parameter without a name")
    for text in (name, value):
        if len(text) > QUERY_CHARACTERS_MAX:
            raise RuleWrong(
                f"{place}, query: {len(text)} characters; at most {QUERY_CHARACTERS_MAX} are taken"
            )


def _check_times(when: When, place: str) -> None:
    after_ms, before_ms = when.after_ms, when.before_ms
    for at_ms in (after_ms, before_ms):
        if at_ms is not None and not _FIRST_MS <= at_ms <= _LAST_MS:
            raise RuleWrong(f"{place}: a time is of the years 1 to 9999, UTC")
    if after_ms is not None and before_ms is not None and after_ms >= before_ms:
        raise RuleWrong(f"{place}: after_ms {after_ms} is not less than before_ms {before_ms}")


def _country(code: str, place: str) -> str:
    capitals = code.upper() if code.isascii() else code  # "ß".upper() is "SS", South Sudan
    if capitals not in COUNTRIES:
        raise RuleWrong(f"{place}: {code[:10]!r} is no country of ISO 3166-1, as CH or DE are")
    return capitals


def _language(text: str, place: str) -> str:
    lower = text.lower() if text.isascii() else text
    if len(lower) > LANGUAGE_CHARACTERS_MAX or not is_range(lower):
        raise RuleWrong(f"{place}: {text[:40]!r} is no language as de or pt-BR are (RFC 4647)")
    return lower


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
