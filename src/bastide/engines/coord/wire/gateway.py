"""etcd's API in JSON: POST /v3/kv/range and so on; also below /v3beta and /v3alpha.

Bytes are base64 in it and 64-bit numbers strings (protobuf's own mapping). A call of a stream takes
all its requests in one body, and gives each reply on a line of its own, as {"result": ...}.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import cache
from typing import Any, cast

import msgspec

from bastide.base.errors import Refusal, TooLarge
from bastide.base.gate import anyone
from bastide.base.metrics import exposition
from bastide.base.routes.binding import Endpoint
from bastide.base.routes.http import Http, Site
from bastide.base.routes.rows import (
    JSON_HEADERS,
    Chunks,
    NoSuchPage,
    Reply,
    Request,
    Row,
    Stream,
    json_reply,
    route,
)
from bastide.base.rt import runtime
from bastide.engines.coord.core.protocol.messages import Method, methods
from bastide.engines.coord.core.protocol.statuses import (
    TOO_LARGE,
    CallFailed,
    Code,
    Status,
    status_of,
)
from bastide.engines.coord.wire.desk import Asker, Desk, Streaming, Unary
from bastide.engines.coord.wire.framing import MESSAGE_BYTES_MAX
from bastide.engines.coord.wire.members import VERSION
from bastide.engines.coord.wire.table import HANDLERS
from bastide.parts.http.contract import Limits

PREFIXES = ("v3", "v3beta", "v3alpha")
BODY_BYTES_MAX = 2 * MESSAGE_BYTES_MAX  # base64 makes more of it
WAIT_S = 3_600.0  # for a lock's turn, say
LINES_WAITING = 16
_log = logging.getLogger(__name__)
HTTP_STATUSES: Mapping[Code, int] = {
    Code.CANCELLED: 408,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 412,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}


def make_http(desk: Desk) -> Http:
    """The gateway's doors, and those for machines: /health, /version, /metrics."""
    registry = runtime.current().metrics
    site = Site()
    site.mount("", [Endpoint("coord", row, desk, {}) for row in _rows()], registry)
    return Http(site, {}, limits=Limits())


def _rows() -> Sequence[Row]:
    """A row for each prefix, not for each method: those are made of messages, and messages when
    the first one is wanted.
    """
    return [
        route("GET", "/health", read_health, allow=anyone),
        route("GET", "/version", read_version, allow=anyone),
        route("GET", "/metrics", read_metrics, allow=anyone),
        *(_gateway(prefix) for prefix in PREFIXES),
    ]


def _gateway(prefix: str) -> Row:
    path = f"/{prefix}/{{rest:path}}"
    return route("POST", path, call, allow=anyone, body_max=BODY_BYTES_MAX, timeout_s=WAIT_S)


@cache
def _methods_by_path() -> Mapping[str, Method]:
    return {path: method for method in methods().values() for path in method.json_paths}


# --- for machines ---------------------------------------------------------------------------------


async def read_health(desk: Desk) -> Reply:
    """Whether the group can answer."""
    try:
        healthy = bool((await desk.standing()).leader)
    except Refusal:
        healthy = False
    return json_reply({"health": str(healthy).lower()}, 200 if healthy else 503)


def read_version(desk: Desk) -> Reply:
    return json_reply({"etcdserver": VERSION, "etcdcluster": VERSION})


def read_metrics(desk: Desk) -> Reply:
    body = exposition(runtime.current().metrics).encode()
    return Reply(200, body, {"content-type": "text/plain; version=0.0.4; charset=utf-8"})


# --- calls ----------------------------------------------------------------------------------------


async def call(desk: Desk, request: Request, chunks: Chunks, rest: str) -> Reply | Stream:
    method = _methods_by_path().get(rest)
    if method is None:
        raise NoSuchPage(f"nothing is at {request.path[:200]!r}")
    asker = Asker(request.headers.get("authorization", ""))
    try:
        body = b"".join([piece async for piece in chunks])
        if method.takes_stream or method.gives_stream:
            return _stream(desk, asker, method, body)
        (message,) = _parsed(method, body, many=False)
        reply = await cast(Unary, HANDLERS[method.path])(desk, asker, message)
    except Exception as error:
        return _failed(error)
    return Reply(200, _json(reply), JSON_HEADERS)


def _stream(desk: Desk, asker: Asker, method: Method, body: bytes) -> Stream:
    talk = Lines(_parsed(method, body, many=True), asker)
    handler = cast(Streaming, HANDLERS[method.path])
    return Stream(talk.pieces(desk, handler), headers=JSON_HEADERS, endless=True)


class Lines:
    """A `Talk` whose requests are all there."""

    def __init__(self, messages: Sequence[Any], asker: Asker) -> None:
        self.asker = asker
        self._messages = list(messages)
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue(LINES_WAITING)

    async def receive(self) -> Any | None:
        return self._messages.pop(0) if self._messages else None

    async def send(self, message: Any) -> None:
        await self._lines.put(b'{"result":%b}\n' % _json(message))

    async def pieces(self, desk: Desk, handler: Streaming) -> AsyncGenerator[bytes, None]:
        task = asyncio.ensure_future(self._run(desk, handler))
        try:
            while (line := await self._lines.get()) is not None:
                yield line
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self, desk: Desk, handler: Streaming) -> None:
        try:
            await handler(desk, self)
        except Exception as error:
            if not isinstance(error, Refusal | CallFailed):
                _log.exception("the gateway failed")
            told = _problem(status_of(error), with_http=True)
            await self._lines.put(msgspec.json.encode({"error": told}) + b"\n")
        await self._lines.put(None)


def _parsed(method: Method, body: bytes, *, many: bool) -> Sequence[Any]:
    """
    Raises:
        CallFailed
    """
    from google.protobuf import json_format

    try:
        values = _values(body) if many else [msgspec.json.decode(body)]
        if not all(isinstance(value, dict) for value in values):
            raise CallFailed(Status(Code.INVALID_ARGUMENT, "an object is wanted"))
        return [
            json_format.ParseDict(value, method.request(), ignore_unknown_fields=True)
            for value in values
        ]
    except (
        *(msgspec.MsgspecError, UnicodeDecodeError, RecursionError),
        json_format.ParseError,
    ) as error:
        raise CallFailed(Status(Code.INVALID_ARGUMENT, str(error)[:200])) from error


def _values(body: bytes) -> Sequence[Any]:
    """One, on however many lines, or one on each."""
    try:
        return [msgspec.json.decode(body)]
    except msgspec.DecodeError:
        return cast(Sequence[Any], msgspec.json.Decoder().decode_lines(body))


def _json(message: Any) -> bytes:
    from google.protobuf import json_format

    told = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return msgspec.json.encode(told)


def _failed(error: Exception) -> Reply:
    status = TOO_LARGE if isinstance(error, TooLarge) else status_of(error)
    if not isinstance(error, Refusal | CallFailed):
        _log.error("the gateway failed", exc_info=error)
    return json_reply(_problem(status), HTTP_STATUSES.get(status.code, 500))


def _problem(status: Status, *, with_http: bool = False) -> Mapping[str, Any]:
    if with_http:
        return {
            "grpc_code": status.code,
            "http_code": HTTP_STATUSES.get(status.code, 500),
            "message": status.text,
        }
    return {"error": status.text, "message": status.text, "code": status.code}
