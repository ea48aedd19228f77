"""What the operator decides: codes that nobody gets, links that were reported, links that are
blocked.
"""

import msgspec

from bastide.apps.shortener.contract import (
    REPORTS_MAX,
    CodeReserved,
    CodeTaken,
    Link,
    ReportsOver,
)
from bastide.apps.shortener.core.codes import check_custom
from bastide.apps.shortener.core.owners import there
from bastide.apps.shortener.model import Report, Reserved
from bastide.apps.shortener.service.lookup import Lookup
from bastide.apps.shortener.service.teller import Teller
from bastide.apps.shortener.tables import (
    CODES_TAKEN,
    LINK_BLOCK,
    LINK_BY_CODE,
    REPORT_ADD,
    REPORTS_AFTER,
    REPORTS_DELETE,
    REPORTS_OF,
    RESERVED_ADD,
    RESERVED_AFTER,
    RESERVED_DROP,
)
from bastide.base.rt import runtime
from bastide.base.tx import Duplicate, Page, Tx
from bastide.engines.ids.contract import Ids
from bastide.engines.sql.contract import Database


class Moderation:
    def __init__(self, db: Database, ids: Ids, lookup: Lookup, teller: Teller) -> None:
        self._db = db
        self._ids = ids
        self._lookup = lookup
        self._teller = teller

    async def reserve(self, code: str, *, reserved_by: str) -> Reserved:
        """Nobody gets `code` from now on. Who has reserved it first stays.

        Raises:
            CodeWrong.
            CodeTaken: a link has it. CodeReserved: it is.
        """
        check_custom(code)
        made = Reserved(code, reserved_by, runtime.now_ms())

        async def body(tx: Tx) -> Reserved:
            if await tx.one(CODES_TAKEN, codes=[code]):
                raise CodeTaken(code)
            await tx.run(RESERVED_ADD, **msgspec.structs.asdict(made))
            return made

        try:
            return await self._db.transact(body)
        except Duplicate as error:
            raise CodeReserved(code) from error

    async def unreserve(self, code: str) -> None:
        await self._db.write(RESERVED_DROP, code=code)

    async def list_reserved(self, *, cursor: str | None = None, limit: int = 50) -> Page[Reserved]:
        return await self._db.page(
            RESERVED_AFTER, lambda one: one.code, first="", cursor=cursor, limit=limit
        )

    async def report(self, code: str, reason: str) -> None:
        """Tells the operator that the link leads to something bad.

        Raises:
            LinkMissing, LinkDeleted.
            ReportsOver: REPORTS_MAX wait.
        """
        report_id, now_ms = self._ids.new(), runtime.now_ms()

        async def body(tx: Tx) -> None:
            link = there(code, await tx.one(LINK_BY_CODE, code=code))
            if (await tx.one(REPORTS_OF, link_id=link.id) or 0) >= REPORTS_MAX:
                raise ReportsOver(f"{REPORTS_MAX} reports of {code!r} wait already")
            await tx.run(
                REPORT_ADD, id=report_id, link_id=link.id, reason=reason, reported_at_ms=now_ms
            )

        await self._db.transact(body)

    async def list_reports(self, *, cursor: str | None = None, limit: int = 50) -> Page[Report]:
        """Those that wait, the oldest first."""
        return await self._db.page(
            REPORTS_AFTER, lambda one: one.id, first=0, cursor=cursor, limit=limit
        )

    async def dismiss_reports(self, code: str) -> None:
        """All that wait for this link.

        Raises:
            LinkMissing, LinkDeleted.
        """

        async def body(tx: Tx) -> None:
            link = there(code, await tx.one(LINK_BY_CODE, code=code))
            await tx.run(REPORTS_DELETE, link_id=link.id)

        await self._db.transact(body)

    async def block(self, code: str) -> Link:
        """Nobody is redirected from now on, whatever its owner does.

        Raises:
            LinkMissing, LinkDeleted. Unavailable, as `Shortener.change`.
        ."""
        return await self._set_blocked(code, blocked=True)

    async def unblock(self, code: str) -> Link:
        return await self._set_blocked(code, blocked=False)

    async def _set_blocked(self, code: str, *, blocked: bool) -> Link:
        async def body(tx: Tx) -> Link:
            link = there(code, await tx.one(LINK_BY_CODE, code=code))
            await tx.run(LINK_BLOCK, link_id=link.id, blocked=blocked)
            after = msgspec.structs.replace(link, blocked=blocked)
            await self._teller.changed(tx, link, after)
            return after

        link = await self._db.transact(body)
        await self._lookup.let_go([code])
        return link
