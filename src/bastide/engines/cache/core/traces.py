"""Requests as they are made up to compare ways of eviction: keys by popularity, scans, change, a
loop.

zipf      the nth most popular key is asked for 1/n^s as often as the first
scan      zipf 1.0, and every so often all of a run of keys that nobody asks for again
shifting  zipf 1.0 over a window of keys that moves on: what was popular is forgotten
loop      the same keys round and round, a few more than fit: LRU has no hit at all

A seed repeats a trace.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Protocol

SCAN_EVERY = 20_000
SHIFT_EVERY = 2_000


class Chance(Protocol):
    """The part of `random.Random` that is needed."""

    def choices(
        self, population: Sequence[int], *, cum_weights: Sequence[float], k: int
    ) -> list[int]: ...


def zipf(chance: Chance, *, keys: int, length: int, skew: float) -> Sequence[int]:
    return chance.choices(range(keys), cum_weights=_popularity(keys, skew), k=length)


def scan(chance: Chance, *, keys: int, length: int, scan_keys: int) -> Sequence[int]:
    return list(_with_scans(zipf(chance, keys=keys, length=length, skew=1.0), keys, scan_keys))


def _with_scans(asked: Sequence[int], first: int, scan_keys: int) -> Iterator[int]:
    for n, key in enumerate(asked, start=1):
        yield key
        if n % SCAN_EVERY == 0:
            yield from range(first, first + scan_keys)
            first += scan_keys


def shifting(chance: Chance, *, keys: int, length: int, step: int) -> Sequence[int]:
    ranks = zipf(chance, keys=keys, length=length, skew=1.0)
    return [rank + step * (n // SHIFT_EVERY) for n, rank in enumerate(ranks)]


def loop(*, keys: int, length: int) -> Sequence[int]:
    return [n % keys for n in range(length)]


def _popularity(keys: int, skew: float) -> Sequence[float]:
    return list(accumulate(1 / n**skew for n in range(1, keys + 1)))
