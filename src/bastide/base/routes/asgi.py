"""Sites as an ASGI application: what every door owes, done once, whatever server is below.

    scope -> limits -> request -> site by port -> router -> gates -> endpoint -> reply
                                                    any refusal on the way -> problem (RFC 9457)

Order matters for safety: size limits before anything is read, the cross-site check before the
gates, the caller before the body.
"""

import asyncio
import ipaddress
import logging
from collections import Counter as Tally
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    MutableMapping,
    Sequence,
)
from functools import lru_cache
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

import msgspec

from bastide.base.errors import (
    Denied,
    Invalid,
    Limited,
    Problem,
    Refusal,
    TooLarge,
    Unauthenticated,
    Unavailable,
    shown,
)
from bastide.base.gate import Credentials, Door, Gate, admit, stranger
from bastide.base.metrics import Counter, Histogram, Registry
from bastide.base.routes.binding import Endpoint
from bastide.base.routes.router import Router
from bastide.base.routes.rows import (
    STALL_S,
    STREAMS_MAX,
    STREAMS_OF_ONE_MAX,
    BodyLate,
    Chunks,
    HeadersTooLarge,
    MethodRefused,
    NoSuchPage,
    Reply,
    Request,
    Stream,
    StreamsOver,
    UriTooLong,
)
from bastide.base.rt import runtime

URI_BYTES_MAX = 8 * 1024
HEADERS_MAX = 100
HEADER_BYTES_MAX = 32 * 1024
QUERY_PARAMETERS_MAX = 64
ADDRESSES_REMEMBERED = 4_096
BODY_S = 30.0  # from the head to the last byte of a body that is taken whole
END_S = 1.0  # for the end of what is ended by us; who doesn't take it is left

# Two of them would mean two things to two readers.
SINGLE_HEADERS = frozenset(("authorization", "content-type", "host", "idempotency-key", "origin"))
# What a proxy adds, also one on this machine: who comes through it is not the operator.
PROXY_HEADERS = frozenset(("cf-connecting-ip", "forwarded", "true-client-ip", "via", "x-real-ip"))

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
ProblemPage = Callable[[Problem, Request], Reply]

HEADERS_ALWAYS = {
    "cache-control": "no-store",  # unless the reply says otherwise
    "x-content-type-options": "nosniff",
    "referrer-policy": "strict-origin-when-cross-origin",
}
HEADERS_OF_PAGES = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'",
    "x-frame-options": "DENY",
}
_END: MutableMapping[str, Any] = {"type": "http.response.body", "body": b""}
_log = logging.getLogger(__name__)


class _Stalled(Exception):
    """The client is there and takes nothing."""


class Site:
    """The endpoints that answer on one address, each below a root."""

    def __init__(self) -> None:
        self.router: Router[Mounted] = Router()
        self.mounted: list[tuple[str, Endpoint]] = []

    def mount(self, root: str, endpoints: Iterable[Endpoint], registry: Registry) -> None:
        for endpoint in endpoints:
            path = root + endpoint.row.path
            self.router.add(endpoint.row.method, path, Mounted(root, endpoint, registry))
            self.mounted.append((root, endpoint))


class Counts:
    """How often a door was asked, how it answered, how long it took."""

    def __init__(self, door: Door, registry: Registry) -> None:
        self.door = door
        self._registry = registry
        labels = {"system": door.system, "door": door.name}
        self._times: Histogram = registry.histogram(
            "bastide_http_seconds", "Time of a request, from its head to its reply.", **labels
        )
        self._counts: dict[int, Counter] = {}

    def observe(self, status: int, seconds: float) -> None:
        self._times.observe(seconds)
        if status not in self._counts:
            self._counts[status] = self._registry.counter(
                "bastide_http_requests_total",
                "Requests answered.",
                system=self.door.system,
                door=self.door.name,
                status=str(status),
            )
        self._counts[status].add()


class Mounted(Counts):
    """An endpoint below a root, with its counts."""

    def __init__(self, root: str, endpoint: Endpoint, registry: Registry) -> None:
        super().__init__(Door(endpoint.system, endpoint.row.name), registry)
        self.root = root
        self.endpoint = endpoint


