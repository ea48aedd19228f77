"""What people fill in, read field by field, so that what is wrong is said where it was typed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import msgspec

from bastide.apps.shortener.contract import (
    VISITS_MAX,
    CodeReserved,
    CodeTaken,
    CodeWrong,
    Link,
    Rule,
    RuleWrong,
    TargetRefused,
)
from bastide.apps.shortener.core.labels import tags_of, title_of
from bastide.apps.shortener.model import Change, Days, Draft
from bastide.apps.shortener.pages.rulelines import lines_of, rules_from
from bastide.apps.shortener.pages.words import MINUTE_MS, sentence, with_scheme
from bastide.base.errors import Invalid, Refusal
from bastide.base.html.pages import Pages
from bastide.base.instants import instant_of, text_of
from bastide.base.routes.rows import Reply, Request
from bastide.base.rt import runtime

# Whose fault it is when the verb refuses. The rest of Invalid is read here; an end is left.
_FIELDS: Sequence[tuple[type[Refusal], str]] = (
    (TargetRefused, "original_url"),
    (CodeWrong, "custom_code"),
    (CodeTaken, "custom_code"),
    (CodeReserved, "custom_code"),
    (RuleWrong, "rules"),
    (Invalid, "expires_at"),
)


class FieldWrong(Exception):
    """What was typed into `field` is refused."""

    def __init__(self, field: str, refusal: Refusal) -> None:
        super().__init__(sentence(refusal))
        self.field = field
        self.status = refusal.status


class Errors(dict[str, str]):
    """What is wrong, by field; "" where nothing is."""

    def __init__(self, wrong: FieldWrong | None) -> None:
        super().__init__({wrong.field: str(wrong)} if wrong else {})

    def __missing__(self, field: str) -> str:
        return ""


def form_page(
    pages: Pages,
    request: Request,
    template: str,
    wrong: FieldWrong | None,
    **context: Any,  # as Pages.reply takes it
) -> Reply:
    """With what was typed, and what is wrong about it, if it was refused."""
    status = wrong.status if wrong else 200
    return pages.reply(template, request, status=status, errors=Errors(wrong), **context)


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a link is made of, as text. `expires_at`: UTC, unless it says otherwise."""

    original_url: str = ""
    title: str = ""
    tags: str = ""
    expires_at: str = ""
    visits: str = ""
    rules: str = ""


class ShortenForm(Facts, frozen=True, forbid_unknown_fields=True):
    """`key` is the browser's, if it has one: its links belong together."""

    custom_code: str = ""
    expires_days: Days = 365
    redirect: Literal["302", "301"] = "302"
    key: str = ""

    @property
    def has_more(self) -> bool:
        """More than an address is asked for."""
        return msgspec.structs.replace(self, original_url="", key="") != ShortenForm()


class ManageForm(Facts, frozen=True, forbid_unknown_fields=True):
    code: str = ""
    key: str = ""
    action: Literal["show", "save", "disable", "enable", "extend", "refill", "delete"] = "show"


class ListForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str = ""
    tag: str = ""
    cursor: str = ""
    limit: str = ""


class ReportForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: str = ""


class JudgeForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    code: str
    action: Literal["block", "unblock", "dismiss"]


def code_in(text: str) -> str:
    """Of a code, or of a whole short link, as people paste it."""
    path = text.strip().partition("?")[0].rstrip("/")
    return path.rpartition("/")[2].removesuffix("+")


@contextmanager
def at(field: str) -> Iterator[None]:
    try:
        yield
    except Refusal as refusal:
        raise FieldWrong(field, refusal) from refusal


@contextmanager
def at_its_field() -> Iterator[None]:
    """Around a verb: what it refuses of what was typed."""
    try:
        yield
    except Refusal as refusal:
        for kind, field in _FIELDS:
            if isinstance(refusal, kind):
                raise FieldWrong(field, refusal) from refusal
        raise


def draft_of(form: ShortenForm) -> Draft:
    """
    Raises:
        FieldWrong
    """
    expires_at_ms = _end(form)
    if expires_at_ms is not None and expires_at_ms <= runtime.now_ms():
        raise FieldWrong("expires_at", Invalid("that is over already"))
    return Draft(
        original_url=with_scheme(form.original_url),
        custom_code=form.custom_code.strip() or None,
        expires_days=form.expires_days,
        permanent=form.redirect == "301",
        expires_at_ms=expires_at_ms,
        title=_title(form),
        tags=_tags(form),
        rules=_rules(form),
        visits_max=_visits(form),
    )


def change_of(form: ManageForm, link: Link) -> Change:
    """What differs from the link: an end to the minute, as it was shown. A limit that is left alone
    goes on counting.

    Raises:
        FieldWrong
    """
    target, title, tags = with_scheme(form.original_url), _title(form), _tags(form)
    rules, visits, end_ms = _rules(form), _visits(form), _end(form)
    shown_end_ms = link.expires_at_ms // MINUTE_MS * MINUTE_MS
    return Change(
        original_url=target if target != link.target else None,
        title=title if title != link.title else None,
        tags=tags if list(tags) != list(link.tags) else None,
        rules=rules if lines_of(rules) != lines_of(link.rules) else None,
        visits_max=visits if visits != link.visits_max else None,
        expires_at_ms=end_ms if end_ms != shown_end_ms else None,
    )


def facts_of(link: Link) -> Facts:
    return Facts(
        original_url=link.target,
        title=link.title,
        tags=", ".join(link.tags),
        expires_at=text_of(link.expires_at_ms)[:16],  # as input type=datetime-local has it
        visits=str(link.visits_max or ""),
        rules=lines_of(link.rules),
    )


def _title(form: Facts) -> str:
    with at("title"):
        return title_of(form.title)


def _tags(form: Facts) -> Sequence[str]:
    with at("tags"):
        return tags_of(form.tags.split(","))


def _rules(form: Facts) -> Sequence[Rule]:
    with at("rules"):
        return rules_from(form.rules)


def _end(form: Facts) -> int | None:
    text = form.expires_at.strip()
    at_ms = instant_of(text) if text else None
    if text and at_ms is None:
        raise FieldWrong("expires_at", Invalid(f"{text[:40]!r} is no time as 2026-12-24T18:00 is"))
    return at_ms


def _visits(form: Facts) -> int:
    text = form.visits.strip()
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and int(text[:20]) <= VISITS_MAX):
        raise FieldWrong(
            "visits", Invalid(f"{text[:20]!r} is no limit; 1 to {VISITS_MAX:,} is, or nothing")
        )
    return int(text)
