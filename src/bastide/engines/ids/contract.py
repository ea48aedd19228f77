"""Ids, codes and keys that never repeat.

    Refusal
     ├── Invalid      CountOver, LengthOver, SeriesWrong, NotAnId
     ├── Conflict     SeriesOver, SeriesSpent
     └── Unavailable  ClockBehind, NoWorkerId, FencePassed

Ids are 64-bit integers inside the town and strings in JSON: a JavaScript number holds 53 bits.

A series is named `[a-z][a-z0-9._-]*`; systems begin theirs with their own name ("shortener.links"),
since all clients of one database share them. Each kind (numbers, codes of one length, keys of one
length) of a series counts for itself.
"""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import msgspec

from bastide.base.errors import Conflict, Invalid, Unavailable

BLOCK_MAX = 100_000
CODE_LENGTH_MIN = 4
CODE_LENGTH_MAX = 10
RANDOM_LENGTH_MAX = 64
SERIES_CHARACTERS_MAX = 64
SERIES_MAX = 10_000  # counters in one database


class CountOver(Invalid):
    """More than BLOCK_MAX ids were asked for at once, or fewer than one."""


class LengthOver(Invalid):
    """A code or key of fewer than CODE_LENGTH_MIN or more than CODE_LENGTH_MAX characters, or a
    random one of fewer than one or more than RANDOM_LENGTH_MAX, was asked for.
    """


class SeriesWrong(Invalid):
    """The name of a series is empty, too long, or has other characters than `[a-z0-9._-]`."""


class NotAnId(Invalid):
    """What should be decoded was not made by what decodes it."""


class SeriesOver(Conflict):
    """A new series, and there are SERIES_MAX already."""


class SeriesSpent(Conflict):
    """No code or key of this length is left, and no greater length is given."""


class ClockBehind(Unavailable):
    """The clock stands behind the last id, and the setting says to refuse rather than go on."""


class NoWorkerId(Unavailable):
    """All worker ids are held by others."""


class FencePassed(Unavailable):
    """The lease's fence could not be moved in time; nothing is minted until it is."""


class Decoded(msgspec.Struct, frozen=True):
    """What an id says: when (milliseconds since 1970, UTC), by which worker, which of that
    millisecond.
    """

    at_ms: int
    worker: int
    sequence: int


class Ids(Protocol):
    """Called on the town's loop, as everything is: not from other threads."""

    def new(self) -> int:
        """One id: unique, above every earlier one of this process, k-sorted across workers. 0.4 us.

        "Roughly time-ordered" means: two ids of different workers compare as they were made if they
        were made further apart than those workers' clocks differ. Past 4,096 in one millisecond it
        waits for the next.

        Raises:
            FencePassed, ClockBehind.
        """
        ...

    def block(self, count: int) -> Sequence[int]:
        """At most `count` ids, ascending: those left in this millisecond, at least one.

        All 4,096 of a millisecond in 1 us; a spent one is waited out. Whoever needs many should
        let the loop run between two blocks.

        Raises:
            CountOver, FencePassed, ClockBehind.
        """
        ...

    def text(self) -> str:
        """An id as 15 characters: base 36 time, 4 digits of worker, 3 of sequence. Unique among its
        kind, above every earlier one of this process. 1,000 a millisecond.

        Raises:
            FencePassed, ClockBehind.
        """
        ...

    def uuid7(self) -> UUID:
        """A time-ordered 128-bit id (RFC 9562, section 5.7), monotonic in this process. 3 us."""
        ...

    def timeuuid(self) -> UUID:
        """`new()` as a UUID version 1, which Cassandra's TIMEUUID columns take. 2 us.

        Raises:
            FencePassed, ClockBehind.
        """
        ...

    def decode(self, id_: int) -> Decoded:
        """
        Raises:
            NotAnId: below 0, or of more than 63 bits.
        """
        ...

    async def number(self, series: str) -> int:
        """The next number of `series`, from 0: never twice, durable, with gaps after a crash.

        Claimed by blocks: one commit in a thousand calls. Not ordered across processes.

        Raises:
            SeriesWrong, SeriesOver.
            Unavailable: the store is away.
        """
        ...

    async def code(self, series: str, *, length: int) -> str:
        """A Base62 code of `length` (4 to 10): the series' next number through a keyed permutation.

        Collision-free within the series and not predictable without the key, with no look-up.
        Falls to the next `length` when all 62**length codes are used. 15 us, and one commit in a
        thousand calls.

        Raises:
            LengthOver, SeriesWrong, SeriesOver.
            SeriesSpent: there is no next length.
            Unavailable: the store is away.
        """
        ...

    async def key(self, series: str, *, length: int) -> str:
        """A random Base62 key of `length` (4 to 10) from a pool made ahead: claimed by one caller
        only, whatever process it is in. One commit in a hundred calls.

        Raises:
            LengthOver, SeriesWrong.
            SeriesSpent: hardly a key of this length is left.
            Unavailable: the store is away.
        """
        ...

    def random(self, *, length: int) -> str:
        """`length` random Base62 characters from the machine's secure source. May repeat: the
        caller looks.

        Raises:
            LengthOver.
        """
        ...
