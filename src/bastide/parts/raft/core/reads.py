"""Reads that see every write which was acknowledged before they were asked for (thesis 6.4).

    read ──► waits until the leader has committed in its term ──► index = committed, a round begins
             a quorum echoes the round: nobody led after it began ──► answered at that index

A round is a number that every Append carries and every answer echoes. Reads that come between two
Readies share one, so a read costs no message of its own under load. A lease (6.4.1) needs no round:
what a quorum echoed of a round that began at t keeps others from being elected until
t + election_s, for who heard a leader grants no vote so long. It counts from when the round began,
not from when the echo came, and so a pause between the two can only shorten it.

A follower asks its leader. The token of such an ask is drawn anew for each life of the node, so
that an answer to what was asked before a restart is never taken for another's.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from math import inf

from bastide.parts.raft.contract import NodeId, Options, ReadsOver

ROUNDS_KEPT_MAX = 4_096

Asked = tuple[NodeId, int]
"""Who asked, 0 for this node's host, and the token."""


class Rounds:
    """When each round began, as far back as `kept_s`. Of too many every second one is forgotten; it
    is then as if it had begun with the one before it, which promises less.
    """

    def __init__(self, kept_s: float) -> None:
        self.number = 0
        self._kept_s = kept_s
        self._numbers: list[int] = []
        self._began: list[float] = []

    def begin(self, now_s: float) -> None:
        if len(self._numbers) >= ROUNDS_KEPT_MAX:
            self._forget(now_s - self._kept_s)
        self.number += 1
        self._numbers.append(self.number)
        self._began.append(now_s)

    def _forget(self, before_s: float) -> None:
        old = bisect_left(self._began, before_s)
        del self._numbers[:old], self._began[:old]
        if len(self._numbers) > ROUNDS_KEPT_MAX // 2:
            del self._numbers[1::2], self._began[1::2]

    def began_s(self, number: int) -> float | None:
        """None: it is too long ago to be known."""
        place = bisect_right(self._numbers, number)
        return self._began[place - 1] if place else None


class LeaderReads:
    """What a leader was asked, in order."""

    def __init__(self, reads_max: int) -> None:
        self._reads_max = reads_max
        self._waiting: list[Asked] = []
        self._asked: deque[tuple[int, int, list[Asked]]] = deque()  # round, index, who
        self._count = 0

    @property
    def is_full(self) -> bool:
        return self._count >= self._reads_max

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting)

    def add(self, asked: Asked) -> None:
        self._waiting.append(asked)
        self._count += 1

    def begin(self, number: int, index: int) -> None:
        """All that wait are answered at `index` once the round is confirmed."""
        self._asked.append((number, index, self._waiting))
        self._waiting = []

    def confirmed(self, number: int) -> Iterator[tuple[int, Asked]]:
        """What may be answered since a quorum echoed round `number`, with its index."""
        while self._asked and self._asked[0][0] <= number:
            _, index, group = self._asked.popleft()
            self._count -= len(group)
            for asked in group:
                yield index, asked

    @property
    def oldest_round(self) -> int | None:
        return self._asked[0][0] if self._asked else None

    def dropped(self) -> Iterator[Asked]:
        """All that is here; the leader has fallen."""
        for _, _, group in self._asked:
            yield from group
        yield from self._waiting


class FollowerReads:
    """What a node asked its leader for, by the token on the wire, and until when it waits."""

    def __init__(self, options: Options, *, first: int) -> None:
        self._options = options
        self._next = first
        self._asked: dict[int, tuple[int, float]] = {}

    def add(self, token: int, now_s: float) -> int:
        """The token on the wire. An answer is waited for as long as a leader may be silent."""
        if len(self._asked) >= self._options.reads_max:
            raise ReadsOver(self._options.reads_max)
        self._next += 1
        self._asked[self._next] = (token, now_s + self._options.election_s)
        return self._next

    def answered(self, wire_token: int) -> int | None:
        asked = self._asked.pop(wire_token, None)
        return asked[0] if asked is not None else None

    @property
    def due_s(self) -> float:
        return next(iter(self._asked.values()))[1] if self._asked else inf

    def dropped(self, now_s: float) -> Iterable[int]:
        """What is not waited for any more."""
        if now_s < self.due_s:
            return ()
        old = [wire for wire, (_, due_s) in self._asked.items() if due_s <= now_s]
        return [self._asked.pop(wire)[0] for wire in old]
