"""Topics and their records."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from bastide.base.errors import Invalid
from bastide.base.routes.rows import Stream, events
from bastide.base.tx import Page, cursor_of, place_of
from bastide.engines.log.api.shapes import (
    Append,
    Appended,
    AppendedAt,
    Limit,
    RecordShown,
    RecordsShown,
    StartGiven,
    TopicShown,
    record_shown,
    start_of,
    topic_shown,
)
from bastide.engines.log.contract import Entry
from bastide.engines.log.service.operator import Operator, Serving


async def list_topics(
    serving: Serving, cursor: str | None = None, limit: Limit = 50
) -> Page[TopicShown]:
    """Topics by name, with the ends and bytes of each partition."""
    after = place_of(cursor, tuple[str])[0] if cursor else ""
    found = await Operator(serving.node).topics(after=after, limit=limit + 1)
    more = len(found) > limit
    items = [topic_shown(one) for one in found[:limit]]
    return Page(items, cursor_of(items[-1].name) if more else None)


async def read_topic(serving: Serving, topic: str) -> TopicShown:
    """One topic, with the ends and bytes of each partition."""
    return topic_shown(await Operator(serving.node).topic(topic))


async def append_records(serving: Serving, topic: str, body: Append) -> Appended:
    """Append records, in order; the answer comes when they are durable. The topic is made if it is
    not there. To a topic of a system of this town only that system appends.
    """
    records = [one.record() for one in body.records]
    places = await Operator(serving.node).append(topic, records, partition=body.partition)
    return Appended([AppendedAt(place.partition, place.offset) for place in places])


async def read_records(
    serving: Serving,
    topic: str,
    partition: int = 0,
    offset: int | None = None,
    last: int | None = None,
    limit: Limit = 50,
) -> RecordsShown:
    """Records of a partition from `offset` on, or from the `last` that many offsets on; from the
    first one without either. What no transaction has committed is not shown. Go on at `next`.
    """
    if offset is not None and last is not None:
        raise Invalid("offset and last both say where to begin: give one of them")
    if last is not None and last < 0:
        raise Invalid(f"last={last}; 0 or more are taken")
    log = Operator(serving.node)
    if offset is None:
        ends = await log.ends(topic, partition)
        offset = ends.first if last is None else max(ends.first, ends.next - last)
    found = await log.read(topic, partition, offset, limit=limit)
    items = [record_shown(entry) for entry in found.entries]
    return RecordsShown(items, found.next, found.ends.first, found.ends.next)


async def tail_topic(
    serving: Serving, topic: str, partition: int | None = None, start: StartGiven = "end"
) -> Stream:
    """Records as they come, as server-sent events: of one partition, or of all, from the `first`,
    the `end`, or an offset of one partition on.
    """
    tailed = await Operator(serving.node).tail(topic, partition, start_of(start))
    return events(_shown(tailed))


async def _shown(tailed: AsyncGenerator[Entry, None]) -> AsyncGenerator[RecordShown, None]:
    async with aclosing(tailed):
        async for entry in tailed:
            yield record_shown(entry)
