"""One watch, which goes on over lost connections: behind the last revision that it has told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from grpclib.client import Stream

from bastide.engines.coord.backends.etcd.client import BROKEN, Cluster, taken_back
from bastide.engines.coord.contract import CoordAway, Events, RevisionCompacted, Watch
from bastide.engines.coord.core.protocol.messages import messages
from bastide.engines.coord.core.protocol.statuses import (
    DENIED,
    NO_LEADER,
    STOPPED,
    TOKEN_INVALID,
    CallFailed,
    Code,
    Status,
    error_of,
)
from bastide.engines.coord.core.protocol.values import event_of, watch_message

WATCH = "/etcdserverpb.Watch/Watch"
ENDINGS = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.UNKNOWN)  # a server's, not a watch's
AGAIN_S, AGAIN_S_MAX = 0.05, 1.0


@asynccontextmanager
async def watching(cluster: Cluster, watch: Watch) -> AsyncIterator[AsyncIterator[Events]]:
    """
    Raises:
        RevisionCompacted, AskInvalid, TooMany, CoordAway: nobody could be asked.
    """
    stand = _Stand(cluster, watch)
    try:
        await stand.begin()
        yield stand
    finally:
        await stand.end()


class _Stand:
    """A watch, and where it is."""

    def __init__(self, cluster: Cluster, watch: Watch) -> None:
        self._cluster = cluster
        self._watch = watch
        self._next = watch.from_revision  # 0: from now on
        self._stream: Stream[Any, Any] | None = None
        self._open = AsyncExitStack()
        self._held: list[Any] = []  # events of a message that goes on in fragments

    async def begin(self) -> None:
        """At some server, within the time-out."""
        try:
            async with asyncio.timeout(self._cluster.timeout_s):
                await self._open_again()
        except TimeoutError as error:
            raise CoordAway("no server of the cluster watches") from error

    async def _open_again(self) -> None:
        pause_s = AGAIN_S
        while not await self._opened():
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, AGAIN_S_MAX)

    async def _opened(self) -> bool:
        """
        Raises:
            What the server refused.
        """
        await self.end()
        try:
            async with asyncio.timeout(self._cluster.timeout_s):
                stream = await self._open.enter_async_context(self._cluster.stream(WATCH))
                asked = watch_message(self._watch, from_revision=self._next)
                with taken_back():
                    await stream.send_message(messages().WatchRequest(create_request=asked))
                    reply = await stream.recv_message()
            if reply is None:
                return False
            self._refuse(reply)
        except (*BROKEN, CallFailed) as error:
            self._lose(error)
            return False
        self._next = self._next or reply.header.revision + 1
        self._stream = stream
        return True

    def _lose(self, error: Exception) -> None:
        status = self._cluster.failed(error)
        if status.text != TOKEN_INVALID.text and status.code not in ENDINGS:
            raise error_of(status) from error

    def _refuse(self, reply: Any) -> None:
        """
        Raises:
            CallFailed: another server, or a new token, may help. Else what the contract says.
        """
        if not reply.canceled:
            return
        if reply.compact_revision:
            raise RevisionCompacted(self._next, reply.compact_revision)
        # Some servers write a code before it, as Go shows an error.
        for known in (TOKEN_INVALID, NO_LEADER, STOPPED):
            if known.text in reply.cancel_reason:
                raise CallFailed(known)
        denied = DENIED.text in reply.cancel_reason
        raise error_of(DENIED if denied else Status(Code.INVALID_ARGUMENT, reply.cancel_reason))

    def __aiter__(self) -> AsyncIterator[Events]:
        return self

    async def __anext__(self) -> Events:
        while True:
            if self._stream is None:
                self._held = []
                await self._open_again()
            reply = await self._received()
            if reply is None:
                continue
            self._held += reply.events
            if not reply.fragment and not reply.created:
                return self._told(reply.header.revision)

    def _told(self, revision: int) -> Events:
        """All that has come. A header may be ahead of events that are still to come."""
        held, self._held = self._held, []
        revision = held[-1].kv.mod_revision if held else revision
        self._next = revision + 1
        return Events([event_of(one) for one in held], revision)

    async def _received(self) -> Any | None:
        stream, self._stream = self._stream, None  # of no use if this is cancelled or fails
        assert stream is not None
        try:
            with taken_back():
                reply = await stream.recv_message()
            if reply is not None:
                self._refuse(reply)
                self._stream = stream
            return reply
        except (*BROKEN, CallFailed) as error:
            self._lose(error)
            return None

    async def end(self) -> None:
        self._stream = None
        opened, self._open = self._open, AsyncExitStack()
        with suppress(*BROKEN):  # it may be broken already
            await opened.aclose()
