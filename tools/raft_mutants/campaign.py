"""Seed after seed against one core, until a rule is broken or the time is up."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from time import process_time

from msgspec import Struct

from bastide.parts.raft.core.raft import Raft
from bastide.parts.raft.sim.group import run

RUN_CPU_S_MAX = 5.0
"""Of one seed; they take a tenth of a second. A core that is not done by then turns in circles."""


class Endless(BaseException):
    """Not an Exception, so that nothing on the way takes it for a core's own."""


class Ran(Struct, frozen=True):
    """Of one core. `rule` is the one that was broken by `seed`, "" if none was. `undecided` counts
    the histories for which the search for an order was given up.
    """

    rule: str
    message: str
    seed: int
    seeds: int
    cpu_s: float
    simulated_s: float
    events: int
    undecided: int


def campaign(raft: type[Raft], *, first_seed: int, cpu_s_max: float) -> Ran:
    began_s = process_time()
    seed, simulated_s, events, undecided, rule, message = first_seed, 0.0, 0, 0, "", ""
    while True:
        try:
            with _at_most(RUN_CPU_S_MAX):
                outcome = run(seed, raft)
        except Endless:
            rule, message = "ends", f"{RUN_CPU_S_MAX:.0f} s of CPU time, and no end"
        else:
            simulated_s += outcome.simulated_s
            events += outcome.events
            undecided += outcome.is_undecided
            if outcome.violation is not None:
                rule, message = outcome.violation.rule, str(outcome.violation)
        spent_s = process_time() - began_s
        if rule or spent_s >= cpu_s_max:
            seeds = seed + 1 - first_seed
            return Ran(rule, message, seed, seeds, spent_s, simulated_s, events, undecided)
        seed += 1


@contextmanager
def _at_most(cpu_s: float) -> Iterator[None]:
    def end(*_: object) -> None:
        raise Endless

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
