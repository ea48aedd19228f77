"""The corpus of malformed, ambiguous and abusive requests, played against our server and others.

python -m tools.http_corpus             a line for each case: what it wants, what each server did
python -m tools.http_corpus --write     the same as docs/results/http-corpus.md
python -m tools.http_corpus WORD...     only the cases whose id begins with a word

Ends with 1 if our server did something else than its case says. What the handlers saw is looked at
by the tests; here a server is judged by its replies alone.

    refused       an error status, or the end of the connection without a reply
    taken once    a 2xx, then the connection is closed, though the client had asked for more
    taken         a 2xx, and the bytes behind it are read as the next request
    open          no reply and no end within the bound
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from functools import partial
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from tests.parts.http.cases import CASES, GROUPS
from tests.parts.http.corpus import Case, Fate, Leave
from tests.parts.http.play import Outcome, judge, play
from tools import http_peers
from tools.http_peers import Peers

PAGE = Path("docs/results/http-corpus.md")
TOGETHER = 48
BOUND_S = 5.0
SERVERS: Mapping[str, Peers] = {
    "ours": http_peers.ours,
    "nginx": http_peers.nginx,
    "httptools": partial(http_peers.uvicorn, "httptools"),
    "h11": partial(http_peers.uvicorn, "h11"),
}
MAY = {Leave.NONE: "", Leave.ONCE: ", may once", Leave.FULL: ", may"}
Outcomes = Mapping[str, Mapping[str, Outcome]]  # by server, then by case

HEAD = """\
# Malformed, ambiguous and abusive requests: what four servers do

    python -m tools.http_corpus --write

{count} cases, each on a connection of its own, against our server, {nginx}, and uvicorn {uvicorn}
with httptools {httptools} and with h11 {h11}. nginx answers by `return`, behind `mirror`, which
reads a body first; all give up after a second where they have a setting for it, and take bodies of
64 KiB. Nothing stands before or behind them: what one takes, its next hop would be given.

## Requests that our server refuses

Refused / taken once / taken / open. Refused is an error status, or the end of the connection. Taken
once is a 2xx, then the end, although more was asked for: what RFC 9112 wants where it lets a
doubtful request pass. Taken is a 2xx, and what follows is read as the next request. Open is neither
reply nor end within {bound_s:g} s.

Of those taken, some are against the RFC: it wants them refused, or has no grammar for them, or
wants the connection closed behind them. Of the others our choice is the strict one.
"""
ANSWERED = """
## Requests that our server answers

How many of them are answered with a 2xx. A server with smaller limits is not wrong.
"""
EVERY = """
## Every case

