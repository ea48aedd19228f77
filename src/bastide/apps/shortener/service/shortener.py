"""The verbs: shorten, follow, manage, count."""

from collections.abc import Sequence

import msgspec

from bastide.apps.shortener.contract import (
    CODE_TRIES_MAX,
    CodeReserved,
    CodesCrowded,
    CodeTaken,
    KeyWrong,
    Link,
    LinkDeleted,
    LinkDisabled,
    LinkExpired,
    LinkMissing,
    Stats,
)
from bastide.apps.shortener.core.clicks import Click
from bastide.apps.shortener.core.codes import check_custom, is_code
from bastide.apps.shortener.core.owners import KEY_BYTES, key_of, owner_of_key
from bastide.apps.shortener.core.targets import Target
from bastide.apps.shortener.model import Change, Counted, Created, Draft, Imported, Owner, Reserved
from bastide.apps.shortener.service.clicks import Clicks
from bastide.apps.shortener.service.importer import Importer, known_links
from bastide.apps.shortener.service.maker import Maker
from bastide.apps.shortener.tables import (
    CODES_TAKEN,
    LINK_ADD,
    LINK_BY_CODE,
    LINK_CHANGE,
    LINK_DELETE,
    LINKS_OF_OWNER,
    RESERVED_ADD,
    RESERVED_AFTER,
    RESERVED_DROP,
    TOTALS_ADD,
    TOTALS_DELETE,
    row_of,
)
from bastide.base.rt import runtime
from bastide.base.tx import Duplicate, Once, Page, Tx
from bastide.engines.sql.contract import Database

ID_ABOVE_ALL = (1 << 63) - 1


