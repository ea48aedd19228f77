"""What a seed turns on: a subset of the faults, and tunables that nobody would choose.

A run that has every fault at once explores little: crashes hide what slow disks would show. So each
fault is on in about half of the runs, with a rate of its own, and the options are often at an end
of their range, where batches hold one entry and a snapshot goes in chunks of a few bytes.

Source: Groce and others, "Swarm testing" (2012).
"""

import msgspec
from msgspec.structs import replace

from bastide.base.rt.runtime import Chance
from bastide.parts.raft.contract import NodeId, Options

NEVER_S = 1e9


class Net(msgspec.Struct, frozen=True):
    """Times in seconds, shares from 0 to 1. A message takes `delay_s` and, by chance, more:
    exponentially with `jitter_s`. One in `late_share` takes up to `late_s` more. A siege cuts off
    a leader, alone or with a minority, and asks it all the while for reads by lease.
    """

    delay_s: float = 0.001
    jitter_s: float = 0.0005
    loss: float = 0.0
    doubled: float = 0.0
    late_share: float = 0.0
    late_s: float = 0.0
    is_ordered: bool = True
    cut_every_s: float = NEVER_S
    cut_s: float = 1.0
    siege_every_s: float = NEVER_S


class Disks(msgspec.Struct, frozen=True):
    """A sync takes `sync_s`, and now and then `slow_s`. `keeps_some`: a crash keeps a random
    beginning of what was written and not synced, instead of nothing.
    """

    sync_s: float = 0.001
    slow_share: float = 0.0
    slow_s: float = 0.0
    keeps_some: bool = False


class Nodes(msgspec.Struct, frozen=True):
    """`crash_share`: how likely a crash is at each point between two steps of a host. A hunt is a
    look for a leader who is new, and strikes half of them. `clocks_at_edge`: each clock runs as
    slowly or as fast as `drift` lets it, and not in between. A relapse is a crash of a node that
    has just asked its leader, and asks again as soon as it is back.
    """

    drift: float = 0.0
    clocks_at_edge: bool = False
    crash_every_s: float = NEVER_S
    crash_share: float = 0.0
    down_s: float = 1.0
    hunt_every_s: float = NEVER_S
    relapse_every_s: float = NEVER_S
    pause_every_s: float = NEVER_S
    pause_s: float = 1.0
    shuffles_backlog: bool = False
    apply_s: float = 0.0
    snapshot_entries: int = 0  # 0: never
    snapshot_s: float = 0.01


class Operators(msgspec.Struct, frozen=True):
    change_every_s: float = NEVER_S
    joint_share: float = 0.5
    transfer_every_s: float = NEVER_S


class Load(msgspec.Struct, frozen=True):
    """`lease_share` and `aside_share` are of reads: by lease, and at a node that may not lead."""

    clients: int = 2
    keys: int = 2
    pause_s: float = 1.0
    timeout_s: float = 2.0
    write_share: float = 0.5
    cas_share: float = 0.2
    lease_share: float = 0.0
    aside_share: float = 0.2
    burst: int = 1
    padding_bytes: int = 0


class Plan(msgspec.Struct, frozen=True):
    seed: int
    voters: tuple[NodeId, ...]
    learners: tuple[NodeId, ...]
    spares: tuple[NodeId, ...]
    options: Options
    begins_at: int  # the index of the snapshot that the group begins with
    trouble_s: float  # then all is healed
    net: Net = Net()
    disks: Disks = Disks()
    nodes: Nodes = Nodes()
    operators: Operators = Operators()
    load: Load = Load()

    @property
    def node_ids(self) -> tuple[NodeId, ...]:
        return tuple(sorted(self.voters + self.learners + self.spares))


def draw(seed: int, chance: Chance) -> Plan:
    sizes = chance.random.choice([(3, 0, 0), (3, 0, 0), (3, 1, 0), (3, 0, 2), (4, 0, 1), (5, 0, 0)])
    if chance.random.random() < 0.2:
        sizes = chance.random.choice([(5, 1, 1), (2, 0, 2), (1, 0, 3), (3, 2, 2), (4, 1, 2)])
    voters, learners, _ = sizes
    ids = range(1, sum(sizes) + 1)
    options = _options(chance)
    unit_s = options.election_s
    plan = Plan(
        seed=seed,
        voters=tuple(ids[:voters]),
        learners=tuple(ids[voters : voters + learners]),
        spares=tuple(ids[voters + learners :]),
        options=options,
        begins_at=chance.random.choice([0, 10]),
        trouble_s=unit_s * chance.random.choice([20, 40, 80]),
        net=_net(chance, unit_s),
        disks=_disks(chance, unit_s),
        nodes=_nodes(chance, unit_s, options),
        operators=_operators(chance, unit_s),
        load=_load(chance, unit_s, options),
    )
    if options.check_quorum and options.lease_drift is not None and chance.random.random() < 0.5:
        plan = _besieged(plan, chance, unit_s)
    return plan


