"""A write that only the newest holder may make.

Who holds a lock can be stopped for longer than its lease lasts, wake up, and write: it can't know
that somebody else holds the lock by now. The resource can. Each hold has a token above that of
every hold before it; a write shows it, and the resource, which keeps the highest it has seen,
refuses a lower one.

    A holds, token 33 ── paused ───────────────────────── wakes, writes with 33: Deposed
                          lease ends · B holds, token 34 · writes with 34: taken
"""

import msgspec

from bastide.base.errors import Conflict, Invalid, Limited

FENCE_NAME_BYTES_MAX = 256
TOKEN_MAX = (1 << 63) - 1
FENCES_MAX = 10_000
"""Names that a log, or a client's cache in memory, keeps a token of."""
RETRY_AFTER_S = 60.0


class FenceRefused(Invalid):
    """A name of no bytes or of more than FENCE_NAME_BYTES_MAX, or a token that is not 1 to
    TOKEN_MAX.
    """


class Deposed(Conflict):
    """A write with an older token than one that was seen before; nothing was changed. `newest` is
    that one.
    """

    def __init__(self, fence: "Fence", newest: int) -> None:
        super().__init__(
            f"token {fence.token} of {fence.name!r} is older than {newest}: somebody else holds it",
            newest=newest,
        )
        self.newest = newest


class FencesOver(Limited):
    """Another name, and there are FENCES_MAX; nothing was changed."""

    def __init__(self) -> None:
        super().__init__(
            f"{FENCES_MAX} fences are kept; no other name is taken", retry_after_s=RETRY_AFTER_S
        )


class Fence(msgspec.Struct, frozen=True):
    """`name` says what is held, `token` since when: `Hold.token` of engines/coord.

    Raises:
        FenceRefused
    """

    name: str
    token: int

    def __post_init__(self) -> None:
        if not 1 <= self.token <= TOKEN_MAX:
            raise FenceRefused(f"token {self.token}; 1 to {TOKEN_MAX} are taken")
        try:
            bytes_count = len(self.name.encode())
        except UnicodeEncodeError as error:
            raise FenceRefused("a fence's name that has half of a surrogate pair") from error
        if not 1 <= bytes_count <= FENCE_NAME_BYTES_MAX or "\0" in self.name:
            raise FenceRefused(
                f"a fence's name of {bytes_count} bytes; 1 to {FENCE_NAME_BYTES_MAX}, "
                "and no zero among them, are taken"
            )

    def check(self, newest: int) -> None:
        """Against the newest token that was seen; 0: none was.

        Raises:
            Deposed
        """
        if self.token < newest:
            raise Deposed(self, newest)
