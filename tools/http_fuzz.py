"""Bytes that nobody would send, at our HTTP server, for as long as is asked.

python -m tools.http_fuzz --minutes 10 [--seed N] [--server ours|httptools|h11]

Each execution is a connection of its own, made from the seed and its number alone. Half of them
send good requests first, whose paths and bodies carry a token that no other has, and then
something bad; the other half send something bad at once. Bad are the cases of the corpus and
requests put together by chance, spliced, flipped, cut, repeated, and sent in random pieces.

What counts as a finding, and ends the run with 1 and the shortest bytes that still show it:

    log       the server logs an error, or dies
    hang      a connection neither ends nor is answered within BOUND_S
    deaf      a new connection with a good request is not answered
    order     good requests are not answered, or not in their order, or not with their own tokens
    leak      a reply carries the token of another connection
    reply     a reply that is no HTTP/1.1
    memory    the server holds GROWTH_BYTES_MAX more at the end than after its first quarter
"""

import argparse
import asyncio
import random
import re
import sys
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from tqdm import tqdm

from tests.parts.http.cases import CASES
from tests.parts.http.corpus import CLOSE, Case, End, Fate, Leave, Pause, Seen, Step, request
from tests.parts.http.play import Outcome, play
from tools import http_peers
from tools.http_peers import Peer, Peers

TOGETHER = 16
BOUND_S = 10.0
BEAT_S = 1.0
GROWTH_BYTES_MAX = 48 << 20
PAGE_BYTES = 4096
SEED_BYTES_MAX = 8 * 1024  # of a case that is mutated
REMEMBERED = 4096  # connections, one of which an error in the log may be about
RESET_PAUSE_S = 0.003  # in which the server may read what was sent before
SHRINKS_MAX = 150
REPEATS = 64  # of one that may have been logged about: some faults need luck to be seen
WORDS_S = 0.5  # for memory to be freed, and for words to come through a pipe
COMPLAINTS = re.compile(r"Traceback|ERROR|CRITICAL|never (retrieved|awaited)|Exception ")
TOKEN = re.compile(rb"tok([0-9]+)n[0-9]+x")

SERVERS: dict[str, Peers] = {
    "ours": http_peers.ours,
    "httptools": partial(http_peers.uvicorn, "httptools"),
    "h11": partial(http_peers.uvicorn, "h11"),
}

SEEDS: Sequence[bytes] = [
    case.sent for case in CASES if len(case.sent) <= SEED_BYTES_MAX and not case.slow
]
METHODS = (b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"CONNECT", b"TRACE", b"BREW")
TARGETS = (
    *(b"/", b"/a/b?c=d", b"*", b"http://a.example/", b"a.example:80", b"//", b"/%00", b"/%zz"),
    *(b"/#", b"", b"/" + b"x" * 300, b"/\xff", b"/a b", b"http://b.example/"),
)
VERSIONS = (
    *(b"HTTP/1.1",) * 8,
    *(b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.2", b"HTTP/0.9", b"http/1.1", b""),
)
LINES = (
    *(b"Host: a.example", b"Host: b.example", b"Content-Length: 3", b"Content-Length: 0"),
    *(b"Content-Length: 5", b"Content-Length: -1", b"Transfer-Encoding: chunked"),
    *(b"Transfer-Encoding: x", b"Connection: close", b"Connection: keep-alive"),
    *(b"Connection: Upgrade", b"Upgrade: websocket", b"Upgrade: h2c", b"Expect: 100-continue"),
    *(b"X: y", b" folded", b"X : y", b"X", b": y", b"X: \x00", b"Cookie: a=b", b"Range: bytes=0-"),
)
BODIES = (
    *(b"", b"abc", b"0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n", b"3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n"),
    *(b"3\nabc\n0\n\n", b"ffffffffffffffff\r\n", b"-1\r\n", b"3\r\nabcd\r\n"),
)
BITS = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"\x0b", b"%", b"#", b'"'),
    *(b"\r\n\r\n", b"0\r\n\r\n", b"\xff", b"HTTP/1.1", b"Host: a.example\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding", b"chunked"),
    *(b"Content-Length: 1\r\n", b"GET / HTTP/1.1\r\n"),
)


class Good(Struct, frozen=True):
    """A request that any server answers, and what its reply must show."""

    data: bytes
    path: str
    body: str


