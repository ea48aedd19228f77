"""Virtual time: one heap of events, and the network that messages cross.

An event belongs to the world (a cut, the end of a disk's sync) or to a node. What belongs to a
node is dropped if the node fell before its time, and kept back while it is paused. Two events at
one time happen in the order in which they were asked for, so that all follows from the seed.

An event costs the heap some 2 us, beside what it does.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from math import log
from typing import Any

from bastide.base.rt.runtime import Chance
from bastide.parts.raft.contract import AnyMessage, NodeId
from bastide.parts.raft.sim.node import Node
from bastide.parts.raft.sim.plan import Net

ANY_LIFE = -1


class Fell(Exception):
    """A node crashed in the middle of what it did; what is left of it is not done."""


class World:
    """`tell` is given each line of the story; without it none is made."""

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self.now_s = 0.0
        self.events = 0
        self.digest = 0  # of all times and their order: equal in two runs of one seed
        self.tell = tell
        self._heap: list[tuple[float, int, Node | None, int, Callable[..., None], Any]] = []
        self._asked = 0

    def at(self, when_s: float, do: Callable[..., None], *args: object) -> None:
        self._asked += 1
        heappush(self._heap, (when_s, self._asked, None, 0, do, args))

    def at_node(
        self, when_s: float, host: Node, life: int, do: Callable[..., None], *args: object
    ) -> None:
        """`life` is the one that the event is for, or ANY_LIFE."""
        self._asked += 1
        heappush(self._heap, (when_s, self._asked, host, life, do, args))

    def run_until(self, until_s: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= until_s:
            self.now_s, place, host, life, do, args = heappop(heap)
            self.events += 1
            self.digest = hash((self.digest, self.now_s, place))
            if host is None:
                do(*args)
            else:
                host.act(life, do, args)
        self.now_s = until_s

    def say(self, text: str) -> None:
        if self.tell is not None:
            self.tell(f"{self.now_s:9.4f}  {text}")


class Network:
    """Directed links between nodes. `cuts` are those that nothing passes."""

    def __init__(self, world: World, net: Net, chance: Chance) -> None:
        self.net = net
        self.hosts: dict[NodeId, Node] = {}
        self.cuts: set[tuple[NodeId, NodeId]] = set()
        self._world = world
        self._random = chance.random
        self._latest: dict[tuple[NodeId, NodeId], float] = {}

    def send(self, message: AnyMessage) -> None:
        link = (message.sender, message.to)
        net = self.net
        if link in self.cuts or (net.loss and self._random.random() < net.loss):
            if self._world.tell is not None:
                self._world.say(f"lost: {told(message)}")
            return
        self._deliver(link, message)
        if net.doubled and self._random.random() < net.doubled:
            self._deliver(link, message)

    def heal(self) -> None:
        self.cuts.clear()
        self.net = Net()

    def _deliver(self, link: tuple[NodeId, NodeId], message: AnyMessage) -> None:
        host = self.hosts.get(message.to)
        if host is None:
            return
        net = self.net
        when_s = self._world.now_s + net.delay_s - net.jitter_s * log(1.0 - self._random.random())
        if net.late_share and self._random.random() < net.late_share:
            when_s += net.late_s * self._random.random()
        elif net.is_ordered:
            when_s = max(when_s, self._latest.get(link, 0.0))
            self._latest[link] = when_s
        self._world.at_node(when_s, host, ANY_LIFE, host.receive, message)


def told(message: AnyMessage) -> str:
    """`n1 > n2 Append(term 3, ...)`, short enough for a line."""
    fields = (
        f"{name} {len(value) if isinstance(value, tuple | bytes) else value}"
        for name in message.__struct_fields__
        if name not in ("to", "sender", "mark") and (value := getattr(message, name)) is not None
    )
    kind = type(message).__name__
    return f"n{message.sender} > n{message.to} {kind}({', '.join(fields)})"
