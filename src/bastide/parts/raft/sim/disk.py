"""A node's disk: what was written, and what would still be there after a crash.

    written  vote 5 | cut behind 7 | entry 8 | entry 9        what the node itself reads
    durable  vote 4 |      entries to 8 (another 8)           what a crash leaves

A sync makes durable what had been written when it began. A crash forgets the rest, or keeps a
beginning of it: a disk may have written what nobody had asked it to. A snapshot and the log that
begins behind it become durable together, as a file's rename would do it.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from bastide.base.rt.runtime import Chance
from bastide.parts.raft.contract import Durable, Entry, Members, SnapshotMark, Vote
from bastide.parts.raft.sim.machine import members_of


class Log:
    """Entries behind `mark`, the snapshot that stands for all before them."""

    def __init__(self, mark: SnapshotMark, entries: Sequence[Entry] = ()) -> None:
        self.base = mark.index
        self.base_term = mark.term
        self.entries: list[Entry] = []
        self._changes: list[tuple[int, Members]] = [(mark.index, mark.members)]
        for entry in entries:
            self.append(entry)

    @property
    def last(self) -> int:
        return self.base + len(self.entries)

    @property
    def last_term(self) -> int:
        return self.entries[-1].term if self.entries else self.base_term

    @property
    def members(self) -> Members:
        """Those of the last change, committed or not."""
        return self._changes[-1][1]

    @property
    def members_index(self) -> int:
        return self._changes[-1][0]

    def members_since(self, index: int) -> Sequence[Members]:
        """Those at `index` and all later ones."""
        place = max(0, bisect_right(self._changes, index, key=lambda change: change[0]) - 1)
        return [members for _, members in self._changes[place:]]

    def term(self, index: int) -> int:
        """0 before the base or behind the end."""
        place = index - self.base - 1
        if 0 <= place < len(self.entries):
            return self.entries[place].term
        return self.base_term if place == -1 else 0

    def last_of(self, term: int) -> int:
        """The last index of an entry of that term, 0 if none is here."""
        index, found = self.last, self.last_term
        while found > term and index > self.base:
            index -= 1
            found = self.term(index)
        return index if found == term else 0

    def append(self, entry: Entry) -> None:
        """What was at its place or behind it is cut off."""
        if entry.index <= self.base:
            return
        if entry.index <= self.last:
            del self.entries[entry.index - self.base - 1 :]
            while self.members_index >= entry.index:
                self._changes.pop()
        self.entries.append(entry)
        if entry.kind == "change":
            self._changes.append((entry.index, members_of(entry)))

    def begin_behind(self, mark: SnapshotMark) -> None:
        """What follows the snapshot stays if the log has the snapshot's last entry."""
        index = mark.index
        if index >= self.base and self.term(index) == mark.term:
            del self.entries[: index - self.base]
            self._changes = [change for change in self._changes if change[0] > index]
        else:
            self.entries.clear()
            self._changes.clear()
        self._changes.insert(0, (index, mark.members))
        self.base, self.base_term = index, mark.term


class Image:
    """All that a disk holds, as seen by those who read it, or as a crash would leave it."""

    def __init__(self, mark: SnapshotMark, snapshot: bytes) -> None:
        self.vote = Vote(mark.term)
        self.mark = mark
        self.snapshot = snapshot
        self.log = Log(mark)

    def keep_vote(self, vote: Vote) -> None:
        self.vote = vote

    def keep_snapshot(self, mark: SnapshotMark, snapshot: bytes) -> None:
        self.mark, self.snapshot = mark, snapshot
        self.log.begin_behind(mark)

    def append(self, entry: Entry) -> None:
        self.log.append(entry)


Step = Callable[[Image], None]


class SimDisk:
    def __init__(self, mark: SnapshotMark, snapshot: bytes) -> None:
        self.durable = Image(mark, snapshot)
        self.written = Image(mark, snapshot)
        self._unsynced: deque[Step] = deque()
        self._unclaimed = 0  # of these, by no sync that is under way

    def write_vote(self, vote: Vote) -> None:
        self._write(partial(Image.keep_vote, vote=vote))

    def write_entries(self, entries: Sequence[Entry]) -> None:
        """The log is cut behind the first's place."""
        for entry in entries:
            self._write(partial(Image.append, entry=entry))

    def write_snapshot(self, mark: SnapshotMark, snapshot: bytes) -> None:
        self._write(partial(Image.keep_snapshot, mark=mark, snapshot=snapshot))

    def begin_sync(self) -> int:
        """How many writes it will make durable, to be handed to `end_sync`. Syncs end in order."""
        writes, self._unclaimed = self._unclaimed, 0
        return writes

    def end_sync(self, writes: int) -> None:
        for _ in range(writes):
            self._unsynced.popleft()(self.durable)

    def crash(self, chance: Chance | None) -> None:
        """With `chance` a beginning of what was not synced is kept."""
        if chance is not None:
            self.end_sync(chance.random.randint(0, len(self._unsynced)))
        self._unsynced.clear()
        self._unclaimed = 0
        left = self.durable
        self.written = Image(left.mark, left.snapshot)
        self.written.vote = left.vote
        self.written.log = Log(left.mark, left.log.entries)

    def found(self) -> Durable:
        left = self.durable
        return Durable(vote=left.vote, mark=left.mark, entries=tuple(left.log.entries))

    def _write(self, step: Step) -> None:
        step(self.written)
        self._unsynced.append(step)
        self._unclaimed += 1
