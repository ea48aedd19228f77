"""What goes wrong, and what operators do meanwhile: drawn moments, as often as the plan says."""

from collections.abc import Callable

from bastide.parts.raft.contract import Change, NodeId
from bastide.parts.raft.sim.node import Node
from bastide.parts.raft.sim.setting import Setting
from bastide.parts.raft.sim.world import ANY_LIFE

ASKS_EVERY_S = 0.02  # elections take some 1 s, and what is looked for lasts a few hundredths
ASKS = 100


class Trouble:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._random = setting.chance.random
        self._hunted_term = 0

    def start(self) -> None:
        plan = self._setting.plan
        self._each(plan.net.cut_every_s, self._cut)
        self._each(plan.net.siege_every_s, self._besiege)
        self._each(plan.nodes.relapse_every_s, self._relapse)
        self._each(plan.nodes.crash_every_s, self._crash)
        self._each(plan.nodes.hunt_every_s, self._hunt)
        self._each(plan.nodes.pause_every_s, self._pause)
        self._each(plan.operators.change_every_s, self._change)
        self._each(plan.operators.transfer_every_s, self._transfer)

    def _each(self, every_s: float, do: Callable[[], None]) -> None:
        def strike() -> None:
            if self._setting.is_troubled:
                do()
                wait()

        def wait() -> None:
            when_s = self._setting.world.now_s + every_s * 2 * self._random.random()
            if when_s < self._setting.plan.trouble_s:
                self._setting.world.at(when_s, strike)

        wait()

    def _someone(self) -> Node:
        """Most often who leads: there it hurts."""
        leader = self._setting.leader
        if leader is not None and self._random.random() < 0.5:
            return leader
        return self._random.choice(self._setting.all_hosts)

    # --- nodes and links

    def _crash(self) -> None:
        if self._random.random() < 0.1:
            for host in self._setting.all_hosts:
                host.crash("with all others")
        else:
            self._someone().crash("by chance")

    def _relapse(self) -> None:
        host = self._random.choice(self._setting.all_hosts)
        if host.is_leader:
            return
        self._ask(host, by_lease=False)
        when_s = self._setting.world.now_s + 10 * ASKS_EVERY_S * self._random.random()
        self._setting.world.at(when_s, host.crash, "with what it asked on its way")

    def _hunt(self) -> None:
        """Who has just begun to lead has entries that nobody else has."""
        leader = self._setting.leader
        if leader is None or leader.term == self._hunted_term:
            return
        self._hunted_term = leader.term
        match self._random.randrange(6):
            case 0:
                leader.crash("when it has just begun to lead")
            case 1:
                self._pause_one(leader)
            case 2:
                self._cut_off({(leader.node, other) for other in self._setting.plan.node_ids})

    def _pause(self) -> None:
        self._pause_one(self._someone())

    def _pause_one(self, host: Node) -> None:
        host.pause()
        length_s = self._setting.plan.nodes.pause_s * 2 * self._random.random()
        self._setting.world.at(self._setting.world.now_s + length_s, host.resume)

    def _cut(self) -> None:
        self._cut_off(self._drawn_cuts())

    def _cut_off(self, cuts: set[tuple[NodeId, NodeId]], length_s: float = 0.0) -> None:
        """For a drawn time, if none is given."""
        network, world = self._setting.network, self._setting.world
        world.say(f"cut: {sorted(cuts)}")
        network.cuts |= cuts
        length_s = length_s or self._setting.plan.net.cut_s * 2 * self._random.random()
        world.at(world.now_s + length_s, self._mend, cuts)

    def _besiege(self) -> None:
        """Both ways, or only what the leader says: late answers reach it then."""
        leader = self._setting.leader
        if leader is None:
            return
        nodes = self._setting.plan.node_ids
        others = [node for node in nodes if node != leader.node]
        size = self._random.choice([0, (len(nodes) - 1) // 2])
        inside = {leader.node, *self._random.sample(others, size)}
        cuts = {(a, b) for a in inside for b in nodes if b not in inside}
        if self._random.random() < 0.5:
            cuts |= {(b, a) for a, b in cuts}
        self._cut_off(cuts, ASKS * ASKS_EVERY_S)
        self._ask(leader, by_lease=True)

    def _ask(self, host: Node, *, by_lease: bool) -> None:
        """The rules look at the index that each is answered at; nobody waits for the value."""
        world = self._setting.world
        for place in range(ASKS):
            when_s = world.now_s + ASKS_EVERY_S * (place + self._random.random())
            world.at_node(when_s, host, ANY_LIFE, host.read, 0, by_lease, _heed_not)

    def _mend(self, cuts: set[tuple[NodeId, NodeId]]) -> None:
        self._setting.network.cuts -= cuts
        self._setting.world.say(f"mended: {sorted(cuts)}")
        if self._setting.is_troubled and self._random.random() < 0.3:
            self._cut()  # who was away meets others than those who were there meanwhile

    def _drawn_cuts(self) -> set[tuple[NodeId, NodeId]]:
        """In two halves; one node off, or only one way; or a single link."""
        nodes, one = self._setting.plan.node_ids, self._someone().node
        others = [node for node in nodes if node != one]
        match self._random.randrange(5):
            case 0:
                side = {node for node in nodes if self._random.random() < 0.5}
                return {(a, b) for a in nodes for b in nodes if (a in side) != (b in side)}
            case 1:
                return {(one, b) for b in others} | {(b, one) for b in others}
            case 2:
                return {(one, b) for b in others}
            case 3:
                return {(b, one) for b in others}
            case _:
                other = self._random.choice(others)
                return {(one, other), (other, one)}

    # --- operators

    def _change(self) -> None:
        leader = self._setting.leader
        if leader is None:
            return
        change = self._drawn_change(leader)
        self._operate(leader, "is to change to", change)

    def _drawn_change(self, leader: Node) -> Change:
        """Whoever is to vote must be heard already, so newcomers learn first."""
        members = leader.disk.written.log.members
        voters, learners = set(members.voters), set(members.learners)
        nodes, draw = self._setting.plan.node_ids, self._random.random
        outside = [node for node in nodes if node not in voters | learners]
        if outside and draw() < 0.4:
            learners |= {node for node in outside if draw() < 0.7} or {outside[0]}
        elif draw() < self._setting.plan.operators.joint_share:
            inside = sorted(voters | learners)
            voters = set(self._random.sample(inside, self._random.randint(1, len(inside))))
            learners = {node for node in inside if node not in voters and draw() < 0.7}
        else:
            node = self._random.choice(sorted(voters | learners))
            if node in learners:
                learners.remove(node)
                voters.add(node)
            elif len(voters) > 1:
                voters.remove(node)
                learners |= {node} if draw() < 0.5 else set()
        return Change(tuple(sorted(voters)), tuple(sorted(learners)))

    def _transfer(self) -> None:
        leader = self._setting.leader
        if leader is None:
            return
        to = self._random.choice(leader.disk.written.log.members.voters)
        self._operate(leader, "is to hand over to", to)

    def _operate(self, leader: Node, what: str, argument: Change | NodeId) -> None:
        if leader.is_paused:
            return
        self._setting.world.say(f"n{leader.node} {what} {argument}")
        leader.act(leader.life, leader.operate, (argument,))


def _heed_not(happened: bool, result: object) -> None:
    del happened, result
