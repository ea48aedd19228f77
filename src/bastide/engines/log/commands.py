"""`bastide log ...`: topics, append, tail, groups."""

import argparse
import asyncio
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from io import BufferedReader
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import msgspec

from bastide.base.manifest import Command
from bastide.base.shell import PAGE, declare_json, items, print_columns, print_json, send
from bastide.engines.log.contract import RECORD_BYTES_MAX, RecordTooLarge, TopicRefused

if TYPE_CHECKING:  # it takes a tenth of a second to import
    from httpx import AsyncClient

CHUNK_RECORDS = 1_000  # of one request
CHUNK_BYTES = 1 << 20  # of lines; the door takes four times as much
POLL_S = 0.25


def _declare_topics(parser: ArgumentParser) -> None:
    declare_json(parser)


async def _topics(client: "AsyncClient", arguments: Namespace) -> None:
    found = [one async for one in items(client, "/api/topics")]
    if arguments.json:
        print_json(found)
        return
    rows = [("TOPIC", "PARTITIONS", "RECORDS", "BYTES")]
    for one in found:
        records = sum(p["next"] - p["first"] for p in one["partitions"])
        rows.append((one["name"], str(len(one["partitions"])), f"{records:,}", f"{one['bytes']:,}"))
    print_columns(rows)


def _declare_append(parser: ArgumentParser) -> None:
    _declare_append_options(parser)
    parser.add_argument("topic", help="made if it is not there")
    parser.add_argument(
        "values",
        nargs=argparse.REMAINDER,
        action=_Values,
        metavar="VALUE",
        help="a record each, that begins with no -; without any, each line of the input is",
    )


def _declare_append_options(parser: ArgumentParser) -> None:
    parser.add_argument("--key", help="of all of them")
    parser.add_argument("--partition", type=int, help="else by the key, or any one")
    declare_json(parser)


