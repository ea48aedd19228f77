"""Random schedules of everything that goes wrong, against the lease's rules and the mint.

    python -m bastide.engines.ids.sim schedules --count 100000 --first-seed 1
    python -m bastide.engines.ids.sim order

A schedule is drawn from its seed alone: some processes, one store, EVENTS of them in a row. A write
to the store has three events (sent, committed, answered), and each may be lost or come late; a
process may be killed, stopped, paused for as long as the others do something else, and have its
clock set by up to an hour. The oracle is stricter than "no id twice", which chance alone may save:
the times that two holders of a worker id stamped must not overlap, and each process's ids ascend.
"""

import argparse
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from itertools import accumulate

import msgspec

from bastide.base.rt import runtime
from bastide.base.rt.runtime import Chance
from bastide.engines.ids.contract import ClockBehind, FencePassed
from bastide.engines.ids.core.layout import BASTIDE
from bastide.engines.ids.core.lease import Worker, choose, fence_for
from bastide.engines.ids.core.mint import Mint
from bastide.engines.ids.model import OnBackwardClock

START_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
AHEAD_MS = 2_000
MARGIN_MS = 10_000
EVENTS = 150
PROCESSES_MAX = 6
WORKERS = (1, 2, 3, 8, BASTIDE.workers)
PAUSES_MS = (0, 1, 1, 2, 40, 900, 1_500, 2_500, 13_000, HOUR_MS)
CLOCK_STEPS_MS = (-HOUR_MS, -HOUR_MS, HOUR_MS, -2_500, -3, 3, 2_500)
BLOCKS = (1, 3, 4_095, 4_096)
NO_WORKER = -1


class Rules(msgspec.Struct, frozen=True):
    """What the fence stands on, so that a test can break each part and see it found: where a new
    holder starts, where a holder stops, what an extension leaves in the row, and that each taking
    has a holder's name of its own.
    """

    floor_of: Callable[[Worker], int] = lambda row: row.fence_ms
    fence_of: Callable[[int], int] = lambda durable_ms: durable_ms
    raised: Callable[[int, int], int] = max
    holder_of: Callable[[str, int], str] = lambda process, taking: f"{process}.{taking}"


RULES = Rules()


class Broken(AssertionError):
    """A schedule in which an id may repeat, or a process's ids don't ascend."""


class Write(msgspec.Struct):
    """A write to the store. `taken` is the row as it was when it was taken over, `kept` whether
    an extension found its lease; both are known once it is committed.
    """

    process: "Process"
    worker: int  # whose lease it extends; NO_WORKER: it takes one
    holder: str
    fence_ms: int
    committed: bool = False
    kept: bool = False
    given_up: bool = False
    taken: Worker | None = None


class Span(msgspec.Struct, eq=False):
    """The first and the last millisecond that one holder stamped as a worker."""

    holder: str
    first_ms: int
    last_ms: int


class Process:
    """What one process knows. A killed one is replaced by another, with another name."""

    def __init__(self, name: str, offset_ms: int, policy: OnBackwardClock) -> None:
        self.name = name
        self.offset_ms = offset_ms
        self.policy = policy
        self.mint: Mint | None = None
        self.span: Span | None = None
        self.worker = NO_WORKER
        self.holder = ""
        self.takings = 0
        self.last_id = -1
        self.waits = False
        self.gone = False


