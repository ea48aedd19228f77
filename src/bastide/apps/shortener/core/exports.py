"""CSV of links: read as other shorteners export it, written as ours.

    Link,Custom Link,Date created,Title,Destination URL,...        whose? by the names alone: in any
    https://bit.ly/4fT9,https://go.example/Sale,...                case and order, with , ; or tab
     │                   │
     └ left out          └ code "Sale", if it has a form that we take

What no header names is a list: a long address a line and, behind a blank or a tab, the code wanted.

A spreadsheet runs a cell that begins with = + - or @ (OWASP, "CSV Injection"), so ours get a '
before it, which is taken off when they are read again. So that this can be undone, a cell that is
already like that gets one more:

    cell    =1+1     '=1+1      '90s
    file    '=1+1    ''=1+1     '90s

That guards the cells of this file: whoever opens it as if ; parted them gets others, unguarded.

A table is read as a whole or not at all: after a quote that is never closed nobody knows what a row
is. A row that is a row, and can't be sent, has its reason. O(bytes).
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from bastide.apps.shortener.contract import (
    TARGET_CHARACTERS_MAX,
    TITLE_CHARACTERS_MAX,
    VISITS_MAX,
    CsvWrong,
)
from bastide.apps.shortener.core.codes import is_code
from bastide.base.instants import instant_of, text_of

CELL_CHARACTERS_MAX = 1 << 20  # the rules of one link, as JSON, may take half of it
COLUMNS_MAX = 200
HEADER = (
    *("short_code", "short_url", "original_url", "title", "tags", "created_at", "expires_at"),
    *("visits_max", "disabled", "permanent", "rules", "total_clicks", "bot_clicks"),
)

# It holds for the process, whose only CSV this is. The default, 128 KiB, is less than our own rules
# may take.
csv.field_size_limit(CELL_CHARACTERS_MAX)

_COUNT = re.compile(r"[0-9]{0,10}")
_BEGINS_ADDRESS = re.compile(r"[ \t]*[A-Za-z][A-Za-z0-9+.-]*://")
_BROKEN = re.compile(r"[\udc80-\udcff]")  # bytes that were not UTF-8, after surrogateescape
_RUNS = "[=+\\-@\\t\\r\\n\uff1d\uff0b\uff0d\uff20]"  # the last four: the same in full width
_FORMULA, _NEUTRALISED = re.compile(f"'*{_RUNS}"), re.compile(f"'+{_RUNS}")
_QUOTED = re.compile(r'[",;\t\r\n]|^ | $')
_NOTHING = frozenset(("", "null", "\\n"))  # as databases write it, in lower case
_TRUE, _FALSE = frozenset(("true", "1", "yes")), frozenset(("", "false", "0", "no"))


class GivenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A link that a file asks for, on its line `line`; `reason` says why it can't even be sent.

    `code` "": any. `expires_at_ms` None: as the setting says. What follows `reason` only our own
    files have; `rules` is JSON as we wrote it, or "".
    """

    line: int
    address: str = ""
    code: str = ""
    title: str = ""
    tags: tuple[str, ...] = ()
    expires_at_ms: int | None = None
    reason: str = ""
    visits_max: int = 0
    disabled: bool = False
    permanent: bool = False
    rules: str = ""


class ExportedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A link as our files have it. `rules` is JSON, or "" if there are none."""

    short_code: str
    short_url: str
    original_url: str
    title: str
    tags: Sequence[str]
    created_at_ms: int
    expires_at_ms: int
    visits_max: int
    disabled: bool
    permanent: bool
    rules: str
    total_clicks: int
    bot_clicks: int


class Exporter(msgspec.Struct, frozen=True, kw_only=True):
    """Whose file it is that has all columns of `needs`, and what they hold. Names are written as
    `_name` makes them. `codes`: columns with a code or a short link, the first that has one wins.
    """

    needs: frozenset[str]
    address: str
    codes: Sequence[str] = ()
    title: str = "title"
    tags: str = "tags"
    parted_by: Sequence[str] = (",",)  # the first that is in the cell
    expires: str = ""
    neutralised: bool = False
    ours: bool = False


# The first that fits.
EXPORTERS = (
    Exporter(
        needs=frozenset(("shortcode", "originalurl")),
        address="originalurl",
        codes=("shortcode",),
        expires="expiresat",
        neutralised=True,
        ours=True,
    ),
    # Dub: "Short link", "Destination URL", "Clicks", "Created at", and by choice "Tags" (", ").
    # dubinc/dub, apps/web/lib/zod/schemas/links.ts (exportLinksColumns) and
    # apps/web/lib/analytics/utils/convert-to-csv.ts (a ' before = + - @).
    Exporter(
        needs=frozenset(("shortlink", "destinationurl")),
        address="destinationurl",
        codes=("shortlink",),
        neutralised=True,
    ),
    # Bitly: "Link", "Custom Link", "Date created", "Title", "Destination URL", "Engagements",
    # "Status". support.bitly.com, article 115000268051, as everett7623/Linketry has it in
    # apps/worker/src/importers; URLR/urlr-docs, migration/bitly.md, has three of them.
    Exporter(
        needs=frozenset(("link", "destinationurl")),
        address="destinationurl",
        codes=("customlink", "link"),
    ),
    # Bitly's API, as scripts write it: "link", "long_url", "title", "tags", "created_at".
    # dev.bitly.com, GET /v4/groups/{group_guid}/bitlinks.
    Exporter(needs=frozenset(("link", "longurl")), address="longurl", codes=("link",)),
    # Short.io: "idString", "shortURL", "originalPath", "originalURL", "title", "clicks",
    # "createdAt", "updatedAt", "expiresAt", "createdBy", "tags". docs.short.io, "How to export
    # short links", as everett7623/Linketry has it.
    Exporter(
        needs=frozenset(("shorturl", "originalpath", "originalurl")),
        address="originalurl",
        codes=("originalpath", "shorturl"),
        expires="expiresat",
    ),
    # Shlink's web client: "createdAt", "domain", "shortCode", "shortUrl", "longUrl", "title",
    # "tags" (|), "visits". shlinkio/shlink-web-component, src/short-urls/helpers/
    # ExportShortUrlsBtn.tsx. Its importer takes "Long URL", "Short code", and commas between tags.
    Exporter(
        needs=frozenset(("longurl",)),
        address="longurl",
        codes=("shortcode", "shorturl"),
        parted_by=(",", "|"),
    ),
    # Rebrandly exports nothing; its API's links, as scripts write them: "slashtag", "destination",
    # "title", "shortUrl". developers.rebrandly.com/docs/link-entity.
    Exporter(
        needs=frozenset(("slashtag", "destination")),
        address="destination",
        codes=("slashtag", "shorturl"),
    ),
    # Kutt exports nothing; its table, as a database writes it: "address", "description", "target",
    # "expire_in", "password". thedevs-network/kutt, server/models/link.model.js.
    Exporter(
        needs=frozenset(("address", "target")),
        address="target",
        codes=("address",),
        title="description",
        expires="expirein",
    ),
    # YOURLS's table, as phpMyAdmin writes it: "keyword", "url", "title", "timestamp", "ip",
    # "clicks". YOURLS/YOURLS, includes/functions-install.php.
    Exporter(needs=frozenset(("keyword", "url")), address="url", codes=("keyword",)),
    # YOURLS with the plugin Import-Export: "source" (/code/), "target", "hits".
    # GautamGupta/YOURLS-Import-Export, fileio/csv.php.
    Exporter(needs=frozenset(("source", "target", "hits")), address="target", codes=("source",)),
    # Written by hand. "destination" and "target" alone could be anything.
    *(
        Exporter(
            needs=frozenset((name,)),
            address=name,
            codes=("shortcode", "code"),
            expires="expiresat",
        )
        for name in ("originalurl", "destinationurl", "url")
    ),
)
YOURLS_UNNAMED = ("keyword", "url", "title", "timestamp", "ip", "clicks")


class Table(msgspec.Struct, frozen=True):
    """Where the columns of an exporter stand in one file. `header` is the line that names them, 0
    if none does; -1 stands for a column that is not there.
    """

    exporter: Exporter
    delimiter: str
    header: int
    width: int
    address: int
    codes: Sequence[int]
    title: int
    tags: int
    expires: int
    password: int
    own: Sequence[int]


def read_csv(data: bytes, *, rows_max: int | None = None) -> Sequence[GivenRow]:
    """The rows of an exporter's file, or of a plain list. Blank ones are left out.

    UTF-8, or UTF-16 with a byte order mark. In a list each line is decoded for itself.

    Raises:
        CsvWrong: it is no text, holds a NUL, is cut off, has more than `rows_max` rows, or nothing
            says where its long addresses are.
    """
    text = _text(data)
    if table := _table_of(text):
        if _BROKEN.search(text):
            raise CsvWrong(f"line {_broken_line(text)} is not UTF-8")
        return _counted(_table_rows(text, table), rows_max)
    if _is_list(text):
        return _counted(_list_rows(text), rows_max)
    if not (rest := text.strip()):
        raise CsvWrong("there is nothing in it")
    first = next(_lines(rest)).strip()
    raise CsvWrong(
        f"{first[:100]!r} names no column that is known to hold long addresses, as original_url, "
        "long_url or url, and is no address"
    )


def header_line() -> str:
    return ",".join(HEADER) + "\r\n"


def csv_line(row: ExportedRow) -> str:
    """One line of our own file (RFC 4180), with its end. No cell of it is a formula."""
    created, expires = text_of(row.created_at_ms), text_of(row.expires_at_ms)
    cells = (
        *(row.short_code, row.short_url, row.original_url, row.title, ",".join(row.tags)),
        *(created, expires, str(row.visits_max), _bool(row.disabled), _bool(row.permanent)),
        *(row.rules, str(row.total_clicks), str(row.bot_clicks)),
    )
    return ",".join(map(_written, cells)) + "\r\n"


def _text(data: bytes) -> str:
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            text = data.decode("utf-16")
        else:
            text = data.decode("utf-8-sig", "surrogateescape")
    except UnicodeDecodeError as error:
        raise CsvWrong(f"it begins as UTF-16 and is none: {error.reason}") from error
    if "\0" in text:
        raise CsvWrong("it is no text: there is a NUL in it")
    return text


def _lines(text: str) -> Iterator[str]:
    """With their ends, which are LF, CRLF or CR."""
    return io.StringIO(text, newline="")


def _breaks(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def _broken_line(text: str) -> int:
    match = _BROKEN.search(text)
    assert match is not None
    return _breaks(text[: match.start()]) + 1


def _counted(rows: Iterator[GivenRow], rows_max: int | None) -> Sequence[GivenRow]:
    taken: list[GivenRow] = []
    for row in rows:
        if len(taken) == rows_max:
            raise CsvWrong(f"more than {rows_max} links; it has to be cut into several files")
        taken.append(row)
    return taken


# A table


def _table_of(text: str) -> Table | None:
    for delimiter in ",;\t":
        try:
            line, cells = next(_records(text, delimiter), (0, []))
        except CsvWrong:
            continue  # with another sign between the cells its quotes may match
        names = [_name(cell) for cell in cells[:COLUMNS_MAX]]
        for exporter in EXPORTERS:
            if exporter.needs <= set(names):
                return _placed(exporter, names, delimiter, header=line)
        if _is_yourls(cells):
            exporter = next(one for one in EXPORTERS if "keyword" in one.needs)
            return _placed(exporter, YOURLS_UNNAMED, delimiter, header=0)
    return None


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of each record that has any, with the line on which it begins."""
    rest = text.lstrip("\r\n")
    begin = _breaks(text[: len(text) - len(rest)]) + 1
    reader = csv.reader(_lines(rest), delimiter=delimiter, strict=True)
    while True:
        line = begin + reader.line_num
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise CsvWrong(
                f"line {line}: its quotes don't match, or a cell of it has more than "
                f"{CELL_CHARACTERS_MAX} characters"
            ) from error
        if any(cells):
            yield line, cells