class _Values(argparse.Action):
    """All behind the topic: options may be among them."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        rest = ArgumentParser(prog=parser.prog, add_help=False, allow_abbrev=False)
        _declare_append_options(rest)
        rest.add_argument("values", nargs="*")
        rest.parse_intermixed_args(list(values or ()), namespace)


async def _append(client: "AsyncClient", arguments: Namespace) -> None:
    path = f"{_path_of(arguments.topic)}/records"
    places: list[Any] = []
    count = 0
    async for chunk in _chunks(arguments.values):
        records = [_record(value, arguments.key) for value in chunk]
        body = {"records": records, "partition": arguments.partition}
        appended = await send(client, "POST", path, body=body)
        count += len(records)
        if arguments.json:
            places += appended["places"]
    if arguments.json:
        print_json(places)
    else:
        print(f"appended: {count}")


async def _chunks(values: Sequence[str]) -> AsyncIterator[Sequence[bytes]]:
    """The values, or the lines of the standard input as they come."""
    if values:
        given = [value.encode("utf-8", "surrogateescape") for value in values]
        for at in range(0, len(given), CHUNK_RECORDS):
            yield given[at : at + CHUNK_RECORDS]
        return
    input_ = cast(BufferedReader, sys.stdin.buffer)
    rest = b""
    while piece := await asyncio.to_thread(input_.read1, CHUNK_BYTES):
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > RECORD_BYTES_MAX:
            raise RecordTooLarge(f"a line of more than {RECORD_BYTES_MAX} bytes")
        for at in range(0, len(lines), CHUNK_RECORDS):
            yield lines[at : at + CHUNK_RECORDS]
    if rest:
        yield [rest]


def _record(value: bytes, key: str | None) -> Mapping[str, Any]:
    try:
        return {"value": value.decode(), "key": key}
    except UnicodeDecodeError:
        return {"value_base64": b64encode(value).decode(), "key": key}


def _declare_tail(parser: ArgumentParser) -> None:
    parser.add_argument("topic")
    parser.add_argument(
        "--from",
        dest="start",
        metavar="first|end|OFFSET",
        type=_start,
        default="end",
        help="where it begins; an offset is one of a partition (default: end)",
    )
    parser.add_argument("--partition", type=int, help="this one alone")
    parser.add_argument("--count", type=int, help="ends after so many records")
    declare_json(parser, "a JSON object a line")


def _start(text: str) -> str | int:
    if text in ("first", "end"):
        return text
    if not text.isascii() or not text.isdigit():
        raise ArgumentTypeError(f"{text!r}: first, end or an offset is expected")
    return int(text)


async def _tail(client: "AsyncClient", arguments: Namespace) -> None:
    """It asks again and again, so that it works without a running town, too."""
    left = arguments.count
    records = _followed(client, _path_of(arguments.topic), arguments.start, arguments.partition)
    if left is not None and left <= 0:
        return
    async for one in records:
        print(msgspec.json.encode(one).decode() if arguments.json else _line(one), flush=True)
        if left is not None and (left := left - 1) == 0:
            return


async def _followed(
    client: "AsyncClient", path: str, start: str | int, partition: int | None
) -> AsyncIterator[Mapping[str, Any]]:
    numbers = None if partition is None else [partition]
    offsets = await _offsets(client, path, start, numbers)
    while True:
        moved = False
        ends = {p["partition"]: p["next"] for p in (await send(client, "GET", path))["partitions"]}
        for number, offset in offsets.items():
            if offset >= ends[number]:
                continue
            asked = {"partition": str(number), "offset": str(offset), "limit": PAGE}
            page = await send(client, "GET", f"{path}/records", params=asked)
            for one in page["items"]:
                yield one
            offsets[number] = page["next"]
            moved = moved or page["next"] > offset
        if not moved:
            await asyncio.sleep(POLL_S)


async def _offsets(
    client: "AsyncClient", path: str, start: str | int, numbers: Sequence[int] | None
) -> dict[int, int]:
    """Where each partition is read from."""
    topic = await send(client, "GET", path)
    found = {p["partition"]: p for p in topic["partitions"]}
    if numbers is None:
        numbers = list(found)
    for number in numbers:
        if number not in found:  # the door says which there are
            await send(client, "GET", f"{path}/records", params={"partition": str(number)})
    if isinstance(start, int):
        if len(numbers) > 1:
            raise TopicRefused(f"{len(numbers)} partitions: --partition says of which {start} is")
        asked = {"partition": str(numbers[0]), "offset": str(start), "limit": "1"}
        await send(client, "GET", f"{path}/records", params=asked)  # or it is refused
        return {numbers[0]: start}
    return {n: found[n]["first" if start == "first" else "next"] for n in numbers}


def _line(one: Mapping[str, Any]) -> str:
    key, value = _text(one, "key"), _text(one, "value")
    return f"{one['partition']}\t{one['offset']}\t{key}\t{value}"


def _text(one: Mapping[str, Any], name: str) -> str:
    if (encoded := one.get(f"{name}_base64")) is not None:
        return f"base64:{encoded}"
    text = one.get(name)
    return "-" if text is None else str(text)


def _declare_groups(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="one group, by partition")
    declare_json(parser)


async def _groups(client: "AsyncClient", arguments: Namespace) -> None:
    if arguments.name is not None:
        group = await send(client, "GET", f"/api/groups/{quote(arguments.name, safe='')}")
        print_json(group) if arguments.json else _print_group(group)
        return
    found = [one async for one in items(client, "/api/groups")]
    if arguments.json:
        print_json(found)
        return
    rows = [("GROUP", "STATE", "GENERATION", "MEMBERS", "LAG")]
    rows += [
        (g["name"], g["state"], str(g["generation"]), str(g["members"]), f"{g['lag']:,}")
        for g in found
    ]
    print_columns(rows)


def _print_group(group: Mapping[str, Any]) -> None:
    print(f"{group['state']}, generation {group['generation']}, lag {group['lag']:,}")
    readers = {tuple(place): m["id"] for m in group["members"] for place in m["partitions"]}
    rows = [("TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER")]
    for one in group["offsets"]:
        committed = "-" if one["committed"] is None else str(one["committed"])
        reader = readers.get((one["topic"], one["partition"]), "-")
        lag = f"{one['lag']:,}"
        rows.append((one["topic"], str(one["partition"]), committed, str(one["end"]), lag, reader))
    print_columns(rows)


def _path_of(topic: str) -> str:
    """These names would be another path."""
    if topic in ("", ".", "..") or "/" in topic:
        raise TopicRefused(f"{topic!r} is no name of a topic")
    return f"/api/topics/{quote(topic, safe='')}"


COMMANDS = (
    Command("topics", "topics, with what they hold", _declare_topics, _topics),
    Command("append", "append records to a topic", _declare_append, _append),
    Command("tail", "records of a topic, as they come", _declare_tail, _tail),
    Command("groups", "groups of readers, with their lag", _declare_groups, _groups),
)
