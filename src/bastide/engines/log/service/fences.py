"""The newest token of each fence that this log has seen: what a deposed holder appends is refused.

A newer token is durable before anything is appended under it. Were it not, a power cut could leave
the newer holder's records and forget its token, and the older holder's would come behind them.
"""

from bastide.base.errors import Unavailable
from bastide.base.fence import FENCES_MAX, Fence, FencesOver
from bastide.engines.log.contract import LogAway
from bastide.engines.log.service.journal import Journal

KIND = "fence"


class Fences:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._durable = {str(key[1]): token for key, token in journal.items(KIND, int)}
        self._newest = dict(self._durable)

    async def admit(self, fence: Fence) -> None:
        """Returns once no older token will be taken any more, not even after a power cut.

        Raises:
            Deposed, FencesOver, LogAway
        """
        self.check(fence)
        if self._durable.get(fence.name) == fence.token:
            return
        if fence.name not in self._newest and len(self._newest) >= FENCES_MAX:
            raise FencesOver
        try:
            place = self._journal.put((KIND, fence.name), fence.token)
            self._newest[fence.name] = fence.token
            await self._journal.kept(place)
        except Unavailable as error:
            raise LogAway(f"the fence's token is not kept: {error}") from error
        self._durable[fence.name] = max(self._durable.get(fence.name, 0), fence.token)

    def check(self, fence: Fence) -> None:
        """For who was admitted, and has waited since.

        Raises:
            Deposed
        """
        fence.check(self._newest.get(fence.name, 0))
