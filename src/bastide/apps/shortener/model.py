"""Nouns that only the shortener uses."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec

from bastide.apps.shortener.contract import EXPIRES_DAYS_MAX, Link, Rule, Stats
from bastide.parts.visitor.contract import Visitor

DAY_MS = 24 * 3600 * 1000

Days = Annotated[float, msgspec.Meta(ge=0, le=EXPIRES_DAYS_MAX)]
CodesWay = Literal["counter", "random", "hash", "pool"]


class Settings(msgspec.Struct, frozen=True):
    codes: Annotated[
        CodesWay,
        msgspec.Meta(
            description="how codes are made: counter (permuted, no collision), random, hash, pool"
        ),
    ] = "counter"
    code_length: Annotated[
        int, msgspec.Meta(ge=4, le=10, description="characters of a new code")
    ] = 7
    public_address: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^$|^https?://[^\s/?#@]+[^\s?#@]*$",
            description="where short links begin, as https://sho.rt; its own address unless set",
        ),
    ] = ""
    expires_days: Annotated[
        Days, msgspec.Meta(description="how long a link lives if its maker doesn't say")
    ] = 365.0
    clicks: Annotated[
        Literal["written", "synced"],
        msgspec.Meta(
            description="what a redirect waits for: its click written (survives kill -9; a power "
            "cut may take the last 10 ms) or synced (survives that too)"
        ),
    ] = "written"
    days_kept: Annotated[
        float,
        msgspec.Meta(
            ge=31,
            le=EXPIRES_DAYS_MAX,
            description="how long the counts of a single day are kept; totals stay",
        ),
    ] = 400.0


class Draft(msgspec.Struct, frozen=True):
    """A link that somebody asks for. `expires_at_ms` wins over `expires_days`; both None: as the
    setting says.
    """

    original_url: str
    custom_code: str | None = None
    expires_days: Days | None = None
    permanent: bool = False
    expires_at_ms: int | None = None
    title: str = ""
    tags: Sequence[str] = ()
    rules: Sequence[Rule] = ()
    visits_max: int = 0
    disabled: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether a link that leads to the same address serves as well."""
        return not (self.title or self.tags or self.rules or self.visits_max or self.disabled)


class Visit(msgspec.Struct, frozen=True):
    """Somebody follows a short link. `query` is the short link's."""

    request_id: str
    visitor: Visitor
    query: Mapping[str, str]


class Way(msgspec.Struct, frozen=True):
    """Where a visit is redirected to."""

    link: Link
    target: str


class Owner(msgspec.Struct, frozen=True):
    """Whose a new link will be. `new_key` is the key that was just made for it, if one was."""

    name: str
    new_key: str | None = None


class Created(msgspec.Struct, frozen=True):
    """`manage_key` is told once, to the anonymous maker of a new link; `existing`: the link was
    there before, for the same owner and the same long address.
    """

    link: Link
    manage_key: str | None = None
    existing: bool = False


class Counted(msgspec.Struct, frozen=True):
    """A link with its clicks. `visits_left`: None if any number is answered."""

    link: Link
    stats: Stats
    visits_left: int | None = None


class Line(msgspec.Struct, frozen=True):
    """What became of one line of an import: a link, or the reason why there is none."""

    link: Link | None = None
    existing: bool = False
    reason: str = ""


class Imported(msgspec.Struct, frozen=True):
    """The lines in the order in which they came."""

    lines: list[Line]
    manage_key: str | None = None


class Change(msgspec.Struct, frozen=True):
    """None leaves as it is. `expires_days` counts from now, also for a link that has expired;
    `expires_at_ms` wins over it. `tags` replaces them all, then `add_tags` come and `remove_tags`
    go. `visits_max` begins to count anew; 0 lifts the limit.
    """

    original_url: str | None = None
    disabled: bool | None = None
    expires_days: Days | None = None
    expires_at_ms: int | None = None
    title: str | None = None
    tags: Sequence[str] | None = None
    add_tags: Sequence[str] = ()
    remove_tags: Sequence[str] = ()
    rules: Sequence[Rule] | None = None
    visits_max: int | None = None


class Reserved(msgspec.Struct, frozen=True):
    """A code that nobody gets: who said so, and when."""

    code: str
    reserved_by: str
    reserved_at_ms: int


class Report(msgspec.Struct, frozen=True):
    """Somebody says that a link leads to something bad."""

    id: int
    code: str
    target: str
    reason: str
    reported_at_ms: int
