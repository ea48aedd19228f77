"""What a message promises, looked at as it leaves: votes, acknowledgements, leases.

durable before said    nothing of a term goes out before the term, the vote, or the entries that
                       it speaks of are durable (figure 2); what is acknowledged is the leader's
one vote per term      across restarts too
votes for the longer   nobody votes for a log that is behind his own (5.4.1)
elected by a quorum    whoever leads was voted for by both halves of his members, and, with
                       PreVote, had asked them before (9.6)
lease is kept          who answered a leader votes for nobody else within `election_s` (6.4.1)
one leader per term    only a term's leader appends
transfer to an equal   only who has all is told to begin, and only who is told begins (3.10)
terms of candidates    a term begins with somebody's vote for himself; a PreVote makes none
"""

from collections.abc import Callable
from typing import Any

from bastide.parts.raft.contract import (
    AnyMessage,
    Append,
    AppendReply,
    NodeId,
    Options,
    PreVoteReply,
    RequestVote,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
    Vote,
    VoteReply,
)
from bastide.parts.raft.sim.node import Node
from bastide.parts.raft.sim.rules import Rules, Violation, is_quorum

EARLY_S = 1e-6
PROBES = 2  # beside the window: one that a leader begins with, and one after a loss


class Promise:
    """What a node owes to a leader that it answered: no vote until `election_s` has passed."""

    def __init__(self, leader: NodeId, term: int, heard_s: float) -> None:
        self.leader = leader
        self.term = term
        self.heard_s = heard_s


