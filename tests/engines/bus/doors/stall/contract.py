"""What others may know of the stall."""

from typing import ClassVar

from bastide.base.events import Event, EventTopic


class Sold(Event, frozen=True):
    """Something was sold."""

    kind: ClassVar[str] = "sold"

    item: str
    note: str = ""

    @property
    def key(self) -> str:
        return self.item


class Returned(Event, frozen=True):
    kind: ClassVar[str] = "returned"
    version: ClassVar[int] = 2

    item: str


SALES = EventTopic("stall.sales", (Sold, Returned))
