"""How events, dead letters and sizes are shown."""

import inspect
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from bastide.base.events import Event, name_of
from bastide.engines.bus.core.letters import Shelved, State
from bastide.engines.bus.model import Published

VALUE_SHOWN_MAX = 20_000  # characters, on the page of one; of a list a first line


class EventNamed(msgspec.Struct, frozen=True):
    """`name` is its kind and version, `said` what its class says of itself."""

    name: str
    said: str


class TopicSeen(msgspec.Struct, frozen=True):
    name: str
    client: str
    partitions: int
    events: Sequence[EventNamed]
    groups: Sequence[str]


class EventSeen(msgspec.Struct, frozen=True):
    """`schema` is JSON, laid out."""

    name: str
    said: str
    schema: str


class LetterSeen(msgspec.Struct, frozen=True, kw_only=True):
    """`at` is when it was given up, in UTC, `exact` the same for a program. `value` is what the log
    held, laid out if it is JSON; `cut`: there is more of it.
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
    at: str
    exact: str
    name: str
    value: str
    cut: bool


class _Type(msgspec.Struct):
    type: str = ""


def topic_seen(one: Published) -> TopicSeen:
    events = [EventNamed(name_of(event), _said(event)) for event in one.topic.events]
    return TopicSeen(one.topic.name, one.client, one.topic.partitions, events, one.groups)


def event_seen(event: type[Event]) -> EventSeen:
    schema = msgspec.json.format(msgspec.json.encode(msgspec.json.schema(event)))
    return EventSeen(name_of(event), _said(event), schema.decode())


def letter_seen(one: Shelved) -> LetterSeen:
    letter = one.letter
    at = datetime.fromtimestamp(letter.at_ms / 1000, UTC)
    value = _laid_out(letter.value) if not letter.base64 else f"base64:{letter.value}"
    return LetterSeen(
        offset=one.offset,
        state=one.state,
        group=letter.group,
        topic=letter.topic,
        partition=letter.partition,
        lay_at=letter.offset,
        key=letter.record_key,
        reason=letter.reason,
        tries=letter.tries,
        at=f"{at:%Y-%m-%d %H:%M:%S}",
        exact=at.isoformat(timespec="milliseconds"),
        name=_type_in(letter.value).removeprefix(f"{letter.topic}."),
        value=value[:VALUE_SHOWN_MAX],
        cut=len(value) > VALUE_SHOWN_MAX,
    )


def _said(event: type[Event]) -> str:
    own = event.__dict__.get("__doc__") or ""
    return inspect.cleandoc(own)


def _laid_out(text: str) -> str:
    try:
        return msgspec.json.format(text)
    except msgspec.DecodeError:
        return text


def _type_in(value: str) -> str:
    """The event's type, if it is one."""
    try:
        return msgspec.json.decode(value, type=_Type).type
    except (msgspec.MsgspecError, UnicodeError):
        return ""
