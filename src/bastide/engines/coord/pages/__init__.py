"""The pages: the ring of nodes; keys with their history; locks, elections and services with who
waits; leases; and a demo group, to stop a node of and watch the election. What changes is asked for
again every second or two.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec

from bastide.base.errors import Invalid, Refusal
from bastide.base.gate import operator
from bastide.base.html.figures import bytes_text, size_text
from bastide.base.html.pages import Pages
from bastide.base.manifest import TownView
from bastide.base.routes.rows import Reply, Request, Row, redirect, route
from bastide.engines.coord.pages.words import (
    is_deleted,
    is_reserved,
    left_text,
    query_of,
    ring_of,
)
from bastide.engines.coord.service.demo import LASTS_S, VALUE_BYTES_MAX
from bastide.engines.coord.service.operator import Kind, Operator
from bastide.engines.coord.service.serving import Serving

KEYS_SHOWN = 50
CHANGES_SHOWN = 25
QUEUES_SHOWN = 50
WAITERS_SHOWN = 50
LEASES_SHOWN = 50

Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Words = Mapping[str, Any]

WORDS: Words = {
    "shown": bytes_text,
    "size": size_text,
    "left": left_text,
    "query": query_of,
    "is_deleted": is_deleted,
    "is_reserved": is_reserved,
}


class DemoForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to become of the demo group."""

    action: Literal["begin", "end", "stop", "start", "put"]
    node: Number = 0
    key: str = ""
    value: str = ""


# --- nodes ----------------------------------------------------------------------------------------


async def show_group(serving: Serving, request: Request, pages: Pages, town: TownView) -> Reply:
    return pages.reply(
        "coord.html", request, wire=town.wire_of("coord"), part="nodes", **await _group(serving)
    )


async def show_group_live(serving: Serving, request: Request, pages: Pages) -> Reply:
    return pages.reply("coord_live.html", request, part="nodes", **await _group(serving))


async def _group(serving: Serving) -> Mapping[str, Any]:
    group = await Operator(serving.node).group()
    dots = ring_of(group.nodes)
    return {"standing": group.standing, "nodes": group.nodes, "dots": dots, **WORDS}


# --- keys -----------------------------------------------------------------------------------------


async def show_keys(
    serving: Serving,
    request: Request,
    pages: Pages,
    prefix: str = "",
    after: str | None = None,
    after_base64: str | None = None,
) -> Reply:
    behind = _bytes_of(after, after_base64)
    found = await Operator(serving.node).keys(prefix.encode(), after=behind, limit=KEYS_SHOWN)
    return pages.reply(
        "keys.html", request, found=found, prefix=prefix, after=behind, part="keys", **WORDS
    )


async def show_key(
    serving: Serving,
    request: Request,
    pages: Pages,
    key: str | None = None,
    key_base64: str | None = None,
    before: Number = 0,
) -> Reply:
    asked = _bytes_of(key, key_base64)
    history = await Operator(serving.node).history(asked, before=before, limit=CHANGES_SHOWN)
    return pages.reply(
        "key.html", request, key=asked, history=history, earlier=before, part="keys", **WORDS
    )


def _bytes_of(text: str | None, encoded: str | None) -> bytes:
    if encoded is None:
        return (text or "").encode()
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise Invalid(f"this is no base64: {error}") from error


# --- locks and leases -----------------------------------------------------------------------------


async def show_locks(serving: Serving, request: Request, pages: Pages) -> Reply:
    return pages.reply("locks.html", request, part="locks", **await _locks(serving))


async def show_locks_live(serving: Serving, request: Request, pages: Pages) -> Reply:
    return pages.reply("locks_live.html", request, **await _locks(serving))


async def _locks(serving: Serving) -> Mapping[str, Any]:
    kinds: Mapping[str, Kind] = {"locks": "lock", "elections": "election", "services": "service"}
    desk = Operator(serving.node)
    found = {name: await desk.queues(kind, limit=QUEUES_SHOWN) for name, kind in kinds.items()}
    return {"found": found, **WORDS}


