"""Sites of doors: what every door owes, done once, whatever server is below.

    arrival -> limits -> request -> site by port -> router -> gates -> endpoint -> answer
                                                      any refusal on the way -> problem (RFC 9457)

Order matters for safety: size limits before anything is read, the cross-site check before the
gates, the caller before the body.

Most doors wait for nothing, or could and don't: their answer is what `begin` returns, since a
handler's first step is taken where it is called. What has to wait is a coroutine, for the server
below to drive.
"""

import asyncio
import logging
from collections import Counter as Tally
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import CoroutineType
from typing import Any, cast

import msgspec

from bastide.base.errors import (
    Denied,
    Invalid,
    Limited,
    Problem,
    Refusal,
    TooLarge,
    Unavailable,
    shown,
)
from bastide.base.gate import Door, Gate, admit
from bastide.base.metrics import Counter, Histogram, Registry
from bastide.base.routes.binding import Endpoint
from bastide.base.routes.heads import Head, Network, path_and_query
from bastide.base.routes.limits import HeadLimits
from bastide.base.routes.router import Router
from bastide.base.routes.rows import (
    STREAMS_MAX,
    STREAMS_OF_ONE_MAX,
    Answer,
    BodyLate,
    Chunks,
    HeadersTooLarge,
    MethodRefused,
    NoSuchPage,
    Reply,
    Request,
    Row,
    Stream,
    StreamsOver,
    UriTooLong,
)
from bastide.base.rt import runtime
from bastide.base.steps import Step, finished, within

ProblemPage = Callable[[Problem, Request], Reply]
WAYS_REMEMBERED = 4_096
WAYS_FORGOTTEN_AFTER = 8 * WAYS_REMEMBERED  # that were not among them
WAY_BYTES_MAX = 256
CLOSING = (BodyLate, HeadersTooLarge, TooLarge, UriTooLong)  # over a limit: nothing more is taken
_log = logging.getLogger(__name__)


class Way(msgspec.Struct, frozen=True):
    """Where a target leads."""

    path: str
    query: Mapping[str, str]
    params: Mapping[str, str]
    methods: Mapping[str, "Mounted"]


class Site:
    """The endpoints that answer on one address, each below a root. Ways that are asked for again
    and again are remembered.
    """

    def __init__(self) -> None:
        self.router: Router[Mounted] = Router()
        self.mounted: list[tuple[str, Endpoint]] = []
        self.ways: dict[bytes, Way] = {}
        self._unknown = 0  # asked for since `ways` was full

    def mount(self, root: str, endpoints: Iterable[Endpoint], registry: Registry) -> None:
        self.ways.clear()
        for endpoint in endpoints:
            path = root + endpoint.row.path
            self.router.add(endpoint.row.method, path, Mounted(root, endpoint, registry))
            self.mounted.append((root, endpoint))

    def way(self, target: bytes, limits: HeadLimits) -> Way:
        """
        Raises:
            UriTooLong, Invalid, NoSuchPage.
        """
        path, query = path_and_query(target, limits)
        found = self.router.find(path)
        if found is None:
            raise NoSuchPage(f"nothing is at {path[:200]!r}")
        methods, params = found
        way = Way(path, query, params, methods)
        if len(self.ways) >= WAYS_REMEMBERED:
            self._forget()
        elif len(target) <= WAY_BYTES_MAX:
            self.ways[target] = way
        return way

    def _forget(self) -> None:
        """All, but only now and then: where most are asked for once, to remember each costs more
        than it saves.
        """
        self._unknown += 1
        if self._unknown >= WAYS_FORGOTTEN_AFTER:
            self._unknown = 0
            self.ways.clear()


class Counts:
    """How often a door was asked, how it answered, how long it took."""

    def __init__(self, door: Door, registry: Registry) -> None:
        self.door = door
        self._registry = registry
        labels = {"system": door.system, "door": door.name}
        self.times: Histogram = registry.histogram(
            "bastide_http_seconds", "Time of a request, from its head to its reply.", **labels
        )
        self.by_status: dict[int, Counter] = {}

    def first_of(self, status: int) -> Counter:
        made = self.by_status[status] = self._registry.counter(
            "bastide_http_requests_total",
            "Requests answered.",
            system=self.door.system,
            door=self.door.name,
            status=str(status),
        )
        return made


class Mounted(Counts):
    """An endpoint below a root, with its counts."""

    def __init__(self, root: str, endpoint: Endpoint, registry: Registry) -> None:
        super().__init__(Door(endpoint.system, endpoint.row.name), registry)
        self.root = root
        self.endpoint = endpoint
        self.allow = endpoint.row.allow
        self.checks_site = endpoint.row.method != "GET" or endpoint.upgrades


