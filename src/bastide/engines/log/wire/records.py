"""Produce, Fetch, ListOffsets, DeleteRecords: batches in, batches out, as they are.

A batch is checked and stamped, and never looked into. What is appended in one request is begun at
once, and answered when it is as durable as was asked: meanwhile the connection's next request is
begun, and shares the sync.

    acks = 0    no answer
    acks = 1    written: it survives this process
    acks = all  synced: it survives a power cut
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bastide.base.errors import Unavailable
from bastide.base.rt import runtime
from bastide.engines.log.core.batches import BatchBroken, header_of, split
from bastide.engines.log.core.codes import Code
from bastide.engines.log.core.transactions import Instance
from bastide.engines.log.service.node import Node
from bastide.engines.log.service.partition import LEADER_EPOCH, Partition
from bastide.engines.log.wire.codec.calls import Call
from bastide.engines.log.wire.desk import REFUSALS, Answer, Body, Desk, code_of
from bastide.parts.seglog.contract import BufferFull

ALL, ONE, NONE = -1, 1, 0
COMMITTED = 1
LATEST, EARLIEST, NEWEST = -1, -2, -3
EVERYTHING = -1
MB = 1 << 20


class Taken(msgspec.Struct):
    """What became of one partition's records. `last`: the offset to wait for, if any."""

    index: int
    code: Code = Code.NONE
    message: str | None = None
    base: int = -1
    last: int = -1
    partition: Partition | None = None

    def row(self) -> Body:
        return {
            "index": self.index,
            "error_code": self.code,
            "base_offset": self.base,
            "log_start_offset": self.partition.first if self.partition else -1,
            "error_message": self.message,
        }


# --- produce ------------------------------------------------------------------------------------


async def produce(desk: Desk, call: Call) -> Answer:
    body, acks = call.body, call.body["acks"]
    taken: dict[str, list[Taken]] = {}
    for topic in body["topic_data"]:
        rows = taken[topic["name"]] = []
        for one in topic["partition_data"]:
            if acks in (ALL, ONE, NONE):
                rows.append(await _take(desk.node, topic["name"], one, body["transactional_id"]))
            else:
                rows.append(Taken(one["index"], Code.INVALID_REQUIRED_ACKS))
    if acks == NONE:
        return None
    return _produced(taken, durable=acks == ALL)


async def _produced(taken: Mapping[str, Sequence[Taken]], *, durable: bool) -> Body:
    for rows in taken.values():
        for one in rows:
            await _settle(one, durable=durable)
    return {
        "responses": [
            {"name": name, "partition_responses": [one.row() for one in rows]}
            for name, rows in taken.items()
        ]
    }


async def _settle(one: Taken, *, durable: bool) -> None:
    if one.partition is None or one.last < 0:
        return
    try:
        if durable:
            await one.partition.synced(one.last)
        else:
            await one.partition.written(one.last)
    except Unavailable as error:
        one.code, one.message, one.base = Code.KAFKA_STORAGE_ERROR, str(error), -1


async def _take(node: Node, topic: str, asked: Mapping[str, Any], name: str | None) -> Taken:
    """Appends; `name` is the transactional id."""
    one = Taken(asked["index"])
    if node.is_of_the_town(topic):
        one.code = Code.TOPIC_AUTHORIZATION_FAILED
        return one
    try:
        one.partition = await node.broker.partition(topic, one.index)
        records = asked["records"]
        if not records:
            raise BatchBroken(Code.INVALID_RECORD, "no records")
        bytes_max = node.broker.settings.record_mb * MB
        for batch in split(records, batch_bytes_max=bytes_max):
            one.code = await _append(node, one, batch, name)
            if one.code != Code.NONE:
                break
    except REFUSALS as error:
        one.code, one.message = code_of(error), str(error)
    return one


async def _append(node: Node, one: Taken, batch: bytes, name: str | None) -> Code:
    partition = one.partition
    assert partition is not None
    header = header_of(batch)
    while True:
        if header.is_transactional:
            instance = Instance(header.producer_id, header.producer_epoch)
            place = (partition.topic, partition.number)
            code = node.transactions.check_append(name or "", instance, place)
            if code != Code.NONE:
                return code
        verdict = partition.producers.check(header)
        if verdict.code != Code.NONE:
            return verdict.code
        if verdict.repeats is not None:
            base = verdict.repeats
            break
        try:
            base = partition.append(batch, header)
            break
        except BufferFull:  # the disk is slower than the clients are
            await partition.written(partition.unwritten - 1)
    one.base = base if one.base < 0 else one.base
    one.last = base + header.last_offset_delta
    return Code.NONE


# --- fetch --------------------------------------------------------------------------------------


class Wanted(msgspec.Struct, frozen=True):
    """One partition of a Fetch. Only the first that has something may give more than was asked for
    (KIP-74): a batch that is larger would else never be read.
    """

    topic: str
    number: int
    offset: int
    bytes_max: int
    epoch: int


async def fetch(desk: Desk, call: Call) -> Answer:
    body = call.body
    wanted = [
        Wanted(
            topic["topic"],
            one["partition"],
            one["fetch_offset"],
            one["partition_max_bytes"],
            one.get("current_leader_epoch", -1),
        )
        for topic in body["topics"]
        for one in topic["partitions"]
    ]
    return _fetched(desk.node, wanted, body)


