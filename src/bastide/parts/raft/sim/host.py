"""A node's host in its simplest form: what a Ready asks for, one step after the other.

    event ──► core.step / tick / propose / read
                └──► ready ──► send ──► write ──► (sync) ──► written ──► send the later ones
                           └─► apply ──► applied ──► answer reads

Between any two of these steps the node may crash, and whatever takes time may find it paused: a
paused node does nothing, but its clock and its disk run on.
"""

from collections import deque
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from bastide.base.errors import Refusal
from bastide.parts.raft.contract import (
    AnyMessage,
    Append,
    AppendReply,
    Change,
    ChunkGiven,
    ChunkWanted,
    Entry,
    NodeId,
    PreVote,
    ReadAt,
    Ready,
    RequestVote,
    SnapshotChunk,
    SnapshotMark,
    SnapshotReply,
)
from bastide.parts.raft.sim.disk import SimDisk
from bastide.parts.raft.sim.machine import ABSENT, Command, Machine, decoded, encode_command
from bastide.parts.raft.sim.node import Answer
from bastide.parts.raft.sim.rules import Asked, Violation
from bastide.parts.raft.sim.setting import Setting
from bastide.parts.raft.sim.world import ANY_LIFE, Fell, told

NEVER_S = float("inf")
EARLY_S = 1e-9  # what is due so soon is due: times are sums of floats
READYS_MAX = 1_000  # in a row, without anything happening between them


class Read:
    def __init__(self, key: int, answer: Answer, asked: Asked) -> None:
        self.key = key
        self.answer = answer
        self.asked = asked


