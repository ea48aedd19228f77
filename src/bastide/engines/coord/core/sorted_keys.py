"""Keys in their order, in blocks.

    lasts    [        "f"        |      "m"       |     "z"     ]      the last key of each block
    blocks   ["a" "b" "d" "f"]    ["g" "k" "m"]    ["p" "z"]

Looking up is two bisections, and putting in moves at most one block's pointers, which is a memory
move of 4 KiB: cheaper in Python than any tree's nodes, up to some millions of keys. A block that is
full is cut in two, and one that is empty goes; blocks are not joined, since keys that went mostly
come back. The idea is that of the package sortedcontainers, without what it does beyond this.
"""

from bisect import bisect_left, bisect_right, insort

BLOCK_MAX = 1024


class SortedKeys:
    """A set of keys. `add` and `discard` cost O(block), ranks O(blocks)."""

    def __init__(self) -> None:
        self._blocks: list[list[bytes]] = []
        self._lasts: list[bytes] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, key: bytes) -> None:
        """It is not there yet."""
        if not self._blocks:
            self._blocks.append([key])
            self._lasts.append(key)
        else:
            n = min(bisect_left(self._lasts, key), len(self._lasts) - 1)
            block = self._blocks[n]
            insort(block, key)
            self._lasts[n] = block[-1]
            if len(block) > BLOCK_MAX:
                self._cut(n)
        self._count += 1

    def _cut(self, n: int) -> None:
        block, half = self._blocks[n], BLOCK_MAX // 2
        self._blocks[n : n + 1] = [block[:half], block[half:]]
        self._lasts[n : n + 1] = [block[half - 1], block[-1]]

    def discard(self, key: bytes) -> None:
        """Gone, also if it was not there."""
        n = bisect_left(self._lasts, key)
        if n == len(self._lasts):
            return
        block = self._blocks[n]
        at = bisect_left(block, key)
        if block[at] != key:
            return
        del block[at]
        self._count -= 1
        if block:
            self._lasts[n] = block[-1]
        else:
            del self._blocks[n], self._lasts[n]

    def count(self, first: bytes, end: bytes | None) -> int:
        """How many there are from `first` up to `end` (exclusive; None: to the last)."""
        above = self._count if end is None else self._rank(end)
        return max(above - self._rank(first), 0)

    def _rank(self, key: bytes) -> int:
        n = bisect_left(self._lasts, key)
        if n == len(self._lasts):
            return self._count
        return sum(map(len, self._blocks[:n])) + bisect_left(self._blocks[n], key)

    def slice(self, first: bytes, end: bytes | None, limit: int = 0) -> list[bytes]:
        """Those of `count`, in order; the first `limit`, if it is not 0."""
        found: list[bytes] = []
        n = bisect_left(self._lasts, first)
        at = bisect_left(self._blocks[n], first) if n < len(self._blocks) else 0
        while n < len(self._blocks) and not (limit and len(found) >= limit):
            block = self._blocks[n]
            if end is not None and end <= block[-1]:
                found += block[at : bisect_left(block, end)]
                break
            found += block[at:]
            n, at = n + 1, 0
        return found[:limit] if limit else found

    def behind(self, key: bytes, limit: int) -> list[bytes]:
        """The next `limit` that are greater than `key`."""
        n = bisect_right(self._lasts, key)
        if n == len(self._lasts):
            return []
        found = self._blocks[n][bisect_right(self._blocks[n], key) :]
        while len(found) < limit and n + 1 < len(self._blocks):
            n += 1
            found += self._blocks[n]
        return found[:limit]
