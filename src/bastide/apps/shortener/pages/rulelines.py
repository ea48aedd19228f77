"""Rules as lines that a person can type. The editor on the page writes the same ones.

    system ios, country FI -> https://example.com/fi
    language de fr, query from=mail -> https://example.com/de
    from 2026-12-01T00:00Z, until 2026-12-24T18:00Z -> https://example.com/advent

A line is a rule, a comma parts its conditions, a blank the values of one, of which any will do. Of
a parameter of the query, name and value are written as in an address: with %20 for a blank.
"""

from collections.abc import Mapping, Sequence
from typing import get_args
from urllib.parse import quote, unquote

import msgspec

from bastide.apps.shortener.contract import Rule, RuleWrong, TargetRefused, When
from bastide.apps.shortener.core.targets import parse
from bastide.apps.shortener.pages.words import with_scheme
from bastide.base.instants import instant_of, text_of
from bastide.parts.visitor.contract import Browser, Device, System

CHOICES: Mapping[str, Sequence[str]] = {
    "device": get_args(Device),
    "system": get_args(System),
    "browser": get_args(Browser),
}
TIMES: Mapping[str, str] = {"from": "after_ms", "until": "before_ms"}
KINDS = (*CHOICES, "language", "country", "query", *TIMES)


def rules_from(text: str) -> Sequence[Rule]:
    """
    Raises:
        RuleWrong: a line is no rule; the message says which one.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [_rule(line, f"rule {number}") for number, line in enumerate(lines, start=1)]


def lines_of(rules: Sequence[Rule]) -> str:
    return "\n".join(f"{_conditions(rule.when)} -> {rule.target}" for rule in rules)


def _rule(line: str, place: str) -> Rule:
    conditions, arrow, address = (part.strip() for part in line.partition("->"))
    if not arrow or not address:
        raise RuleWrong(f"{place} leads nowhere: write -> and an address behind its conditions")
    try:
        target = parse(with_scheme(address))
    except TargetRefused as refusal:
        raise RuleWrong(f"{place}: {refusal}") from refusal
    return Rule(_when(conditions, place), target.url)


def _when(text: str, place: str) -> When:
    found: dict[str, object] = {}
    for condition in filter(None, (part.strip() for part in text.split(","))):
        kind, *values = condition.split()
        if kind not in KINDS:
            raise RuleWrong(f"{place}: {kind!r} is no condition; {', '.join(KINDS)} are")
        name = TIMES.get(kind, kind)
        if name in found:
            raise RuleWrong(f"{place}: {kind} is said twice; write its values behind one another")
        if not values:
            raise RuleWrong(f"{place}: {kind} has no value")
        found[name] = _value(kind, values, place)
    when = msgspec.convert(found, When)
    if when.after_ms is not None and when.before_ms is not None and when.after_ms >= when.before_ms:
        raise RuleWrong(f"{place}: its until is not later than its from")
    return when


def _value(kind: str, values: Sequence[str], place: str) -> object:
    if kind in TIMES:
        return _instant(values, place)
    if kind == "query":
        pairs = (value.partition("=") for value in values)
        return {unquote(name): unquote(value) for name, _, value in pairs}
    for value in values if kind in CHOICES else ():
        if value not in CHOICES[kind]:
            raise RuleWrong(f"{place}: {value!r} is no {kind}; {', '.join(CHOICES[kind])} are")
    return tuple(values)


def _instant(values: Sequence[str], place: str) -> int:
    at_ms = instant_of(" ".join(values))
    if at_ms is None:
        raise RuleWrong(f"{place}: {' '.join(values)!r} is no time as 2026-12-24T18:00Z is")
    return at_ms


def _conditions(when: When) -> str:
    parts = [
        f"{kind} {' '.join(values)}"
        for kind in ("device", "system", "browser", "language", "country")
        if (values := getattr(when, kind))
    ]
    if when.query:
        asked = (f"{quote(n, safe='')}={quote(v, safe='')}" for n, v in when.query.items())
        parts.append(f"query {' '.join(asked)}")
    for kind, name in TIMES.items():
        at_ms = getattr(when, name)
        if at_ms is not None:
            parts.append(f"{kind} {text_of(at_ms)}")
    return ", ".join(parts)