class Schedule:
    def __init__(self, seed: int, *, rules: Rules = RULES) -> None:
        self.counts: Counter[str] = Counter()
        self._random = Chance(seed).random
        self._rules = rules
        self._now_ms = START_MS
        self._workers = self._random.choice(WORKERS)
        self._rows: dict[int, Worker] = {}
        self._spans: dict[int, list[Span]] = {}
        self._writes: list[Write] = []
        self._names = 0
        self._processes = [self._born() for _ in range(self._random.randint(2, PROCESSES_MAX))]
        self._odds = (
            *[self._mint] * 12,
            *[self._send] * 6,
            *[self._commit] * 5,
            *[self._answer] * 5,
            *[self._pass_time] * 8,
            *[self._set_clock] * 2,
            *[self._give_up] * 2,
            *[self._kill] * 1,
            *[self._stop] * 1,
        )

    def run(self) -> Counter[str]:
        """How often what happened.

        Raises:
            Broken.
        """
        draw, odds = self._random.random, self._odds
        for _ in range(EVENTS):
            odds[int(draw() * len(odds))]()
        return self.counts

    def _born(self) -> Process:
        self._names += 1
        offset_ms = self._random.choice((0, 0, -3, 50, *CLOCK_STEPS_MS))
        policy: OnBackwardClock = "refuse" if self._random.random() < 0.2 else "continue"
        return Process(f"p{self._names}", offset_ms, policy)

    def _any(self) -> Process:
        return self._processes[int(self._random.random() * len(self._processes))]

    def _clock(self, process: Process) -> int:
        return self._now_ms + process.offset_ms

    def _pass_time(self) -> None:
        self._now_ms += self._random.choice(PAUSES_MS)

    def _set_clock(self) -> None:
        self._any().offset_ms += self._random.choice(CLOCK_STEPS_MS)
        self.counts["clock steps"] += 1

    def _kill(self) -> None:
        """What it had sent may still be committed."""
        self._restart(self._any())
        self.counts["kills"] += 1

    def _stop(self) -> None:
        process = self._any()
        row = self._rows.get(process.worker)
        if row is not None and row.holder == process.holder:
            self._rows[process.worker] = Worker(row.worker, "", row.fence_ms)
        self._restart(process)
        self.counts["clean stops"] += 1

    def _restart(self, process: Process) -> None:
        process.gone = True
        self._processes[self._processes.index(process)] = self._born()

    def _mint(self) -> None:
        process = self._any()
        mint, now_ms = process.mint, self._clock(process)
        if mint is None:
            return
        try:
            if self._random.random() < 0.5:
                id_ = mint.take(now_ms)
                ids = range(0) if id_ is None else range(id_, id_ + 1)
            else:
                ids = mint.take_many(now_ms, self._random.choice(BLOCKS))
            if not ids:  # the clock stands in a spent millisecond
                mint.step()
                return
        except FencePassed:
            self.counts["refused at the fence"] += 1
        except ClockBehind:
            self.counts["refused behind the clock"] += 1
        else:
            self._check(process, ids)

    def _check(self, process: Process, ids: range) -> None:
        if ids[0] <= process.last_id:
            raise Broken(f"{process.name} made {ids[0]} after {process.last_id}")
        process.last_id = ids[-1]
        said = BASTIDE.decode(ids[0])
        self._note(process, said.at_ms, self._spans.setdefault(said.worker, []))
        self.counts["ids"] += len(ids)
        if self._rows[said.worker].holder != process.holder:
            self.counts["ids by a robbed process"] += len(ids)

    def _note(self, process: Process, at_ms: int, spans: list[Span]) -> None:
        span = process.span
        if span is None:
            process.span = span = Span(process.name, at_ms, at_ms)
            spans.append(span)
        span.last_ms = at_ms
        for other in spans:
            apart = other.last_ms < span.first_ms or span.last_ms < other.first_ms
            if other is not span and not apart:
                raise Broken(f"{span} and {other} stamped one worker")

    def _send(self) -> None:
        process = self._any()
        if process.waits:
            return
        process.waits = True
        mint, now_ms = process.mint, self._clock(process)
        at_ms = 0 if mint is None else mint.at_ms
        fence_ms = fence_for(at_ms, now_ms=now_ms, ahead_ms=AHEAD_MS)
        holder = process.holder
        if process.worker == NO_WORKER:
            process.takings += 1
            holder = self._rules.holder_of(process.name, process.takings)
        self._writes.append(Write(process, process.worker, holder, fence_ms))

    def _give_up(self) -> None:
        """The process waits no longer for an answer, and will send again; the write goes on."""
        write = self._drawn(committed=self._random.random() < 0.5)
        if write is not None and not write.given_up:
            write.given_up, write.process.waits = True, False
            self.counts["writes given up"] += 1

    def _commit(self) -> None:
        write = self._drawn(committed=False)
        if write is None:
            return
        if self._random.random() < 0.1:  # it never reached the store
            self._forget(write)
        elif write.worker != NO_WORKER:
            self._extend(write)
        else:
            self._take(write)

    def _extend(self, write: Write) -> None:
        write.committed = True
        row = self._rows.get(write.worker)
        write.kept = row is not None and row.holder == write.holder
        if row is not None and write.kept:
            durable_ms = self._rules.raised(row.fence_ms, write.fence_ms)
            self._rows[row.worker] = Worker(row.worker, row.holder, durable_ms)

    def _take(self, write: Write) -> None:
        write.committed = True
        rows, now_ms = list(self._rows.values()), self._clock(write.process)
        found = choose(rows, now_ms=now_ms, workers=self._workers, margin_ms=MARGIN_MS)
        if found is None:
            self.counts["no worker id"] += 1
            self._forget(write)
            return
        write.taken = found
        write.fence_ms = max(write.fence_ms, found.fence_ms + AHEAD_MS)
        self._rows[found.worker] = Worker(found.worker, write.holder, write.fence_ms)
        self.counts["take-overs" if found.holder else "first takes"] += 1

    def _answer(self) -> None:
        write = self._drawn(committed=True)
        if write is None:
            return
        self._forget(write)
        process = write.process
        if write.given_up or process.gone or self._random.random() < 0.1:
            self.counts["answers lost"] += 1
        elif write.taken is not None:
            self._hold(process, write, write.taken)
        elif write.kept and process.mint is not None:
            process.mint.raise_fence(self._rules.fence_of(write.fence_ms))
        else:
            process.worker = (
                NO_WORKER  # robbed: it stamps on up to its fence, and looks for another id
            )
            self.counts["leases lost"] += 1

    def _hold(self, process: Process, write: Write, taken: Worker) -> None:
        at_ms = 0 if process.mint is None else process.mint.at_ms
        process.worker, process.holder, process.span = taken.worker, write.holder, None
        process.mint = Mint(
            BASTIDE,
            worker=taken.worker,
            floor_ms=max(self._rules.floor_of(taken), at_ms),
            fence_ms=self._rules.fence_of(write.fence_ms),
            on_backward_clock=process.policy,
        )

    def _drawn(self, *, committed: bool) -> Write | None:
        found = [write for write in self._writes if write.committed == committed]
        return self._random.choice(found) if found else None

    def _forget(self, write: Write) -> None:
        self._writes = [other for other in self._writes if other is not write]
        if not write.given_up:
            write.process.waits = False


