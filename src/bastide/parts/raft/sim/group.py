"""One group in its world, from a seed to a verdict.

    trouble_s of what the plan has ──► all is healed ──► everybody must catch up ──► history judged

Safety is looked at after each event. Liveness can only be asked for once the faults have ended: a
leader must be found then, a client's entry be committed and applied by each member, in time.
"""

from collections.abc import Callable

import msgspec

from bastide.base.rt.runtime import Chance
from bastide.parts.histories.core.linearizability import check
from bastide.parts.histories.core.models import Register
from bastide.parts.raft.contract import Members, NodeId, SnapshotMark
from bastide.parts.raft.core.raft import Raft
from bastide.parts.raft.sim.clients import Clients
from bastide.parts.raft.sim.host import Host
from bastide.parts.raft.sim.machine import ABSENT, Machine
from bastide.parts.raft.sim.plan import Plan, draw
from bastide.parts.raft.sim.progress import Progress
from bastide.parts.raft.sim.rules import Violation
from bastide.parts.raft.sim.setting import Setting
from bastide.parts.raft.sim.trouble import Trouble

STEPS_MAX = 30_000  # of the search for an order; the rules know it anyway


class Outcome(msgspec.Struct, frozen=True):
    """`digest` is of all events' times: equal in two runs of one seed. `is_undecided`: the search
    for an order of the clients' calls was given up; the rules have judged all the same.
    """

    seed: int
    simulated_s: float
    events: int
    digest: int
    committed: int
    elections: int
    answered: int
    is_undecided: bool
    violation: Violation | None


class Group:
    def __init__(self, plan: Plan, raft: type[Raft], tell: Callable[[str], None] | None) -> None:
        self.setting = setting = Setting(plan, raft, tell)
        setting.rules.begin_with(self._mark(plan.voters[0]))
        for node in plan.node_ids:
            setting.add(Host(setting, node, self._mark(node)))
        self.clients = Clients(setting)
        self._trouble = Trouble(setting)
        self._progress = Progress(setting)
        self.is_undecided = False

    def _mark(self, node: NodeId) -> SnapshotMark:
        """What a node begins with. Who comes later is empty if the group began with a snapshot, for
        the leader will send it; else it would never learn the first members from the log.
        """
        plan = self.setting.plan
        if plan.begins_at and node in plan.spares:
            return SnapshotMark(0, 0, Members(()))
        members = Members(plan.voters, learners=plan.learners)
        term = min(plan.begins_at, 1)
        size = len(Machine(plan.begins_at, term).encoded(node))
        return SnapshotMark(plan.begins_at, term, members, size)

    def run(self) -> None:
        """Raises Violation."""
        setting = self.setting
        for host in setting.all_hosts:
            host.start()
        self.clients.start()
        self._trouble.start()
        self._progress.start()
        setting.world.run_until(setting.plan.trouble_s)
        setting.heal()
        self._progress.must_go_on()
        self._judge()

    def _judge(self) -> None:
        verdict = check(self.clients.recorder.history(), Register(ABSENT), steps_max=STEPS_MAX)
        self.is_undecided = verdict.answer not in ("ok", "violated")
        if verdict.answer == "violated":
            witness = verdict.witnesses[0]
            raise Violation(
                "linearizable",
                f"register {witness.key} stands at {witness.state} after {len(witness.placed)} "
                f"calls, and none of these can be next: {witness.stuck}",
            )


def run(seed: int, raft: type[Raft], tell: Callable[[str], None] | None = None) -> Outcome:
    """One run of the plan that `seed` draws."""
    return play(draw(seed, Chance(seed)), raft, tell)


def play(plan: Plan, raft: type[Raft], tell: Callable[[str], None] | None = None) -> Outcome:
    group = Group(plan, raft, tell)
    violation = None
    try:
        group.run()
    except Violation as found:
        violation = found
    except Exception as error:
        # A core that fails on an assertion of its own has shown that it is wrong.
        violation = Violation("asserted", f"{type(error).__name__}: {error}")
        violation.__cause__ = error
    world, rules = group.setting.world, group.setting.rules
    return Outcome(
        seed=plan.seed,
        simulated_s=world.now_s,
        events=world.events,
        digest=world.digest,
        committed=rules.committed,
        elections=len(rules.leaders),
        answered=group.clients.answered,
        is_undecided=group.is_undecided,
        violation=violation,
    )
