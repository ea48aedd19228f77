"""What came of the rounds, as lines for a terminal and as a page."""

import os
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from bastide.parts.histories.contract import Finding

PAGE = Path(__file__).resolve().parents[2] / "docs/results/coord-rounds.md"
HEAD = """\
# coord: {rounds} rounds of trouble, {violations} violations

    python -m tools.coord_rounds --rounds {rounds} --seed {seed} --round-s {round_s:g} --write

Three nodes, each a process as `bastide up` starts it, on one machine, through a proxy that can cut
and slow each way from one to another. Ten clients speak to them by gRPC: three put, get, delete,
compare and swap four keys; two append to lists in transactions; two take turns with a lock and its
resource, which refuses old tokens; one has keys under leases; two watch. In each round one fault
of the nodes, one of the links, or both. When it is over the history of all clients is checked:
linearizable keys, strictly serializable lists, every watch complete and in order, tokens that
rise, leases that live as long as they should and no key that outlives one, the same history and
the same hash on all nodes, and each client served within 15 s of the healing.

| | |
|---|---:|
| rounds | {rounds} |
| operations | {operations:,} |
| of these with an unknown outcome | {unknown:,} |
| changes that watches told | {told:,} |
| times that the lock was held | {grants:,} |
| keys without a verdict (the search was given up) | {undecided} |
| violations | **{violations}** |
| time | {minutes:.0f} min |

| fault | rounds |
|---|---:|
{faults}

Machine: {cores} cores, shared with the clients and with other work; Linux {linux}; Python
{python}. Elections after 500 ms, a snapshot each 300 changes. A kill ends the process, not the
power: what the kernel holds is still written. A torn end is put behind what was written; nothing
that was there is cut off.
"""


class Done(Struct, frozen=True):
    """One round."""

    number: int
    faults: tuple[str, ...]
    operations: int
    unknown: int
    told: int
    grants: int
    findings: tuple[Finding, ...]
    undecided: int
    seconds: float


def table(done: Sequence[Done]) -> str:
    head = (
        f"{'round':>5} {'faults':28} {'asked':>6} {'unknown':>7} {'told':>6} {'held':>5} {'s':>5}"
    )
    return "\n".join([head, *map(_row, done), _sum(done)])


def _row(one: Done) -> str:
    names = "+".join(one.faults)
    counts = f"{one.operations:6} {one.unknown:7} {one.told:6} {one.grants:5} {one.seconds:5.1f}"
    found = f"  {', '.join({finding.name for finding in one.findings})}" if one.findings else ""
    return f"{one.number:5} {names:28} {counts}{found}"


def _sum(done: Sequence[Done]) -> str:
    asked, unknown = sum(one.operations for one in done), sum(one.unknown for one in done)
    found = sum(len(one.findings) for one in done)
    return f"{len(done)} rounds, {asked:,} operations, {unknown:,} unknown, {found} violations"


def page(done: Sequence[Done], *, seed: int, round_s: float) -> str:
    faults = Counter(name for one in done for name in one.faults)
    return HEAD.format(
        rounds=len(done),
        violations=sum(len(one.findings) for one in done),
        seed=seed,
        round_s=round_s,
        operations=sum(one.operations for one in done),
        unknown=sum(one.unknown for one in done),
        told=sum(one.told for one in done),
        grants=sum(one.grants for one in done),
        undecided=sum(one.undecided for one in done),
        minutes=sum(one.seconds for one in done) / 60,
        faults="\n".join(f"| {name} | {count} |" for name, count in sorted(faults.items())),
        cores=os.cpu_count(),
        linux=platform.release(),
        python=platform.python_version(),
    )