The statuses in their order; `closed` is the end without a reply, `open` no end. Under RFC stands
the section that the case is about, with `may` where it lets a server take what ours refuses, `may
once` where it has to close then. "Goes on" is that the request behind it is answered, too.
"""


class Done(Enum):
    REFUSED = "refused"
    ONCE = "taken once"
    TAKEN = "taken"
    OPEN = "open"


def done(case: Case, outcome: Outcome) -> Done:
    """What became of the last request of a case that asks to be refused."""
    if outcome.malformed:
        return Done.ONCE  # HTTP/0.9 has no status line
    statuses = outcome.statuses[len(case.answers) :]
    if not statuses or any(status >= 400 for status in outcome.statuses[: len(case.answers)]):
        return Done.REFUSED if outcome.closed or outcome.statuses else Done.OPEN
    if statuses[0] >= 300:
        return Done.REFUSED
    return Done.TAKEN if len(statuses) > 1 else Done.ONCE


def is_wrong(case: Case, outcome: Outcome) -> bool:
    """Whether the RFC leaves a server no choice, and this one took it nevertheless."""
    took = done(case, outcome)
    if case.leave is Leave.FULL:
        return False
    return took is Done.TAKEN or (took is Done.ONCE and case.leave is Leave.NONE)


def wants_refusal(case: Case) -> bool:
    return case.fate in (Fate.REFUSED, Fate.DROPPED)


def cell(outcome: Outcome) -> str:
    if outcome.malformed:
        return "no HTTP"
    words = [str(status) for status in outcome.statuses]
    for status, count in Counter(outcome.statuses).items():
        if count > 4:
            words = [f"{count}x{status}", *(w for w in words if w != str(status))]
    return " ".join([*words, *([] if outcome.closed else ["open"])]) or "closed"


async def play_all(cases: Sequence[Case], bar: "tqdm[None]") -> Outcomes:
    found: dict[str, Mapping[str, Outcome]] = {}
    for name, open_server in SERVERS.items():
        bar.set_description(name)
        async with open_server() as peer:
            found[name] = await _played(cases, peer.port, bar)
    return found


async def _played(cases: Sequence[Case], port: int, bar: "tqdm[None]") -> Mapping[str, Outcome]:
    room = asyncio.Semaphore(TOGETHER)
    found: dict[str, Outcome] = {}

    async def one(case: Case) -> None:
        async with room:
            found[case.id] = await play(case, "127.0.0.1", port, bound_s=BOUND_S)
        bar.update()

    async with asyncio.TaskGroup() as group:
        for case in sorted(cases, key=lambda case: not case.slow):  # the slow ones first
            group.create_task(one(case))
    return found


def lines(cases: Iterable[Case], outcomes: Outcomes) -> Iterator[str]:
    yield f"{'case':44} {'wanted':16}" + "".join(f" {name:12}" for name in outcomes)
    for case in cases:
        cells = (cell(found[case.id]) for found in outcomes.values())
        yield f"{case.id:44} {case.expected:16}" + "".join(f" {text:12}" for text in cells)


def page(outcomes: Outcomes) -> str:
    head = HEAD.format(count=f"{len(CASES):,}", bound_s=BOUND_S, **_versions())
    columns = ["", "| group | cases | " + " | ".join(outcomes) + " |"]
    columns += ["|---|---:|" + "---:|" * len(outcomes)]
    text = [head.rstrip(), *columns, *_summary(outcomes), ANSWERED.rstrip(), *columns]
    text += [*_answered(outcomes), *_wrongs(outcomes), EVERY.rstrip()]
    for group in GROUPS:
        text += _table(group.cases, outcomes)
    return "\n".join(text) + "\n"


def _versions() -> Mapping[str, str]:
    found = {name: version(name) for name in ("uvicorn", "httptools", "h11")}
    return {**found, "nginx": http_peers.nginx_version()}


def _counts(cases: Sequence[Case], found: Mapping[str, Outcome]) -> str:
    tally = Counter(done(case, found[case.id]) for case in cases)
    return " / ".join(str(tally[way]) for way in Done)


def _summary(outcomes: Outcomes) -> Iterator[str]:
    refused = [case for case in CASES if wants_refusal(case)]
    for name in [group.name for group in GROUPS]:
        if cases := [case for case in refused if case.group == name]:
            cells = (_counts(cases, found) for found in outcomes.values())
            yield f"| {name} | {len(cases)} | " + " | ".join(cells) + " |"
    cells = (_counts(refused, found) for found in outcomes.values())
    yield f"| **all** | {len(refused)} | " + " | ".join(cells) + " |"
    taken = (_taken(refused, found) for found in outcomes.values())
    yield "| **taken against / within the RFC** | | " + " | ".join(taken) + " |"


def _taken(cases: Sequence[Case], found: Mapping[str, Outcome]) -> str:
    taken = [case for case in cases if done(case, found[case.id]) in (Done.ONCE, Done.TAKEN)]
    wrong = sum(is_wrong(case, found[case.id]) for case in taken)
    return f"{wrong} / {len(taken) - wrong}"


def _answered(outcomes: Outcomes) -> Iterator[str]:
    for group in GROUPS:
        cases = [c for c in group.cases if c.fate is Fate.GOES_ON or c.fate is Fate.CLOSED]
        if cases := [case for case in cases if case.answers]:
            cells = (str(sum(_is_good(c, f[c.id]) for c in cases)) for f in outcomes.values())
            yield f"| {group.name} | {len(cases)} | " + " | ".join(cells) + " |"


def _is_good(case: Case, outcome: Outcome) -> bool:
    statuses = outcome.statuses[: len(case.answers)]
    return len(statuses) == len(case.answers) and all(status < 300 for status in statuses)


def _wrongs(outcomes: Outcomes) -> Iterator[str]:
    """What was taken against the RFC, by name."""
    yield from ("", "## Taken against the RFC")
    for name, found in outcomes.items():
        yield from ("", f"### By {name}", "")
        for group in GROUPS:
            cases = [c for c in group.cases if wants_refusal(c) and is_wrong(c, found[c.id])]
            if cases:
                sections = ", ".join(sorted({case.rfc.removeprefix("RFC ") for case in cases}))
                yield f"- {group.name} ({sections}): " + ", ".join(map(_short, cases))
        if not any(is_wrong(c, found[c.id]) for c in CASES if wants_refusal(c)):
            yield "None."


def _short(case: Case) -> str:
    return f"`{case.id.removeprefix(case.group + '.')}`"


def _table(cases: Sequence[Case], outcomes: Outcomes) -> Iterator[str]:
    yield from ("", f"### {cases[0].group}", "")
    yield "| case | RFC | wanted | " + " | ".join(outcomes) + " |"
    yield "|---|---|---|" + "---|" * len(outcomes)
    for case in cases:
        name = _short(case).replace("|", "\\|")
        cells = (cell(found[case.id]) for found in outcomes.values())
        rfc = case.rfc.removeprefix("RFC ") + MAY[case.leave]
        yield f"| {name} | {rfc} | {case.expected} | " + " | ".join(cells) + " |"


def main(words: Sequence[str]) -> int:
    writes = "--write" in words
    begins = tuple(word for word in words if word != "--write")
    if any(word.startswith("-") for word in begins) or (writes and begins):
        print(__doc__)
        return 2
    cases = [case for case in CASES if not begins or case.id.startswith(begins)]
    with tqdm(total=len(cases) * len(SERVERS), unit=" cases", disable=None) as bar:
        outcomes = asyncio.run(play_all(cases, bar))
    if writes:
        PAGE.write_text(page(outcomes), encoding="utf-8")
        print(f"{PAGE}: {len(cases)} cases")
    else:
        print("\n".join(lines(cases, outcomes)))
    wrong = {case.id: judge(case, outcomes["ours"][case.id], {}) for case in cases}
    for name, faults in wrong.items():
        for fault in faults:
            print(f"{name}: {fault}", file=sys.stderr)
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