def _besieged(plan: Plan, chance: Chance, unit_s: float) -> Plan:
    """Reads by lease where they are hardest: next to an election, with clocks at the edge, an
    election that is quick, and answers that are on their way for long.
    """
    net = replace(
        plan.net,
        delay_s=unit_s * chance.random.choice([0.0005, 0.002, 0.02]),
        jitter_s=0.0005 * unit_s,
        siege_every_s=unit_s * chance.random.choice([1, 2, 4]),
    )
    if chance.random.random() < 0.5:
        net = replace(net, late_share=0.2, late_s=unit_s * chance.random.choice([1, 3]))
    if chance.random.random() < 0.3:
        plan = replace(plan, voters=(1, 2, 3, 4, 5), learners=(), spares=())
    nodes = replace(
        plan.nodes,
        drift=0.5,
        clocks_at_edge=True,
        relapse_every_s=unit_s * _rate(chance, [0.5, 2]),
    )
    options = replace(plan.options, lease_drift=0.5, heartbeat_s=0.1)
    disks = replace(plan.disks, sync_s=0.002 * unit_s)
    return replace(plan, net=net, nodes=nodes, options=options, disks=disks)


def _options(chance: Chance) -> Options:
    odd = chance.random.random() < 0.5
    return Options(
        election_s=1.0,
        heartbeat_s=chance.random.choice([0.1, 0.2, 0.4]),
        lease_drift=chance.random.choice([0.1, 0.3, 0.5, None]),
        pre_vote=chance.random.random() < 0.7,
        check_quorum=chance.random.random() < 0.8,
        append_bytes_max=chance.random.choice([20, 64, 300]) if odd else 1 << 20,
        appends_out_max=chance.random.choice([1, 2, 4]) if odd else 64,
        proposed_max=chance.random.choice([4, 20]) if odd else 65_536,
        reads_max=chance.random.choice([2, 10]) if odd else 65_536,
        chunk_bytes=chance.random.choice([16, 40, 4096]),
        kept_behind=chance.random.choice([0, 2, 20]),
    )


def _net(chance: Chance, unit_s: float) -> Net:
    delay_s = unit_s * chance.random.choice([0.0005, 0.002, 0.02, 0.1])
    return Net(
        delay_s=delay_s,
        jitter_s=delay_s * chance.random.choice([0.1, 1.0, 3.0]),
        loss=_at_times(chance, [0.01, 0.1, 0.3]),
        doubled=_at_times(chance, [0.02, 0.2]),
        late_share=_at_times(chance, [0.01, 0.05, 0.2]),
        late_s=unit_s * chance.random.choice([0.5, 3, 10]),
        is_ordered=chance.random.random() < 0.5,
        cut_every_s=unit_s * _rate(chance, [1, 2, 5]),
        cut_s=unit_s * chance.random.choice([0.5, 2, 5]),
    )


def _disks(chance: Chance, unit_s: float) -> Disks:
    return Disks(
        sync_s=unit_s * chance.random.choice([0.0002, 0.002, 0.02, 0.1]),
        slow_share=_at_times(chance, [0.02, 0.2]),
        slow_s=unit_s * chance.random.choice([0.2, 1, 3]),
        keeps_some=chance.random.random() < 0.5,
    )


def _nodes(chance: Chance, unit_s: float, options: Options) -> Nodes:
    return Nodes(
        drift=options.lease_drift or 0.1 if chance.random.random() < 0.5 else 0.0,
        crash_every_s=unit_s * _rate(chance, [1.5, 4, 10]),
        crash_share=_at_times(chance, [0.0005, 0.005]),
        hunt_every_s=unit_s * _rate(chance, [0.1, 0.3]),
        down_s=unit_s * chance.random.choice([0.05, 0.5, 3]),
        pause_every_s=unit_s * _rate(chance, [2, 6]),
        pause_s=unit_s * chance.random.choice([0.3, 2, 5]),
        shuffles_backlog=chance.random.random() < 0.5,
        apply_s=unit_s * _at_times(chance, [0.001, 0.05]),
        snapshot_entries=int(_at_times(chance, [1, 5, 25])),
        snapshot_s=unit_s * chance.random.choice([0.001, 0.1, 1]),
    )


def _operators(chance: Chance, unit_s: float) -> Operators:
    return Operators(
        change_every_s=unit_s * _rate(chance, [1, 3, 8]),
        joint_share=chance.random.choice([0.2, 0.8]),
        transfer_every_s=unit_s * _rate(chance, [1, 4, 10]),
    )


def _load(chance: Chance, unit_s: float, options: Options) -> Load:
    return Load(
        clients=chance.random.choice([1, 3, 6]),
        keys=chance.random.choice([1, 3]),
        pause_s=unit_s * chance.random.choice([0.02, 0.2, 1.0, 3.0]),
        timeout_s=unit_s * chance.random.choice([1, 3]),
        write_share=chance.random.choice([0.3, 0.6, 0.9]),
        lease_share=0.0 if options.lease_drift is None else chance.random.choice([0.0, 0.5, 1.0]),
        aside_share=chance.random.choice([0.05, 0.5]),
        burst=chance.random.choice([1, 1, 12, 30]),
        padding_bytes=chance.random.choice([0, 0, 30]),
    )


def _at_times(chance: Chance, values: list[float]) -> float:
    return chance.random.choice(values) if chance.random.random() < 0.5 else 0.0


def _rate(chance: Chance, values: list[float]) -> float:
    return chance.random.choice(values) if chance.random.random() < 0.5 else NEVER_S
