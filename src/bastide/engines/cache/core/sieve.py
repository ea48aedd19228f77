"""SIEVE: one queue, one bit an entry, one hand. A peer.

Idea: a hit sets the entry's bit and moves nothing. The hand walks from the oldest entry to the
newest; an entry whose bit is set loses it and stays where it is, the first whose bit is not set
goes. New entries enter at the head, and the hand goes on from where it stopped: so it soon passes
over those that are new, and throws out at once what was asked for only once (scans), while what is
used often sinks to the tail and stays there.

      head (newest)                              tail (oldest)
        G:0 ── F:0 ── E:1 ── D:0 ── C:1 ── B:1 ── A:0
                              ^hand
      a miss: D goes; the hand now stands on E, and will clear its bit and look at F

A hit costs a look-up and a flag, without moving anything; a miss O(1), amortised: each step of the
hand clears a bit that a hit has set.
Source: Zhang, Yang, Yue, Vigfusson, Rashmi, "SIEVE is Simpler than LRU", NSDI 2024, section 3.1.
Differs from it: entries have sizes, so the hand goes on until the new one fits; a put over an entry
keeps its place, and counts as a use.
"""

from typing import Generic, TypeVar

V = TypeVar("V")


class Node(Generic[V]):
    """An entry in the queue. `newer` leads to the head, `older` to the tail."""

    __slots__ = ("bytes_", "key", "newer", "older", "used", "value")

    def __init__(self, key: str, value: V, bytes_: int) -> None:
        self.key = key
        self.value = value
        self.bytes_ = bytes_
        self.used = False
        self.newer: Node[V] | None = None
        self.older: Node[V] | None = None


class Sieve(Generic[V]):
    """`core.bounded.Bounded`."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes_used = 0
        self._nodes: dict[str, Node[V]] = {}
        self._head: Node[V] | None = None
        self._tail: Node[V] | None = None
        self._hand: Node[V] | None = None

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, key: str) -> V | None:
        node = self._nodes.get(key)
        if node is None:
            return None
        node.used = True
        return node.value

    def put(self, key: str, value: V, bytes_: int) -> None:
        if bytes_ > self.bytes_max:
            self.remove(key)
            return
        node = self._nodes.get(key)
        if node is None:
            self._make_room(bytes_)
            self._enter(Node(key, value, bytes_))
        else:
            self.bytes_used += bytes_ - node.bytes_
            node.value, node.bytes_, node.used = value, bytes_, True
            self._make_room(0)

    def remove(self, key: str) -> None:
        node = self._nodes.get(key)
        if node is not None:
            self._leave(node)

    def _make_room(self, bytes_: int) -> None:
        while self.bytes_used + bytes_ > self.bytes_max:
            hand = self._hand or self._tail
            assert hand is not None, "an empty cache has room"
            while hand.used:
                hand.used = False
                hand = hand.newer or self._tail
                assert hand is not None, "the tail is there as long as anything is"
            self._hand = hand
            self._leave(hand)

    def _enter(self, node: Node[V]) -> None:
        node.older = self._head
        if self._head is None:
            self._tail = node
        else:
            self._head.newer = node
        self._head = node
        self._nodes[node.key] = node
        self.bytes_used += node.bytes_

    def _leave(self, node: Node[V]) -> None:
        """Out of the queue. A hand that stood on it goes on to the next."""
        if node is self._hand:
            self._hand = node.newer
        if node.newer is None:
            self._head = node.older
        else:
            node.newer.older = node.older
        if node.older is None:
            self._tail = node.newer
        else:
            node.older.newer = node.newer
        node.newer = node.older = None  # no circle is left to the garbage collector
        del self._nodes[node.key]
        self.bytes_used -= node.bytes_
