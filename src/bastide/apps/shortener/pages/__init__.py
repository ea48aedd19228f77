"""The pages: shorten, manage what was shortened, look where a link leads. They work without a
script, by forms; with one the browser remembers its key, sends the same forms for a part of the
page, and shows clicks as they come. A key is in no address.

making      a long address becomes a short one         forms      what is typed, field by field
managing    the owner's links, and one of them         rulelines  rules as lines of text
public      what anybody sees; reports of abuse        words      how things are called
"""

from bastide.apps.shortener.pages.making import shorten_by_form, show_home
from bastide.apps.shortener.pages.managing import (
    list_links_by_form,
    manage_by_form,
    show_clicks_by_form,
    show_link,
    show_links,
    show_manage,
    show_newest_by_form,
)
from bastide.apps.shortener.pages.public import (
    judge_reports_by_form,
    report_by_form,
    show_preview,
    show_report,
    show_reports,
)
from bastide.base.gate import anyone, operator
from bastide.base.routes.rows import route

ROWS = (
    route("GET", "/", show_home, allow=anyone, html=True),
    route("POST", "/", shorten_by_form, allow=anyone, html=True, form=True),
    route("GET", "/links", show_links, allow=anyone, html=True),
    route("POST", "/links", list_links_by_form, allow=anyone, html=True, form=True),
    route("GET", "/links/{code}", show_link, allow=anyone, html=True),
    route("GET", "/manage", show_manage, allow=anyone, html=True),
    route("POST", "/manage", manage_by_form, allow=anyone, html=True, form=True),
    route("GET", "/reports", show_reports, allow=operator, html=True),
    route("POST", "/reports", judge_reports_by_form, allow=operator, html=True, form=True),
    route("POST", "/fragments/clicks", show_clicks_by_form, allow=anyone, html=True, form=True),
    route("POST", "/fragments/newest", show_newest_by_form, allow=anyone, html=True, form=True),
    route("GET", "/{code}/report", show_report, allow=anyone, html=True),
    route("POST", "/{code}/report", report_by_form, allow=anyone, html=True, form=True),
    route("GET", "/{code}+", show_preview, allow=anyone, html=True),
)
