"""Commands that are done once, though a client sends them again (thesis 6.3).

    client ── (session 7, sequence 3, "add 5") ──► leader falls after it is committed, answer lost
           ── (session 7, sequence 3, "add 5") ──► next leader: both are in the log
                                                   apply the first: done, reply remembered
                                                   apply the second: the same reply, nothing done

A session is opened by an entry of the log and bears its index, so no two are alike. Each node keeps
the same sessions, since all they depend on is the log: also which one is forgotten when there are
too many, the one least recently used in the order of the log. The thesis lets leaders agree on a
time for that; here no clock is needed, but a client that is silent among many loses its session.

A client may have several commands on their way. It numbers them from 1 without reusing a number,
and has at most REPLIES_MAX unanswered: of an older one the reply may be forgotten, and then it is
refused rather than done a second time.

Costs O(1) a command; memory up to SESSIONS_MAX * REPLIES_BYTES_MAX, 256 MiB.
"""

from collections.abc import Callable

import msgspec

from bastide.parts.raft.contract import (
    REPLIES_BYTES_MAX,
    REPLIES_MAX,
    SESSIONS_MAX,
    SessionGone,
)


class _Session(msgspec.Struct):
    replies: dict[int, bytes]
    forgotten: int = 0  # the highest sequence whose reply was
    bytes_count: int = 0


class Sessions:
    """Part of a state machine: called as entries are applied, in order; kept in its snapshot."""

    def __init__(self) -> None:
        self._sessions: dict[int, _Session] = {}  # the least recently used is first

    def open(self, index: int) -> int:
        """A session's number, by the entry at `index` that opens it."""
        if len(self._sessions) >= SESSIONS_MAX:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[index] = _Session({})
        return index

    def close(self, session: int) -> None:
        self._sessions.pop(session, None)

    def once(self, session: int, sequence: int, run: Callable[[], bytes]) -> bytes:
        """The reply of `run`, called now if the session's `sequence` was not done yet. Raises
        SessionGone. `run` does not fail: a refusal is a reply too, and is remembered.
        """
        known = self._sessions.pop(session, None)
        if known is None:
            raise SessionGone(f"session {session} is no longer known; open another")
        self._sessions[session] = known
        if sequence in known.replies:
            return known.replies[sequence]
        if sequence <= known.forgotten:
            raise SessionGone(
                f"session {session} remembers replies above {known.forgotten}, not {sequence}"
            )
        reply = run()
        _remember(known, sequence, reply)
        return reply

    def dump(self) -> bytes:
        """The same bytes at each node that applied the same entries."""
        return msgspec.msgpack.encode(list(self._sessions.items()))

    def load(self, content: bytes) -> None:
        """Take over what `dump` gave."""
        self._sessions = dict(msgspec.msgpack.decode(content, type=list[tuple[int, _Session]]))

    def __len__(self) -> int:
        return len(self._sessions)


def _remember(session: _Session, sequence: int, reply: bytes) -> None:
    """What goes is the lowest number, not the oldest: a client's next are above it."""
    session.replies[sequence] = reply
    session.bytes_count += len(reply)
    while len(session.replies) > 1 and (
        len(session.replies) > REPLIES_MAX or session.bytes_count > REPLIES_BYTES_MAX
    ):
        lowest = min(session.replies)
        session.bytes_count -= len(session.replies.pop(lowest))
        session.forgotten = max(session.forgotten, lowest)
