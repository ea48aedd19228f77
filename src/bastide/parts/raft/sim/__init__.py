"""Whole groups in virtual time: thousands of hours of faults against the core, one number each.

    seed ──► plan ──► world: one heap of events, by time
                        ├── nodes      the core, its disk, its state machine, its clock
                        ├── network    late, lost, doubled, overtaken, cut
                        ├── trouble    crashes, pauses, cuts, changes of members, transfers
                        ├── clients    unique writes, compare-and-set, linearizable reads
                        └── rules      what must hold after each event

Nothing here waits: the world jumps from one event to the next, and a core says when it wants its
next tick, so that an idle hour costs its heartbeats alone. A seed gives all that happens; a failure
names the rule, the nodes, the term and the index, and its seed tells the story again. The general
simulator (parts/sim) runs whole programs on asyncio; this one runs only the core and a host in its
simplest form, and is some tens of times faster for it.
"""

import asyncio
from functools import partial

from bastide.parts.raft.core.raft import Raft
from bastide.parts.raft.sim.group import run
from bastide.parts.sim.simulation import Simulation
from bastide.parts.sim.world import World


async def _raft(world: World) -> None:
    """The whole run takes no time of the outer world's loop; its length is added at the end."""
    trace = world.loop.trace
    tell = None if trace is None else partial(trace, "raft")
    outcome = run(world.draws.seed, Raft, tell)
    world.note(f"{outcome.events} events, {outcome.committed} entries, {outcome.digest}")
    await asyncio.sleep(outcome.simulated_s)
    if outcome.violation is not None:
        raise outcome.violation


SIMULATIONS = (Simulation("raft", "a group agrees, whatever happens to its nodes", _raft),)