class Execution(Struct, frozen=True):
    """What is sent on one connection: good requests, then anything; cut at `cuts`."""

    number: int
    good: Sequence[Good]
    tail: bytes
    end: End
    cuts: Sequence[int] = ()

    @property
    def data(self) -> bytes:
        return b"".join(good.data for good in self.good) + self.tail

    @property
    def pieces(self) -> Sequence[bytes]:
        return _parts(self.data, self.cuts)

    @property
    def case(self) -> Case:
        script: list[Step] = []
        for piece in self.pieces:
            script += [piece, Pause(0)]
        if self.end is End.RESET:
            script.append(Pause(RESET_PAUSE_S))
        return Case(
            id="fuzz",
            group="fuzz",
            script=script,
            end=self.end,
            answers=(),
            fate=Fate.EITHER,
            statuses=frozenset(),
            rfc="",
            leave=Leave.FULL,
            slow=False,
            interims=None,
        )


class Finding(Struct, frozen=True):
    kind: str
    text: str
    execution: Execution | None = None


# What is sent


def execution(seed: int, number: int) -> Execution:
    chance = random.Random(f"{seed}:{number}")  # noqa: S311 (chance that can be repeated)
    good = [_good(chance, number, n) for n in range(chance.choice((0, 0, 0, 1, 2, 3, 8)))]
    if good and chance.random() < 0.3:
        tail, end = request(b"/last", CLOSE), End.READ
    else:
        tail = _bad(chance)
        end = chance.choices((End.SHUT, End.RESET, End.READ), (80, 15, 1))[0]
    made = Execution(number, good, tail, end)
    return replace(made, cuts=_cuts(chance, len(made.data)))


def _good(chance: random.Random, number: int, n: int) -> Good:
    path = b"/tok%dn%dx" % (number, n)
    body = path * chance.choice((1, 1, 3, 100)) + b"\r\n0\r\n\r\n" * chance.randrange(2)
    match chance.randrange(3):
        case 0:
            body, data = b"", request(path)
        case 1:
            length = b"Content-Length: %d" % len(body)
            data = request(path, length, method=b"POST", body=body)
        case _:
            pieces = _parts(body, _cuts(chance, len(body)))
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
            coding = b"Transfer-Encoding: chunked"
            data = request(path, coding, method=b"POST", body=chunks + b"0\r\n\r\n")
    return Good(data, path.decode(), body.decode())


def _bad(chance: random.Random) -> bytes:
    data: bytes = chance.choice(SEEDS) if chance.random() < 0.6 else _put_together(chance)
    for _ in range(chance.choice((0, 1, 1, 2, 4, 8))):
        data = chance.choice(MUTATIONS)(chance, data)
    return data[: 64 * 1024]


def _put_together(chance: random.Random) -> bytes:
    start = b" ".join((chance.choice(METHODS), chance.choice(TARGETS), chance.choice(VERSIONS)))
    lines = [chance.choice(LINES) for _ in range(chance.randrange(6))]
    if chance.random() < 0.8:
        lines.insert(0, b"Host: a.example")
    end = chance.choices((b"\r\n", b"\n"), (20, 1))[0]
    return end.join((start, *lines, b"", chance.choice(BODIES)))


def _flip(chance: random.Random, data: bytes) -> bytes:
    if not data:
        return data
    place = chance.randrange(len(data))
    flipped = data[place] ^ (1 << chance.randrange(8))
    return data[:place] + bytes((flipped,)) + data[place + 1 :]


def _insert(chance: random.Random, data: bytes) -> bytes:
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.choice(BITS) + data[place:]


def _overwrite(chance: random.Random, data: bytes) -> bytes:
    place, piece = chance.randrange(len(data) + 1), chance.choice(BITS)
    return data[:place] + piece + data[place + len(piece) :]


def _delete(chance: random.Random, data: bytes) -> bytes:
    first, last = _span(chance, data)
    return data[:first] + data[last:]


def _repeat(chance: random.Random, data: bytes) -> bytes:
    first, last = _span(chance, data)
    return data[:last] + data[first:last] * chance.choice((1, 1, 2, 50)) + data[last:]


def _splice(chance: random.Random, data: bytes) -> bytes:
    other = chance.choice(SEEDS)
    return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]


def _swap_lines(chance: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    one, two = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]
    return b"\r\n".join(lines)


