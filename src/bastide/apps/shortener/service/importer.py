"""Many links in one transaction: all the good lines of a request, or none of them."""

from collections.abc import Mapping, Sequence

import msgspec

from bastide.apps.shortener.contract import (
    CODE_TRIES_MAX,
    IMPORT_LINES_MAX,
    CodeReserved,
    CodesCrowded,
    CodeTaken,
    ImportOver,
    Link,
)
from bastide.apps.shortener.core.targets import Target
from bastide.apps.shortener.model import Draft, Imported, Line, Owner
from bastide.apps.shortener.service.maker import Maker
from bastide.apps.shortener.tables import (
    CODES_RESERVED,
    CODES_TAKEN,
    LINK_ADD,
    LINKS_TO_TARGETS,
    TOTALS_ADD,
    row_of,
)
from bastide.base.errors import Conflict, Refusal
from bastide.base.rt import runtime
from bastide.base.tx import Duplicate, Once, Tx
from bastide.engines.sql.contract import Database


class Wanted(msgspec.Struct, frozen=True):
    """A good line: its place in the request, and the link it becomes if nothing stands against
    it.
    """

    place: int
    target: Target
    link: Link


class Importer:
    def __init__(self, db: Database, maker: Maker) -> None:
        self._db = db
        self._maker = maker

    async def run(
        self,
        drafts: Sequence[Draft],
        owner: Owner,
        *,
        origin: str,
        once: Once[Imported] | None,
    ) -> Imported:
        if not 1 <= len(drafts) <= IMPORT_LINES_MAX:
            raise ImportOver(f"{len(drafts)} lines; 1 to {IMPORT_LINES_MAX} are taken")
        targets, refused = self._read(drafts, origin)
        for attempt in range(CODE_TRIES_MAX):
            wanted = []
            for n, target in targets.items():
                link = await self._maker.link(drafts[n], target, owner.name, attempt=attempt)
                wanted.append(Wanted(n, target, link))

            async def body(tx: Tx, wanted: Sequence[Wanted] = wanted) -> Imported:
                lines = {**refused, **await _store(tx, owner, wanted)}
                return Imported([lines[n] for n in range(len(drafts))], owner.new_key)

            try:
                return await self._db.transact(body, once=once)
            except (Duplicate, CodeReserved):
                continue  # a made code is not free, or somebody took a custom one just now
        raise CodesCrowded(f"{CODE_TRIES_MAX} times a made code was not free: set longer codes")

    def _read(
        self, drafts: Sequence[Draft], origin: str
    ) -> tuple[Mapping[int, Target], Mapping[int, Line]]:
        targets, refused = {}, {}
        for n, draft in enumerate(drafts):
            try:
                targets[n] = self._maker.target_of(draft, origin=origin)
            except Refusal as refusal:
                refused[n] = Line(reason=str(refusal))
        return targets, refused


async def _store(tx: Tx, owner: Owner, wanted: Sequence[Wanted]) -> Mapping[int, Line]:
    """Inserts what is new, and says of each wanted line what became of it.

    What is read here only gives reasons: that nobody gets a code twice is the index's doing.

    Raises:
        CodeReserved, Duplicate: a made code is not free.
    """
    known = await known_links(tx, owner, [one.target for one in wanted])
    closed = await _closed_codes(tx, [one.link for one in wanted])
    lines, new = {}, []
    for one in wanted:
        link, same = one.link, (one.target.hash, one.link.permanent)
        if not link.custom and same in known:
            lines[one.place] = Line(known[same], existing=True)
            continue
        if link.code in closed:
            if not link.custom:
                raise CodeReserved(link.code)
            lines[one.place] = Line(reason=str(closed[link.code]))
            continue
        lines[one.place] = Line(link)
        new.append(row_of(link, one.target.hash))
        if link.custom:
            closed[link.code] = CodeTaken(link.code)
        else:
            known[same] = link
    await tx.run_many(LINK_ADD, new)
    await tx.run_many(TOTALS_ADD, [{"id": row["id"]} for row in new])
    return lines


async def known_links(
    tx: Tx, owner: Owner, targets: Sequence[Target]
) -> dict[tuple[str, bool], Link]:
    """The owner's live links to `targets`, by the target's hash and by whether they are permanent.
    A new owner has none.
    """
    if owner.new_key is not None:
        return {}
    hashes = [target.hash for target in targets]
    found = await tx.fetch(
        LINKS_TO_TARGETS, owner=owner.name, target_hashes=hashes, now_ms=runtime.now_ms()
    )
    return {(target_hash, link.permanent): link for target_hash, link in found}


async def _closed_codes(tx: Tx, links: Sequence[Link]) -> dict[str, Conflict]:
    custom = [link.code for link in links if link.custom]
    taken = await tx.fetch(CODES_TAKEN, codes=custom) if custom else []
    reserved = await tx.fetch(CODES_RESERVED, codes=[link.code for link in links])
    return {c: CodeTaken(c) for c in taken} | {c: CodeReserved(c) for c in reserved}