class Shortener:
    """Owners are named as in `core.owners`; times are milliseconds since 1970, UTC."""

    def __init__(self, db: Database, maker: Maker, clicks: Clicks, *, base: str) -> None:
        self._db = db
        self._maker = maker
        self._clicks = clicks
        self._importer = Importer(db, maker)
        self._base = base.rstrip("/")

    def address_of(self, code: str) -> str:
        """The short link."""
        return f"{self._base}/{code}"

    async def create(
        self,
        draft: Draft,
        *,
        owner: str | None,
        origin: str = "",
        once: Once[Created] | None = None,
    ) -> Created:
        """A new link; or the newest live one that `owner` has to the same long address, if no
        custom code is asked for.

        Without an owner it is always new and belongs to its manage key, which is in the reply and
        nowhere else. `origin` is the address by which the client reached us.

        Raises:
            TargetRefused, CodeWrong, CodeReserved, CodeTaken.
            OnceMismatch: the key of `once` was used for another request.
            CodesCrowded: CODE_TRIES_MAX made codes in a row were taken.
        """
        target = self._maker.target_of(draft, origin=origin)
        holder = _owner_or_new(owner)
        for attempt in range(CODE_TRIES_MAX):
            link = await self._maker.link(draft, target, holder.name, attempt=attempt)
            try:
                return await self._add(link, target, holder, once)
            except Duplicate as error:
                if link.custom:
                    raise CodeTaken(link.code) from error
            except CodeReserved:
                if link.custom:
                    raise
        raise CodesCrowded(f"{CODE_TRIES_MAX} made codes in a row were taken: set longer codes")

    async def _add(
        self, link: Link, target: Target, holder: Owner, once: Once[Created] | None
    ) -> Created:
        async def body(tx: Tx) -> Created:
            if not link.custom:
                known = await known_links(tx, holder, [target])
                if found := known.get((target.hash, link.permanent)):
                    return Created(found, existing=True)
            if not await tx.run(LINK_ADD, **row_of(link, target.hash)):
                raise CodeReserved(link.code)
            await tx.run(TOTALS_ADD, id=link.id)
            return Created(link, holder.new_key)

        return await self._db.transact(body, once=once)

    async def import_links(
        self,
        drafts: Sequence[Draft],
        *,
        owner: str | None,
        origin: str = "",
        once: Once[Imported] | None = None,
    ) -> Imported:
        """`create` for each of at most IMPORT_LINES_MAX drafts, in one transaction; a bad one is
        refused alone. Without an owner all belong to one new manage key.

        Raises:
            ImportOver, OnceMismatch, CodesCrowded.
        """
        return await self._importer.run(drafts, _owner_or_new(owner), origin=origin, once=once)

    async def follow(self, code: str, *, request_id: str, bot: bool) -> Link:
        """Where to go. Its click is journalled when this returns, so that it counts for good.

        Raises:
            LinkMissing, LinkDeleted, LinkDisabled, LinkExpired.
            Unavailable: the click could not be kept, so nobody may be redirected.
        """
        link = _there(code, await self._found(code))
        now_ms = runtime.now_ms()
        if link.disabled:
            raise LinkDisabled(code)
        if now_ms >= link.expires_at_ms:
            raise LinkExpired(code, expired_at_ms=link.expires_at_ms)
        await self._clicks.record(Click(request_id, link.id, now_ms, bot))
        return link

    async def read(self, code: str, owner: str) -> Link:
        """The link, whatever its state.

        Raises:
            LinkMissing, LinkDeleted.
            KeyWrong: it is somebody else's.
        """
        return _owned(code, await self._found(code), owner)

    async def stats(self, code: str, owner: str) -> Stats:
        """With every click that was answered before this call, or `pending`. Raises as `read`."""
        link = await self.read(code, owner)
        return await self._clicks.stats(link.id)

    async def list_links(
        self, owner: str, *, cursor: str | None = None, limit: int = 50
    ) -> Page[Counted]:
        """The owner's links, the newest first; their clicks as `stats` has them."""
        pending = await self._clicks.is_pending()
        page = await self._db.page(
            LINKS_OF_OWNER,
            lambda counted: counted.link.id,
            first=ID_ABOVE_ALL,
            cursor=cursor,
            limit=limit,
            owner=owner,
        )
        return Page([_marked(counted, pending=pending) for counted in page.items], page.next)

    async def change(self, code: str, change: Change, owner: str) -> Link:
        """Switch the link on or off, move its end; one that has expired lives again.

        Raises: as `read`.
        """
        now_ms = runtime.now_ms()

        async def body(tx: Tx) -> Link:
            found = await tx.one(LINK_BY_CODE, code=code)
            link = _owned(code, found, owner)
            expires_at_ms, disabled = link.expires_at_ms, link.disabled
            if change.expires_days is not None:
                expires_at_ms = now_ms + self._maker.lifetime_ms(change.expires_days)
            if change.disabled is not None:
                disabled = change.disabled
            after = {"expires_at_ms": expires_at_ms, "disabled": disabled}
            await tx.run(LINK_CHANGE, link_id=link.id, **after)
            return msgspec.structs.replace(link, **after)

        _check_format(code)
        return await self._db.transact(body)

    async def delete(self, code: str, owner: str) -> None:
        """The link, its address and its counts are gone; its code is never given out again. A
        deleted one is no error.

        Raises:
            LinkMissing, KeyWrong.
        """

        async def body(tx: Tx) -> None:
            found = await tx.one(LINK_BY_CODE, code=code)
            if found is not None and found.deleted:
                return
            link = _owned(code, found, owner)
            await tx.run(LINK_DELETE, link_id=link.id)
            await tx.run(TOTALS_DELETE, link_id=link.id)

        _check_format(code)
        await self._db.transact(body)

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

    async def fold_clicks(self) -> None:
        """Counts the clicks that are journalled, and sees to it that their journal is open.

        Raises:
            Unavailable: they wait in the journal; or it can't be opened.
        """
        await self._clicks.tend()

    async def trim_clicks(self) -> None:
        """Drops journalled clicks that are counted, and old."""
        await self._clicks.trim()

    async def health(self) -> None:
        """
        Raises:
            Unavailable: the database is away, or a click could not be kept now.
        """
        self._clicks.check()
        await self._db.health()

    async def _found(self, code: str) -> Link | None:
        if not is_code(code):
            return None
        return await self._db.one(LINK_BY_CODE, code=code)


def _owner_or_new(owner: str | None) -> Owner:
    if owner is not None:
        return Owner(owner)
    key = key_of(runtime.current().chance.token(KEY_BYTES))
    return Owner(owner_of_key(key), key)


def _marked(counted: Counted, *, pending: bool) -> Counted:
    return Counted(counted.link, msgspec.structs.replace(counted.stats, pending=pending))


def _check_format(code: str) -> None:
    if not is_code(code):
        raise LinkMissing(code)


def _there(code: str, link: Link | None) -> Link:
    if link is None:
        raise LinkMissing(code)
    if link.deleted:
        raise LinkDeleted(code)
    return link


def _owned(code: str, link: Link | None, owner: str) -> Link:
    link = _there(code, link)
    if link.owner != owner:
        raise KeyWrong(f"this key does not manage the link {code!r}")
    return link
