"""Locks, elections and services, who waits in them, and leases."""

import base64

from bastide.base.tx import Page, cursor_of, place_of
from bastide.engines.coord.api.shapes import (
    EnterGiven,
    GrantGiven,
    LeaseShown,
    Limit,
    QueueShown,
    Revision,
    TurnShown,
    WaitersShown,
    lease_of,
    lease_shown,
    place_shown,
    queue_shown,
    text_of,
)
from bastide.engines.coord.contract import LeaseMissing
from bastide.engines.coord.service.operator import Kind, Operator
from bastide.engines.coord.service.serving import Serving


async def list_locks(
    serving: Serving, cursor: str | None = None, limit: Limit = 50
) -> Page[QueueShown]:
    """Locks that are held, with their holder and how many stand there."""
    return await _queues(serving, "lock", cursor, limit)


async def list_elections(
    serving: Serving, cursor: str | None = None, limit: Limit = 50
) -> Page[QueueShown]:
    """Elections that have a leader."""
    return await _queues(serving, "election", cursor, limit)


async def list_services(
    serving: Serving, cursor: str | None = None, limit: Limit = 50
) -> Page[QueueShown]:
    """Services that somebody offers, with the oldest of their instances."""
    return await _queues(serving, "service", cursor, limit)


async def _queues(serving: Serving, kind: Kind, cursor: str | None, limit: int) -> Page[QueueShown]:
    after = base64.b64decode(place_of(cursor, tuple[str])[0]) if cursor else b""
    found, more = await Operator(serving.node).queues(kind, after=after, limit=limit)
    place = base64.b64encode(found[-1].prefix).decode() if more else ""
    return Page([queue_shown(one) for one in found], cursor_of(place) if more else None)


async def read_queue(
    serving: Serving, name: str, after: Revision = 0, limit: Limit = 50
) -> WaitersShown:
    """Who stands in one queue, in their order, with their leases."""
    prefix = name.encode() + b"/"
    queue, places, next_ = await Operator(serving.node).queue(prefix, after=after, limit=limit)
    return WaitersShown(queue_shown(queue), [place_shown(one) for one in places], next_)


async def enter_queue(serving: Serving, body: EnterGiven) -> TurnShown:
    """Take a place in a queue, or keep it, and wait up to `wait_s` to be the first: to hold the
    lock, or to lead. Ask again to wait on.
    """
    turn = await Operator(serving.node).enter(
        body.name.encode(), lease_of(body.lease), body.value.encode(), wait_s=body.wait_s
    )
    return TurnShown(text_of(turn.key), turn.token, turn.is_first)


async def leave_queue(serving: Serving, name: str, lease: str) -> None:
    """The next one has its turn."""
    await Operator(serving.node).leave(name.encode(), lease_of(lease))


async def list_leases(
    serving: Serving, cursor: str | None = None, limit: Limit = 50
) -> Page[LeaseShown]:
    """Leases by number, with their keys and the time that is left."""
    after = place_of(cursor, tuple[int])[0] if cursor else 0
    found, more = await Operator(serving.node).leases(after=after, limit=limit)
    items = [lease_shown(one) for one in found]
    return Page(items, cursor_of(found[-1].id) if more and found else None)


async def read_lease(serving: Serving, id: str) -> LeaseShown:  # noqa: A002 (the path's word)
    lease = await Operator(serving.node).lease(lease_of(id))
    if lease is None:
        raise LeaseMissing(f"there is no lease {id}")
    return lease_shown(lease)


async def grant_lease(serving: Serving, body: GrantGiven) -> LeaseShown:
    """A lease, which ends `ttl_s` after it was last kept alive."""
    id_ = lease_of(body.id) if body.id is not None else 0
    return lease_shown(await serving.node.grant(body.ttl_s, id_))


async def keep_lease(serving: Serving, id: str) -> LeaseShown:  # noqa: A002 (the path's word)
    """It has its full time again."""
    return lease_shown(await serving.node.keep_alive(lease_of(id)))


async def revoke_lease(serving: Serving, id: str) -> None:  # noqa: A002 (the path's word)
    """It ends, and its keys go."""
    await serving.node.revoke(lease_of(id))
