"""One timer for all sockets of a server.

Idea: a row of sockets for each quarter of a second ahead. Each socket stands in one row, and says
when it is looked at how long it wants to be left alone. So ten thousand idle ones cost a dictionary
of eighty sets and, at twenty seconds, five hundred looks a second; a timer each would cost a heap.
"""

import asyncio
from typing import Protocol

TICK_S = 0.25


class Watched(Protocol):
    tick: int  # its row; the watch's own

    def look(self) -> float:
        """Do what is due; seconds until the next look, or 0 for none."""
        ...


class Watch:
    """Never early, and late by at most two ticks. There is no timer while nobody is watched."""

    def __init__(self, *, tick_s: float = TICK_S) -> None:
        self._loop = asyncio.get_running_loop()
        self._tick_s = tick_s
        self._rows: dict[int, set[Watched]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def put(self, watched: Watched, after_s: float) -> None:
        """Look at it in `after_s`, and no earlier."""
        self.drop(watched)
        watched.tick = int((self._loop.time() + after_s) / self._tick_s) + 1
        self._rows.setdefault(watched.tick, set()).add(watched)
        if self._timer is None:
            self._timer = self._loop.call_later(self._tick_s, self._turn)

    def drop(self, watched: Watched) -> None:
        row = self._rows.get(watched.tick)
        if row is not None:
            row.discard(watched)

    def _turn(self) -> None:
        # First the next turn: an error below must not leave everybody unwatched.
        self._timer = self._loop.call_later(self._tick_s, self._turn)
        now = int(self._loop.time() / self._tick_s)
        for tick in sorted(tick for tick in self._rows if tick <= now):
            row = self._rows[tick]
            while row:
                watched = row.pop()
                after_s = watched.look()
                if after_s:
                    self.put(watched, after_s)
            del self._rows[tick]
        if not self._rows:
            self._timer.cancel()
            self._timer = None
