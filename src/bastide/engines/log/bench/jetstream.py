"""JetStream's three ways in, spoken over a bare socket, in messages that are made before.

each        every message is answered by its number in the stream
fast        NATS' fast ingest: a batch is answered when the last of it is stored (NATS 2.14 on)
atomic      a batch is staged, and stored as one: where all is synced, it is synced once (2.12 on)

A batch may have the same name as the one before it, so that one request does for all: a server
alone takes its messages strictly one after another.
"""

import asyncio
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable, Iterator

import msgspec

from bastide.base.errors import Unavailable
from bastide.engines.log.bench.feeding import Feed
from bastide.parts.http.bench.servers import HOST

INBOX = b"_INBOX.b"
GREETING = b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\nSUB _INBOX.b.> 1\r\n'
SYNCED_SINCE = (2, 10)
LEVELS = {"atomic": 2, "fast": 4}  # of JetStream's interface
ATOMIC_RECORDS_MAX = 1_000  # the server's
FLOW_RECORDS = 500  # of fast ingest, between two words of how far it is; the server's most
START, APPEND, COMMIT = range(3)  # of fast ingest
STORED = b'"stream":'  # only in what says that something is stored, and in errors
REFUSED = (b"-ERR", b'"error":', b'"type":"gap"')


async def can_sync_each(program: str) -> bool:
    """What is no release can. If not, a line says so."""
    process = await asyncio.create_subprocess_exec(program, "--version", stdout=PIPE)
    told, _ = await process.communicate()
    release = re.search(rb"v(\d+)\.(\d+)", told)
    if release is None or tuple(map(int, release.groups())) >= SYNCED_SINCE:
        return True
    print("left out: this nats-server cannot sync every message", file=sys.stderr)
    return False


class Info(msgspec.Struct, frozen=True):
    api_lvl: int = 0  # a server that is older than the levels has none


async def takes(port: int, way: str) -> bool:
    """If not, a line says so. What a server says first tells what it knows."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        told = (await reader.readuntil(b"\r\n")).removeprefix(b"INFO ")
    finally:
        writer.transport.abort()
    known = msgspec.json.decode(told, type=Info).api_lvl >= LEVELS[way]
    if not known:
        print(f"left out: this nats-server has no {way} batches", file=sys.stderr)
    return known


def each_feed(stream: str, value: bytes, records: int) -> Feed:
    """Messages one by one; any server takes them."""
    message = _message(stream, value, reply=INBOX + b".each")
    return _feed(stream, message * records, records, answers=records, may="")


def fast_feed(stream: str, value: bytes, records: int) -> Feed:
    """A batch of at least two, in order and without gaps."""
    assert records > 1

    def replies() -> Iterator[bytes]:
        for n in range(1, records + 1):
            operation = START if n == 1 else COMMIT if n == records else APPEND
            yield b"%s.b.%d.fail.%d.%d.$FI" % (INBOX, FLOW_RECORDS, n, operation)

    request = b"".join(_message(stream, value, reply=reply) for reply in replies())
    return _feed(stream, request, records, answers=1, may="allow_batched")


def atomic_feed(stream: str, value: bytes, records: int) -> Feed:
    """A batch of at most ATOMIC_RECORDS_MAX; its last message alone asks for an answer."""
    assert records <= ATOMIC_RECORDS_MAX
    head = b"NATS/1.0\r\nNats-Batch-Id: b\r\nNats-Batch-Sequence: %d\r\n"
    messages = [_message(stream, value, headers=head % n + b"\r\n") for n in range(1, records)]
    last = head % records + b"Nats-Batch-Commit: 1\r\n\r\n"
    messages.append(_message(stream, value, reply=INBOX + b".atomic", headers=last))
    return _feed(stream, b"".join(messages), records, answers=1, may="allow_atomic")


def _message(stream: str, value: bytes, *, reply: bytes = b"", headers: bytes = b"") -> bytes:
    subject = stream.encode() + b".in" + (b" " + reply if reply else b"")
    if not headers:
        return b"PUB %s %d\r\n%s\r\n" % (subject, len(value), value)
    sizes = b"%d %d" % (len(headers), len(headers) + len(value))
    return b"HPUB %s %s\r\n%s%s\r\n" % (subject, sizes, headers, value)


def _feed(stream: str, request: bytes, records: int, *, answers: int, may: str) -> Feed:
    """The stream is made first: a file, one copy. `may`: what it is to allow."""
    config = {"name": stream, "subjects": [f"{stream}.in"], "storage": "file", "num_replicas": 1}
    made_of = msgspec.json.encode({**config, **({may: True} if may else {})})
    create = b"PUB $JS.API.STREAM.CREATE.%s %s.made" % (stream.encode(), INBOX)
    hello = GREETING + b"%s %d\r\n%s\r\n" % (create, len(made_of), made_of)
    return Feed(request, records, answers, Answers, hello)


class Answers:
    """The first is of the stream that was made. All are lines of JSON behind lines that head them;
    what is cut off by the network waits for its end.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._count: Callable[[bytes], int] = self._made

    def __call__(self, data: bytes) -> int:
        """
        Raises:
            Unavailable: something was refused.
        """
        lines, end, self._rest = (self._rest + data).rpartition(b"\n")
        if any(word in lines for word in REFUSED):
            raise Unavailable(f"nats has refused: {lines[-300:]!r}")
        return self._count(lines + end)

    def _made(self, lines: bytes) -> int:
        _, made, after = lines.partition(
            b'"type":"io.nats.jetstream.api.v1.stream_create_response"'
        )
        if not made:
            return 0
        self._count = self._stored
        return 1 + self._stored(after.partition(b"\n")[2])

    def _stored(self, lines: bytes) -> int:
        return lines.count(STORED)
