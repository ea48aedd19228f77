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
from bastide.apps.shortener.service.lookup import Lookup
from bastide.apps.shortener.service.maker import Maker, Plan
from bastide.apps.shortener.service.teller import Teller
from bastide.apps.shortener.tables import (
    CODES_RESERVED,
    CODES_TAKEN,
    LINK_ADD,
    LINKS_TO_TARGETS,
    TAG_ADD,
    TOTALS_ADD,
    VISITS_ADD,
    row_of,
    tag_rows,
)
from bastide.base.errors import Conflict, Refusal
from bastide.base.rt import runtime
from bastide.base.tx import Duplicate, Once, Tx, Value
from bastide.base.work import Breath
from bastide.engines.sql.contract import Database


class Wanted(msgspec.Struct, frozen=True):
    """A good line: its place in the request, and the link it becomes if nothing stands against
    it. `row` is made before the transaction, which holds the loop.
    """

    place: int
    plan: Plan
    link: Link
    row: Mapping[str, Value]

    @property
    def same(self) -> tuple[str, bool]:
        """What a known link must have to serve as well."""
        return self.plan.target.hash, self.link.permanent


class Importer:
    def __init__(self, db: Database, maker: Maker, lookup: Lookup, teller: Teller) -> None:
        self._db = db
        self._maker = maker
        self._lookup = lookup
        self._teller = teller

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
        plans, refused = await self._read(drafts, origin)
        for attempt in range(CODE_TRIES_MAX):
            wanted, breath = [], Breath()
            for n, plan in plans.items():
                await breath.taken()
                link = await self._maker.link(plan, owner.name, attempt=attempt)
                wanted.append(Wanted(n, plan, link, row_of(link, plan.target.hash)))

            async def body(tx: Tx, wanted: Sequence[Wanted] = wanted) -> Imported:
                stored = await _store(tx, owner, wanted)
                new = [one.link for one in stored.values() if one.link and not one.existing]
                await self._teller.created(tx, new)
                lines = {**refused, **stored}
                return Imported([lines[n] for n in range(len(drafts))], owner.new_key)

            try:
                made = await self._db.transact(body, once=once)
            except (Duplicate, CodeReserved):
                continue  # a made code is not free, or somebody took a custom one just now
            await self._lookup.appeared([line.link.code for line in made.lines if line.link])
            return made
        raise CodesCrowded(f"{CODE_TRIES_MAX} times a made code was not free: set longer codes")

    async def _read(
        self, drafts: Sequence[Draft], origin: str
    ) -> tuple[Mapping[int, Plan], Mapping[int, Line]]:
        plans, refused, breath = {}, {}, Breath()
        for n, draft in enumerate(drafts):
            await breath.taken()
            try:
                plans[n] = self._maker.plan(draft, origin=origin)
            except Refusal as refusal:
                refused[n] = Line(reason=str(refusal))
        return plans, refused


async def _store(tx: Tx, owner: Owner, wanted: Sequence[Wanted]) -> Mapping[int, Line]:
    """Inserts what is new, and says of each wanted line what became of it.

    What is read here only gives reasons: that nobody gets a code twice is the index's doing.

    Raises:
        CodeReserved, Duplicate: a made code is not free.
    """
    known = await known_links(tx, owner, [one.plan.target for one in wanted])
    closed = await _closed_codes(tx, [one.link for one in wanted])
    lines: dict[int, Line] = {}
    new: list[Wanted] = []
    for one in wanted:
        link, is_plain = one.link, not one.link.custom and one.plan.draft.is_plain
        if is_plain and one.same in known:
            lines[one.place] = Line(known[one.same], existing=True)
            continue
        if link.code in closed:
            if not link.custom:
                raise CodeReserved(link.code)
            lines[one.place] = Line(reason=str(closed[link.code]))
            continue
        lines[one.place] = Line(link)
        new.append(one)
        if link.custom:
            closed[link.code] = CodeTaken(link.code)
        elif is_plain:
            known[one.same] = link
    await tx.run_many(LINK_ADD, [one.row for one in new])
    await add_parts(tx, [one.link for one in new])
    return lines


async def add_parts(tx: Tx, new: Sequence[Link]) -> None:
    """What hangs on links that were just added."""
    await tx.run_many(TOTALS_ADD, [{"id": link.id} for link in new])
    await tx.run_many(TAG_ADD, [row for link in new for row in tag_rows(link)])
    limited = [link for link in new if link.visits_max]
    visits = [{"link_id": link.id, "visits_left": link.visits_max} for link in limited]
    await tx.run_many(VISITS_ADD, visits)


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