def _truncate(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _span(chance: random.Random, data: bytes) -> tuple[int, int]:
    first = chance.randrange(len(data) + 1)
    return first, min(len(data), first + chance.choice((1, 2, 8, 64)))


Mutation = Callable[[random.Random, bytes], bytes]
MUTATIONS: Sequence[Mutation] = (
    *(_flip, _flip, _insert, _insert, _overwrite, _delete, _repeat, _splice, _swap_lines),
    _truncate,
)


def _cuts(chance: random.Random, size: int) -> Sequence[int]:
    """Of bytes that are sent in one piece, a few, or many."""
    count = chance.choice((0, 0, 0, 1, 2, 5, 20))
    return sorted({chance.randrange(1, size) for _ in range(count)}) if size > 1 else ()


def _parts(data: bytes, cuts: Sequence[int]) -> Sequence[bytes]:
    return [data[a:b] for a, b in zip((0, *cuts), (*cuts, len(data)), strict=True)]


# What comes back


def check(sent: Execution, outcome: Outcome) -> Finding | None:
    for kind, text in _faults(sent, outcome):
        return Finding(kind, text, sent)
    return None


def _faults(sent: Execution, outcome: Outcome) -> Iterator[tuple[str, str]]:
    if not outcome.closed:
        yield "hang", f"still open after {outcome.seconds:.1f} s"
    has_head = b"HEAD" in sent.data  # its reply has no body, and only it knows
    if outcome.malformed and not has_head:
        yield "reply", outcome.malformed
    for response in outcome.responses:
        for number in TOKEN.findall(response.body):
            if int(number) != sent.number:
                yield "leak", f"a token of connection {int(number)}: {response.body[:200]!r}"
    if not outcome.malformed:
        yield from _faults_of_order(sent, outcome)


def _faults_of_order(sent: Execution, outcome: Outcome) -> Iterator[tuple[str, str]]:
    if sent.end is End.RESET:
        return
    if len(outcome.responses) < len(sent.good):
        yield "order", f"{len(outcome.responses)} replies to {len(sent.good)} good requests"
    for good, response in zip(sent.good, outcome.responses, strict=False):
        try:
            seen = msgspec.json.decode(response.body, type=Seen)
        except msgspec.MsgspecError:
            seen = Seen()
        if response.status != 200 or (seen.path, seen.body) != (good.path, good.body):
            yield "order", f"{response.status} {seen!r:.200} is the reply to {good.data[:100]!r}"


class Watch:
    """The server from outside: what it logs, whether it lives and answers, what it holds."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.held: list[int] = []
        self._read = 0

    async def beat(self) -> Finding | None:
        self.held += self._held()
        alive = Execution(0, (), request(b"/alive", CLOSE), End.READ)
        try:
            outcome = await play(alive.case, "127.0.0.1", self.peer.port, bound_s=BOUND_S)
        except OSError as error:
            return Finding("deaf", f"no connection is taken: {error}")
        if outcome.statuses != [200]:
            return Finding("deaf", f"a good request is answered by {outcome}")
        return self.complaint()

    def complaint(self) -> Finding | None:
        said = self.peer.lines[self._read :]
        if any(COMPLAINTS.search(line) for line in said):
            return Finding("log", "\n".join(said[:40]))
        self._read = len(self.peer.lines)
        return None

    def growth(self) -> Finding | None:
        quarter = len(self.held) // 4
        if quarter < 2:
            return None
        early, late = median(self.held[quarter : 2 * quarter]), median(self.held[-quarter:])
        if late - early > GROWTH_BYTES_MAX:
            return Finding("memory", f"{early:,.0f} bytes, then {late:,.0f}")
        return None

    def _held(self) -> Sequence[int]:
        """Resident bytes, where the system tells them."""
        try:
            text = Path(f"/proc/{self.peer.pid}/statm").read_text(encoding="ascii")
        except OSError:
            return ()
        return (int(text.split()[1]) * PAGE_BYTES,)


class Run:
    def __init__(self, seed: int, watch: Watch, until_s: float) -> None:
        self.seed = seed
        self.watch = watch
        self.executions = 0
        self.statuses: Counter[int] = Counter()
        self.recent: deque[Execution] = deque(maxlen=REMEMBERED)
        self.finding: Finding | None = None
        self._until_s = until_s

    @property
    def is_over(self) -> bool:
        return self.finding is not None or asyncio.get_running_loop().time() >= self._until_s

    async def work(self) -> None:
        port = self.watch.peer.port
        while not self.is_over:
            self.executions += 1
            sent = execution(self.seed, self.executions)
            self.recent.append(sent)
            try:
                outcome = await play(sent.case, "127.0.0.1", port, bound_s=BOUND_S)
            except OSError as error:
                self.found(Finding("deaf", f"no connection is taken: {error}", sent))
                return
            self.statuses.update(outcome.statuses)
            self.found(check(sent, outcome))

    async def look(self, bar: "tqdm[None]") -> None:
        while not self.is_over:
            await asyncio.sleep(BEAT_S)
            self.found(await self.watch.beat())
            bar.update(self.executions - bar.n)

    def found(self, finding: Finding | None) -> None:
        self.finding = self.finding or finding


async def fuzz(open_server: Peers, seed: int, minutes: float) -> int:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    async with open_server() as peer:
        run = Run(seed, Watch(peer), began_s + minutes * 60)
        with tqdm(unit=" executions", disable=None) as bar:
            await asyncio.gather(run.look(bar), *(run.work() for _ in range(TOGETHER)))
        run.found(await run.watch.beat())
        run.found(run.watch.growth())
    _tell(run, loop.time() - began_s)
    if run.finding is None:
        return 0
    print(f"\nFOUND {run.finding.kind}: {run.finding.text}", flush=True)
    shortest = await shrunk(open_server, run.finding, list(run.recent))
    if shortest is None:
        print("none of the last connections shows it alone")
    else:
        print(f"connection {shortest.number}, {shortest.end.value}: {shortest.pieces!r}")
    return 1


def _tell(run: Run, seconds: float) -> None:
    held = run.watch.held or [0]
    statuses = ", ".join(f"{count:,} of {status}" for status, count in sorted(run.statuses.items()))
    rate = run.executions / seconds
    print(f"seed {run.seed}: {run.executions:,} connections, {rate:,.0f} a second")
    print(f"replies: {statuses or 'none'}")
    print(
        f"the server held {held[0] >> 20} MiB at first, {max(held) >> 20} at most, "
        f"{held[-1] >> 20} at last"
    )


# The shortest that shows it

Shows = Callable[[Execution], Awaitable[bool]]


async def shrunk(
    open_server: Peers, finding: Finding, recent: Sequence[Execution]
) -> Execution | None:
    """Of the execution that was found, or, of an error in the log, one of those before it."""
    if finding.kind in ("memory", "deaf", "leak"):  # one connection alone can't show it
        return finding.execution
    shows = partial(_shows, open_server, finding.kind)
    batch = [finding.execution] if finding.execution else list(recent)
    while len(batch) > 1:
        late, early = batch[len(batch) // 2 :], batch[: len(batch) // 2]
        batch = late if await shows(late) else early
    if not await shows(batch):
        return finding.execution
    return await shorter(batch[0], lambda sent: shows([sent]))


async def _shows(open_server: Peers, kind: str, batch: Sequence[Execution]) -> bool:
    """In a server of its own, so that nothing is left of what was before."""
    async with open_server() as peer:
        watch = Watch(peer)
        for sent in [*batch] * (max(1, REPEATS // len(batch)) if kind == "log" else 1):
            try:
                outcome = await play(sent.case, "127.0.0.1", peer.port, bound_s=BOUND_S / 2)
            except OSError:  # it died
                break
            finding = check(sent, outcome)
            if finding is not None and finding.kind == kind:
                return True
        if kind == "log":
            await asyncio.sleep(WORDS_S)
        return kind == "log" and watch.complaint() is not None


async def shorter(sent: Execution, shows: Shows) -> Execution:
    """In one piece if that shows it too; then without whatever can be left out."""
    whole = replace(sent, cuts=())
    if sent.cuts and not await shows(whole):
        return sent
    for good in sent.good:
        fewer = replace(whole, good=[one for one in whole.good if one is not good])
        if await shows(fewer):
            whole = fewer
    size, tries = len(whole.tail) // 2 or 1, 0
    while size and tries < SHRINKS_MAX:
        place = 0
        while place < len(whole.tail) and tries < SHRINKS_MAX:
            fewer = replace(whole, tail=whole.tail[:place] + whole.tail[place + size :])
            tries += 1
            if await shows(fewer):
                whole = fewer
            else:
                place += size
        size //= 2
    return whole


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.http_fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--server", choices=sorted(SERVERS), default="ours")
    asked = parser.parse_args(words)
    print(f"seed {asked.seed}", flush=True)
    return asyncio.run(fuzz(SERVERS[asked.server], asked.seed, asked.minutes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
