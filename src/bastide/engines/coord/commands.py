"""`bastide coord ...`: keys, locks, elections, members and snapshots, in etcdctl's manner."""

import argparse
import asyncio
import os
import sys
from argparse import ArgumentParser, Namespace
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bastide.base.errors import Invalid, NotFound, Refusal, Unavailable, refusal_of
from bastide.base.manifest import Command
from bastide.base.rt import runtime
from bastide.base.shell import PAGE, declare_json, print_columns, print_json, send
from bastide.engines.coord.contract import HoldLost
from bastide.engines.coord.core.snapshots import Restoring, SnapshotDamaged
from bastide.engines.coord.service.restoring import restore_store

if TYPE_CHECKING:  # it takes a tenth of a second to import
    from httpx import AsyncClient

TTL_S = 60
WAIT_S = 20.0
BEATS = 3  # of a lease, in its time
TOKEN = "COORD_TOKEN"  # noqa: S105 (the name of a variable)
KEY = "COORD_KEY"
TICK_BYTES = 1 << 20


# --- keys -----------------------------------------------------------------------------------------


def _declare_put(parser: ArgumentParser) -> None:
    parser.add_argument("key")
    parser.add_argument("value", nargs="?", help="else the standard input is")
    parser.add_argument("--lease", metavar="ID", help="the key goes with it")
    declare_json(parser)


async def _put(client: "AsyncClient", arguments: Namespace) -> None:
    value = arguments.value
    given = sys.stdin.buffer.read() if value is None else _bytes(value)
    body = {**_named(arguments.key), **_as_body(given, "value"), "lease": arguments.lease}
    done = await send(client, "PUT", "/api/key", body=body)
    print_json(done) if arguments.json else print("OK")


def _declare_get(parser: ArgumentParser) -> None:
    parser.add_argument("key", help="or what keys begin with")
    parser.add_argument("--prefix", action="store_true", help="all keys that begin so")
    parser.add_argument("--rev", type=int, default=0, help="as it was at this revision")
    parser.add_argument("--limit", type=int, help="so many keys at most")
    parser.add_argument("--history", action="store_true", help="what is kept of its changes")
    parser.add_argument("--print-value-only", action="store_true", help="no keys")
    declare_json(parser)


async def _get(client: "AsyncClient", arguments: Namespace) -> None:
    if arguments.history:
        found = [one async for one in _history(client, arguments.key)]
    elif arguments.prefix:
        found = [one async for one in _keys(client, arguments.key, arguments.rev, arguments.limit)]
    else:
        query = {**_named(arguments.key), "revision": str(arguments.rev)}
        found = [await send(client, "GET", "/api/key", params=query)]
    if arguments.json:
        print_json(found)
        return
    for one in found:
        if arguments.history:
            print(f"{one['changed']}\t{_text(one, 'value') if one['version'] else 'deleted'}")
            continue
        if not arguments.print_value_only:
            print(_text(one, "key"))
        print(_text(one, "value"))


async def _keys(
    client: "AsyncClient", prefix: str, revision: int, limit: int | None
) -> AsyncIterator[Any]:
    query = {**_named(prefix, "prefix"), "revision": str(revision), "limit": PAGE}
    count = 0
    while True:
        page = await send(client, "GET", "/api/keys", params=query)
        for one in page["items"]:
            if count == limit:
                return
            yield one
            count += 1
        if page["next"] is None:
            return
        query["cursor"] = page["next"]


async def _history(client: "AsyncClient", key: str) -> AsyncIterator[Any]:
    query = {**_named(key), "limit": PAGE}
    while True:
        page = await send(client, "GET", "/api/history", params=query)
        for one in page["items"]:
            yield one
        if page["next"] is None:
            return
        query["before"] = str(page["next"])


def _declare_watch(parser: ArgumentParser) -> None:
    parser.add_argument("key", help="or what keys begin with")
    parser.add_argument("--prefix", action="store_true", help="all keys that begin so")
    parser.add_argument("--rev", type=int, default=0, help="from this revision on; else from now")
    parser.add_argument("--count", type=int, help="ends after so many changes")
    declare_json(parser, "a JSON object a line")


async def _watch(client: "AsyncClient", arguments: Namespace) -> None:
    """It asks again and again, so that it works without a running town, too."""
    left = arguments.count
    if left is not None and left <= 0:
        return
    query = {**_named(arguments.key, "prefix" if arguments.prefix else "key")}
    query |= {"revision": str(arguments.rev), "wait_s": str(WAIT_S)}
    while True:
        page = await send(client, "GET", "/api/changes", params=query)
        query["revision"] = str(page["next"])
        for one in page["changes"]:
            print(_line(one, as_json=arguments.json), flush=True)
            if left is not None and (left := left - 1) == 0:
                return


def _line(change: Mapping[str, Any], *, as_json: bool) -> str:
    if as_json:
        return msgspec.json.encode(change).decode()
    now = change["now"]
    key = _text(now, "key")
    if change["deleted"]:
        return f"DELETE\t{now['changed']}\t{key}"
    return f"PUT\t{now['changed']}\t{key}\t{_text(now, 'value')}"


