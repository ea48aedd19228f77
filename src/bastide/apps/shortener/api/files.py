"""Links from files and to files: the usual exporters' CSV comes in, ours goes out."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec

from bastide.apps.shortener.api.links import owner_in
from bastide.apps.shortener.api.shapes import (
    FileImported,
    Refused,
    RuleGiven,
    rules_of,
    rules_shown,
)
from bastide.apps.shortener.core.exports import (
    ExportedRow,
    GivenRow,
    csv_line,
    header_line,
    read_csv,
)
from bastide.apps.shortener.core.owners import owner_of
from bastide.apps.shortener.model import Counted, Days, Draft, Line
from bastide.apps.shortener.service.shortener import Shortener, owner_or_new
from bastide.base.errors import Invalid, Unavailable
from bastide.base.gate import Caller
from bastide.base.routes.rows import Chunks, Request, Stream
from bastide.base.rt import runtime
from bastide.base.work import Breath

FILE_BYTES_MAX = 4 << 20
FILE_LINKS_MAX = 10_000
IMPORT_S = 100.0  # then the rest is left, while there is time to say so
CHUNK_LINKS = 250  # a commit: a few milliseconds, between which redirects go on
REFUSALS_SHOWN_MAX = 1_000

_RULES = msgspec.json.Decoder(list[RuleGiven])


async def import_file(
    shortener: Shortener,
    body: Chunks,
    caller: Caller,
    request: Request,
    expires_days: Days | None = None,
) -> FileImported:
    """A file of links: CSV as Bitly, Kutt, Shlink, YOURLS and others export it, ours, or one long
    address a line. Commits every 250 links.
    """
    given = b"".join([piece async for piece in body])
    rows = await asyncio.to_thread(read_csv, given, rows_max=FILE_LINKS_MAX)
    return await import_rows(
        shortener, rows, owner=owner_of(caller), origin=request.origin, days=expires_days
    )


async def export_file(shortener: Shortener, caller: Caller) -> Stream:
    """All links of the owner as CSV, which `import` reads again."""
    headers = {
        "content-type": "text/csv; charset=utf-8",
        "content-disposition": 'attachment; filename="links.csv"',
        "cache-control": "no-store",
    }
    return Stream(_lines(shortener, owner_in(caller)), headers=headers)


async def import_rows(
    shortener: Shortener,
    rows: Sequence[GivenRow],
    *,
    owner: str | None,
    origin: str,
    days: float | None,
) -> FileImported:
    """Without an owner all belong to one new key. What can't be kept any more stops the rest."""
    holder, until_s = owner_or_new(owner), runtime.monotonic() + IMPORT_S
    tally, good = _Tally(holder.new_key), await _good(rows, days)
    tally.refusals += [one for one in good if isinstance(one, Refused)]
    drafts = [one for one in good if not isinstance(one, Refused)]
    for first in range(0, len(drafts), CHUNK_LINKS):
        chunk = drafts[first : first + CHUNK_LINKS]
        try:
            if runtime.monotonic() > until_s:
                raise Unavailable(f"it took longer than {IMPORT_S:g} s")
            asked = [one.draft for one in chunk]
            made = await shortener.import_links(asked, owner=holder.name, origin=origin)
        except Unavailable as error:
            if not first and error.outcome == "none":
                raise
            tally.stop(error, [one.line for one in chunk])
            break
        tally.add(chunk, made.lines)
    return tally.shown()


class _Good(msgspec.Struct, frozen=True):
    line: int
    draft: Draft


async def _good(rows: Sequence[GivenRow], days: float | None) -> Sequence[_Good | Refused]:
    found: list[_Good | Refused] = []
    breath = Breath()
    for row in rows:
        await breath.taken()
        try:
            found.append(_Good(row.line, _draft(row, days)))
        except Invalid as refusal:
            found.append(Refused(row.line, str(refusal)))
    return found


class _Tally:
    def __init__(self, manage_key: str | None) -> None:
        self.created = self.existing = self.stopped_at_line = 0
        self.refusals: list[Refused] = []
        self.stopped = ""
        self._manage_key = manage_key

    def stop(self, error: Unavailable, lines: Sequence[int]) -> None:
        doubt = f"; lines {lines[0]} to {lines[-1]} may be in" if error.outcome != "none" else ""
        self.stopped, self.stopped_at_line = f"{error}{doubt}", lines[0]

    def add(self, chunk: Sequence[_Good], lines: Sequence[Line]) -> None:
        for given, line in zip(chunk, lines, strict=True):
            if line.link is None:
                self.refusals.append(Refused(given.line, line.reason))
            elif line.existing:
                self.existing += 1
            else:
                self.created += 1

    def shown(self) -> FileImported:
        told = sorted(self.refusals, key=lambda one: one.line)
        return FileImported(
            created=self.created,
            existing=self.existing,
            refused=len(told),
            refusals=told[:REFUSALS_SHOWN_MAX],
            manage_key=self._manage_key if self.created or self.stopped else None,
            stopped=self.stopped,
            stopped_at_line=self.stopped_at_line,
        )


def _draft(row: GivenRow, days: float | None) -> Draft:
    """
    Raises:
        Invalid: the row can't be sent, or its rules are none.
    """
    if row.reason:
        raise Invalid(row.reason)
    try:
        rules = rules_of(_RULES.decode(row.rules)) if row.rules else ()
    except msgspec.MsgspecError as error:
        raise Invalid(f"its rules are not as wanted: {error}") from error
    return Draft(
        original_url=row.address,
        custom_code=row.code or None,
        expires_days=days,
        permanent=row.permanent,
        expires_at_ms=row.expires_at_ms,
        title=row.title,
        tags=row.tags,
        rules=rules,
        visits_max=row.visits_max,
        disabled=row.disabled,
    )


async def _lines(shortener: Shortener, owner: str) -> AsyncGenerator[bytes, None]:
    yield header_line().encode()
    async with aclosing(shortener.export(owner)) as links:
        async for counted in links:
            yield csv_line(_row(shortener, counted)).encode()


def _row(shortener: Shortener, counted: Counted) -> ExportedRow:
    link, stats = counted.link, counted.stats
    return ExportedRow(
        short_code=link.code,
        short_url=shortener.address_of(link.code),
        original_url=link.target,
        title=link.title,
        tags=link.tags,
        created_at_ms=link.created_at_ms,
        expires_at_ms=link.expires_at_ms,
        visits_max=link.visits_max,
        disabled=link.disabled,
        permanent=link.permanent,
        rules=msgspec.json.encode(rules_shown(link.rules)).decode() if link.rules else "",
        total_clicks=stats.total_clicks,
        bot_clicks=stats.bot_clicks,
    )
