"""The simulator of the core: it repeats itself, it is quick, and the core survives it."""

from msgspec.structs import replace

from bastide.base.rt.runtime import Chance
from bastide.parts.raft.contract import Options
from bastide.parts.raft.core.raft import Raft
from bastide.parts.raft.sim import SIMULATIONS
from bastide.parts.raft.sim.group import play, run
from bastide.parts.raft.sim.plan import Disks, Load, Net, Plan, draw
from bastide.parts.sim import simulation

SEEDS = range(1, 21)

QUIET = Plan(
    seed=1,
    voters=(1, 2, 3),
    learners=(),
    spares=(),
    options=Options(),
    begins_at=0,
    trouble_s=300.0,
)


def test_the_core_breaks_no_rule():
    outcomes = [run(seed, Raft) for seed in SEEDS]
    assert [str(o.violation) for o in outcomes if o.violation] == []
    # That it went through something: entries, elections beyond the first, answers.
    assert sum(o.committed for o in outcomes) > 500
    assert sum(o.elections for o in outcomes) > 2 * len(outcomes)
    assert sum(o.answered for o in outcomes) > 500


def test_a_seed_gives_the_same_run_again():
    for seed in SEEDS[:6]:
        assert run(seed, Raft) == run(seed, Raft)


def test_seeds_differ():
    assert len({run(seed, Raft).digest for seed in SEEDS[:6]}) == 6


def test_the_story_is_told_and_changes_nothing():
    lines: list[str] = []
    told = run(3, Raft, lines.append)
    assert told.digest == run(3, Raft).digest
    assert any(" leads term " in line for line in lines)
    assert any("Append(term " in line for line in lines)
    assert lines == sorted(lines, key=lambda line: float(line.split()[0]))


def test_idle_time_costs_heartbeats_alone():
    idle = replace(QUIET, load=Load(clients=1, pause_s=1_000.0))
    outcome = play(idle, Raft)
    assert outcome.violation is None
    assert outcome.elections == 1
    per_s = outcome.events / outcome.simulated_s
    # Ten heartbeats a second to two followers, each sent and answered, and the leader's ticks;
    # timers of followers that were put off ring about once in an election time.
    assert per_s < 70


def test_a_group_without_a_majority_is_found_not_to_go_on():
    class Deaf(Raft):
        """It takes no vote."""

        def _on_vote(self, message):
            del message

    outcome = play(replace(QUIET, trouble_s=5.0), Deaf)
    assert outcome.violation is not None
    assert outcome.violation.rule == "liveness"


def test_a_plan_is_within_what_the_options_take():
    plans = [draw(seed, Chance(seed)) for seed in range(300)]
    assert {len(plan.node_ids) for plan in plans} >= {3, 4, 5, 7}
    assert any(plan.net.loss for plan in plans)
    assert any(plan.net == replace(plan.net, loss=0.0, doubled=0.0) for plan in plans)
    for plan in plans:
        assert 0 <= plan.nodes.drift <= (plan.options.lease_drift or 0.1)


def test_a_lossy_network_still_lets_the_group_agree():
    lossy = replace(QUIET, trouble_s=30.0, net=Net(loss=0.2, doubled=0.2, is_ordered=False))
    outcome = play(lossy, Raft)
    assert outcome.violation is None
    assert outcome.answered > 10


def test_who_stands_again_before_its_disk_is_done_breaks_no_rule():
    """One write has the newest vote alone, and the requests of all terms leave behind it."""
    options, disks = Options(pre_vote=False), Disks(sync_s=1.0, slow_share=0.5, slow_s=5.0)
    slow = replace(QUIET, trouble_s=60.0, options=options, disks=disks)
    outcomes = [play(replace(slow, seed=seed), Raft) for seed in (15, 22)]
    assert [str(o.violation) for o in outcomes if o.violation] == []


def test_the_general_simulator_runs_it_by_name():
    (raft,) = SIMULATIONS
    first, again = (simulation.run(raft, 2) for _ in range(2))
    assert first.error is None
    assert first.digest == again.digest
    assert first.simulated_s > 1
