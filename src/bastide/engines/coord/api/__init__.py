"""Coordination over HTTP, for whoever runs the town: for our commands, and for a look with curl.
Transactions are left to etcd's own protocol, which is spoken beside it.
"""

from collections.abc import Callable
from typing import Any

from bastide.base.errors import Conflict, Denied, Invalid, Limited, NotFound
from bastide.base.gate import operator
from bastide.base.routes.rows import Method, Row, route
from bastide.engines.coord.api.keys import (
    delete_key,
    delete_keys,
    list_keys,
    put_key,
    read_changes,
    read_history,
    read_key,
    watch_keys,
)
from bastide.engines.coord.api.members import (
    add_member,
    promote_member,
    read_snapshot,
    read_standing,
    remove_member,
    transfer_leadership,
)
from bastide.engines.coord.api.queues import (
    enter_queue,
    grant_lease,
    keep_lease,
    leave_queue,
    list_elections,
    list_leases,
    list_locks,
    list_services,
    read_lease,
    read_queue,
    revoke_lease,
)
from bastide.engines.coord.contract import (
    AskInvalid,
    AskTooLarge,
    CoordAway,
    LeaseExists,
    LeaseMissing,
    RevisionAhead,
    RevisionCompacted,
    SpaceOver,
    TooMany,
)
from bastide.engines.coord.service.operator import KeyAbsent, KeyReserved

PUT_BYTES_MAX = 2 << 20  # a body: a value of the largest size, as base64

_AWAY = (Denied, AskInvalid, CoordAway, TooMany)
_READ = (*_AWAY, KeyReserved, KeyAbsent, RevisionAhead, RevisionCompacted, AskTooLarge)
_WRITE = (*_AWAY, KeyReserved, AskTooLarge, SpaceOver, LeaseMissing)
_LEASE = (*_AWAY, LeaseMissing, LeaseExists)
_MEMBER = (*_AWAY, NotFound, Conflict, Invalid, Limited)


def _row(
    method: Method,
    path: str,
    handler: Callable[..., Any],
    refusals: tuple[type[Exception], ...],
    *,
    status: int = 200,
    body_max: int = 64 << 10,
) -> Row:
    return route(
        method,
        path,
        handler,
        allow=operator,
        status=status,
        body_max=body_max,
        headers={"cache-control": "no-store"},
        refusals=refusals,
    )


ROWS = (
    _row("GET", "/api/keys", list_keys, _READ),
    _row("DELETE", "/api/keys", delete_keys, _WRITE),
    _row("GET", "/api/key", read_key, _READ),
    _row("PUT", "/api/key", put_key, _WRITE, body_max=PUT_BYTES_MAX),
    _row("DELETE", "/api/key", delete_key, _WRITE),
    _row("GET", "/api/history", read_history, _READ),
    _row("GET", "/api/changes", read_changes, _READ),
    _row("GET", "/api/watch", watch_keys, _READ),
    _row("GET", "/api/locks", list_locks, _AWAY),
    _row("GET", "/api/elections", list_elections, _AWAY),
    _row("GET", "/api/services", list_services, _AWAY),
    _row("GET", "/api/queue", read_queue, _READ),
    _row("PUT", "/api/queue", enter_queue, _WRITE),
    _row("DELETE", "/api/queue", leave_queue, _WRITE),
    _row("GET", "/api/leases", list_leases, _AWAY),
    _row("POST", "/api/leases", grant_lease, _LEASE, status=201),
    _row("GET", "/api/leases/{id}", read_lease, _LEASE),
    _row("PUT", "/api/leases/{id}", keep_lease, _LEASE),
    _row("DELETE", "/api/leases/{id}", revoke_lease, _LEASE),
    _row("GET", "/api/standing", read_standing, _AWAY),
    _row("POST", "/api/members", add_member, _MEMBER, status=201),
    _row("DELETE", "/api/members/{id}", remove_member, _MEMBER),
    _row("PUT", "/api/members/{id}/vote", promote_member, _MEMBER),
    _row("PUT", "/api/leader", transfer_leadership, _MEMBER),
    _row("GET", "/api/snapshot", read_snapshot, _AWAY),
)
