"""Groups and what they have committed."""

from collections.abc import Sequence
from typing import Any

from bastide.base.errors import Unavailable
from bastide.engines.log.core.codes import Code
from bastide.engines.log.core.groups.messages import (
    Claim,
    Described,
    Join,
    Leaving,
    State,
    Sync,
)
from bastide.engines.log.service.groups import METADATA_BYTES_MAX, Committed, Groups
from bastide.engines.log.service.node import Node
from bastide.engines.log.wire.codec.calls import Call
from bastide.engines.log.wire.desk import NODE_ID, Answer, Body, Desk

GROUP, TRANSACTION = 0, 1  # kinds of coordinators
NOTHING_COMMITTED = -1


async def find_coordinator(desk: Desk, call: Call) -> Answer:
    """It is always us."""
    body = call.body
    known = body.get("key_type", GROUP) in (GROUP, TRANSACTION)
    here: Body = {
        "error_code": Code.NONE if known else Code.INVALID_REQUEST,
        "error_message": None,
        "node_id": NODE_ID,
        "host": desk.host,
        "port": desk.port,
    }
    if call.version >= 4:
        return {"coordinators": [here | {"key": key} for key in body["coordinator_keys"]]}
    return here


# --- membership ---------------------------------------------------------------------------------


async def join_group(desk: Desk, call: Call) -> Answer:
    return _joined(desk, call)


async def _joined(desk: Desk, call: Call) -> Body:
    body, groups = call.body, desk.node.groups
    session_s = body["session_timeout_ms"] / 1000
    rebalance_ms = body.get("rebalance_timeout_ms", -1)
    asked = Join(
        member_id=body["member_id"],
        new_id=groups.new_member_id(body.get("group_instance_id") or call.client_id or "member"),
        session_s=session_s,
        rebalance_s=rebalance_ms / 1000 if rebalance_ms > 0 else session_s,
        protocol_type=body["protocol_type"],
        protocols=[(one["name"], bytes(one["metadata"])) for one in body["protocols"]],
        instance_id=body.get("group_instance_id"),
        client_id=call.client_id or "",
        host=f"/{desk.peer}",
        id_required=call.version >= 4,
        skip_known=call.version >= 9,
    )
    try:
        joined = await groups.join(body["group_id"], asked)
    except Unavailable:
        return {"error_code": Code.COORDINATOR_NOT_AVAILABLE, "member_id": "", "members": []}
    return {
        "error_code": joined.code,
        "generation_id": joined.generation,
        "protocol_type": joined.protocol_type,
        "protocol_name": joined.protocol if call.version >= 7 else joined.protocol or "",
        "leader": joined.leader,
        "skip_assignment": joined.skip_assignment,
        "member_id": joined.member_id,
        "members": [
            {
                "member_id": one.member_id,
                "group_instance_id": one.instance_id,
                "metadata": one.metadata,
            }
            for one in joined.roster
        ],
    }


async def sync_group(desk: Desk, call: Call) -> Answer:
    return _synced(desk, call)


async def _synced(desk: Desk, call: Call) -> Body:
    body = call.body
    asked = Sync(
        member_id=body["member_id"],
        generation=body["generation_id"],
        instance_id=body.get("group_instance_id"),
        assignments={one["member_id"]: bytes(one["assignment"]) for one in body["assignments"]},
        protocol_type=body.get("protocol_type"),
        protocol=body.get("protocol_name"),
    )
    try:
        synced = await desk.node.groups.sync(body["group_id"], asked)
    except Unavailable:
        return {"error_code": Code.COORDINATOR_NOT_AVAILABLE, "assignment": b""}
    return {
        "error_code": synced.code,
        "protocol_type": synced.protocol_type,
        "protocol_name": synced.protocol,
        "assignment": synced.assignment,
    }


async def heartbeat(desk: Desk, call: Call) -> Answer:
    return {"error_code": desk.node.groups.heartbeat(call.body["group_id"], claim_of(call.body))}


async def leave_group(desk: Desk, call: Call) -> Answer:
    body, groups = call.body, desk.node.groups
    if call.version < 3:
        [code] = groups.leave(body["group_id"], [Leaving(member_id=body["member_id"])])
        return {"error_code": code}
    leaving = [
        Leaving(member_id=one["member_id"], instance_id=one["group_instance_id"])
        for one in body["members"]
    ]
    codes = groups.leave(body["group_id"], leaving)
    rows = [
        {
            "member_id": one.member_id,
            "group_instance_id": one.instance_id,
            "error_code": code,
        }
        for one, code in zip(leaving, codes, strict=True)
    ]
    return {"error_code": Code.NONE, "members": rows}


def claim_of(body: Body) -> Claim:
    return Claim(
        member_id=body.get("member_id", ""),
        generation=body.get("generation_id", -1),
        instance_id=body.get("group_instance_id"),
    )


# --- offsets ------------------------------------------------------------------------------------


async def offset_commit(desk: Desk, call: Call) -> Answer:
    body, groups = call.body, desk.node.groups
    code = groups.fence(body["group_id"], claim_of(body))
    places, topics = places_of(desk.node, body["topics"], code)
    try:
        place = groups.commit(body["group_id"], places) if places else -1
    except Unavailable:
        refuse(topics, Code.COORDINATOR_NOT_AVAILABLE)
        return {"topics": topics}
    return kept(groups, place, topics)


async def kept(groups: Groups, place: int, topics: list[Body]) -> Body:
    """The answer to offsets that are committed, when they are durable."""
    try:
        await groups.kept(place)
    except Unavailable:
        refuse(topics, Code.COORDINATOR_NOT_AVAILABLE)
    return {"topics": topics}


