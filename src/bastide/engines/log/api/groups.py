"""Groups of readers, and how far they are."""

from bastide.base.tx import Page, cursor_of, place_of
from bastide.engines.log.api.shapes import (
    GroupListed,
    GroupShown,
    Limit,
    Reset,
    group_listed,
    group_shown,
    start_of,
)
from bastide.engines.log.service.operator import Operator, Serving


async def list_groups(
    serving: Serving, cursor: str | None = None, limit: Limit = 50
) -> Page[GroupListed]:
    """Groups by name, with the lag of each in all."""
    after = place_of(cursor, tuple[str])[0] if cursor else ""
    found = await Operator(serving.node).groups(after=after, limit=limit + 1)
    more = len(found) > limit
    items = [group_listed(one) for one in found[:limit]]
    return Page(items, cursor_of(items[-1].name) if more else None)


async def read_group(serving: Serving, name: str) -> GroupShown:
    """A group: its members, and its lag by partition."""
    return group_shown(await Operator(serving.node).group(name))


async def delete_group(serving: Serving, name: str) -> None:
    """The group and its offsets are gone. Only while it has no members."""
    await Operator(serving.node).delete_group(name)


async def reset_offsets(serving: Serving, group: str, body: Reset) -> GroupShown:
    """The group goes on elsewhere: in one partition of a topic, or in all. Only while it has no
    members.
    """
    log = Operator(serving.node)
    await log.reset(group, body.topic, body.partition, start_of(body.to))
    return group_shown(await log.group(group))


async def forget_offsets(
    serving: Serving, group: str, topic: str, partition: int | None = None
) -> None:
    """The group has committed nothing there any more. Only while it has no members."""
    await Operator(serving.node).forget(group, topic, partition)
