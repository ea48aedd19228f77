"""The buses of all clients, for who looks at them together, and puts right what is dead."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec

from bastide.base.errors import Conflict, Limited, NotFound, Unavailable
from bastide.base.events import EventTopic
from bastide.base.manifest import Manifest, Use
from bastide.engines.bus.contract import DeadLetterMissing, DeadLetterSettled, EventRefused
from bastide.engines.bus.core.letters import Shelved, dead_topic_of, reason_of
from bastide.engines.bus.model import Heard, Outlet, Published
from bastide.engines.bus.service.bus import ClientBus
from bastide.engines.bus.service.letters import PAGE_MAX

DEAD_COUNTED_MAX = 20  # of the newest, those that wait

_TOLD = (DeadLetterMissing, DeadLetterSettled, EventRefused, Unavailable, Limited)


@asynccontextmanager
async def open_hub(use: Use) -> AsyncIterator["Hub"]:
    yield Hub(use.town.manifests)


class Shelf(msgspec.Struct, frozen=True):
    """Dead letters, the newest first. `next`: older ones are before this offset; None: there are
    none.
    """

    items: Sequence[Shelved]
    next: int | None


class Hub:
    def __init__(self, manifests: Sequence[Manifest]) -> None:
        self._manifests = manifests
        self._buses: dict[str, ClientBus] = {}

    @property
    def buses(self) -> Mapping[str, ClientBus]:
        """By client."""
        return self._buses

    def add(self, bus: ClientBus) -> None:
        self._buses[bus.client] = bus

    def of(self, client: str) -> ClientBus:
        """
        Raises:
            NotFound
        """
        if not self._buses:
            raise NotFound(f"no system is on this bus, nor {client!r}: does the town run?")
        if client not in self._buses:
            known = ", ".join(sorted(self._buses))
            raise NotFound(f"no system {client!r} is on the bus; these are: {known}")
        return self._buses[client]

    # --- reads ----------------------------------------------------------------------------------

    def outlets(self) -> Sequence[Outlet]:
        """By client."""
        return [self._buses[name].outlet() for name in sorted(self._buses)]

    async def heard(self) -> Sequence[Heard]:
        """By client and group."""
        found = [one for bus in self._buses.values() for one in await bus.heard()]
        return sorted(found, key=lambda one: (one.client, one.group))

    def published(self) -> Sequence[Published]:
        """Every topic of this town that events come in, by name; also those of dead letters."""
        found = [
            Published(bus.client, topic, self._groups_of(topic))
            for bus in self._buses.values()
            for topic in (*bus.topics, dead_topic_of(bus.client))
        ]
        return sorted(found, key=lambda one: one.topic.name)

    def topic(self, name: str) -> Published:
        """
        Raises:
            NotFound
        """
        for one in self.published():
            if one.topic.name == name:
                return one
        raise NotFound(f"no system of this town publishes in {name!r}")

    def _groups_of(self, topic: EventTopic) -> Sequence[str]:
        return [
            f"{manifest.name}.{row.group}"
            for manifest in self._manifests
            for row in manifest.consumes
            if row.topic.name == topic.name
        ]

    # --- dead letters ---------------------------------------------------------------------------

    async def shelf(self, client: str, *, before: int | None = None, limit: int = 50) -> Shelf:
        """
        Raises:
            NotFound, Unavailable
        """
        items = await self._before(client, before, limit)
        if not items:
            return Shelf(items, None)
        last = items[-1].offset
        return Shelf(items, last if await self._before(client, last, 1) else None)

    async def _before(self, client: str, before: int | None, limit: int) -> Sequence[Shelved]:
        """A log of another's may have what is no letter between them: it is passed over, up to a
        page of it.
        """
        letters = self.of(client).letters
        found = await letters.page(before=before, limit=limit)
        return found or (await letters.page(before=before, limit=PAGE_MAX))[:limit]

    async def letter(self, client: str, offset: int) -> Shelved:
        """
        Raises:
            NotFound, DeadLetterMissing, Unavailable
        """
        for one in await self.of(client).letters.page(before=offset + 1, limit=1):
            if one.offset == offset:
                return one
        raise DeadLetterMissing(f"{client} has no dead letter {offset}, or the log dropped it")

    async def dead(self, client: str) -> int | None:
        """How many of the newest DEAD_COUNTED_MAX dead letters wait; None while the log or the
        database is away.
        """
        try:
            found = await self.of(client).letters.page(limit=DEAD_COUNTED_MAX)
        except Unavailable:
            return None
        return sum(one.state == "waiting" for one in found)

    async def replay(self, client: str, offset: int) -> None:
        """The event of the dead letter has its effect now.

        Raises:
            NotFound, DeadLetterMissing, DeadLetterSettled, EventRefused, Unavailable, Limited.
            Conflict: its handler failed again; it stays a dead letter.
        """
        letters = self.of(client).letters
        try:
            await letters.replay(offset)
        except _TOLD:
            raise
        except Exception as error:
            told = f"the dead letter {offset} failed again, and stays: {reason_of(error)}"
            raise Conflict(told) from error

    async def discard(self, client: str, offset: int) -> None:
        """The event of the dead letter never has an effect.

        Raises:
            NotFound, DeadLetterMissing, DeadLetterSettled, Unavailable
        """
        await self.of(client).letters.discard(offset)
