"""Metadata, topics and what they are set to."""

import re
from collections.abc import Mapping, Sequence

import msgspec

from bastide.base.errors import Invalid
from bastide.engines.log.contract import PARTITIONS_MAX, Topic, TopicRefused
from bastide.engines.log.core.codes import Code
from bastide.engines.log.service.broker import Broker
from bastide.engines.log.service.partition import LEADER_EPOCH
from bastide.engines.log.wire.codec.calls import Call, versions_told
from bastide.engines.log.wire.desk import NODE_ID, REFUSALS, Answer, Body, Desk, code_of

TOPIC, BROKER = 2, 4  # kinds of resources that have configs
SET, DELETE = 0, 1  # operations of IncrementalAlterConfigs
DEFAULT_SOURCE, TOPIC_SOURCE = 5, 1
RETENTION_MS, RETENTION_BYTES = "retention.ms", "retention.bytes"
FOREVER = -1
NUMBER = re.compile(r"-?[0-9]{1,18}")


class ConfigRefused(Invalid):
    """A setting that is none here, or a value that it can't have."""


async def api_versions(_: Desk, __: Call) -> Answer:
    return {"error_code": Code.NONE, "api_keys": versions_told()}


# --- who and what is here -----------------------------------------------------------------------


async def metadata(desk: Desk, call: Call) -> Answer:
    broker, asked = desk.node.broker, call.body["topics"]
    names = list(broker.topics) if asked is None else [one["name"] for one in asked]
    if call.version == 0 and not names:
        names = list(broker.topics)
    makes = (
        asked is not None and call.body["allow_auto_topic_creation"] and broker.settings.auto_create
    )
    return {
        "brokers": [{"node_id": NODE_ID, "host": desk.host, "port": desk.port}],
        "cluster_id": broker.cluster_id,
        "controller_id": NODE_ID,
        "topics": [await _topic_row(desk, name, makes=makes) for name in names],
    }


async def _topic_row(desk: Desk, name: str, *, makes: bool) -> Body:
    broker = desk.node.broker
    try:
        makes = makes and not desk.node.is_of_the_town(name)
        topic = await broker.ensure(name) if makes else broker.topic(name)
    except REFUSALS as error:
        return {"error_code": code_of(error), "name": name, "partitions": []}
    return {
        "error_code": Code.NONE,
        "name": name,
        "partitions": [
            {
                "error_code": Code.NONE,
                "partition_index": number,
                "leader_id": NODE_ID,
                "leader_epoch": LEADER_EPOCH,
                "replica_nodes": [NODE_ID],
                "isr_nodes": [NODE_ID],
            }
            for number in range(topic.partitions)
        ],
    }


async def describe_cluster(desk: Desk, _: Call) -> Answer:
    return {
        "error_code": Code.NONE,
        "cluster_id": desk.node.broker.cluster_id,
        "controller_id": NODE_ID,
        "brokers": [{"broker_id": NODE_ID, "host": desk.host, "port": desk.port}],
    }


# --- topics -------------------------------------------------------------------------------------


async def create_topics(desk: Desk, call: Call) -> Answer:
    checks = call.body["validate_only"]
    rows = [await _create(desk, one, checks_only=checks) for one in call.body["topics"]]
    return {"topics": rows}


async def _create(desk: Desk, asked: Body, *, checks_only: bool) -> Body:
    broker = desk.node.broker
    row: Body = {"name": asked["name"], "error_code": Code.NONE, "error_message": None}
    try:
        topic = _topic_of(broker, asked)
        if desk.node.is_of_the_town(topic.name):
            return row | {"error_code": Code.TOPIC_AUTHORIZATION_FAILED}
        if checks_only:
            broker.check_new(topic)
        else:
            await broker.create(topic)
    except ConfigRefused as error:
        return row | {"error_code": Code.INVALID_CONFIG, "error_message": str(error)}
    except PartitionsRefused as error:
        return row | {"error_code": error.code, "error_message": str(error)}
    except REFUSALS as error:
        return row | {"error_code": code_of(error), "error_message": str(error)}
    return row | {"num_partitions": topic.partitions, "replication_factor": 1}


class PartitionsRefused(Invalid):
    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


