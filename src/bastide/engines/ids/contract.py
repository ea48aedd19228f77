"""Ids, codes and keys that never repeat.

    Refusal
     ├── Invalid      CountOver
     └── Unavailable  ClockBehind, NoWorkerId, FencePassed

Ids are 64-bit integers inside the town and strings in JSON: a JavaScript number holds 53 bits.
"""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import msgspec

from bastide.base.errors import Invalid, Unavailable

BLOCK_MAX = 100_000


class CountOver(Invalid):
    """More than BLOCK_MAX ids were asked for at once, or fewer than one."""


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
    def new(self) -> int:
        """One id: unique, above every earlier one of this process, k-sorted across workers. 0.3 us.

        Raises:
            FencePassed, ClockBehind.
        """
        ...

    def block(self, count: int) -> Sequence[int]:
        """At most `count` ids, ascending: as many as the fence and the clock allow now, at least
        one.

        4,096 a millisecond; 30 ns an id.

        Raises:
            CountOver, FencePassed, ClockBehind.
        """
        ...

    def uuid7(self) -> UUID:
        """A time-ordered 128-bit id (RFC 9562, section 5.7), monotonic in this process."""
        ...

    def decode(self, id_: int) -> Decoded: ...

    async def number(self, series: str) -> int:
        """The next number of `series`, from 0: never twice, durable, with gaps after a crash.

        Claimed by blocks: one commit in a thousand calls.

        Raises:
            Unavailable: the store is away.
        """
        ...

    async def code(self, series: str, *, length: int) -> str:
        """A Base62 code of `length` (4 to 10): the series' next number through a keyed permutation.

        Collision-free and not predictable without the key, with no look-up. Falls to the next
        `length` when all 62**length codes of a series are used.

        Raises:
            Unavailable: the store is away.
        """
        ...

    async def key(self, series: str, *, length: int) -> str:
        """A random Base62 key of `length` from a pool made ahead: claimed by one caller only.

        Raises:
            Unavailable: the store is away.
        """
        ...

    def random(self, *, length: int) -> str:
        """`length` random Base62 characters from the machine's secure source. May repeat: the
        caller looks.
        """
        ...
