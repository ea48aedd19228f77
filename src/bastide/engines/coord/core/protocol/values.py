"""The contract's values as etcd's messages, and back."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from bastide.engines.coord.contract import (
    Compare,
    CompareBy,
    Delete,
    Deleted,
    Event,
    Found,
    Item,
    Op,
    Put,
    PutDone,
    Range,
    Relation,
    Result,
    SortBy,
    Txn,
    TxnDone,
    Watch,
)
from bastide.engines.coord.core.protocol.messages import messages

# Their places are the numbers of etcd's enumerations.
SORTS: Sequence[SortBy] = get_args(SortBy)
TARGETS: Sequence[CompareBy] = get_args(CompareBy)
RELATIONS: Sequence[Relation] = get_args(Relation)
OPERANDS: Mapping[CompareBy, str] = {
    "version": "version",
    "created": "create_revision",
    "changed": "mod_revision",
    "value": "value",
    "lease": "lease",
}
SORT_NONE, SORT_ASCENDING, SORT_DESCENDING = 0, 1, 2
EVENT_DELETE = 1
NO_PUTS, NO_DELETES = 0, 1

# --- what was asked -------------------------------------------------------------------------------


def range_of(message: Any) -> Range:
    return Range(
        message.key,
        message.range_end,
        limit=message.limit,
        revision=message.revision,
        # Asked for a target and no order, etcd sorts, upwards.
        sort_by=SORTS[message.sort_target],
        descending=message.sort_order == SORT_DESCENDING,
        serializable=message.serializable,
        keys_only=message.keys_only,
        count_only=message.count_only,
        changed_min=message.min_mod_revision,
        changed_max=message.max_mod_revision,
        created_min=message.min_create_revision,
        created_max=message.max_create_revision,
    )


def range_message(asked: Range) -> Any:
    ordered = asked.descending or asked.sort_by != "key"
    return messages().RangeRequest(
        key=asked.first,
        range_end=asked.end,
        limit=asked.limit,
        revision=asked.revision,
        sort_target=SORTS.index(asked.sort_by),
        sort_order=(SORT_DESCENDING if asked.descending else SORT_ASCENDING) if ordered else 0,
        serializable=asked.serializable,
        keys_only=asked.keys_only,
        count_only=asked.count_only,
        min_mod_revision=asked.changed_min,
        max_mod_revision=asked.changed_max,
        min_create_revision=asked.created_min,
        max_create_revision=asked.created_max,
    )


def put_of(message: Any) -> Put:
    return Put(
        message.key,
        message.value,
        message.lease,
        message.prev_kv,
        message.ignore_value,
        message.ignore_lease,
    )


def put_message(asked: Put) -> Any:
    return messages().PutRequest(
        key=asked.key,
        value=asked.value,
        lease=asked.lease,
        prev_kv=asked.previous,
        ignore_value=asked.keep_value,
        ignore_lease=asked.keep_lease,
    )


def delete_of(message: Any) -> Delete:
    return Delete(message.key, message.range_end, message.prev_kv)


def delete_message(asked: Delete) -> Any:
    return messages().DeleteRangeRequest(
        key=asked.first, range_end=asked.end, prev_kv=asked.previous
    )


def txn_of(message: Any) -> Txn:
    return Txn(
        [compare_of(one) for one in message.compare],
        [op_of(one) for one in message.success],
        [op_of(one) for one in message.failure],
    )


def txn_message(asked: Txn) -> Any:
    return messages().TxnRequest(
        compare=[compare_message(one) for one in asked.compares],
        success=[op_message(one) for one in asked.then],
        failure=[op_message(one) for one in asked.otherwise],
    )


def compare_of(message: Any) -> Compare:
    """An operand that is not given is 0, or empty."""
    by = TARGETS[message.target]
    return Compare(
        by,
        RELATIONS[message.result],
        getattr(message, OPERANDS[by]),
        message.key,
        message.range_end,
    )


def compare_message(asked: Compare) -> Any:
    made = messages().Compare(
        result=RELATIONS.index(asked.relation),
        target=TARGETS.index(asked.by),
        key=asked.first,
        range_end=asked.end,
    )
    setattr(made, OPERANDS[asked.by], asked.operand)
    return made


def op_of(message: Any) -> Op:
    """
    Raises:
        KeyError: none is given.
    """
    name = message.WhichOneof("request")
    made: Op = _OPS[name](getattr(message, name))
    return made


_OPS: Mapping[str, Any] = {
    "request_range": range_of,
    "request_put": put_of,
    "request_delete_range": delete_of,
    "request_txn": txn_of,
}


def op_message(asked: Op) -> Any:
    made = messages().RequestOp
    match asked:
        case Range():
            return made(request_range=range_message(asked))
        case Put():
            return made(request_put=put_message(asked))
        case Delete():
            return made(request_delete_range=delete_message(asked))
        case Txn():
            return made(request_txn=txn_message(asked))


def watch_message(asked: Watch, *, from_revision: int) -> Any:
    filters = [NO_PUTS] * (not asked.puts) + [NO_DELETES] * (not asked.deletes)
    return messages().WatchCreateRequest(
        key=asked.first,
        range_end=asked.end,
        start_revision=from_revision,
        prev_kv=asked.previous,
        filters=filters,
        progress_notify=asked.progress,
        fragment=True,
    )


# --- what was found -------------------------------------------------------------------------------


def item_message(item: Item) -> Any:
    return messages().KeyValue(
        key=item.key,
        create_revision=item.created,
        mod_revision=item.changed,
        version=item.version,
        value=item.value,
        lease=item.lease,
    )


def item_of(message: Any) -> Item:
    return Item(
        message.key,
        message.value,
        message.create_revision,
        message.mod_revision,
        message.version,
        message.lease,
    )


def found_message(found: Found, header: Any) -> Any:
    kvs = [item_message(item) for item in found.items]
    return messages().RangeResponse(header=header, kvs=kvs, more=found.more, count=found.count)


def found_of(message: Any, revision: int) -> Found:
    return Found([item_of(kv) for kv in message.kvs], message.count, message.more, revision)


def put_done_message(done: PutDone, header: Any) -> Any:
    if done.previous is None:
        return messages().PutResponse(header=header)
    return messages().PutResponse(header=header, prev_kv=item_message(done.previous))


def put_done_of(message: Any, revision: int) -> PutDone:
    there = message.HasField("prev_kv")
    return PutDone(revision, item_of(message.prev_kv) if there else None)


def deleted_message(done: Deleted, header: Any) -> Any:
    previous = [item_message(item) for item in done.previous]
    return messages().DeleteRangeResponse(header=header, deleted=done.count, prev_kvs=previous)


def deleted_of(message: Any, revision: int) -> Deleted:
    return Deleted(message.deleted, revision, [item_of(kv) for kv in message.prev_kvs])


def txn_done_message(done: TxnDone, header: Any) -> Any:
    responses = [_result_message(one) for one in done.results]
    return messages().TxnResponse(header=header, succeeded=done.succeeded, responses=responses)


def txn_done_of(message: Any, revision: int) -> TxnDone:
    results = [_result_of(one, revision) for one in message.responses]
    return TxnDone(message.succeeded, results, revision)


def _result_message(result: Result) -> Any:
    made = messages().ResponseOp
    header = messages().ResponseHeader(revision=result.revision)
    match result:
        case Found():
            return made(response_range=found_message(result, header))
        case PutDone():
            return made(response_put=put_done_message(result, header))
        case Deleted():
            return made(response_delete_range=deleted_message(result, header))
        case TxnDone():
            return made(response_txn=txn_done_message(result, header))


def _result_of(message: Any, revision: int) -> Result:
    """`revision` is that of the store afterwards: inside etcd tells one only for some."""
    name = message.WhichOneof("response")
    inside = getattr(message, name)
    made: Result = _RESULTS[name](inside, inside.header.revision or revision)
    return made


_RESULTS: Mapping[str, Any] = {
    "response_range": found_of,
    "response_put": put_done_of,
    "response_delete_range": deleted_of,
    "response_txn": txn_done_of,
}


def event_message(event: Event) -> Any:
    names = messages()
    item = event.item
    if event.is_delete:
        kv = names.KeyValue(key=item.key, mod_revision=item.changed)
    else:
        kv = item_message(item)
    made = names.Event(type=EVENT_DELETE if event.is_delete else 0, kv=kv)
    if event.previous is not None:
        made.prev_kv.CopyFrom(item_message(event.previous))
    return made


def event_of(message: Any) -> Event:
    there = message.HasField("prev_kv")
    return Event(item_of(message.kv), item_of(message.prev_kv) if there else None)
