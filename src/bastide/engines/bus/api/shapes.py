"""What the HTTP doors give, as JSON."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from bastide.base.events import name_of
from bastide.base.tx import PAGE_ITEMS_MAX
from bastide.engines.bus.core.letters import Shelved, State
from bastide.engines.bus.model import Published

Limit = Annotated[int, msgspec.Meta(ge=1, le=PAGE_ITEMS_MAX)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class TopicListed(msgspec.Struct, frozen=True):
    """`events` by kind and version, as they are told apart in the log."""

    name: str
    system: str
    partitions: int
    events: Sequence[str]
    groups: Sequence[str]


class TopicShown(TopicListed, frozen=True):
    """`schemas`: of each event's `data`, as JSON Schema."""

    schemas: Mapping[str, Any]


class LetterListed(msgspec.Struct, frozen=True, kw_only=True):
    """`offset` is the dead letter's own, by which it is replayed or discarded; `lay_at`: where in
    `topic` and `partition` the event is. `tries` 0: it could not be read.
    """

    offset: int
    state: State
    group: str
    topic: str
    partition: int
    lay_at: int
    key: str
    reason: str
    tries: int
    at_ms: int


class LettersShown(msgspec.Struct, frozen=True):
    """The newest first. Older ones: `before=` what `next` says."""

    items: Sequence[LetterListed]
    next: int | None


class LetterShown(LetterListed, frozen=True, kw_only=True):
    """`value` is what the log held: text, or if `base64` bytes as such."""

    value: str
    base64: bool


def topic_listed(one: Published) -> TopicListed:
    return TopicListed(**_topic(one))


def topic_shown(one: Published) -> TopicShown:
    schemas = {name_of(event): msgspec.json.schema(event) for event in one.topic.events}
    return TopicShown(**_topic(one), schemas=schemas)


def letter_listed(one: Shelved) -> LetterListed:
    return LetterListed(**_letter(one))


def letter_shown(one: Shelved) -> LetterShown:
    return LetterShown(**_letter(one), value=one.letter.value, base64=one.letter.base64)


def _topic(one: Published) -> dict[str, Any]:
    return {
        "name": one.topic.name,
        "system": one.client,
        "partitions": one.topic.partitions,
        "events": [name_of(event) for event in one.topic.events],
        "groups": one.groups,
    }


def _letter(one: Shelved) -> dict[str, Any]:
    letter = one.letter
    return {
        "offset": one.offset,
        "state": one.state,
        "group": letter.group,
        "topic": letter.topic,
        "partition": letter.partition,
        "lay_at": letter.offset,
        "key": letter.record_key,
        "reason": letter.reason,
        "tries": letter.tries,
        "at_ms": letter.at_ms,
    }
