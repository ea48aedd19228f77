"""Wakes who waits for news of a partition: a bell for what is written, one for what is synced."""

import asyncio
from collections.abc import Awaitable, Callable

from bastide.base.errors import Unavailable

RETRY_S = 0.1


class Bell:
    """`reach` waits until all that was appended has come as far as this bell's listeners want it.
    It is asked only while somebody listens, so that nothing is synced for nobody.
    """

    def __init__(self, reach: Callable[[], Awaitable[None]]) -> None:
        self._reach = reach
        self._listening: set[asyncio.Future[None]] = set()
        self._ringing: asyncio.Task[None] | None = None

    def appended(self) -> None:
        if self._listening:
            self.ring_soon()

    async def listen(self) -> None:
        """Until it rings; perhaps for nothing."""
        listening = asyncio.get_running_loop().create_future()
        self._listening.add(listening)
        try:
            await listening
        finally:
            self._listening.discard(listening)

    def ring_soon(self) -> None:
        if self._ringing is None or self._ringing.done():
            self._ringing = asyncio.create_task(self._ring())

    async def _ring(self) -> None:
        """While the disk refuses, now and then: they look, and listen again."""
        try:
            await self._reach()
        except Unavailable:
            await asyncio.sleep(RETRY_S)
        self._ringing = None
        for listening in self._listening:
            if not listening.done():
                listening.set_result(None)
