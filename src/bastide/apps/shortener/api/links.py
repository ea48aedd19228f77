"""Links, for those who make, manage and follow them: both of the sources' spellings."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from bastide.apps.shortener.api.shapes import (
    ChangeMany,
    Changes,
    Counts,
    DeleteMany,
    EditedShown,
    Import,
    ImportShown,
    Limit,
    LineShown,
    LinkCreated,
    LinkListed,
    LinkShown,
    ManyEdited,
    Shorten,
    StatsShown,
    counts,
    facts,
    listed,
    stats_shown,
)
from bastide.apps.shortener.contract import Link
from bastide.apps.shortener.core.owners import owner_of
from bastide.apps.shortener.core.qr import SCALE_MAX, qr_png, qr_svg
from bastide.apps.shortener.model import Created, Imported, Line
from bastide.apps.shortener.service.shortener import Shortener
from bastide.base.errors import Invalid
from bastide.base.gate import Caller
from bastide.base.routes.rows import Reply, Request, Stream, events, json_reply
from bastide.base.rt import runtime
from bastide.base.tx import Once, Page

CACHED_S_MAX = 24 * 3600
_drawing = asyncio.Semaphore()  # it is all Python: two threads would only hold up the loop
NOT_KEPT = {"cache-control": "no-store"}  # a reply may hold a key, or what only its owner may see


async def shorten(
    shortener: Shortener,
    body: Shorten,
    caller: Caller,
    request: Request,
    once: Once[Created] | None,
) -> LinkCreated | Reply:
    """Make a short link: 201, or 200 if this owner has one to the same long address."""
    made = await shortener.create(
        body.draft(), owner=owner_of(caller), origin=request.origin, once=once
    )
    shown = LinkCreated(
        **facts(shortener, made.link),
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
    visit = shortener.visit_of(request)
    way = await shortener.follow(code, visit)
    headers = {"location": way.target, "cache-control": _caching(way.link)}
    return Reply(301 if way.link.permanent else 302, headers=headers)


async def show_qr_svg(shortener: Shortener, code: str) -> Reply:
    """The short link as a QR code."""
    return await _picture("image/svg+xml", qr_svg, await shortener.address_of_link(code))


async def show_qr_png(shortener: Shortener, code: str, scale: int = 10) -> Reply:
    """The same, with `scale` pixels a module."""
    if not 1 <= scale <= SCALE_MAX:
        raise Invalid(f"scale={scale}; 1 to {SCALE_MAX} pixels a module are drawn")
    return await _picture("image/png", qr_png, await shortener.address_of_link(code), scale)


async def read_link(shortener: Shortener, code: str, caller: Caller) -> LinkListed:
    """The link and its clicks, for its owner."""
    return listed(shortener, await shortener.read(code, owner_in(caller)))


async def change_link(
    shortener: Shortener, code: str, body: Changes, caller: Caller, request: Request
) -> LinkShown:
    """Lead it elsewhere, switch it on or off, move its end (also if it has expired), label it."""
    link = await shortener.change(code, body.change(), owner_in(caller), origin=request.origin)
    return LinkShown(**facts(shortener, link))


async def delete_link(shortener: Shortener, code: str, caller: Caller) -> None:
    """The link and its counts are gone for good; nobody gets its code again."""
    await shortener.delete(code, owner_in(caller))


async def change_links(
    shortener: Shortener, body: ChangeMany, caller: Caller, request: Request
) -> ManyEdited:
    """One change for many links, in one commit; one that can't be changed is refused alone."""
    told = await shortener.change_many(
        body.codes, body.change.change(), owner_in(caller), origin=request.origin
    )
    return ManyEdited([_edited(code, one, "changed") for code, one in told.items()])


async def delete_links(shortener: Shortener, body: DeleteMany, caller: Caller) -> ManyEdited:
    """Many links are gone for good, in one commit."""
    told = await shortener.delete_many(body.codes, owner_in(caller))
    return ManyEdited([_edited(code, one, "deleted") for code, one in told.items()])


async def read_stats(shortener: Shortener, code: str, caller: Caller) -> StatsShown:
    """Clicks so far, up to this moment; and those of the last 30 days by day, country, device,
    browser, system and referrer.
    """
    owner = owner_in(caller)
    analytics = await shortener.analytics(code, owner)
    return stats_shown(shortener, await shortener.read(code, owner), analytics)


async def read_analytics(shortener: Shortener, code: str, caller: Caller) -> StatsShown:
    """The same, under the other source's name."""
    return await read_stats(shortener, code, caller)


async def watch_clicks(shortener: Shortener, code: str, caller: Caller) -> Stream:
    """The counts now, and whenever they have changed: server-sent events."""
    counted = await shortener.read(code, owner_in(caller))
    return events(_counts(shortener, counted.link))


async def list_links(
    shortener: Shortener,
    caller: Caller,
    tag: str = "",
    cursor: str | None = None,
    limit: Limit = 50,
) -> Page[LinkListed]:
    """The owner's links with their clicks, the newest first; with `tag`, those that bear it."""
    page = await shortener.list_links(
        owner_in(caller), tag=tag.strip().lower(), cursor=cursor, limit=limit
    )
    return Page([listed(shortener, counted) for counted in page.items], page.next)


async def list_tags(shortener: Shortener, caller: Caller) -> list[str]:
    """The owner's tags, the most used first, at most 100."""
    return list(await shortener.list_tags(owner_in(caller)))


async def import_links(
    shortener: Shortener,
    body: Import,
    caller: Caller,
    request: Request,
    once: Once[Imported] | None,
) -> ImportShown:
    """Many links in one commit; a bad line is refused alone."""
    made = await shortener.import_links(
        [line.draft(body.expires_days) for line in body.links],
        owner=owner_of(caller),
        origin=request.origin,
        once=once,
    )
    return ImportShown([_line(shortener, line) for line in made.lines], made.manage_key)


def owner_in(caller: Caller) -> str:
    owner = owner_of(caller)
    assert owner is not None, "the door lets only holders in"
    return owner


async def _counts(shortener: Shortener, link: Link) -> AsyncGenerator[Counts, None]:
    async with aclosing(shortener.watch(link)) as watched:
        async for stats in watched:
            yield counts(stats)


async def _picture(media: str, draw: Callable[..., bytes], *arguments: str | int) -> Reply:
    async with _drawing:
        drawn = await asyncio.to_thread(draw, *arguments)
    return Reply(200, drawn, {"content-type": media, "cache-control": "public, max-age=86400"})


def _caching(link: Link) -> str:
    """A 302 is asked for anew each time. A 301 would be kept for ever, past the link's end and
    unseen by its counts: no longer than a day.
    """
    if not link.permanent:
        return "private, no-store"
    left_s = (link.expires_at_ms - runtime.now_ms()) // 1000
    return f"private, max-age={min(left_s, CACHED_S_MAX)}"


def _line(shortener: Shortener, line: Line) -> LineShown:
    if line.link is None:
        return LineShown("refused", reason=line.reason)
    outcome = "existing" if line.existing else "created"
    return LineShown(outcome, line.link.code, shortener.address_of(line.link.code))


def _edited(code: str, told: object, done: str) -> EditedShown:
    if isinstance(told, Exception):
        return EditedShown(code, "refused", str(told))
    return EditedShown(code, done)
