"""One connection to Redis, on which every caller's commands are in flight at once.

    call ─┐                                          ┌─> first future
    call ─┼─> unsent ── one write a turn ──> server ─┼─> second
    call ─┘   of the loop                            └─> third: replies come in order

A call is a future at the end of a queue. What is called within one turn of the loop leaves in one
write, so that fifty tasks cost one system call and not fifty. Since replies come in order, one
timer watches the oldest: if that is late, everything behind it is, and the connection is given up.

Pushes (RESP3) come between replies, in the order in which the server did things: they are handed
over at once, before any task that waits for an earlier reply has run.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

import hiredis
from hiredis import PushNotification, Reader

from bastide.parts.redis.contract import (
    CALLS_MAX,
    UNSENT_BYTES_MAX,
    Command,
    ServerAway,
    ServerRefused,
    Word,
)
from bastide.parts.redis.reply import Reply

LATE_S = 0.01  # a loop that stood still finds the reply on its doorstep: one more look
_NOTHING = object()

# Its stub says that a command is one word.
_pack = cast(Callable[[Command], bytes], hiredis.pack_command)


class Connection(asyncio.Protocol):
    """Open from `connection_made` until `lost` is done."""

    def __init__(self, *, timeout_s: float, on_push: Callable[[Sequence[Reply]], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._on_push = on_push
        self._reader = Reader(notEnoughData=_NOTHING, replyError=ServerRefused)
        self._waiting: deque[_Waiting] = deque()
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._untaken_bytes = 0  # written, and not taken by the socket when we looked last
        self._asked = 0  # calls, since the beginning
        self._answered = 0
        self._sent: deque[tuple[int, float]] = deque()  # how many were asked, and when: a write
        self._timer: asyncio.TimerHandle | None = None
        self._late_s = 0.0
        self._transport: asyncio.Transport | None = None
        self._over = False
        self.lost: asyncio.Future[None] = self._loop.create_future()

    def call(self, *words: Word) -> "asyncio.Future[Reply]":
        """The reply to one command; may be cancelled, the command is run all the same.

        Raises:
            ServerAway, at once or from the future. ServerRefused from the future.
        """
        packed = _pack(words)  # first: what can't be packed must not wait for a reply
        self._admit(1, len(packed))
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting.append(future)
        self._send(packed, 1)
        return future

    def call_many(self, commands: Sequence[Command]) -> "asyncio.Future[list[Reply]]":
        """The replies to `commands`, sent together. An error reply stands among them."""
        packed = b"".join([_pack(tuple(command)) for command in commands])
        self._admit(len(commands), len(packed))
        future: asyncio.Future[list[Reply]] = self._loop.create_future()
        if commands:
            several = _Several(future, len(commands))
            self._waiting.extend([several] * len(commands))
            self._send(packed, len(commands))
        else:
            future.set_result([])
        return future

    def send(self, *words: Word) -> None:
        """A command that has no reply but a push: SUBSCRIBE and its kin."""
        packed = _pack(words)
        self._admit(0, len(packed))
        self._send(packed, 0)

    def give_up(self, error: Exception | None = None) -> None:
        """The end: whatever waits is told."""
        if self._transport is not None:
            self._transport.abort()
        self.connection_lost(error)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _NOTHING:
                if reply.__class__ is PushNotification:
                    self._on_push(reply)
                else:
                    self._answer(reply)
        except Exception as error:  # what is not RESP, or a push that we can't read
            self.give_up(error)
            return
        while self._sent and self._sent[0][0] <= self._answered:
            self._sent.popleft()

    def connection_lost(self, error: Exception | None) -> None:
        if self._over:
            return
        self._over = True
        if not self.lost.done():  # who awaits it may have cancelled it
            self.lost.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
        self._unsent.clear()
        self._unsent_bytes = 0
        told = f"the connection was lost: {error}" if error else "the connection was closed"
        while self._waiting:
            _fail(self._waiting.popleft(), ServerAway(told, outcome="unknown"))

    def _admit(self, count: int, bytes_: int) -> None:
        if self._over:
            raise ServerAway("the connection was lost")
        if len(self._waiting) + count > CALLS_MAX:
            waiting = len(self._waiting)
            raise ServerAway(f"{waiting} commands wait, and {count} more; at most {CALLS_MAX} may")
        if self._untaken_bytes + self._unsent_bytes + bytes_ > UNSENT_BYTES_MAX:
            self._look()
            unsent = self._untaken_bytes + self._unsent_bytes
            if unsent + bytes_ > UNSENT_BYTES_MAX:
                told = f"{unsent} bytes are unsent, and {bytes_} more; at most {UNSENT_BYTES_MAX}"
                raise ServerAway(f"{told} may be")

    def _send(self, packed: bytes, calls: int) -> None:
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._asked += calls
        self._unsent.append(packed)
        self._unsent_bytes += len(packed)

    def _flush(self) -> None:
        if self._transport is None or self._over:
            return
        written = b"".join(self._unsent)
        self._unsent.clear()
        self._unsent_bytes = 0
        self._transport.write(written)
        self._look()
        self._sent.append((self._asked, self._loop.time()))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._watch)

    def _look(self) -> None:
        if self._transport is not None:
            self._untaken_bytes = self._transport.get_write_buffer_size()

    def _answer(self, reply: Reply) -> None:
        waiting = self._waiting.popleft()
        self._answered += 1
        if isinstance(waiting, _Several):
            waiting.take(reply)
        elif waiting.done():
            pass
        elif isinstance(reply, ServerRefused):
            waiting.set_exception(reply)
        else:
            waiting.set_result(reply)

    def _watch(self) -> None:
        """Is the oldest call late?"""
        self._timer = None
        if not self._sent:
            return
        now_s, due_s = self._loop.time(), self._sent[0][1] + self._timeout_s
        if now_s < due_s:
            self._timer = self._loop.call_later(due_s - now_s, self._watch)
        elif self._late_s != due_s:
            self._late_s = due_s
            self._timer = self._loop.call_later(LATE_S, self._watch)
        else:
            self.give_up(TimeoutError(f"no reply within {self._timeout_s:g} s"))


class _Several:
    """A future that several replies belong to."""

    __slots__ = ("_future", "_left", "_replies")

    def __init__(self, future: "asyncio.Future[list[Reply]]", left: int) -> None:
        self._future = future
        self._replies: list[Reply] = []
        self._left = left

    def take(self, reply: Reply) -> None:
        self._replies.append(reply)
        self._left -= 1
        if not self._left and not self._future.done():
            self._future.set_result(self._replies)

    def done(self) -> bool:
        return self._future.done()

    def set_result(self, replies: list[Reply]) -> None:
        self._future.set_result(replies)

    def set_exception(self, error: Exception) -> None:
        self._future.set_exception(error)


_Waiting = _Several | asyncio.Future[Reply]


def _fail(waiting: "_Waiting", error: Exception) -> None:
    if not waiting.done():
        waiting.set_exception(error)
