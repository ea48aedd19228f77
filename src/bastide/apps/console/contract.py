"""What the console says of the town. Figures are of this process, since it started.

NotFound
 └── NoSuchSystem      the town, as it runs, has no system of that name
"""

from collections.abc import Mapping, Sequence

import msgspec

from bastide.base.errors import NotFound
from bastide.base.settings import Setting

NAME_MAX = 100
OUTSIDE = "outside"  # whoever calls at the doors, as a client


class NoSuchSystem(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"the town runs no system {name[:NAME_MAX]!r}")


class SystemState(msgspec.Struct, frozen=True, kw_only=True):
    """One system. `address` is "" if it has no doors; `has_page`: a browser can open it; `error`
    says why it is not `ok`; `carries` are the systems that stand on it; `calls_per_s` counts other
    systems' calls and requests at its doors; `try_line` is one for a shell, "" if there is none.
    """

    name: str
    floor: str
    summary: str
    level: str
    address: str
    has_page: bool
    ok: bool
    error: str
    stands_on: Sequence[str]
    carries: Sequence[str]
    calls_per_s: float
    try_line: str


class EdgeCalls(msgspec.Struct, frozen=True, kw_only=True):
    """All calls of `system` by `client`, which stands on it; OUTSIDE stands for the requests at its
    doors. Means of the last ten seconds; those `before` are of a beat earlier. Failed is what was
    away or broken: another refusal is an answer.
    """

    client: str
    system: str
    per_s: float
    failed_per_s: float
    per_s_before: float
    failed_per_s_before: float


class TownMap(msgspec.Struct, frozen=True):
    """The systems from the ground up, and every edge between two, also one without calls; `beat` is
    how often the town has been looked at.
    """

    beat: int
    systems: Sequence[SystemState]
    edges: Sequence[EdgeCalls]


class VerbCalls(msgspec.Struct, frozen=True, kw_only=True):
    """The calls of one verb between two systems: `other` is who calls, or who is called.
    `failures` counts by the error's name; times are upper bounds, 0 if none was timed: verbs that
    don't wait are timed one in 64.
    """

    other: str
    verb: str
    calls: int
    per_s: float
    p50_s: float
    p99_s: float
    failures: Mapping[str, int]


class DoorCalls(msgspec.Struct, frozen=True, kw_only=True):
    """The requests that one door answered, by status."""

    door: str
    requests: int
    per_s: float
    p50_s: float
    p99_s: float
    statuses: Mapping[str, int]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """Any other metric of a system."""

    name: str
    labels: Mapping[str, str]
    value: float
    meaning: str


class BackendInForce(msgspec.Struct, frozen=True):
    """`client`'s calls of `engine` end at `url`, shown without its secrets."""

    engine: str
    client: str
    url: str


class SystemDetail(msgspec.Struct, frozen=True, kw_only=True):
    """All of one system. `calls` are others' of it, `made` its own of others."""

    state: SystemState
    settings: Sequence[Setting]
    backends: Sequence[BackendInForce]
    calls: Sequence[VerbCalls]
    made: Sequence[VerbCalls]
    doors: Sequence[DoorCalls]
    figures: Sequence[Figure]
