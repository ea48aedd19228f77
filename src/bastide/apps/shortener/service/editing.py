"""Links that change: one or many, in one commit, and then in the cache."""

from collections.abc import Mapping, Sequence

import msgspec

from bastide.apps.shortener.contract import Link
from bastide.apps.shortener.core.codes import is_code
from bastide.apps.shortener.core.labels import tags_of
from bastide.apps.shortener.core.owners import owned
from bastide.apps.shortener.core.targets import Target, parse
from bastide.apps.shortener.model import Change
from bastide.apps.shortener.service.lookup import Lookup
from bastide.apps.shortener.service.maker import Maker, check_followable
from bastide.apps.shortener.service.teller import Teller
from bastide.apps.shortener.tables import (
    LINK_CHANGE,
    LINK_DELETE,
    LINKS_BY_CODES,
    PARTS_DELETE,
    TAG_ADD,
    TAGS_DELETE,
    VISITS_ADD,
    VISITS_DELETE,
    row_of,
    tag_rows,
)
from bastide.base.errors import Refusal
from bastide.base.rt import runtime
from bastide.base.tx import Tx
from bastide.engines.sql.contract import Database

CHANGED = ("target", "target_hash", "expires_at_ms", "disabled", "title", "tags", "rules")


class Editor:
    def __init__(self, db: Database, maker: Maker, lookup: Lookup, teller: Teller) -> None:
        self._db = db
        self._maker = maker
        self._lookup = lookup
        self._teller = teller

    async def change(
        self, codes: Sequence[str], change: Change, owner: str, *, origin: str
    ) -> Mapping[str, Link | Refusal]:
        """Each code's link as it is now, or why it is as it was."""
        checked, target = self._maker.checked(change, origin=origin), None
        if change.original_url is not None:
            target = self._maker.target_of(change.original_url, origin=origin)

        async def body(tx: Tx) -> Mapping[str, Link | Refusal]:
            found = await _found(tx, codes)
            told = {code: self._judged(code, found, owner, checked, target) for code in codes}
            for code, link in told.items():
                if isinstance(link, Link):
                    await _put(tx, found[code], link, checked, target)
                    await self._teller.changed(tx, found[code], link)
            return told

        told = await self._db.transact(body)
        await self._lookup.let_go([c for c, link in told.items() if isinstance(link, Link)])
        return told

    async def delete(self, codes: Sequence[str], owner: str) -> Mapping[str, Refusal | None]:
        """None where there is no link any more, also if there was none before."""

        async def body(tx: Tx) -> Mapping[str, Refusal | None]:
            found = await _found(tx, codes)
            told = {code: _undeletable(code, found.get(code), owner) for code in codes}
            there = [found[code] for code, refusal in told.items() if refusal is None]
            gone = [link for link in there if not link.deleted]
            for link in gone:
                await _delete(tx, link)
            await self._teller.deleted(tx, gone)
            return told

        told = await self._db.transact(body)
        await self._lookup.let_go([code for code, refusal in told.items() if refusal is None])
        return told

    def _judged(
        self,
        code: str,
        found: Mapping[str, Link],
        owner: str,
        change: Change,
        target: Target | None,
    ) -> Link | Refusal:
        try:
            return self._after(owned(code, found.get(code), owner), change, target)
        except Refusal as refusal:
            return refusal

    def _after(self, link: Link, change: Change, target: Target | None) -> Link:
        rules = link.rules if change.rules is None else change.rules
        visits_max = link.visits_max if change.visits_max is None else change.visits_max
        check_followable(rules, visits_max, permanent=link.permanent)
        kept = link.tags if change.tags is None else change.tags
        tags = tags_of([*kept, *change.add_tags])
        return msgspec.structs.replace(
            link,
            target=target.url if target else link.target,
            expires_at_ms=self._end_of(link, change),
            disabled=link.disabled if change.disabled is None else change.disabled,
            title=link.title if change.title is None else change.title,
            tags=tuple(tag for tag in tags if tag not in change.remove_tags),
            rules=rules,
            visits_max=visits_max,
        )

    def _end_of(self, link: Link, change: Change) -> int:
        if change.expires_at_ms is not None:
            return change.expires_at_ms
        if change.expires_days is not None:
            return runtime.now_ms() + self._maker.lifetime_ms(change.expires_days)
        return link.expires_at_ms


async def _found(tx: Tx, codes: Sequence[str]) -> Mapping[str, Link]:
    known = [code for code in codes if is_code(code)]
    return {link.code: link for link in await tx.fetch(LINKS_BY_CODES, codes=known)}


async def _put(tx: Tx, before: Link, link: Link, change: Change, target: Target | None) -> None:
    row = row_of(link, (target or parse(link.target)).hash)
    limit = {"visits_max": link.visits_max}
    await tx.run(LINK_CHANGE, link_id=link.id, **{name: row[name] for name in CHANGED}, **limit)
    if link.tags != before.tags:
        await tx.run(TAGS_DELETE, link_id=link.id)
        await tx.run_many(TAG_ADD, tag_rows(link))
    if change.visits_max is not None:
        await tx.run(VISITS_DELETE, link_id=link.id)
        if link.visits_max:
            await tx.run(VISITS_ADD, link_id=link.id, visits_left=link.visits_max)


def _undeletable(code: str, link: Link | None, owner: str) -> Refusal | None:
    try:
        if link is None or not link.deleted:
            owned(code, link, owner)
    except Refusal as refusal:
        return refusal
    return None


async def _delete(tx: Tx, link: Link) -> None:
    await tx.run(LINK_DELETE, link_id=link.id)
    for statement in PARTS_DELETE:
        await tx.run(statement, link_id=link.id)
