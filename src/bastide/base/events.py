"""What a system tells the others: events, the topics that they come in, and who hears them.

An event is a fact, in the past tense, as a Struct: `LinkRemoved`. Its topic is the registry of all
that may come there: each class by its `kind` and `version`. A class that changes in a way that an
older reader would misread gets a higher version; the older class stays for as long as the log keeps
events of it, and `upgraded` makes a new event of an old one. What no class is known for is told
from what is broken, and neither reaches a handler.

Publisher and subscriber share the topic's object: subscribing is an import of the publisher's
contract.
"""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec

KIND = re.compile(r"[a-z][a-z0-9-]*")
TOPIC = re.compile(r"[a-z][a-z0-9]*(\.[a-z][a-z0-9-]*)+")


class Event(msgspec.Struct, frozen=True):
    """Something that has happened. Ids are strings in it, times milliseconds since 1970."""

    kind: ClassVar[str]
    version: ClassVar[int] = 1

    @property
    def key(self) -> str:
        """Events of one key are heard in the order in which they happened; "" asks for none."""
        return ""

    def upgraded(self) -> "Event":
        """The same event as its newest version has it."""
        return self


class EventTopic(msgspec.Struct, frozen=True):
    """`name` begins with the system that publishes there, which alone may. `partitions` is how many
    processes can share the work of one group; it is set when the topic is made.
    """

    name: str
    events: Sequence[type[Event]]
    partitions: int = 1

    def __post_init__(self) -> None:
        assert TOPIC.fullmatch(self.name), f"{self.name!r} is no topic's name"
        names = [name_of(event) for event in self.events]
        assert len(set(names)) == len(names), f"{self.name} has two events of one name"
        for event in self.events:
            assert KIND.fullmatch(event.kind), f"{event.kind!r} is no kind of event"

    @property
    def system(self) -> str:
        return self.name.partition(".")[0]

    def by_name(self) -> Mapping[str, type[Event]]:
        return {name_of(event): event for event in self.events}


def name_of(event: type[Event]) -> str:
    """As it is told apart on the wire: `created.v1`."""
    return f"{event.kind}.v{event.version}"


class Consume(msgspec.Struct, frozen=True, kw_only=True):
    """A system hears what comes in `topic`, as the group `group` of its own.

    `handler` is "module:function", `async (served, tx, events)`: it has its effect by `tx` alone,
    in the transaction that also keeps how far the group has come, and so exactly once. What it
    returns, if anything, is called after the commit and awaited: a bell to ring, which a crash may
    lose. `calls`, `async (served, events)`, is awaited before: for what has its effect elsewhere,
    at least once, so the same again must do no harm. One of the two, or both.

    Events come in batches, in order within a key. One that fails by itself is tried again, later
    and later, and then put aside as a dead letter; the others go on.
    """

    topic: EventTopic
    group: str
    handler: str = ""
    calls: str = ""