class Http:
    """All doors. `sites` by port; a port that none has is served by `main`."""

    def __init__(
        self,
        main: Site,
        sites: Mapping[int, Site],
        *,
        gates: Sequence[Gate] = (),
        trusted: Sequence[Network] = (),
        limits: HeadLimits | None = None,
        problem_page: ProblemPage | None = None,
    ) -> None:
        self.main = main
        self.sites = sites
        self.limits = limits or HeadLimits()
        self._gates = gates
        self._trusted = trusted
        self._problem_page = problem_page
        self._nowhere = Counts(Door("town", "nowhere"), runtime.current().metrics)
        self._monotonic = runtime.current().clock.monotonic
        self._id_prefix = runtime.current().chance.token(5).hex()
        self._id_count = 0
        self._streams: Tally[str] = Tally()  # by the address of who takes them
        self._stopping = False
        self._endless: set[Callable[[], None]] = set()

    def head(
        self, names: Sequence[bytes], values: Sequence[bytes], peer: str, scheme: str = "http"
    ) -> Head:
        """
        Raises:
            HeadersTooLarge, Invalid.
        """
        return Head(
            names, values, peer=peer, limits=self.limits, trusted=self._trusted, scheme=scheme
        )

    def begin(
        self, request: Request, head: Head, step: Step
    ) -> Answer | Coroutine[Any, Any, Answer]:
        """The answer, or a coroutine that returns it. Neither raises. `done` is owed for each.

        `request` has its method, target, version, port and incoming body. `step` takes the first
        step of a handler, in the name of the task that would drive the coroutine.
        """
        self._bare(request)
        mounted = None
        try:
            request.headers = head.headers
            request.caller = head.caller
            request.credentials = head.credentials
            request.origin = head.origin
            if not head.origin and request.version != "1.0":
                raise Invalid("a request needs one Host")
            site = self.sites.get(request.port, self.main)
            way = site.ways.get(request.target) or site.way(request.target, self.limits)
            request.path, request.query, request.params = way.path, way.query, way.params
            mounted = way.methods.get(request.method) or _by_method(way.methods, request)
            request.counts = mounted
            if request.method == "OPTIONS":
                return _options(way.methods)
            request.root = mounted.root
            if mounted.checks_site:
                _refuse_cross_site(request)
            if self._gates:
                return self._later(mounted, request)
            return self._at_once(mounted, request, step)
        except (Exception, asyncio.CancelledError) as error:
            if mounted is None and not isinstance(error, NoSuchPage | MethodRefused):
                request.closes = True  # what it says is not clear
            return self._refused(error, request, mounted)

    def refuse(self, request: Request, error: Exception) -> Reply:
        """What a server below answers to what it doesn't let in, or can't send. `done` is owed for
        it.
        """
        if not request.id:
            self._bare(request)
        return self._refused(error, request, None)

    def done(self, request: Request, status: int) -> None:
        """Counts what was answered."""
        counts: Counts = request.counts
        counts.times.observe(self._monotonic() - request.began_s)
        count = counts.by_status.get(status) or counts.first_of(status)
        count.value += 1

    def log_broken(self, request: Request, error: BaseException, *, known: bool = False) -> None:
        """A reply that broke off: one line; of a fault of ours, where it was too."""
        stops = isinstance(error, asyncio.CancelledError)  # the time to drain is over
        known = known or stops or isinstance(error, Refusal)
        _log.error(
            "%s %s broke off (%s): %s",
            *_named(request),
            "the town stops" if stops else str(error) or type(error).__name__,
            exc_info=None if known else error,
        )

    def _bare(self, request: Request) -> None:
        self._id_count = count = self._id_count + 1
        request.id = f"{self._id_prefix}{count:08x}"
        request.began_s = self._monotonic()
        request.counts = self._nowhere

    @contextmanager
    def streaming(
        self, stream: Stream, request: Request, end: Callable[[], None]
    ) -> Iterator[None]:
        """Around the sending of `stream`; `end` is called if it ought to end: the town stops."""
        self._streams[request.caller.address] += 1
        if stream.endless:
            self._endless.add(end)
        try:
            yield
        finally:
            self._streams -= Tally((request.caller.address,))
            self._endless.discard(end)

    def end_events(self) -> None:
        """Ends the streams that don't end by themselves, and begins no more: the town stops."""
        self._stopping = True
        for end in tuple(self._endless):
            end()

    def _at_once(
        self, mounted: Mounted, request: Request, step: Step
    ) -> Answer | Coroutine[Any, Any, Answer]:
        """As far as it goes without a wait."""
        endpoint = mounted.endpoint
        mounted.allow(request.caller)
        if endpoint.takes_body:
            body = request.incoming.at_once(self._body_max(endpoint.row))
            if body is None:
                return self._later(mounted, request)
            request.body = body
        elif endpoint.streams:
            return self._later(mounted, request)
        answer = endpoint(request)
        if type(answer) is CoroutineType:
            try:
                waits_for = step(answer)
            except StopIteration as done:
                answer = endpoint.answer_of(done.value)
            else:
                return self._finished(mounted, request, answer, waits_for)
        if type(answer) is Stream:
            return self._streamed(answer, request, mounted)
        return cast(Answer, answer)

    async def _later(self, mounted: Mounted, request: Request) -> Answer:
        """Behind gates, or with a body that is still to come."""
        endpoint = mounted.endpoint
        row = endpoint.row
        try:
            if self._gates:
                admitting = admit(self._gates, request.credentials, mounted.door)
                request.caller = await within(row.timeout_s, admitting)
            row.allow(request.caller)
            if endpoint.takes_body:
                request.body = await request.incoming.whole(self._body_max(row))
            elif endpoint.streams:
                request.chunks = Chunks(request.incoming.pieces(self._body_max(row)))
            answer = endpoint(request)
            if type(answer) is CoroutineType:
                answer = endpoint.answer_of(await within(row.timeout_s, answer))
            if type(answer) is Stream:
                return await self._streamed(answer, request, mounted)
            return cast(Answer, answer)
        except (Exception, asyncio.CancelledError) as error:
            return self._refused(error, request, mounted)

    async def _finished(
        self, mounted: Mounted, request: Request, work: Coroutine[Any, Any, Any], waits_for: Any
    ) -> Answer:
        """Of a handler that has taken its first step."""
        endpoint = mounted.endpoint
        try:
            returned = await finished(endpoint.row.timeout_s, work, waits_for)
            answer = endpoint.answer_of(returned)
            if type(answer) is Stream:
                return await self._streamed(answer, request, mounted)
            return answer
        except (Exception, asyncio.CancelledError) as error:
            return self._refused(error, request, mounted)

    def _body_max(self, row: Row) -> int:
        return min(row.body_max, self.limits.body_bytes)

    async def _streamed(self, stream: Stream, request: Request, mounted: Mounted) -> Answer:
        """`stream`, if there is a place for it; one caller alone does not take them all."""
        ones, alls = self._streams[request.caller.address], self._streams.total()
        if stream.endless and self._stopping:
            refusal: Refusal = Unavailable("the town stops")
        elif ones >= STREAMS_OF_ONE_MAX or alls >= STREAMS_MAX:
            most = f"{STREAMS_OF_ONE_MAX} to one address, {STREAMS_MAX} in all"
            refusal = StreamsOver(
                f"{ones} of {alls} replies are on their way to you; at most {most}",
                retry_after_s=5,
            )
        else:
            return stream
        await stream.pieces.aclose()
        return self._refused(refusal, request, mounted)

    def _refused(self, error: BaseException, request: Request, mounted: Mounted | None) -> Reply:
        if not isinstance(error, Exception):  # cancelled: the time to drain is over
            error = Unavailable("the town stops", outcome="unknown")
        elif isinstance(error, TimeoutError) and mounted is not None:
            message = f"not done within {mounted.endpoint.row.timeout_s:g} s"
            error = Unavailable(message, outcome="unknown")
        if isinstance(error, CLOSING):
            request.closes = True
        problem = shown(error, instance=f"urn:bastide:request:{request.id}")
        if problem.status >= 500 and not isinstance(error, Refusal):
            _log.error("%s %s failed (%s)", *_named(request), exc_info=error)
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


