"""What the HTTP doors take and give, as JSON."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from bastide.base.errors import Invalid
from bastide.base.tx import PAGE_ITEMS_MAX
from bastide.engines.log.contract import Entry, Record
from bastide.engines.log.service.operator import (
    GroupSeen,
    MemberSeen,
    Progress,
    States,
    To,
    TopicSeen,
)

Limit = Annotated[int, msgspec.Meta(ge=1, le=PAGE_ITEMS_MAX)]
StartGiven = Annotated[str, msgspec.Meta(pattern="^(first|end|[0-9]{1,18})$")]


class PartitionShown(msgspec.Struct, frozen=True):
    """`first` is the first offset that is kept, `next` what the next record gets."""

    partition: int
    first: int
    next: int
    bytes: int


class TopicShown(msgspec.Struct, frozen=True):
    """`of_the_town`: only the system that it is named after appends to it."""

    name: str
    of_the_town: bool
    kept_ms: int | None
    kept_bytes: int | None
    bytes: int
    partitions: Sequence[PartitionShown]


class RecordGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Key and value are text, or bytes as base64; without either they are null."""

    value: str | None = None
    value_base64: str | None = None
    key: str | None = None
    key_base64: str | None = None
    headers: Sequence[tuple[str, str]] = ()

    def record(self) -> Record:
        return Record(
            _given(self.value, self.value_base64, "value"),
            _given(self.key, self.key_base64, "key"),
            [(name, value.encode()) for name, value in self.headers],
        )


class Append(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`partition` null: by the key, as Kafka's clients do; without keys any one takes them all."""

    records: Sequence[RecordGiven]
    partition: int | None = None


class AppendedAt(msgspec.Struct, frozen=True):
    partition: int
    offset: int


class Appended(msgspec.Struct, frozen=True):
    """In the order of what was sent."""

    places: Sequence[AppendedAt]


class RecordShown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is no text has its bytes in `..._base64`; with neither it is null. A value that is null
    says that what the key names is gone.
    """

    partition: int
    offset: int
    stamp_ms: int
    key: str | None = None
    key_base64: str | None = None
    value: str | None = None
    value_base64: str | None = None
    headers: Sequence["HeaderShown"] = ()


class HeaderShown(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    value: str | None = None
    value_base64: str | None = None


class RecordsShown(msgspec.Struct, frozen=True):
    """`next` is the offset to go on at; of the partition, `first` is the first one that is kept,
    and `end` what its next record gets.
    """

    items: Sequence[RecordShown]
    next: int
    first: int
    end: int


class GroupListed(msgspec.Struct, frozen=True, kw_only=True):
    """`lag`: records that it has before it, in all partitions together."""

    name: str
    state: States
    generation: int
    members: int
    lag: int


class MemberShown(msgspec.Struct, frozen=True):
    """Whom it is said to be by its client; and which partitions it has, where that is known."""

    id: str
    client: str
    host: str
    partitions: Sequence[tuple[str, int]]


class LagShown(msgspec.Struct, frozen=True):
    """`committed` null: the group has committed nothing there, and has all before it."""

    topic: str
    partition: int
    committed: int | None
    end: int
    lag: int


class GroupShown(msgspec.Struct, frozen=True):
    name: str
    state: States
    generation: int
    lag: int
    members: Sequence[MemberShown]
    offsets: Sequence[LagShown]


class Reset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`to` is first, end, or an offset of `partition`; `partition` null: in all of the topic."""

    topic: str
    to: StartGiven | int
    partition: int | None = None


def start_of(given: str | int) -> To:
    match given:
        case "first":
            return "first"
        case "end":
            return "end"
    return int(given)


def topic_shown(seen: TopicSeen) -> TopicShown:
    topic = seen.topic
    rows = [PartitionShown(n, e.first, e.next, e.bytes) for n, e in enumerate(seen.ends)]
    return TopicShown(
        topic.name, seen.of_the_town, topic.kept_ms, topic.kept_bytes, seen.bytes, rows
    )


def record_shown(entry: Entry) -> RecordShown:
    record = entry.record
    return RecordShown(
        partition=entry.partition,
        offset=entry.offset,
        stamp_ms=entry.stamp_ms,
        headers=tuple(HeaderShown(n, **_shown(value, "value")) for n, value in record.headers),
        **_shown(record.key, "key"),
        **_shown(record.value, "value"),
    )


def group_listed(seen: GroupSeen) -> GroupListed:
    return GroupListed(
        name=seen.name,
        state=seen.state,
        generation=seen.generation,
        members=len(seen.members),
        lag=seen.lag,
    )


def group_shown(seen: GroupSeen) -> GroupShown:
    members = [_member(one) for one in seen.members]
    offsets = [_lag(one) for one in seen.progress]
    return GroupShown(seen.name, seen.state, seen.generation, seen.lag, members, offsets)


def _member(one: MemberSeen) -> MemberShown:
    return MemberShown(one.id, one.client, one.host, one.partitions)


def _lag(one: Progress) -> LagShown:
    return LagShown(one.topic, one.partition, one.committed, one.next, one.lag)


def _shown(given: bytes | None, name: str) -> dict[str, Any]:
    if given is None:
        return {}
    try:
        return {name: given.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(given).decode()}


def _given(text: str | None, encoded: str | None, name: str) -> bytes | None:
    if text is not None and encoded is not None:
        raise Invalid(f"{name} and {name}_base64 are both given; one of them is taken")
    if encoded is None:
        return None if text is None else text.encode()
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise Invalid(f"{name}_base64 is no base64: {error}") from error
