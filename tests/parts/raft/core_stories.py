"""Stories of a group, told in files: a line that begins with `>` is what happens, below it stands
what the nodes then say and are. The test tells each again and compares.

python -m tests.parts.raft.core_stories      tells all anew, into the files
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bastide.base.errors import Refusal
from bastide.parts.raft.contract import (
    AnyMessage,
    Append,
    AppendReply,
    Change,
    Members,
    NodeId,
    Options,
    PreVote,
    PreVoteReply,
    ReadAsk,
    ReadReply,
    RequestVote,
    SnapshotChunk,
    SnapshotReply,
    VoteReply,
)
from tests.parts.raft.core_kit import ELECTION_S, Group, Node, log_of, payloads_of

STORIES = Path(__file__).parent / "transcripts"
OPTIONS = Options(chunk_bytes=64, kept_behind=0)


def shown(message: AnyMessage) -> str:
    kind = message.__struct_config__.tag
    said = _SAID.get(type(message), lambda _: "now")(message)
    return f"{message.sender} -> {message.to}  term {message.term}  {kind}: {said}"


def _asked(message: PreVote | RequestVote) -> str:
    wanted = isinstance(message, RequestVote) and message.transfer
    said = f"last {message.last_index}@{message.last_term}"
    return said + (", the leader asked for it" if wanted else "")


def _append(message: Append) -> str:
    entries = " ".join(f"{e.index}@{e.term}" for e in message.entries) or "nothing"
    previous = f"{message.previous_index}@{message.previous_term}"
    return f"{entries} behind {previous}, committed {message.committed}"


def _appended(message: AppendReply) -> str:
    if message.rejected:
        return f"rejected, perhaps {message.match}@{message.conflict_term}"
    return f"has up to {message.match}"


def _chunk(message: SnapshotChunk) -> str:
    end = message.at + len(message.content)
    mark = message.mark
    return f"of snapshot {mark.index}, bytes {message.at} to {end} of {mark.bytes_count}"


_SAID: Mapping[type, Callable[[Any], str]] = {
    PreVote: _asked,
    RequestVote: _asked,
    PreVoteReply: lambda m: "yes" if m.granted else "no",
    VoteReply: lambda m: "yes" if m.granted else "no",
    Append: _append,
    AppendReply: _appended,
    SnapshotChunk: _chunk,
    SnapshotReply: lambda m: "installed" if m.installed else f"go on at {m.next_at}",
    ReadAsk: lambda _: "where may I read?",
    ReadReply: lambda m: f"at {m.index}" if m.index else "I don't lead",
}


class Story(Group):
    """A group whose messages are told, but for heartbeats and answers that bring nothing new."""

    def __init__(self) -> None:
        super().__init__([])
        self.lines: list[str] = []
        self.options = OPTIONS
        self.told: dict[tuple[NodeId, NodeId, int], int] = {}  # how far a node said it was

    def tell(self, line: str) -> None:
        self.lines.append(f"    {line}")

    def deliver(self, message: AnyMessage) -> None:
        lost = (message.sender, message.to) in self.cut or message.to in self.down
        if not self._is_routine(message):
            self.tell(shown(message) + (" (lost)" if lost else ""))
        super().deliver(message)

    def _is_routine(self, message: AnyMessage) -> bool:
        if isinstance(message, Append):
            return not message.entries
        if not isinstance(message, AppendReply) or message.rejected:
            return False
        link = (message.sender, message.to, message.term)
        known, self.told[link] = self.told.get(link, 0), message.match
        return known == message.match

    def add(self, node: Node) -> None:
        self.nodes[node.node] = node
        node.start(self.now_s)

    def take(
        self, link: str, act: Callable[[AnyMessage], None], *, count: int | None = None
    ) -> None:
        sender, to = map(int, link.split(">"))
        there = [m for m in self.wire if (m.sender, m.to) == (sender, to)][:count]
        self.wire = [m for m in self.wire if m not in there]
        for message in there:
            act(message)

    def tell_reads(self) -> None:
        for node in self.up:
            for read in node.reads:
                said = "ask again" if read.index is None else f"at {read.index}"
                self.tell(f"{node.node} may read: {said}")
            node.reads = []

    def pass_quietly(self, seconds: float) -> None:
        told = len(self.lines)
        self.pass_s(seconds)
        del self.lines[told:]


# --- what may happen ------------------------------------------------------------------------------


def do_group(story: Story, *nodes: str) -> None:
    """group 1 2 3 [learning 4]: a new group."""
    at = nodes.index("learning") if "learning" in nodes else len(nodes)
    members = Members(tuple(map(int, nodes[:at])), learners=tuple(map(int, nodes[at + 1 :])))
    for node in (*members.voters, *members.learners):
        story.add(Node(node, members, options=story.options))


def do_log(story: Story, node: str, term: str, *terms: str) -> None:
    """log 1 8 1 1 4: a node in term 8 whose entries have these terms; call `begin` behind."""
    entries = log_of(*map(int, terms))
    story.nodes[int(node)] = Node(
        int(node), Members(()), options=story.options, term=int(term), entries=entries
    )


def do_begin(story: Story) -> None:
    """begin: the nodes of `log` are the voters, and start."""
    members = Members(tuple(sorted(story.nodes)))
    for node in story.nodes.values():
        node.mark = node.mark.__class__(0, 0, members)
        node.start(story.now_s)
    story.pass_quietly(ELECTION_S)


def do_small(story: Story) -> None:
    """small: the nodes that come now put one entry into an Append, if it has any bytes."""
    story.options = msgspec.structs.replace(OPTIONS, append_bytes_max=1)


def do_join(story: Story, node: str) -> None:
    """join 4: a new node that knows nothing."""
    story.add(Node(int(node), Members(()), options=story.options))


def do_elect(story: Story, node: str) -> None:
    """elect 1: its time-out ends first, all messages arrive, and nothing of it is told."""
    told = len(story.lines)
    story.elect(int(node))
    del story.lines[told:]


def do_timeout(story: Story, *nodes: str) -> None:
    """timeout 1 2: these time-outs end at one moment; nothing arrives yet."""
    story.now_s = max([story.now_s, *(story.core(int(n)).next_tick_s for n in nodes)])
    for node in nodes:
        story.core(int(node)).tick(story.now_s)
    story.collect()


def do_deliver(story: Story, *links: str) -> None:
    """deliver [1>2]: what is on its way, only on that link if it is named."""
    if not links:
        story.settle()
    for link in links:
        story.take(link, story.deliver)
        story.collect()
    story.tell_reads()


def do_lose(story: Story, *links: str) -> None:
    """lose [1>2]: what is on its way does not arrive."""
    for link in links or {f"{m.sender}>{m.to}": 0 for m in story.wire}:
        story.take(link, lambda message: story.tell(f"{shown(message)} (lost)"))


def do_one(story: Story, link: str) -> None:
    """one 1>2: the first that is on its way on that link arrives."""
    story.take(link, story.deliver, count=1)
    story.collect()


def do_propose(story: Story, node: str, *payloads: str) -> None:
    core = story.core(int(node))
    index, term = core.propose(story.now_s, [p.encode() for p in payloads])
    story.tell(f"from {index}, in term {term}")
    story.collect()


def do_read(story: Story, node: str, *lease: str) -> None:
    """read 1 [lease]"""
    story.core(int(node)).read(story.now_s, 1, lease=bool(lease))
    story.collect()
    story.tell_reads()


def do_change(story: Story, node: str, *wanted: str) -> None:
    """change 1 2 3 4 learning 5: node 1 is asked to make 2 3 4 the voters."""
    at = wanted.index("learning") if "learning" in wanted else len(wanted)
    change = Change(tuple(map(int, wanted[:at])), tuple(map(int, wanted[at + 1 :])))
    index = story.core(int(node)).change(story.now_s, change)
    story.tell(f"begins with entry {index}")
    story.collect()


def do_transfer(story: Story, node: str, to: str) -> None:
    story.core(int(node)).transfer(story.now_s, int(to))
    story.collect()


def do_snapshot(story: Story, node: str) -> None:
    mark = story[int(node)].take_snapshot()
    story.tell(f"up to {mark.index}, {mark.bytes_count} bytes")


def do_pass(story: Story, seconds: str) -> None:
    story.pass_s(float(seconds))
    story.tell_reads()


def do_quietly(story: Story, seconds: str) -> None:
    """quietly 1.5: time passes, and what is said is not told."""
    story.pass_quietly(float(seconds))


def do_pause(story: Story, node: str, seconds: str) -> None:
    """pause 1 3: node 1 stands still for three seconds, and what it is sent is lost."""
    paused = story.nodes.pop(int(node))
    story.pass_quietly(float(seconds))
    story.nodes = dict(sorted({**story.nodes, paused.node: paused}.items()))


def do_cut(story: Story, one: str, other: str) -> None:
    story.cut |= {(int(one), int(other)), (int(other), int(one))}


def do_isolate(story: Story, node: str) -> None:
    story.isolate(int(node))


def do_heal(story: Story) -> None:
    story.heal()


def do_crash(story: Story, *nodes: str) -> None:
    for node in nodes:
        story.crash(int(node))


def do_restart(story: Story, *nodes: str) -> None:
    for node in nodes:
        story.restart(int(node))


def do_state(story: Story) -> None:
    for node in story.up:
        story.tell(state_of(node))


def do_applied(story: Story) -> None:
    for node in story.up:
        applied = b" ".join(payloads_of(node)).decode()
        story.tell(f"{node.node} applied {applied or 'nothing'}")


def state_of(node: Node) -> str:
    status = node.core.status()
    terms = [
        str(node.core._log.term_at(i)) for i in range(status.first_index, status.last_index + 1)
    ]
    begins = f"({status.first_index - 1}) " if status.first_index > 1 else ""
    log = " ".join(terms) or "empty"
    line = f"{node.node} {status.kind:9} term {status.term}  log {begins}{log}"
    return f"{line}  committed {status.committed}  {_members(status.members)}"


def _members(members: Members) -> str:
    said = f"voters {_list(members.voters)}"
    said += f" and {_list(members.outgoing)}" if members.outgoing else ""
    return said + (f" learning {_list(members.learners)}" if members.learners else "")


def _list(nodes: Sequence[NodeId]) -> str:
    return "-".join(map(str, nodes))


def retold(text: str) -> str:
    return "\n".join(_retell(text)) + "\n"


def _retell(text: str) -> Iterator[str]:
    story = Story()
    for line in text.splitlines():
        if line.startswith("    "):
            continue
        yield line
        if line.startswith("> "):
            verb, *words = line[2:].split()
            try:
                globals()[f"do_{verb}"](story, *words)
            except Refusal as refusal:
                story.tell(f"refused: {refusal}")
            yield from story.lines
            story.lines = []


if __name__ == "__main__":
    for path in sorted(STORIES.glob("*.txt")):
        path.write_text(retold(path.read_text()))
