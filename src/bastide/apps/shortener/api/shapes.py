"""What the HTTP doors take and give, as JSON."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from bastide.apps.shortener.contract import (
    BULK_LINKS_MAX,
    IMPORT_LINES_MAX,
    REASON_CHARACTERS_MAX,
    TARGET_CHARACTERS_MAX,
    VISITS_MAX,
    Analytics,
    Day,
    Kind,
    Link,
    Rule,
    Share,
    Stats,
    When,
    Who,
)
from bastide.apps.shortener.model import Change, Counted, Days, Draft
from bastide.apps.shortener.service.shortener import Shortener
from bastide.base.errors import Invalid
from bastide.base.tx import PAGE_ITEMS_MAX

RESERVER_CHARACTERS_MAX = 100

Limit = Annotated[int, msgspec.Meta(ge=1, le=PAGE_ITEMS_MAX)]
LongAddress = Annotated[str, msgspec.Meta(max_length=TARGET_CHARACTERS_MAX)]
Visits = Annotated[int, msgspec.Meta(ge=0, le=VISITS_MAX)]
Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Conditions(Who, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """All that are given must hold; in a list any one does. `query`: parameters of the short link;
    "" takes any value.
    """

    after: Time | None = None
    before: Time | None = None


class RuleGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who meets `when` is redirected to `original_url`. The first rule that is met decides."""

    when: Conditions
    original_url: LongAddress


class Wishes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What may be wanted of a link beside its address. `visits_max` 0: any number."""

    custom_code: str | None = None
    expires_at: Time | None = None
    permanent: bool = False
    title: str = ""
    tags: Sequence[str] = ()
    rules: Sequence[RuleGiven] = ()
    visits_max: Visits = 0

    def draft_to(self, original_url: str, days: float | None, *, disabled: bool = False) -> Draft:
        return Draft(
            original_url=original_url,
            custom_code=self.custom_code,
            expires_days=days,
            permanent=self.permanent,
            expires_at_ms=ms_of(self.expires_at),
            title=self.title,
            tags=self.tags,
            rules=rules_of(self.rules),
            visits_max=self.visits_max,
            disabled=disabled,
        )


class Shorten(Wishes, frozen=True, kw_only=True):
    """`original_url` or `longUrl`, one of them."""

    original_url: LongAddress | None = None
    long_url: LongAddress | None = msgspec.field(name="longUrl", default=None)
    expires_days: Days | None = None

    def draft(self) -> Draft:
        if (self.original_url is None) == (self.long_url is None):
            raise Invalid("send either original_url or longUrl")
        return self.draft_to(self.original_url or self.long_url or "", self.expires_days)


class LineGiven(Wishes, frozen=True, kw_only=True):
    original_url: str
    disabled: bool = False

    def draft(self, expires_days: float | None) -> Draft:
        return self.draft_to(self.original_url, expires_days, disabled=self.disabled)


class Import(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    links: Annotated[list[LineGiven], msgspec.Meta(min_length=1, max_length=IMPORT_LINES_MAX)]
    expires_days: Days | None = None


class Changes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left out stays. `tags` replaces all, then `add_tags` come and `remove_tags` go.
    `visits_max` counts from now on; 0 lifts the limit. The end: `expires_at`, or `expires_days`
    from now.
    """

    original_url: LongAddress | None = None
    disabled: bool | None = None
    expires_days: Days | None = None
    expires_at: Time | None = None
    title: str | None = None
    tags: Sequence[str] | None = None
    add_tags: Sequence[str] = ()
    remove_tags: Sequence[str] = ()
    rules: Sequence[RuleGiven] | None = None
    visits_max: Visits | None = None

    def change(self) -> Change:
        return Change(
            original_url=self.original_url,
            disabled=self.disabled,
            expires_days=self.expires_days,
            expires_at_ms=ms_of(self.expires_at),
            title=self.title,
            tags=self.tags,
            add_tags=self.add_tags,
            remove_tags=self.remove_tags,
            rules=None if self.rules is None else rules_of(self.rules),
            visits_max=self.visits_max,
        )


Codes = Annotated[list[str], msgspec.Meta(min_length=1, max_length=BULK_LINKS_MAX)]


