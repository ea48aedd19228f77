"""Timestamp-fenced leases: who may stamp which time as which worker.

One durable row a worker id: (worker, holder, fence_ms). `fence_ms` is the largest timestamp that
its holder may stamp, and it only rises.

     worker 7   holder A            A is paused       B takes over: floor = A's fence
    ──────────┬────────────────────┬─────────┬───────┬──────────────────────────────> time
              │ A stamps ......... │         │ fence │ B stamps, strictly above
              └── extended ahead ──┴────────>│  (A)  │
                                   A wakes, stamps on: at most up to its fence

    extend    raise fence to :ahead  where worker = :w and holder = :me    (compare and set)
    take      set holder = :me, fence = :ahead   where nobody else did since it was read
    release   set holder = ''      where worker = :w and holder = :me      the fence stays

A write whose answer was lost may be committed late, after its successor. Hence "raise to": the row
never says less than a holder was once told. And hence :me is a new name for each taking: if a late
one gives a process the worker id again that it holds, and was robbed of meanwhile, the old lease
must not be extended over the robber's time. (The schedules of sim.py found both.)

A lease's fencing token usually has to be checked by whatever the holder writes to (Kleppmann, "How
to do distributed locking", 2016). Here the token is a time, and it is in the id itself: A's late
ids and B's lie on two sides of the fence, so nothing has to be checked anywhere, and no two clocks
need to agree. Clocks only choose which row is worth taking: a wrong clock may rob a live holder,
which then finds its compare-and-set lost, and takes another worker id; it never makes a duplicate.
"""

from collections.abc import Sequence

import msgspec


class Worker(msgspec.Struct, frozen=True):
    """A row. `holder` is '' when it was given back; `fence_ms` is the last time it may stamp."""

    worker: int
    holder: str
    fence_ms: int


NEVER_MS = 0  # the fence of a worker id that nobody has held: 1970 is before every epoch in use


def choose(rows: Sequence[Worker], *, now_ms: int, workers: int, margin_ms: int) -> Worker | None:
    """The row to take over, as it was read; None if all are held.

    Free is a row given back, one whose fence lies over `margin_ms` behind (its holder would have
    moved it), or one never used. Best is one whose fence is behind, so that ids need not run ahead
    of the clock. O(rows log rows).
    """
    free = [row for row in rows if not row.holder or row.fence_ms + margin_ms < now_ms]
    behind = [row for row in free if row.fence_ms < now_ms]
    if behind:
        return min(behind, key=lambda row: row.worker)
    unused = _first_missing(sorted(row.worker for row in rows))
    if unused < workers:
        return Worker(unused, "", NEVER_MS)
    return min(free, key=lambda row: row.fence_ms, default=None)


def choose_this(rows: Sequence[Worker], worker: int) -> Worker:
    """The row of `worker`, whoever holds it: for processes with an ordinal of their own, of which
    an orchestrator runs at most one. Should it run two, the fence keeps them apart.
    """
    return next((row for row in rows if row.worker == worker), Worker(worker, "", NEVER_MS))


def fence_for(at_ms: int, *, now_ms: int, ahead_ms: int) -> int:
    """Where the fence of a holder belongs that has stamped up to `at_ms`."""
    return max(now_ms, at_ms) + ahead_ms


def _first_missing(ascending: Sequence[int]) -> int:
    for expected, found in enumerate(ascending):
        if found != expected:
            return expected
    return len(ascending)
