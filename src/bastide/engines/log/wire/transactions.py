"""Producers with an identity, and their transactions."""

from collections.abc import Coroutine

from bastide.base.errors import Unavailable
from bastide.engines.log.core.codes import Code
from bastide.engines.log.core.transactions import NOBODY, Instance
from bastide.engines.log.service.transactions import Transactions
from bastide.engines.log.wire.codec.calls import Call
from bastide.engines.log.wire.desk import REFUSALS, Answer, Body, Desk, code_of
from bastide.engines.log.wire.groups import claim_of, kept, places_of, refuse


async def init_producer_id(desk: Desk, call: Call) -> Answer:
    body, node = call.body, desk.node
    name = body["transactional_id"]
    try:
        if name is None:
            return {"error_code": Code.NONE, "producer_id": await node.broker.fresh_producer_id()}
        given = Instance(body.get("producer_id", -1), body.get("producer_epoch", -1))
        decision = await node.transactions.init(
            name,
            timeout_ms=body["transaction_timeout_ms"],
            instance=given if given.producer_id >= 0 else NOBODY,
        )
    except Unavailable:
        return {"error_code": Code.COORDINATOR_NOT_AVAILABLE, "producer_epoch": -1}
    return {
        "error_code": _told(decision.code, call, fenced_from=4),
        "producer_id": decision.producer.producer_id,
        "producer_epoch": decision.producer.epoch,
    }


async def add_partitions_to_txn(desk: Desk, call: Call) -> Answer:
    body, node = call.body, desk.node
    places = [(topic["name"], n) for topic in body["topics"] for n in topic["partitions"]]
    codes: dict[tuple[str, int], Code] = {}
    for place in places:
        if node.is_of_the_town(place[0]):
            codes[place] = Code.TOPIC_AUTHORIZATION_FAILED
            continue
        try:
            await node.broker.partition(*place)
        except REFUSALS as error:
            codes[place] = code_of(error)
    if codes:  # none is added
        codes = {place: codes.get(place, Code.OPERATION_NOT_ATTEMPTED) for place in places}
    else:
        code = await _coded(
            node.transactions.add_partitions(body["transactional_id"], _instance(body), places)
        )
        codes = dict.fromkeys(places, _told(code, call, fenced_from=2))
    topics: dict[str, list[Body]] = {}
    for (topic, number), code in codes.items():
        row = {"partition_index": number, "partition_error_code": code}
        topics.setdefault(topic, []).append(row)
    rows = [{"name": name, "results_by_partition": found} for name, found in topics.items()]
    return {"results_by_topic": rows}


async def add_offsets_to_txn(desk: Desk, call: Call) -> Answer:
    body = call.body
    code = await _coded(
        desk.node.transactions.add_group(
            body["transactional_id"], _instance(body), body["group_id"]
        )
    )
    return {"error_code": _told(code, call, fenced_from=2)}


async def end_txn(desk: Desk, call: Call) -> Answer:
    body = call.body
    code = await _coded(
        desk.node.transactions.end(
            body["transactional_id"], _instance(body), commit=body["committed"]
        )
    )
    return {"error_code": _told(code, call, fenced_from=2)}


async def txn_offset_commit(desk: Desk, call: Call) -> Answer:
    body, node = call.body, desk.node
    instance, group = _instance(body), body["group_id"]
    code = node.transactions.check_offsets(body["transactional_id"], instance, group)
    claim = claim_of(body)
    if code == Code.NONE and (claim.generation >= 0 or claim.member_id):
        code = node.groups.fence(group, claim)
    places, topics = places_of(node, body["topics"], _told(code, call, fenced_from=99))
    try:
        place = node.groups.pend(group, instance, places) if places else -1
    except Unavailable:
        refuse(topics, Code.COORDINATOR_NOT_AVAILABLE)
        return {"topics": topics}
    return kept(node.groups, place, topics)


# --- who is there -------------------------------------------------------------------------------


async def list_transactions(desk: Desk, call: Call) -> Answer:
    rows = []
    states, producers = call.body["state_filters"], call.body["producer_id_filters"]
    for name in desk.node.transactions.names():
        found = desk.node.transactions.transaction(name)
        assert found is not None
        if states and found.phase not in states:
            continue
        if producers and found.producer.producer_id not in producers:
            continue
        rows.append(
            {
                "transactional_id": name,
                "producer_id": found.producer.producer_id,
                "transaction_state": found.phase,
            }
        )
    return {"error_code": Code.NONE, "unknown_state_filters": [], "transaction_states": rows}


async def describe_transactions(desk: Desk, call: Call) -> Answer:
    names = call.body["transactional_ids"]
    return {"transaction_states": [_described(desk.node.transactions, name) for name in names]}


def _described(transactions: Transactions, name: str) -> Body:
    found = transactions.transaction(name)
    if found is None:
        return {
            "error_code": Code.TRANSACTIONAL_ID_NOT_FOUND,
            "transactional_id": name,
            "topics": [],
        }
    topics: dict[str, list[int]] = {}
    for topic, number in found.partitions:
        topics.setdefault(topic, []).append(number)
    return {
        "error_code": Code.NONE,
        "transactional_id": name,
        "transaction_state": found.phase,
        "producer_id": found.producer.producer_id,
        "producer_epoch": found.producer.epoch,
        "topics": [{"topic": topic, "partitions": of} for topic, of in topics.items()],
    }


async def describe_producers(desk: Desk, call: Call) -> Answer:
    topics = []
    for topic in call.body["topics"]:
        rows = []
        for number in topic["partition_indexes"]:
            row: Body = {"partition_index": number, "error_code": Code.NONE, "active_producers": []}
            try:
                partition = await desk.node.broker.partition(topic["name"], number)
                row["active_producers"] = [
                    {
                        "producer_id": one.producer_id,
                        "producer_epoch": one.producer_epoch,
                        "coordinator_epoch": -1,
                        "current_txn_start_offset": one.first_offset,
                    }
                    for one in partition.producers.open()
                ]
            except REFUSALS as error:
                row["error_code"] = code_of(error)
            rows.append(row)
        topics.append({"name": topic["name"], "partitions": rows})
    return {"topics": topics}


def _instance(body: Body) -> Instance:
    return Instance(body["producer_id"], body["producer_epoch"])


async def _coded(asked: Coroutine[object, object, Code]) -> Code:
    try:
        return await asked
    except Unavailable:
        return Code.COORDINATOR_NOT_AVAILABLE


def _told(code: Code, call: Call, *, fenced_from: int) -> Code:
    """Older clients know a fenced producer by another name."""
    if code == Code.PRODUCER_FENCED and call.version < fenced_from:
        return Code.INVALID_PRODUCER_EPOCH
    return code
