"""Keys, their history, and their changes as they come."""

import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing

from bastide.base.errors import Invalid
from bastide.base.routes.rows import Stream, events
from bastide.base.tx import cursor_of, place_of
from bastide.engines.coord.api.shapes import (
    ChangesShown,
    DeletedShown,
    Done,
    HistoryShown,
    KeyShown,
    KeysShown,
    Limit,
    PutGiven,
    Revision,
    WaitS,
    bytes_of,
    changes_shown,
    key_shown,
    lease_of,
)
from bastide.engines.coord.contract import Events
from bastide.engines.coord.service.operator import Operator, check_open, span_of
from bastide.engines.coord.service.serving import Serving


async def list_keys(
    serving: Serving,
    prefix: str | None = None,
    prefix_base64: str | None = None,
    revision: Revision = 0,
    cursor: str | None = None,
    limit: Limit = 50,
) -> KeysShown:
    """Keys that begin with `prefix`, in order, as they are or were at `revision`. A page may have
    less than `limit`, if values are large.
    """
    after = base64.b64decode(place_of(cursor, tuple[str])[0]) if cursor else b""
    begin = bytes_of(prefix, prefix_base64, "prefix")
    found = await Operator(serving.node).keys(begin, after=after, revision=revision, limit=limit)
    items = [key_shown(item) for item in found.items]
    next_ = None
    if found.after is not None:
        next_ = cursor_of(base64.b64encode(found.after).decode())
    return KeysShown(items, next_, found.count, found.revision)


async def read_key(
    serving: Serving, key: str | None = None, key_base64: str | None = None, revision: Revision = 0
) -> KeyShown:
    """One key, as it is or was at `revision`."""
    asked = bytes_of(key, key_base64, "key")
    return key_shown(await Operator(serving.node).read(asked, revision=revision))


async def read_history(
    serving: Serving,
    key: str | None = None,
    key_base64: str | None = None,
    before: Revision = 0,
    limit: Limit = 50,
) -> HistoryShown:
    """The changes of one key that are kept, the newest first."""
    asked = bytes_of(key, key_base64, "key")
    found = await Operator(serving.node).history(asked, before=before, limit=limit)
    return HistoryShown([key_shown(one) for one in found.changes], found.before, found.compacted)


async def put_key(serving: Serving, body: PutGiven) -> Done:
    """Write a key; the answer comes when a majority keeps it."""
    key = bytes_of(body.key, body.key_base64, "key")
    value = bytes_of(body.value, body.value_base64, "value")
    lease = lease_of(body.lease) if body.lease is not None else 0
    return Done(await Operator(serving.node).put(key, value, lease=lease))


async def delete_key(
    serving: Serving, key: str | None = None, key_base64: str | None = None
) -> DeletedShown:
    """Delete one key; `deleted` is 0 if it was not there."""
    done = await Operator(serving.node).delete(bytes_of(key, key_base64, "key"))
    return DeletedShown(done.count, done.revision)


async def delete_keys(
    serving: Serving, prefix: str | None = None, prefix_base64: str | None = None
) -> DeletedShown:
    """Delete all keys that begin with `prefix`, as one change. It has at least one byte."""
    begin = bytes_of(prefix, prefix_base64, "prefix")
    check_open(begin)
    done = await Operator(serving.node).delete_all(begin)
    return DeletedShown(done.count, done.revision)


async def read_changes(
    serving: Serving,
    key: str | None = None,
    key_base64: str | None = None,
    prefix: str | None = None,
    prefix_base64: str | None = None,
    revision: Revision = 0,
    wait_s: WaitS = 0.0,
) -> ChangesShown:
    """The next changes of a key, or of all that begin with `prefix`, from `revision` on: of one or
    several whole revisions. Without it, of what comes. Waits `wait_s` for one; go on at `next`.
    """
    first, end = _span(key, key_base64, prefix, prefix_base64)
    operator = Operator(serving.node)
    revision = revision or await operator.next_revision()
    told = await operator.changes(first, end, revision=revision, wait_s=wait_s)
    return changes_shown(told)


async def watch_keys(
    serving: Serving,
    key: str | None = None,
    key_base64: str | None = None,
    prefix: str | None = None,
    prefix_base64: str | None = None,
    revision: Revision = 0,
) -> Stream:
    """The same as server-sent events, as they come."""
    first, end = _span(key, key_base64, prefix, prefix_base64)
    operator = Operator(serving.node)
    revision = revision or await operator.next_revision()
    told = await operator.changes(first, end, revision=revision, wait_s=0)  # or it is refused
    return events(_shown(told, operator.watch(first, end, revision=told.revision + 1)))


async def _shown(
    told: Events, coming: AsyncGenerator[Events, None]
) -> AsyncGenerator[ChangesShown, None]:
    async with aclosing(coming):
        if told.events:
            yield changes_shown(told)
        async for one in coming:
            yield changes_shown(one)


def _span(
    key: str | None, key_base64: str | None, prefix: str | None, prefix_base64: str | None
) -> tuple[bytes, bytes]:
    begin = bytes_of(prefix, prefix_base64, "prefix")
    if key is None and key_base64 is None:
        return span_of(begin)
    if begin:
        raise Invalid("a key and a prefix are both given; one of them is taken")
    asked = bytes_of(key, key_base64, "key")
    check_open(asked)
    return asked, b""
