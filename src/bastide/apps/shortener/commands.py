"""`bastide shortener ...`: shorten, stats, list, import, export, enable, disable, tag, delete."""

import argparse
import asyncio
import getpass
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from bastide.apps.shortener.contract import CsvWrong, LinkMissing
from bastide.apps.shortener.core.codes import is_code
from bastide.apps.shortener.core.exports import GivenRow, read_csv
from bastide.base.errors import Invalid, Unavailable, refusal_of
from bastide.base.instants import text_of
from bastide.base.manifest import Command
from bastide.base.shell import send

if TYPE_CHECKING:  # it takes a tenth of a second to import
    from httpx import AsyncClient

CHUNK_LINES = 250  # a request: a few milliseconds, between which the town goes on redirecting
CHUNK_BYTES = 2 << 20  # a row alone may have half of it, and the door takes twice as much
KEY_BYTES_MAX = 1_000
EXPORT = "/api/links/export.csv"
KEY_OF_LINK = "the link's manage key"


class Tally(msgspec.Struct):
    made: int = 0
    duplicate: int = 0
    bad: int = 0


def _declare_key(parser: ArgumentParser, meaning: str, *, required: bool) -> None:
    """Both ways give `arguments.key`. No variable: the town refuses those it doesn't read."""
    ways = parser.add_mutually_exclusive_group(required=required)
    shown = "; whoever is on this machine sees it in `ps`, unless it is in a file"
    ways.add_argument("--key", help=meaning + shown)
    ways.add_argument(
        "--key-file",
        metavar="FILE",
        dest="key",
        type=_key_in,
        help="a file whose first line is the manage key; - is the standard input",
    )


def _key_in(path: str) -> str:
    try:
        if path != "-":
            with Path(path).open("rb") as file:
                return _first_line(file)
        if sys.stdin.isatty():
            return getpass.getpass("manage key: ").strip()
        return _first_line(sys.stdin.buffer)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error.strerror}") from error


def _first_line(file: BinaryIO) -> str:
    line = file.readline(KEY_BYTES_MAX).decode("ascii", "replace").strip()
    if not line:
        raise argparse.ArgumentTypeError("its first line is empty")
    return line


def _declare_shorten(parser: ArgumentParser) -> None:
    parser.add_argument("address", metavar="URL", help="the long address")
    parser.add_argument("--code", help="the code that you want")
    parser.add_argument("--days", type=float, help="how long it lives")
    parser.add_argument("--permanent", action="store_true", help="redirect by 301")
    _declare_key(parser, "your manage key (without one a new one is made)", required=False)


async def _shorten(client: "AsyncClient", arguments: Namespace) -> None:
    asked = {
        "original_url": arguments.address,
        "custom_code": arguments.code,
        "expires_days": arguments.days,
        "permanent": arguments.permanent,
    }
    made = await _send(client, "POST", "/api/shorten", arguments.key, asked)
    print(made["short_url"])
    if "manage_key" in made:
        print(f"manage key: {made['manage_key']}", file=sys.stderr)


def _declare_link(parser: ArgumentParser) -> None:
    _declare_code(parser)
    _declare_key(parser, KEY_OF_LINK, required=True)


def _declare_code(parser: ArgumentParser) -> None:
    parser.add_argument("code", help="the end of the short link; after -- if it begins with a -")


async def _stats(client: "AsyncClient", arguments: Namespace) -> None:
    found = await _send(client, "GET", f"{_path_of(arguments)}/stats", arguments.key)
    more = " (there may be more: not all could be counted now)" if found["pending"] else ""
    print(f"clicks: {found['total_clicks']}, by bots: {found['bot_clicks']}{more}")


def _declare_list(parser: ArgumentParser) -> None:
    _declare_key(parser, "your manage key", required=True)


async def _list(client: "AsyncClient", arguments: Namespace) -> None:
    query = {"limit": "100"}
    while True:
        page = await _send(client, "GET", "/api/links", arguments.key, params=query)
        for link in page["items"]:
            print(f"{link['short_url']}\t{link['total_clicks']}\t{link['original_url']}")
        if page["next"] is None:
            return
        query["cursor"] = page["next"]


async def _enable(client: "AsyncClient", arguments: Namespace) -> None:
    link = await _change(client, arguments, {"disabled": False})
    print(f"on: {link['short_url']}")


async def _disable(client: "AsyncClient", arguments: Namespace) -> None:
    link = await _change(client, arguments, {"disabled": True})
    print(f"off: {link['short_url']}")


def _declare_tag(parser: ArgumentParser) -> None:
    _declare_code(parser)
    _declare_key(parser, KEY_OF_LINK, required=False)
    parser.add_argument(
        "tags",
        nargs=argparse.REMAINDER,
        action=_Tags,
        metavar="+TAG|-TAG",
        help="what comes and what goes",
    )


