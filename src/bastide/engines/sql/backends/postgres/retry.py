"""What loses to a neighbour is run again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from bastide.base.work import jittered
from bastide.engines.sql.backends.postgres.driver import lost_connection, lost_race, translated
from bastide.engines.sql.contract import ATTEMPTS_MAX, Contended

T = TypeVar("T")

BACKOFF_FIRST_S = 0.002
BACKOFF_MAX_S = 0.2
ALONE_FROM = 3  # attempts lost: from then on the losers of this process go one at a time


class Retry:
    """One for each database: the losers' turn is among those who meet there."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def __call__(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What `attempt()` returns, when it neither lost a race nor a connection that had done
        nothing yet.

        Raises:
            Contended: it lost ATTEMPTS_MAX times.
        """
        backoff_s = BACKOFF_FIRST_S
        for lost in range(ATTEMPTS_MAX):
            try:
                if lost < ALONE_FROM:
                    return await attempt()
                async with self._turn:
                    return await attempt()
            except Exception as error:
                if not lost_race(error) and not lost_connection(error):
                    raise
                last = error
            await asyncio.sleep(jittered(backoff_s))
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
        if lost_connection(last):
            raise translated(last)
        raise Contended(f"lost to its neighbours {ATTEMPTS_MAX} times") from last
