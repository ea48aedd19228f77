"""Many runs of one simulation, and what a person reads of them: what `bastide sim` does."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
from tqdm import tqdm

from bastide.base.errors import Invalid
from bastide.base.rt import runtime
from bastide.parts.sim.contract import Differs
from bastide.parts.sim.draws import Recording
from bastide.parts.sim.shrink import TRIES_MAX, Found, shrink
from bastide.parts.sim.simulation import Outcome, Simulation, run
from bastide.parts.sim.world import Tell

FAILURES_MAX = 20  # a campaign that has seen so many has seen enough


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: `minutes` instead of `runs`, if it is given."""

    seed: int = 1
    runs: int = 1
    minutes: float | None = None
    trace: bool = False
    twice: bool = False
    shrink: bool = False
    tape: Path | None = None


class Tally:
    """What all runs have come to."""

    def __init__(self) -> None:
        self.failures: list[Outcome] = []
        self.runs = 0
        self.turns = 0
        self.simulated_s = 0.0
        self.cpu_s = 0.0
        self.points: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        self.runs += 1
        self.turns += outcome.turns
        self.simulated_s += outcome.simulated_s
        self.cpu_s += outcome.cpu_s
        self.points.update(outcome.points)
        self.faults.update(outcome.faults)
        if outcome.failed:
            self.failures.append(outcome)

    def lines(self) -> Iterator[str]:
        cpu_s = max(self.cpu_s, 0.01)
        yield (
            f"{self.runs:,} runs, {len(self.failures)} failed; {self.simulated_s:,.0f} simulated"
            f" s in {cpu_s:,.1f} CPU s ({self.simulated_s / cpu_s:,.0f} to 1), {self.turns:,}"
            f" turns ({self.turns / cpu_s:,.0f}/s)"
        )
        for title, counts in (("faults", self.faults), ("fault points", self.points)):
            if counts:
                yield f"{title}: " + ", ".join(f"{k} {n:,}" for k, n in sorted(counts.items()))


def conduct(simulation: Simulation, plan: Plan) -> Tally:
    """Run, print, and say what came of it."""
    tally = Tally()
    if plan.tape is not None:
        recording = read_recording(plan.tape)
        tally.add(_one(simulation, recording.seed, plan, recording))
    else:
        for seed in _seeds(plan):
            tally.add(_one(simulation, seed, plan, None))
            if len(tally.failures) >= FAILURES_MAX:
                break
    for outcome in tally.failures:
        print("\n".join(_failed(simulation, outcome, plan)))
    if plan.shrink and tally.failures:
        _shrink_to_file(simulation, tally.failures[0], plan)
    print("\n".join(tally.lines()))
    return tally


def read_recording(path: Path) -> Recording:
    """
    Raises:
        Invalid: the file is no recording.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Recording)
    except msgspec.DecodeError as error:
        raise Invalid(f"{path} is no recording of a simulation: {error}") from error


def shrunk(simulation: Simulation, outcome: Outcome, *, tries_max: int = TRIES_MAX) -> Recording:
    """The plainest recording whose run fails with the same kind of error."""
    kind = type(outcome.error)

    def fails(recording: Recording) -> Found | None:
        found = run(simulation, recording.seed, recording=recording)
        return (found.recording, found.spans) if type(found.error) is kind else None

    return shrink(outcome.recording, outcome.spans, fails, tries_max=tries_max)


def run_twice(simulation: Simulation, seed: int, recording: Recording | None = None) -> Outcome:
    """A run, and the same once more: with the error Differs if they do not agree."""
    first = run(simulation, seed, recording=recording)
    second = run(simulation, seed, recording=recording)
    if first.digest == second.digest:
        return first
    error = Differs(_first_difference(simulation, seed, recording))
    return msgspec.structs.replace(first, error=error)


def _first_difference(simulation: Simulation, seed: int, recording: Recording | None) -> str:
    both: list[list[str]] = []
    for _ in range(2):
        lines: list[str] = []
        run(simulation, seed, recording=recording, tell=_told_to(lines.append))
        both.append(lines)
    for number, (one, other) in enumerate(zip(*both, strict=False)):
        if one != other:
            return f"event {number} of seed {seed}: {one!r}, then {other!r}"
    return f"seed {seed}: what was delivered differs, or one run is longer"


def _told_to(take: Callable[[str], None]) -> Tell:
    """Events as lines."""
    return lambda at_s, name, what: take(f"{at_s:12.6f}  {name:<10}  {what}")


def _one(simulation: Simulation, seed: int, plan: Plan, recording: Recording | None) -> Outcome:
    if plan.twice:
        return run_twice(simulation, seed, recording)
    return run(simulation, seed, recording=recording, tell=_told_to(print) if plan.trace else None)


def _seeds(plan: Plan) -> Iterable[int]:
    seeds = _until(plan) if plan.minutes else range(plan.seed, plan.seed + plan.runs)
    counted: Iterable[int] = tqdm(seeds, unit="run", file=sys.stderr, disable=plan.trace or None)
    return counted


def _until(plan: Plan) -> Iterator[int]:
    ends_s = runtime.monotonic() + (plan.minutes or 0.0) * 60
    seed = plan.seed
    while runtime.monotonic() < ends_s:
        yield seed
        seed += 1


def _failed(simulation: Simulation, outcome: Outcome, plan: Plan) -> Iterator[str]:
    seed = outcome.recording.seed
    again = f"--tape {plan.tape}" if plan.tape else f"--seed {seed}"
    yield f"seed {seed} failed after {outcome.simulated_s:,.3f} s: {outcome.error!r}"
    yield f"    bastide sim {simulation.name} {again} --trace"


def _shrink_to_file(simulation: Simulation, outcome: Outcome, plan: Plan) -> None:
    found = shrunk(simulation, outcome)
    path = plan.tape or Path(f"{simulation.name}-{outcome.recording.seed}.tape")
    path.write_bytes(msgspec.json.encode(found))
    before = sum(map(len, (outcome.recording.tapes or {}).values()))
    after = sum(map(len, (found.tapes or {}).values()))
    print(
        f"shrunk from {before:,} choices to {after:,}: bastide sim {simulation.name} --tape {path}"
    )
