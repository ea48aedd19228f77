"""That something good happens, where nothing stands in its way; looked at once in an election time.

no endless leader  who hears no majority stops to lead (with CheckQuorum), and so does who is
                   no voter any more
liveness           after all is healed, a client's write is committed and all members have it;
                   and with PreVote and CheckQuorum the leader stays
"""

from collections.abc import Sequence

from bastide.parts.raft.contract import Members, NodeId
from bastide.parts.raft.sim.machine import Command
from bastide.parts.raft.sim.node import Node
from bastide.parts.raft.sim.rules import Violation, is_quorum
from bastide.parts.raft.sim.setting import Setting

HEAL_ELECTIONS = 40
REMOVED_ELECTIONS = 4
ALONE_ELECTIONS = 3
CALM_ELECTIONS = 4
PROBE = 10_000  # a register that no client uses


class Progress:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._unit_s = setting.plan.options.election_s
        self._since: dict[tuple[str, int], float] = {}
        self._probed = 0  # the index that all must reach

    def start(self) -> None:
        self._look()

    def _look(self) -> None:
        setting = self._setting
        for host in setting.all_hosts:
            if host.is_up and not host.is_paused:
                leads = host.is_leader
                self._lasts("removed", host, leads and self._is_removed(host), REMOVED_ELECTIONS)
                if leads and host.term == setting.rules.newest_term:
                    self._knows_followers(host)
                self._lasts("alone", host, leads and self._is_alone(host), ALONE_ELECTIONS)
        setting.world.at(setting.world.now_s + self._unit_s, self._look)

    def _knows_followers(self, host: Node) -> None:
        """While there is no newer leader, nobody can have replaced what a follower said it has."""
        for follower in host.core.status().followers:
            log = self._setting.rules.hosts[follower.node].disk.durable.log
            if follower.match > log.last:
                raise Violation(
                    "durable before said",
                    f"n{host.node}, who leads term {host.term}, takes n{follower.node} to have "
                    f"{follower.match}; durable there is {log.last}",
                )

    def _lasts(self, what: str, host: Node, is_so: bool, elections: int) -> None:
        key, now_s = (what, host.node), self._setting.world.now_s
        if not is_so:
            self._since.pop(key, None)
        elif now_s - self._since.setdefault(key, now_s) > elections * self._unit_s:
            raise Violation(
                "no endless leader",
                f"n{host.node} leads term {host.term} and is {what}, since "
                f"{now_s - self._since[key]:.1f} s; members: {host.disk.written.log.members}",
            )

    def _is_removed(self, host: Node) -> bool:
        rules = self._setting.rules
        members = rules.members_at(min(host.claimed, rules.committed))
        return not members.outgoing and host.node not in members.voters

    def _is_alone(self, host: Node) -> bool:
        if not self._setting.plan.options.check_quorum:
            return False
        after_s = self._setting.world.now_s - self._unit_s

        def is_heard(node: NodeId) -> bool:
            return node == host.node or host.heard_from.get(node, 0.0) > after_s

        return not is_quorum(host.disk.written.log.members, is_heard)

    # --- after all is healed

    def must_go_on(self) -> None:
        """Raises Violation if the group does not catch up in time, or cannot keep its leader."""
        world = self._setting.world
        for _ in range(HEAL_ELECTIONS):
            self._probe()
            world.run_until(world.now_s + self._unit_s)
            if self._probed and not self._behind() and not self._members.is_joint:
                self._must_stay()
                return
        behind = [f"n{host.node} at {host.machine.index}" for host in self._behind()]
        raise Violation(
            "liveness",
            f"{HEAL_ELECTIONS} election times after all was healed {behind or 'nobody'} of "
            f"{self._members} lacks {self._probed or 'a write'}; {self._setting.rules.committed} "
            f"is committed; {self._setting.leader and self._setting.leader.node} leads",
        )

    @property
    def _members(self) -> Members:
        return self._setting.rules.members_at(self._setting.rules.committed)

    def _behind(self) -> Sequence[Node]:
        members = self._members
        nodes = {*members.voters, *members.outgoing, *members.learners}
        hosts = [host for host in self._setting.all_hosts if host.node in nodes]
        return [host for host in hosts if host.machine.index < self._probed]

    def _probe(self) -> None:
        leader = self._setting.leader
        if leader is not None and not self._probed:
            leader.act(leader.life, leader.propose, ([Command(PROBE, 1)], [self._was_probed]))

    def _was_probed(self, happened: bool, result: object) -> None:
        if happened and not self._probed:
            self._probed = self._setting.rules.committed

    def _must_stay(self) -> None:
        """With PreVote and CheckQuorum nobody deposes a leader whom all hear (9.6)."""
        plan, world, rules = self._setting.plan, self._setting.world, self._setting.rules
        if not (plan.options.pre_vote and plan.options.check_quorum) or plan.net.late_share:
            return
        world.run_until(world.now_s + 2 * self._unit_s)
        term, leader = rules.newest_term, rules.leaders[rules.newest_term]
        world.run_until(world.now_s + CALM_ELECTIONS * self._unit_s)
        if rules.newest_term > term and not leader.transfers and self._is_member(leader.host):
            raise Violation(
                "liveness",
                f"all was well, and n{leader.host.node}, who led term {term}, was deposed by "
                f"n{rules.leaders[rules.newest_term].host.node}",
            )

    def _is_member(self, host: Node) -> bool:
        return host.node in self._members.voters
