"""A case is played on a connection of its own; what came back is read strictly, and judged."""

import asyncio
import re
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec
from msgspec import Struct

from tests.parts.http.corpus import Answer, Case, Drip, End, Fate, Pause, Seen

BOUND_S = 15.0  # in which every connection ends; the limits of the corpus take two seconds at most
DEAF_BYTES = 4096  # room for replies at who never reads
DEAF_PAUSE_S = 0.1

_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")
_SIZE = re.compile(rb"([0-9A-Fa-f]+)")


class Malformed(Exception):
    """What came back is no HTTP/1.1."""


class Response(Struct, frozen=True):
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def closes(self) -> bool:
        return "close" in self.headers.get("connection", "").lower()


class Outcome(Struct, frozen=True):
    """`responses` are final; `closed` that the server ended the connection within the bound."""

    responses: Sequence[Response]
    interims: Sequence[int]
    closed: bool
    seconds: float
    malformed: str = ""

    @property
    def statuses(self) -> Sequence[int]:
        return [response.status for response in self.responses]


async def play(case: Case, host: str, port: int, *, bound_s: float = BOUND_S) -> Outcome:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    received = bytearray()
    with _connected(case.end) as connection:
        await loop.sock_connect(connection, (host, port))
        try:
            async with asyncio.timeout(bound_s):
                await _exchange(case, connection, received)
            closed = True
        except TimeoutError:
            closed = False
    seconds = loop.time() - began_s
    try:
        interims, responses = read_responses(bytes(received), first_is_head=case.asks_head)
    except Malformed as error:
        return Outcome([], [], closed, seconds, str(error))
    return Outcome(responses, interims, closed, seconds)


def _connected(end: End) -> socket.socket:
    connection = socket.socket()
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if end is End.DEAF:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DEAF_BYTES)
    return connection


