"""The HTTP doors: both of the sources' spellings, and the redirect at the root."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from bastide.apps.shortener.contract import (
    IMPORT_LINES_MAX,
    TARGET_CHARACTERS_MAX,
    CodeReserved,
    KeyWrong,
    Link,
    LinkDeleted,
    LinkExpired,
    LinkMissing,
)
from bastide.apps.shortener.core.clicks import is_bot
from bastide.apps.shortener.core.owners import owner_of
from bastide.apps.shortener.model import (
    Change,
    Counted,
    Created,
    Days,
    Draft,
    Imported,
    Line,
    Reserved,
)
from bastide.apps.shortener.service.shortener import Shortener
from bastide.base.errors import Denied, Invalid, Mismatch, Unauthenticated
from bastide.base.gate import Caller, anyone, holder, operator
from bastide.base.routes.rows import Reply, Request, json_reply, route
from bastide.base.rt import runtime
from bastide.base.tx import PAGE_ITEMS_MAX, Once, Page

IMPORT_BYTES_MAX = 4 << 20
RESERVER_CHARACTERS_MAX = 100
CACHED_S_MAX = 24 * 3600
NOT_KEPT = {"cache-control": "no-store"}  # a reply may hold a key, or what only its owner may see

Limit = Annotated[int, msgspec.Meta(ge=1, le=PAGE_ITEMS_MAX)]
Address = Annotated[str, msgspec.Meta(max_length=TARGET_CHARACTERS_MAX)]


class Shorten(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`original_url` or `longUrl`, one of them."""

    original_url: Address | None = None
    long_url: Address | None = msgspec.field(name="longUrl", default=None)
    custom_code: str | None = None
    expires_days: Days | None = None
    permanent: bool = False


class LinkShown(msgspec.Struct, frozen=True, kw_only=True):
    short_code: str
    short_url: str
    original_url: str
    created_at: datetime
    expires_at: datetime
    disabled: bool
    permanent: bool


class LinkListed(LinkShown, frozen=True, kw_only=True):
    """`pending`: as in the stats."""

    total_clicks: int
    bot_clicks: int
    pending: bool


class LinkCreated(LinkShown, frozen=True, kw_only=True, omit_defaults=True):
    """`shortUrl` if `longUrl` was sent; `manage_key` only here, and only for an anonymous maker."""

    manage_key: str | None = None
    short_url_too: str | None = msgspec.field(name="shortUrl", default=None)


class StatsShown(msgspec.Struct, frozen=True, kw_only=True):
    """`pending`: clicks that were answered may be missing, for the journal can't be read to its
    end now. False: every click that was answered before the question is in.
    """

    short_code: str
    short_url: str
    total_clicks: int
    bot_clicks: int
    pending: bool


class LineGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    original_url: str
    custom_code: str | None = None


