"""The bus over HTTP, for whoever runs the town: for our commands, and for a look with curl."""

from bastide.base.errors import Conflict, Denied, NotFound
from bastide.base.gate import operator
from bastide.base.routes.rows import route
from bastide.engines.bus.api.letters import (
    discard_letter,
    list_letters,
    read_letter,
    replay_letter,
)
from bastide.engines.bus.api.shown import list_groups, list_relays, list_topics, read_topic
from bastide.engines.bus.contract import DeadLetterMissing, DeadLetterSettled, EventRefused

_NOT_KEPT = {"cache-control": "no-store"}
_SETTLE = (Denied, NotFound, DeadLetterMissing, DeadLetterSettled)

ROWS = (
    route("GET", "/api/topics", list_topics, allow=operator, refusals=(Denied,)),
    route("GET", "/api/topics/{topic}", read_topic, allow=operator, refusals=(Denied, NotFound)),
    route("GET", "/api/groups", list_groups, allow=operator, headers=_NOT_KEPT, refusals=(Denied,)),
    route("GET", "/api/relays", list_relays, allow=operator, headers=_NOT_KEPT, refusals=(Denied,)),
    route(
        "GET",
        "/api/dead/{system}",
        list_letters,
        allow=operator,
        headers=_NOT_KEPT,
        refusals=(Denied, NotFound),
    ),
    route(
        "GET",
        "/api/dead/{system}/{offset}",
        read_letter,
        allow=operator,
        headers=_NOT_KEPT,
        refusals=(Denied, NotFound, DeadLetterMissing),
    ),
    route(
        "POST",
        "/api/dead/{system}/{offset}/replay",
        replay_letter,
        allow=operator,
        refusals=(*_SETTLE, EventRefused, Conflict),
    ),
    route(
        "POST",
        "/api/dead/{system}/{offset}/discard",
        discard_letter,
        allow=operator,
        refusals=_SETTLE,
    ),
)
