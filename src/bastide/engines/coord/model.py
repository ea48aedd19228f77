"""What a backend gives: the primitives on which locks, elections and the registry stand."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Protocol, runtime_checkable

import msgspec
from msgspec import Meta

from bastide.engines.coord.contract import (
    SPACE_BYTES_MAX,
    Coord,
    Delete,
    Deleted,
    Events,
    Found,
    Lease,
    Put,
    PutDone,
    Range,
    Standing,
    Txn,
    TxnDone,
    Watch,
)


class Keys(Protocol):
    """One store, seen from one of its nodes, or a foreign etcd. Keys are whole: no client's prefix.
    Errors are the contract's; each verb may raise CoordAway and LeaderMissing.
    """

    async def range(self, range_: Range) -> Found: ...

    async def put(self, put: Put) -> PutDone: ...

    async def delete(self, delete: Delete) -> Deleted: ...

    async def txn(self, txn: Txn) -> TxnDone: ...

    async def compact(self, revision: int) -> int:
        """The store's revision."""
        ...

    def watch(self, watch: Watch) -> AbstractAsyncContextManager[AsyncIterator[Events]]: ...

    async def grant(self, ttl_s: int, id_: int) -> Lease: ...

    async def keep_alive(self, lease: int) -> Lease: ...

    async def revoke(self, lease: int) -> int:
        """The store's revision."""
        ...

    async def lease(self, lease: int) -> Lease:
        """With its keys."""
        ...

    async def leases(self) -> Sequence[int]: ...

    async def standing(self) -> Standing: ...


class Hash(msgspec.Struct, frozen=True):
    """Of all that is kept at `revision`, from `compacted` on: equal on every node."""

    hash: int
    revision: int
    compacted: int


class Alarm(msgspec.Struct, frozen=True):
    """`kind` is "space" (puts are refused) or "damage"."""

    member: int
    kind: str


class Node(Keys, Protocol):
    """One of our own nodes, as strangers' doors see it (wire, api, pages, commands)."""

    async def hash(self, revision: int = 0) -> Hash: ...

    def snapshot(self) -> AsyncIterator[bytes]:
        """The store's file, whole, as `bastide coord restore` takes it; with its checksum."""
        ...

    async def alarms(self) -> Sequence[Alarm]: ...

    async def disarm(self, alarm: Alarm) -> None: ...

    async def transfer(self, to: int) -> None:
        """
        Raises:
            CoordAway: `to` did not come to lead; LeaderMissing.
        """
        ...

    async def add_member(self, name: str, peer_address: str, *, is_learner: bool) -> int: ...

    async def remove_member(self, member: int) -> None: ...

    async def promote_member(self, member: int) -> None: ...


@runtime_checkable
class CoordBackend(Protocol):
    """What one URL names."""

    def view(self, client: str) -> AbstractAsyncContextManager[Coord]:
        """Coordination as the system `client` sees it: names and keys are its own."""
        ...


class Settings(msgspec.Struct, frozen=True):
    """How the store is kept, by our own nodes."""

    space_bytes: Annotated[
        int,
        Meta(
            ge=1 << 20,
            le=SPACE_BYTES_MAX,
            description="keys, values and their history together; a put above it is refused",
        ),
    ] = 256 << 20
    timeout_s: Annotated[
        float, Meta(gt=0, le=60, description="longest that an answer is waited for")
    ] = 5.0
    snapshot_entries: Annotated[
        int, Meta(ge=100, description="changes, after which a snapshot stands in for the log")
    ] = 10_000
    compact_s: Annotated[
        float,
        Meta(ge=0, description="history older than this is compacted by itself; 0: never"),
    ] = 3600.0
    election_ms: Annotated[
        int,
        Meta(
            ge=50,
            le=60_000,
            description="silence of a leader, after which another one is elected; of a cluster",
        ),
    ] = 1_000
    heartbeat_ms: Annotated[
        int, Meta(ge=5, le=10_000, description="between a leader's signs of life; of a cluster")
    ] = 100
    secret: Annotated[
        str, Meta(description="shared by the nodes of a cluster, which show it to one another")
    ] = ""


class ClusterOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`cluster://one:2380,two:2380,three:2380?me=1`: the same list for all, in the same order."""

    me: Annotated[int, Meta(ge=1, description="which of the addresses is this node's, from 1")]
    first: Annotated[
        int,
        Meta(ge=0, description="with how many of the addresses the group began; 0: with all"),
    ] = 0
    listen: Annotated[
        str,
        Meta(description="host:port to listen at, if others lead its address there; else that"),
    ] = ""
