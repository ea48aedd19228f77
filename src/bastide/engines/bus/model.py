"""How the bus is set, and what its operator sees."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from bastide.base.events import EventTopic

DAY_MS = 24 * 3600 * 1000
MB = 1 << 20


class Settings(msgspec.Struct, frozen=True):
    waiting_max: Annotated[
        int,
        msgspec.Meta(
            ge=1, description="events that may wait in an outbox; then publishing is refused"
        ),
    ] = 1_000_000
    journal_mb_max: Annotated[
        int,
        msgspec.Meta(ge=64, description="what may wait in a journal; then recording is refused"),
    ] = 1024
    kept_days: Annotated[
        float,
        msgspec.Meta(gt=0, le=36_500, description="how long the log keeps events"),
    ] = 7.0
    tries: Annotated[
        int,
        msgspec.Meta(ge=1, le=10, description="of an event that fails, before it is a dead letter"),
    ] = 6
    retry_s: Annotated[
        float,
        msgspec.Meta(
            gt=0, le=2, description="before the second try; each next waits twice that, 2 s at most"
        ),
    ] = 0.1

    @property
    def kept_ms(self) -> int:
        return int(self.kept_days * DAY_MS)


class Outlet(msgspec.Struct, frozen=True):
    """How a client's relay is. `waiting`: rows in the outbox, about; `unrelayed`: records of the
    journal that are not in the log yet; `relayed`: events that went into the log since it opened.
    `error`: why the last try failed.
    """

    client: str
    waiting: int
    unrelayed: int
    journal_bytes: int
    relayed: int
    error: str


class Heard(msgspec.Struct, frozen=True):
    """How far a group is. `lag`: events behind it, None while the log is away. `handled`,
    `repeated` and `dead` are counted in this process since it opened. `error`: why it hears
    nothing now, or what it tries again.
    """

    client: str
    group: str
    topic: str
    handled: int
    repeated: int
    dead: int
    lag: int | None
    error: str


class Published(msgspec.Struct, frozen=True):
    """A topic of `client`, and the groups that hear it, as `system.group`."""

    client: str
    topic: EventTopic
    groups: Sequence[str]
