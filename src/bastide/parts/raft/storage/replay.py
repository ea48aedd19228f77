"""What lies in a group's log, and what it comes to when it is read again. Pure.

Seglog only appends, so the log is a history of what the node wrote, one record for each write:

    | vote?  mark?  is_fresh?  entries |   MessagePack, whole or not there at all

Reading it from the front, what is later wins:

    vote 1    1 2 3 4    3' 4'    vote 2    mark 2    5        vote 2, mark 2, 3' 4' 5
              '- entries  '- replace what stood from 3 on

A mark says that a snapshot stands for all up to its index. With `is_fresh` it came from a leader
and does not continue what was there: all entries before it are gone (section 7 of the paper).

Invariant: the newest mark's record also repeats the vote, so that all before the first entry behind
the mark can be removed from the front of the log.
"""

from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from bastide.parts.raft.contract import Durable, Entry, GroupFailed, SnapshotMark, Vote


class Written(msgspec.Struct, frozen=True, array_like=True, gc=False):
    vote: Vote | None = None
    mark: SnapshotMark | None = None
    is_fresh: bool = False
    entries: Sequence[Entry] = ()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Written)
encode = _encoder.encode


class Replay:
    """`places` are (last index, offset) of each record with entries, as the log has them."""

    def __init__(self) -> None:
        self.places: list[tuple[int, int]] = []
        self._vote = Vote()
        self._mark: SnapshotMark | None = None
        self._entries: list[Entry] = []

    def take(self, record: bytes, offset: int) -> None:
        try:
            written = _decoder.decode(record)
        except msgspec.MsgspecError as error:
            raise GroupFailed(f"record {offset} of the log is none of a group's: {error}") from None
        self._vote = written.vote or self._vote
        if written.mark:
            self._mark = written.mark
            if written.is_fresh:
                self._entries.clear()
        if written.entries:
            self._take_entries(written.entries, offset)

    def _take_entries(self, entries: Sequence[Entry], offset: int) -> None:
        first = entries[0].index
        if self._entries:
            at = first - self._entries[0].index
            if at > len(self._entries):
                raise _gap(self._entries[-1].index, first)
            del self._entries[max(at, 0) :]
        self._entries += entries
        self.places.append((entries[-1].index, offset))

    def durable(self) -> Durable:
        """
        Raises:
            GroupFailed: the log has no beginning, or a gap.
        """
        if self._mark is None:
            raise GroupFailed("the log has no mark: its beginning is missing")
        mark = self._mark
        entries = [entry for entry in self._entries if entry.index > mark.index]
        if entries and entries[0].index != mark.index + 1:
            raise _gap(mark.index, entries[0].index)
        return Durable(self._vote, mark, entries)


def _gap(last: int, first: int) -> GroupFailed:
    return GroupFailed(f"the log has a gap: entry {first} follows on {last}")


class Terms:
    """The term of each entry, as runs: a log of millions has a few of them."""

    def __init__(self, durable: Durable) -> None:
        self._firsts = [durable.mark.index]
        self._terms = [durable.mark.term]
        self._last_index = durable.mark.index
        if durable.entries:
            self.replace(durable.entries)

    def replace(self, entries: Sequence[Entry]) -> None:
        """`entries` stand from the first one's index on, instead of what was there."""
        while self._firsts and self._firsts[-1] >= entries[0].index:
            self._firsts.pop()
            self._terms.pop()
        self._last_index = entries[-1].index
        if self._terms and self._terms[-1] == entries[-1].term:
            return  # terms never fall along a log, so all between are the same
        for entry in entries:
            if not self._terms or entry.term != self._terms[-1]:
                self._firsts.append(entry.index)
                self._terms.append(entry.term)

    def has(self, *, index: int, term: int) -> bool:
        run = bisect_right(self._firsts, index) - 1
        return run >= 0 and index <= self._last_index and self._terms[run] == term

    def begin(self, mark: SnapshotMark) -> None:
        """Nothing is there but what `mark` stands for."""
        self._firsts, self._terms = [mark.index], [mark.term]
        self._last_index = mark.index
