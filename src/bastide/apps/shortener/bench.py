"""Workloads against a town in a process of its own, by visitors on raw sockets.

The peer of a redirect is an empty row of the same server: what is between the two is our own work,
whatever the machine and the server cost. nginx, if it is installed, answers `return 302` beside it
to the same visitors: that is what a redirect costs that knows nothing and counts nothing.
"""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import urlsplit

import msgspec

from bastide.base.errors import Unavailable
from bastide.base.manifest import Bench
from bastide.base.rt import runtime
from bastide.parts.http.bench.servers import HOST, running_nginx

VISITORS = 32
DEPTH = 16
TURNS = 5
LINKS = 1000
EMPTY = "/livez"
BUSY_PER_S = 3_000


class Running(msgspec.Struct, frozen=True):
    """A server in a process of its own."""

    process: Process
    address: str

    @property
    def host(self) -> str:
        return urlsplit(self.address).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.address).port or 0


class Answer(msgspec.Struct, frozen=True):
    status: int
    request_id: str
    seconds: float


class Visit(msgspec.Struct):
    """What a crowd saw. `unanswered`: requests that were sent, and whose connection then ended."""

    answers: list[Answer] = []
    unanswered: int = 0


@asynccontextmanager
async def running_town(
    data: Path, *, address: str = "127.0.0.1:0", environ: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """`bastide up --only shortener` in a process; killed at the end, if it has not ended."""
    command = (sys.executable, "-m", "bastide", "up", "--only", "shortener", "--data", str(data))
    process = await asyncio.create_subprocess_exec(
        *(*command, "--http", address),
        env={**os.environ, **(environ or {})},
        stdout=PIPE,
    )
    try:
        assert process.stdout is not None
        async for line in process.stdout:
            if line.startswith(b"ready"):
                break
        else:
            raise Unavailable("the town did not start")
        found = msgspec.json.decode((data / "town.json").read_bytes())
        yield Running(process, found["systems"]["shortener"]["http"])
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def crowd(
    server: Running,
    paths: Sequence[str],
    *,
    seconds: float,
    visitors: int = VISITORS,
    visits_per_s: float | None = None,
    depth: int = 1,
) -> Visit:
    """`visitors` connections ask for `paths` in turn, as fast as they are answered, or at a rate;
    until the time is over or the server is gone. Each sends `depth` requests at once, then reads
    their answers: with many, the crowd needs less of the machine than the server.
    """
    visit = Visit(answers=[])
    requests = cycle(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode() for path in paths)
    pause_s = visitors / visits_per_s if visits_per_s else 0.0
    until_s = runtime.monotonic() + seconds

    async def visitor(number: int) -> None:
        try:
            reader, writer = await asyncio.open_connection(server.host, server.port)
        except OSError:
            return
        try:
            due_s = runtime.monotonic() + pause_s * number / visitors
            while runtime.monotonic() < until_s:
                await asyncio.sleep(max(0.0, due_s - runtime.monotonic()))
                due_s += pause_s * depth
                started_s = runtime.monotonic()
                writer.write(b"".join(next(requests) for _ in range(depth)))
                visit.unanswered += depth
                for _ in range(depth):
                    visit.answers.append(await _answer(reader, started_s))
                    visit.unanswered -= 1
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    await asyncio.gather(*(visitor(n) for n in range(visitors)))
    return visit


async def _answer(reader: asyncio.StreamReader, started_s: float) -> Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    if length := int(_header(head, b"content-length") or 0):
        await reader.readexactly(length)
    seconds = runtime.monotonic() - started_s
    return Answer(int(head[9:12]), _header(head, b"x-request-id").decode(), seconds)


def _header(head: bytes, name: bytes) -> bytes:
    """Its value, or b""."""
    _, _, rest = head.lower().partition(b"\r\n" + name + b": ")
    return rest.partition(b"\r\n")[0]


async def made_links(town: Running, count: int) -> tuple[Sequence[str], str]:
    """The codes of `count` new links, and their key."""
    from httpx import AsyncClient

    lines = [{"original_url": f"https://example.com/{n}"} for n in range(count)]
    async with AsyncClient(base_url=town.address, timeout=30) as client:
        reply = await client.post("/api/links/import", json={"links": lines})
        made = reply.raise_for_status().json()
    return [line["short_code"] for line in made["links"]], made["manage_key"]


async def _redirects(directory: Path, seconds: float) -> Mapping[str, float]:
    async with AsyncExitStack() as stack:
        town = await stack.enter_async_context(running_town(directory))
        nginx = await stack.enter_async_context(running_nginx(directory))
        codes, _ = await made_links(town, LINKS)
        links = [f"/{code}" for code in codes]
        peers = {"redirects": (town, links), "empty_rows": (town, [EMPTY])}
        if nginx is not None:
            address = f"http://{HOST}:{nginx.port}"
            peers["nginx_redirects"] = (Running(nginx.process, address), ["/"])
        found: dict[str, list[float]] = {name: [] for name in peers}
        await crowd(town, [EMPTY, *links], seconds=min(seconds, 1.0))  # warm
        for _ in range(TURNS):
            for name, (server, paths) in peers.items():
                found[name].append(await _answers_per_s(server, paths, seconds / TURNS))
        busy = await crowd(town, links, seconds=seconds, visits_per_s=BUSY_PER_S)
    per_s = {f"{name}_per_s": median(turns) for name, turns in found.items()}
    ratios = {
        f"beside_{name}_ratio": median(found["redirects"]) / median(found[name])
        for name in peers
        if name != "redirects"
    }
    hundredths = quantiles((answer.seconds * 1000 for answer in busy.answers), n=100)
    return {
        **per_s,
        **ratios,
        f"asked_at_{BUSY_PER_S}_per_s_answered_per_s": len(busy.answers) / seconds,
        f"redirect_at_{BUSY_PER_S}_per_s_ms_p50": hundredths[49],
        f"redirect_at_{BUSY_PER_S}_per_s_ms_p99": hundredths[98],
    }


async def _answers_per_s(server: Running, paths: Sequence[str], seconds: float) -> float:
    started_s = runtime.monotonic()
    visit = await crowd(server, paths, seconds=seconds, depth=DEPTH)
    assert {answer.status for answer in visit.answers} <= {204, 302}, "not all were answered well"
    return len(visit.answers) / (runtime.monotonic() - started_s)


async def _imports(directory: Path, seconds: float) -> Mapping[str, float]:
    async with running_town(directory) as town:
        started_s, made = runtime.monotonic(), 0
        while runtime.monotonic() - started_s < seconds:
            codes, _ = await made_links(town, LINKS)
            made += len(codes)
        return {"imported_links_per_s": made / (runtime.monotonic() - started_s)}


BENCHES = (
    Bench("redirects", "of a hot set, each click journalled, by 32 connections", _redirects),
    Bench("imports", "by requests of 1,000 lines, each one commit", _imports),
)
