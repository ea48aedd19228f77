"""Short links: what others may know of them.

Refusal
 ├── Invalid      TargetRefused, CodeWrong, LabelWrong, RuleWrong, ImportOver, BulkOver, CsvWrong,
 │                ReportsOver
 ├── Denied       KeyWrong, PeopleOnly
 ├── NotFound     LinkMissing
 │    └── Gone    LinkExpired, LinkDisabled, LinkSpent, LinkBlocked, LinkDeleted
 ├── Conflict     CodeTaken, CodeReserved
 └── Unavailable  CodesCrowded

Events: LINKS tells what becomes of links, CLICKS of every answered redirect.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import msgspec

from bastide.base.errors import Conflict, Denied, Gone, Invalid, NotFound, Unavailable
from bastide.base.events import Event, EventTopic
from bastide.parts.visitor.contract import Browser, Device, System

TARGET_CHARACTERS_MAX = 2048
TITLE_CHARACTERS_MAX = 200
TAGS_MAX = 10
TAG_CHARACTERS_MAX = 32
RULES_MAX = 20
RULE_VALUES_MAX = 50  # of one condition
RULES_BYTES_MAX = 64 << 10  # of one link, as JSON
LANGUAGE_CHARACTERS_MAX = 35  # BCP 47, section 4.4.1
QUERY_CHARACTERS_MAX = 100  # of the name, and of the value, of a query parameter in a rule
VISITS_MAX = 1_000_000_000
BULK_LINKS_MAX = 100
DAYS_SHOWN_MAX = 30
PLACES_MAX = 100  # of one kind on one day; what comes beyond is counted as OTHER
OTHER = "other"
REASON_CHARACTERS_MAX = 500  # of a report
REPORTS_MAX = 20  # of one link, waiting for the operator
CODE_CHARACTERS_MIN = 3
CODE_CHARACTERS_MAX = 32
EXPIRES_DAYS_MAX = 36_500
IMPORT_LINES_MAX = 1_000
CODE_TRIES_MAX = 3
EXPIRED_S = 5.0  # so soon it is told that a link has ended


class TargetRefused(Invalid):
    """The long address is none that we redirect to; the message says why."""


class CodeWrong(Invalid):
    """A custom code has other characters, or another length, than are taken."""


class LabelWrong(Invalid):
    """A title or a tag is longer than it may be, holds a control character, or there are too many
    tags.
    """


class RuleWrong(Invalid):
    """A rule has no condition, one that nobody meets, or too many, or leads where no link may; or a
    link that always redirects by 301 has rules or a limit of visits, which browsers that keep the
    301 would not see.
    """


class BulkOver(Invalid):
    """A bulk edit of no link, or of more than BULK_LINKS_MAX."""


class CsvWrong(Invalid):
    """The CSV is not UTF-8, is too large, or no column of it is known to hold long addresses."""


class ReportsOver(Invalid):
    """REPORTS_MAX reports of the link wait already: the operator knows."""


class ImportOver(Invalid):
    """An import of no line, or of more than IMPORT_LINES_MAX."""


class KeyWrong(Denied):
    """The key is not the one that this link was made with."""


class PeopleOnly(Denied):
    """A program, as it calls itself, follows a link with a limit of visits: were it redirected, a
    messenger that fetches a preview would use up the link that it is sent to show.
    """

    def __init__(self, code: str) -> None:
        super().__init__(f"the link {code!r} may be followed a few times only, by people")


class LinkMissing(NotFound):
    def __init__(self, code: str) -> None:
        super().__init__(f"there is no link {code[:CODE_CHARACTERS_MAX]!r}")


class LinkExpired(Gone):
    def __init__(self, code: str, *, expired_at_ms: int) -> None:
        super().__init__(f"the link {code!r} has expired", expired_at_ms=expired_at_ms)


class LinkDisabled(Gone):
    def __init__(self, code: str) -> None:
        super().__init__(f"the link {code!r} is switched off by its owner")


class LinkSpent(Gone):
    def __init__(self, code: str) -> None:
        super().__init__(f"the link {code!r} was followed as often as its owner allows")


class LinkBlocked(Gone):
    def __init__(self, code: str) -> None:
        super().__init__(f"the link {code!r} was blocked by the operator")


class LinkDeleted(Gone):
    def __init__(self, code: str) -> None:
        super().__init__(f"the link {code!r} was deleted; its code is not given out again")


class CodeTaken(Conflict):
    def __init__(self, code: str) -> None:
        super().__init__(f"the code {code!r} is already taken")


class CodeReserved(Conflict):
    def __init__(self, code: str) -> None:
        super().__init__(f"the code {code!r} is reserved")


class CodesCrowded(Unavailable):
    """CODE_TRIES_MAX codes in a row were taken: so many links need longer codes."""


class Who(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Conditions on who follows and how, of which all that are given must hold; in a list any one
    does.

    `language`: tags as in RFC 4647's basic filtering ("de" takes "de-CH"), of those that the
    visitor's browser accepts. `country`: ISO 3166-1, two capitals. `query`: names of parameters of
    the short link and the value that each must have; "" takes any.
    """

    device: Sequence[Device] = ()
    system: Sequence[System] = ()
    browser: Sequence[Browser] = ()
    language: Sequence[str] = ()
    country: Sequence[str] = ()
    query: Mapping[str, str] = {}


