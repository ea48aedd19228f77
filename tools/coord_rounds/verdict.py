"""What the oracles say of a round, and how it is kept if they find something."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from bastide.parts.histories.contract import Access, Change, Finding, Grant, Operation, Watch
from bastide.parts.histories.core import appends, linearizability, locks, progress, watches
from bastide.parts.histories.core.models import Keys
from bastide.parts.histories.drawing import draw
from bastide.parts.histories.recorder import lines_of, merged


class Seen(Struct, frozen=True, kw_only=True):
    """What clients saw of a round. `committed` is what each node tells of it afterwards, `hashes`
    that of each at its last revision, `healed_s` when the fault was over.
    """

    registers: Sequence[Operation]
    lists: Sequence[Operation]
    holds: Sequence[Operation]
    watches: Sequence[Watch]
    grants: Sequence[Grant]
    accesses: Sequence[Access]
    committed: Mapping[int, Sequence[Change]]
    hashes: Mapping[int, int]
    healed_s: float
    found: Sequence[Finding]  # what clients found themselves
    story: Sequence[str]

    @property
    def operations(self) -> int:
        return sum(map(len, (self.registers, self.lists, self.holds)))

    @property
    def unknown(self) -> int:
        all_ = (*self.registers, *self.lists, *self.holds)
        return sum(operation.outcome == "unknown" for operation in all_)


class Judged(Struct, frozen=True):
    """`undecided`: for how many keys no order was found within the search's budget."""

    findings: Sequence[Finding]
    undecided: int


def judge(seen: Seen, *, live_s: float) -> Judged:
    committed = next(iter(seen.committed.values()), ())
    written = [change for change in committed if "/reg/" in change.key]
    verdict = linearizability.check(watches.resolved(seen.registers, written), Keys())
    together = merged((seen.registers, seen.lists, seen.holds))
    processes = {operation.process for operation in together}
    findings = [
        *seen.found,
        *_alike("history", {n: tuple(told) for n, told in seen.committed.items()}),
        *_alike("hash", seen.hashes),
        *(_no_order(witness.key) for witness in verdict.witnesses if verdict.answer == "violated"),
        *watches.check_commits(seen.registers, written),
        *appends.check_strict(seen.lists),
        *watches.check(seen.watches, committed),
        *locks.check_tokens(seen.grants),
        *locks.check_fence(seen.accesses),
        *progress.check(together, processes, healed_s=seen.healed_s, within_s=live_s),
    ]
    undecided = len(verdict.witnesses) if verdict.answer == "undecided" else 0
    return Judged(findings, undecided)


def _no_order(key: str) -> Finding:
    return Finding("not linearizable", f"{key}: no order of its operations is true to time")


def _alike(what: str, by_node: Mapping[int, object]) -> Iterable[Finding]:
    values = list(by_node.values())
    if any(value != values[0] for value in values):
        yield Finding(f"{what} differs", f"nodes {sorted(by_node)}: it is not the same on all")


def keep(seen: Seen, judged: Judged, directory: Path) -> None:
    """Histories as lines of JSON, pictures of them, the story."""
    directory.mkdir(parents=True, exist_ok=True)
    rows: Mapping[str, Iterable[Struct]] = {
        "registers": seen.registers,
        "lists": seen.lists,
        "holds": seen.holds,
        "watches": seen.watches,
        "grants": seen.grants,
        "accesses": seen.accesses,
        "findings": judged.findings,
        **{f"committed-{node}": changes for node, changes in seen.committed.items()},
    }
    for name, records in rows.items():
        (directory / f"{name}.jsonl").write_bytes(lines_of(records))
    (directory / "story.txt").write_text("\n".join(seen.story) + "\n")
    marked = _marked(seen, judged)
    for name, history in {"registers": seen.registers, "lists": seen.lists}.items():
        picture = draw(history, marked[name], title=name)
        (directory / f"{name}.svg").write_text(picture)


def _marked(seen: Seen, judged: Judged) -> Mapping[str, Sequence[int]]:
    """The operations that are in question. A finding does not say of which history it is: a key
    tells it.
    """
    verdict = linearizability.check(seen.registers, Keys())
    stuck = [o.number for witness in verdict.witnesses for o in witness.stuck]
    lists = [n for f in appends.check_strict(seen.lists) for n in f.operations]
    commits = [f for f in judged.findings if f.name in ("lost write", "revision reused")]
    return {"registers": [*stuck, *(n for f in commits for n in f.operations)], "lists": lists}
