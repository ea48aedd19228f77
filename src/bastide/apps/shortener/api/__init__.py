"""The HTTP doors, and the redirect at the root."""

from bastide.apps.shortener.api.files import FILE_BYTES_MAX, export_file, import_file
from bastide.apps.shortener.api.links import (
    NOT_KEPT,
    change_link,
    change_links,
    create_url,
    delete_link,
    delete_links,
    follow_link,
    import_links,
    list_links,
    list_tags,
    read_analytics,
    read_link,
    read_stats,
    shorten,
    show_qr_png,
    show_qr_svg,
    watch_clicks,
)
from bastide.apps.shortener.api.operator import (
    block_link,
    dismiss_reports,
    list_reports,
    list_reserved,
    report_link,
    reserve_code,
    unblock_link,
    unreserve_code,
)
from bastide.apps.shortener.contract import (
    CodeReserved,
    KeyWrong,
    LinkDeleted,
    LinkExpired,
    LinkMissing,
    PeopleOnly,
)
from bastide.base.errors import Denied, Mismatch, TooLarge, Unauthenticated
from bastide.base.gate import anyone, holder, operator
from bastide.base.routes.rows import route

IMPORT_BYTES_MAX = 4 << 20
FILE_S = 120.0  # to import the largest file on a busy machine

_HELD = (Unauthenticated, KeyWrong)
_MANAGE = (*_HELD, LinkMissing, LinkDeleted)
_THERE = (LinkMissing, LinkDeleted)

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
    route("GET", "/api/links", list_links, allow=holder, headers=NOT_KEPT, refusals=_HELD),
    route("PATCH", "/api/links", change_links, allow=holder, headers=NOT_KEPT, refusals=_HELD),
    route(
        "POST", "/api/links/delete", delete_links, allow=holder, headers=NOT_KEPT, refusals=_HELD
    ),
    route("GET", "/api/tags", list_tags, allow=holder, headers=NOT_KEPT, refusals=_HELD),
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
    route(
        "POST",
        "/api/links/import.csv",
        import_file,
        allow=anyone,
        body_max=FILE_BYTES_MAX,
        timeout_s=FILE_S,
        headers=NOT_KEPT,
        refusals=(KeyWrong, TooLarge),
    ),
    route("GET", "/api/links/export.csv", export_file, allow=holder, refusals=_HELD),
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
    route("GET", "/api/reports", list_reports, allow=operator, refusals=(Denied,)),
    route(
        "DELETE",
        "/api/reports/{code}",
        dismiss_reports,
        allow=operator,
        refusals=(Denied, *_THERE),
    ),
    route("PUT", "/api/blocked/{code}", block_link, allow=operator, refusals=(Denied, *_THERE)),
    route(
        "DELETE", "/api/blocked/{code}", unblock_link, allow=operator, refusals=(Denied, *_THERE)
    ),
    route("GET", "/api/{code}", read_link, allow=holder, headers=NOT_KEPT, refusals=_MANAGE),
    route("PATCH", "/api/{code}", change_link, allow=holder, headers=NOT_KEPT, refusals=_MANAGE),
    route("DELETE", "/api/{code}", delete_link, allow=holder, refusals=_MANAGE[:3]),
    route("GET", "/api/{code}/stats", read_stats, allow=holder, headers=NOT_KEPT, refusals=_MANAGE),
    route("GET", "/api/{code}/clicks", watch_clicks, allow=holder, refusals=_MANAGE),
    route("POST", "/api/{code}/reports", report_link, allow=anyone, refusals=_THERE),
    route(
        "GET",
        "/api/analytics/{code}",
        read_analytics,
        allow=holder,
        headers=NOT_KEPT,
        refusals=_MANAGE,
    ),
    route("GET", "/{code}/qr.svg", show_qr_svg, allow=anyone, refusals=_THERE),
    route("GET", "/{code}/qr.png", show_qr_png, allow=anyone, refusals=_THERE),
    route(
        "GET",
        "/{code}",
        follow_link,
        allow=anyone,
        status=302,
        also=(301,),
        html=True,
        listed=True,
        refusals=(LinkMissing, LinkExpired, PeopleOnly),
    ),
)
