"""What all that happens to a group happens in: time, links, disks, nodes, and what must hold."""

from collections.abc import Callable, Sequence

from bastide.base.rt.runtime import Chance
from bastide.parts.raft.contract import Durable, NodeId
from bastide.parts.raft.core.raft import Raft
from bastide.parts.raft.sim.node import Node
from bastide.parts.raft.sim.plan import Disks, Plan
from bastide.parts.raft.sim.rules import Rules
from bastide.parts.raft.sim.votes import Votes
from bastide.parts.raft.sim.world import Network, World


class Setting:
    """`disks` and the network's `net` are the plan's until all is healed."""

    def __init__(self, plan: Plan, raft: type[Raft], tell: Callable[[str], None] | None) -> None:
        self.plan = plan
        self.chance = Chance(plan.seed)
        self.world = World(tell)
        self.network = Network(self.world, plan.net, self.chance)
        self.disks = plan.disks
        self.is_troubled = True
        self.rules = Rules(plan.options)
        self.votes = Votes(self.rules, plan.options)
        self._raft = raft

    def add(self, host: Node) -> None:
        self.rules.hosts[host.node] = self.network.hosts[host.node] = host

    @property
    def all_hosts(self) -> Sequence[Node]:
        return list(self.rules.hosts.values())

    @property
    def leader(self) -> Node | None:
        """Of the newest term that is led."""
        leads = [host for host in self.rules.hosts.values() if host.is_leader]
        return max(leads, key=lambda host: host.term, default=None)

    def core_of(self, node: NodeId, found: Durable, now_s: float) -> Raft:
        return self._raft(node, self.plan.options, found, self.chance.random, now_s)

    def fell(self, host: Node) -> None:
        """It comes back."""
        down_s = self.plan.nodes.down_s * 2 * self.chance.random.random()
        self.world.at(self.world.now_s + down_s, self._restart, host, host.life)

    def _restart(self, host: Node, life: int) -> None:
        if not host.is_up and host.life == life:
            host.start()

    def heal(self) -> None:
        self.world.say("all is healed")
        self.is_troubled = False
        self.network.heal()
        self.disks = Disks()
        for host in self.all_hosts:
            host.resume()
            if not host.is_up:
                host.start()