class Http:
    """The ASGI application. `sites` by port; a port that none has is served by `main`."""

    def __init__(
        self,
        main: Site,
        sites: Mapping[int, Site],
        *,
        gates: Sequence[Gate] = (),
        trusted: Sequence[Network] = (),
        problem_page: ProblemPage | None = None,
    ) -> None:
        self.main = main
        self.sites = sites
        self._gates = gates
        self._trusted = trusted
        self._problem_page = problem_page
        self._nowhere = Counts(Door("town", "nowhere"), runtime.current().metrics)
        self._id_prefix = runtime.current().chance.token(5).hex()
        self._id_count = 0
        self._streams: Tally[str] = Tally()  # by the address of who takes them
        self._stopping = False
        self._endless: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", f"{scope['type']} is not served"
        started_s = runtime.monotonic()
        self._id_count += 1
        request = _bare(scope, id_=f"{self._id_prefix}{self._id_count:08x}")
        mounted = None
        try:
            credentials = self._fill(request, scope)
            methods, request.params = self._found(scope, request)
            mounted = _by_method(methods, request)
            reply = (
                _options(methods)
                if request.method == "OPTIONS"
                else await self._answered(mounted, request, credentials, receive)
            )
        except Exception as error:
            reply = self._refused(error, request, mounted)
        except asyncio.CancelledError:  # the time to drain is over
            stopping = Unavailable("the town stops", outcome="unknown")
            reply = self._refused(stopping, request, mounted)
        (mounted or self._nowhere).observe(reply.status, runtime.monotonic() - started_s)
        if isinstance(reply, Stream):
            await self._streamed(reply, request, receive, send)
        else:
            await _sent(send, reply, request)

    def end_events(self) -> None:
        """Ends the streams that don't end by themselves, and begins no more: the town stops."""
        self._stopping = True
        for streaming in self._endless:
            streaming.cancel()

    async def _streamed(
        self, stream: Stream, request: Request, receive: Receive, send: Send
    ) -> None:
        """Returns without an end if it broke, so that the server breaks the connection off."""
        try:
            await self._sent_while_wanted(stream, request, receive, send)
        except (Exception, asyncio.CancelledError) as error:
            _log_broken(error, request)

    async def _sent_while_wanted(
        self, stream: Stream, request: Request, receive: Receive, send: Send
    ) -> None:
        streaming = asyncio.create_task(_send_pieces(stream, request, send))
        leaving = asyncio.create_task(_left(receive))
        self._streams[request.caller.address] += 1
        if stream.endless:
            self._endless.add(streaming)
        try:
            await asyncio.wait((streaming, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._streams -= Tally((request.caller.address,))
            self._endless.discard(streaming)
            leaving.cancel()
            streaming.cancel()
            await asyncio.gather(streaming, leaving, return_exceptions=True)
            await stream.pieces.aclose()
        if streaming.cancelled():
            await _taken(send, _END, within_s=END_S)
        else:
            streaming.result()  # raises what broke it

    def _fill(self, request: Request, scope: Scope) -> Credentials:
        path = scope.get("raw_path") or scope["path"].encode()
        if len(path) + len(scope["query_string"]) > URI_BYTES_MAX:
            raise UriTooLong(f"the address is longer than {URI_BYTES_MAX} bytes")
        _refuse_broken_path(scope["raw_path"])
        request.headers = _headers(scope["headers"])
        request.query = _query(scope["query_string"])
        request.origin = f"{scope['scheme']}://{_host(request, scope)}"
        credentials = _credentials(request, scope, self._trusted)
        request.caller = stranger(credentials)
        return credentials

    def _found(
        self, scope: Scope, request: Request
    ) -> tuple[Mapping[str, Mounted], Mapping[str, str]]:
        site = self.sites.get(scope["server"][1], self.main)
        found = site.router.find(request.path)
        if found is None:
            raise NoSuchPage(f"nothing is at {request.path[:200]!r}")
        return found

    async def _answered(
        self, mounted: Mounted, request: Request, credentials: Credentials, receive: Receive
    ) -> Reply | Stream:
        endpoint = mounted.endpoint
        request.root = mounted.root
        _refuse_cross_site(request)
        try:
            async with asyncio.timeout(endpoint.row.timeout_s):
                request.caller = await admit(self._gates, credentials, mounted.door)
                endpoint.row.allow(request.caller)
            await _take_body(request, endpoint, receive)
            async with asyncio.timeout(endpoint.row.timeout_s):
                reply = await endpoint(request)
        except TimeoutError as error:
            message = f"not done within {endpoint.row.timeout_s:g} s"
            raise Unavailable(message, outcome="unknown") from error
        if isinstance(reply, Stream) and (refusal := self._unstreamable(reply, request)):
            await reply.pieces.aclose()
            raise refusal
        return reply

    def _unstreamable(self, stream: Stream, request: Request) -> Refusal | None:
        """Why it may not begin; one caller alone does not take all places."""
        if stream.endless and self._stopping:
            return Unavailable("the town stops")
        ones, alls = self._streams[request.caller.address], self._streams.total()
        if ones < STREAMS_OF_ONE_MAX and alls < STREAMS_MAX:
            return None
        most = f"{STREAMS_OF_ONE_MAX} to one address, {STREAMS_MAX} in all"
        return StreamsOver(
            f"{ones} of {alls} replies are on their way to you; at most {most}", retry_after_s=5
        )

    def _refused(self, error: Exception, request: Request, mounted: Mounted | None) -> Reply:
        problem = shown(error, instance=f"urn:bastide:request:{request.id}")
        if problem.status >= 500 and not isinstance(error, Refusal):
            _log.error(
                "%s %s failed (%s)", request.method, request.path, request.id, exc_info=error
            )
        wants_page = "text/html" in request.headers.get("accept", "")
        if self._problem_page and wants_page and (mounted is None or mounted.endpoint.row.html):
            reply = self._problem_page(problem, request)
        else:
            reply = Reply(
                problem.status,
                msgspec.json.encode(problem),
                {"content-type": "application/problem+json", "cache-control": "no-store"},
            )
        return msgspec.structs.replace(reply, headers={**reply.headers, **_told(error)})


def _refuse_broken_path(raw: bytes) -> None:
    """Servers repair a path that is no UTF-8; what was meant is not for us to guess."""
    if b"%" in raw:
        try:
            unquote_to_bytes(raw).decode()
        except UnicodeDecodeError as error:
            raise Invalid("the path is not percent-encoded UTF-8") from error


def _bare(scope: Scope, *, id_: str) -> Request:
    return Request(method=scope["method"], path=scope["path"], query={}, headers={}, id_=id_)


def _by_method(methods: Mapping[str, Mounted], request: Request) -> Mounted:
    method = "GET" if request.method == "HEAD" else request.method
    if method == "OPTIONS":
        return next(iter(methods.values()))
    if method not in methods:
        raise MethodRefused(request.method[:20], _allowed(methods))
    return methods[method]


def _allowed(methods: Mapping[str, object]) -> Sequence[str]:
    return sorted({*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])})