def _name(cell: str) -> str:
    """A header's name without what exporters differ in: `Long URL`, `long_url` and `longUrl`."""
    return re.sub(r"[\s_-]", "", cell[:100]).lower()


def _is_yourls(cells: Sequence[str]) -> bool:
    """Whether it is a row of YOURLS's table, exported without the names."""
    return (
        len(cells) == len(YOURLS_UNNAMED)
        and _BEGINS_ADDRESS.match(cells[1]) is not None
        and instant_of(cells[3]) is not None
        and cells[5].isdecimal()
    )


def _placed(exporter: Exporter, names: Sequence[str], delimiter: str, *, header: int) -> Table:
    def place(name: str) -> int:
        return names.index(name) if name in names else -1

    own = ("visitsmax", "disabled", "permanent", "rules")
    return Table(
        exporter=exporter,
        delimiter=delimiter,
        header=header,
        width=len(names),
        address=place(exporter.address),
        codes=[place(name) for name in exporter.codes if name in names],
        title=place(exporter.title),
        tags=place(exporter.tags),
        expires=place(exporter.expires),
        password=place("password"),
        own=[place(name) for name in own] if exporter.ours else (),
    )


def _table_rows(text: str, table: Table) -> Iterator[GivenRow]:
    for line, cells in _records(text, table.delimiter):
        if line == table.header:
            continue
        if len(cells) > table.width and any(cells[table.width :]):
            yield GivenRow(line=line, reason=f"{len(cells)} cells under {table.width} names")
            continue
        # A row may end early. The last cell, at -1, stands for all columns that are not there.
        del cells[table.width :]
        cells.extend([""] * (table.width - len(cells) + 1))
        yield _row(line, cells, table)


