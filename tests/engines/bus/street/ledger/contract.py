"""What others may know of the ledger."""

from typing import ClassVar

from bastide.base.events import Event, EventTopic


class Copied(Event, frozen=True):
    """One of the pages of a book was copied; `left` are to be copied yet."""

    kind: ClassVar[str] = "copied"

    book: str
    left: int

    @property
    def key(self) -> str:
        return self.book


COPIES = EventTopic("ledger.copies", (Copied,))
