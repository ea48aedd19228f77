"""Load: wrk as fast as it is answered, or requests of our own at a rate; and taking turns.

wrk is ended by a signal, so that a turn may be shorter than its least second. It says how long it
ran; requests under way at that moment are not counted.
"""

import asyncio
import json
import signal
from asyncio.subprocess import PIPE
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import cycle
from math import ceil
from pathlib import Path
from statistics import median
from typing import cast

import msgspec

from bastide.base.errors import Unavailable
from bastide.base.rt import runtime
from bastide.parts.http.bench.servers import GENERATOR_CORE, HOST, Running, found, on_core

TURNS = 5
CONNECTIONS = 64
TURN_S_MIN = 0.2  # wrk looks ten times a second whether it is over
PATIENCE_S = 30
DRAIN_S = 5.0
STRIDE = 7919  # a prime: requests come in an order that no cache below us likes
BEGUN = b"begun\n"
SCRIPT = """
local wanted = {wanted}
for name, value in pairs(wanted.headers) do wrk.headers[name] = value end

local requests, last = {{}}, 0

local function filled(text, n)
  return (string.gsub(text, "#", n))
end

init = function()
  for i = 1, wanted.count do
    local n = tostring(i * {stride} % wanted.count)
    local body = wanted.body ~= "" and filled(wanted.body, n) or nil
    requests[i] = wrk.format(wanted.method, filled(wanted.path, n), nil, body)
  end
  io.stderr:write("begun\\n")
end

request = function()
  last = last % wanted.count + 1
  return requests[last]
end

done = function(summary)
  local e = summary.errors
  local errors = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format("\\n%d %d %d\\n", summary.requests, summary.duration, errors))
end
"""

Turn = Callable[[float], Awaitable[float]]  # for some seconds; a figure a second


class Requests(msgspec.Struct, frozen=True):
    """`count` of them, asked for again and again; `#` is the number in `path` and `body`."""

    path: str
    count: int = 1
    method: str = "GET"
    headers: Mapping[str, str] = {}
    body: str = ""


class Loaded(msgspec.Struct, frozen=True):
    answered: int
    seconds: float

    @property
    def per_s(self) -> float:
        return self.answered / self.seconds


class Wrk:
    """The program, and where it may keep its scripts."""

    def __init__(self, program: str, directory: Path, connections: int = CONNECTIONS) -> None:
        self._program = program
        self._directory = directory
        self._connections = connections
        self._scripts: dict[str, Path] = {}

    def turn(self, server: Running, requests: Requests) -> Turn:
        async def turn(seconds: float) -> float:
            return (await self.load(server, requests, seconds)).per_s

        return turn

    async def load(self, server: Running, requests: Requests, seconds: float) -> Loaded:
        """
        Raises:
            Unavailable: not all were answered well.
        """
        turn_s = max(seconds, TURN_S_MIN)
        with on_core(GENERATOR_CORE):
            process = await asyncio.create_subprocess_exec(
                *(self._program, "-t1", f"-c{self._connections}", f"-d{ceil(turn_s) + 60}s"),
                *(f"--timeout={PATIENCE_S}s", "-s", self._script(requests)),
                f"http://{HOST}:{server.port}",
                stdout=PIPE,
                stderr=PIPE,
            )
        try:
            assert process.stderr is not None
            begun = await process.stderr.readline()
            await asyncio.sleep(turn_s if begun == BEGUN else 0)
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            said, complaints = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
        words = said.decode().rpartition("\n\n")[2].split()
        if len(words) != 3 or not int(words[0]):
            told = (said + begun + complaints).decode()[-500:]
            raise Unavailable(f"wrk has no figures: {told}")
        answered, microseconds, errors = map(int, words)
        if errors:
            raise Unavailable(f"{errors} of {answered} requests were not answered well")
        return Loaded(answered, microseconds / 1e6)

    def _script(self, requests: Requests) -> Path:
        text = SCRIPT.format(wanted=_lua(requests), stride=STRIDE)
        if text not in self._scripts:
            path = self._directory / f"wrk-{len(self._scripts)}.lua"
            path.write_text(text)
            self._scripts[text] = path
        return self._scripts[text]


