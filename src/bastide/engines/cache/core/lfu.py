"""LFU: what was used least often goes; of those, what was not used for the longest time. A peer.

    uses   1: E, F      2: D      7: B      40: A         the first of the lowest row goes: E

What was popular once stays long after, for its count is never forgotten. O(1) by a row for each
count. Source: Shah, Mitra, Matani, "An O(1) algorithm for implementing the LFU cache eviction
scheme", 2010.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")


class Lfu(Generic[V]):
    """`core.bounded.Bounded`."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes_used = 0
        self._entries: dict[str, tuple[V, int]] = {}
        self._uses: dict[str, int] = {}
        self._rows: dict[int, OrderedDict[str, None]] = {}
        self._lowest = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> V | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._count(key)
        return entry[0]

    def put(self, key: str, value: V, bytes_: int) -> None:
        uses = self._uses.get(key, 0)
        self.remove(key)
        if bytes_ > self.bytes_max:
            return
        while self.bytes_used + bytes_ > self.bytes_max:
            self.remove(next(iter(self._rows[self._lowest])))
        self._entries[key] = (value, bytes_)
        self.bytes_used += bytes_
        self._enter(key, uses + 1)

    def remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes_used -= entry[1]
            self._leave(key)

    def _count(self, key: str) -> None:
        uses = self._uses[key]
        self._leave(key)
        self._enter(key, uses + 1)

    def _enter(self, key: str, uses: int) -> None:
        self._uses[key] = uses
        self._rows.setdefault(uses, OrderedDict())[key] = None
        self._lowest = min(self._lowest or uses, uses)

    def _leave(self, key: str) -> None:
        uses = self._uses.pop(key)
        del self._rows[uses][key]
        if not self._rows[uses]:
            del self._rows[uses]
            if uses == self._lowest:
                self._lowest = min(self._rows, default=0)