async def show_queue(
    serving: Serving, request: Request, pages: Pages, name: str, after: Number = 0
) -> Reply:
    return await _queue(serving, request, pages, "queue.html", name, after)


async def show_queue_live(
    serving: Serving, request: Request, pages: Pages, name: str, after: Number = 0
) -> Reply:
    return await _queue(serving, request, pages, "queue_live.html", name, after)


async def _queue(
    serving: Serving, request: Request, pages: Pages, template: str, name: str, after: int
) -> Reply:
    prefix = name.encode() + b"/"
    queue, places, next_ = await Operator(serving.node).queue(
        prefix, after=after, limit=WAITERS_SHOWN
    )
    return pages.reply(
        template,
        request,
        queue=queue,
        places=places,
        after=after,
        next=next_,
        part="locks",
        **WORDS,
    )


async def show_leases(serving: Serving, request: Request, pages: Pages, after: Number = 0) -> Reply:
    return await _leases(serving, request, pages, "leases.html", after)


async def show_leases_live(
    serving: Serving, request: Request, pages: Pages, after: Number = 0
) -> Reply:
    return await _leases(serving, request, pages, "leases_live.html", after)


async def _leases(
    serving: Serving, request: Request, pages: Pages, template: str, after: int
) -> Reply:
    found, more = await Operator(serving.node).leases(after=after, limit=LEASES_SHOWN)
    return pages.reply(
        template, request, leases=found, more=more, after=after, part="leases", **WORDS
    )


# --- the demo -------------------------------------------------------------------------------------


async def show_demo(serving: Serving, request: Request, pages: Pages) -> Reply:
    return await _demo(serving, request, pages, "demo.html")


async def show_demo_live(serving: Serving, request: Request, pages: Pages) -> Reply:
    return await _demo(serving, request, pages, "demo_live.html")


async def act_on_demo(serving: Serving, form: DemoForm, request: Request, pages: Pages) -> Reply:
    """The demo's page again, which says what was refused."""
    try:
        await _act(serving, form)
    except Refusal as refusal:
        return await _demo(serving, request, pages, "demo.html", wrong=refusal)
    return redirect(f"{request.root}/demo")


async def _act(serving: Serving, form: DemoForm) -> None:
    demo = serving.demo
    match form.action:
        case "begin":
            await demo.begin()
        case "end":
            await demo.end()
        case "stop":
            await demo.stop(form.node)
        case "start":
            await demo.start(form.node)
        case "put":
            if max(len(form.key.encode()), len(form.value.encode())) > VALUE_BYTES_MAX:
                raise Invalid(f"a key or value of the demo has at most {VALUE_BYTES_MAX} bytes")
            await demo.put(form.key, form.value)


async def _demo(
    serving: Serving,
    request: Request,
    pages: Pages,
    template: str,
    *,
    wrong: Refusal | None = None,
) -> Reply:
    seen = await serving.demo.seen()
    return pages.reply(
        template,
        request,
        status=wrong.status if wrong else 200,
        seen=seen,
        dots=ring_of(seen.nodes) if seen else (),
        lasts_min=round(LASTS_S / 60),
        wrong=str(wrong) if wrong else "",
        part="demo",
        **WORDS,
    )


def _page(path: str, handler: Callable[..., Any]) -> Row:
    return route("GET", path, handler, allow=operator, html=True)


ROWS = (
    _page("/", show_group),
    _page("/keys", show_keys),
    _page("/key", show_key),
    _page("/locks", show_locks),
    _page("/queue", show_queue),
    _page("/leases", show_leases),
    _page("/demo", show_demo),
    route("POST", "/demo", act_on_demo, allow=operator, html=True, form=True),
    _page("/fragments/group", show_group_live),
    _page("/fragments/locks", show_locks_live),
    _page("/fragments/queue", show_queue_live),
    _page("/fragments/leases", show_leases_live),
    _page("/fragments/demo", show_demo_live),
)
