"""Calls of a cluster: which of its servers is asked, and what is made of no answer."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any
from urllib.parse import unquote

import msgspec
from grpclib.client import Channel, Stream, StreamStreamMethod, UnaryUnaryMethod
from grpclib.config import Configuration
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from bastide.base.errors import Invalid
from bastide.base.rt import runtime
from bastide.base.settings import BackendUrl
from bastide.engines.coord.contract import CoordAway
from bastide.engines.coord.core.protocol.messages import Method, messages, methods
from bastide.engines.coord.core.protocol.statuses import (
    NO_LEADER,
    TOKEN_INVALID,
    CallFailed,
    Code,
    Status,
    error_of,
)

PORT = 2379
WATCHES_OF_CONNECTION_MAX = 500  # of one connection that are kept for watches
AGAIN_S = 0.05
_AWAY = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
PING_S = 10.0  # etcd takes one in 5 s
PONG_S = 5.0
# A server that lost its power says nothing, and who watches sends nothing: only a ping tells.
_LIVELY = Configuration(
    _keepalive_time=PING_S,
    _keepalive_timeout=PONG_S,
    _http2_max_pings_without_data=0,
    _http2_min_sent_ping_interval_without_data=PING_S,
)
BROKEN = (GRPCError, ProtocolError, StreamTerminatedError, OSError, TimeoutError)


class EtcdOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may stand behind the `?` of an etcd:// URL."""

    timeout_s: Annotated[
        float, msgspec.Meta(gt=0, le=60, description="longest that the cluster is waited for")
    ] = 5.0


class Address(msgspec.Struct, frozen=True):
    host: str
    port: int


class Cluster:
    """Its servers. One is asked until it doesn't answer, then the next."""

    def __init__(self, url: BackendUrl, options: EtcdOptions) -> None:
        """
        Raises:
            Invalid: the URL names no server.
        """
        login, _, hosts = url.location.rpartition("@")
        user, _, password = login.partition(":")
        self.addresses = _addresses(hosts.rstrip("/"))
        self.timeout_s = options.timeout_s
        self._login = unquote(user), unquote(password)
        self._token = ""
        self._at = 0
        self._channels: dict[int, Channel] = {}
        self._streaming: dict[int, list[Channel]] = {}  # for what lasts
        self._lasting: dict[Channel, int] = {}  # streams on each

    # Calls

    async def call(self, path: str, message: Any, *, changes: bool, revision: int = 0) -> Any:
        """The reply. Reads are asked again, of others, until the time is over; changes only while
        nobody can have heard of them.

        Raises:
            The contract's errors.
        """
        method = methods()[path]
        end_s = runtime.monotonic() + self.timeout_s
        away = CoordAway("no server of the cluster answers")
        while True:
            # A read leaves time for the others; a change could not be made by them any more.
            share_s = self.timeout_s if changes else self.timeout_s / len(self.addresses)
            try:
                return await self._ask(method, message, min(end_s, runtime.monotonic() + share_s))
            except _NotSent as error:
                away = CoordAway(str(error))
            except CallFailed as failed:
                status = failed.status
                self._learn_from(status)
                if not _may_ask_again(status, changes=changes):
                    raise error_of(status, revision=revision, changes=changes) from failed
                away = CoordAway(status.text)
            if runtime.monotonic() + AGAIN_S >= end_s:
                raise away
            await asyncio.sleep(AGAIN_S / len(self.addresses))

    def _learn_from(self, status: Status) -> None:
        if status.text == TOKEN_INVALID.text:
            self._token = ""
        elif status.code in _AWAY:
            self._at += 1

    async def _ask(self, method: Method, message: Any, end_s: float) -> Any:
        """
        Raises:
            _NotSent, CallFailed.
        """
        channel = await self._connected(end_s)
        metadata = await self._metadata(channel, end_s)
        return await _unary(channel, method, message, metadata, end_s)

    async def _connected(self, end_s: float) -> Channel:
        at = self._at % len(self.addresses)
        channel = self._channels.get(at)
        if channel is None:
            channel = self._channels[at] = self._channel(at)
        await self._connect(channel, end_s)
        return channel

    def _channel(self, at: int) -> Channel:
        return Channel(self.addresses[at].host, self.addresses[at].port, config=_LIVELY)

    async def _connect(self, channel: Channel, end_s: float) -> None:
        """Not all of the time: another one may be there."""
        left_s = max(0.01, end_s - runtime.monotonic())
        try:
            async with asyncio.timeout(min(left_s, self.timeout_s / (len(self.addresses) + 1))):
                await channel.__connect__()
        except (OSError, TimeoutError) as error:
            self._at += 1
            raise _NotSent(f"no connection to the cluster: {error or 'no answer'}") from error

    async def _metadata(self, channel: Channel, end_s: float) -> Mapping[str, str]:
        user, password = self._login
        if not user:
            return {}
        if not self._token:
            asked = messages().AuthenticateRequest(name=user, password=password)
            method = methods()["/etcdserverpb.Auth/Authenticate"]
            try:
                self._token = (await _unary(channel, method, asked, {}, end_s)).token
            except CallFailed as failed:
                if failed.status.code in _AWAY:
                    self._at += 1
                    raise _NotSent(failed.status.text) from failed
                raise
        return {"token": self._token}

    # Streams

    @asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[Stream[Any, Any]]:
        """One that lasts, to a server that has a leader.

        Raises:
            BROKEN's and CallFailed, when something is asked of it too.
        """
        end_s = runtime.monotonic() + self.timeout_s
        at = self._at % len(self.addresses)
        channel = self._lasting_channel(at)
        self._lasting[channel] += 1
        try:
            try:
                await self._connect(channel, end_s)
                metadata = await self._metadata(channel, end_s)
            except _NotSent as error:
                raise ConnectionError(str(error)) from error
            method = methods()[path]
            made = StreamStreamMethod(channel, path, method.request, method.reply)
            async with made.open(metadata={**metadata, "hasleader": "true"}) as stream:
                with taken_back():
                    await stream.send_request()
                yield stream
                raise _Left
        except _Left:
            pass
        finally:
            self._lasting[channel] -= 1

    def _lasting_channel(self, at: int) -> Channel:
        there = self._streaming.setdefault(at, [])
        for channel in there:
            if self._lasting[channel] < WATCHES_OF_CONNECTION_MAX:
                return channel
        there.append(self._channel(at))
        self._lasting[there[-1]] = 0
        return there[-1]

    def failed(self, error: Exception) -> Status:
        """What that means, of a stream. The next one is opened elsewhere, or with a new token."""
        status = error.status if isinstance(error, CallFailed) else status_in(error)
        if status.text == TOKEN_INVALID.text:
            self._token = ""
        else:
            self._at += 1
        return status

    def close(self) -> None:
        for channel in (*self._channels.values(), *self._lasting):
            channel.close()


