"""Short codes: a series' count through a permutation that only this deployment can compute."""

from hashlib import blake2b

from bastide.engines.ids.contract import (
    CODE_LENGTH_MAX,
    CODE_LENGTH_MIN,
    LengthOver,
    SeriesSpent,
)
from bastide.engines.ids.core.permutation import Permutation
from bastide.engines.ids.core.radix import BASE62, encode
from bastide.engines.ids.service.counters import Counters, checked


def checked_length(length: int) -> int:
    """
    Raises:
        LengthOver.
    """
    if not CODE_LENGTH_MIN <= length <= CODE_LENGTH_MAX:
        raise LengthOver(f"{length} characters; {CODE_LENGTH_MIN} to {CODE_LENGTH_MAX} can be had")
    return length


class Codes:
    """Each length of each series has a permutation of its own, made of the deployment's `secret`,
    which must be set first.
    """

    def __init__(self, counters: Counters) -> None:
        self.secret = b""
        self._counters = counters
        self._permutations: dict[tuple[str, int], Permutation] = {}
        self._spent: set[tuple[str, int]] = set()

    async def next(self, series: str, length: int) -> str:
        checked(series)
        for width in range(checked_length(length), CODE_LENGTH_MAX + 1):
            if (series, width) in self._spent:
                continue
            number = await self._counters.next(f"code{width}:{series}")
            if number < 62**width:
                return encode(self._permutation(series, width).permute(number), BASE62, width=width)
            self._spent.add((series, width))
        raise SeriesSpent(f"all codes of {series} from {length} characters on are used")

    def _permutation(self, series: str, width: int) -> Permutation:
        found = self._permutations.get((series, width))
        if found is None:
            assert self.secret, "without it, anybody could compute the codes"
            key = blake2b(f"{width}:{series}".encode(), key=self.secret, digest_size=32).digest()
            found = self._permutations[series, width] = Permutation(62**width, key)
        return found