async def _exchange(case: Case, connection: socket.socket, received: bytearray) -> None:
    """Returns when the server has ended the connection, or the client has."""
    if case.end is End.DEAF:
        await _send(case, connection)
    elif case.end is End.RESET:
        await _send(case, connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        sending = asyncio.create_task(_send(case, connection))
        try:
            await _receive(connection, received)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def _send(case: Case, connection: socket.socket) -> None:
    """All of the script, or what the server takes of it before it closes."""
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        for step in case.script:
            match step:
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                case Drip(piece, count, pause_s):
                    for _ in range(count):
                        await loop.sock_sendall(connection, piece)
                        await asyncio.sleep(pause_s)
                case _:
                    await loop.sock_sendall(connection, step)
        if case.end is End.SHUT:
            connection.shutdown(socket.SHUT_WR)
        while case.end is End.DEAF:  # until a byte more tells that there is nobody any more
            await asyncio.sleep(DEAF_PAUSE_S)
            await loop.sock_sendall(connection, b"\r")


async def _receive(connection: socket.socket, received: bytearray) -> None:
    """Until the end. A reset is one too: a server that closes while bytes of ours are on their way
    can't help it, and what it said before is read before.
    """
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        while piece := await loop.sock_recv(connection, 65536):
            received += piece


def read_responses(
    data: bytes, *, first_is_head: bool = False
) -> tuple[Sequence[int], Sequence[Response]]:
    """The interim statuses and the final responses. A 101 ends them: what follows isn't HTTP.

    Raises:
        Malformed: the bytes are no whole sequence of responses.
    """
    interims: list[int] = []
    responses: list[Response] = []
    while data:
        response, rest = _read_one(data, is_head=first_is_head and not responses)
        if response.status == 101:
            responses.append(response)
            break
        if response.status < 200:
            interims.append(response.status)
        else:
            responses.append(response)
        data = rest
    return interims, responses


def _read_one(data: bytes, *, is_head: bool) -> tuple[Response, bytes]:
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        raise Malformed(f"a head that does not end: {data[:200]!r}")
    start, *lines = head.split(b"\r\n")
    if not (match := _STATUS.fullmatch(start)):
        raise Malformed(f"no status line: {start[:200]!r}")
    status, headers = int(match[1]), _headers(lines)
    if "content-length" in headers and "transfer-encoding" in headers:
        raise Malformed("a response with Content-Length and Transfer-Encoding")
    if is_head and status == 400 and rest:
        is_head = False  # a head that is refused need not have been read as far as its method
    if is_head or status < 200 or status in (204, 304):
        return Response(status, headers, b""), rest
    if "transfer-encoding" in headers:
        body, rest = _chunks(rest)
    else:
        body, rest = _counted(rest, headers)
    return Response(status, headers, body), rest


def _headers(lines: Sequence[bytes]) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        if not (match := _FIELD.fullmatch(line)):
            raise Malformed(f"no header line: {line[:200]!r}")
        name, value = match[1].decode().lower(), match[2].decode("latin-1")
        if name in headers and name in ("content-length", "transfer-encoding"):
            raise Malformed(f"{name} comes twice")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _counted(rest: bytes, headers: Mapping[str, str]) -> tuple[bytes, bytes]:
    length = headers.get("content-length")
    if length is None:
        if "close" not in headers.get("connection", ""):
            raise Malformed("a body that only the end of the connection ends, without saying so")
        return rest, b""
    if not length.isascii() or not length.isdigit():
        raise Malformed(f"a Content-Length of {length!r}")
    if len(rest) < int(length):
        raise Malformed(f"a body of {len(rest)} bytes; {length} were announced")
    return rest[: int(length)], rest[int(length) :]


def _chunks(rest: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, end, rest = rest.partition(b"\r\n")
        match = _SIZE.fullmatch(line)
        if not end or not match:
            raise Malformed(f"no size of a chunk: {line[:200]!r}")
        size = int(match[1], 16)
        chunk, rest = rest[:size], rest[size:]
        if len(chunk) < size or rest[:2] != b"\r\n":
            raise Malformed(f"a chunk of {size} bytes that does not end")
        body, rest = body + chunk, rest[2:]
        if size == 0:
            return body, rest


def judge(case: Case, outcome: Outcome, seen: Mapping[str, int]) -> Sequence[str]:
    """What is not as it should be; nothing if all is. `seen` are the paths of this case that
    reached a handler, and how often.
    """
    if outcome.malformed:
        return [outcome.malformed]
    faults: list[str] = [] if outcome.closed else [f"still open after {outcome.seconds:.0f} s"]
    faults += _judge_statuses(case, outcome)
    for wanted, response in zip(case.answers, outcome.responses, strict=False):
        faults += _judge_answer(case, wanted, response)
    if case.interims is not None and list(outcome.interims) != list(case.interims):
        faults.append(f"interim replies {outcome.interims}; wanted are {list(case.interims)}")
    return [*faults, *_judge_seen(case, seen)]


def _judge_statuses(case: Case, outcome: Outcome) -> Sequence[str]:
    answers, tail = outcome.statuses[: len(case.answers)], outcome.statuses[len(case.answers) :]
    wrong = f"replies {list(outcome.statuses)}; wanted is {case.expected}"
    as_wanted = len(answers) == len(case.answers) and all(
        status in wanted.statuses for status, wanted in zip(answers, case.answers, strict=True)
    )
    match case.fate:
        case Fate.REFUSED:
            as_wanted = as_wanted and len(tail) == 1 and tail[0] in case.statuses
        case Fate.DROPPED:
            as_wanted = as_wanted and len(tail) <= 1 and set(tail) <= case.statuses
        case Fate.CLOSED:
            as_wanted = as_wanted and not tail
        case Fate.GOES_ON:
            as_wanted = as_wanted and list(tail) == [200]
        case Fate.EITHER:
            as_wanted = as_wanted and len(tail) <= 1 and set(tail) <= {200, 400}
    faults = [] if as_wanted else [wrong]
    if case.fate is Fate.REFUSED and as_wanted and not outcome.responses[-1].closes:
        faults.append("refused and closed without Connection: close (RFC 9112, 9.6)")
    return faults


def _judge_answer(case: Case, wanted: Answer, response: Response) -> Sequence[str]:
    seen = wanted.seen
    if seen is None or response.status != 200 or seen.method == "HEAD":
        return []
    try:
        found = msgspec.json.decode(response.body, type=Seen)
    except msgspec.MsgspecError:
        return [f"the handler told nothing of what it saw: {response.body[:200]!r}"]
    if seen.body is None:
        found = msgspec.structs.replace(found, body=None)
    return [] if found == seen else [f"the handler saw {found!r:.300}; sent was {seen!r:.300}"]


def _judge_seen(case: Case, seen: Mapping[str, int]) -> Sequence[str]:
    """Nothing that was refused, nor the request behind it, came to a handler."""
    next_, most = f"/next/{case.id}", len(case.answers)
    if case.fate is Fate.EITHER and not case.answers:
        most = 1
    smuggled = [f"{path} reached a handler" for path in seen if path.startswith("/smuggled/")]
    count = sum(times for path, times in seen.items() if path != next_)
    if count > most or seen.get(next_, 0) > 1:
        smuggled.append(f"a handler was reached too often, with {dict(seen)}; at most {most}")
    return smuggled
