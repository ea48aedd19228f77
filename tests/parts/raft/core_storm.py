"""A group in a storm: messages lost, doubled and late, nodes that fall, pause and come back, writes
that end late or never, members and leaders that change. The five properties of the paper's figure 3
are checked as it goes, and that no read is stale.
"""

from collections.abc import Callable, Sequence
from random import Random

from bastide.base.errors import Refusal
from bastide.parts.raft.contract import (
    AnyMessage,
    Change,
    Entry,
    Members,
    NodeId,
    Options,
    VoteReply,
)
from tests.parts.raft.core_kit import Node

OPTIONS = Options(kept_behind=3, chunk_bytes=64, append_bytes_max=32, appends_out_max=4)


class Seen:
    """What has been true at any time at any node."""

    def __init__(self) -> None:
        self.leaders: dict[int, NodeId] = {}
        self.led_up_to: dict[int, int] = {}
        self.entries: dict[tuple[int, int], tuple[Entry, int | None]] = {}
        self.applied: dict[int, Entry] = {}
        self.applied_up_to = 0
        self.votes: dict[tuple[NodeId, int], NodeId] = {}

    def leader(self, node: Node) -> None:
        """Election safety; leader append-only; leader completeness."""
        status, log = node.core.status(), node.core._log
        if self.leaders.setdefault(status.term, node.node) != node.node:
            raise AssertionError(f"two leaders of term {status.term}")
        if status.term not in self.led_up_to:
            for index in range(log.base, self.applied_up_to + 1):
                if index in self.applied:
                    assert log.term_at(index) == self.applied[index].term, (
                        f"leader {node.node} of term {status.term} lacks committed {index}"
                    )
        assert status.last_index >= self.led_up_to.get(status.term, 0), "a leader's log shrank"
        self.led_up_to[status.term] = status.last_index

    def written(self, node: Node, entries: Sequence[Entry]) -> None:
        """Log matching."""
        for entry in entries:
            before = node.core._log.term_at(entry.index - 1)
            known = self.entries.setdefault((entry.index, entry.term), (entry, before))
            assert known[0] == entry
            assert before is None or known[1] is None or known[1] == before

    def told(self, message: AnyMessage) -> None:
        """One vote a term."""
        if isinstance(message, VoteReply) and message.granted:
            known = self.votes.setdefault((message.sender, message.term), message.to)
            assert known == message.to, f"{message.sender} voted twice in {message.term}"

    def apply(self, entry: Entry) -> None:
        """State machine safety."""
        assert self.applied.setdefault(entry.index, entry) == entry, f"two entries {entry.index}"
        self.applied_up_to = max(self.applied_up_to, entry.index)


class StormNode(Node):
    """Looks at all that passes, and tells time by a clock of its own rate."""

    seen: Seen
    rate: float = 1.0
    is_paused = False

    def _do(self, ready, now_s):
        self.seen.written(self, ready.entries)
        for index, entry in enumerate(ready.committed, len(self.applied) + 1):
            assert entry.index == index, "applied with a gap"
            self.seen.apply(entry)
        super()._do(ready, now_s)