class Import(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    links: Annotated[list[LineGiven], msgspec.Meta(min_length=1, max_length=IMPORT_LINES_MAX)]
    expires_days: Days | None = None


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


class Changes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    disabled: bool | None = None
    expires_days: Days | None = None


class Reserve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    code: str
    reserved_by: Annotated[str, msgspec.Meta(min_length=1, max_length=RESERVER_CHARACTERS_MAX)]


class ReservedShown(msgspec.Struct, frozen=True):
    code: str
    reserved_by: str
    reserved_at: datetime


async def shorten(
    shortener: Shortener,
    body: Shorten,
    caller: Caller,
    request: Request,
    once: Once[Created] | None,
) -> LinkCreated | Reply:
    """Make a short link: 201, or 200 if this owner has one to the same long address."""
    if (body.original_url is None) == (body.long_url is None):
        raise Invalid("send either original_url or longUrl")
    draft = Draft(
        original_url=body.original_url or body.long_url or "",
        custom_code=body.custom_code,
        expires_days=body.expires_days,
        permanent=body.permanent,
    )
    made = await shortener.create(draft, owner=owner_of(caller), origin=request.origin, once=once)
    shown = LinkCreated(
        **_facts(shortener, made.link),
        manage_key=made.manage_key,
        short_url_too=None if body.long_url is None else shortener.address_of(made.link.code),
    )
    return json_reply(shown, 200 if made.existing else 201, NOT_KEPT)


async def create_url(
    shortener: Shortener,
    body: Shorten,
    caller: Caller,
    request: Request,
    once: Once[Created] | None,
) -> LinkCreated | Reply:
    """The same, under the other source's name."""
    return await shorten(shortener, body, caller, request, once)


async def follow_link(shortener: Shortener, code: str, request: Request) -> Reply:
    """Go where the link leads. HEAD is answered alike, and counted as a bot's click."""
    bot = is_bot(request.headers.get("user-agent", ""), request.method)
    link = await shortener.follow(code, request_id=request.id, bot=bot)
    headers = {"location": link.target, "cache-control": _caching(link)}
    return Reply(301 if link.permanent else 302, headers=headers)


async def read_link(shortener: Shortener, code: str, caller: Caller) -> LinkShown:
    """The link, for its owner."""
    return _shown(shortener, await shortener.read(code, _owner(caller)))


async def change_link(shortener: Shortener, code: str, body: Changes, caller: Caller) -> LinkShown:
    """Switch the link on or off; let it end `expires_days` from now, also if it has expired."""
    change = Change(body.disabled, body.expires_days)
    return _shown(shortener, await shortener.change(code, change, _owner(caller)))


async def delete_link(shortener: Shortener, code: str, caller: Caller) -> None:
    """The link and its counts are gone for good; nobody gets its code again."""
    await shortener.delete(code, _owner(caller))


async def read_stats(shortener: Shortener, code: str, caller: Caller) -> StatsShown:
    """Clicks so far, up to this moment."""
    stats = await shortener.stats(code, _owner(caller))
    address = shortener.address_of(code)
    return StatsShown(short_code=code, short_url=address, **msgspec.structs.asdict(stats))


async def read_analytics(shortener: Shortener, code: str, caller: Caller) -> StatsShown:
    """The same, under the other source's name."""
    return await read_stats(shortener, code, caller)


async def list_links(
    shortener: Shortener, caller: Caller, cursor: str | None = None, limit: Limit = 50
) -> Page[LinkListed]:
    """The owner's links with their clicks, the newest first."""
    page = await shortener.list_links(_owner(caller), cursor=cursor, limit=limit)
    return Page([_listed(shortener, counted) for counted in page.items], page.next)


async def import_links(
    shortener: Shortener,
    body: Import,
    caller: Caller,
    request: Request,
    once: Once[Imported] | None,
) -> ImportShown:
    """Many links in one commit; a bad line is refused alone."""
    drafts = [Draft(line.original_url, line.custom_code, body.expires_days) for line in body.links]
    made = await shortener.import_links(
        drafts, owner=owner_of(caller), origin=request.origin, once=once
    )
    return ImportShown([_line(shortener, line) for line in made.lines], made.manage_key)


async def reserve_code(shortener: Shortener, body: Reserve) -> ReservedShown:
    """Nobody gets this code from now on."""
    return _reserved(await shortener.reserve(body.code, reserved_by=body.reserved_by))


async def unreserve_code(shortener: Shortener, code: str) -> None:
    """The code may be given out again."""
    await shortener.unreserve(code)


async def list_reserved(
    shortener: Shortener, cursor: str | None = None, limit: Limit = 50
) -> Page[ReservedShown]:
    """Codes that nobody gets: who said so, and when."""
    page = await shortener.list_reserved(cursor=cursor, limit=limit)
    return Page([_reserved(one) for one in page.items], page.next)


def _owner(caller: Caller) -> str:
    owner = owner_of(caller)
    assert owner is not None, "the door lets only holders in"
    return owner


def _caching(link: Link) -> str:
    """A 302 is asked for anew each time. A 301 would be kept for ever, past the link's end and
    unseen by its counts: no longer than a day.
    """
    if not link.permanent:
        return "private, no-store"
    left_s = (link.expires_at_ms - runtime.now_ms()) // 1000
    return f"private, max-age={min(left_s, CACHED_S_MAX)}"


def _facts(shortener: Shortener, link: Link) -> Mapping[str, Any]:
    return {
        "short_code": link.code,
        "short_url": shortener.address_of(link.code),
        "original_url": link.target,
        "created_at": _at(link.created_at_ms),
        "expires_at": _at(link.expires_at_ms),
        "disabled": link.disabled,
        "permanent": link.permanent,
    }


def _shown(shortener: Shortener, link: Link) -> LinkShown:
    return LinkShown(**_facts(shortener, link))


def _listed(shortener: Shortener, counted: Counted) -> LinkListed:
    return LinkListed(**_facts(shortener, counted.link), **msgspec.structs.asdict(counted.stats))


def _line(shortener: Shortener, line: Line) -> LineShown:
    if line.link is None:
        return LineShown("refused", reason=line.reason)
    outcome = "existing" if line.existing else "created"
    return LineShown(outcome, line.link.code, shortener.address_of(line.link.code))


def _reserved(one: Reserved) -> ReservedShown:
    return ReservedShown(one.code, one.reserved_by, _at(one.reserved_at_ms))


def _at(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


_MANAGE = (Unauthenticated, KeyWrong, LinkMissing, LinkDeleted)

ROWS = (
    *(
        route(
            "POST",
            path,
            handler,
            allow=anyone,
            status=201,
            also=(200,),
            once=True,
            refusals=(CodeReserved, KeyWrong, Mismatch),
        )
        for path, handler in (("/api/shorten", shorten), ("/create_url", create_url))
    ),
    route("GET", "/api/links", list_links, allow=holder, headers=NOT_KEPT, refusals=_MANAGE[:2]),
    route(
        "POST",
        "/api/links/import",
        import_links,
        allow=anyone,
        body_max=IMPORT_BYTES_MAX,
        once=True,
        headers=NOT_KEPT,
        refusals=(KeyWrong, Mismatch),
    ),
    route("GET", "/api/reserved", list_reserved, allow=operator, refusals=(Denied,)),
    route(
        "POST",
        "/api/reserved",
        reserve_code,
        allow=operator,
        status=201,
        refusals=(Denied, CodeReserved),
    ),
    route("DELETE", "/api/reserved/{code}", unreserve_code, allow=operator, refusals=(Denied,)),
    route("GET", "/api/{code}", read_link, allow=holder, headers=NOT_KEPT, refusals=_MANAGE),
    route("PATCH", "/api/{code}", change_link, allow=holder, headers=NOT_KEPT, refusals=_MANAGE),
    route("DELETE", "/api/{code}", delete_link, allow=holder, refusals=_MANAGE[:3]),
    route("GET", "/api/{code}/stats", read_stats, allow=holder, headers=NOT_KEPT, refusals=_MANAGE),
    route(
        "GET",
        "/api/analytics/{code}",
        read_analytics,
        allow=holder,
        headers=NOT_KEPT,
        refusals=_MANAGE,
    ),
    route(
        "GET",
        "/{code}",
        follow_link,
        allow=anyone,
        status=302,
        also=(301,),
        html=True,
        listed=True,
        refusals=(LinkMissing, LinkExpired),
    ),
)
