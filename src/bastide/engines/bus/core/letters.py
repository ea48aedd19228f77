"""Dead letters: what could not have its effect, whole, with the reason, in a topic of its own."""

import base64
from typing import ClassVar, Literal

import msgspec

from bastide.base.events import Event, EventTopic

REASON_CHARACTERS_MAX = 1_000
KEY_CHARACTERS_MAX = 1_024
VALUE_BYTES_MAX = 384 << 10  # more than any event of ours; what is larger is cut

State = Literal["waiting", "replayed", "discarded"]


class DeadLettered(Event, frozen=True):
    """An event of `topic` had no effect in `group`, after `tries` of it; 0: it could not be read.

    `value` is what the log held, as it is if that is text; else `base64` is true. What no bus wrote
    may be larger than VALUE_BYTES_MAX: its beginning is here. `offset` is where it lay.
    """

    kind: ClassVar[str] = "dead"

    topic: str
    partition: int
    offset: int
    group: str
    record_key: str
    value: str
    base64: bool
    reason: str
    tries: int
    at_ms: int

    @property
    def key(self) -> str:
        return self.record_key


class Shelved(msgspec.Struct, frozen=True):
    """A dead letter at its offset in the dead-letter topic, and what has become of it."""

    offset: int
    letter: DeadLettered
    state: State = "waiting"


def dead_topic_of(client: str) -> EventTopic:
    return EventTopic(f"{client}.dead", (DeadLettered,))


def shown_value(value: bytes | None) -> tuple[str, bool]:
    """As a dead letter has it; and whether that is base64: if it is no text, or one that as a JSON
    string takes more room than base64 (control characters take six times theirs).
    """
    found = (value or b"")[:VALUE_BYTES_MAX]
    try:
        text = found.decode()
        if len(msgspec.json.encode(text)) <= 2 * len(found) + 2:
            return text, False
    except UnicodeDecodeError:
        pass
    return base64.b64encode(found).decode(), True


def shown_key(key: bytes | None) -> str:
    """Without what a database takes for no text."""
    text = (key or b"")[:KEY_CHARACTERS_MAX].decode(errors="replace")
    return text.replace("\0", "\ufffd")


def value_of(letter: DeadLettered) -> bytes:
    return base64.b64decode(letter.value) if letter.base64 else letter.value.encode()


def reason_of(error: BaseException) -> str:
    told = f"{type(error).__name__}: {error}"[:REASON_CHARACTERS_MAX]
    return told.encode(errors="replace").decode()