class ChangeMany(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    codes: Codes
    change: Changes


class DeleteMany(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    codes: Codes


class LinkShown(msgspec.Struct, frozen=True, kw_only=True):
    """`visits_max` 0: any number."""

    short_code: str
    short_url: str
    original_url: str
    title: str
    tags: Sequence[str]
    rules: Sequence[RuleGiven]
    visits_max: int
    created_at: datetime
    expires_at: datetime
    disabled: bool
    blocked: bool
    permanent: bool


class LinkListed(LinkShown, frozen=True, kw_only=True):
    """`pending`: as in the stats. `visits_left` is null if there is no limit."""

    visits_left: int | None
    total_clicks: int
    bot_clicks: int
    pending: bool


class LinkCreated(LinkShown, frozen=True, kw_only=True, omit_defaults=True):
    """`shortUrl` if `longUrl` was sent; `manage_key` only here, and only for an anonymous maker."""

    manage_key: str | None = None
    short_url_too: str | None = msgspec.field(name="shortUrl", default=None)


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    total_clicks: int
    bot_clicks: int
    pending: bool


class StatsShown(Counts, frozen=True, kw_only=True):
    """`pending`: clicks that were answered may be missing, for the journal can't be read to its
    end now. False: every click that was answered before the question is in.

    `days` and `by` are of the last 30 days, UTC; `by` counts people alone, the most first. A `name`
    "" is unknown; for a referrer, none.
    """

    short_code: str
    short_url: str
    days: Sequence[Day]
    by: Mapping[Kind, Sequence[Share]]


class LineShown(msgspec.Struct, frozen=True, omit_defaults=True):
    """`outcome` is created, existing or refused; then `reason` says why."""

    outcome: str
    short_code: str = ""
    short_url: str = ""
    reason: str = ""


class ImportShown(msgspec.Struct, frozen=True, omit_defaults=True):
    """In the order of what was sent."""

    links: list[LineShown]
    manage_key: str | None = None


class Refused(msgspec.Struct, frozen=True):
    line: int
    reason: str


class FileImported(msgspec.Struct, frozen=True):
    """What became of a file's links. `refused` counts all, `refusals` has the first of them.
    `stopped` says why lines from `stopped_at_line` on were not tried.
    """

    created: int
    existing: int
    refused: int
    refusals: Sequence[Refused]
    manage_key: str | None = None
    stopped: str = ""
    stopped_at_line: int = 0


class EditedShown(msgspec.Struct, frozen=True, omit_defaults=True):
    """`outcome` is changed, deleted or refused; then `reason` says why."""

    short_code: str
    outcome: str
    reason: str = ""


class ManyEdited(msgspec.Struct, frozen=True):
    """In the order of what was sent, each code once."""

    links: Sequence[EditedShown]


class Reserve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    code: str
    reserved_by: Annotated[str, msgspec.Meta(min_length=1, max_length=RESERVER_CHARACTERS_MAX)]


class ReservedShown(msgspec.Struct, frozen=True):
    code: str
    reserved_by: str
    reserved_at: datetime


class ReportGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=REASON_CHARACTERS_MAX)]


class ReportShown(msgspec.Struct, frozen=True):
    id: str
    short_code: str
    original_url: str
    reason: str
    reported_at: datetime


def rules_of(given: Sequence[RuleGiven]) -> Sequence[Rule]:
    return tuple(Rule(_when(rule.when), rule.original_url) for rule in given)


def _when(given: Conditions) -> When:
    return When(**_who(given), after_ms=ms_of(given.after), before_ms=ms_of(given.before))


def _rule_shown(rule: Rule) -> RuleGiven:
    after_ms, before_ms = rule.when.after_ms, rule.when.before_ms
    shown = Conditions(
        **_who(rule.when),
        after=None if after_ms is None else time_of(after_ms),
        before=None if before_ms is None else time_of(before_ms),
    )
    return RuleGiven(shown, rule.target)


def _who(when: Who) -> Mapping[str, Any]:
    return {name: getattr(when, name) for name in Who.__struct_fields__}


def rules_shown(rules: Sequence[Rule]) -> Sequence[RuleGiven]:
    return [_rule_shown(rule) for rule in rules]


def facts(shortener: Shortener, link: Link) -> Mapping[str, Any]:
    return {
        "short_code": link.code,
        "short_url": shortener.address_of(link.code),
        "original_url": link.target,
        "title": link.title,
        "tags": link.tags,
        "rules": rules_shown(link.rules),
        "visits_max": link.visits_max,
        "created_at": time_of(link.created_at_ms),
        "expires_at": time_of(link.expires_at_ms),
        "disabled": link.disabled,
        "blocked": link.blocked,
        "permanent": link.permanent,
    }


def listed(shortener: Shortener, counted: Counted) -> LinkListed:
    stats = msgspec.structs.asdict(counted.stats)
    return LinkListed(**facts(shortener, counted.link), **stats, visits_left=counted.visits_left)


def counts(stats: Stats) -> Counts:
    return Counts(**msgspec.structs.asdict(stats))


def stats_shown(shortener: Shortener, counted: Counted, analytics: Analytics) -> StatsShown:
    return StatsShown(
        short_code=counted.link.code,
        short_url=shortener.address_of(counted.link.code),
        total_clicks=counted.stats.total_clicks,
        bot_clicks=counted.stats.bot_clicks,
        days=analytics.days,
        by=analytics.by,
        pending=counted.stats.pending or analytics.pending,
    )


def ms_of(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1000)


def time_of(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
