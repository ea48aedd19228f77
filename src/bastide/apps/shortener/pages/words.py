"""What pages say: times, states, names of what is counted."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec

from bastide.apps.shortener.contract import OTHER, Analytics, Day, Kind, Link, Share, Stats
from bastide.apps.shortener.model import Counted
from bastide.apps.shortener.pages.countries import NAMES
from bastide.apps.shortener.service.shortener import Shortener
from bastide.base.errors import Refusal
from bastide.base.html import charts
from bastide.base.instants import text_of
from bastide.base.rt import runtime

State = Literal["active", "off", "ended", "spent", "blocked"]

MINUTE_MS = 60_000

_PORT = re.compile(r"[^/?#:@]*\.[^/?#:@]*:[0-9]+(?![^/?#])")
_UNITS = (
    (365 * 24 * 60, "year"),
    (30 * 24 * 60, "month"),
    (24 * 60, "day"),
    (60, "hour"),
    (1, "minute"),
)
_SPELT: Mapping[Kind, Mapping[str, str]] = {
    "country": {**NAMES, "": "Unknown"},
    "device": {
        "desktop": "Desktop",
        "mobile": "Phone",
        "tablet": "Tablet",
        OTHER: "Something else",
    },
    "browser": {
        "chrome": "Chrome",
        "edge": "Edge",
        "firefox": "Firefox",
        "opera": "Opera",
        "safari": "Safari",
        "samsung": "Samsung Internet",
        OTHER: "Another",
    },
    "system": {
        "android": "Android",
        "chromeos": "ChromeOS",
        "ios": "iOS",
        "linux": "Linux",
        "macos": "macOS",
        "windows": "Windows",
        OTHER: "Another",
    },
    "referrer": {"": "Direct, or not told"},
}
_TITLES: Mapping[Kind, str] = {
    "country": "Country",
    "referrer": "Came from",
    "device": "Device",
    "system": "System",
    "browser": "Browser",
}


RULE_WORDS = msgspec.json.encode(
    {kind: _SPELT[kind] for kind in ("device", "system", "browser")}
).decode()  # what the editor of rules offers


class Moment(msgspec.Struct, frozen=True):
    """A time as it is told: to programs, exactly, and from now."""

    iso: str
    exact: str
    relative: str


class LinkSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A link as its owner sees it. `name`: its short address without the scheme."""

    link: Link
    short_url: str
    name: str
    state: State
    created: Moment
    ends: Moment
    stats: Stats
    visits_left: int | None


class Bar(msgspec.Struct, frozen=True):
    name: str
    clicks: int
    percent: float


class Shares(msgspec.Struct, frozen=True):
    title: str
    bars: Sequence[Bar]


class ClicksSeen(msgspec.Struct, frozen=True, kw_only=True):
    """`people` and `bots` of all time; the rest of the days that are shown."""

    people: int
    bots: int
    pending: bool
    days: Sequence[Day]
    columns: charts.Columns
    shares: Sequence[Shares]


def moment(at_ms: int) -> Moment:
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    exact = f"{at.day} {at:%b %Y, %H:%M} UTC"
    return Moment(text_of(at_ms), exact, _relative(at_ms - runtime.now_ms()))


def _relative(away_ms: int) -> str:
    minutes = abs(away_ms) / MINUTE_MS
    for size, unit in _UNITS:
        if count := int(minutes / size + 0.05):  # what is nearly a year is one
            told = f"{count} {unit}{'s' if count > 1 else ''}"
            return f"in {told}" if away_ms > 0 else f"{told} ago"
    return "in less than a minute" if away_ms > 0 else "just now"


def seen(shortener: Shortener, counted: Counted) -> LinkSeen:
    link, short_url = counted.link, shortener.address_of(counted.link.code)
    return LinkSeen(
        link=link,
        short_url=short_url,
        name=short_url.partition("://")[2],
        state=_state(counted),
        created=moment(link.created_at_ms),
        ends=moment(link.expires_at_ms),
        stats=counted.stats,
        visits_left=counted.visits_left,
    )


def _state(counted: Counted) -> State:
    """What stands against following it, the hardest first."""
    link = counted.link
    if link.blocked:
        return "blocked"
    if link.disabled:
        return "off"
    if runtime.now_ms() >= link.expires_at_ms:
        return "ended"
    return "spent" if counted.visits_left == 0 else "active"


def clicks_seen(stats: Stats, analytics: Analytics) -> ClicksSeen:
    days = analytics.days
    return ClicksSeen(
        people=stats.total_clicks - stats.bot_clicks,
        bots=stats.bot_clicks,
        pending=stats.pending or analytics.pending,
        days=days,
        columns=charts.columns([day.clicks for day in days], [day.bots for day in days]),
        shares=[_shares(kind, analytics.by[kind]) for kind in _TITLES],
    )


def _shares(kind: Kind, shares: Sequence[Share]) -> Shares:
    most = max((share.clicks for share in shares), default=0)
    spelt = _SPELT[kind]
    bars = [
        Bar(
            spelt.get(share.name, "All others" if share.name == OTHER else share.name),
            share.clicks,
            round(100 * share.clicks / most, 1),
        )
        for share in shares
    ]
    return Shares(_TITLES[kind], bars)


def with_scheme(text: str) -> str:
    """People type `example.com/page` or `example.com:8443`, and mean https."""
    text = text.strip()
    bare = text and (":" not in text.partition("/")[0] or _PORT.match(text))
    return f"https://{text}" if bare else text


def sentence(refusal: Refusal) -> str:
    text = str(refusal)
    return text[:1].upper() + text[1:]
