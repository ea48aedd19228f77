"""How far a leader knows a follower to be, and how much it may send (thesis 3.5, 10.2.1).

    probing      one Append, then wait for its answer: next - 1 may not be where the logs agree
       │ ▲
       │ └────── a rejection, a gap after a loss: back off
       ▼
    replicating  next runs ahead of the answers, up to `appends_out_max` Appends

    snapshot     next is no longer in the leader's log: one chunk out, the follower says where to
                 go on; then probing behind the snapshot

A lost Append shows in the next one, or in the next heartbeat: both name next - 1 as what must be
there, and are rejected if it is not.
"""

from collections import deque
from math import inf

from bastide.parts.raft.contract import NodeId, SnapshotMark


class SnapshotSending:
    """A snapshot on its way. `at`: up to here the follower has it."""

    def __init__(self, mark: SnapshotMark) -> None:
        self.mark = mark
        self.at = 0
        self.sent_s: float | None = None  # None: no chunk is out


class Progress:
    def __init__(self, node: NodeId, *, next_index: int, now_s: float) -> None:
        self.node = node
        self.match = 0
        self.next = next_index
        self.is_probing = True
        self.is_probe_out = False
        self.snapshot: SnapshotSending | None = None
        self.round_sent = 0
        self.committed_sent = 0
        self.round = 0  # the newest that it echoed
        self.echo_s = -inf  # when that round began
        self.heard_s = now_s  # the same, but a new follower has election_s to answer
        self._out: deque[int] = deque()  # the last index of each Append that is not answered

    def may_send(self, appends_out_max: int) -> bool:
        return not self.is_probe_out if self.is_probing else len(self._out) < appends_out_max

    def sent(self, last: int) -> None:
        if self.is_probing:
            self.is_probe_out = True
        else:
            self.next = last + 1
            self._out.append(last)

    def echoed(self, number: int, began_s: float | None) -> None:
        """It answered what was sent in a round that began then; None: too long ago to tell."""
        if number <= self.round:
            return
        self.round = number
        if began_s is not None:
            self.echo_s = began_s
            self.heard_s = max(self.heard_s, began_s)

    def accepted(self, match: int, previous_index: int) -> None:
        """It has all up to `match` durably, and `previous_index` at least in memory."""
        self.match = max(self.match, match)
        while self._out and self._out[0] <= self.match:
            self._out.popleft()
        if self.snapshot is not None:
            if self.match >= self.snapshot.mark.index:
                self._probe_from(self.match + 1)
            return
        if self.is_probing and max(previous_index, match) >= self.next - 1:
            self.is_probing = self.is_probe_out = False
            self.next = max(self.next, previous_index + 1)
        self.next = max(self.next, self.match + 1)

    def is_stale(self, previous_index: int) -> bool:
        """Whether a rejection answers something that no longer counts."""
        if self.snapshot is not None or previous_index <= self.match:
            return True
        return previous_index != self.next - 1 if self.is_probing else previous_index >= self.next

    def rejected(self, may_match: int) -> None:
        """What it has may agree with the leader's log up to `may_match`, but not further."""
        self._probe_from(max(self.match, min(may_match, self.next - 2)) + 1)

    def begin_snapshot(self, mark: SnapshotMark) -> None:
        self._probe_from(mark.index + 1)
        self.snapshot = SnapshotSending(mark)

    def installed(self, index: int) -> None:
        self.match = max(self.match, index)
        self._probe_from(self.match + 1)

    def _probe_from(self, index: int) -> None:
        self.next = index
        self.is_probing, self.is_probe_out = True, False
        self.snapshot = None
        self._out.clear()
