"""What must hold after each event, whatever happened: the safety of the log, and of reads.

The rules know more than any node: all logs, what each disk holds durably, and the ghost log, which
is every entry that any node ever called committed. Each is looked at only when what it is about
changes, and costs a few look-ups then.

    one leader per term      (figure 3)  votes.py
    leader append-only       a leader never cuts its own log
    log matching             index and term together name one entry, and all before it
    commit by a quorum       the first to call an entry committed: a quorum holds it on its disks,
                             and one of the leader's own term above it (5.4.2)
    committed is kept        nobody cuts an entry that is committed; a new leader has them all
    one state machine        at each index all apply the same entry; snapshots have the same digest
    reads are fresh          a read sees all that was committed when it was asked for, and nobody
                             of a higher term led by then
    changes one by one       a change of members follows a committed one and overlaps with it

Source: figures 2 and 3 of the paper; sections 3.6, 4.1, 4.3 and 6.4 of the thesis.
"""

import sys
from bisect import bisect_left
from collections.abc import Callable, Sequence
from zlib import crc32

from bastide.parts.raft.contract import Entry, Members, NodeId, Options, SnapshotMark
from bastide.parts.raft.sim.disk import Log
from bastide.parts.raft.sim.machine import Machine, digest_behind, members_of
from bastide.parts.raft.sim.node import Node


