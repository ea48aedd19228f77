"""Ids from whatever lease is held. Reads the clock, waits out a spent millisecond; no store."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from bastide.base.rt import runtime
from bastide.engines.ids.contract import BLOCK_MAX, CountOver, Decoded
from bastide.engines.ids.core.layout import TEXT, Layout, to_text
from bastide.engines.ids.core.mint import Mint
from bastide.engines.ids.core.uuids import RANDOM_BYTES, Uuid7, timeuuid
from bastide.engines.ids.model import Lease, OnBackwardClock

# How often the clock is read in a spent millisecond. A reading takes 0.1 us, so a clock that still
# shows the same millisecond afterwards stands still, as a manual one does: then ids go on ahead.
POLLS_MAX = 50_000

NO_LEASE = Lease(worker=0, holder="", floor_ms=0, fence_ms=-1)


class Minter:
    """`fence_reached` is set when more time is wanted than the lease holds."""

    def __init__(
        self, layout: Layout, *, on_backward_clock: OnBackwardClock, deployment: int = 0
    ) -> None:
        self.layout = layout
        self.fence_reached = asyncio.Event()
        self.deployment = deployment
        self._on_backward_clock = on_backward_clock
        self._now_ms = runtime.current().clock.now_ms
        self._token = runtime.current().chance.token
        self._uuid7 = Uuid7()
        self._mint = self._made(layout, NO_LEASE, at_ms=0)
        self._text_mint = self._made(TEXT, NO_LEASE, at_ms=0)
        self._take = self._mint.take  # one look-up less for each id

    def hold(self, lease: Lease) -> None:
        """From here on, ids are this lease's, and above all that were made before."""
        self._mint = self._made(self.layout, lease, at_ms=self._mint.at_ms)
        self._text_mint = self._made(TEXT, lease, at_ms=self._text_mint.at_ms)
        self._take = self._mint.take

    def _made(self, layout: Layout, lease: Lease, *, at_ms: int) -> Mint:
        return Mint(
            layout,
            worker=lease.worker,
            floor_ms=max(lease.floor_ms, at_ms),
            fence_ms=lease.fence_ms,
            on_backward_clock=self._on_backward_clock,
            fence_reached=self.fence_reached.set,
        )

    @property
    def at_ms(self) -> int:
        """The last millisecond stamped, or the lease's floor."""
        return max(self._mint.at_ms, self._text_mint.at_ms)

    def raise_fence(self, fence_ms: int) -> None:
        self._mint.raise_fence(fence_ms)
        self._text_mint.raise_fence(fence_ms)

    def new(self) -> int:
        id_ = self._take(self._now_ms())
        while id_ is None:
            self._wait(self._mint)
            id_ = self._take(self._now_ms())
        return id_

    def block(self, count: int) -> Sequence[int]:
        if not 1 <= count <= BLOCK_MAX:
            raise CountOver(f"a block of {count} ids; 1 to {BLOCK_MAX} are given")
        while not (ids := self._mint.take_many(self._now_ms(), count)):
            self._wait(self._mint)
        return ids

    def text(self) -> str:
        while (id_ := self._text_mint.take(self._now_ms())) is None:
            self._wait(self._text_mint)
        return to_text(id_)

    def uuid7(self) -> UUID:
        return UUID(int=self._uuid7.next(self._now_ms(), self._token(RANDOM_BYTES)))

    def timeuuid(self) -> UUID:
        return UUID(int=timeuuid(self.decode(self.new()), deployment=self.deployment))

    def decode(self, id_: int) -> Decoded:
        return self.layout.decode(id_)

    def _wait(self, mint: Mint) -> None:
        """Until the clock has left the mint's millisecond, at most one; or the mint has."""
        for _ in range(POLLS_MAX):
            if self._now_ms() != mint.at_ms:
                return
        mint.step()
