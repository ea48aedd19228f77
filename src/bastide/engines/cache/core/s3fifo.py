"""S3-FIFO: a small queue on probation, a main queue with second chances, a list of ghosts.

Idea: most objects are asked for once. They enter the small queue (a tenth of the room) and leave at
its end, unless they were asked for again meanwhile; then they move to the main queue. A ghost is
the bare key of one that left too early: if it is asked for again, it enters the main queue at once.
In the main queue an entry that was used goes round again, up to three times.

            ┌── small, 10 % ──┐  used more than once   ┌──── main, 90 % ────┐
    miss ──>│  C   B   A      │──────────────────────> │  Z   Y   X         │──> gone if unused,
      │     └─────────────────┘                        └────────────────────┘    else round again
      │              └── else: ghosts (keys only) <──┐          ^
      └── is a ghost ────────────────────────────────┴──────────┘

A hit costs a look-up or two and a count, and moves nothing; a miss O(1), amortised: each round of
an entry uses up a hit.
Source: Yang, Zhang, Qiu, Yue, Rashmi, "FIFO Queues are All You Need for Cache Eviction", SOSP 2023,
section 4.1. Differs from it: entries have sizes; ghosts are as many as the main queue has entries,
and are hashes: two keys of one hash may be taken for each other, which costs a wrong guess; a put
over an entry goes to the head of the queue that it was in, with its uses.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")

SMALL_SHARE = 0.1
USES_MAX = 3


class Entry(Generic[V]):
    __slots__ = ("bytes_", "uses", "value")

    def __init__(self, value: V, bytes_: int, uses: int) -> None:
        self.value = value
        self.bytes_ = bytes_
        self.uses = uses


class S3Fifo(Generic[V]):
    """`core.bounded.Bounded`."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._small_bytes_max = int(bytes_max * SMALL_SHARE)
        self._small: OrderedDict[str, Entry[V]] = OrderedDict()
        self._main: OrderedDict[str, Entry[V]] = OrderedDict()
        self._ghosts: OrderedDict[int, None] = OrderedDict()
        self._small_bytes = 0
        self._main_bytes = 0

    @property
    def bytes_used(self) -> int:
        return self._small_bytes + self._main_bytes

    def __len__(self) -> int:
        return len(self._small) + len(self._main)

    def get(self, key: str) -> V | None:
        entry = self._main.get(key)
        if entry is None:
            entry = self._small.get(key)
            if entry is None:
                return None
        if entry.uses < USES_MAX:
            entry.uses += 1
        return entry.value

    def put(self, key: str, value: V, bytes_: int) -> None:
        was_main = key in self._main
        uses = self._removed(key)
        if bytes_ > self.bytes_max:
            return
        while self._small_bytes + self._main_bytes + bytes_ > self.bytes_max:
            self._evict()
        entry = Entry(value, bytes_, uses)
        if was_main or hash(key) in self._ghosts:
            self._ghosts.pop(hash(key), None)
            self._into_main(key, entry)
        else:
            self._small[key] = entry
            self._small_bytes += bytes_

    def remove(self, key: str) -> None:
        self._removed(key)

    def _removed(self, key: str) -> int:
        """How often it was used; 0 if it is not there."""
        if entry := self._small.pop(key, None):
            self._small_bytes -= entry.bytes_
            return entry.uses
        if entry := self._main.pop(key, None):
            self._main_bytes -= entry.bytes_
            return entry.uses
        return 0

    def _evict(self) -> None:
        if self._small and (self._small_bytes > self._small_bytes_max or not self._main):
            self._end_probation()
        else:
            self._evict_main()

    def _end_probation(self) -> None:
        key, entry = self._small.popitem(last=False)
        self._small_bytes -= entry.bytes_
        if entry.uses > 1:
            entry.uses = 0
            self._into_main(key, entry)
            return
        self._ghosts[hash(key)] = None
        while len(self._ghosts) > max(len(self._main), 1):
            self._ghosts.popitem(last=False)

    def _evict_main(self) -> None:
        while True:
            key, entry = self._main.popitem(last=False)
            if not entry.uses:
                self._main_bytes -= entry.bytes_
                return
            entry.uses -= 1
            self._main[key] = entry

    def _into_main(self, key: str, entry: Entry[V]) -> None:
        self._main[key] = entry
        self._main_bytes += entry.bytes_
