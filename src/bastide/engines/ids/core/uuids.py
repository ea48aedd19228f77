"""128-bit ids that sort by time: UUID version 7, and version 1 for Cassandra's TIMEUUID.

    version 7 (RFC 9562, section 5.7)

     48                       4   12          2   30            32
    ┌────────────────────────┬───┬───────────┬───┬─────────────┬──────────────┐
    │ ms since 1970          │ 7 │ counter   │10 │ counter     │ random       │
    └────────────────────────┴───┴───────────┴───┴─────────────┴──────────────┘

Unique by chance, so it needs no worker id. Monotonic in one process by section 6.2, method 1: 42
bits of counter, begun at a random value with its top bit 0 in each new millisecond, and counted up
within it. A clock behind the last id, or a counter that runs over, goes on from the last
millisecond ("Counter Rollover Handling").

    version 1 (section 5.1): 60 bits of 100 ns since 15 October 1582, 14 of clock sequence, 48 of
    node

A TIMEUUID column takes nothing but version 1. A Snowflake id fits into one: its sequence counts the
100 ns inside its millisecond (4,096 of 10,000), its worker is the low 16 bits of the node. The
other 32 tell deployments apart, with the multicast bit set as for any node that is no hardware
address (section 6.10).
"""

from bastide.engines.ids.contract import Decoded

RANDOM_BYTES = 10  # of chance that one UUID version 7 takes

_COUNTER_BITS = 42
_GREGORIAN_MS = 12_219_292_800_000  # from 15 October 1582 to 1970
_TICKS_A_MS = 10_000
_VARIANT = 0b10 << 62
_MULTICAST = 1 << 40


class Uuid7:
    """The last one made: what keeps the next above it."""

    def __init__(self) -> None:
        self._at_ms = -1
        self._counter = 0

    def next(self, now_ms: int, random: bytes) -> int:
        """The 128 bits of a UUID above every earlier one of this object; RANDOM_BYTES of chance."""
        drawn = int.from_bytes(random)
        fresh = drawn >> 32 & ((1 << _COUNTER_BITS - 1) - 1)
        if now_ms > self._at_ms:
            self._at_ms, self._counter = now_ms, fresh
        else:
            self._counter += 1
        if self._counter >> _COUNTER_BITS:
            self._at_ms, self._counter = self._at_ms + 1, fresh
        return self._bits(drawn & 0xFFFFFFFF)

    def _bits(self, tail: int) -> int:
        high = self._at_ms << 16 | 7 << 12 | self._counter >> 30
        low = _VARIANT | (self._counter & 0x3FFFFFFF) << 32 | tail
        return high << 64 | low


def timeuuid(id_: Decoded, *, deployment: int) -> int:
    """The 128 bits of the version 1 that says what `id_` says; `deployment` of 32 bits."""
    assert id_.sequence < _TICKS_A_MS
    ticks = (id_.at_ms + _GREGORIAN_MS) * _TICKS_A_MS + id_.sequence
    low, middle, high = ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48
    node = deployment << 16 | id_.worker | _MULTICAST
    return (low << 32 | middle << 16 | 1 << 12 | high) << 64 | _VARIANT | node


def from_timeuuid(bits: int) -> Decoded:
    """What `timeuuid` was given."""
    high, node = bits >> 64, bits & 0xFFFF
    ticks = (high & 0x0FFF) << 48 | (high >> 16 & 0xFFFF) << 32 | high >> 32
    since_1582_ms, sequence = divmod(ticks, _TICKS_A_MS)
    return Decoded(since_1582_ms - _GREGORIAN_MS, node, sequence)