class Votes:
    def __init__(self, rules: Rules, options: Options) -> None:
        self._rules = rules
        self._options = options
        self._given: dict[tuple[NodeId, int], NodeId] = {}
        self._ready_for: dict[tuple[NodeId, int], set[NodeId]] = {}
        self._asked: dict[tuple[NodeId, int], RequestVote] = {}
        self._stood: set[int] = set()
        self._told: set[tuple[NodeId, int]] = set()
        self._out: dict[tuple[NodeId, int, NodeId], list[int]] = {}
        self._promises: dict[NodeId, Promise] = {}
        self._checks: dict[type, Callable[[Node, Any], None]] = {
            PreVoteReply: self._sends_pre_vote_reply,
            RequestVote: self._sends_request,
            VoteReply: self._sends_vote,
            Append: self._sends_append,
            AppendReply: self._sends_ack,
            SnapshotChunk: self._sends_chunk,
            SnapshotReply: self._sends_kept,
            TimeoutNow: self._sends_transfer,
        }

    def sends(self, host: Node, message: AnyMessage) -> None:
        kind = type(message)
        hypothetical = kind.__name__ == "PreVote" or (
            isinstance(message, PreVoteReply) and message.granted
        )
        durable = host.disk.durable.vote.term
        if not hypothetical and message.term > durable:
            raise Violation(
                "durable before said",
                f"n{host.node} sends {kind.__name__} of term {message.term} to n{message.to}; "
                f"durable is term {durable}",
            )
        check = self._checks.get(kind)
        if check is not None:
            check(host, message)

    def hears(self, host: Node, reply: AppendReply | SnapshotReply) -> None:
        """An answer has come; what it answers is not out any more."""
        key = (host.node, reply.term, reply.sender)
        out = self._out.get(key)
        if out:
            if isinstance(reply, SnapshotReply) or reply.rejected:
                out.clear()
            else:
                self._out[key] = [at for at in out if at > reply.match]

    def keeps(self, host: Node, vote: Vote) -> None:
        """Before it is written."""
        before = host.disk.written.vote
        if vote.term < before.term or (
            vote.term == before.term and before.voted_for not in (0, vote.voted_for)
        ):
            raise Violation("one vote per term", f"n{host.node} has {before}, and keeps {vote}")
        if vote.voted_for == host.node:
            self._stood.add(vote.term)
        if vote.term not in self._stood:
            raise Violation(
                "terms of candidates",
                f"n{host.node} goes to term {vote.term}, in which nobody stood for election",
            )
        candidate = self._asked.get((vote.voted_for, vote.term))
        log = host.disk.written.log
        if candidate is not None and vote.voted_for != host.node and vote != before:
            theirs, ours = (candidate.last_term, candidate.last_index), (log.last_term, log.last)
            # A vote may be written late, behind entries of the very leader that it was for.
            if theirs < ours and log.last_term < vote.term:
                raise Violation(
                    "votes for the longer log",
                    f"n{host.node} votes in term {vote.term} for n{vote.voted_for}, whose log ends "
                    f"at term and index {theirs}; his own at {ours}",
                )

    def leads(self, host: Node) -> None:
        """Before the rules of logs know of it."""
        term, rules = host.term, self._rules
        other = rules.leaders.get(term)
        if other is not None:
            raise Violation(
                "one leader per term",
                f"n{other.host.node} led term {term}, and now n{host.node} does",
            )
        log = host.disk.written.log
        members = log.members
        if not any(host.node in (*m.voters, *m.outgoing) for m in log.members_since(host.claimed)):
            raise Violation(
                "elected by a quorum",
                f"n{host.node} leads term {term}, and has no vote itself: {members}",
            )

        def voted(node: NodeId) -> bool:
            return node == host.node or self._given.get((node, term)) == host.node

        if not is_quorum(members, voted):
            names = ", ".join(f"n{node}" for node in rules.hosts if voted(node))
            raise Violation(
                "elected by a quorum",
                f"n{host.node} leads term {term} of {members} by the votes of {names}",
            )

    # --- by kind of message

    def _gives(self, host: Node, term: int, to: NodeId) -> None:
        if self._given.setdefault((host.node, term), to) != to:
            raise Violation(
                "one vote per term",
                f"n{host.node} voted in term {term} for n{self._given[host.node, term]}, and now "
                f"for n{to}",
            )

    def _sends_pre_vote_reply(self, host: Node, reply: PreVoteReply) -> None:
        if reply.granted:
            promise = self._promises.get(host.node)
            if promise and self._options.check_quorum and promise.leader != reply.to:
                self._is_free(host, promise, reply)
            self._ready_for.setdefault((reply.to, reply.term), set()).add(host.node)

    def _sends_request(self, host: Node, request: RequestVote) -> None:
        term = request.term
        self._must_hold(host, Vote(term=term, voted_for=host.node))
        self._gives(host, term, host.node)
        # With a slow disk it may have stood again before this vote was written: one write then has
        # the newer one alone, and both requests leave behind it.
        self._stood.add(term)
        self._asked[host.node, term] = request
        if request.transfer and (host.node, term - 1) not in self._told:
            raise Violation(
                "transfer to an equal",
                f"n{host.node} stands in term {term} as if it had been told to in the one before",
            )
        if not self._options.pre_vote or request.transfer:
            return
        ready = self._ready_for.get((host.node, term), set())
        members = host.disk.written.log.members
        if not is_quorum(members, lambda node: node == host.node or node in ready):
            raise Violation(
                "elected by a quorum",
                f"n{host.node} asks for votes in term {term}, and only {sorted(ready)} of "
                f"{members} said that they would",
            )

    def _sends_vote(self, host: Node, reply: VoteReply) -> None:
        if not reply.granted:
            return
        self._must_hold(host, Vote(term=reply.term, voted_for=reply.to))
        self._gives(host, reply.term, reply.to)
        request = self._asked.get((reply.to, reply.term))
        promise = self._promises.get(host.node)
        if promise is None or request is None or request.transfer or promise.term >= reply.term:
            return
        leader = self._rules.leaders.get(promise.term)
        if self._keeps_leases and leader and not leader.transfers and promise.leader != reply.to:
            self._is_free(host, promise, reply)

    def _is_free(self, host: Node, promise: Promise, reply: VoteReply | PreVoteReply) -> None:
        """It made up its mind when it was asked, however late its answer leaves."""
        asked_s = host.asked_s.get(reply.to)
        if asked_s is None:
            return  # before it heard the leader
        passed_s = (asked_s - promise.heard_s) * host.rate
        if passed_s < self._options.election_s - EARLY_S:
            raise Violation(
                "lease is kept",
                f"n{host.node} is for n{reply.to} in term {reply.term}, {passed_s:.3f} s of its "
                f"clock after it heard n{promise.leader}, leader of term {promise.term}",
            )

    @property
    def _keeps_leases(self) -> bool:
        return self._options.check_quorum and self._options.lease_drift is not None

    def _must_hold(self, host: Node, vote: Vote) -> None:
        durable = host.disk.durable.vote
        if durable.term == vote.term and durable.voted_for != vote.voted_for:
            raise Violation(
                "durable before said", f"n{host.node} says {vote}; durable is {durable}"
            )

    def _sends_append(self, host: Node, append: Append) -> None:
        self._must_lead(host, append.term)
        if append.committed > self._rules.committed:
            raise Violation(
                "commit by a quorum",
                f"n{host.node} tells n{append.to} that {append.committed} is committed; "
                f"{self._rules.committed} is",
            )
        if not append.entries:
            return
        for entry in append.entries:
            if entry.kind == "change":
                self._rules.leaders[append.term].has(entry)
        out = self._out.setdefault((host.node, append.term, append.to), [])
        out.append(append.entries[-1].index)
        if len(out) > self._options.appends_out_max + PROBES:
            raise Violation(
                "limits", f"n{host.node} has {len(out)} Appends to n{append.to} unanswered"
            )
        size = sum(len(entry.payload) for entry in append.entries)
        if size > self._options.append_bytes_max and len(append.entries) > 1:
            raise Violation(
                "limits", f"n{host.node} sends {size} bytes in {len(append.entries)} entries"
            )

    def _must_lead(self, host: Node, term: int) -> None:
        leader = self._rules.leaders.get(term)
        if leader is None or leader.host is not host or leader.life != host.life:
            raise Violation(
                "one leader per term", f"n{host.node} appends in term {term} and never led it"
            )

    def _sends_ack(self, host: Node, reply: AppendReply) -> None:
        self._promises[host.node] = Promise(reply.to, reply.term, host.heard_s.get(reply.term, 0.0))
        # What it had in an older term, and lost to a newer leader while a write was out, it may
        # still say: a node that writes at once would have said so before.
        if not reply.rejected and reply.term == host.disk.durable.vote.term:
            self._must_have(host, reply.term, reply.match)

    def _must_have(self, host: Node, term: int, index: int) -> None:
        log = host.disk.durable.log
        if index > log.last:
            raise Violation(
                "durable before said",
                f"n{host.node} acknowledges {index} in term {term}; durable is {log.last}",
            )
        leader = self._rules.leaders.get(term)
        if leader is None or not leader.leads_still:
            return
        ours, theirs = log.term(index), leader.host.disk.written.log.term(index)
        if ours and theirs and ours != theirs:
            raise Violation(
                "durable before said",
                f"n{host.node} acknowledges {index} in term {term}, and has one of term {ours} "
                f"where n{leader.host.node}, who leads, has one of {theirs}",
            )

    def _sends_chunk(self, host: Node, chunk: SnapshotChunk) -> None:
        self._must_lead(host, chunk.term)

    def _sends_kept(self, host: Node, reply: SnapshotReply) -> None:
        self._promises[host.node] = Promise(reply.to, reply.term, host.heard_s.get(reply.term, 0.0))
        if reply.installed:
            self._must_have(host, reply.term, reply.index)

    def _sends_transfer(self, host: Node, message: TimeoutNow) -> None:
        self._must_lead(host, message.term)
        self._rules.leaders[message.term].transfers = True
        self._told.add((message.to, message.term))
        theirs = self._rules.hosts[message.to].disk.durable.log
        ours = host.disk.written.log
        first = self._rules.leaders[message.term].first
        if theirs.last < min(ours.last, first):
            raise Violation(
                "transfer to an equal",
                f"n{host.node}, whose log ends at {ours.last}, has n{message.to} begin, whose log "
                f"ends at {theirs.last}",
            )