class When(Who, frozen=True, kw_only=True, omit_defaults=True):
    """And on the time of a visit: `after_ms` (inclusive) and `before_ms` (exclusive), milliseconds
    since 1970, UTC.
    """

    after_ms: int | None = None
    before_ms: int | None = None


class Rule(msgspec.Struct, frozen=True):
    """Who meets `when` is redirected to `target`."""

    when: When
    target: str


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """One short link. `owner` is "key:<hash of its manage key>" or "user:<id>"; '' once deleted.

    It redirects from `created_at_ms` until `expires_at_ms` (exclusive; milliseconds since 1970,
    UTC), unless `disabled` by its owner or `blocked` by the operator. `permanent`: by 301 rather
    than 302. `rules`: the first that a visit meets says where to; else it is `target`.
    `visits_max`: how many redirects it answers in all, 0 for any number.
    """

    id: int
    code: str
    target: str
    owner: str
    created_at_ms: int
    expires_at_ms: int
    permanent: bool
    disabled: bool
    custom: bool
    deleted: bool
    blocked: bool = False
    title: str = ""
    tags: Sequence[str] = ()
    rules: Sequence[Rule] = ()
    visits_max: int = 0


class Stats(msgspec.Struct, frozen=True):
    """`total_clicks` counts every answered redirect; `bot_clicks` are those of them that programs
    asked for. `pending`: some answered ones may be missing yet, since the journal or the database
    refuses to have them counted now.
    """

    total_clicks: int
    bot_clicks: int
    pending: bool = False


Kind = Literal["country", "device", "browser", "system", "referrer"]


class Day(msgspec.Struct, frozen=True):
    """`date` as 2026-11-21, UTC; `clicks` are people's, `bots` programs'."""

    date: str
    clicks: int
    bots: int


class Share(msgspec.Struct, frozen=True):
    """`name` "" is unknown, or for a referrer none."""

    name: str
    clicks: int


class Analytics(msgspec.Struct, frozen=True):
    """The last `len(days)` days, oldest first, today too. `by`: people's clicks of these days, the
    most first; bots are in no share.
    """

    days: Sequence[Day]
    by: Mapping[Kind, Sequence[Share]]
    pending: bool = False


class LinkEvent(Event, frozen=True):
    """Of the link `code`; events of one link come in the order in which they happened."""

    code: str
    link_id: str
    at_ms: int

    @property
    def key(self) -> str:
        return self.code


class LinkCreated(LinkEvent, frozen=True):
    """`owner` as `Link` has it."""

    kind: ClassVar[str] = "created"

    target: str
    owner: str
    expires_at_ms: int


class LinkChanged(LinkEvent, frozen=True):
    """Whatever of it: where it leads, when it ends, whether it is on."""

    kind: ClassVar[str] = "changed"


class LinkSwitchedOff(LinkEvent, frozen=True):
    """It redirects no more, for now; a `changed` says if it does again."""

    kind: ClassVar[str] = "disabled"

    by: Literal["owner", "operator"]


class LinkEnded(LinkEvent, frozen=True):
    """Told within EXPIRED_S of its end; again, if it is given a new end and comes to it."""

    kind: ClassVar[str] = "expired"


class LinkRemoved(LinkEvent, frozen=True):
    kind: ClassVar[str] = "deleted"


class Clicked(Event, frozen=True, gc=False):
    """A redirect was answered. No address and no User-Agent: what they tell is worked out before,
    and they are not kept, so they can't leak. `request_id` is the one that the visitor got in
    X-Request-Id, so that every answered redirect can be found again, once.
    """

    kind: ClassVar[str] = "clicked"

    link_id: str
    at_ms: int
    request_id: str
    bot: bool
    device: Device
    system: System
    browser: Browser
    country: str
    referrer: str


LINKS = EventTopic(
    "shortener.links", (LinkCreated, LinkChanged, LinkSwitchedOff, LinkEnded, LinkRemoved)
)
CLICKS = EventTopic("shortener.clicks", (Clicked,))
