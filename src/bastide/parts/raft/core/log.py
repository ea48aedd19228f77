"""The log in memory, and how far each of its four frontiers has come.

      snapshot                                  committed        handed      last
         │            ┌────────────────────────────┬───────────────┬───────────┐
    base ▼ (kept)     │ entries, index base + 1 .. │               │           │
         └────────────┴────────────────────────────┴───────────────┴───────────┘
                                  written ▲ (anywhere up to handed)

`written` is durable here, `handed` was given to the host to write, `committed` is durable at a
quorum and may be ahead of `written`. One write is out at a time. What is cut off while a write is
out no longer counts when it ends, even if the same entries have come back meanwhile: the next write
brings them again (`_out`).

Terms never fall along the log, so a term is found by bisection; payload bytes are summed up as they
come, so a slice of at most so many bytes is too. Nothing here walks the log.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from bastide.parts.raft.contract import Entry, Members, SnapshotMark
from bastide.parts.raft.core.members import decode_change


class Log:
    def __init__(self, mark: SnapshotMark, entries: Sequence[Entry]) -> None:
        self.restore(mark)
        self.append(entries)
        self.written = self.handed = self.last_index

    def restore(self, mark: SnapshotMark) -> None:
        """Begin behind a snapshot, with nothing in memory and all of it durable."""
        self.mark = mark
        self.base = self.written = self.handed = self.committed = mark.index
        self._base_term = mark.term
        self._entries: list[Entry] = []
        self._sums: list[int] = []  # payload bytes up to and with each entry
        self._base_sum = 0
        self._out = mark.index
        self._members = [(mark.index, mark.members)]

    # --- what it has ------------------------------------------------------------------------------

    @property
    def last_index(self) -> int:
        return self.base + len(self._entries)

    @property
    def last_term(self) -> int:
        return self._entries[-1].term if self._entries else self._base_term

    @property
    def members(self) -> Members:
        return self._members[-1][1]

    @property
    def members_index(self) -> int:
        """Where the members in force were made."""
        return self._members[-1][0]

    def members_at(self, index: int) -> Members:
        return self._members[self._members_place(index)][1]

    def members_open(self) -> Iterator[Members]:
        """The members that are committed, and all that are not yet."""
        for _, members in self._members[self._members_place(self.committed) :]:
            yield members

    def _members_place(self, index: int) -> int:
        place = bisect_right(self._members, index, key=lambda made: made[0])
        return max(place - 1, 0)

    def term_at(self, index: int) -> int | None:
        """None: it is not in memory."""
        place = index - self.base
        if place == 0:
            return self._base_term
        return self._entries[place - 1].term if 0 < place <= len(self._entries) else None

    def slice(self, first: int, last: int) -> tuple[Entry, ...]:
        return tuple(self._entries[first - self.base - 1 : last - self.base])

    def end_of(self, first: int, *, bytes_max: int, entries_max: int) -> int:
        """The last index of a slice from `first` within both limits; one entry may always go."""
        place = first - self.base - 1
        end = bisect_right(self._sums, self._sum_at(place) + bytes_max, lo=place)
        return self.base + max(place + 1, min(end, place + entries_max))

    def last_at_most(self, index: int, term: int) -> int:
        """The greatest index up to `index` whose entry's term is at most `term` (thesis 3.6)."""
        index = min(index, self.last_index)
        place = index - self.base
        if place <= 0:
            return index
        return self.base + bisect_right(self._entries, term, hi=place, key=lambda e: e.term)

    @property
    def open_bytes(self) -> int:
        """Payloads that are not committed."""
        return self._sum_at(len(self._entries)) - self._sum_at(max(self.committed - self.base, 0))

    def is_covered_by(self, *, last_index: int, last_term: int) -> bool:
        """Whether a log that ends so is at least as up to date as this one (paper 5.4.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def _sum_at(self, place: int) -> int:
        return self._sums[place - 1] if place else self._base_sum

    # --- what is done with it ---------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> None:
        """`entries` follow on the last one."""
        total = self._sum_at(len(self._entries))
        for entry in entries:
            total += len(entry.payload)
            self._sums.append(total)
            if entry.kind == "change":
                self._members.append((entry.index, decode_change(entry)[0]))
        self._entries.extend(entries)

    def merge(self, entries: Sequence[Entry]) -> None:
        """Take a leader's entries, whose predecessor is here. What conflicts is cut off, and only
        then, for an old Append must not shorten the log (paper 5.3, figure 2). What is committed
        is not looked at.
        """
        last = entries[-1]
        if last.index <= self.committed or self.term_at(last.index) == last.term:
            return  # all are here (log matching)
        place = bisect_right(entries, 0, key=self._is_news)
        first = entries[place].index
        if first <= self.last_index:
            self._cut(first)
        self.append(entries[place:] if place else entries)

    def _is_news(self, entry: Entry) -> int:
        """Ascending along a leader's entries, since what agrees agrees up to there."""
        known = entry.index <= self.committed or self.term_at(entry.index) == entry.term
        return 0 if known else 1

    def _cut(self, first: int) -> None:
        """Drop `first` and what follows."""
        assert first > self.committed, "a committed entry is never dropped"
        place = first - self.base - 1
        del self._entries[place:]
        del self._sums[place:]
        while self.members_index >= first:
            self._members.pop()
        self.written = min(self.written, first - 1)
        self.handed = min(self.handed, first - 1)
        self._out = min(self._out, first - 1)

    def hand_out(self) -> tuple[Entry, ...]:
        """What is to be written next. No write is out."""
        entries = self.slice(self.handed + 1, self.last_index)
        self._out = self.handed = self.last_index
        return entries

    def wrote(self) -> None:
        """What was handed out is durable, as far as it was not cut off since."""
        self.written = max(self.written, self._out)

    def compact(self, mark: SnapshotMark, *, kept: int) -> None:
        """A snapshot stands for all up to its index; `kept` entries before it stay in memory, and
        whatever is not written.
        """
        self.mark = mark
        cut = min(mark.index - kept, self.written)
        if cut <= self.base:
            return
        place = cut - self.base
        self._base_term, self._base_sum = self._entries[place - 1].term, self._sums[place - 1]
        self.base = cut
        del self._entries[:place]
        del self._sums[:place]
        while len(self._members) > 1 and self._members[1][0] <= cut:
            del self._members[0]
