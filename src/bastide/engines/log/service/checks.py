"""What every backend asks of its caller before it does anything, and how it shares records out."""

import re
from collections.abc import Mapping, Sequence

from bastide.engines.log.contract import (
    APPEND_RECORDS_MAX,
    GROUP_BYTES_MAX,
    PARTITIONS_MAX,
    RECORD_BYTES_MAX,
    TOPIC_BYTES_MAX,
    TOPICS_MAX,
    Entry,
    GroupRefused,
    PartitionRefused,
    Record,
    RecordRefused,
    RecordTooLarge,
    Topic,
    TopicOfAnother,
    TopicRefused,
)
from bastide.engines.log.core.partitioner import partition_of

NAME = re.compile(r"[A-Za-z0-9._-]+")


def is_name(name: str) -> bool:
    return bool(NAME.fullmatch(name)) and len(name) <= TOPIC_BYTES_MAX and name not in (".", "..")


def check_name(name: str) -> None:
    """
    Raises:
        TopicRefused
    """
    if not is_name(name):
        asked = f"1 to {TOPIC_BYTES_MAX} letters, digits, '.', '_' and '-' are expected"
        raise TopicRefused(f"{name[:100]!r} is no name of a topic; {asked}")


def check_own(client: str, topic: str) -> None:
    """
    Raises:
        TopicRefused, TopicOfAnother
    """
    check_name(topic)
    if topic.partition(".")[0] != client:
        raise TopicOfAnother(f"{client} appends to topics {client}.*, not {topic}")


def check_new(topic: Topic, count: int) -> None:
    """`count`: of topics that there are.

    Raises:
        TopicRefused
    """
    check_name(topic.name)
    if not 1 <= topic.partitions <= PARTITIONS_MAX:
        most = f"1 to {PARTITIONS_MAX} are taken"
        raise TopicRefused(f"a topic of {topic.partitions} partitions; {most}")
    if count >= TOPICS_MAX:
        raise TopicRefused(f"{TOPICS_MAX} topics; no more are made")


def check_partition(topic: str, number: int, count: int) -> None:
    """
    Raises:
        PartitionRefused
    """
    if not 0 <= number < count:
        raise PartitionRefused(f"partition {number}; {topic} has 0 to {count - 1}")


def is_group(name: str) -> bool:
    return 0 < len(name.encode()) <= GROUP_BYTES_MAX


def check_member(group: str, topics: Sequence[str]) -> None:
    """
    Raises:
        GroupRefused, TopicRefused
    """
    if not is_group(group) or "\0" in group:  # Kafka's clients in C end it there
        raise GroupRefused(f"{group[:100]!r} is no name of a group")
    if not topics:
        raise TopicRefused("a member reads one topic at least")
    for topic in topics:
        check_name(topic)


def check_records(records: Sequence[Record]) -> None:
    """
    Raises:
        RecordRefused, RecordTooLarge
    """
    if not 0 < len(records) <= APPEND_RECORDS_MAX:
        told = f"1 to {APPEND_RECORDS_MAX} are taken"
        raise RecordTooLarge(f"{len(records)} records; {told}")
    for record in records:
        if any("\0" in name for name, _ in record.headers):
            raise RecordRefused("a header's name has a NUL in it")
        if (size := size_of(record)) > RECORD_BYTES_MAX:
            raise RecordTooLarge(f"a record of {size} bytes; at most {RECORD_BYTES_MAX} are taken")


def shares_of(
    records: Sequence[Record], count: int, *, partition: int | None, turn: int
) -> Mapping[int, list[tuple[int, Record]]]:
    """By partition, of `count`: each record with its number among all. Those without a key go to
    the one whose turn it is.
    """
    shares: dict[int, list[tuple[int, Record]]] = {}
    for n, record in enumerate(records):
        if partition is not None:
            number = partition
        elif record.key is None or count == 1:
            number = turn % count
        else:
            number = partition_of(record.key, count)
        shares.setdefault(number, []).append((n, record))
    return shares


def fitting(entries: Sequence[Entry], bytes_max: int) -> Sequence[Entry]:
    """The first, and those behind it while they are together at most `bytes_max`."""
    size = 0
    for count, entry in enumerate(entries):
        size += size_of(entry.record)
        if count and size > bytes_max:
            return entries[:count]
    return entries


def size_of(record: Record) -> int:
    size = len(record.value or b"") + len(record.key or b"")
    return size + sum(len(name) + len(value) for name, value in record.headers)
