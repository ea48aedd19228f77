"""What the operator decides, and what anyone may tell him."""

from bastide.apps.shortener.api.shapes import (
    Limit,
    LinkShown,
    ReportGiven,
    ReportShown,
    Reserve,
    ReservedShown,
    facts,
    time_of,
)
from bastide.apps.shortener.model import Report, Reserved
from bastide.apps.shortener.service.shortener import Shortener
from bastide.base.tx import Page


async def report_link(shortener: Shortener, code: str, body: ReportGiven) -> None:
    """Tell the operator that the link leads to something bad."""
    await shortener.moderation.report(code, body.reason)


async def list_reports(
    shortener: Shortener, cursor: str | None = None, limit: Limit = 50
) -> Page[ReportShown]:
    """Reports that wait, the oldest first."""
    page = await shortener.moderation.list_reports(cursor=cursor, limit=limit)
    return Page([_report(one) for one in page.items], page.next)


async def dismiss_reports(shortener: Shortener, code: str) -> None:
    """No report of this link waits any more."""
    await shortener.moderation.dismiss_reports(code)


async def block_link(shortener: Shortener, code: str) -> LinkShown:
    """Nobody is redirected from now on, whatever the owner does."""
    return LinkShown(**facts(shortener, await shortener.moderation.block(code)))


async def unblock_link(shortener: Shortener, code: str) -> LinkShown:
    """The link is its owner's again."""
    return LinkShown(**facts(shortener, await shortener.moderation.unblock(code)))


async def reserve_code(shortener: Shortener, body: Reserve) -> ReservedShown:
    """Nobody gets this code from now on."""
    return _reserved(await shortener.moderation.reserve(body.code, reserved_by=body.reserved_by))


async def unreserve_code(shortener: Shortener, code: str) -> None:
    """The code may be given out again."""
    await shortener.moderation.unreserve(code)


async def list_reserved(
    shortener: Shortener, cursor: str | None = None, limit: Limit = 50
) -> Page[ReservedShown]:
    """Codes that nobody gets: who said so, and when."""
    page = await shortener.moderation.list_reserved(cursor=cursor, limit=limit)
    return Page([_reserved(one) for one in page.items], page.next)


def _report(one: Report) -> ReportShown:
    return ReportShown(str(one.id), one.code, one.target, one.reason, time_of(one.reported_at_ms))


def _reserved(one: Reserved) -> ReservedShown:
    return ReservedShown(one.code, one.reserved_by, time_of(one.reserved_at_ms))
