"""What others may know of the kiosk."""

from typing import ClassVar

from bastide.base.events import Event, EventTopic


class SoldOld(Event, frozen=True):
    """As it was once: without a count."""

    kind: ClassVar[str] = "sold"

    item: str

    @property
    def key(self) -> str:
        return self.item

    def upgraded(self) -> "Sold":
        return Sold(self.item, -1)


class Sold(Event, frozen=True):
    """`number` counts the sales of an item, from 0. The item "" has no order."""

    kind: ClassVar[str] = "sold"
    version: ClassVar[int] = 2

    item: str
    number: int

    @property
    def key(self) -> str:
        return self.item


class Passed(Event, frozen=True):
    """Somebody passed by. There is no row of it."""

    kind: ClassVar[str] = "passed"

    who: str

    @property
    def key(self) -> str:
        return self.who


class Noted(Event, frozen=True):
    """Something was written on the board. It has no key."""

    kind: ClassVar[str] = "noted"

    text: str
    figure: int = 0


SALES = EventTopic("kiosk.sales", (SoldOld, Sold), partitions=3)
PASSERS = EventTopic("kiosk.passers", (Passed,))
NOTES = EventTopic("kiosk.notes", (Noted,))