@contextmanager
def taken_back() -> Iterator[None]:
    """Around whatever waits for a stream. When its connection is lost grpclib wakes who waits by
    cancelling the task, and raises the reason in place of CancelledError, but never takes the
    cancellation back: a time-out around it (asyncio.timeout) would then take its own for
    somebody else's. And one by somebody else at the same time would be lost.

    Raises:
        CancelledError: that was asked for too.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        yield
    except BROKEN as error:
        if task.cancelling() > before and task.uncancel() > before:
            raise asyncio.CancelledError from error
        raise


class _Left(Exception):
    """Of a stream whose user has gone: without an error grpclib would wait for the server's end,
    which may never come.
    """


class _NotSent(Exception):
    """Nobody can have heard of it."""


async def _unary(
    channel: Channel, method: Method, message: Any, metadata: Mapping[str, str], end_s: float
) -> Any:
    left_s = max(0.01, end_s - runtime.monotonic())
    asked = UnaryUnaryMethod(channel, method.path, method.request, method.reply)
    try:
        with taken_back():
            return await asked(message, timeout=left_s, metadata=dict(metadata))
    except BROKEN as error:
        raise CallFailed(status_in(error)) from error


def status_in(error: Exception) -> Status:
    """What grpclib's error means."""
    if isinstance(error, GRPCError):
        return Status(Code(error.status.value), error.message or "")
    if isinstance(error, TimeoutError):
        return Status(Code.DEADLINE_EXCEEDED, "no answer within the time-out")
    return Status(Code.UNAVAILABLE, f"the connection is lost: {error}")


def _may_ask_again(status: Status, *, changes: bool) -> bool:
    """Whether nothing was done, or a second time does no harm."""
    if status.text in (NO_LEADER.text, TOKEN_INVALID.text):
        return True
    return status.code in _AWAY and not changes


def _addresses(hosts: str) -> Sequence[Address]:
    found = []
    for one in hosts.split(","):
        host, _, port = one.rpartition(":") if not one.endswith("]") else (one, "", "")
        if not host:
            host, port = port, ""
        if not host:
            raise Invalid("etcd:// names no server: etcd://host:2379,host:2379 is expected")
        found.append(Address(host.strip("[]"), int(port or PORT)))
    return found
