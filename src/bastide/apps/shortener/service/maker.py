"""Links out of drafts: what is asked for is checked, a code is made, nothing is stored."""

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

import msgspec

from bastide.apps.shortener.contract import (
    CODE_TRIES_MAX,
    EXPIRES_DAYS_MAX,
    VISITS_MAX,
    Link,
    Rule,
    RuleWrong,
    TargetRefused,
)
from bastide.apps.shortener.core.codes import check_custom, hash_code, is_reserved
from bastide.apps.shortener.core.labels import tags_of, title_of
from bastide.apps.shortener.core.rules import check_rules
from bastide.apps.shortener.core.targets import Place, Target, parse, places_of, refuse_own
from bastide.apps.shortener.model import DAY_MS, Change, Draft, Settings
from bastide.base.errors import Invalid
from bastide.base.rt import runtime
from bastide.engines.ids.contract import Ids

SERIES = "shortener.links"


class Plan(msgspec.Struct, frozen=True):
    """A draft that was checked. All of it is as the link will have it, but for its code."""

    draft: Draft
    target: Target


class Maker:
    """`own`: our addresses, which no link may lead to. `origin` is, wherever it is asked for, the
    address by which the client reached us: it is ours too.
    """

    def __init__(self, settings: Settings, ids: Ids, own: Iterable[str]) -> None:
        self._settings = settings
        self._ids = ids
        self._own = frozenset(place for address in own for place in places_of(address))

    def plan(self, draft: Draft, *, origin: str) -> Plan:
        """
        Raises:
            TargetRefused, CodeWrong, CodeReserved, LabelWrong, RuleWrong.
            Invalid: the end is too far, or the visits are too many.
        """
        target = self.target_of(draft.original_url, origin=origin)
        if draft.custom_code is not None:
            check_custom(draft.custom_code)
        _check_end(draft.expires_at_ms)
        rules = self._rules_of(draft.rules, origin=origin)
        check_followable(rules, draft.visits_max, permanent=draft.permanent)
        checked = msgspec.structs.replace(
            draft, title=title_of(draft.title), tags=tags_of(draft.tags), rules=rules
        )
        return Plan(checked, target)

    def target_of(self, address: str, *, origin: str) -> Target:
        """
        Raises:
            TargetRefused
        """
        target = parse(address)
        refuse_own(target, self._own)
        refuse_own(target, _places_claimed(origin))
        return target

    def checked(self, change: Change, *, origin: str) -> Change:
        """As `plan` has it. Raises as it."""
        _check_end(change.expires_at_ms)
        rules, tags, title = change.rules, change.tags, change.title
        return msgspec.structs.replace(
            change,
            rules=None if rules is None else self._rules_of(rules, origin=origin),
            title=None if title is None else title_of(title),
            tags=None if tags is None else tags_of(tags),
            add_tags=tags_of(change.add_tags),
            remove_tags=tags_of(change.remove_tags),
        )

    async def link(self, plan: Plan, owner: str, *, attempt: int) -> Link:
        """`attempt` counts from 0: whether the code is free, only storing it can tell."""
        now_ms, draft = runtime.now_ms(), plan.draft
        code = draft.custom_code or await self._code(plan.target, owner, now_ms, attempt)
        expires_at_ms = draft.expires_at_ms
        if expires_at_ms is None:
            expires_at_ms = now_ms + self.lifetime_ms(draft.expires_days)
        return Link(
            id=self._ids.new(),
            code=code,
            target=plan.target.url,
            owner=owner,
            created_at_ms=now_ms,
            expires_at_ms=expires_at_ms,
            permanent=draft.permanent,
            disabled=draft.disabled,
            custom=draft.custom_code is not None,
            deleted=False,
            title=draft.title,
            tags=draft.tags,
            rules=draft.rules,
            visits_max=draft.visits_max,
        )

    def lifetime_ms(self, days: float | None) -> int:
        return round((self._settings.expires_days if days is None else days) * DAY_MS)

    def _rules_of(self, rules: Sequence[Rule], *, origin: str) -> Sequence[Rule]:
        """Their targets are read as any other, since whoever meets a rule is sent there."""
        return [
            msgspec.structs.replace(rule, target=self._rule_target(number, rule, origin))
            for number, rule in enumerate(check_rules(rules), start=1)
        ]

    def _rule_target(self, number: int, rule: Rule, origin: str) -> str:
        try:
            return self.target_of(rule.target, origin=origin).url
        except TargetRefused as refusal:
            raise RuleWrong(f"rule {number}: {refusal}") from refusal

    async def _code(self, target: Target, owner: str, at_ms: int, attempt: int) -> str:
        code = await self._any_code(target, owner, at_ms, attempt)
        if is_reserved(code):
            return await self._code(target, owner, at_ms, attempt + CODE_TRIES_MAX)
        return code

    async def _any_code(self, target: Target, owner: str, at_ms: int, attempt: int) -> str:
        length = self._settings.code_length
        match self._settings.codes:
            case "counter":
                return await self._ids.code(SERIES, length=length)
            case "random":
                return self._ids.random(length=length)
            case "hash":
                return hash_code(target.hash, owner, at_ms=at_ms, attempt=attempt, length=length)
            case "pool":
                return await self._ids.key(SERIES, length=length)


def check_followable(rules: Sequence[Rule], visits_max: int, *, permanent: bool) -> None:
    """
    Raises:
        RuleWrong: a browser that keeps a 301 asks neither for rules nor for a limit.
        Invalid: the limit is beyond VISITS_MAX.
    """
    if not 0 <= visits_max <= VISITS_MAX:
        raise Invalid(f"visits_max={visits_max}; 0 (no limit) to {VISITS_MAX} is taken")
    if permanent and (rules or visits_max):
        raise RuleWrong("a link that redirects by 301 can't have rules or a limit of visits")


def _check_end(expires_at_ms: int | None) -> None:
    last_ms = runtime.now_ms() + EXPIRES_DAYS_MAX * DAY_MS
    if expires_at_ms is not None and not 0 <= expires_at_ms <= last_ms:
        raise Invalid(f"an end that is more than {EXPIRES_DAYS_MAX} days away is not taken")


@lru_cache(64)
def _places_claimed(origin: str) -> Collection[Place]:
    """The Host header is the client's word: what is no address can't be reached either."""
    try:
        return places_of(origin)
    except TargetRefused:
        return ()
