"""Nouns that only the shortener uses."""

from typing import Annotated, Literal

import msgspec

from bastide.apps.shortener.contract import EXPIRES_DAYS_MAX, Link, Stats

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
    clicks_kept_days: Annotated[
        Days, msgspec.Meta(description="how long a counted click stays in the journal")
    ] = 7.0
    clicks_journal_bytes_max: Annotated[
        int,
        msgspec.Meta(
            ge=16 << 20,
            description="above this size the journal drops its oldest counted clicks, whatever "
            "their age; never one that is not counted",
        ),
    ] = 1 << 30


class Draft(msgspec.Struct, frozen=True):
    """A link that somebody asks for. `expires_days` None: as the setting says."""

    original_url: str
    custom_code: str | None = None
    expires_days: Days | None = None
    permanent: bool = False


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
    """A link with its clicks."""

    link: Link
    stats: Stats


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
    """None leaves as it is. `expires_days` counts from now, also for a link that has expired."""

    disabled: bool | None = None
    expires_days: Days | None = None


class Reserved(msgspec.Struct, frozen=True):
    """A code that nobody gets: who said so, and when."""

    code: str
    reserved_by: str
    reserved_at_ms: int
