"""The pages: shorten, and manage what was shortened. They work without a script; with one, the
browser remembers its key and shows clicks as they come.
"""

from datetime import UTC, datetime
from typing import Literal

import msgspec

from bastide.apps.shortener.contract import (
    CodeReserved,
    CodeTaken,
    CodeWrong,
    KeyWrong,
    LinkDeleted,
    LinkMissing,
    TargetRefused,
)
from bastide.apps.shortener.core.owners import owner_of_key
from bastide.apps.shortener.model import Change, Days, Draft
from bastide.apps.shortener.service.shortener import Shortener
from bastide.base.errors import Refusal
from bastide.base.gate import anyone
from bastide.base.html.pages import Pages
from bastide.base.routes.rows import Reply, Request, route
from bastide.base.rt import runtime

LIFETIMES = (
    ("1", "in a day"),
    ("7", "in a week"),
    ("30", "in 30 days"),
    ("365", "in a year"),
    ("3650", "in ten years"),
)


class ShortenForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`key` is the browser's, if it has one: its links belong together."""

    original_url: str = ""
    custom_code: str = ""
    expires_days: Days = 365
    key: str = ""


class ManageForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    code: str = ""
    key: str = ""
    action: Literal["show", "disable", "enable", "extend", "delete"] = "show"


CHANGES = {
    "disable": Change(disabled=True),
    "enable": Change(disabled=False),
    "extend": Change(expires_days=365),
}


def show_home(shortener: Shortener, request: Request, pages: Pages) -> Reply:
    return _home(pages, request, ShortenForm())


async def shorten_by_form(
    shortener: Shortener, form: ShortenForm, request: Request, pages: Pages
) -> Reply:
    draft = Draft(_with_scheme(form.original_url), form.custom_code or None, form.expires_days)
    try:
        owner = owner_of_key(form.key) if form.key else None
        made = await shortener.create(draft, owner=owner, origin=request.origin)
        stats = await shortener.stats(made.link.code, made.link.owner)
    except TargetRefused as refusal:
        return _home(pages, request, form, refusal=refusal, field="original_url")
    except (CodeWrong, CodeTaken, CodeReserved) as refusal:
        return _home(pages, request, form, refusal=refusal, field="custom_code")
    return pages.reply(
        "made.html",
        request,
        link=made.link,
        short_url=shortener.address_of(made.link.code),
        stats=stats,
        existing=made.existing,
        key=made.manage_key or form.key,
    )


def show_manage(shortener: Shortener, request: Request, pages: Pages) -> Reply:
    return _manage(pages, request, ManageForm())


async def manage_by_form(
    shortener: Shortener, form: ManageForm, request: Request, pages: Pages
) -> Reply:
    code = form.code.strip().rpartition("/")[2]  # the whole short link may be pasted, too
    try:
        owner = owner_of_key(form.key.strip())
        if form.action == "delete":
            await shortener.delete(code, owner)
            return pages.reply("deleted.html", request, code=code)
        if form.action in CHANGES:
            await shortener.change(code, CHANGES[form.action], owner)
        link, stats = await shortener.read(code, owner), await shortener.stats(code, owner)
    except KeyWrong as refusal:
        return _manage(pages, request, form, refusal=refusal, field="key")
    except (LinkMissing, LinkDeleted) as refusal:
        return _manage(pages, request, form, refusal=refusal, field="code")
    return pages.reply(
        "link.html",
        request,
        link=link,
        stats=stats,
        key=form.key.strip(),
        short_url=shortener.address_of(code),
        expired=runtime.now_ms() >= link.expires_at_ms,
        expires_on=_date(link.expires_at_ms),
    )


def _home(
    pages: Pages,
    request: Request,
    form: ShortenForm,
    *,
    refusal: Refusal | None = None,
    field: str = "",
) -> Reply:
    """The form; with what was typed and what is wrong about it, if it was refused."""
    return pages.reply(
        "home.html",
        request,
        status=refusal.status if refusal else 200,
        form=form,
        errors={"original_url": "", "custom_code": "", field: _sentence(refusal)},
        lifetimes=LIFETIMES,
        lifetime=f"{form.expires_days:g}",
    )


def _manage(
    pages: Pages,
    request: Request,
    form: ManageForm,
    *,
    refusal: Refusal | None = None,
    field: str = "",
) -> Reply:
    status = refusal.status if refusal else 200
    errors = {"code": "", "key": "", field: _sentence(refusal)}
    return pages.reply("manage.html", request, status=status, form=form, errors=errors)


def _with_scheme(text: str) -> str:
    """People type `example.com/page`, and mean https."""
    text = text.strip()
    bare = text and ":" not in text.partition("/")[0]
    return f"https://{text}" if bare else text


def _sentence(refusal: Refusal | None) -> str:
    text = str(refusal or "")
    return text[:1].upper() + text[1:]


def _date(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%d %B %Y, %H:%M UTC")


ROWS = (
    route("GET", "/", show_home, allow=anyone, html=True),
    route("POST", "/", shorten_by_form, allow=anyone, html=True, form=True),
    route("GET", "/manage", show_manage, allow=anyone, html=True),
    route("POST", "/manage", manage_by_form, allow=anyone, html=True, form=True),
)