class _Tags(argparse.Action):
    """All behind the code, since -TAG looks like an option; the key may be among them."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        keys = ArgumentParser(prog=parser.prog, add_help=False, allow_abbrev=False)
        _declare_key(keys, KEY_OF_LINK, required=namespace.key is None)
        _, namespace.tags = keys.parse_known_args(list(values or ()), namespace)


async def _tag(client: "AsyncClient", arguments: Namespace) -> None:
    marks = {"+": list[str](), "-": list[str]()}
    for tag in arguments.tags:
        if tag[:1] not in marks:
            raise Invalid(f"{tag!r}: a tag comes with + and goes with -, behind the code")
        marks[tag[0]].append(tag[1:])
    link = await _change(client, arguments, {"add_tags": marks["+"], "remove_tags": marks["-"]})
    print(f"tags: {', '.join(link['tags'])}")


def _declare_delete(parser: ArgumentParser) -> None:
    _declare_link(parser)
    parser.add_argument("--yes", action="store_true", help="don't ask")


async def _delete(client: "AsyncClient", arguments: Namespace) -> None:
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise Invalid("nobody is here to be asked: --yes deletes it")
        link = await _send(client, "GET", _path_of(arguments), arguments.key)
        print(f"{link['short_url']} to {link['original_url']}, {link['total_clicks']} clicks")
        if not _agreed("Delete it for good? Nobody gets its code again. [y/N] "):
            print("kept")
            return
    await _send(client, "DELETE", _path_of(arguments), arguments.key)
    print(f"deleted: {arguments.code}")


def _agreed(question: str) -> bool:
    """It holds up the loop, which has nothing else to do for this command."""
    return input(question).strip().lower() in ("y", "yes")


def _declare_import(parser: ArgumentParser) -> None:
    parser.add_argument(
        "file",
        type=Path,
        help="CSV as exported here, by Bitly, Dub, Shlink, Short.io or YOURLS, or a table with a "
        "column original_url, long_url or url; or a line for each link: URL, or URL and CODE with "
        "a blank between",
    )
    parser.add_argument("--days", type=float, help="how long the links live, if the file says not")
    _declare_key(parser, "your manage key (without one a new one is made)", required=False)


async def _import(client: "AsyncClient", arguments: Namespace) -> None:
    """Sends the file in chunks, each one commit and each repeatable: run again after whatever
    stopped it, within a day, it goes on where it was, under the same manage key.
    """
    from tqdm import tqdm

    given = await asyncio.to_thread(_file_bytes, arguments.file)
    rows = await asyncio.to_thread(_rows, given, arguments.file)
    name = _import_name(given, arguments.file, arguments.days)
    key, first_lines, tally, start = arguments.key, dict[str, int](), Tally(), 0
    with tqdm(total=len(rows), unit=" lines", disable=None) as bar:
        for chunk in _chunks(rows):
            made = await _send_chunk(client, chunk, key, arguments.days, f"{name}-{start}")
            if "manage_key" in made:
                key = made["manage_key"]
                bar.write(f"manage key: {key}")
            if reports := _reports(chunk, made.get("links", ()), first_lines, tally):
                bar.write("\n".join(reports))
            bar.update(len(chunk))
            start += len(chunk)
    print(f"made: {tally.made}, duplicates: {tally.duplicate}, bad lines: {tally.bad}")


def _file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}") from error


def _rows(given: bytes, path: Path) -> Sequence[GivenRow]:
    try:
        return read_csv(given)
    except CsvWrong as error:
        raise CsvWrong(f"{path}: {error}") from error


def _import_name(given: bytes, path: Path, days: float | None) -> str:
    """The same for the same import, another for another: of somebody else's copy of the file, too,
    since who repeats an import gets its manage key. Who reads the file and knows the name can work
    it out; the town takes it from the same address only.
    """
    who = f"{getpass.getuser()} {path.resolve()} {days}".encode()
    return f"import-{blake2b(given, key=blake2b(who).digest(), digest_size=16).hexdigest()}"


def _chunks(rows: Sequence[GivenRow]) -> Iterator[Sequence[GivenRow]]:
    """The same each time, or a repeated import would not be one."""
    chunk, size = list[GivenRow](), 0
    for row in rows:
        row_bytes = len(msgspec.json.encode(row))
        if chunk and (len(chunk) == CHUNK_LINES or size + row_bytes > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += row_bytes
    if chunk:
        yield chunk


async def _send_chunk(
    client: "AsyncClient",
    chunk: Sequence[GivenRow],
    key: str | None,
    days: float | None,
    repeat_key: str,
) -> Mapping[str, Any]:
    links = [_link(row) for row in chunk if not row.reason]
    if not links:
        return {}
    asked, named = {"links": links, "expires_days": days}, {"idempotency-key": repeat_key}
    try:
        made: Mapping[str, Any] = await _send(
            client, "POST", "/api/links/import", key, asked, headers=named
        )
    except Invalid as error:  # of all, as rules that are none
        raise Invalid(f"lines {chunk[0].line} to {chunk[-1].line}: {error}") from error
    return made


def _link(row: GivenRow) -> Mapping[str, Any]:
    """As the door takes it; what the row says nothing of is left out."""
    link = {
        "original_url": row.address,
        "custom_code": row.code,
        "title": row.title,
        "tags": row.tags,
        "expires_at": "" if row.expires_at_ms is None else text_of(row.expires_at_ms),
        "visits_max": row.visits_max,
        "permanent": row.permanent,
        "disabled": row.disabled,
        "rules": msgspec.Raw(row.rules.encode()) if row.rules else None,
    }
    return {name: value for name, value in link.items() if value}


def _reports(
    chunk: Sequence[GivenRow],
    answers: Sequence[Mapping[str, str]],
    first_lines: dict[str, int],
    tally: Tally,
) -> Sequence[str]:
    """What is to be said of the chunk's lines. `first_lines`: which line made a code."""
    reports, left = [], iter(answers)
    for row in chunk:
        answer = {"outcome": "refused", "reason": row.reason} if row.reason else next(left)
        if answer["outcome"] == "created":
            tally.made += 1
            first_lines[answer["short_code"]] = row.line
        elif answer["outcome"] == "existing":
            tally.duplicate += 1
            first = first_lines.get(answer["short_code"])
            of = f"line {first}" if first else "a link that you have"
            reports.append(f"line {row.line}: duplicate of {of}, {answer['short_url']}")
        else:
            tally.bad += 1
            reports.append(f"line {row.line}: {answer['reason']}")
    return reports


