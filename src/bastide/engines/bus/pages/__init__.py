"""The bus's pages: relays, topics and groups; the schemas of a topic's events; dead letters, to be
replayed or discarded by forms. What changes is asked for again every two seconds.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec

from bastide.base.errors import Refusal
from bastide.base.gate import operator
from bastide.base.html.figures import size_text
from bastide.base.html.pages import Pages
from bastide.base.manifest import TownView
from bastide.base.routes.rows import Reply, Request, Row, route
from bastide.engines.bus.core.letters import dead_topic_of
from bastide.engines.bus.pages.words import event_seen, letter_seen, topic_seen
from bastide.engines.bus.service.hub import DEAD_COUNTED_MAX, Hub

LETTERS_SHOWN = 20

Offset = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class SettleForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to become of a dead letter."""

    action: Literal["replay", "discard"]
    offset: Offset


async def show_bus(hub: Hub, request: Request, pages: Pages) -> Reply:
    topics = [topic_seen(one) for one in hub.published() if one.topic in hub.of(one.client).topics]
    return pages.reply("bus.html", request, topics=topics, **await _live(hub))


async def show_bus_live(hub: Hub, request: Request, pages: Pages) -> Reply:
    return pages.reply("bus_live.html", request, **await _live(hub))


async def _live(hub: Hub) -> Mapping[str, Any]:
    outlets = hub.outlets()
    dead = {one.client: await hub.dead(one.client) for one in outlets}
    return {
        "outlets": outlets,
        "groups": await hub.heard(),
        "dead": dead,
        "dead_most": DEAD_COUNTED_MAX,
        "size": size_text,
    }


def show_event_topic(hub: Hub, request: Request, pages: Pages, town: TownView, topic: str) -> Reply:
    found = hub.topic(topic)
    events = [event_seen(event) for event in found.topic.events]
    return pages.reply(
        "event_topic.html", request, found=found, events=events, has_log=_has_log(town)
    )


async def show_letters(
    hub: Hub,
    request: Request,
    pages: Pages,
    town: TownView,
    system: str,
    before: Offset | None = None,
) -> Reply:
    return await _letters(hub, request, pages, town, system, before=before)


async def show_letter(
    hub: Hub, request: Request, pages: Pages, town: TownView, system: str, offset: Offset
) -> Reply:
    seen = letter_seen(await hub.letter(system, offset))
    return pages.reply("letter.html", request, client=system, seen=seen, has_log=_has_log(town))


async def settle_by_form(
    hub: Hub, form: SettleForm, request: Request, pages: Pages, town: TownView, system: str
) -> Reply:
    """The outcome, above the list from that letter on."""
    hub.of(system)
    before = form.offset + 1
    try:
        if form.action == "replay":
            await hub.replay(system, form.offset)
            notice = f"{form.offset} was replayed: its event has had its effect."
        else:
            await hub.discard(system, form.offset)
            notice = f"{form.offset} was discarded: its event will have no effect."
    except Refusal as refusal:
        return await _letters(hub, request, pages, town, system, before=before, wrong=refusal)
    return await _letters(hub, request, pages, town, system, before=before, notice=notice)


async def _letters(
    hub: Hub,
    request: Request,
    pages: Pages,
    town: TownView,
    system: str,
    *,
    before: int | None,
    notice: str = "",
    wrong: Refusal | None = None,
) -> Reply:
    shelf = await hub.shelf(system, before=before, limit=LETTERS_SHOWN)
    return pages.reply(
        "letters.html",
        request,
        status=wrong.status if wrong else 200,
        client=system,
        topic=dead_topic_of(system).name,
        letters=[letter_seen(one) for one in shelf.items],
        before=before,
        next=shelf.next,
        notice=notice,
        wrong=str(wrong) if wrong else "",
        has_log=_has_log(town),
    )


def _has_log(town: TownView) -> bool:
    """A log on a foreign engine has no pages here."""
    return any(m.name == "log" and m.doors for m in town.manifests)


def _page(path: str, handler: Callable[..., Any]) -> Row:
    return route("GET", path, handler, allow=operator, html=True)


ROWS = (
    _page("/", show_bus),
    _page("/fragments/bus", show_bus_live),
    _page("/topics/{topic}", show_event_topic),
    _page("/dead/{system}", show_letters),
    _page("/dead/{system}/{offset}", show_letter),
    route("POST", "/dead/{system}", settle_by_form, allow=operator, html=True, form=True),
)
