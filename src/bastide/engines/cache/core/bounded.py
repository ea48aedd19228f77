"""What every way of eviction is: a mapping that never holds more bytes than it may.

`get` counts as a use. `put` makes room first, and keeps nothing that is larger than all the room
there is. What an entry costs is said by whoever puts it. None of them knows a clock.
"""

from typing import Protocol, TypeVar

V = TypeVar("V")


class Bounded(Protocol[V]):
    @property
    def bytes_used(self) -> int: ...

    def __len__(self) -> int: ...

    def get(self, key: str) -> V | None: ...

    def put(self, key: str, value: V, bytes_: int) -> None: ...

    def remove(self, key: str) -> None:
        """Whether it is there or not."""
        ...