def run_schedules(first_seed: int, count: int, *, rules: Rules = RULES) -> Counter[str]:
    """What happened in all of them.

    Raises:
        Broken: the message begins with the seed.
    """
    totals: Counter[str] = Counter()
    for seed in range(first_seed, first_seed + count):
        try:
            totals += Schedule(seed, rules=rules).run()
        except Broken as broken:
            raise Broken(f"seed {seed}: {broken}") from broken
    return totals


class Order(msgspec.Struct, frozen=True):
    """How far ids are from the order they were made in.

    `inverted_ms`: the longest time between two ids that compare the wrong way round; `displaced`:
    the furthest that an id stands from its place, in ids.
    """

    skew_ms: int
    inverted_ms: float
    displaced: int


def order_quality(seed: int, *, skew_ms: int, workers: int = 16, count: int = 20_000) -> Order:
    """`count` ids, 50 us apart, by `workers` whose clocks differ by up to `skew_ms`."""
    random = Chance(seed).random
    fence_ms = START_MS + HOUR_MS
    mints = [Mint(BASTIDE, worker=w, floor_ms=0, fence_ms=fence_ms) for w in range(workers)]
    offsets_ms = [0.0, float(skew_ms), *(random.random() * skew_ms for _ in range(workers - 2))]
    made_us = [place * 50 for place in range(count)]
    ids = []
    for at_us in made_us:
        worker = int(random.random() * workers)
        id_ = mints[worker].take(int(START_MS + at_us / 1000 + offsets_ms[worker]))
        assert id_ is not None
        ids.append(id_)
    highest = list(accumulate(ids, max))
    first_above = (bisect_right(highest, id_) for id_ in ids)
    inverted_us = max(
        (
            at_us - made_us[first]
            for at_us, first in zip(made_us, first_above, strict=True)
            if first < count
        ),
        default=0,
    )
    places = sorted(range(count), key=ids.__getitem__)
    displaced = max(abs(place - made) for place, made in enumerate(places))
    return Order(skew_ms, max(0, inverted_us) / 1000, displaced)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Is an id ever made twice, and how sorted are they?"
    )
    parser.add_argument("what", choices=["schedules", "order"])
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--first-seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.what == "order":
        for skew_ms in (0, 1, 10, 100, 1_000):
            print(order_quality(arguments.first_seed, skew_ms=skew_ms))
        return
    started_s = runtime.monotonic()
    totals = run_schedules(arguments.first_seed, arguments.count)
    for what, times in sorted(totals.items()):
        print(f"{what:<28}{times:>16,}")
    print(
        f"{arguments.count:,} schedules of {EVENTS} events, no id twice, all ascending; "
        f"{runtime.monotonic() - started_s:.0f} s"
    )


if __name__ == "__main__":
    main()