def _topic_of(broker: Broker, asked: Body) -> Topic:
    count, replicas = asked["num_partitions"], asked["replication_factor"]
    if asked["assignments"]:
        if any(one["broker_ids"] != [NODE_ID] for one in asked["assignments"]):
            told = f"broker {NODE_ID} is the only one"
            raise PartitionsRefused(Code.INVALID_REPLICA_ASSIGNMENT, told)
        count, replicas = len(asked["assignments"]), 1
    if count == -1:
        count = broker.settings.partitions
    if not 1 <= count <= PARTITIONS_MAX:
        told = f"{count} partitions; 1 to {PARTITIONS_MAX} are taken"
        raise PartitionsRefused(Code.INVALID_PARTITIONS, told)
    if replicas not in (-1, 1):
        told = f"{replicas} replicas; there is one broker"
        raise PartitionsRefused(Code.INVALID_REPLICATION_FACTOR, told)
    values = {one["name"]: one["value"] for one in asked["configs"]}
    return _set(Topic(asked["name"], partitions=count), values)


async def delete_topics(desk: Desk, call: Call) -> Answer:
    rows = []
    for name in call.body["topic_names"]:
        row: Body = {"name": name, "error_code": Code.NONE}
        try:
            if desk.node.is_of_the_town(name):
                row["error_code"] = Code.TOPIC_AUTHORIZATION_FAILED
            else:
                await desk.node.broker.delete(name)
        except REFUSALS as error:
            row |= {"error_code": code_of(error), "error_message": str(error)}
        rows.append(row)
    return {"responses": rows}


async def create_partitions(desk: Desk, call: Call) -> Answer:
    rows = []
    for asked in call.body["topics"]:
        row: Body = {"name": asked["name"], "error_code": Code.NONE}
        if desk.node.is_of_the_town(asked["name"]):
            rows.append(row | {"error_code": Code.TOPIC_AUTHORIZATION_FAILED})
            continue
        try:
            topic = desk.node.broker.topic(asked["name"])
            if asked["count"] <= topic.partitions:
                raise TopicRefused(f"{topic.name} has {topic.partitions} partitions already")
            if not call.body["validate_only"]:
                changed = msgspec.structs.replace(topic, partitions=asked["count"])
                await desk.node.broker.change(changed)
        except TopicRefused as error:
            row |= {"error_code": Code.INVALID_PARTITIONS, "error_message": str(error)}
        except REFUSALS as error:
            row |= {"error_code": code_of(error), "error_message": str(error)}
        rows.append(row)
    return {"results": rows}


# --- configs ------------------------------------------------------------------------------------


def _set(topic: Topic, values: Mapping[str, str | None]) -> Topic:
    """`topic` with these settings; None takes one back.

    Raises:
        ConfigRefused
    """
    for name, value in values.items():
        if name == RETENTION_MS:
            kept_ms = Topic("").kept_ms if value is None else _number(name, value)
            topic = msgspec.structs.replace(topic, kept_ms=kept_ms)
        elif name == RETENTION_BYTES:
            kept = None if value is None else _number(name, value)
            topic = msgspec.structs.replace(topic, kept_bytes=kept)
        elif name not in FIXED:
            raise ConfigRefused(f"there is no setting {name[:100]!r} here")
        elif value is not None and value not in (FIXED[name], *ALSO.get(name, ())):
            raise ConfigRefused(f"{name} is {FIXED[name]} here, and not {value[:100]!r}")
    return topic


def _number(name: str, value: str) -> int | None:
    if not NUMBER.fullmatch(value) or int(value) < FOREVER:
        raise ConfigRefused(f"{name}={value[:100]!r}; a number from -1 on is expected")
    return None if int(value) == FOREVER else int(value)


# What is so here, whatever a topic asks for. A client that asks for just this gets it.
FIXED = {
    "cleanup.policy": "delete",
    "compression.type": "producer",
    "message.timestamp.type": "CreateTime",
    "min.insync.replicas": "1",
    "max.message.bytes": "1048588",
    "segment.bytes": "67108864",
    "unclean.leader.election.enable": "false",
}
# Asked for by many, and of no consequence where there is one copy, and every batch has a limit.
ALSO: Mapping[str, Sequence[str]] = {
    "min.insync.replicas": ("2", "3"),
    "segment.bytes": ("1073741824",),
    "max.message.bytes": ("1000000", "1000012", "1048576", "2097152"),
    "unclean.leader.election.enable": ("true",),
}


