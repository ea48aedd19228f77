"""Keep-alives of all leases, on one stream."""

import asyncio
from contextlib import suppress
from typing import Any

from bastide.engines.coord.backends.etcd.client import BROKEN, Cluster, taken_back
from bastide.engines.coord.contract import CoordAway
from bastide.engines.coord.core.protocol.messages import messages
from bastide.engines.coord.core.protocol.statuses import CallFailed

KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive"
AGAIN_S = 0.1


class Keeping:
    """Opens the stream when the first lease is to be kept alive, and again when it is lost."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._waiting: dict[int, list[asyncio.Future[int]]] = {}  # by lease
        self._unsent: asyncio.Queue[int] = asyncio.Queue()
        self._running: asyncio.Task[None] | None = None

    async def keep(self, lease: int) -> int:
        """Its time to live in s; 0: it has ended.

        Raises:
            CoordAway
        """
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(lease, []).append(future)
        self._unsent.put_nowait(lease)
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._run())
        try:
            async with asyncio.timeout(self._cluster.timeout_s):
                return await future
        except TimeoutError as error:
            raise CoordAway("the lease was not kept alive in time", outcome="unknown") from error
        finally:
            self._leave(lease, future)

    def _leave(self, lease: int, future: asyncio.Future[int]) -> None:
        there = self._waiting.get(lease)
        if there and future in there:
            there.remove(future)
            if not there:
                del self._waiting[lease]

    async def _run(self) -> None:
        """As long as anybody waits; what was asked on a stream that broke is asked again."""
        while self._waiting:
            self._unsent = asyncio.Queue()
            for lease in self._waiting:
                self._unsent.put_nowait(lease)
            try:
                with taken_back():
                    async with self._cluster.stream(KEEP_ALIVE) as stream:
                        await self._converse(stream)
            except (*BROKEN, CallFailed) as error:
                self._cluster.failed(error)
                await asyncio.sleep(AGAIN_S)

    async def _converse(self, stream: Any) -> None:
        sending = asyncio.ensure_future(self._send(stream))
        try:
            while (reply := await stream.recv_message()) is not None:
                for future in self._waiting.pop(reply.ID, ()):
                    if not future.done():
                        future.set_result(reply.TTL)
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError, *BROKEN):
                await sending

    async def _send(self, stream: Any) -> None:
        while True:
            lease = await self._unsent.get()
            if lease in self._waiting:
                with taken_back():
                    await stream.send_message(messages().LeaseKeepAliveRequest(ID=lease))

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running