def _named(request: Request) -> tuple[str, str, str]:
    """For a line in the log: by its id, and the trace that it belongs to, others find it too."""
    trace = request.trace
    id_ = f"{request.id}, trace {trace.trace_id}" if trace else request.id
    return request.method, request.path, id_


def _by_method(methods: Mapping[str, Mounted], request: Request) -> Mounted:
    method = "GET" if request.method == "HEAD" else request.method
    found = methods.get(method)
    if found is not None:
        return found
    if method == "OPTIONS":
        return next(iter(methods.values()))
    raise MethodRefused(request.method[:20], _allowed(methods))


def _allowed(methods: Mapping[str, object]) -> Sequence[str]:
    return sorted({*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])})


def _options(methods: Mapping[str, object]) -> Reply:
    return Reply(204, headers={"allow": ", ".join(_allowed(methods))})


def _refuse_cross_site(request: Request) -> None:
    """A page elsewhere may not make a visitor's browser change things here, nor open a socket
    (Fetch Metadata, Origin).
    """
    if request.method == "HEAD":
        return
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Denied("a page of another site may not do this")
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise Denied("a page of another origin may not do this")


def _told(error: Exception) -> Mapping[str, str]:
    """Headers that a refusal owes."""
    match error:
        case Limited():
            return {"retry-after": str(max(1, round(error.retry_after_s)))}
        case Unavailable():
            return {"retry-after": "1"}
        case MethodRefused():
            return {"allow": ", ".join(error.allowed)}
        case Refusal():
            return error.headers
    return {}
