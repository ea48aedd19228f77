"""What came of the mutants, as lines for a terminal and as a page."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from tools.raft_mutants.campaign import Ran
from tools.raft_mutants.patch import Mutant

HEAD = """\
# raft: {killed} of {all} bugs found

    python -m tools.raft_mutants --minutes {minutes:g} --write

{all} mutants of the core, each with one bug, against its simulator: seeds from {mutant_seed:,} on
until a rule is broken, for at most {minutes:g} min of CPU time each. **{killed} of {all} were
killed; the median took {median:.1f} s, the slowest {slowest:.0f} s.** Times are of one core's CPU,
for the machine was shared. CPython {python}.

Survivors: {survivors}.

The core as it is ran through {seeds:,} seeds from {core_seed:,} on, which no mutant has seen:
{hours:.1f} hours of a cluster's life in {cpu_s:.0f} s of CPU time, {speed:,.0f} cluster-hours in an
hour, {events:,.0f} events a second. {verdict} For {undecided} of these histories the search for an
order was given up; the rules judged them alone.

A kill's seed tells its story: `python -m tools.raft_mutants --only NAME --story`.

| mutant | the bug | known from | killed by | seed | CPU s |
|---|---|---|---|---:|---:|
"""


def page(
    core: Ran, rans: Mapping[str, Ran], mutants: Sequence[Mutant], *, minutes: float, python: str
) -> str:
    """`rans` has all mutants by name."""
    alive = [f"`{name}`" for name, ran in rans.items() if not ran.rule]
    spent_s = [ran.cpu_s for ran in rans.values() if ran.rule]
    head = HEAD.format(
        all=len(rans),
        killed=len(spent_s),
        minutes=minutes,
        median=median(spent_s) if spent_s else 0.0,
        slowest=max(spent_s, default=0.0),
        python=python,
        survivors=", ".join(alive) or "none",
        mutant_seed=min(ran.seed + 1 - ran.seeds for ran in rans.values()),
        core_seed=core.seed + 1 - core.seeds,
        undecided=core.undecided,
        seeds=core.seeds,
        hours=core.simulated_s / 3600,
        cpu_s=core.cpu_s,
        speed=core.simulated_s / core.cpu_s,
        events=core.events / core.cpu_s,
        verdict=f"It broke a rule: {core.message}." if core.rule else "It broke no rule.",
    )
    return head + "".join(f"{row}\n" for row in _rows(rans, mutants))


def _rows(rans: Mapping[str, Ran], mutants: Sequence[Mutant]) -> Iterator[str]:
    for mutant in mutants:
        ran = rans[mutant.name]
        rule, seed = (ran.rule, str(ran.seed)) if ran.rule else ("**survived**", "")
        cells = (mutant.name, mutant.meaning, mutant.source, rule, seed, f"{ran.cpu_s:.1f}")
        yield "| " + " | ".join(cells) + " |"


def line(name: str, ran: Ran) -> str:
    how = f"{ran.rule}, seed {ran.seed}" if ran.rule else f"survived {ran.seeds} seeds"
    return f"{name:30} {ran.cpu_s:7.1f} s  {how}"