class Storm:
    def __init__(self, seed: int, *, faults: float = 0.02) -> None:
        self.random = random = Random(seed)
        self.seed = seed
        self.now_s = 0.0
        self.seen = Seen()
        self.wire: list[AnyMessage] = []
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.down: set[NodeId] = set()
        self.asked: dict[tuple[NodeId, int], int] = {}
        self.count = 0
        self.faults = faults
        count = random.choice((1, 2, 3, 3, 3, 5))
        voters = tuple(range(1, count + 1))
        self.nodes: dict[NodeId, StormNode] = {}
        for number in range(1, count + 3):
            members = Members(voters if number <= count else ())
            node = StormNode(number, members, options=OPTIONS)
            node.seen = self.seen
            node.rate = random.uniform(0.96, 1.04)
            node.is_disk_slow = random.random() < 0.5
            node.start(0.0, seed)
            self.nodes[number] = node
        self.acts: Sequence[tuple[float, Callable[[StormNode], None]]] = (
            (40, self.deliver),
            (6, self.pass_time),
            (10, self.finish_writes),
            (4, self.propose),
            (2, self.read),
            (0.5, self.snapshot),
            (0.1, self.transfer),
            (0.3, self.change),
            (0.1, self.crash),
            (1.0, self.restart),
            (0.05, self.cut_power),
            (0.1, self.pause),
            (1.0, self.resume),
            (0.1, self.part),
            (1.0, self.heal),
        )
        # Some storms have much of one trouble and none of another.
        self.weights = [
            weight * random.choice((0, 1, 1, 4)) if weight < 1 else weight
            for weight, _ in self.acts
        ]

    def run(self, steps: int) -> None:
        acts = [act for _, act in self.acts]
        nodes = list(self.nodes.values())
        for act in self.random.choices(acts, self.weights, k=steps):
            leaders = [n for n in nodes if n.core.status().kind == "leader"]
            act(self.random.choice(leaders if leaders and self.random.random() < 0.7 else nodes))

    # --- the machinery ----------------------------------------------------------------------------

    def clock(self, node: StormNode) -> float:
        return self.now_s * node.rate

    def is_up(self, node: StormNode) -> bool:
        return node.node not in self.down and not node.is_paused

    def pump(self, node: StormNode) -> None:
        node.pump(self.clock(node))
        for message in node.outbox:
            self.seen.told(message)
        self.wire += node.outbox
        node.outbox = []
        if node.core.status().kind == "leader":
            self.seen.leader(node)
        self._check_reads(node)

    def _check_reads(self, node: StormNode) -> None:
        for read in node.reads:
            least = self.asked.pop((node.node, read.token))
            assert read.index is None or read.index >= least, (
                f"{node.node} reads at {read.index}, and {least} was applied before it asked"
            )
        node.reads = []

    # --- what happens -----------------------------------------------------------------------------

    def deliver(self, node: StormNode) -> None:
        """Mostly in order; one in ten from anywhere, and lost or doubled at times. If nothing is on
        its way, time passes.
        """
        if not self.wire:
            self.pass_time(node)
            return
        at = self.random.randrange(len(self.wire)) if self.random.random() < 0.1 else 0
        message = self.wire.pop(at)
        chance = self.random.random()
        if chance < self.faults:
            return
        if chance < 2 * self.faults:
            self.wire.insert(self.random.randrange(len(self.wire) + 1), message)
        node = self.nodes[message.to]
        if node.is_paused:
            self.wire.append(message)
        elif self.is_up(node) and (message.sender, message.to) not in self.cut:
            node.core.step(self.clock(node), message)
            self.pump(node)

    def pass_time(self, _: StormNode) -> None:
        self.now_s += self.random.uniform(0, 0.05)
        for node in self.nodes.values():
            if self.is_up(node) and node.core.next_tick_s <= self.clock(node):
                node.core.tick(self.clock(node))
                self.pump(node)

    def finish_writes(self, _: StormNode) -> None:
        for node in self.nodes.values():
            if node.held and self.is_up(node) and self.random.random() < 0.5:
                node.finish_write(self.clock(node))
                self.pump(node)

    def propose(self, node: StormNode) -> None:
        if self.is_up(node):
            self.count += 1
            self._attempt(node, lambda: node.core.propose(self.clock(node), [b"%d" % self.count]))

    def _attempt(self, node: StormNode, what: Callable[[], object]) -> None:
        try:
            what()
        except Refusal:
            return
        if self.random.random() < 0.7:  # else the host takes more before it takes a Ready
            self.pump(node)

    def read(self, node: StormNode) -> None:
        if not self.is_up(node):
            return
        self.count += 1
        self.asked[node.node, self.count] = self.seen.applied_up_to
        lease = self.random.random() < 0.5
        node.core.read(self.clock(node), self.count, lease=lease)
        self.pump(node)

    def snapshot(self, node: StormNode) -> None:
        if not self.is_up(node):
            return
        self.pump(node)
        if node.held is None and len(node.applied) > node.mark.index:
            node.take_snapshot()

    def transfer(self, node: StormNode) -> None:
        to = self.random.choice(list(self.nodes))
        if self.is_up(node):
            self._attempt(node, lambda: node.core.transfer(self.clock(node), to))

    def change(self, node: StormNode) -> None:
        if self.is_up(node):
            nodes = self.random.sample(list(self.nodes), self.random.randint(1, len(self.nodes)))
            at = self.random.randint(1, len(nodes))
            change = Change(tuple(nodes[:at]), tuple(nodes[at:]))
            self._attempt(node, lambda: node.core.change(self.clock(node), change))

    def cut_power(self, _: StormNode) -> None:
        """All fall at once."""
        for node in self.nodes.values():
            self._fall(node)

    def crash(self, node: StormNode) -> None:
        if len(self.down) < len(self.nodes) // 2:
            self._fall(node)

    def _fall(self, node: StormNode) -> None:
        """A write that is out is lost, or was durable without the node having been told."""
        if self.is_up(node):
            if self.random.random() < 0.3:
                node.finish_write(self.clock(node))
            self.down.add(node.node)
            self.asked = {key: least for key, least in self.asked.items() if key[0] != node.node}
            node.reads = []

    def restart(self, _: StormNode) -> None:
        """All that are down."""
        for number in sorted(self.down):
            self.down.discard(number)
            node = self.nodes[number]
            node.start(self.clock(node), self.random.randrange(1 << 30))

    def pause(self, node: StormNode) -> None:
        node.is_paused = True

    def resume(self, _: StormNode) -> None:
        for node in self.nodes.values():
            node.is_paused = False

    def part(self, node: StormNode) -> None:
        """In one direction, or both."""
        for other in self.nodes:
            self.cut.add((node.node, other))
            if self.random.random() < 0.5:
                self.cut.add((other, node.node))

    def heal(self, _: StormNode) -> None:
        self.cut.clear()

    def calm(self) -> None:
        """All is well again; a leader must be there and commit, and all apply the same."""
        self.cut.clear()
        self.faults = 0.0
        for node in self.nodes.values():
            self.resume(node)
            self.restart(node)
            node.is_disk_slow = False
            node.finish_write(self.clock(node))
            self.pump(node)
        end_s = self.now_s + 15
        while self.now_s < end_s:
            self.pass_time(next(iter(self.nodes.values())))
            while self.wire:
                self.deliver(next(iter(self.nodes.values())))
