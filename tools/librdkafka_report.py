"""What came of librdkafka's tests, as lines for a terminal, as JSON and as a page."""

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

import msgspec
from msgspec import Struct

from tools.librdkafka_tests import KAFKA_FAILS, KAFKA_VERSION, VERSION, File

REASON_CHARS = 200

HEAD = """\
# librdkafka's own tests, against {name}

    python -m tools.librdkafka_suite --bootstrap HOST:PORT --no-create HOST:PORT --write PATH

librdkafka {version}, as Debian packages its source, has {files} files of tests. {local} of them
test the library alone, and are not counted; {not_ours} want what a single broker without users is
not. Of the other {ours}, **{passed} passed: {share} in a hundred**, {untouched} of them as they
were published, and {touched} with a change that is named below. {how}
"""


class State(Enum):
    PASSED = "passed"
    FAILED = "failed"
    LATE = "timed out"
    SKIPPED = "skipped by the suite"
    LEFT_OUT = "left out"
    NOT_OURS = "not applicable"


NOT_COUNTED = (State.NOT_OURS, State.SKIPPED)


class Outcome(Struct, frozen=True):
    """Of a file. `changed` says how it differs from what was published, if it does."""

    name: str  # as "0012-produce_consume"
    state: State
    seconds: float = 0.0
    reason: str = ""
    changed: str = ""


def share(outcomes: Sequence[Outcome]) -> int:
    """How many in a hundred of those that count have passed, rounded down. None count: 100."""
    counted = [outcome for outcome in outcomes if outcome.state not in NOT_COUNTED]
    passed = sum(outcome.state is State.PASSED for outcome in counted)
    return passed * 100 // len(counted) if counted else 100


def as_json(outcomes: Sequence[Outcome]) -> str:
    return msgspec.json.format(msgspec.json.encode(outcomes)).decode()


def lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    width = max((len(outcome.name) for outcome in outcomes), default=0)
    for outcome in outcomes:
        seconds = f"{outcome.seconds:7.1f}" if outcome.seconds else " " * 7
        about = [_short(outcome.reason), f"({outcome.changed})" if outcome.changed else ""]
        text = " ".join(part for part in about if part)
        yield f"{outcome.name:{width}}  {outcome.state.value:20} {seconds}  {text}".rstrip()
    yield ", ".join(f"{count} {state.value}" for state, count in counts(outcomes).items())
    yield f"{share(outcomes)} in a hundred passed of those that are ours"


def counts(outcomes: Sequence[Outcome]) -> Mapping[State, int]:
    """Of those states that there are."""
    found = {state: sum(outcome.state is state for outcome in outcomes) for state in State}
    return {state: count for state, count in found.items() if count}


def page(name: str, how: str, outcomes: Sequence[Outcome], files: Sequence[File]) -> str:
    """In Markdown. `how` is a sentence on how they ran; `files` are all that the suite has."""
    passed = [outcome for outcome in outcomes if outcome.state is State.PASSED]
    touched = sum(bool(outcome.changed) for outcome in passed)
    head = HEAD.format(
        name=name,
        version=VERSION,
        files=len(files),
        local=len(files) - len(outcomes),
        not_ours=sum(outcome.state in NOT_COUNTED for outcome in outcomes),
        ours=sum(outcome.state not in NOT_COUNTED for outcome in outcomes),
        passed=len(passed),
        share=share(outcomes),
        untouched=len(passed) - touched,
        touched=touched,
        how=how,
    )
    return head.rstrip() + "\n" + "\n".join(_sections(outcomes)) + "\n"


def _sections(outcomes: Sequence[Outcome]) -> Iterator[str]:
    bad = (State.FAILED, State.LATE, State.LEFT_OUT)
    yield from _table("What did not pass", outcomes, bad, ("file", "it", "s", "why"))
    yield from ("", f"Apache Kafka {KAFKA_VERSION} itself, run like this, does not pass these:", "")
    yield from (f"- {number}: {why}" for number, why in KAFKA_FAILS.items())
    yield from _table("Not applicable", outcomes, NOT_COUNTED, ("file", "", "s", "why"))
    changed = [outcome for outcome in outcomes if outcome.changed]
    yield from ("", "## Changed", "", "| file | how |", "|---|---|")
    yield from (f"| {outcome.name} | {outcome.changed} |" for outcome in changed)
    yield from _table("Passed", outcomes, (State.PASSED,), ("file", "", "s", ""))


def _table(
    title: str, outcomes: Sequence[Outcome], states: Sequence[State], heads: Sequence[str]
) -> Iterator[str]:
    """Columns without a head are left out."""
    yield from ("", f"## {title}", "")
    rows = [
        (o.name, o.state.value, f"{o.seconds:.0f}", _cell(o.reason))
        for o in outcomes
        if o.state in states
    ]
    if not rows:
        yield "None."
        return
    kept = [place for place, head in enumerate(heads) if head]
    yield "| " + " | ".join(heads[place] for place in kept) + " |"
    yield "|" + "".join("---:|" if heads[place] == "s" else "---|" for place in kept)
    for row in rows:
        yield "| " + " | ".join(row[place] for place in kept) + " |"


def _cell(text: str) -> str:
    return _short(text).replace("|", "\\|").replace("<", "&lt;")


def _short(text: str) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= REASON_CHARS else line[: REASON_CHARS - 3] + "..."
