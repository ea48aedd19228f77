"""What anybody may see of a link, and tell of it; and what the operator makes of that."""

import msgspec

from bastide.apps.shortener.contract import REASON_CHARACTERS_MAX, ReportsOver
from bastide.apps.shortener.pages.forms import (
    Errors,
    FieldWrong,
    JudgeForm,
    ReportForm,
    code_in,
    form_page,
)
from bastide.apps.shortener.pages.words import moment
from bastide.apps.shortener.service.shortener import Shortener
from bastide.base.errors import Invalid, NotFound
from bastide.base.html.pages import Pages
from bastide.base.routes.rows import Reply, Request

_JUDGED = {
    "block": "is blocked: nobody is redirected any more.",
    "unblock": "is its owner's again.",
    "dismiss": "stays as it is; its reports are gone.",
}


async def show_preview(shortener: Shortener, code: str, request: Request, pages: Pages) -> Reply:
    """Where a link leads, for whoever would rather know before going there."""
    visit = shortener.visit_of(request)
    way = await shortener.preview(code, visit)
    reply = pages.reply(
        "preview.html",
        request,
        code=code,
        short_url=shortener.address_of(code),
        way=way,
        created=moment(way.link.created_at_ms),
        ends=moment(way.link.expires_at_ms),
        form=ReportForm(),
        errors=Errors(None),
    )
    return _unlisted(reply)


async def show_report(shortener: Shortener, code: str, request: Request, pages: Pages) -> Reply:
    await shortener.address_of_link(code)
    return _report_page(request, pages, code, ReportForm())


async def report_by_form(
    shortener: Shortener, code: str, form: ReportForm, request: Request, pages: Pages
) -> Reply:
    reason = form.reason.strip()
    if not 1 <= len(reason) <= REASON_CHARACTERS_MAX:
        given = f"{len(reason)} characters; " if reason else ""
        wrong = Invalid(f"{given}say what is wrong, in at most {REASON_CHARACTERS_MAX} characters")
        return _report_page(request, pages, code, form, FieldWrong("reason", wrong))
    known = False
    try:
        await shortener.moderation.report(code, reason)
    except ReportsOver:
        known = True
    return _unlisted(pages.reply("reported.html", request, code=code, known=known))


async def show_reports(
    shortener: Shortener, request: Request, pages: Pages, cursor: str | None = None
) -> Reply:
    return await _reports_page(shortener, request, pages, cursor=cursor)


async def judge_reports_by_form(
    shortener: Shortener, form: JudgeForm, request: Request, pages: Pages
) -> Reply:
    """What is blocked has no report that waits."""
    code, moderation = code_in(form.code), shortener.moderation
    try:
        if form.action == "block":
            await moderation.block(code)
        if form.action == "unblock":
            await moderation.unblock(code)
        else:
            await moderation.dismiss_reports(code)
    except NotFound as refusal:
        return await _reports_page(
            shortener, request, pages, wrong=FieldWrong("code", refusal), judged=form
        )
    judged = msgspec.structs.replace(form, code=code)
    return await _reports_page(
        shortener, request, pages, judged=judged, notice=f"{code} {_JUDGED[form.action]}"
    )


async def _reports_page(
    shortener: Shortener,
    request: Request,
    pages: Pages,
    *,
    cursor: str | None = None,
    judged: JudgeForm | None = None,
    notice: str = "",
    wrong: FieldWrong | None = None,
) -> Reply:
    page = await shortener.moderation.list_reports(cursor=cursor)
    return form_page(
        pages,
        request,
        "reports.html",
        wrong,
        reports=[(one, moment(one.reported_at_ms)) for one in page.items],
        next=page.next,
        judged=judged,
        notice=notice,
    )


def _report_page(
    request: Request,
    pages: Pages,
    code: str,
    form: ReportForm,
    wrong: FieldWrong | None = None,
) -> Reply:
    reply = form_page(
        pages,
        request,
        "report.html",
        wrong,
        code=code,
        form=form,
    )
    return _unlisted(reply)


def _unlisted(reply: Reply) -> Reply:
    """No search engine finds links here that their owners gave to a few."""
    return msgspec.structs.replace(reply, headers={**reply.headers, "x-robots-tag": "noindex"})