def _row(line: int, cells: Sequence[str], table: Table) -> GivenRow:
    if table.exporter.neutralised:
        cells = [_restored(cell) if cell[:1] == "'" else cell for cell in cells]
    address, expires = cells[table.address].strip(), cells[table.expires].strip()
    expires_at_ms = instant_of(expires) if expires else None
    if reason := _address_reason(address):
        return GivenRow(line=line, reason=reason)
    if expires_at_ms is None and expires.lower() not in _NOTHING:
        return GivenRow(line=line, reason=f"its end {expires[:50]!r} is no date that is known here")
    if cells[table.password].lower() not in _NOTHING | _FALSE:
        return GivenRow(line=line, reason="it asks for a password, which no link does here")
    own = _own(*(cells[place].strip() for place in table.own)) if table.own else {}
    if isinstance(own, str):
        return GivenRow(line=line, reason=own)
    return GivenRow(
        line=line,
        address=address,
        code=next(filter(None, (_code(cells[place]) for place in table.codes)), ""),
        title=_title(cells[table.title], table.exporter),
        tags=_tags(cells[table.tags], table.exporter.parted_by),
        expires_at_ms=expires_at_ms,
        **own,
    )


def _address_reason(address: str) -> str:
    if not address:
        return "it has no long address"
    if len(address) > TARGET_CHARACTERS_MAX:
        return f"longer than {TARGET_CHARACTERS_MAX} characters"
    return ""


def _code(cell: str) -> str:
    """Of a code as it is, of /code/, or of a short link's path; "" if we don't take its form."""
    text = cell.strip()
    if is_code(text):
        return text
    front, scheme, rest = re.split(r"[?#]", text, maxsplit=1)[0].partition("://")
    host, _, path = (rest if scheme else front).partition("/")
    code = path.strip("/")
    return code if is_code(code) and (scheme or not host or "." in host) else ""


def _title(cell: str, exporter: Exporter) -> str:
    """A foreign one is often a web page's, longer and with more in it than we take; or a database's
    NULL.
    """
    if exporter.ours:
        return cell.strip()
    if cell in ("NULL", "\\N"):
        return ""
    title = _printable(cell)
    if len(title) <= TITLE_CHARACTERS_MAX:
        return title
    return title[: TITLE_CHARACTERS_MAX - 1].rstrip() + "…"


def _tags(cell: str, parted_by: Sequence[str]) -> tuple[str, ...]:
    if not cell:
        return ()
    mark = next((mark for mark in parted_by if mark in cell), parted_by[0])
    return tuple(dict.fromkeys(filter(None, map(_printable, cell.split(mark)))))


def _printable(text: str) -> str:
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())


def _own(visits: str, disabled: str, permanent: str, rules: str) -> Mapping[str, Any] | str:
    """What a row has only in our own files; or the reason why it is none."""
    visits_max = int(visits or 0) if _COUNT.fullmatch(visits) else -1
    flags = disabled.lower(), permanent.lower()
    if not 0 <= visits_max <= VISITS_MAX:
        return f"visits_max is {visits[:50]!r}; 0 to {VISITS_MAX} are taken"
    if not all(flag in _TRUE or flag in _FALSE for flag in flags):
        return "disabled and permanent are true or false"
    if not _is_rules(rules):
        return "rules are a JSON array"
    return {
        "visits_max": visits_max,
        "disabled": flags[0] in _TRUE,
        "permanent": flags[1] in _TRUE,
        "rules": rules,
    }


def _is_rules(text: str) -> bool:
    try:
        return not text or isinstance(msgspec.json.decode(text), list)
    except (msgspec.DecodeError, RecursionError):
        return False


# A list


def _is_list(text: str) -> bool:
    """Whether its first line is an address; or, if that is no table's header, a later one."""
    lines = (line for line in _lines(text.lstrip()) if line.strip())
    first = next(lines, "")
    if _BEGINS_ADDRESS.match(first):
        return True
    return not re.search(r'[,;\t"]', first) and any(_BEGINS_ADDRESS.match(line) for line in lines)


def _list_rows(text: str) -> Iterator[GivenRow]:
    """A blank or a tab, which no address has, parts the code; commas belong to the address."""
    for number, line in enumerate(_lines(text), start=1):
        if not line.strip():
            continue
        address, *code = re.split(r"[ \t]+", line.strip(), maxsplit=1)
        if _BROKEN.search(line):
            yield GivenRow(line=number, reason="it is not UTF-8")
        elif reason := _address_reason(address):
            yield GivenRow(line=number, reason=reason)
        else:
            yield GivenRow(line=number, address=address, code="".join(code))


# Cells


def _written(text: str) -> str:
    safe = f"'{text}" if _FORMULA.match(text) else text
    return '"' + safe.replace('"', '""') + '"' if _QUOTED.search(safe) else safe


def _restored(cell: str) -> str:
    return cell[1:] if _NEUTRALISED.match(cell) else cell


def _bool(value: bool) -> str:
    return "true" if value else "false"