def found_wrk(directory: Path, connections: int = CONNECTIONS) -> Wrk | None:
    """None, and a line that says so, if it is not installed."""
    program = found("wrk")
    return Wrk(program, directory, connections) if program else None


def _lua(requests: Requests) -> str:
    """A table of strings and a number: JSON's strings of plain characters are Lua's, too."""
    headers = ", ".join(f"[{json.dumps(n)}] = {json.dumps(v)}" for n, v in requests.headers.items())
    return (
        f"{{ path = {json.dumps(requests.path)}, count = {requests.count}, "
        f"method = {json.dumps(requests.method)}, body = {json.dumps(requests.body)}, "
        f"headers = {{ {headers} }} }}"
    )


async def in_turns(ways: Mapping[str, Turn], seconds: float) -> Mapping[str, Sequence[float]]:
    """What each gave in each of TURNS turns, one way after another, `seconds` for all of one."""
    turns: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(TURNS):
        for name, turn in ways.items():
            turns[name].append(await turn(seconds / TURNS))
    return turns


def figures(
    turns: Mapping[str, Sequence[float]], ratios: Mapping[str, tuple[str, str]]
) -> Mapping[str, float]:
    """Medians, and for each of `ratios` that of one way over another, turn by turn, if both are
    there.
    """
    return dict(_figures(turns, ratios))


def _figures(
    turns: Mapping[str, Sequence[float]], ratios: Mapping[str, tuple[str, str]]
) -> Iterator[tuple[str, float]]:
    for name, rates in turns.items():
        yield f"{name}_per_s", median(rates)
    for name, (ours, peer) in ratios.items():
        if ours in turns and peer in turns:
            pairs = zip(turns[ours], turns[peer], strict=True)
            yield f"{name}_ratio", median(one / other for one, other in pairs)


class Visitor(asyncio.Protocol):
    """A connection on which requests leave when they are due, whether earlier ones are answered or
    not. Answers have no blank line in their body.
    """

    def __init__(self, waited_s: list[float]) -> None:
        self.transport: asyncio.Transport
        self._asked_s: deque[float] = deque()
        self._waited_s = waited_s
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes) -> None:
        self._asked_s.append(runtime.monotonic())
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        now_s = runtime.monotonic()
        data = self._tail + data
        for _ in range(data.count(b"\r\n\r\n")):
            self._waited_s.append(now_s - self._asked_s.popleft())
        self._tail = data[-3:]


async def at_rate(
    server: Running, paths: Sequence[str], *, per_s: float, seconds: float
) -> Sequence[float]:
    """How long each answer took, in seconds.

    The loop never sleeps between requests: a timer's millisecond would be in what is measured. So
    this is to have a core of its own; where it has not, its delays are measured too.

    Raises:
        Unavailable: not all were answered.
    """
    requests = cycle(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode() for path in paths)
    waited_s: list[float] = []
    loop = asyncio.get_running_loop()
    with on_core(GENERATOR_CORE):
        made = [
            await loop.create_connection(lambda: Visitor(waited_s), HOST, server.port)
            for _ in range(CONNECTIONS)
        ]
        try:
            asked = await _ask(cycle([v for _, v in made]), requests, per_s=per_s, seconds=seconds)
            until_s = runtime.monotonic() + DRAIN_S
            while len(waited_s) < asked and runtime.monotonic() < until_s:  # noqa: ASYNC110 (see above)
                await asyncio.sleep(0)
        finally:
            for transport, _ in made:
                transport.abort()
    if len(waited_s) < asked:
        raise Unavailable(f"{asked - len(waited_s)} of {asked} requests were not answered")
    return waited_s


async def _ask(
    visitors: Iterator[Visitor], requests: Iterator[bytes], *, per_s: float, seconds: float
) -> int:
    """How many were asked."""
    began_s, asked = runtime.monotonic(), 0
    while (elapsed_s := runtime.monotonic() - began_s) < seconds:
        due = int(elapsed_s * per_s) + 1
        for _ in range(asked, due):
            next(visitors).ask(next(requests))
        asked = due
        await asyncio.sleep(0)
    return asked