def _options(methods: Mapping[str, object]) -> Reply:
    return Reply(204, headers={"allow": ", ".join(_allowed(methods))})


def _headers(raw: Sequence[tuple[bytes, bytes]]) -> Mapping[str, str]:
    if len(raw) > HEADERS_MAX or sum(len(n) + len(v) for n, v in raw) > HEADER_BYTES_MAX:
        raise HeadersTooLarge(
            f"at most {HEADERS_MAX} headers of together {HEADER_BYTES_MAX} bytes are taken"
        )
    headers: dict[str, str] = {}
    for name, value in ((n.decode("latin-1"), v.decode("latin-1")) for n, v in raw):
        if name not in headers:
            headers[name] = value
        elif name in SINGLE_HEADERS:
            raise Invalid(f"{name} is sent twice")
        else:
            headers[name] += ("; " if name == "cookie" else ", ") + value
    return headers


def _query(raw: bytes) -> Mapping[str, str]:
    """The first value of each parameter. Text that is not UTF-8 is refused, not repaired."""
    if not raw:
        return {}
    if raw.count(b"&") >= QUERY_PARAMETERS_MAX:
        raise Invalid(f"at most {QUERY_PARAMETERS_MAX} query parameters are taken")
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict")
    except (UnicodeDecodeError, ValueError) as error:
        raise Invalid("the query is not percent-encoded UTF-8") from error
    return dict(reversed(pairs))


def _refuse_cross_site(request: Request) -> None:
    """A page elsewhere may not make a visitor's browser change things here (Fetch Metadata,
    Origin).
    """
    if request.method in ("GET", "HEAD"):
        return
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Denied("a page of another site may not do this")
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise Denied("a page of another origin may not do this")


def _credentials(request: Request, scope: Scope, trusted: Sequence[Network]) -> Credentials:
    peer = scope["client"][0] if scope.get("client") else ""
    forwarded = request.headers.get("x-forwarded-for")
    address = client_address(peer, forwarded, trusted)
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    bearer = key.strip() if kind.lower() == "bearer" else ""
    direct = _is_loopback(peer) and not _is_in(peer, trusted) and not _is_forwarded(request)
    loopback = direct and _names_this_machine(request)
    return Credentials(address, loopback, bearer or None)


def _is_forwarded(request: Request) -> bool:
    return any(n in PROXY_HEADERS or n.startswith("x-forwarded-") for n in request.headers)


def client_address(peer: str, forwarded: str | None, trusted: Sequence[Network]) -> str:
    """The address of who asks: the last in X-Forwarded-For that no trusted proxy of ours added.

    Without a trusted `peer` the header is somebody's claim, and the peer itself counts.
    """
    hops = [peer, *reversed([h.strip() for h in (forwarded or "").split(",") if h.strip()])]
    for hop, following in pairwise(hops):
        if not _is_in(hop, trusted):
            return hop
        if not _is_address(following):
            return hop
    return hops[-1]


