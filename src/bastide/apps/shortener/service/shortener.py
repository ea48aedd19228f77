"""The verbs: shorten, follow, manage, count."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import msgspec

from bastide.apps.shortener.contract import (
    BULK_LINKS_MAX,
    CODE_TRIES_MAX,
    DAYS_SHOWN_MAX,
    Analytics,
    BulkOver,
    CodeReserved,
    CodesCrowded,
    CodeTaken,
    Link,
    LinkSpent,
    PeopleOnly,
    Stats,
)
from bastide.apps.shortener.core import rules
from bastide.apps.shortener.core.codes import is_code
from bastide.apps.shortener.core.owners import (
    KEY_BYTES,
    followable,
    key_of,
    owned,
    owner_of_key,
    there,
)
from bastide.apps.shortener.model import (
    Change,
    Counted,
    Created,
    Draft,
    Imported,
    Owner,
    Visit,
    Way,
)
from bastide.apps.shortener.service.clicks import Clicks
from bastide.apps.shortener.service.days import Bell
from bastide.apps.shortener.service.editing import Editor
from bastide.apps.shortener.service.importer import Importer, add_parts, known_links
from bastide.apps.shortener.service.lookup import Lookup
from bastide.apps.shortener.service.maker import Maker, Plan
from bastide.apps.shortener.service.moderation import Moderation
from bastide.apps.shortener.service.teller import Teller
from bastide.apps.shortener.service.upkeep import Upkeep
from bastide.apps.shortener.tables import (
    LINK_ADD,
    LINK_BY_CODE,
    LINK_COUNTED,
    LINKS_OF_OWNER,
    LINKS_TAGGED,
    TAGS_OF_OWNER,
    VISITS_SPEND,
    row_of,
)
from bastide.base.errors import Refusal
from bastide.base.routes.rows import Request
from bastide.base.rt import runtime
from bastide.base.tx import PAGE_ITEMS_MAX, Duplicate, Once, Page, Tx
from bastide.engines.sql.contract import Database
from bastide.parts.visitor.visitors import Visitors

ID_ABOVE_ALL = (1 << 63) - 1
LOOK_AGAIN_S = 0.3
LOOK_S = 10.0  # a watcher looks again after so long, also if nothing was heard


class Shortener:
    """Owners are named as in `core.owners`; times are milliseconds since 1970, UTC. `origin` is,
    wherever it is asked for, the address by which the client reached us.
    """

    def __init__(
        self,
        db: Database,
        maker: Maker,
        clicks: Clicks,
        lookup: Lookup,
        bell: Bell,
        moderation: Moderation,
        upkeep: Upkeep,
        teller: Teller,
        visitors: Visitors,
        *,
        base: str,
    ) -> None:
        self.moderation = moderation
        self.upkeep = upkeep
        self.clicks = clicks
        self.lookup = lookup
        self._visitors = visitors
        self._own_hosts = frozenset((urlsplit(base).hostname or "",))
        self._db = db
        self._maker = maker
        self._bell = bell
        self._teller = teller
        self._importer = Importer(db, maker, lookup, teller)
        self._editor = Editor(db, maker, lookup, teller)
        self._base = base.rstrip("/")

    def address_of(self, code: str) -> str:
        """The short link."""
        return f"{self._base}/{code}"

    async def address_of_link(self, code: str) -> str:
        """The short link of a link that there is, whatever its state.

        Raises:
            LinkMissing, LinkDeleted.
        """
        return self.address_of(there(code, await self.lookup.get(code)).code)

    async def create(
        self,
        draft: Draft,
        *,
        owner: str | None,
        origin: str = "",
        once: Once[Created] | None = None,
    ) -> Created:
        """A new link; or the newest live one that `owner` has to the same long address, if neither
        a custom code nor anything else is asked for.

        Without an owner it is always new and belongs to its manage key, which is in the reply and
        nowhere else.

        Raises:
            TargetRefused, CodeWrong, CodeReserved, CodeTaken, LabelWrong, RuleWrong.
            OnceMismatch: the key of `once` was used for another request.
            CodesCrowded: CODE_TRIES_MAX made codes in a row were taken.
        """
        plan, holder = self._maker.plan(draft, origin=origin), owner_or_new(owner)
        for attempt in range(CODE_TRIES_MAX):
            link = await self._maker.link(plan, holder.name, attempt=attempt)
            try:
                made = await self._add(link, plan, holder, once)
            except Duplicate as error:
                if link.custom:
                    raise CodeTaken(link.code) from error
            except CodeReserved:
                if link.custom:
                    raise
            else:
                await self.lookup.appeared([made.link.code])
                return made
        raise CodesCrowded(f"{CODE_TRIES_MAX} made codes in a row were taken: set longer codes")

    async def _add(
        self, link: Link, plan: Plan, holder: Owner, once: Once[Created] | None
    ) -> Created:
        async def body(tx: Tx) -> Created:
            if not link.custom and plan.draft.is_plain:
                known = await known_links(tx, holder, [plan.target])
                if found := known.get((plan.target.hash, link.permanent)):
                    return Created(found, existing=True)
            if not await tx.run(LINK_ADD, **row_of(link, plan.target.hash)):
                raise CodeReserved(link.code)
            await add_parts(tx, [link])
            await self._teller.created(tx, [link])
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
        return await self._importer.run(drafts, owner_or_new(owner), origin=origin, once=once)

    def visit_of(self, request: Request) -> Visit:
        """Who follows, as far as a request tells. Nothing of it waits, and none of it is kept."""
        visitor = self._visitors.visitor(
            request.headers,
            method=request.method,
            address=request.caller.address,
            own_hosts=self._own_hosts,
        )
        return Visit(request.id, visitor, request.query)

    async def follow(self, code: str, visit: Visit) -> Way:
        """Where to go. Its click is journalled when this returns, so that it counts for good. A
        link with a limit of visits costs a commit; any other one nothing that waits for a disk.

        Raises:
            LinkMissing, LinkDeleted, LinkBlocked, LinkDisabled, LinkExpired, LinkSpent.
            PeopleOnly: a program follows a link with a limit.
            Unavailable: the click could not be kept, so nobody may be redirected.
        """
        now_ms = runtime.now_ms()
        link = followable(code, await self.lookup.get(code), now_ms)
        if link.visits_max:
            await self._spend(link, visit)
        target = _target_of(link, visit, now_ms)
        await self.clicks.record(visit.request_id, link.id, now_ms, visit.visitor)
        return Way(link, target)

    async def preview(self, code: str, visit: Visit) -> Way:
        """As `follow`, but nobody goes there and nothing is counted. Raises as it."""
        now_ms = runtime.now_ms()
        link = followable(code, await self._stored(code), now_ms)
        if link.visits_max:
            counted = await self._db.one(LINK_COUNTED, link_id=link.id)
            if counted is None or not counted.visits_left:
                raise LinkSpent(code)
        return Way(link, _target_of(link, visit, now_ms))

    async def read(self, code: str, owner: str) -> Counted:
        """The link, whatever its state, and its clicks so far, with every one that was answered
        before this call, or `pending`.

        Raises:
            LinkMissing, LinkDeleted.
            KeyWrong: it is somebody else's.
        """
        link = owned(code, await self._stored(code), owner)
        pending = await self.clicks.is_pending()
        counted = await self._db.one(LINK_COUNTED, link_id=link.id)
        return _marked(counted or Counted(link, Stats(0, 0)), pending=pending)

    async def analytics(self, code: str, owner: str, *, days: int = DAYS_SHOWN_MAX) -> Analytics:
        """Of the last `days` days, today too, at most DAYS_SHOWN_MAX. Raises as `read`."""
        link = owned(code, await self._stored(code), owner)
        return await self.clicks.analytics(link.id, days=min(max(days, 1), DAYS_SHOWN_MAX))

    async def watch(self, link: Link) -> AsyncGenerator[Stats, None]:
        """The stats as counted so far, and whenever they have changed, for as long as the caller
        wants and the link is there; at most one in LOOK_AGAIN_S.

        Raises:
            Unavailable: changes can't be heard of any more.
        """
        last = None
        async with self._bell.listening(link.id) as rung:
            while True:
                stats = await self.clicks.counted(link.id)
                if stats is None:
                    return
                if stats != last:
                    yield stats
                last = stats
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await rung()
                await asyncio.sleep(LOOK_AGAIN_S)  # a hot link rings at every fold

    async def list_links(
        self, owner: str, *, tag: str = "", cursor: str | None = None, limit: int = 50
    ) -> Page[Counted]:
        """The owner's links, the newest first; with `tag` only those that bear it. Their clicks as
        `read` has them.
        """
        pending = await self.clicks.is_pending()
        statement = LINKS_TAGGED if tag else LINKS_OF_OWNER
        page = await self._db.page(
            statement,
            lambda counted: counted.link.id,
            first=ID_ABOVE_ALL,
            cursor=cursor,
            limit=limit,
            owner=owner,
            **({"tag": tag} if tag else {}),
        )
        return Page([_marked(counted, pending=pending) for counted in page.items], page.next)

    async def list_tags(self, owner: str) -> Sequence[str]:
        """The owner's PAGE_ITEMS_MAX most used tags."""
        return await self._db.fetch(TAGS_OF_OWNER, owner=owner, limit=PAGE_ITEMS_MAX)

    async def export(self, owner: str) -> AsyncGenerator[Counted, None]:
        """All links of the owner, the newest first. What is made meanwhile may be missing."""
        cursor: str | None = None
        while True:
            page = await self.list_links(owner, cursor=cursor, limit=PAGE_ITEMS_MAX)
            for counted in page.items:
                yield counted
            cursor = page.next
            if cursor is None:
                return

    async def change(self, code: str, change: Change, owner: str, *, origin: str = "") -> Link:
        """What the link is from now on, for all who follow it after this returned.

        Raises:
            As `read`; and TargetRefused, LabelWrong, RuleWrong.
            Unavailable: with outcome 'unknown' it may be changed, and some may be redirected as
                before yet: ask again.
        """
        told = (await self._editor.change([code], change, owner, origin=origin))[code]
        if isinstance(told, Refusal):
            raise told
        return told

    async def delete(self, code: str, owner: str) -> None:
        """The link, its address and its counts are gone; its code is never given out again. A
        deleted one is no error.

        Raises:
            LinkMissing, KeyWrong. Unavailable, as `change`.
        """
        refusal = (await self._editor.delete([code], owner))[code]
        if refusal is not None:
            raise refusal

    async def change_many(
        self, codes: Sequence[str], change: Change, owner: str, *, origin: str = ""
    ) -> Mapping[str, Link | Refusal]:
        """`change` for each of at most BULK_LINKS_MAX, in one commit; one that can't be changed is
        refused alone.

        Raises:
            BulkOver. LabelWrong, RuleWrong, TargetRefused: the change is wrong for any link.
            Unavailable, as `change`.
        """
        return await self._editor.change(_few(codes), change, owner, origin=origin)

    async def delete_many(self, codes: Sequence[str], owner: str) -> Mapping[str, Refusal | None]:
        """`delete` for each. Raises as `change_many`."""
        return await self._editor.delete(_few(codes), owner)

    async def health(self) -> None:
        """
        Raises:
            Unavailable: the database is away, or a click could not be kept or counted now.
        """
        await self.clicks.health()
        await self._db.health()

    async def _stored(self, code: str) -> Link | None:
        if not is_code(code):
            return None
        return await self._db.one(LINK_BY_CODE, code=code)

    async def _spend(self, link: Link, visit: Visit) -> None:
        """One of the visits that the link's limit leaves."""
        if visit.visitor.client.bot:
            raise PeopleOnly(link.code)

        async def body(tx: Tx) -> int:
            return await tx.run(VISITS_SPEND, link_id=link.id)

        if not await self._db.transact(body):
            raise LinkSpent(link.code)


def owner_or_new(owner: str | None) -> Owner:
    """`owner`, or whoever is told the new key."""
    if owner is not None:
        return Owner(owner)
    key = key_of(runtime.current().chance.token(KEY_BYTES))
    return Owner(owner_of_key(key), key)


def _target_of(link: Link, visit: Visit, now_ms: int) -> str:
    if not link.rules:
        return link.target
    visitor = visit.visitor
    judged = rules.Visit(
        client=visitor.client,
        country=visitor.country,
        languages=visitor.languages,
        query=visit.query,
        now_ms=now_ms,
    )
    return rules.target_of(link.rules, link.target, judged)


def _marked(counted: Counted, *, pending: bool) -> Counted:
    stats = msgspec.structs.replace(counted.stats, pending=pending)
    return msgspec.structs.replace(counted, stats=stats)


def _few(codes: Sequence[str]) -> Sequence[str]:
    """Each once."""
    found = list(dict.fromkeys(codes))
    if not 1 <= len(found) <= BULK_LINKS_MAX:
        raise BulkOver(f"{len(found)} links; 1 to {BULK_LINKS_MAX} are taken")
    return found