# --- locks and elections --------------------------------------------------------------------------


def _declare_lock(parser: ArgumentParser) -> None:
    parser.add_argument("--ttl", type=int, default=TTL_S, help=f"of its lease ({TTL_S} s)")
    declare_json(parser)
    parser.add_argument("name", help="etcdctl lock stands in the same queue")
    parser.add_argument(
        "program",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help=f"runs while it is held, with {TOKEN} and {KEY} set; its exit code is this one's",
    )


async def _lock(client: "AsyncClient", arguments: Namespace) -> None:
    async with _held(client, arguments.name, "", arguments.ttl) as (turn, lost):
        if not arguments.program:
            print_json(turn) if arguments.json else print(turn["key"], flush=True)
            await lost
            return
        code = await _run(arguments.program, turn, lost)
    if code:
        raise SystemExit(code)


def _declare_elect(parser: ArgumentParser) -> None:
    parser.add_argument("--ttl", type=int, default=TTL_S, help=f"of its lease ({TTL_S} s)")
    parser.add_argument("--listen", action="store_true", help="tell who leads, and do not stand")
    declare_json(parser)
    parser.add_argument("name")
    parser.add_argument("value", nargs="?", default="", help="what is told of who leads")


async def _elect(client: "AsyncClient", arguments: Namespace) -> None:
    if arguments.listen:
        query = {"name": arguments.name, "limit": "1"}
        first = (await send(client, "GET", "/api/queue", params=query))["queue"]["first"]
        text = f"{_text(first, 'key')}\n{_text(first, 'value')}"
        print_json(first) if arguments.json else print(text)
        return
    if not arguments.value:
        raise Invalid("who stands for an election tells a VALUE; or --listen")
    async with _held(client, arguments.name, arguments.value, arguments.ttl) as (turn, lost):
        text = f"{turn['key']}\n{arguments.value}"
        print_json(turn) if arguments.json else print(text, flush=True)
        await lost


Lost = asyncio.Future[None]


@asynccontextmanager
async def _held(
    client: "AsyncClient", name: str, value: str, ttl_s: int
) -> AsyncIterator[tuple[Mapping[str, Any], Lost]]:
    """The first place in the queue, while the block lasts; the future raises HoldLost once it may
    be another's.
    """
    asked_s = runtime.monotonic()
    lease = (await send(client, "POST", "/api/leases", body={"ttl_s": ttl_s}))["id"]
    beating = asyncio.ensure_future(_beat(client, lease, ttl_s, asked_s))
    try:
        body = {"name": name, "lease": lease, "value": value, "wait_s": WAIT_S}
        while True:
            if beating.done():
                beating.result()
            turn = await send(client, "PUT", "/api/queue", body=body)
            if turn["is_first"]:
                break
        yield {**turn, "lease": lease}, beating
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError, Refusal):
            await beating
        with suppress(Refusal):  # then it ends by itself
            await send(client, "DELETE", f"/api/leases/{lease}")


async def _beat(client: "AsyncClient", lease: str, ttl_s: int, sent_s: float) -> None:
    """Until the lease can no longer be told to live: `ttl_s` after it was last asked for.

    Raises:
        HoldLost
    """
    every_s = ttl_s / BEATS
    while True:
        await asyncio.sleep(every_s)
        now_s = runtime.monotonic()
        try:
            async with asyncio.timeout(max(0, sent_s + ttl_s - now_s)):
                await send(client, "PUT", f"/api/leases/{lease}")
            sent_s = now_s
        except NotFound as error:
            raise HoldLost(f"lease {lease} has ended") from error
        except (Refusal, TimeoutError) as error:
            if runtime.monotonic() >= sent_s + ttl_s:
                raise HoldLost(f"lease {lease} could not be kept alive") from error
            every_s = min(every_s, 0.2)
        else:
            every_s = ttl_s / BEATS


async def _run(words: Sequence[str], turn: Mapping[str, Any], lost: Lost) -> int:
    """The command's exit code. If the hold is lost first, it is told to end.

    Raises:
        HoldLost
    """
    environ = {**os.environ, TOKEN: str(turn["token"]), KEY: turn["key"]}
    try:
        process = await asyncio.create_subprocess_exec(*words, env=environ)
    except OSError as error:
        raise Invalid(f"{words[0]} can't be run: {error}") from error
    waiting = asyncio.ensure_future(process.wait())
    try:
        both: Sequence[asyncio.Future[Any]] = (waiting, lost)
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if lost.done() and not waiting.done():
            process.terminate()
            await waiting
            lost.result()
        return code if (code := await waiting) >= 0 else 128 - code
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


# --- the group ------------------------------------------------------------------------------------


def _declare_members(parser: ArgumentParser) -> None:
    act = parser.add_mutually_exclusive_group()
    act.add_argument("--add", metavar="HOST:PORT", help="where the new one speaks to its peers")
    act.add_argument("--remove", metavar="ID")
    act.add_argument("--promote", metavar="ID", help="a learner votes from here on")
    act.add_argument("--lead", metavar="ID", help="this one is to lead")
    parser.add_argument("--learner", action="store_true", help="with --add: it does not vote yet")
    parser.add_argument("--name", default="", help="with --add")
    declare_json(parser)


