"""The fault points (base.faults) that a node's code reaches: counted, and armed for once."""

from collections import Counter
from collections.abc import Callable
from typing import Any


class Points(dict[str, Callable[[], None]]):
    """A runtime's `faults` that is never empty, so that every point is looked up, and counted."""

    def __init__(self, reached: Counter[str]) -> None:
        super().__init__()
        self._reached = reached

    def __bool__(self) -> bool:
        return True

    def get(self, key: str, default: Any = None) -> Any:
        self._reached[key] += 1
        return super().get(key, default)

    def arm(self, point: str, happens: Callable[[], None]) -> None:
        def once() -> None:
            self.pop(point, None)
            happens()

        self[point] = once

    def disarm(self) -> None:
        self.clear()