class Host:
    """`life` counts its processes; `term` is what it wrote last, `led_term` what it led last."""

    def __init__(self, setting: Setting, node: NodeId, mark: SnapshotMark) -> None:
        self.node = node
        self._setting = setting
        self.world = setting.world
        self.rules = setting.rules
        self.votes = setting.votes
        self.plan = setting.plan.nodes
        self.random = setting.chance.random
        self.disk = SimDisk(mark, Machine(mark.index, mark.term).encoded(node))
        draw = self.random.random()
        self.rate = 1.0 + self.plan.drift * (round(draw) if self.plan.clocks_at_edge else draw)
        self.offset_s = 1000.0 * self.random.random()
        self.life = 0
        self.is_up = False
        self.is_paused = False
        self.term = 0
        self.led_term = 0
        self.heard_s: dict[int, float] = {}  # by term: when its leader was heard last
        self.claimed = 0
        self.asked_s: dict[NodeId, float] = {}  # when each asked, since the leader was heard
        self.heard_from: dict[NodeId, float] = {}
        self._backlog: list[tuple[int, Callable[..., None], tuple[object, ...]]] = []
        self._disk_free_s = 0.0

    # --- life -------------------------------------------------------------------------------------

    @property
    def now_s(self) -> float:
        return self.offset_s + self.world.now_s * self.rate

    @property
    def is_leader(self) -> bool:
        return self.is_up and self.led_term > 0 and self.core.status().kind == "leader"

    def start(self) -> None:
        found = self.disk.found()
        self.life += 1
        self.is_up, self.led_term = True, 0
        self.term = found.vote.term
        self.claimed = found.mark.index
        self.core = self._setting.core_of(self.node, found, self.now_s)
        self.machine = decoded(self.disk.durable.snapshot)
        self._tick_s = NEVER_S
        self._to_apply: deque[Entry] = deque()
        self._is_applying = False
        self._is_snapshotting = False
        # A newer snapshot does not take away an older one that is being sent.
        self._files = {found.mark: self.disk.durable.snapshot}
        self._incoming = bytearray()
        self._incoming_mark: SnapshotMark | None = None
        self._proposed: dict[int, tuple[int, Answer]] = {}
        self._reads: dict[int, Read] = {}
        self._due_reads: list[tuple[int, Read]] = []
        self._tokens = self.life * 1_000_000
        if self.world.tell is not None:
            log = self.disk.durable.log
            self.world.say(
                f"n{self.node} starts: {found.vote}, log {log.base + 1} to {log.last}, "
                f"last term {log.last_term}"
            )
        self.act(self.life, self.pump, ())

    def crash(self, why: str) -> None:
        if not self.is_up:
            return
        if self.world.tell is not None:
            self.world.say(f"n{self.node} crashes {why}")
        self.is_up = self.is_paused = False
        self.life += 1
        self._backlog.clear()
        keeps = self._setting.plan.disks.keeps_some
        self.disk.crash(self._setting.chance if keeps else None)
        self._disk_free_s = self.world.now_s
        self.rules.fell(self)
        self._setting.fell(self)

    def pause(self) -> None:
        self.is_paused = self.is_up
        if self.is_paused and self.world.tell is not None:
            self.world.say(f"n{self.node} pauses")

    def resume(self) -> None:
        if not self.is_paused:
            return
        self.world.say(f"n{self.node} goes on")
        self.is_paused = False
        backlog, self._backlog = self._backlog, []
        if self.plan.shuffles_backlog:
            self.random.shuffle(backlog)
        for life, do, args in backlog:
            self.act(life, do, args)

    def act(self, life: int, do: Callable[..., None], args: tuple[object, ...]) -> None:
        if not self.is_up or (life != self.life and life != ANY_LIFE):
            return
        if self.is_paused:
            self._backlog.append((life, do, args))
            return
        try:
            do(*args)
        except Fell as fell:
            self.crash(str(fell))

    def _point(self, place: str) -> None:
        share = self.plan.crash_share
        if share and self._setting.is_troubled and self.random.random() < share:
            raise Fell(place)

    # --- what comes in ----------------------------------------------------------------------------

    def receive(self, message: AnyMessage) -> None:
        if self.world.tell is not None:
            self.world.say(f"{told(message)}")
        self.heard_from[message.sender] = self.world.now_s
        if isinstance(message, Append | SnapshotChunk):
            self.heard_s[message.term] = self.world.now_s
            self.asked_s.clear()  # what is asked from now on is asked of one who is led
        elif isinstance(message, PreVote | RequestVote):
            self.asked_s[message.sender] = self.world.now_s
        elif isinstance(message, AppendReply | SnapshotReply):
            self.votes.hears(self, message)
        self.core.step(self.now_s, message)
        self.pump()

    def tick(self, due_s: float) -> None:
        if due_s != self._tick_s:
            return  # another one was asked for since
        self._tick_s = NEVER_S
        wanted_s = self.core.next_tick_s
        if wanted_s <= self.now_s + EARLY_S:
            self.core.tick(max(self.now_s, wanted_s))
        self.pump()

    def propose(self, commands: Sequence[Command], answers: Sequence[Answer]) -> None:
        try:
            first, term = self.core.propose(self.now_s, [encode_command(c) for c in commands])
        except Refusal:
            for answer in answers:
                answer(False, None)
        else:
            for index, answer in enumerate(answers, first):
                self._proposed[index] = (term, answer)
        self.pump()

    def read(self, key: int, by_lease: bool, answer: Answer) -> None:
        self._tokens += 1
        token = self._tokens
        self._reads[token] = Read(key, answer, Asked(self.rules, self))
        try:
            self.core.read(self.now_s, token, lease=by_lease)
        except Refusal:
            del self._reads[token]
            answer(False, None)
        self.pump()
        if len(self._reads) > self._setting.plan.options.reads_max:
            raise Violation("limits", f"n{self.node} keeps {len(self._reads)} reads waiting")

    def operate(self, what: Change | NodeId) -> None:
        """A change of members, or a transfer to a node; a refusal is no fault."""
        try:
            if isinstance(what, Change):
                self.core.change(self.now_s, what)
            else:
                self.core.transfer(self.now_s, what)
        except Refusal as refusal:
            if self.world.tell is not None:
                self.world.say(f"n{self.node} refuses: {refusal}")
        self.pump()

    # --- Ready ------------------------------------------------------------------------------------

    def pump(self) -> None:
        for _ in range(READYS_MAX):
            ready = self.core.ready()
            if ready is None:
                break
            self._take(ready)
        else:
            raise Violation("limits", f"n{self.node} hands out {READYS_MAX} Readies in a row")
        wanted_s = (self.core.next_tick_s - self.offset_s) / self.rate
        if wanted_s < self._tick_s:
            self._tick_s = max(wanted_s, self.world.now_s)
            self.world.at_node(self._tick_s, self, self.life, self.tick, self._tick_s)

    def _take(self, ready: Ready) -> None:
        if ready.vote is not None:
            self.votes.keeps(self, ready.vote)
            self.disk.write_vote(ready.vote)
            self.term = ready.vote.term
        self._notice_leading(ready)
        self.rules.commits(self, ready.committed)
        if ready.entries:
            self.rules.writes(self, ready.entries)
            self.disk.write_entries(ready.entries)
        if ready.messages:
            self._point("before it sends")
            self._send(ready.messages)
        if ready.must_sync:
            self._point("as it writes")
            log = self.disk.written.log
            self._sync(self._wrote, log.last, log.last_term, ready.messages_later)
        elif ready.messages_later:
            self._send(ready.messages_later)
        if ready.committed:
            self._point("before it applies")
            self._to_apply.extend(ready.committed)
            self._apply_later()
        for read in ready.reads:
            self._may_read(read)
        for wanted in ready.chunks_wanted:
            self._send_chunk(wanted)
        for given in ready.chunks_given:
            self._keep_chunk(given)

    def _notice_leading(self, ready: Ready) -> None:
        """Who appends, leads."""
        if self.led_term == self.term or not _may_be_leaders(ready):
            return
        if self.core.status().kind != "leader":
            return
        self.votes.leads(self)
        self.led_term = self.term
        self.rules.leads(self)
        if self.world.tell is not None:
            self.world.say(f"n{self.node} leads term {self.term}")

    def _send(self, messages: Sequence[AnyMessage]) -> None:
        for message in messages:
            self.votes.sends(self, message)
            self._setting.network.send(message)

    # --- disk -------------------------------------------------------------------------------------

    def _sync(self, then: Callable[..., None], *args: object) -> None:
        """What is written by now becomes durable; then the process is told, if it lives."""
        writes = self.disk.begin_sync()
        disks, world = self._setting.disks, self.world
        takes_s = disks.sync_s * (0.5 + self.random.random())
        if disks.slow_share and self.random.random() < disks.slow_share:
            takes_s += disks.slow_s * self.random.random()
        self._disk_free_s = max(self._disk_free_s, world.now_s) + takes_s
        world.at(self._disk_free_s, self._end_sync, self.life, writes, then, args)

    def _end_sync(
        self, life: int, writes: int, then: Callable[..., None], args: tuple[object, ...]
    ) -> None:
        if life == self.life:
            self.disk.end_sync(writes)
            self.act(life, then, args)

    def _wrote(self, last: int, term: int, messages: Sequence[AnyMessage]) -> None:
        self._point("when it has synced")
        self.core.written(self.now_s, last, term)
        self._send(messages)
        self._point("when it has said so")
        self.pump()

    # --- the state machine ------------------------------------------------------------------------

    def _apply_later(self) -> None:
        if self.plan.apply_s and self._setting.is_troubled:
            if not self._is_applying:
                self._is_applying = True
                when_s = self.world.now_s + self.plan.apply_s * 2 * self.random.random()
                self.world.at_node(when_s, self, self.life, self._apply_next)
            return
        while self._to_apply:
            self._apply(self._to_apply.popleft())
        self._has_applied()

    def _apply_next(self) -> None:
        self._is_applying = False
        if self._to_apply:
            self._apply(self._to_apply.popleft())
            self._has_applied()
            self.pump()
        if self._to_apply:
            self._apply_later()

    def _apply(self, entry: Entry) -> None:
        if entry.index <= self.machine.index:
            return  # a snapshot had it
        machine = self.machine
        took_effect = machine.apply(entry)
        self.rules.applied(self, machine)
        waiting = self._proposed.pop(entry.index, None)
        if waiting is not None:
            term, answer = waiting
            answer(term == entry.term, took_effect)
        self._point("between two entries")

    def _has_applied(self) -> None:
        self.core.applied(self.machine.index)
        self._answer_reads()
        self._may_snapshot()

    # --- reads ------------------------------------------------------------------------------------

    def _may_read(self, at: ReadAt) -> None:
        read = self._reads.pop(at.token, None)
        if read is None:
            raise Violation("limits", f"n{self.node} answers a read that nobody asked: {at}")
        if at.index is None:
            read.answer(False, None)
            return
        self.rules.read(self, at.index, read.asked)
        self._due_reads.append((at.index, read))
        self._answer_reads()

    def _answer_reads(self) -> None:
        if not self._due_reads:
            return
        due = [read for index, read in self._due_reads if index <= self.machine.index]
        self._due_reads = [each for each in self._due_reads if each[0] > self.machine.index]
        for read in due:
            read.answer(True, self.machine.values.get(read.key, ABSENT))

    # --- snapshots --------------------------------------------------------------------------------

    def _may_snapshot(self) -> None:
        entries = self.plan.snapshot_entries
        behind = self.machine.index - self.disk.written.mark.index
        if not entries or behind < entries or self._is_snapshotting:
            return
        self._is_snapshotting = True
        content = self.machine.encoded(self.node)
        mark = replace(self.core.mark_at(self.machine.index), bytes_count=len(content))
        when_s = self.world.now_s + self.plan.snapshot_s * 2 * self.random.random()
        self.world.at_node(when_s, self, self.life, self._write_snapshot, mark, content)

    def _write_snapshot(self, mark: SnapshotMark, content: bytes) -> None:
        if mark.index <= self.disk.written.mark.index:
            self._is_snapshotting = False
            return  # one that came from the leader is newer
        self.rules.marks(self, mark)
        self._files[mark] = content
        self.disk.write_snapshot(mark, content)
        self._sync(self._wrote_snapshot, mark)

    def _wrote_snapshot(self, mark: SnapshotMark) -> None:
        self._point("when its snapshot is there")
        self._is_snapshotting = False
        self.core.snapshot_taken(mark)
        self._forget_files(mark)
        self.pump()

    def _forget_files(self, newest: SnapshotMark) -> None:
        used = {follower.snapshot_index for follower in self.core.status().followers}
        self._files = {
            mark: content
            for mark, content in self._files.items()
            if mark == newest or mark.index in used
        }

    def _send_chunk(self, wanted: ChunkWanted) -> None:
        content = self._files.get(wanted.mark)
        if content is None:
            raise Violation(
                "snapshot in order", f"n{self.node} is to send {wanted.mark}, and has {self._files}"
            )
        self._send(
            [
                SnapshotChunk(
                    to=wanted.to,
                    sender=self.node,
                    term=wanted.term,
                    mark=wanted.mark,
                    at=wanted.at,
                    content=content[wanted.at : wanted.end],
                    round=wanted.round,
                )
            ]
        )

    def _keep_chunk(self, given: ChunkGiven) -> None:
        if given.at == 0:
            self._incoming.clear()
        if given.at != len(self._incoming):
            raise Violation(
                "snapshot in order",
                f"n{self.node} is to keep byte {given.at} of {given.mark}; it has "
                f"{len(self._incoming)}",
            )
        self._incoming += given.content
        if not given.is_last:
            self._sync(self._kept_chunk, given.mark, len(self._incoming))
            return
        content = bytes(self._incoming)
        self._incoming.clear()
        self._install(given.mark, content)

    def _kept_chunk(self, mark: SnapshotMark, next_at: int) -> None:
        self._point("when a chunk is kept")
        self.core.chunk_kept(self.now_s, mark, next_at)
        self.pump()

    def _install(self, mark: SnapshotMark, content: bytes) -> None:
        self._point("before it installs a snapshot")
        self.rules.marks(self, mark)
        log = self.disk.written.log
        if mark.index < log.base:
            raise Violation(
                "committed is kept", f"n{self.node} installs {mark.index} over {log.base}"
            )
        if log.term(mark.index) != mark.term:
            self.rules.drops(self, log, mark.index + 1, log.last)
        self.disk.write_snapshot(mark, content)
        self._sync(self._installed, mark, content)

    def _installed(self, mark: SnapshotMark, content: bytes) -> None:
        self._point("when a snapshot is installed")
        machine = decoded(content)
        if machine.index < self.machine.index:
            raise Violation(
                "one state machine",
                f"n{self.node} goes back from {self.machine.index} to {machine.index}",
            )
        self.machine = machine
        self.claimed = max(self.claimed, mark.index)
        self.rules.applied(self, machine)
        self.core.installed(self.now_s, mark)
        self._files = {mark: content}
        self._answer_reads()
        self.pump()


def _may_be_leaders(ready: Ready) -> bool:
    """A new leader appends at once, if only to itself."""
    return any(entry.kind == "empty" for entry in ready.entries) or any(
        type(message) is Append for message in (*ready.messages, *ready.messages_later)
    )
