"""LRU: what was not used for the longest time goes. A peer, to measure against.

    oldest use ── A ── B ── C ── D ── newest use         get(B):   A ── C ── D ── B

One scan over more keys than fit throws out all that is used often. A hit moves its entry: O(1).
"""

from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")


class Lru(Generic[V]):
    """`core.bounded.Bounded`."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes_used = 0
        self._entries: OrderedDict[str, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> V | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: str, value: V, bytes_: int) -> None:
        self.remove(key)
        if bytes_ > self.bytes_max:
            return
        while self.bytes_used + bytes_ > self.bytes_max:
            _, (_, freed) = self._entries.popitem(last=False)
            self.bytes_used -= freed
        self._entries[key] = (value, bytes_)
        self.bytes_used += bytes_

    def remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes_used -= entry[1]
