"""Liveness: when the world is well again, everybody gets on within a bound.

        cut off                 healed          healed + within_s
    a   ├─ ok ─┤ ├─ unknown ──┤   ├─ ok ─┤           │         well
    b      ├────── ok ──────────────────────┤        │         well: it came through
    c   ├─ ok ─┤ ├─ unknown ──────────────────────────────     stuck

Safety alone is kept by a system that never answers.
"""

from collections.abc import Collection, Sequence

from bastide.parts.histories.contract import Finding, Operation


def check(
    history: Sequence[Operation],
    processes: Collection[str],
    *,
    healed_s: float,
    within_s: float,
) -> Sequence[Finding]:
    """Whether each of `processes` had an operation that returned ok behind `healed_s`, `within_s`
    at the latest; their times are the history's.
    """
    until_s = healed_s + within_s
    found = []
    for process in processes:
        own = [o for o in history if o.process == process]
        if any(o.outcome == "ok" and _between(o.returned, healed_s, until_s) for o in own):
            continue
        tried = tuple(o.number for o in own if o.invoked <= until_s)[-1:]
        told = f"{process}: nothing came through from {healed_s} to {until_s}"
        found.append(Finding("stuck", told, tried))
    return found


def _between(returned: float | None, after: float, until: float) -> bool:
    return returned is not None and after < returned <= until
