"""An owner's links: all of them, and one with its clicks."""

from bastide.apps.shortener.contract import DAYS_SHOWN_MAX, KeyWrong, LinkDeleted, LinkMissing
from bastide.apps.shortener.core.owners import owner_of_key
from bastide.apps.shortener.model import Change, Counted
from bastide.apps.shortener.pages.countries import NAMES
from bastide.apps.shortener.pages.forms import (
    Facts,
    FieldWrong,
    ListForm,
    ManageForm,
    at,
    at_its_field,
    change_of,
    code_in,
    facts_of,
    form_page,
)
from bastide.apps.shortener.pages.making import LIFETIMES
from bastide.apps.shortener.pages.words import RULE_WORDS, clicks_seen, seen
from bastide.apps.shortener.service.shortener import Shortener
from bastide.base.html.pages import Pages
from bastide.base.routes.rows import Reply, Request
from bastide.base.tx import PAGE_ITEMS_MAX

ROWS_SHOWN = 25
NEWEST_SHOWN = 5

_CHANGES = {
    "disable": (
        Change(disabled=True),
        "Switched off: nobody is redirected.",
    ),
    "enable": (Change(disabled=False), "Switched on."),
    "extend": (Change(expires_days=365), "It ends in a year from now."),
}


def show_links(shortener: Shortener, request: Request, pages: Pages, tag: str = "") -> Reply:
    return _ask_for_list(request, pages, ListForm(tag=tag))


async def list_links_by_form(
    shortener: Shortener, form: ListForm, request: Request, pages: Pages
) -> Reply:
    """The key comes in the body: an address is written to logs, and shown to whoever looks on."""
    try:
        with at("key"):
            owner = owner_of_key(form.key.strip())
    except FieldWrong as wrong:
        return _ask_for_list(request, pages, form, wrong)
    tag, cursor = form.tag.strip().lower(), form.cursor or None
    page = await shortener.list_links(owner, tag=tag, cursor=cursor, limit=_limit(form))
    return pages.reply(
        "links.html",
        request,
        form=form,
        key=form.key.strip(),
        tag=tag,
        tags=await shortener.list_tags(owner),
        rows=[seen(shortener, counted) for counted in page.items],
        next=page.next,
        lifetimes=LIFETIMES,
    )


async def show_newest_by_form(
    shortener: Shortener, form: ListForm, request: Request, pages: Pages
) -> Reply:
    """A part of the first page, for a browser that remembers a key."""
    owner = owner_of_key(form.key)
    page = await shortener.list_links(owner, limit=NEWEST_SHOWN)
    rows = [seen(shortener, counted) for counted in page.items]
    return pages.reply("newest.html", request, rows=rows, more=page.next is not None)


def show_manage(shortener: Shortener, request: Request, pages: Pages) -> Reply:
    return _ask_for_link(request, pages, ManageForm())


def show_link(shortener: Shortener, code: str, request: Request, pages: Pages) -> Reply:
    """Nothing of the link, which its key alone opens; a browser that remembers it sends it."""
    return _ask_for_link(request, pages, ManageForm(code=code))


async def manage_by_form(
    shortener: Shortener, form: ManageForm, request: Request, pages: Pages
) -> Reply:
    code = code_in(form.code)
    try:
        with at("key"):
            owner = owner_of_key(form.key.strip())
        if form.action == "delete":
            await shortener.delete(code, owner)
            return pages.reply("deleted.html", request, code=code)
        return await _managed(shortener, form, code, owner, request, pages)
    except FieldWrong as wrong:
        return _ask_for_link(request, pages, form, wrong)
    except KeyWrong as refusal:
        return _ask_for_link(request, pages, form, FieldWrong("key", refusal))
    except (LinkMissing, LinkDeleted) as refusal:
        return _ask_for_link(request, pages, form, FieldWrong("code", refusal))


async def show_clicks_by_form(
    shortener: Shortener, form: ManageForm, request: Request, pages: Pages
) -> Reply:
    """A part of the link's page: its counts as they are now."""
    owner = owner_of_key(form.key)
    analytics = await shortener.analytics(form.code, owner)
    counted = await shortener.read(form.code, owner)
    clicks = clicks_seen(counted.stats, analytics)
    return pages.reply("clicks.html", request, clicks=clicks)


async def _managed(
    shortener: Shortener,
    form: ManageForm,
    code: str,
    owner: str,
    request: Request,
    pages: Pages,
) -> Reply:
    """The link after what was asked for was done, or was refused."""
    counted = await shortener.read(code, owner)
    try:
        notice = await _act(shortener, form, counted, owner, request.origin)
    except FieldWrong as wrong:
        return await _link_page(shortener, form, counted, owner, request, pages, wrong=wrong)
    counted = await shortener.read(code, owner)
    return await _link_page(shortener, form, counted, owner, request, pages, notice=notice)


async def _act(
    shortener: Shortener, form: ManageForm, counted: Counted, owner: str, origin: str
) -> str:
    """What was done, as it is told.

    Raises:
        FieldWrong
    """
    link = counted.link
    change, notice = Change(), ""
    if form.action == "save":
        change, notice = change_of(form, link), "Saved."
        if change == Change():
            return "Nothing was changed: it is as it was."
    elif form.action == "refill":
        change, notice = Change(visits_max=link.visits_max), "It counts its visits anew."
    elif form.action in _CHANGES:
        change, notice = _CHANGES[form.action]
    if change != Change():
        with at_its_field():
            await shortener.change(link.code, change, owner, origin=origin)
    return notice


async def _link_page(
    shortener: Shortener,
    form: ManageForm,
    counted: Counted,
    owner: str,
    request: Request,
    pages: Pages,
    *,
    notice: str = "",
    wrong: FieldWrong | None = None,
) -> Reply:
    analytics = await shortener.analytics(counted.link.code, owner, days=DAYS_SHOWN_MAX)
    facts: Facts = form if wrong else facts_of(counted.link)
    return form_page(
        pages,
        request,
        "link.html",
        wrong,
        seen=seen(shortener, counted),
        clicks=clicks_seen(counted.stats, analytics),
        form=facts,
        notice=notice,
        key=form.key.strip(),
        words=RULE_WORDS,
        countries=NAMES,
    )


def _ask_for_link(
    request: Request, pages: Pages, form: ManageForm, wrong: FieldWrong | None = None
) -> Reply:
    return form_page(
        pages,
        request,
        "manage.html",
        wrong,
        form=form,
    )


def _ask_for_list(
    request: Request, pages: Pages, form: ListForm, wrong: FieldWrong | None = None
) -> Reply:
    return form_page(
        pages,
        request,
        "open.html",
        wrong,
        form=form,
    )


def _limit(form: ListForm) -> int:
    """As many as the script says are shown already."""
    asked = int(form.limit) if form.limit.isascii() and form.limit.isdigit() else ROWS_SHOWN
    return min(max(asked, ROWS_SHOWN), PAGE_ITEMS_MAX)