def _declare_export(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, nargs="?", help="where to; else the standard output")
    _declare_key(parser, "your manage key", required=True)


async def _export(client: "AsyncClient", arguments: Namespace) -> None:
    """A file is there whole or as it was before: it is written beside, and renamed."""
    if arguments.file is None:
        await _copy(client, arguments.key, sys.stdout.buffer)
        return
    path: Path = arguments.file
    beside = path.with_name(f"{path.name}.part")
    try:
        with beside.open("wb") as file:
            await _copy(client, arguments.key, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise Invalid(f"{error.filename or path}: {error.strerror}") from error
    finally:
        if beside.exists():
            beside.unlink()


async def _copy(client: "AsyncClient", key: str, file: BinaryIO) -> None:
    from httpx import TransportError

    try:
        async with client.stream("GET", EXPORT, headers=_bearer(key)) as reply:
            if not reply.is_success:
                await reply.aread()
                raise refusal_of(reply.status_code, reply.content)
            async for piece in reply.aiter_bytes():
                file.write(piece)
    except TransportError as error:
        raise Unavailable(f"the town does not answer: {error}") from error


async def _change(
    client: "AsyncClient", arguments: Namespace, changes: Mapping[str, Any]
) -> Mapping[str, Any]:
    link: Mapping[str, Any] = await _send(
        client, "PATCH", _path_of(arguments), arguments.key, changes
    )
    return link


def _path_of(arguments: Namespace) -> str:
    """What is no code is no link, and would be another path."""
    if not is_code(arguments.code):
        raise LinkMissing(arguments.code)
    return f"/api/{arguments.code}"


async def _send(
    client: "AsyncClient",
    method: str,
    path: str,
    key: str | None,
    body: Mapping[str, Any] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
) -> Any:
    """As `send`, with the key."""
    sent = {**_bearer(key), **(headers or {})}
    return await send(client, method, path, body=body, params=params, headers=sent)


def _bearer(key: str | None) -> Mapping[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


COMMANDS = (
    Command("shorten", "make a short link", _declare_shorten, _shorten),
    Command("stats", "the clicks of a link", _declare_link, _stats),
    Command("list", "your links, the newest first", _declare_list, _list),
    Command("enable", "switch a link on", _declare_link, _enable),
    Command("disable", "switch a link off", _declare_link, _disable),
    Command("tag", "give a link tags (+TAG), take them away (-TAG)", _declare_tag, _tag),
    Command("delete", "delete a link for good", _declare_delete, _delete),
    Command("import", "make a short link of each line of a file", _declare_import, _import),
    Command("export", "your links as CSV, which import reads", _declare_export, _export),
)
