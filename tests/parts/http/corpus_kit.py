"""Our server for the corpus and the fuzzer: rows that tell what they saw, and note that they did.

python -m tests.parts.http.corpus_kit     serves until its input ends; prints the port it is on, and
                                          on stderr what it logs
"""

import asyncio
import gc
import logging
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec

from bastide.base.gate import anyone
from bastide.base.metrics import Registry
from bastide.base.routes.binding import Endpoint
from bastide.base.routes.http import Http, Site
from bastide.base.routes.rows import Chunks, Reply, Request, Row, route
from bastide.base.rt.net import bind
from bastide.parts.http.server.server import Server
from tests.parts.http.corpus import LIMITS, Seen

COLLECT_S = 0.2


class Echo:
    """What a handler saw goes back, and is counted by path."""

    def __init__(self) -> None:
        self.paths: Counter[str] = Counter()

    def note(self, path: str) -> None:
        self.paths[path] += 1

    async def tell(self, request: Request, chunks: Chunks, rest: str = "") -> Reply:
        body = b"".join([piece async for piece in chunks])
        self.note(request.path)
        seen = Seen(
            method=request.method,
            path=request.path,
            host=request.headers.get("host", ""),
            body=body.decode("latin-1"),
        )
        return Reply(200, msgspec.json.encode(seen), {"content-type": "application/json"})


class ForgetfulEcho(Echo):
    """For millions of requests: nothing of them is kept."""

    def note(self, path: str) -> None:
        pass


# As a page, so that any query is taken.
ROWS: Sequence[Row] = [
    route(
        method,
        "/{rest:path}",
        Echo.tell,
        allow=anyone,
        body_max=LIMITS.body_bytes * 2,  # so that the server's limit is the one that is met
        html=True,
    )
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
]


class Errors(logging.Handler):
    """What is logged as an error while it is open."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def __enter__(self) -> "Errors":
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)


class CorpusServer:
    """`host` and `port` are where it listens, `errors` what it logged."""

    def __init__(self, host: str, port: int, echo: Echo, errors: Sequence[str]) -> None:
        self.host = host
        self.port = port
        self.errors = errors
        self._echo = echo

    def seen(self) -> Mapping[str, Mapping[str, int]]:
        """Paths that came to a handler and how often, by the case that their end names."""
        found: dict[str, dict[str, int]] = {}
        for path, count in self._echo.paths.items():
            found.setdefault(path.rpartition("/")[2], {})[path] = count
        return found


@asynccontextmanager
async def corpus_server(echo: Echo | None = None) -> AsyncIterator[CorpusServer]:
    """With `LIMITS`, on a free port of 127.0.0.1."""
    echo = echo or Echo()
    with Errors() as errors:
        async with _served(echo) as port:
            yield CorpusServer("127.0.0.1", port, echo, errors.lines)


@asynccontextmanager
async def _served(echo: Echo) -> AsyncIterator[int]:
    site = Site()
    site.mount("", [Endpoint("corpus", row, echo, {}) for row in ROWS], Registry())
    server = Server(Http(site, {}, limits=LIMITS), LIMITS)
    listener = bind("127.0.0.1", 0)
    await server.start([listener])
    try:
        yield int(listener.getsockname()[1])
    finally:
        await server.stop(drain_s=0.5)


async def _serve() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    async with corpus_server(ForgetfulEcho()) as server:
        print(server.port, flush=True)
        collecting = asyncio.create_task(_collect())
        await asyncio.to_thread(sys.stdin.read)
        collecting.cancel()


async def _collect() -> None:
    """Tasks and coroutines that were forgotten say so when they are freed: soon, not some time."""
    while True:
        await asyncio.sleep(COLLECT_S)
        gc.collect()


if __name__ == "__main__":
    asyncio.run(_serve())