class Violation(AssertionError):
    """`rule` is which; the message names nodes, terms and indexes."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{rule}: {message}")
        self.rule = rule


class Leader:
    """Who leads a term, since which life of its process, and from which index on."""

    def __init__(self, host: Node, first: int) -> None:
        self.host = host
        self.term = host.term
        self.life = host.life
        self.first = first
        self.members = host.disk.written.log.members
        self.members_index = host.disk.written.log.members_index
        self.transfers = False

    def has(self, change: Entry) -> None:
        if change.index > self.members_index:
            self.members, self.members_index = members_of(change), change.index

    @property
    def has_more(self) -> bool:
        """Whether its core has entries that it neither sent nor wrote, as while a write is out."""
        host = self.host
        return host.life == self.life and host.core.status().last_index > host.disk.written.log.last

    @property
    def leads_still(self) -> bool:
        return self.host.life == self.life and self.host.term == self.term and self.host.is_leader


class Rules:
    def __init__(self, options: Options) -> None:
        self._options = options
        self.hosts: dict[NodeId, Node] = {}
        self.leaders: dict[int, Leader] = {}
        self.newest_term = 0  # of those that somebody led
        self.terms: list[int] = [0]  # of the ghost log, by index
        self._committed_in: list[int] = [0]  # the term whose leader committed each
        self._digests: list[int] = [0]
        # Those of the ghost log, from an index on.
        self._members: list[tuple[int, Members]] = []
        self._links: dict[tuple[int, int], tuple[int, int]] = {}

    @property
    def committed(self) -> int:
        return len(self.terms) - 1

    # --- the log

    def writes(self, host: Node, entries: Sequence[Entry]) -> None:
        """Before they are written."""
        log = host.disk.written.log
        first = entries[0].index
        if first > log.last + 1:
            raise Violation("no gaps", f"n{host.node} writes {first} behind {log.last}")
        if first <= log.base:  # its snapshot was quicker than the writing
            entries = entries[log.base + 1 - first :]
            first = log.base + 1
        if first <= log.last:
            self._cuts(host, log, first)
        previous = log.term(first - 1)
        for place, entry in enumerate(entries, first):
            self._links_up(host, entry, place, previous)
            previous = entry.term
        if previous > host.term:
            raise Violation(
                "terms of the log", f"n{host.node} in term {host.term} writes one of {previous}"
            )

        leader = self.leaders.get(host.term)
        if leader and leader.host is host and leader.leads_still:
            self._leader_writes(host, leader, entries)

    def _leader_writes(self, host: Node, leader: Leader, entries: Sequence[Entry]) -> None:
        log = host.disk.written.log
        at, members = log.members_index, log.members
        for entry in entries:
            if entry.kind == "change":
                leader.has(entry)
                self._changes(host, leader, entry, at, members)
                at, members = entry.index, members_of(entry)
            elif entry.kind == "payload":
                open_count = entry.index - host.claimed
                if open_count > self._options.proposed_max:
                    raise Violation(
                        "limits", f"n{host.node} has {open_count} entries wait to be committed"
                    )

    def _changes(self, host: Node, leader: Leader, entry: Entry, at: int, old: Members) -> None:
        """`at` is where the members before were made."""
        if at > self.committed or self.committed < leader.first:
            raise Violation(
                "changes one by one",
                f"n{host.node} in term {host.term} changes members at {entry.index}; the change "
                f"before is at {at}, its term began at {leader.first}, and committed is "
                f"{self.committed}",
            )
        new = members_of(entry)
        if not is_step(old, new):
            raise Violation("changes one by one", f"n{host.node} goes from {old} to {new}")

    def _cuts(self, host: Node, log: Log, first: int) -> None:
        leader = self.leaders.get(host.term)
        if leader and leader.host is host and leader.leads_still:
            raise Violation(
                "leader append-only",
                f"n{host.node} leads term {host.term} and cuts {first} to {log.last}",
            )
        self.drops(host, log, first, log.last)

    def drops(self, host: Node, log: Log, first: int, last: int) -> None:
        for index in range(max(first, log.base + 1), min(last, self.committed) + 1):
            if log.term(index) == self.terms[index]:
                raise Violation(
                    "committed is kept",
                    f"n{host.node} in term {host.term} drops {first} to {last}, and {index} of "
                    f"term {self.terms[index]} is committed",
                )

    def _links_up(self, host: Node, entry: Entry, index: int, previous: int) -> None:
        if entry.index != index or entry.term < previous:
            raise Violation(
                "log matching",
                f"n{host.node} writes entry {entry.index} of term {entry.term} at {index}, behind "
                f"one of term {previous}",
            )
        key, link = (index, entry.term), (previous, crc32(entry.payload))
        if self._links.setdefault(key, link) != link:
            raise Violation(
                "log matching",
                f"n{host.node} has another entry {index} of term {entry.term}, or another "
                "before it",
            )

    # --- commits

    def commits(self, host: Node, entries: Sequence[Entry]) -> None:
        """As a node hands them out to be applied."""
        for entry in entries:
            index = entry.index
            if index != host.claimed + 1:
                raise Violation("in order", f"n{host.node} commits {index} behind {host.claimed}")
            host.claimed = index
            if index <= self.committed:
                self._same(host, entry)
                continue
            self._is_due(host, entries[-1].index)
            self._is_linked(host, entry)
            self.terms.append(entry.term)
            self._committed_in.append(host.term)
            self._digests.append(digest_behind(self._digests[-1], entry))
            if entry.kind == "change":
                self._members.append((index, members_of(entry)))

    def _same(self, host: Node, entry: Entry) -> None:
        index = entry.index
        if entry.term != self.terms[index]:
            raise Violation(
                "one state machine",
                f"n{host.node} commits {index} of term {entry.term}; it was of term "
                f"{self.terms[index]}",
            )
        self._is_linked(host, entry)

    def _is_linked(self, host: Node, entry: Entry) -> None:
        link = self._links.get((entry.index, entry.term))
        if link is None or link[1] != crc32(entry.payload):
            raise Violation(
                "one state machine",
                f"n{host.node} commits another entry {entry.index} of term {entry.term} than was "
                "written",
            )

    def _is_due(self, host: Node, index: int) -> None:
        """The first to say so. What counts are entries of the leader's own term: by log matching a
        node that has one has the same log up to there.
        """
        leader = self.leaders.get(host.term)
        if leader is None:
            raise Violation(
                "commit by a quorum",
                f"n{host.node} calls {index} committed in term {host.term}, which nobody led",
            )
        held = self._held(leader.term, leader.members)
        if held < index and leader.has_more:
            held = self._held(leader.term, leader.host.core.status().members)
        if held < index:
            raise Violation(
                "commit by a quorum",
                f"n{host.node} calls {index} committed in term {host.term}; of that term a quorum "
                f"of {leader.members} holds nothing above {held}",
            )

    def _held(self, term: int, members: Members) -> int:
        """Up to where a quorum durably holds entries of `term`; 0: none."""
        least = sys.maxsize
        for half in halves(members):
            held = sorted(self.hosts[node].disk.durable.log.last_of(term) for node in half)
            least = min(least, held[(len(held) - 1) // 2] if held else 0)
        return least

    # --- leaders

    def leads(self, host: Node) -> None:
        term, log = host.term, host.disk.written.log
        # A candidate whose votes come late may lead an older term than the one that commits now.
        at = bisect_left(self._committed_in, term) - 1
        if log.last < at or (at > log.base and log.term(at) != self.terms[at]):
            raise Violation(
                "leader completeness",
                f"n{host.node} leads term {term} with a log to {log.last} of term {log.last_term}; "
                f"{at} of term {self.terms[at]} was committed before",
            )
        self.leaders[term] = Leader(host, log.last + 1)
        self.newest_term = max(term, self.newest_term)

    def fell(self, host: Node) -> None:
        """What a node's only voter led before its own vote was durable was never said to anybody,
        and is as if it had not been.
        """
        leader = self.leaders.get(host.term)
        if leader and leader.host is host and host.disk.durable.vote.term < host.term:
            del self.leaders[host.term]
            self._links = {key: link for key, link in self._links.items() if key[1] != host.term}

    # --- state machines

    def applied(self, host: Node, machine: Machine) -> None:
        index = machine.index
        if index > self.committed or machine.digest != self._digests[index]:
            raise Violation(
                "one state machine",
                f"n{host.node} stands at {index}, and not where the committed log led to",
            )

    def marks(self, host: Node, mark: SnapshotMark) -> None:
        """A snapshot that came from a leader, or of one's own."""
        if mark.index > self.committed or mark.term != self.terms[mark.index]:
            raise Violation(
                "one state machine", f"n{host.node} has a snapshot of {mark.index}, {mark.term}"
            )
        if mark.members != self.members_at(mark.index):
            raise Violation(
                "members of a snapshot",
                f"n{host.node} has {mark.members} at {mark.index}; they are "
                f"{self.members_at(mark.index)}",
            )

    def begin_with(self, mark: SnapshotMark) -> None:
        self._members.append((mark.index, mark.members))
        self.terms = [mark.term] * (mark.index + 1)
        self._committed_in = [mark.term] * (mark.index + 1)
        self._digests = [0] * (mark.index + 1)

    def members_at(self, index: int) -> Members:
        return next(members for at, members in reversed(self._members) if at <= index)

    # --- reads

    def read(self, host: Node, index: int, asked: "Asked") -> None:
        if index < asked.committed:
            raise Violation(
                "reads are fresh",
                f"n{host.node} in term {host.term} reads at {index}; when it was asked, "
                f"{asked.committed} was committed",
            )
        if asked.led_term and asked.newest_term > asked.led_term:
            raise Violation(
                "no lease overlaps",
                f"n{host.node} reads as leader of term {asked.led_term}; when it was asked, "
                f"term {asked.newest_term} had a leader",
            )


class Asked:
    """What was so when a read began. `led_term` is 0 if the node that was asked did not lead."""

    def __init__(self, rules: Rules, host: Node) -> None:
        self.committed = rules.committed
        self.newest_term = rules.newest_term
        self.led_term = host.led_term if host.is_leader else 0


def halves(members: Members) -> Sequence[Sequence[NodeId]]:
    return (members.voters, members.outgoing) if members.outgoing else (members.voters,)


def is_step(old: Members, new: Members) -> bool:
    """Whether any quorum of the one meets any of the other."""
    if old.outgoing:
        return new.voters == old.voters and not new.outgoing
    if new.outgoing:
        return new.outgoing == old.voters
    return len(set(old.voters) ^ set(new.voters)) <= 1


def is_quorum(members: Members, has: Callable[[NodeId], bool]) -> bool:
    return bool(members.voters) and all(
        2 * sum(map(has, half)) > len(half) for half in halves(members)
    )
