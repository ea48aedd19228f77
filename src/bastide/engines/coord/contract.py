"""What the town needs of coordination: who holds what, who leads, who is there.

    Refusal
     ├── Invalid      AskInvalid (KeyMissing), AskTooLarge
     ├── NotFound     LeaseMissing, RevisionCompacted (Gone), RevisionAhead
     ├── Conflict     LeaseExists, LockHeld, HoldLost
     ├── Limited      SpaceOver, TooMany
     └── Unavailable  CoordAway, LeaderMissing

A store of keys and values in which every change has a number: the revision, one for each
transaction, rising by one. All that is written is agreed by a majority and durable there before it
is answered, and all reads see it (linearizable), unless `serializable` is asked for.

A lease ends unless it is kept alive, and its keys go with it. Who holds a lock may be paused for
longer than its lease lasts and never know: a lock alone protects nothing. So every hold and every
leadership has a **token**, which only rises; the resource is given the token with each write and
refuses one that is older than the newest it has seen (`base.fence`).
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

import msgspec

from bastide.base.errors import Conflict, Gone, Invalid, Limited, NotFound, TooLarge, Unavailable

KEY_BYTES_MAX = 4 << 10
"""As it is kept: with `/bastide/<client>/keys/` in front, which the town adds."""
VALUE_BYTES_MAX = 1 << 20
OPS_MAX = 128
"""In one branch of a transaction; as many compares; and as many of both in all transactions within
it together.
"""
ASK_BYTES_MAX = 1536 << 10
"""Keys and values of one request together."""
RANGE_ITEMS_MAX = 100_000
"""Of one range without a limit; more is asked for in pages."""
TTL_S_MIN = 1
TTL_S_MAX = 9_000_000_000
LEASES_MAX = 100_000
LEASE_KEYS_MAX = 10_000
WATCHES_MAX = 100_000
WAITERS_MAX = 10_000
"""For one lock or election."""
NAME_BYTES_MAX = 256
"""Of a lock, an election, a service or an instance of one."""
SPACE_BYTES_MAX = 2 << 30
"""The largest that BASTIDE_COORD_SPACE_BYTES may be set to."""

REVISION_NEWEST = 0
NO_LEASE = 0


# --- errors ---------------------------------------------------------------------------------------


class AskInvalid(Invalid):
    """A request that means nothing: an empty key, a key put twice in one transaction, a time to
    live out of its range, a name that is none.
    """


class KeyMissing(AskInvalid):
    """A key that is not there was to keep its value or its lease."""


class AskTooLarge(TooLarge):
    """More than KEY_BYTES_MAX, VALUE_BYTES_MAX, OPS_MAX, ASK_BYTES_MAX or RANGE_ITEMS_MAX."""


class LeaseMissing(NotFound):
    """It has ended or never was."""


class RevisionCompacted(Gone):
    """`oldest` is the oldest revision that can still be read; a watch may begin behind it."""

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(
            f"revision {revision} was compacted; {oldest} is the oldest there is", oldest=oldest
        )
        self.revision = revision
        self.oldest = oldest


class RevisionAhead(NotFound):
    """A revision that has not come yet was to be read or compacted."""


class LeaseExists(Conflict):
    """A lease was to have a number that another one has."""


class LockHeld(Conflict):
    """Somebody else holds it, and the caller does not wait, or has waited long enough."""


class HoldLost(Conflict):
    """The lease behind a hold or a leadership has ended: somebody else may have it."""


class SpaceOver(Limited):
    """The store is full (BASTIDE_COORD_SPACE_BYTES): reads, deletes and compaction are taken,
    puts only when there is room.
    """


class TooMany(Limited):
    """Above LEASES_MAX, LEASE_KEYS_MAX, WATCHES_MAX, WAITERS_MAX, or too many requests wait."""


class CoordAway(Unavailable):
    """No answer within the time-out. `outcome` says whether the change may have been made."""


class LeaderMissing(CoordAway):
    """The group has no leader now: a majority is away, or an election is under way."""


# --- keys -----------------------------------------------------------------------------------------


class Item(msgspec.Struct, frozen=True, gc=False):
    """A key as it was at some revision. `created` and `changed` are revisions; `version` counts the
    puts since it was created, from 1.
    """

    key: bytes
    value: bytes
    created: int
    changed: int
    version: int
    lease: int = NO_LEASE


SortBy = Literal["key", "version", "created", "changed", "value"]


class Range(msgspec.Struct, frozen=True, tag="range"):
    """Keys from `first` up to `end` (exclusive). `end` b"": `first` alone; b"\\0": all from `first`
    on. `limit` 0 is none. The four bounds leave out what is below or above; 0 is none.
    """

    first: bytes
    end: bytes = b""
    limit: int = 0
    revision: int = REVISION_NEWEST
    sort_by: SortBy = "key"
    descending: bool = False
    serializable: bool = False
    keys_only: bool = False
    count_only: bool = False
    changed_min: int = 0
    changed_max: int = 0
    created_min: int = 0
    created_max: int = 0


class Put(msgspec.Struct, frozen=True, tag="put"):
    """`keep_value`, `keep_lease`: as they are; the key must be there. `previous`: tell it."""

    key: bytes
    value: bytes = b""
    lease: int = NO_LEASE
    previous: bool = False
    keep_value: bool = False
    keep_lease: bool = False


class Delete(msgspec.Struct, frozen=True, tag="delete"):
    first: bytes
    end: bytes = b""
    previous: bool = False


CompareBy = Literal["version", "created", "changed", "value", "lease"]
Relation = Literal["equal", "greater", "less", "unequal"]


class Compare(msgspec.Struct, frozen=True):
    """`operand` is bytes for "value", else a number. A key that is not there has 0 everywhere, and
    no value: a comparison of its value fails. Of a range, each key there must meet it.
    """

    by: CompareBy
    relation: Relation
    operand: int | bytes
    first: bytes
    end: bytes = b""


class Txn(msgspec.Struct, frozen=True, tag="txn"):
    """If all compares hold `then`, else `otherwise`: all of it at one revision, or nothing."""

    compares: Sequence[Compare] = ()
    then: Sequence["Op"] = ()
    otherwise: Sequence["Op"] = ()


Op = Range | Put | Delete | Txn


class Found(msgspec.Struct, frozen=True, tag="range"):
    """`count` is of all keys in the range, whatever the limit. `revision`: of the store, when it
    was read.
    """

    items: Sequence[Item]
    count: int
    more: bool
    revision: int


class PutDone(msgspec.Struct, frozen=True, tag="put"):
    revision: int
    previous: Item | None = None


class Deleted(msgspec.Struct, frozen=True, tag="delete"):
    count: int
    revision: int
    previous: Sequence[Item] = ()


class TxnDone(msgspec.Struct, frozen=True, tag="txn"):
    """`revision`: of the store afterwards; results are those of the branch that was taken. Of a
    transaction within another: when it was done.
    """

    succeeded: bool
    results: Sequence["Result"]
    revision: int


Result = Found | PutDone | Deleted | TxnDone


# --- watches and leases ---------------------------------------------------------------------------


class Watch(msgspec.Struct, frozen=True):
    """`from_revision` 0: what changes from now on. `previous`: tell what was there before. `puts`
    and `deletes` say which are wanted; `progress`: tell from time to time how far one has seen.
    """

    first: bytes
    end: bytes = b""
    from_revision: int = 0
    previous: bool = False
    puts: bool = True
    deletes: bool = True
    progress: bool = False


class Event(msgspec.Struct, frozen=True, gc=False):
    """A put, or a delete: then `item` has the key and `changed` alone, `version` 0."""

    item: Item
    previous: Item | None = None

    @property
    def is_delete(self) -> bool:
        return self.item.version == 0


class Events(msgspec.Struct, frozen=True):
    """All events of one or several whole revisions, up to `revision`, in their order. None: only
    progress: all up to `revision` has been told.
    """

    events: Sequence[Event]
    revision: int


class Lease(msgspec.Struct, frozen=True):
    id: int
    ttl_s: int
    left_s: float
    keys: Sequence[bytes] = ()


class Session(msgspec.Struct, frozen=True):
    """A lease that the town keeps alive while the block lasts. See `Coord.session`."""

    lease: int
    ttl_s: int


class Hold(msgspec.Struct, frozen=True):
    """`name` is held since revision `token`, which is above that of every earlier hold of it."""

    name: str
    key: bytes
    token: int
    lease: int


class Leadership(msgspec.Struct, frozen=True):
    """Who leads the election `name`, and what it told of itself."""

    name: str
    key: bytes
    token: int
    lease: int
    value: bytes


class Instance(msgspec.Struct, frozen=True):
    """One of those who offer a service. `value` is what it told of itself: an address, say."""

    service: str
    name: str
    value: bytes
    lease: int
    since: int  # revision


class Member(msgspec.Struct, frozen=True):
    """One node of the group that holds the store."""

    id: int
    name: str
    peer_address: str
    client_address: str
    is_learner: bool = False


class Standing(msgspec.Struct, frozen=True):
    """How the group stands, as one of its nodes sees it."""

    cluster: int
    member: int
    leader: int  # 0: none known
    term: int
    committed: int
    applied: int
    revision: int
    space_bytes: int
    members: Sequence[Member]


# --- verbs ----------------------------------------------------------------------------------------


class KeyStore(Protocol):
    """Keys and leases: the first half of Coord."""

    async def range(self, range_: Range) -> Found:
        """Linearizable: it sees every change that was answered before it was asked, by whatever
        node. `serializable` asks this node alone, which may lag.

        Raises:
            AskInvalid, AskTooLarge, RevisionCompacted, RevisionAhead.
        """
        ...

    async def get(self, key: bytes) -> Item | None:
        """`range` of one key. Raises as it."""
        ...

    async def put(self, key: bytes, value: bytes, *, lease: int = NO_LEASE) -> int:
        """The revision of the change, which is durable at a majority.

        Raises:
            AskInvalid, AskTooLarge, LeaseMissing, SpaceOver, TooMany.
        """
        ...

    async def delete(self, key: bytes) -> bool:
        """Whether it was there."""
        ...

    async def txn(self, txn: Txn) -> TxnDone:
        """Compare, then one of two branches, as one change. It is made once: it is asked again by
        itself only where nothing was done.

        Raises:
            AskInvalid: also if one key is changed twice. Else as `put`.
        """
        ...

    def watch(self, watch: Watch) -> AbstractAsyncContextManager[AsyncIterator[Events]]:
        """Every change of the keys from a revision on: each once, in order, a revision's changes
        together. It goes on by itself over lost connections and changes of leader.

        Raises:
            RevisionCompacted: also later, if the reader falls behind a compaction.
            AskInvalid, TooMany.
        """
        ...

    async def compact(self, revision: int) -> None:
        """What was before `revision` can't be read any more; what stands now can.

        Raises:
            RevisionCompacted, RevisionAhead.
        """
        ...

    async def grant(self, ttl_s: int, *, id_: int = 0) -> Lease:
        """`id_` 0: one is chosen. It ends `ttl_s` after it was last kept alive, or a bit later.

        Raises:
            AskInvalid, LeaseExists, TooMany.
        """
        ...

    async def keep_alive(self, lease: int) -> Lease:
        """
        Raises:
            LeaseMissing.
        """
        ...

    async def revoke(self, lease: int) -> None:
        """It ends, and its keys go, as one change.

        Raises:
            LeaseMissing.
        """
        ...

    async def lease(self, lease: int) -> Lease:
        """With its keys.

        Raises:
            LeaseMissing.
        """
        ...

    def session(self, *, ttl_s: int = 10) -> AbstractAsyncContextManager[Session]:
        """A lease that is kept alive three times within `ttl_s`, and revoked at the end.

        Raises:
            HoldLost: inside the block, in place of the task's next wait, once the lease can no
                longer be told to live: `ttl_s` after it was last known to, by this node's clock.
        """
        ...


class Coord(KeyStore, Protocol):
    """Keys, names of locks, elections and services are the client's own: other clients of the town
    have others. Every verb may raise CoordAway, within `timeout_s` of the settings; who waits for a
    lock or to lead keeps his place while the store is away.
    """

    async def acquire(
        self, name: str, *, lease: int, wait_s: float | None = None, again: bool = False
    ) -> Hold:
        """The lock `name`, held while `lease` lives or until `release`. Waiters get it in the order
        in which they came, and one release wakes one of them. `wait_s` None waits for ever, 0 not
        at all. `again`: if this lease holds it, that hold is given again (release it as often).

        Raises:
            LockHeld: after `wait_s`, or this lease holds it itself and `again` is not set.
            LeaseMissing, AskInvalid, TooMany.
        """
        ...

    async def release(self, hold: Hold) -> None:
        """The next waiter gets it. No error if it is lost by now."""
        ...

    async def check(self, hold: Hold | Leadership) -> None:
        """For who wants to know early; the resource's own check of the token is what protects.

        Raises:
            HoldLost.
        """
        ...

    async def campaign(
        self, name: str, value: bytes, *, lease: int, wait_s: float | None = None
    ) -> Leadership:
        """Waits until this lease leads the election `name`. Raises as `acquire`."""
        ...

    async def proclaim(self, leadership: Leadership, value: bytes) -> Leadership:
        """Another value, without an election.

        Raises:
            HoldLost.
        """
        ...

    async def resign(self, leadership: Leadership) -> None:
        """The next one leads. No error if it is lost by now."""
        ...

    async def leader(self, name: str) -> Leadership | None:
        """Who leads now; None: nobody does."""
        ...

    def observe(self, name: str) -> AbstractAsyncContextManager[AsyncIterator[Leadership]]:
        """Who leads now, then each new leader or new value; a fast change may be skipped."""
        ...

    async def register(self, service: str, instance: str, value: bytes, *, lease: int) -> Instance:
        """It is listed while `lease` lives; one of the same name is replaced.

        Raises:
            LeaseMissing, AskInvalid, TooMany.
        """
        ...

    async def unregister(self, instance: Instance) -> None:
        """It is listed no more. No error if it is gone; one that has replaced it stays."""
        ...

    async def instances(self, service: str) -> Sequence[Instance]:
        """By name."""
        ...

    async def standing(self) -> Standing:
        """As the node sees it that is asked, which may lag."""
        ...

    async def health(self) -> None:
        """Returns if the group has a leader that answers.

        Raises:
            CoordAway.
        """
        ...
