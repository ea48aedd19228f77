"""The log's pages: topics and groups, one topic with its newest records, one group with its lag.
What changes is asked for again every two seconds.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bastide.base.gate import operator
from bastide.base.html import charts
from bastide.base.html.figures import size_text
from bastide.base.html.pages import Pages
from bastide.base.manifest import TownView
from bastide.base.routes.rows import Reply, Request, Row, route
from bastide.engines.log.contract import Entry
from bastide.engines.log.core.batches import BatchBroken
from bastide.engines.log.pages.words import entry_seen, partitions_seen
from bastide.engines.log.service.operator import Operator, Serving, TopicSeen

TOPICS_SHOWN = 50
GROUPS_SHOWN = 50
NEWEST_SHOWN = 25
TOGETHER_MAX = 8  # partitions whose newest records are shown together
GROUPS_SOUGHT = 200  # for those that read a topic


async def show_log(
    serving: Serving, request: Request, pages: Pages, town: TownView, after: str = ""
) -> Reply:
    return await _log(serving, request, pages, town, "log.html", after)


async def show_log_live(
    serving: Serving, request: Request, pages: Pages, town: TownView, after: str = ""
) -> Reply:
    return await _log(serving, request, pages, town, "log_live.html", after)


async def show_topic(
    serving: Serving, request: Request, pages: Pages, topic: str, partition: int | None = None
) -> Reply:
    seen = await _topic(serving, topic)
    newest = await _newest(serving, seen["seen"], partition)
    return pages.reply("topic.html", request, **seen, **newest)


async def show_topic_live(serving: Serving, request: Request, pages: Pages, topic: str) -> Reply:
    return pages.reply("topic_live.html", request, **await _topic(serving, topic))


async def show_newest(
    serving: Serving, request: Request, pages: Pages, topic: str, partition: int | None = None
) -> Reply:
    seen = await Operator(serving.node).topic(topic)
    newest = await _newest(serving, seen, partition)
    return pages.reply("newest.html", request, seen=seen, **newest)


async def show_group(serving: Serving, request: Request, pages: Pages, name: str) -> Reply:
    return pages.reply("group.html", request, **await _group(serving, name))


async def show_group_live(serving: Serving, request: Request, pages: Pages, name: str) -> Reply:
    return pages.reply("group_live.html", request, **await _group(serving, name))


async def _log(
    serving: Serving, request: Request, pages: Pages, town: TownView, template: str, after: str
) -> Reply:
    log = Operator(serving.node)
    topics = await log.topics(after=after, limit=TOPICS_SHOWN + 1)
    groups = await log.groups(limit=GROUPS_SHOWN + 1)
    lines = {one.name: charts.line(serving.lags.line(one.name)) for one in groups}
    return pages.reply(
        template,
        request,
        topics=topics[:TOPICS_SHOWN],
        after=after,
        later=topics[TOPICS_SHOWN - 1].topic.name if len(topics) > TOPICS_SHOWN else "",
        groups=groups[:GROUPS_SHOWN],
        groups_more=len(groups) > GROUPS_SHOWN,
        lines=lines,
        size=size_text,
        wire=town.wire_of("log"),
    )


async def _topic(serving: Serving, name: str) -> Mapping[str, Any]:
    log = Operator(serving.node)
    seen = await log.topic(name)
    groups = await log.groups(limit=GROUPS_SOUGHT)
    readers = [one for one in groups if any(p.topic == name for p in one.progress)]
    rows = partitions_seen(seen, readers)
    return {"seen": seen, "partitions": rows, "readers": readers, "size": size_text}


async def _newest(serving: Serving, seen: TopicSeen, partition: int | None) -> Mapping[str, Any]:
    """The newest records: of one partition; of all together, if they are few; else of the one that
    holds most.
    """
    count = len(seen.ends)
    if partition is None and count > TOGETHER_MAX:
        partition = max(range(count), key=lambda n: seen.ends[n].next - seen.ends[n].first)
    numbers: Sequence[int] = range(count) if partition is None else [partition]
    entries: Sequence[Entry] = ()
    said = ""
    try:
        entries = await Operator(serving.node).newest(seen.topic.name, numbers, limit=NEWEST_SHOWN)
    except BatchBroken as broken:  # by its client, or packed as nobody here unpacks
        said = str(broken)
    return {"partition": partition, "entries": [entry_seen(one) for one in entries], "said": said}


async def _group(serving: Serving, name: str) -> Mapping[str, Any]:
    group = await Operator(serving.node).group(name)
    points = serving.lags.line(name)
    span_s = max(0, len(points) - 1) * serving.lags.every_s
    span = f"{span_s:.0f} s" if span_s < 100 else f"{span_s / 60:.0f} min"
    return {"group": group, "line": charts.line(points), "span": span}


def _page(path: str, handler: Callable[..., Any]) -> Row:
    return route("GET", path, handler, allow=operator, html=True)


ROWS = (
    _page("/", show_log),
    _page("/topics/{topic}", show_topic),
    _page("/groups/{name:path}", show_group),
    _page("/fragments/log", show_log_live),
    _page("/fragments/topics/{topic}", show_topic_live),
    _page("/fragments/topics/{topic}/newest", show_newest),
    _page("/fragments/groups/{name:path}", show_group_live),
)