async def _fetched(node: Node, wanted: Sequence[Wanted], body: Body) -> Body:
    """At once if there is enough, or something to tell; else when there is, or time is over."""
    until_s = runtime.monotonic() + max(0, body["max_wait_ms"]) / 1000
    committed = body["isolation_level"] == COMMITTED
    while True:
        rows, size = await _gather(node, wanted, body["max_bytes"], committed=committed)
        left_s = until_s - runtime.monotonic()
        told = any(row["error_code"] for row in rows)
        if told or size >= body["min_bytes"] or left_s <= 0 or not wanted:
            break
        await _await_news(node, wanted, rows, left_s, committed=committed)
    topics: dict[str, list[Body]] = {}
    for one, row in zip(wanted, rows, strict=True):
        topics.setdefault(one.topic, []).append(row)
    return {"responses": [{"topic": topic, "partitions": rows} for topic, rows in topics.items()]}


async def _gather(
    node: Node, wanted: Sequence[Wanted], bytes_max: int, *, committed: bool
) -> tuple[list[Body], int]:
    rows, size = [], 0
    for one in wanted:
        left = bytes_max - size
        row = await _read(node, one, left, committed=committed, strictly=size > 0)
        size += len(row["records"] or b"")
        rows.append(row)
    return rows, size


async def _read(node: Node, one: Wanted, left: int, *, committed: bool, strictly: bool) -> Body:
    row: Body = {
        "partition_index": one.number,
        "error_code": Code.NONE,
        "high_watermark": -1,
        "records": b"",
        "aborted_transactions": None,
    }
    try:
        partition = await node.broker.partition(one.topic, one.number)
        if one.epoch > LEADER_EPOCH:
            row["error_code"] = Code.UNKNOWN_LEADER_EPOCH
            return row
        stretch = partition.read(
            one.offset,
            bytes_max=max(0, min(one.bytes_max, left)),
            committed=committed,
            strictly=strictly,
        )
    except REFUSALS as error:
        row["error_code"] = code_of(error)
        return row
    batches = stretch.batches
    row["records"] = batches[0] if len(batches) == 1 else b"".join(batches)
    row["high_watermark"] = partition.next
    row["last_stable_offset"] = partition.stable
    row["log_start_offset"] = partition.first
    if committed:
        row["aborted_transactions"] = [
            {"producer_id": gone.producer_id, "first_offset": gone.first_offset}
            for gone in stretch.aborted
        ]
    return row


async def _await_news(
    node: Node, wanted: Sequence[Wanted], rows: Sequence[Body], seconds: float, *, committed: bool
) -> None:
    """Until there may be more than these rows tell of: what is there already was not enough."""
    seen = "last_stable_offset" if committed else "high_watermark"
    tasks = [
        asyncio.ensure_future(partition.news(row[seen], committed=committed))
        for one, row in zip(wanted, rows, strict=True)
        if (partition := node.broker.opened(one.topic, one.number)) is not None
    ]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


# --- places -------------------------------------------------------------------------------------


async def list_offsets(desk: Desk, call: Call) -> Answer:
    committed = call.body.get("isolation_level", 0) == COMMITTED
    topics = []
    for topic in call.body["topics"]:
        rows = [
            await _place(desk.node, topic["name"], one, committed=committed)
            for one in topic["partitions"]
        ]
        topics.append({"name": topic["name"], "partitions": rows})
    return {"topics": topics}


async def _place(node: Node, topic: str, asked: Body, *, committed: bool) -> Body:
    row: Body = {"partition_index": asked["partition_index"], "error_code": Code.NONE}
    try:
        partition = await node.broker.partition(topic, asked["partition_index"])
        stamp_ms, offset = asked["timestamp"], -1
        found_ms = -1
        if stamp_ms == LATEST:
            offset = partition.stable if committed else partition.next
        elif stamp_ms == EARLIEST:
            offset = partition.first
        else:
            newest = stamp_ms == NEWEST
            found = await (partition.newest() if newest else partition.place_at(stamp_ms))
            if found is not None:
                offset, found_ms = found
        epoch = LEADER_EPOCH if offset >= 0 else -1
        row |= {"offset": offset, "timestamp": found_ms, "leader_epoch": epoch}
    except REFUSALS as error:
        row["error_code"] = code_of(error)
    return row


async def delete_records(desk: Desk, call: Call) -> Answer:
    topics = []
    for topic in call.body["topics"]:
        rows = [await _delete_below(desk.node, topic["name"], one) for one in topic["partitions"]]
        topics.append({"name": topic["name"], "partitions": rows})
    return {"topics": topics}


async def _delete_below(node: Node, topic: str, asked: Body) -> Body:
    row: Body = {
        "partition_index": asked["partition_index"],
        "low_watermark": -1,
        "error_code": Code.NONE,
    }
    if node.is_of_the_town(topic):
        return row | {"error_code": Code.TOPIC_AUTHORIZATION_FAILED}
    try:
        partition = await node.broker.partition(topic, asked["partition_index"])
        offset = asked["offset"]
        await partition.delete_below(partition.next if offset == EVERYTHING else offset)
        row["low_watermark"] = partition.first
    except REFUSALS as error:
        row["error_code"] = code_of(error)
    return row


async def offset_for_leader_epoch(desk: Desk, call: Call) -> Answer:
    """There was one leader, ever: what any epoch wrote ends where the partition does."""
    topics = []
    for topic in call.body["topics"]:
        rows = []
        for one in topic["partitions"]:
            row: Body = {"partition": one["partition"], "error_code": Code.NONE}
            try:
                partition = await desk.node.broker.partition(topic["topic"], one["partition"])
                if one["leader_epoch"] <= LEADER_EPOCH:
                    row |= {"leader_epoch": LEADER_EPOCH, "end_offset": partition.next}
            except REFUSALS as error:
                row["error_code"] = code_of(error)
            rows.append(row)
        topics.append({"topic": topic["topic"], "partitions": rows})
    return {"topics": topics}
