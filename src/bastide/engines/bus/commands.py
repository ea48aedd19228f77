"""`bastide bus ...`: topics, groups, relays, dead, replay, discard."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from bastide.base.errors import Conflict, Invalid, NotFound, Refusal, Unavailable
from bastide.base.manifest import Command
from bastide.base.shell import PAGE, declare_json, items, print_columns, print_json, send

if TYPE_CHECKING:  # it takes a tenth of a second to import
    from httpx import AsyncClient

REASON_SHOWN_MAX = 80  # characters, in a line of a list
OFFSET_MAX = (1 << 63) - 1


def _declare_topics(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="one topic")
    parser.add_argument("--schema", action="store_true", help="the JSON Schema of each event")
    declare_json(parser)


async def _topics(client: "AsyncClient", arguments: Namespace) -> None:
    if arguments.name is None:
        found = [one async for one in items(client, "/api/topics")]
    else:
        found = [await send(client, "GET", _path("topics", arguments.name))]
    if arguments.schema:
        shown = [await send(client, "GET", _path("topics", one["name"])) for one in found]
        print_json({one["name"]: one["schemas"] for one in shown})
        return
    if arguments.json:
        print_json(found)
        return
    rows = [("TOPIC", "PARTITIONS", "EVENTS", "HEARD BY")]
    for one in found:
        events, groups = (", ".join(one[name]) or "-" for name in ("events", "groups"))
        rows.append((one["name"], str(one["partitions"]), events, groups))
    print_columns(rows)


async def _groups(client: "AsyncClient", arguments: Namespace) -> None:
    found = [one async for one in items(client, "/api/groups")]
    if arguments.json:
        print_json(found)
        return
    rows = [("GROUP", "TOPIC", "LAG", "HANDLED", "REPEATED", "DEAD", "ERROR")]
    for one in found:
        lag = "?" if one["lag"] is None else f"{one['lag']:,}"
        counts = (f"{one[name]:,}" for name in ("handled", "repeated", "dead"))
        error = _line(one["error"]) or "-"
        rows.append((f"{one['client']}.{one['group']}", one["topic"], lag, *counts, error))
    print_columns(rows)


async def _relays(client: "AsyncClient", arguments: Namespace) -> None:
    found = [one async for one in items(client, "/api/relays")]
    if arguments.json:
        print_json(found)
        return
    rows = [("SYSTEM", "OUTBOX", "JOURNAL", "JOURNAL BYTES", "RELAYED", "ERROR")]
    for one in found:
        counts = (f"{one[n]:,}" for n in ("waiting", "unrelayed", "journal_bytes", "relayed"))
        rows.append((one["client"], *counts, _line(one["error"]) or "-"))
    print_columns(rows)


def _declare_dead(parser: ArgumentParser) -> None:
    parser.add_argument("system")
    parser.add_argument("--before", metavar="N", type=_offset, help="those below this offset")
    parser.add_argument("--limit", metavar="N", type=_count, default=50, help="default: 50")
    parser.add_argument("--show", metavar="N", type=_offset, help="one, whole")
    declare_json(parser)


async def _dead(client: "AsyncClient", arguments: Namespace) -> None:
    if arguments.show is not None:
        letter = await send(client, "GET", _path("dead", arguments.system, str(arguments.show)))
        print_json(letter) if arguments.json else _print_letter(letter)
        return
    letters = _letters(client, arguments.system, arguments.before)
    found = [one async for one in _first(letters, arguments.limit)]
    if arguments.json:
        print_json(found)
        return
    rows = [("OFFSET", "WHEN", "GROUP", "STATE", "REASON")]
    for one in found:
        told = (str(one["offset"]), _when(one["at_ms"]), one["group"], one["state"])
        rows.append((*told, _line(one["reason"])))
    print_columns(rows)


def _print_letter(letter: Mapping[str, Any]) -> None:
    lay = f"{letter['topic']} {letter['partition']} at {letter['lay_at']}"
    tries = f"{letter['tries']} tries" if letter["tries"] else "it could not be read"
    print(f"{letter['state']}, of {letter['group']}, {_when(letter['at_ms'])}, {tries}")
    print(f"{lay}, key {letter['key'] or '-'}")
    print(letter["reason"])
    if letter["base64"]:
        print(f"base64:{letter['value']}")
        return
    try:
        print(msgspec.json.format(letter["value"]))
    except msgspec.DecodeError:
        print(letter["value"])


def _declare_replay(parser: ArgumentParser) -> None:
    parser.add_argument("system")
    parser.add_argument("offsets", nargs="*", metavar="OFFSET", type=_offset)
    parser.add_argument("--all", action="store_true", help="all that wait, the oldest first")


async def _replay(client: "AsyncClient", arguments: Namespace) -> None:
    if arguments.all == bool(arguments.offsets):
        raise Invalid("which ones: give their offsets, or --all")
    offsets = arguments.offsets
    if arguments.all:
        letters = _letters(client, arguments.system, None)
        offsets = [one["offset"] async for one in letters if one["state"] == "waiting"][::-1]
    await _settle(client, arguments.system, offsets, "replay")


def _declare_discard(parser: ArgumentParser) -> None:
    parser.add_argument("system")
    parser.add_argument("offsets", nargs="+", metavar="OFFSET", type=_offset)


async def _discard(client: "AsyncClient", arguments: Namespace) -> None:
    await _settle(client, arguments.system, arguments.offsets, "discard")


async def _settle(client: "AsyncClient", system: str, offsets: Sequence[int], does: str) -> None:
    """One by one. What is refused is told, and stops the others only if the town is away."""
    wanted = list(dict.fromkeys(offsets))
    done = 0
    for offset in wanted:
        try:
            await send(client, "POST", _path("dead", system, str(offset), does))
            done += 1
        except Refusal as refusal:
            if len(wanted) == 1 or isinstance(refusal, Unavailable):
                raise
            print(f"{offset}: {refusal}")
    print(f"{does}ed: {done}")
    if done < len(wanted):
        raise Conflict(f"{len(wanted) - done} of {len(wanted)} were refused")


def _offset(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > OFFSET_MAX:
        raise ArgumentTypeError(f"{text!r}: an offset is expected")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r}: a number from 1 on is expected")
    return int(text)


def _path(*names: str) -> str:
    """`.` and `..` would be another path."""
    for name in names:
        if name in ("", ".", "..") or "/" in name:
            raise NotFound(f"there is no {name!r} on the bus")
    return "/".join(("/api", *(quote(name, safe="") for name in names)))


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _line(text: str) -> str:
    """What fits in a list."""
    flat = " ".join(text.split())
    return flat if len(flat) <= REASON_SHOWN_MAX else f"{flat[: REASON_SHOWN_MAX - 1]}…"


async def _letters(
    client: "AsyncClient", system: str, before: int | None
) -> AsyncIterator[Mapping[str, Any]]:
    """The newest first, all pages."""
    query = {"limit": PAGE} | ({} if before is None else {"before": str(before)})
    while True:
        page = await send(client, "GET", _path("dead", system), params=query)
        for one in page["items"]:
            yield one
        if page["next"] is None:
            return
        query["before"] = str(page["next"])


async def _first(items: AsyncIterator[Any], count: int) -> AsyncIterator[Any]:
    async for one in items:
        yield one
        if (count := count - 1) == 0:
            return


COMMANDS = (
    Command("topics", "topics of events, and who hears them", _declare_topics, _topics),
    Command("groups", "how far each group is", declare_json, _groups),
    Command("relays", "what waits in outboxes and journals", declare_json, _relays),
    Command("dead", "dead letters of a system", _declare_dead, _dead),
    Command("replay", "let dead letters have their effect", _declare_replay, _replay),
    Command("discard", "give dead letters up", _declare_discard, _discard),
)
