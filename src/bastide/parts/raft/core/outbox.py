"""What waits for the next Ready, and what may not leave before a write has ended.

                                     now                     later
    a vote, a request for one        the vote is durable     it is not
    any other message                its term is durable     it is not
    "I have up to n"                 n is written            it is not

`later` leaves with, and after, the write that covers it. So what others see of this node is always
what a node would have done that writes everything before it says anything: the order of the two
columns may be mixed by a network anyway.
"""

from bastide.parts.raft.contract import AnyMessage, ChunkGiven, ChunkWanted, ReadAt, Vote


class Outbox:
    def __init__(self, vote: Vote) -> None:
        self.vote = vote
        self.is_writing = False
        self.now: list[AnyMessage] = []
        self.later: list[AnyMessage] = []
        self.reads: list[ReadAt] = []
        self.chunks_wanted: list[ChunkWanted] = []
        self.chunk_given: ChunkGiven | None = None
        self._is_vote_new = False  # it was not handed to the host yet
        self._is_vote_written = True

    def set_vote(self, vote: Vote) -> None:
        self.vote = vote
        self._is_vote_new, self._is_vote_written = True, False

    def send(self, message: AnyMessage) -> None:
        """It says nothing of entries that are not durable, but its term must be."""
        (self.now if self._is_vote_written else self.later).append(message)

    def send_later(self, message: AnyMessage) -> None:
        """Once all that is in the log now is durable."""
        self.later.append(message)

    def take_vote(self) -> Vote | None:
        """The vote, if it is to be written now. No write is out."""
        if not self._is_vote_new:
            return None
        self._is_vote_new = False
        return self.vote

    def wrote(self) -> None:
        """The write that was out has ended."""
        self.is_writing = False
        self._is_vote_written = not self._is_vote_new

    @property
    def is_settled(self) -> bool:
        """Whether the vote is durable."""
        return self._is_vote_written
