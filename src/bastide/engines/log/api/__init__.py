"""The log over HTTP, for whoever runs the town: for our commands, and for a look with curl."""

from bastide.base.errors import Denied
from bastide.base.gate import operator
from bastide.base.routes.rows import route
from bastide.engines.log.api.groups import (
    delete_group,
    forget_offsets,
    list_groups,
    read_group,
    reset_offsets,
)
from bastide.engines.log.api.topics import (
    append_records,
    list_topics,
    read_records,
    read_topic,
    tail_topic,
)
from bastide.engines.log.contract import (
    GroupInUse,
    GroupMissing,
    LogAway,
    OffsetAhead,
    OffsetGone,
    PartitionRefused,
    RecordTooLarge,
    TooMuchPending,
    TopicMissing,
    TopicOfAnother,
    TopicRefused,
)

APPEND_BYTES_MAX = 4 << 20  # a body

_AWAY = (Denied, LogAway)
_PLACES = (*_AWAY, TopicMissing, PartitionRefused, OffsetGone, OffsetAhead)
_APPEND = (TopicRefused, PartitionRefused, RecordTooLarge, TopicOfAnother, TooMuchPending)
_NOT_KEPT = {"cache-control": "no-store"}

ROWS = (
    route("GET", "/api/topics", list_topics, allow=operator, headers=_NOT_KEPT, refusals=_AWAY),
    route(
        "GET",
        "/api/topics/{topic}",
        read_topic,
        allow=operator,
        headers=_NOT_KEPT,
        refusals=(*_AWAY, TopicMissing),
    ),
    route(
        "POST",
        "/api/topics/{topic}/records",
        append_records,
        allow=operator,
        status=201,
        body_max=APPEND_BYTES_MAX,
        refusals=(*_AWAY, *_APPEND),
    ),
    route(
        "GET",
        "/api/topics/{topic}/records",
        read_records,
        allow=operator,
        headers=_NOT_KEPT,
        refusals=_PLACES,
    ),
    route("GET", "/api/topics/{topic}/tail", tail_topic, allow=operator, refusals=_PLACES),
    route("GET", "/api/groups", list_groups, allow=operator, headers=_NOT_KEPT, refusals=_AWAY),
    route(
        "GET",
        "/api/groups/{name:path}",
        read_group,
        allow=operator,
        headers=_NOT_KEPT,
        refusals=(*_AWAY, GroupMissing),
    ),
    route(
        "DELETE",
        "/api/groups/{name:path}",
        delete_group,
        allow=operator,
        refusals=(*_AWAY, GroupInUse),
    ),
    route(
        "PUT",
        "/api/offsets/{group:path}",
        reset_offsets,
        allow=operator,
        refusals=(*_PLACES, GroupMissing, GroupInUse),
    ),
    route(
        "DELETE",
        "/api/offsets/{group:path}",
        forget_offsets,
        allow=operator,
        refusals=(*_AWAY, GroupMissing, GroupInUse),
    ),
)
