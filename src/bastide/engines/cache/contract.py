"""What is read often, kept near: a cache may forget, and never answers with what was taken back.

    Refusal
     ├── Invalid      KeyRefused, ValueTooLarge, TtlRefused, CountRefused
     ├── Conflict     Deposed (base.fence)
     ├── Limited      FencesOver (base.fence)
     └── Unavailable  CacheAway   only increment and invalidate raise it; a read misses, a load goes
                                  through

Every client has a space of its own: keys are its, and nobody else's. Nobody keeps the truth here.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from bastide.base.errors import Invalid, TooLarge, Unavailable
from bastide.base.fence import Fence

KEY_BYTES_MAX = 512
VALUE_BYTES_MAX = 1 << 20
TTL_S_MAX = 30 * 24 * 3600.0
COUNT_MAX = (1 << 63) - 1  # and as much below 0
INVALIDATE_KEYS_MAX = 1_000
LEASE_S = 0.1  # the longest that a near cache may not have heard of an invalidation
LOAD_S_MAX = 60.0  # a load that took longer is returned, and may not be kept

Load = Callable[[], Awaitable[bytes | None]]


class KeyRefused(Invalid):
    """A key is empty or longer than KEY_BYTES_MAX, or there are more than INVALIDATE_KEYS_MAX."""


class ValueTooLarge(TooLarge):
    """A value is larger than VALUE_BYTES_MAX."""


class TtlRefused(Invalid):
    """A time to live is not above 0, or above TTL_S_MAX."""


class CountRefused(Invalid):
    """An amount, or the sum that it would make, is beyond COUNT_MAX."""


class CacheAway(Unavailable):
    """The cache's server did not answer within its time-out. Until it is back, others are refused
    at once.
    """


class Cache(Protocol):
    """Times to live run on the monotonic clock: a wall clock that jumps here expires nothing early.
    Where a server keeps values, it ends them by its own clock.
    """

    async def get(self, key: str) -> bytes | None:
        """The value, or None: never put, expired, forgotten, known not to exist, or the cache is
        away. Under 1 us near.

        Raises:
            KeyRefused
        """
        ...

    async def put(
        self, key: str, value: bytes, *, ttl_s: float, fence: Fence | None = None
    ) -> None:
        """Keep `value` for at most `ttl_s`; a cache that is away forgets it at once, and may still
        have the one before: what is not true any more is invalidated, not put over. What a load
        that runs meanwhile brings is not kept over it.

        With a `fence` nothing is put once a newer token of it was seen by whoever keeps the key: a
        cache forgets that as it forgets values, so what must be true is fenced where it is kept.

        Raises:
            KeyRefused, ValueTooLarge, TtlRefused
            Deposed: a newer token was seen; nothing was put.
            FencesOver: in memory.
        """
        ...

    async def delete(self, key: str) -> None:
        """As `invalidate` for one key."""
        ...

    async def increment(self, key: str, amount: int = 1, *, ttl_s: float) -> int:
        """The sum so far, this `amount` with it; `ttl_s` counts from the first. Atomic for all
        processes.

        Sums have keys of their own: `get` doesn't see them; `delete` and `invalidate` end them.

        Raises:
            KeyRefused, TtlRefused, CountRefused, CacheAway
        """
        ...

    async def get_or_load(
        self, key: str, load: Load, *, ttl_s: float, absent_ttl_s: float
    ) -> bytes | None:
        """The value, loaded by `load()` if it is not there: by exactly one of all that miss at once
        here.

        `load` returns None for what does not exist, which is kept for `absent_ttl_s`. What was
        invalidated while `load` ran is returned to those who waited, and not kept; who comes after
        the invalidation does not wait for it. What `load` raises is raised by all that wait, and
        not kept. It is cancelled when all who wait are. If the cache is away, `load` is called, for
        one key one after another. A load must not ask for its own key.

        Raises:
            KeyRefused, ValueTooLarge, TtlRefused, and what `load` raises.
        """
        ...

    async def invalidate(self, keys: Sequence[str]) -> None:
        """Take `keys` back: after this returns, no process answers with what was put or loaded
        before.

        Returns when every near cache has let go, or the lease of LEASE_S of those that did not
        answer has run out; a load that began before, here or in another process, is not kept.

        Raises:
            KeyRefused
            CacheAway: not taken back everywhere, so that others may still answer: call again. It is
                owed, too: done when this process reaches the server the next time, if it lives on.
                Near caches that the server is away from are silent after LEASE_S.
        """
        ...

    async def health(self) -> None:
        """
        Raises:
            CacheAway
        """
        ...
