"""What a backend is to the front."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

import msgspec


class Ears(Protocol):
    """What a carrier tells the front, which never waits and never raises."""

    def hear(self, pattern: str, channel: str, value: bytes) -> None:
        """A message on a channel that matches `pattern`, which is listened to."""
        ...

    def lose(self, reason: str) -> None:
        """Nothing is listened to any more, and messages may be lost."""
        ...


class Carrier(Protocol):
    """One client's channels on a backend: `PubSub` without what all backends share. What it can't
    do it refuses with PubSubAway.
    """

    async def publish(self, channel: str, value: bytes) -> None: ...

    async def listen(self, pattern: str) -> None:
        """From its return on, whatever matches is heard, until `unlisten` or `Ears.lose`. Listening
        twice is as once.
        """
        ...

    def unlisten(self, pattern: str) -> None:
        """Waits for nothing. Something that was on its way may still be heard."""
        ...

    async def health(self) -> None: ...


@runtime_checkable
class PubSubBackend(Protocol):
    """What one URL names."""

    def carrier(self, client: str, ears: Ears) -> AbstractAsyncContextManager[Carrier]:
        """Asked for once by each client: its channels are apart from those of all others."""
        ...


class MemoryOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`memory://` has none."""
