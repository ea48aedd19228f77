"""`bastide shortener ...`: shorten, stats, list, import."""

import asyncio
import getpass
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bastide.apps.shortener.contract import TARGET_CHARACTERS_MAX
from bastide.base.errors import Invalid, Unavailable, refusal_of
from bastide.base.manifest import Command

if TYPE_CHECKING:  # it takes a tenth of a second to import
    from httpx import AsyncClient

CHUNK_LINES = 250  # a request: a few milliseconds, between which the town goes on redirecting


class GivenLine(msgspec.Struct, frozen=True):
    """One line of a file. `reason` says why it is not even sent."""

    number: int
    address: str = ""
    code: str | None = None
    reason: str = ""


class Tally(msgspec.Struct):
    made: int = 0
    duplicate: int = 0
    bad: int = 0


def _declare_shorten(parser: ArgumentParser) -> None:
    parser.add_argument("address", metavar="URL", help="the long address")
    parser.add_argument("--code", help="the code that you want")
    parser.add_argument("--days", type=float, help="how long it lives")
    parser.add_argument("--permanent", action="store_true", help="redirect by 301")
    parser.add_argument("--key", help="your manage key; without one a new one is made")


async def _shorten(client: "AsyncClient", arguments: Namespace) -> None:
    asked = {
        "original_url": arguments.address,
        "custom_code": arguments.code,
        "expires_days": arguments.days,
        "permanent": arguments.permanent,
    }
    made = await _send(client, "POST", "/api/shorten", arguments.key, json=asked)
    print(made["short_url"])
    if "manage_key" in made:
        print(f"manage key: {made['manage_key']}", file=sys.stderr)


def _declare_stats(parser: ArgumentParser) -> None:
    parser.add_argument("code")
    parser.add_argument("--key", required=True, help="the link's manage key")


async def _stats(client: "AsyncClient", arguments: Namespace) -> None:
    found = await _send(client, "GET", f"/api/{arguments.code}/stats", arguments.key)
    more = " (there may be more: not all could be counted now)" if found["pending"] else ""
    print(f"clicks: {found['total_clicks']}, by bots: {found['bot_clicks']}{more}")


def _declare_list(parser: ArgumentParser) -> None:
    parser.add_argument("--key", required=True, help="your manage key")


async def _list(client: "AsyncClient", arguments: Namespace) -> None:
    query = {"limit": "100"}
    while True:
        page = await _send(client, "GET", "/api/links", arguments.key, params=query)
        for link in page["items"]:
            print(f"{link['short_url']}\t{link['total_clicks']}\t{link['original_url']}")
        if page["next"] is None:
            return
        query["cursor"] = page["next"]


def _declare_import(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="a line for each link: URL, or URL,CODE")
    parser.add_argument("--key", help="your manage key; without one a new one is made")
    parser.add_argument("--days", type=float, help="how long the links live")


async def _import(client: "AsyncClient", arguments: Namespace) -> None:
    """Sends the file in chunks, each one commit and each repeatable: run again after whatever
    stopped it, within a day, it goes on where it was, under the same manage key.
    """
    from tqdm import tqdm

    text = await asyncio.to_thread(_file_bytes, arguments.file)
    lines = _lines(text)
    name = _import_name(text, arguments.file, arguments.days)
    key, first_lines, tally = arguments.key, dict[str, int](), Tally()
    with tqdm(total=len(lines), unit=" lines", disable=None) as bar:
        for start in range(0, len(lines), CHUNK_LINES):
            chunk = lines[start : start + CHUNK_LINES]
            made = await _send_chunk(client, chunk, key, arguments.days, f"{name}-{start}")
            if "manage_key" in made:
                key = made["manage_key"]
                bar.write(f"manage key: {key}")
            if reports := _reports(chunk, made.get("links", ()), first_lines, tally):
                bar.write("\n".join(reports))
            bar.update(len(chunk))
    print(f"made: {tally.made}, duplicates: {tally.duplicate}, bad lines: {tally.bad}")


def _file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}") from error


def _lines(text: bytes) -> Sequence[GivenLine]:
    """Empty ones are left out; a blank or a tab, which no address has, parts the code."""
    numbered = enumerate(text.splitlines(), start=1)
    return [_line(number, line.strip()) for number, line in numbered if line.strip()]


def _line(number: int, line: bytes) -> GivenLine:
    try:
        address, *code = line.decode().split(None, 1)
    except UnicodeDecodeError:
        return GivenLine(number, reason="it is not UTF-8")
    if len(address) > TARGET_CHARACTERS_MAX:
        return GivenLine(number, reason=f"longer than {TARGET_CHARACTERS_MAX} characters")
    return GivenLine(number, address, *code)


def _import_name(text: bytes, path: Path, days: float | None) -> str:
    """The same for the same import, another for another: of somebody else's copy of the file, too,
    since who repeats an import gets its manage key. Who reads the file and knows the name can work
    it out; the town takes it from the same address only.
    """
    who = f"{getpass.getuser()} {path.resolve()} {days}".encode()
    return f"import-{blake2b(text, key=blake2b(who).digest(), digest_size=16).hexdigest()}"


async def _send_chunk(
    client: "AsyncClient",
    chunk: Sequence[GivenLine],
    key: str | None,
    days: float | None,
    repeat_key: str,
) -> Mapping[str, Any]:
    links = [
        {"original_url": line.address, "custom_code": line.code}
        for line in chunk
        if not line.reason
    ]
    if not links:
        return {}
    asked = {"links": links, "expires_days": days}
    headers = {"idempotency-key": repeat_key}
    made: Mapping[str, Any] = await _send(
        client, "POST", "/api/links/import", key, json=asked, headers=headers
    )
    return made


def _reports(
    chunk: Sequence[GivenLine],
    answers: Sequence[Mapping[str, str]],
    first_lines: dict[str, int],
    tally: Tally,
) -> Sequence[str]:
    """What is to be said of the chunk's lines. `first_lines`: which line made a code."""
    reports, left = [], iter(answers)
    for line in chunk:
        answer = {"outcome": "refused", "reason": line.reason} if line.reason else next(left)
        if answer["outcome"] == "created":
            tally.made += 1
            first_lines[answer["short_code"]] = line.number
        elif answer["outcome"] == "existing":
            tally.duplicate += 1
            first = first_lines.get(answer["short_code"])
            of = f"line {first}" if first else "a link that you have"
            reports.append(f"line {line.number}: duplicate of {of}, {answer['short_url']}")
        else:
            tally.bad += 1
            reports.append(f"line {line.number}: {answer['reason']}")
    return reports


async def _send(
    client: "AsyncClient",
    method: str,
    path: str,
    key: str | None,
    *,
    headers: Mapping[str, str] | None = None,
    **options: Any,
) -> Any:
    """The reply's JSON, or its problem raised."""
    from httpx import TransportError

    bearer = {"authorization": f"Bearer {key}"} if key else {}
    try:
        reply = await client.request(method, path, headers={**bearer, **(headers or {})}, **options)
    except TransportError as error:
        raise Unavailable(f"the town does not answer: {error}", outcome="unknown") from error
    if reply.is_success:
        return reply.json()
    raise refusal_of(reply.status_code, reply.content)


COMMANDS = (
    Command("shorten", "make a short link", _declare_shorten, _shorten),
    Command("stats", "the clicks of a link", _declare_stats, _stats),
    Command("list", "your links, the newest first", _declare_list, _list),
    Command("import", "make a short link of each line of a file", _declare_import, _import),
)
