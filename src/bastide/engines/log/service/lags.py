"""How far groups have been behind, of late: a point a group every few seconds, for pages to draw.

Only of partitions that are open, since nothing is opened to be looked at by nobody. A look may take
a hundredth of the time at most: with many groups the points are farther apart.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

from bastide.base.rt import runtime
from bastide.engines.log.service.node import Node

EVERY_S = 2.0
POINTS_MAX = 150  # five minutes
GROUPS_SEEN_MAX = 1_000  # of the others nothing is known
SHARE = 100  # of the time that goes on is taken by looking


class Lags:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._lines: dict[str, deque[int]] = {}
        self.every_s = EVERY_S  # between two points, as it was last

    def line(self, group: str) -> Sequence[int]:
        """Offsets that the group had before it, the oldest first; empty if nobody has looked."""
        return list(self._lines.get(group, ()))

    async def look(self) -> None:
        names = self._node.groups.names()[:GROUPS_SEEN_MAX]
        self._lines = {name: self._lines.get(name, deque(maxlen=POINTS_MAX)) for name in names}
        for name in names:
            lag = self._lag(name)
            if lag is not None:
                self._lines[name].append(lag)
            await asyncio.sleep(0)

    async def keep_looking(self) -> None:
        while True:
            began_s = runtime.monotonic()
            await self.look()
            self.every_s = max(EVERY_S, SHARE * (runtime.monotonic() - began_s))
            await asyncio.sleep(self.every_s)

    def _lag(self, name: str) -> int | None:
        """None: a partition is not open, so it is not known."""
        lag = 0
        for (topic, number), committed in self._node.groups.committed(name).items():
            partition = self._node.broker.opened(topic, number)
            if partition is not None:
                lag += partition.next - max(partition.first, committed.offset)
            elif self._node.broker.has(topic, number):
                return None
        return lag