def places_of(
    node: Node, topics: Sequence[Any], code: Code
) -> tuple[dict[tuple[str, int], Committed], list[Body]]:
    """What is to be kept, and the rows of the answer: all refused with `code`, if there is one."""
    places: dict[tuple[str, int], Committed] = {}
    answer: list[Body] = []
    for topic in topics:
        rows = []
        for one in topic["partitions"]:
            number, told = one["partition_index"], code
            if told == Code.NONE:
                told = _refusal(node, topic["name"], one)
            if told == Code.NONE:
                places[topic["name"], number] = Committed(
                    one["committed_offset"],
                    one.get("committed_leader_epoch", -1),
                    one["committed_metadata"] or "",
                )
            rows.append({"partition_index": number, "error_code": told})
        answer.append({"name": topic["name"], "partitions": rows})
    return places, answer


def _refusal(node: Node, topic: str, asked: Body) -> Code:
    if len((asked["committed_metadata"] or "").encode()) > METADATA_BYTES_MAX:
        return Code.OFFSET_METADATA_TOO_LARGE
    if not node.broker.has(topic, asked["partition_index"]):
        return Code.UNKNOWN_TOPIC_OR_PARTITION
    return Code.NONE


def refuse(topics: Sequence[Body], code: Code) -> None:
    for topic in topics:
        for row in topic["partitions"]:
            if row["error_code"] == Code.NONE:
                row["error_code"] = code


async def offset_fetch(desk: Desk, call: Call) -> Answer:
    body, groups = call.body, desk.node.groups
    stable = body.get("require_stable", False)
    if call.version >= 8:
        rows = [
            {
                "group_id": one["group_id"],
                "error_code": groups.refused_name(one["group_id"]),
                "topics": _offsets(groups, one["group_id"], one["topics"], stable=stable),
            }
            for one in body["groups"]
        ]
        return {"groups": rows}
    return {
        "error_code": groups.refused_name(body["group_id"]),
        "topics": _offsets(groups, body["group_id"], body["topics"], stable=stable),
    }


def _offsets(groups: Groups, name: str, asked: Any, *, stable: bool) -> list[Body]:
    """`asked` None: of all where the group has committed."""
    committed = groups.committed(name)
    wanted: dict[str, list[int]] = {}
    if asked is None:
        for topic, number in sorted(committed):
            wanted.setdefault(topic, []).append(number)
    else:
        wanted = {one["name"]: one["partition_indexes"] for one in asked}
    topics = []
    for topic, numbers in wanted.items():
        rows = []
        for number in numbers:
            found = committed.get((topic, number), Committed(NOTHING_COMMITTED))
            unstable = stable and groups.is_pending(name, topic, number)
            rows.append(
                {
                    "partition_index": number,
                    "committed_offset": NOTHING_COMMITTED if unstable else found.offset,
                    "committed_leader_epoch": found.leader_epoch,
                    "metadata": found.metadata,
                    "error_code": Code.UNSTABLE_OFFSET_COMMIT if unstable else Code.NONE,
                }
            )
        topics.append({"name": topic, "partitions": rows})
    return topics


async def offset_delete(desk: Desk, call: Call) -> Answer:
    body, groups = call.body, desk.node.groups
    name = body["group_id"]
    described = groups.described(name)
    if described.state == State.DEAD:
        return {"error_code": Code.GROUP_ID_NOT_FOUND, "topics": []}
    code = Code.GROUP_SUBSCRIBED_TO_TOPIC if described.members else Code.NONE
    places = [
        (topic["name"], one["partition_index"])
        for topic in body["topics"]
        for one in topic["partitions"]
    ]
    if code == Code.NONE:
        await groups.forget(name, places)
    topics: dict[str, list[Body]] = {}
    for topic, number in places:
        row = {"partition_index": number, "error_code": code}
        topics.setdefault(topic, []).append(row)
    rows = [{"name": topic, "partitions": found} for topic, found in topics.items()]
    return {"error_code": Code.NONE, "topics": rows}


# --- who is there -------------------------------------------------------------------------------


async def list_groups(desk: Desk, call: Call) -> Answer:
    groups = desk.node.groups
    wanted = {one.lower() for one in call.body.get("states_filter", ())}
    rows = []
    for name in groups.names():
        described = groups.described(name)
        if not wanted or described.state.lower() in wanted:
            rows.append(
                {
                    "group_id": name,
                    "protocol_type": described.protocol_type,
                    "group_state": described.state,
                }
            )
    return {"error_code": Code.NONE, "groups": rows}


async def describe_groups(desk: Desk, call: Call) -> Answer:
    groups = desk.node.groups
    rows = [_described(name, groups.described(name)) for name in call.body["groups"]]
    return {"groups": rows}


def _described(name: str, found: Described) -> Body:
    return {
        "error_code": Code.NONE,
        "group_id": name,
        "group_state": found.state,
        "protocol_type": found.protocol_type,
        "protocol_data": found.protocol,
        "members": [
            {
                "member_id": one.member_id,
                "group_instance_id": one.instance_id,
                "client_id": one.client_id,
                "client_host": one.host,
                "member_metadata": one.metadata,
                "member_assignment": one.assignment,
            }
            for one in found.members
        ],
    }


async def delete_groups(desk: Desk, call: Call) -> Answer:
    groups = desk.node.groups
    names = call.body["groups_names"]
    rows = [{"group_id": name, "error_code": await groups.delete(name)} for name in names]
    return {"results": rows}