def _is_in(text: str, networks: Sequence[Network]) -> bool:
    return _is_address(text) and any(ipaddress.ip_address(text) in n for n in networks)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@lru_cache(ADDRESSES_REMEMBERED)
def _is_loopback(text: str) -> bool:
    return _is_address(text) and ipaddress.ip_address(text).is_loopback


def _host(request: Request, scope: Scope) -> str:
    """What Host says; HTTP/1.1 wants one (RFC 9112, section 3.2)."""
    host = request.headers.get("host", "")
    if not host and scope["http_version"] != "1.0":
        raise Invalid("a request needs one Host")
    try:
        _ = urlsplit(f"//{host}").port
    except ValueError as error:
        raise Invalid("Host is no host") from error
    return host


def _names_this_machine(request: Request) -> bool:
    """Whether Host is a loopback name: a name that somebody else points here (DNS rebinding) is
    not.
    """
    host = urlsplit(request.origin).hostname or ""
    return host == "localhost" or _is_loopback(host)


async def _take_body(request: Request, endpoint: Endpoint, receive: Receive) -> None:
    if not (endpoint.takes_body or endpoint.streams):
        return
    limit = endpoint.row.body_max
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise TooLarge(f"a body of {length} bytes; at most {limit} are taken")
    pieces = _pieces(receive, limit)
    if endpoint.streams:
        request.chunks = Chunks(pieces)
        return
    try:
        async with asyncio.timeout(BODY_S):
            request.body = b"".join([piece async for piece in pieces])
    except TimeoutError as error:
        raise BodyLate(f"the body did not arrive within {BODY_S:g} s") from error


async def _pieces(receive: Receive, limit: int) -> AsyncIterator[bytes]:
    taken = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Invalid("the connection ended inside the body")
        piece = message.get("body", b"")
        taken += len(piece)
        if taken > limit:
            raise TooLarge(f"a body of more than {limit} bytes is not taken")
        yield piece
        if not message.get("more_body"):
            return


def _told(error: Exception) -> Mapping[str, str]:
    """Headers that a refusal owes."""
    match error:
        case Limited():
            return {"retry-after": str(max(1, round(error.retry_after_s)))}
        case Unavailable():
            return {"retry-after": "1"}
        case Unauthenticated():
            return {"www-authenticate": "Bearer"}
        case MethodRefused():
            return {"allow": ", ".join(error.allowed)}
    return {}


async def _sent(send: Send, reply: Reply, request: Request) -> None:
    headers = _headers_of(reply, request)
    if reply.status not in (204, 304):
        headers.setdefault("content-length", str(len(reply.body)))
    await send(_start(reply.status, headers))
    body = b"" if request.method == "HEAD" else reply.body
    await send({"type": "http.response.body", "body": body})


async def _send_pieces(stream: Stream, request: Request, send: Send) -> None:
    await _taken(send, _start(stream.status, _headers_of(stream, request)))
    if request.method != "HEAD":
        async for piece in stream.pieces:
            await _taken(send, {"type": "http.response.body", "body": piece, "more_body": True})
    await _taken(send, _END)


async def _taken(
    send: Send, message: MutableMapping[str, Any], *, within_s: float | None = None
) -> None:
    """Returns when what was sent before is on its way."""
    given_s = STALL_S if within_s is None else within_s
    try:
        async with asyncio.timeout(given_s):
            await send(message)
    except TimeoutError as error:
        raise _Stalled(f"the client took nothing for {given_s:g} s") from error


def _log_broken(error: BaseException, request: Request) -> None:
    """One line; of a fault of ours, where it was too."""
    ordinary = isinstance(error, Refusal | _Stalled | asyncio.CancelledError)
    stops = isinstance(error, asyncio.CancelledError)  # the time to drain is over
    _log.error(
        "%s %s broke off (%s): %s",
        *(request.method, request.path, request.id),
        "the town stops" if stops else str(error) or type(error).__name__,
        exc_info=None if ordinary else error,
    )


async def _left(receive: Receive) -> None:
    """Until the client has gone. What it sends meanwhile is no part of this request."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _headers_of(reply: Reply | Stream, request: Request) -> dict[str, str]:
    headers = {"x-request-id": request.id, **HEADERS_ALWAYS, **reply.headers}
    if reply.headers.get("content-type", "").startswith("text/html"):
        headers = {**HEADERS_OF_PAGES, **headers}
    return headers


def _start(status: int, headers: Mapping[str, str]) -> MutableMapping[str, Any]:
    raw = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": raw}
