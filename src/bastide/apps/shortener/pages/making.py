"""The first page: a long address becomes a short one."""

from bastide.apps.shortener.contract import KeyWrong
from bastide.apps.shortener.core.owners import owner_of_key
from bastide.apps.shortener.pages.countries import NAMES
from bastide.apps.shortener.pages.forms import (
    FieldWrong,
    ShortenForm,
    at_its_field,
    draft_of,
    form_page,
)
from bastide.apps.shortener.pages.words import RULE_WORDS, seen
from bastide.apps.shortener.service.shortener import Shortener
from bastide.base.html.pages import Pages
from bastide.base.routes.rows import Reply, Request

LIFETIMES = (
    ("1", "in a day"),
    ("7", "in a week"),
    ("30", "in 30 days"),
    ("365", "in a year"),
    ("3650", "in ten years"),
)
REDIRECTS = (
    ("302", "302: every click is counted"),
    ("301", "301: for good; browsers keep it for a day"),
)


def show_home(shortener: Shortener, request: Request, pages: Pages) -> Reply:
    return _home(shortener, request, pages, ShortenForm())


async def shorten_by_form(
    shortener: Shortener, form: ShortenForm, request: Request, pages: Pages
) -> Reply:
    try:
        draft, owner = draft_of(form), _owner(form.key)
        with at_its_field():
            made = await shortener.create(draft, owner=owner, origin=request.origin)
    except FieldWrong as wrong:
        return _home(shortener, request, pages, form, wrong)
    counted = await shortener.read(made.link.code, made.link.owner)
    return pages.reply(
        "made.html",
        request,
        seen=seen(shortener, counted),
        existing=made.existing,
        key=made.manage_key or form.key,
    )


def _owner(key: str) -> str | None:
    """A browser that remembers what is no key gets a new one."""
    try:
        return owner_of_key(key) if key else None
    except KeyWrong:
        return None


def _home(
    shortener: Shortener,
    request: Request,
    pages: Pages,
    form: ShortenForm,
    wrong: FieldWrong | None = None,
) -> Reply:
    """The form; with what was typed and what is wrong about it, if it was refused."""
    return form_page(
        pages,
        request,
        "home.html",
        wrong,
        form=form,
        base=shortener.address_of("").partition("://")[2],
        lifetimes=LIFETIMES,
        redirects=REDIRECTS,
        words=RULE_WORDS,
        countries=NAMES,
    )
