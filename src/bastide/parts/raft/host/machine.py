"""What a host is given: the state machine, and how often its state is kept."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Protocol, TypeVar

import msgspec

from bastide.parts.raft.contract import Entry, Members, NodeId, OptionInvalid

R_co = TypeVar("R_co", covariant=True)

SNAPSHOT_ENTRIES_MAX = 10_000_000
SNAPSHOT_BYTES_MAX = 1 << 30


class StateMachine(Protocol[R_co]):
    """Every node of a group applies the same entries in the same order, so what is here must follow
    from them alone: no clock, no chance, no set's order. An exception out of it stops the node, for
    it would stop all others too; a Refusal that is returned is raised to who proposed.
    """

    def apply(self, entries: Sequence[Entry]) -> Sequence[R_co]:
        """One result for each of `entries`, which are all of kind `payload` and rise in index."""
        ...

    def regroup(self, members: Members, context: bytes) -> None:
        """The group's members are these now; `context` came with the Change that made them."""
        return

    def snapshot(self) -> Iterable[bytes]:
        """The state as it is now, in pieces of any size. They are drawn one by one, and entries are
        applied in between, which must not show in them. Drawing one must not take more than some
        milliseconds.
        """
        ...

    async def restore(self, pieces: AsyncIterator[bytes]) -> None:
        """Be what a snapshot's pieces say, and nothing of what was before. The loop turns while
        they come; if they end with an error the machine stays as it was.
        """
        ...


class Keeping(msgspec.Struct, frozen=True):
    """A snapshot is taken once so much was applied since the last one, whichever comes first."""

    snapshot_entries: int = 100_000
    snapshot_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        for name, value, most in (
            ("snapshot_entries", self.snapshot_entries, SNAPSHOT_ENTRIES_MAX),
            ("snapshot_bytes", self.snapshot_bytes, SNAPSHOT_BYTES_MAX),
        ):
            if not 1 <= value <= most:
                raise OptionInvalid(f"{name} is {value}; 1 to {most} are taken")


class Leadership(msgspec.Struct, frozen=True):
    """`leader` is NOBODY while none is known."""

    leader: NodeId
    term: int
    is_here: bool
