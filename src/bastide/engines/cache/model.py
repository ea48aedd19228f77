"""What a backend is to the front, and how it is set."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import Annotated, Final, Protocol, runtime_checkable

import msgspec

from bastide.base.fence import Fence
from bastide.parts.redis.contract import RedisOptions


class Absent(Enum):
    """The answer that there is no such thing: it is kept as a value is."""

    ABSENT = b""


ABSENT: Final = Absent.ABSENT
Entry = bytes | Absent
Forget = Callable[[str], None]


class Hearing(Protocol):
    def lasts(self) -> bool:
        """Whether no invalidation can have returned, anywhere, of which `forget` was not told
        here."""
        ...


class Store(Protocol):
    """One client's keys on a backend: `Cache` without what all backends share. Keys, values and
    times are right when they come here.
    """

    @property
    def near_bytes(self) -> int:
        """Held in this process."""
        ...

    def near(self, key: str) -> Entry | None:
        """What may be answered without asking anybody; touches it."""
        ...

    def hearing(self, key: str) -> Hearing:
        """Of invalidations of `key`, from now on."""
        ...

    async def get(self, key: str) -> Entry | None:
        """None: it is not there, or the server is away."""
        ...

    async def put(self, key: str, value: bytes, ttl_s: float, fence: Fence | None = None) -> None:
        """
        Raises:
            Deposed, FencesOver
        """
        ...

    async def begin(self, key: str) -> bytes | None:
        """Before a load: a token that an invalidation of `key` makes worthless. None: don't
        keep it.
        """
        ...

    async def keep(self, key: str, entry: Entry, ttl_s: float, *, token: bytes) -> None:
        """What a load brought, if its token is still worth something."""
        ...

    async def increment(self, key: str, amount: int, ttl_s: float) -> int:
        """
        Raises:
            CountRefused, CacheAway
        """
        ...

    async def invalidate(self, keys: Sequence[str]) -> None:
        """
        Raises:
            CacheAway
        """
        ...

    async def health(self) -> None: ...


@runtime_checkable
class CacheBackend(Protocol):
    """What one URL names."""

    def store(self, client: str, forget: Forget) -> AbstractAsyncContextManager[Store]:
        """The keys of `client`. `forget(key)` is called when another process takes a key back for
        which a load may be running here.
        """
        ...


Bytes = Annotated[int, msgspec.Meta(ge=1 << 20, le=1 << 40)]


class MemoryOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`memory://?bytes_max=67108864`."""

    bytes_max: Annotated[
        Bytes, msgspec.Meta(description="for each client: keys, values and their overhead")
    ] = 64 << 20


class CacheRedisOptions(RedisOptions, frozen=True, forbid_unknown_fields=True):
    """`redis://host?near_bytes_max=16777216`."""

    near_bytes_max: Annotated[
        Bytes, msgspec.Meta(description="of the near cache, for each client")
    ] = 16 << 20
