"""The bus: events leave with the rows that they tell of, and have their effect exactly once.

    Refusal
     ├── Invalid      EventRefused
     ├── NotFound     DeadLetterMissing
     ├── Conflict     DeadLetterSettled
     ├── Limited      TooMuchWaiting
     └── Unavailable  JournalRefuses, JournalBehind, JournalShared

    publish(tx, ...) ──► a row in the caller's transaction ─┐
                                                            ├─ relay ──► the log ──► handlers
    record(...) ───────► a journal on the process's disk ───┘

A manifest says what is published (`publishes`) and who hears it (`consumes`). What left the relay
has a source and a number that only rises; who hears it keeps the highest number of each source in
the transaction of the effect, so that what comes twice has no second one.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from bastide.base.errors import Conflict, Invalid, Limited, NotFound, Unavailable
from bastide.base.events import Consume, Event, EventTopic
from bastide.base.tx import Tx

EVENT_BYTES_MAX = 256 << 10  # of one event, as JSON
KEY_BYTES_MAX = 1_024
WITHIN_S = 2.0
BATCH_EVENTS_MAX = 5_000  # of one call of a handler

After = Callable[[], Awaitable[object]]
Handler = Callable[[Tx, Sequence[Event]], Awaitable[After | None]]
Calls = Callable[[Sequence[Event]], Awaitable[None]]


class EventRefused(Invalid):
    """The event is larger than EVENT_BYTES_MAX, its key than KEY_BYTES_MAX, or it does not belong
    into the topic.
    """


class DeadLetterMissing(NotFound):
    """There is no dead letter at this place, or the log keeps it no more."""


class DeadLetterSettled(Conflict):
    """It was replayed or discarded before."""


class TooMuchWaiting(Limited):
    """The log has not taken events for long; as many wait as are taken (`waiting_max`)."""


class JournalRefuses(Unavailable):
    """The disk takes no record, or as much waits in the journal as is taken (`journal_mb_max`)."""


class JournalBehind(Unavailable):
    """More of the journal is in the log than it holds: an older copy of it was put back."""


class JournalShared(Unavailable):
    """Another process has relayed a journal of this name: one of the two is a copy."""


class Bus(Protocol):
    """One client's: it publishes to its own topics, into its own database."""

    async def publish(self, tx: Tx, topic: EventTopic, *events: Event) -> None:
        """The events leave, in this order, if, and only if, the transaction commits. A row each;
        nothing waits.

        Raises:
            EventRefused, TooMuchWaiting: let it through, the transaction must not go on.
        """
        ...

    def record(self, topic: EventTopic, event: Event) -> int:
        """For what has no row: the event is written to a journal of this process when this returns
        its place there. Killing the process does not lose it; a power cut may, within 10 ms.
        Some 10 us, and no wait.

        Raises:
            EventRefused, JournalRefuses, JournalBehind, JournalShared: it is not written; or, with
                outcome 'unknown', it may be written when there is room again.
        """
        ...

    async def synced(self, place: int) -> None:
        """What was recorded at `place` is on the disk.

        Raises:
            JournalRefuses: it may be lost; with outcome 'unknown' it may be there.
        """
        ...

    async def settled(self, topic: EventTopic, group: str, *, within_s: float = WITHIN_S) -> bool:
        """Whether all that this process recorded before this call, all that was published into this
        database, and all that is in `topic` by then, has had its effect by the client's group
        `group`; waits for it for at most `within_s`.
        """
        ...

    async def consume(self, row: Consume, handler: Handler | None, calls: Calls | None) -> None:
        """Hears `row.topic` until cancelled, as `Consume` says. The town calls it, for each row of
        a manifest's `consumes`.

        Raises:
            Unavailable: the log or the database is away. It goes on where it was.
        """
        ...

    async def health(self) -> None:
        """
        Raises:
            JournalRefuses, JournalBehind, JournalShared: why nothing can be recorded now.
            Unavailable: what waits does not leave, or a group hears nothing.
        """
        ...
