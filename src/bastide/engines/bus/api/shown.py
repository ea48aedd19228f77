"""Topics of events, the groups that hear them, and the relays."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from bastide.base.tx import Page, cursor_of, place_of
from bastide.engines.bus.api.shapes import (
    Limit,
    TopicListed,
    TopicShown,
    topic_listed,
    topic_shown,
)
from bastide.engines.bus.model import Heard, Outlet
from bastide.engines.bus.service.hub import Hub

T = TypeVar("T")


async def list_topics(hub: Hub, cursor: str | None = None, limit: Limit = 50) -> Page[TopicListed]:
    """Topics of events by name, with what may come there and who hears it."""
    found = [topic_listed(one) for one in hub.published()]
    return _page(found, lambda one: (one.name,), cursor, limit)


async def read_topic(hub: Hub, topic: str) -> TopicShown:
    """One topic, with the JSON Schema of each of its events."""
    return topic_shown(hub.topic(topic))


async def list_groups(hub: Hub, cursor: str | None = None, limit: Limit = 50) -> Page[Heard]:
    """How far each group is, and what it has done since the town was opened."""
    return _page(await hub.heard(), lambda one: (one.client, one.group), cursor, limit)


async def list_relays(hub: Hub, cursor: str | None = None, limit: Limit = 50) -> Page[Outlet]:
    """What waits in each system's outbox and journal."""
    return _page(hub.outlets(), lambda one: (one.client,), cursor, limit)


def _page(
    found: Sequence[T], place: Callable[[T], tuple[str, ...]], cursor: str | None, limit: int
) -> Page[T]:
    """Of what is in the order of its `place`, those behind the cursor."""
    after = place_of(cursor, tuple[str, ...]) if cursor else ()
    items = [one for one in found if place(one) > after]
    more = len(items) > limit
    return Page(items[:limit], cursor_of(*place(items[limit - 1])) if more else None)