async def _members(client: "AsyncClient", arguments: Namespace) -> None:
    await _change(client, arguments)
    standing = await send(client, "GET", "/api/standing")
    if arguments.json:
        print_json(standing)
        return
    rows = [("ID", "NAME", "ROLE", "TERM", "LOG", "COMMITTED", "APPLIED", "PEERS", "CLIENTS")]
    for one in standing["nodes"]:
        figures = [_known(one[name]) for name in ("term", "kept", "committed", "applied")]
        addresses = (one["peer_address"] or "-", one["client_address"] or "-")
        rows.append((one["id"], one["name"], one["role"], *figures, *addresses))
    print_columns(rows)


async def _change(client: "AsyncClient", arguments: Namespace) -> None:
    if arguments.add:
        body = {"peer_address": arguments.add, "name": arguments.name}
        await send(client, "POST", "/api/members", body={**body, "is_learner": arguments.learner})
    elif arguments.remove:
        await send(client, "DELETE", f"/api/members/{_number(arguments.remove)}")
    elif arguments.promote:
        await send(client, "PUT", f"/api/members/{_number(arguments.promote)}/vote")
    elif arguments.lead:
        await send(client, "PUT", "/api/leader", body={"member": arguments.lead})


def _known(figure: int | None) -> str:
    return "-" if figure is None else str(figure)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise Invalid(f"{text!r} is no number of a member")
    return int(text)


# --- snapshots ------------------------------------------------------------------------------------


def _declare_snapshot(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path)


async def _snapshot(client: "AsyncClient", arguments: Namespace) -> None:
    """The file is there once it is whole and proven."""
    coming = arguments.file.with_name(arguments.file.name + ".coming")
    restoring, size = Restoring(), 0
    try:
        with _opened(coming) as file:
            async for piece in _pieces(client, "/api/snapshot"):
                file.write(piece)
                restoring.feed(piece)
                size = _progress(size, size + len(piece))
            file.flush()
            os.fsync(file.fileno())
        revision = restoring.finish().store.revision
        os.replace(coming, arguments.file)
    except SnapshotDamaged as error:
        raise Unavailable(f"what came is no whole snapshot: {error}") from error
    finally:
        coming.unlink(missing_ok=True)
    print(f"saved: {size:,} bytes, revision {revision}")


def _opened(path: Path) -> Any:
    try:
        return path.open("wb")
    except OSError as error:
        raise Invalid(f"{path} can't be written: {error}") from error


async def _pieces(client: "AsyncClient", path: str) -> AsyncIterator[bytes]:
    from httpx import TransportError

    try:
        async with client.stream("GET", path) as reply:
            if not reply.is_success:
                raise refusal_of(reply.status_code, await reply.aread())
            async for piece in reply.aiter_bytes():
                yield piece
    except TransportError as error:
        raise Unavailable(f"the snapshot broke off: {error}") from error


def _progress(before: int, now: int) -> int:
    """On a terminal, whenever another mebibyte has come."""
    if sys.stderr.isatty() and before // TICK_BYTES != now // TICK_BYTES:
        print(f"\r{now / TICK_BYTES:,.0f} MiB", end="", file=sys.stderr, flush=True)
    return now


def _declare_restore(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="of `snapshot`")
    parser.add_argument("--data", type=Path, required=True, help="no town may run on it")


async def _restore(client: "AsyncClient | None", arguments: Namespace) -> None:
    try:
        revision = await restore_store(arguments.file, arguments.data)
    except OSError as error:
        raise Invalid(f"{arguments.file} can't be restored: {error}") from error
    print(f"restored: revision {revision}; open it by bastide up --data {arguments.data}")


# --- words ----------------------------------------------------------------------------------------


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _named(text: str, name: str = "key") -> dict[str, str]:
    return _as_body(_bytes(text), name)


def _as_body(given: bytes, name: str) -> dict[str, str]:
    try:
        return {name: given.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(given).decode()}


def _text(one: Mapping[str, Any], name: str) -> str:
    if (encoded := one.get(f"{name}_base64")) is not None:
        return f"base64:{encoded}"
    return str(one.get(name, ""))


COMMANDS = (
    Command("put", "write a key", _declare_put, _put),
    Command("get", "a key, or those that begin so", _declare_get, _get),
    Command("watch", "changes of keys, as they come", _declare_watch, _watch),
    Command("lock", "hold a lock, while a command runs", _declare_lock, _lock),
    Command("elect", "stand for an election, or hear who leads", _declare_elect, _elect),
    Command("members", "nodes of the group, and changes of them", _declare_members, _members),
    Command("snapshot", "all that is kept, as one file", _declare_snapshot, _snapshot),
    Command(
        "restore", "a store of a snapshot's file", _declare_restore, _restore, needs_town=False
    ),
)
