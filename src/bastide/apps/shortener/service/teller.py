"""What becomes of links, told on the bus, in the transaction in which it becomes so.

An end that comes by itself is told by whoever comes by: `announce_ended` goes through the ends in
order, and keeps in the database how far it is. An end that is set into the past, below that, is
told at once.
"""

from collections.abc import Sequence
from math import inf

from bastide.apps.shortener.contract import (
    LINKS,
    Link,
    LinkChanged,
    LinkCreated,
    LinkEnded,
    LinkEvent,
    LinkRemoved,
    LinkSwitchedOff,
)
from bastide.apps.shortener.tables import (
    ENDED_AFTER,
    ENDED_BEGIN,
    ENDED_MOVE,
    ENDED_UNTIL,
    ENDS_NEXT,
    Ended,
)
from bastide.base.rt import runtime
from bastide.base.tx import Tx
from bastide.engines.bus.contract import Bus
from bastide.engines.sql.contract import Database

ANNOUNCED_MAX = 100  # in one transaction
_NEVER = 1 << 63
LOOK_S = 60.0  # for ends of links that another process has made


class Teller:
    def __init__(self, db: Database, bus: Bus) -> None:
        self._db = db
        self._bus = bus
        self._next_ms = 0  # no link of ours ends before
        self._looked_s = -inf

    async def created(self, tx: Tx, links: Sequence[Link]) -> None:
        events = [
            LinkCreated(
                link.code,
                str(link.id),
                link.created_at_ms,
                target=link.target,
                owner=link.owner,
                expires_at_ms=link.expires_at_ms,
            )
            for link in links
        ]
        self._next_ms = min(self._next_ms, *(link.expires_at_ms for link in links), _NEVER)
        await self._bus.publish(tx, LINKS, *events)

    async def changed(self, tx: Tx, before: Link, after: Link) -> None:
        code, link_id, now_ms = after.code, str(after.id), runtime.now_ms()
        events: list[LinkEvent] = [LinkChanged(code, link_id, now_ms)]
        if after.disabled and not before.disabled:
            events.append(LinkSwitchedOff(code, link_id, now_ms, by="owner"))
        if after.blocked and not before.blocked:
            events.append(LinkSwitchedOff(code, link_id, now_ms, by="operator"))
        if after.expires_at_ms != before.expires_at_ms:
            self._next_ms = min(self._next_ms, after.expires_at_ms)
            if await self._is_past(tx, after):
                events.append(LinkEnded(code, link_id, now_ms))
        await self._bus.publish(tx, LINKS, *events)

    async def deleted(self, tx: Tx, links: Sequence[Link]) -> None:
        now_ms = runtime.now_ms()
        events = [LinkRemoved(link.code, str(link.id), now_ms) for link in links]
        await self._bus.publish(tx, LINKS, *events)

    async def announce_ended(self) -> None:
        """Tells of the links that have ended since it was last called, here or elsewhere.

        Raises:
            Unavailable
        """
        now_s, now_ms = runtime.monotonic(), runtime.now_ms()
        if now_ms < self._next_ms and now_s - self._looked_s < LOOK_S:
            return
        self._looked_s, self._next_ms = now_s, _NEVER
        try:
            while await self._db.transact(self._announce) == ANNOUNCED_MAX:
                pass
            if (next_ms := await self._db.one(ENDS_NEXT, now_ms=now_ms)) is not None:
                self._next_ms = min(self._next_ms, next_ms)
        except BaseException:
            self._next_ms = 0
            raise

    async def _announce(self, tx: Tx) -> int:
        now_ms = runtime.now_ms()
        until = await tx.one(ENDED_UNTIL)
        if until is None:  # of what ended before there was anybody to tell, nobody is told
            await tx.run(ENDED_BEGIN, at_ms=now_ms)
            return 0
        ended = await tx.fetch(
            ENDED_AFTER,
            at_ms=until.at_ms,
            link_id=until.link_id,
            now_ms=now_ms,
            limit=ANNOUNCED_MAX,
        )
        if ended:
            last = ended[-1]
            events = [LinkEnded(one.code, str(one.link_id), one.at_ms) for one in ended]
            await self._bus.publish(tx, LINKS, *events)
            await tx.run(ENDED_MOVE, to_ms=last.at_ms, to_link_id=last.link_id)
        return len(ended)

    async def _is_past(self, tx: Tx, link: Link) -> bool:
        """Whether its end lies where `announce_ended` has been."""
        until = await tx.one(ENDED_UNTIL)
        if until is None:
            return link.expires_at_ms <= runtime.now_ms()
        return Ended(link.expires_at_ms, link.id) <= until