def _configs(topic: Topic) -> Mapping[str, tuple[str, bool]]:
    """By name: the value, and whether it is the default."""
    default = Topic("")
    own = {
        RETENTION_MS: (_text(topic.kept_ms), topic.kept_ms == default.kept_ms),
        RETENTION_BYTES: (_text(topic.kept_bytes), topic.kept_bytes == default.kept_bytes),
    }
    return own | {name: (value, True) for name, value in FIXED.items()}


def _shown(switch: bool) -> str:
    return "true" if switch else "false"


def _text(number: int | None) -> str:
    return str(FOREVER if number is None else number)


async def describe_configs(desk: Desk, call: Call) -> Answer:
    return {"results": [_described(desk, one) for one in call.body["resources"]]}


def _described(desk: Desk, asked: Body) -> Body:
    kind, name = asked["resource_type"], asked["resource_name"]
    row: Body = {
        "error_code": Code.NONE,
        "error_message": None,
        "resource_type": kind,
        "resource_name": name,
        "configs": [],
    }
    if kind == BROKER:
        found = {
            "num.partitions": (str(desk.node.broker.settings.partitions), True),
            "auto.create.topics.enable": (_shown(desk.node.broker.settings.auto_create), True),
        }
    elif kind == TOPIC:
        try:
            found = dict(_configs(desk.node.broker.topic(name)))
        except REFUSALS as error:
            return row | {"error_code": code_of(error), "error_message": str(error)}
    else:
        return row | {"error_code": Code.INVALID_REQUEST, "error_message": "topics and brokers"}
    wanted = asked["configuration_keys"]
    row["configs"] = [
        {
            "name": key,
            "value": value,
            "read_only": key not in (RETENTION_MS, RETENTION_BYTES),
            "config_source": DEFAULT_SOURCE if default else TOPIC_SOURCE,
            "synonyms": [],
            "documentation": None,
        }
        for key, (value, default) in found.items()
        if wanted is None or key in wanted
    ]
    return row


async def alter_configs(desk: Desk, call: Call) -> Answer:
    """All settings of a topic: those that are not named go back to what they are by default."""
    rows = []
    for asked in call.body["resources"]:
        values: dict[str, str | None] = {RETENTION_MS: None, RETENTION_BYTES: None}
        values |= {one["name"]: one["value"] for one in asked["configs"]}
        rows.append(await _alter(desk, asked, values, checks_only=call.body["validate_only"]))
    return {"responses": rows}


async def incremental_alter_configs(desk: Desk, call: Call) -> Answer:
    rows = []
    for asked in call.body["resources"]:
        values = {
            one["name"]: one["value"] if one["config_operation"] == SET else None
            for one in asked["configs"]
        }
        appends = any(one["config_operation"] not in (SET, DELETE) for one in asked["configs"])
        if appends:
            values = {"no list among the settings": None}
        rows.append(await _alter(desk, asked, values, checks_only=call.body["validate_only"]))
    return {"responses": rows}


async def _alter(
    desk: Desk, asked: Body, values: Mapping[str, str | None], *, checks_only: bool
) -> Body:
    kind, name = asked["resource_type"], asked["resource_name"]
    row: Body = {
        "error_code": Code.NONE,
        "error_message": None,
        "resource_type": kind,
        "resource_name": name,
    }
    try:
        if kind != TOPIC:
            raise ConfigRefused("only topics are set this way; the broker has BASTIDE_LOG_*")
        if desk.node.is_of_the_town(name):
            return row | {"error_code": Code.TOPIC_AUTHORIZATION_FAILED}
        topic = _set(desk.node.broker.topic(name), values)
        if not checks_only:
            await desk.node.broker.change(topic)
    except ConfigRefused as error:
        row |= {"error_code": Code.INVALID_CONFIG, "error_message": str(error)}
    except REFUSALS as error:
        row |= {"error_code": code_of(error), "error_message": str(error)}
    return row
