"""What a subscriber has not taken yet: in order, and never more than it may be."""

from collections import deque

from bastide.engines.pubsub.contract import PENDING_BYTES_MAX, PENDING_MAX, Message


class Pending:
    """O(1) for everything. Bytes are those of values, which subscribers share."""

    __slots__ = ("_bytes", "_messages")

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: Message) -> bool:
        """Whether it was taken: there was place for it."""
        bytes_ = self._bytes + len(message.value)
        if len(self._messages) >= PENDING_MAX or bytes_ > PENDING_BYTES_MAX:
            return False
        self._messages.append(message)
        self._bytes = bytes_
        return True

    def take(self) -> Message:
        message = self._messages.popleft()
        self._bytes -= len(message.value)
        return message
