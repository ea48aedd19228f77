"""Keys: Range, Put, DeleteRange, Txn, Compact."""

import asyncio
from typing import Any

from bastide.engines.coord.contract import OPS_MAX, AskInvalid, AskTooLarge, Txn
from bastide.engines.coord.core import checks
from bastide.engines.coord.core.protocol.messages import messages
from bastide.engines.coord.core.protocol.statuses import (
    KEY_EMPTY,
    KEY_MISSING,
    KEY_TWICE,
    LEASE_GIVEN,
    OPS_OVER,
    SORT_INVALID,
    VALUE_GIVEN,
    CallFailed,
)
from bastide.engines.coord.core.protocol.values import (
    RELATIONS,
    SORTS,
    TARGETS,
    delete_of,
    deleted_message,
    found_message,
    item_message,
    put_done_message,
    put_of,
    range_of,
    txn_done_message,
    txn_of,
)
from bastide.engines.coord.wire.desk import Asker, Desk
from bastide.engines.coord.wire.spans import open_to_strangers

SORT_ORDERS = 3
ITEMS_AT_ONCE = 500  # half a millisecond


async def range_(desk: Desk, asker: Asker, message: Any) -> Any:
    check_range(message)
    desk.accounts.admit_read(asker.token, message.key, message.range_end)
    if not message.serializable:
        await desk.require_leader(asker)
    found = await desk.node.range(range_of(message))
    header = await desk.header(found.revision)
    if len(found.items) <= ITEMS_AT_ONCE:
        return found_message(found, header)
    reply = messages().RangeResponse(header=header, more=found.more, count=found.count)
    for at in range(0, len(found.items), ITEMS_AT_ONCE):  # others have their turn in between
        reply.kvs.extend(item_message(item) for item in found.items[at : at + ITEMS_AT_ONCE])
        await asyncio.sleep(0)
    return reply


async def put(desk: Desk, asker: Asker, message: Any) -> Any:
    check_put(message)
    _admit_put(desk, asker, message)
    await desk.require_leader(asker)
    done = await desk.node.put(put_of(message))
    return put_done_message(done, await desk.header(done.revision))


async def delete_range(desk: Desk, asker: Asker, message: Any) -> Any:
    check_key(message)
    _admit_delete(desk, asker, message)
    await desk.require_leader(asker)
    done = await desk.node.delete(delete_of(message))
    return deleted_message(done, await desk.header(done.revision))


async def txn(desk: Desk, asker: Asker, message: Any) -> Any:
    asked = check_txn(message)
    _admit_txn(desk, asker, message)
    await desk.require_leader(asker)
    done = await desk.node.txn(asked)
    return txn_done_message(done, await desk.header(done.revision))


async def compact(desk: Desk, asker: Asker, message: Any) -> Any:
    desk.accounts.admit(asker.token)  # etcd lets every user compact
    await desk.require_leader(asker)
    revision = await desk.node.compact(message.revision)
    return messages().CompactionResponse(header=await desk.header(revision))


# --- what etcd refuses before it looks ------------------------------------------------------------


def check_range(message: Any) -> None:
    if not message.key:
        raise CallFailed(KEY_EMPTY)
    if not (0 <= message.sort_target < len(SORTS) and 0 <= message.sort_order < SORT_ORDERS):
        raise CallFailed(SORT_INVALID)
    open_to_strangers(message)


def check_put(message: Any) -> None:
    if not message.key:
        raise CallFailed(KEY_EMPTY)
    if message.ignore_value and message.value:
        raise CallFailed(VALUE_GIVEN)
    if message.ignore_lease and message.lease:
        raise CallFailed(LEASE_GIVEN)
    open_to_strangers(message)


def check_key(message: Any) -> None:
    if not message.key:
        raise CallFailed(KEY_EMPTY)
    open_to_strangers(message)


def check_txn(message: Any) -> Txn:
    """What it means to us."""
    _check_branches(message, OPS_MAX)
    asked = txn_of(message)
    try:
        checks.check_txn(asked)
    except AskTooLarge:
        raise
    except AskInvalid as error:  # all else that it might be was looked at above
        raise CallFailed(KEY_TWICE) from error
    return asked


def _check_branches(message: Any, most: int) -> None:
    longest = max(len(message.compare), len(message.success), len(message.failure))
    if longest > most:
        raise CallFailed(OPS_OVER)
    for compare in message.compare:
        if not compare.key:
            raise CallFailed(KEY_EMPTY)
        if not (0 <= compare.target < len(TARGETS) and 0 <= compare.result < len(RELATIONS)):
            raise CallFailed(SORT_INVALID)
        open_to_strangers(compare)
    for op in (*message.success, *message.failure):
        _check_op(op, most - longest)


def _check_op(op: Any, most: int) -> None:
    match op.WhichOneof("request"):
        case "request_range":
            check_range(op.request_range)
        case "request_put":
            check_put(op.request_put)
        case "request_delete_range":
            check_key(op.request_delete_range)
        case "request_txn":
            _check_branches(op.request_txn, most)
        case _:
            raise CallFailed(KEY_MISSING)  # as etcd says of an operation that is none


# --- who may --------------------------------------------------------------------------------------


def _admit_put(desk: Desk, asker: Asker, message: Any) -> None:
    desk.accounts.admit_write(asker.token, message.key)
    if message.prev_kv:
        desk.accounts.admit_read(asker.token, message.key)


def _admit_delete(desk: Desk, asker: Asker, message: Any) -> None:
    desk.accounts.admit_write(asker.token, message.key, message.range_end)
    if message.prev_kv:
        desk.accounts.admit_read(asker.token, message.key, message.range_end)


def _admit_txn(desk: Desk, asker: Asker, message: Any) -> None:
    """All branches, whichever will be taken."""
    if not desk.accounts.enabled:
        return
    desk.accounts.admit(asker.token)
    for compare in message.compare:
        desk.accounts.admit_read(asker.token, compare.key, compare.range_end)
    for op in (*message.success, *message.failure):
        match op.WhichOneof("request"):
            case "request_range":
                one = op.request_range
                desk.accounts.admit_read(asker.token, one.key, one.range_end)
            case "request_put":
                _admit_put(desk, asker, op.request_put)
            case "request_delete_range":
                _admit_delete(desk, asker, op.request_delete_range)
            case "request_txn":
                _admit_txn(desk, asker, op.request_txn)
