"""What whoever runs the town sees of the store, and does to it: for our own doors and pages.

Keys are whole here, of all clients; those that begin with a zero byte are accounts, and are neither
shown nor changed. Locks, elections and services are what their keys say:

    /bastide/<client>/locks/<name>/<lease>        of a system of the town; elections too
    /bastide/<client>/services/<name>/<instance>
    <name>/<lease>                                of an etcd client, whose key is under that lease

A stranger's queue is an election if who is first tells something of himself, else a lock: etcd's
keys differ in nothing else.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from typing import Literal

import msgspec

from bastide.base.errors import Denied, Limited, NotFound, Unavailable
from bastide.base.work import Breath
from bastide.engines.coord.contract import (
    NO_LEASE,
    WAITERS_MAX,
    AskInvalid,
    Compare,
    Delete,
    Deleted,
    Events,
    Found,
    Item,
    Lease,
    LeaseMissing,
    Member,
    Put,
    Range,
    RevisionCompacted,
    Standing,
    Txn,
    Watch,
)
from bastide.engines.coord.core.machine import Machine
from bastide.engines.coord.core.spans import FROM_HERE_ON, prefix_end
from bastide.engines.coord.service.front import SPACE
from bastide.engines.coord.service.names import check_lease, name_of
from bastide.engines.coord.service.node import GroupNode
from bastide.parts.raft.contract import Status

RESERVED = b"\0"
FIRST_KEY = b"\x01"
PAGE_BYTES = 1 << 20
"""Of values, after which a page of keys ends."""
WAIT_S_MAX = 20.0
"""Of one request that waits."""
RETRY_AFTER_S = 1.0
UNKNOWN_S = -1.0

Kind = Literal["lock", "election", "service"]
Role = Literal["leader", "follower", "candidate", "learner", "stopped", "unknown"]
_KINDS: Mapping[bytes, Kind] = {b"locks": "lock", b"elections": "election", b"services": "service"}


class KeyAbsent(NotFound):
    """There is no such key, or was none at that revision."""


class KeyReserved(Denied):
    """Keys that begin with a zero byte are accounts."""


class KeysSeen(msgspec.Struct, frozen=True):
    """`after` None: these were the last. `count`: of all that begin so."""

    items: Sequence[Item]
    after: bytes | None
    count: int
    revision: int


class HistorySeen(msgspec.Struct, frozen=True):
    """Changes of one key, the newest first; a delete has version 0. `before` None: no older one is
    kept. What was changed before `compacted` is forgotten, but for what stood then.
    """

    changes: Sequence[Item]
    before: int | None
    compacted: int


class QueueSeen(msgspec.Struct, frozen=True):
    """A lock, an election or a service. `prefix` is that of its keys, `first` the oldest of them:
    who holds or leads.
    """

    kind: Kind
    client: str  # "": none of the town
    name: str
    prefix: bytes
    first: Item
    count: int


class PlaceSeen(msgspec.Struct, frozen=True):
    """`lease` None: it has none, or has just ended."""

    item: Item
    lease: Lease | None


class Turn(msgspec.Struct, frozen=True):
    """A place in a queue. `token` is the hold's, if `is_first`."""

    key: bytes
    token: int
    is_first: bool


class NodeSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A node of the group, as far as the one that is asked knows it. None: it can't know.

    `kept`: up to where its log is known to be the leader's.
    """

    member: Member
    role: Role
    is_me: bool
    term: int | None = None
    kept: int | None = None
    committed: int | None = None
    applied: int | None = None


class GroupSeen(msgspec.Struct, frozen=True):
    standing: Standing
    nodes: Sequence[NodeSeen]


class Operator:
    def __init__(self, node: GroupNode) -> None:
        self._node = node

    @property
    def _machine(self) -> Machine:
        """Read as it is here; it may lag behind the leader's."""
        return self._node.machine

    # --- keys -----------------------------------------------------------------------------------

    async def keys(
        self, prefix: bytes, *, after: bytes = b"", revision: int = 0, limit: int
    ) -> KeysSeen:
        """In order, behind `after`; fewer if their values are large.

        Raises:
            KeyReserved, RevisionAhead, RevisionCompacted.
        """
        first, end = span_of(prefix)
        if after:
            check_open(after)
        start = max(first, after + b"\0") if after else first
        ask = Range(start, end, limit=limit + 1, revision=revision)
        found = await self._node.range(ask)
        total = Range(first, end, count_only=True, revision=revision)
        count = (await self._node.range(total)).count if after and not revision else found.count
        size, items = 0, []
        for item in found.items[:limit]:
            items.append(item)
            size += len(item.value)
            if size >= PAGE_BYTES:
                break
        more = len(items) < len(found.items)
        return KeysSeen(items, items[-1].key if more else None, count, found.revision)

    async def read(self, key: bytes, *, revision: int = 0) -> Item:
        """
        Raises:
            KeyAbsent, KeyReserved, RevisionAhead, RevisionCompacted.
        """
        check_open(key)
        found = await self._node.range(Range(key, revision=revision))
        if not found.items:
            raise KeyAbsent(f"there is no key {_shown(key)}" + _at(revision))
        return found.items[0]

    async def history(self, key: bytes, *, before: int = 0, limit: int) -> HistorySeen:
        """Changes that are kept, older than revision `before`.

        Raises:
            KeyReserved, KeyAbsent: nothing is kept of it.
        """
        check_open(key)
        await self._node.range(Range(key, keys_only=True))
        store = self._machine.store
        stood = store.at(key, store.compacted) if store.compacted else None
        changes = store.changes_of(key, store.compacted)
        if stood is not None and stood not in changes:
            changes = [stood, *changes]
        if not changes:
            raise KeyAbsent(f"there is no key {_shown(key)}, and nothing is kept of one")
        told = [item for item in reversed(changes) if not before or item.changed < before]
        more = len(told) > limit
        return HistorySeen(told[:limit], told[limit - 1].changed if more else None, store.compacted)

    async def put(self, key: bytes, value: bytes, *, lease: int = NO_LEASE) -> int:
        check_open(key)
        return (await self._node.put(Put(key, value, lease=lease))).revision

    async def delete(self, key: bytes) -> Deleted:
        check_open(key)
        return await self._node.delete(Delete(key))

    async def delete_all(self, prefix: bytes) -> Deleted:
        """All that begin so; accounts stay."""
        first, end = span_of(prefix)
        return await self._node.delete(Delete(first, end))

    # --- changes --------------------------------------------------------------------------------

    async def next_revision(self) -> int:
        found = await self._node.range(Range(FIRST_KEY, count_only=True))
        return found.revision + 1

    async def changes(self, first: bytes, end: bytes, *, revision: int, wait_s: float) -> Events:
        """The next changes at `revision` or later, of whole revisions; none within `wait_s`: no
        events. Go on at the next revision after that which is told.

        Raises:
            RevisionCompacted
        """
        watch = Watch(first, end, from_revision=revision, previous=True)
        try:
            async with asyncio.timeout(wait_s), self._node.watch(watch) as told:
                async for events in told:
                    if events.events:
                        return events
        except TimeoutError:
            pass
        return Events((), revision - 1)

    async def watch(
        self, first: bytes, end: bytes, *, revision: int
    ) -> AsyncGenerator[Events, None]:
        """Endless."""
        watch = Watch(first, end, from_revision=revision, previous=True)
        async with self._node.watch(watch) as told:
            async for events in told:
                yield events

    # --- queues ---------------------------------------------------------------------------------

    async def queues(
        self, *kinds: Kind, after: bytes = b"", limit: int
    ) -> tuple[Sequence[QueueSeen], bool]:
        """Those of a kind by their keys, behind the prefix `after`; and whether there are more. All
        keys that have a lease are looked at, as they are here.
        """
        found: dict[bytes, Item] = {}
        breath = Breath()
        for lease in sorted(self._machine.leases):
            for key in self._keys_of(lease):
                prefix = queue_of(key, lease)
                if prefix > after and (item := self._machine.store.get(key)) is not None:
                    first = found.get(prefix)
                    if first is None or item.created < first.created:
                        found[prefix] = item
            await breath.taken()
        told = []
        for prefix in sorted(found):
            seen = _queue_seen(prefix, found[prefix], len(self._keys_below(prefix)))
            if seen.kind in kinds:
                told.append(seen)
            if len(told) > limit:
                return told[:limit], True
        return told, False

    def _keys_of(self, lease: int) -> Sequence[bytes]:
        try:
            return self._machine.leases.keys(lease)
        except LeaseMissing:  # it has ended while others had their turn
            return ()

    def _keys_below(self, prefix: bytes) -> Sequence[bytes]:
        return self._machine.store.keys_in(prefix, prefix_end(prefix))

    async def queue(
        self, prefix: bytes, *, after: int = 0, limit: int
    ) -> tuple[QueueSeen, Sequence[PlaceSeen], int | None]:
        """Who holds and who waits, in their order, behind the one that came in revision `after`;
        and where to go on.

        Raises:
            KeyAbsent: nobody is there.
        """
        check_open(prefix)
        ask = Range(prefix, prefix_end(prefix), sort_by="created", limit=1)
        first = await self._node.range(ask)
        if not first.items:
            raise KeyAbsent(f"nobody holds {_shown(prefix)}, and nobody waits for it")
        page = msgspec.structs.replace(ask, created_min=after + 1, limit=limit)
        found = await self._node.range(page)
        places = await asyncio.gather(*map(self._place, found.items))
        next_ = found.items[-1].created if found.more else None
        return _queue_seen(prefix, first.items[0], first.count), places, next_

    async def _place(self, item: Item) -> PlaceSeen:
        return PlaceSeen(item, await self.lease(item.lease) if item.lease else None)

    async def enter(self, name: bytes, lease: int, value: bytes, *, wait_s: float) -> Turn:
        """The place of `lease` in the queue `name`/, taken if it has none; as soon as it is the
        first, or after `wait_s`. Ask again to go on waiting: the place is kept.

        Raises:
            LeaseMissing, Limited: WAITERS_MAX wait already.
        """
        check_open(name)
        check_lease(lease)
        prefix = name + b"/"
        key = prefix + b"%x" % lease
        token = await self._placed(prefix, key, value, lease)
        before = await self._before(prefix, key, token)
        try:
            async with asyncio.timeout(wait_s):
                while before is not None:
                    await self._gone(before)
                    before = await self._before(prefix, key, token)
        except TimeoutError:
            pass
        return Turn(key, token, before is None)

    async def _placed(self, prefix: bytes, key: bytes, value: bytes, lease: int) -> int:
        """The revision in which the place was taken."""
        count = await self._node.range(Range(prefix, prefix_end(prefix), count_only=True))
        if count.count > WAITERS_MAX:
            raise Limited(f"{WAITERS_MAX} wait already", retry_after_s=RETRY_AFTER_S)
        new = Compare("created", "equal", 0, key)
        done = await self._node.txn(Txn([new], [Put(key, value, lease=lease)], [Range(key)]))
        if done.succeeded:
            return done.revision
        found = done.results[0]
        assert isinstance(found, Found)
        return found.items[0].created

    async def _before(self, prefix: bytes, key: bytes, token: int) -> tuple[bytes, int] | None:
        """Who came just before, and the revision at which he was there."""
        found = await self._node.range(
            Range(
                prefix,
                prefix_end(prefix),
                limit=2,
                sort_by="created",
                descending=True,
                keys_only=True,
                created_max=token,
            )
        )
        if not found.items or (found.items[0].key, found.items[0].created) != (key, token):
            raise LeaseMissing("the lease has ended, and its place is gone")
        return (found.items[1].key, found.revision) if len(found.items) > 1 else None

    async def _gone(self, before: tuple[bytes, int]) -> None:
        key, revision = before
        watch = Watch(key, from_revision=revision + 1, puts=False)
        try:
            async with self._node.watch(watch) as told:
                async for events in told:
                    if events.events:
                        return
        except RevisionCompacted:
            return  # it is looked again

    async def leave(self, name: bytes, lease: int) -> None:
        """No error if it is not there."""
        check_lease(lease)
        await self.delete(name + b"/%x" % lease)

    # --- leases ---------------------------------------------------------------------------------

    async def leases(self, *, after: int = 0, limit: int) -> tuple[Sequence[Lease], bool]:
        """By number, behind `after`, with their keys but accounts' and the time that each has left;
        UNKNOWN_S if that is not known now.
        """
        ids = [id_ for id_ in sorted(self._machine.leases) if id_ > after]
        found = await asyncio.gather(*map(self.lease, ids[:limit]))
        return [one for one in found if one is not None], len(ids) > limit

    async def lease(self, id_: int) -> Lease | None:
        """None: it has ended. `left_s` is UNKNOWN_S if no leader tells it."""
        try:
            if (await self._node.standing()).leader:
                with suppress(Unavailable):
                    return await self._node.lease(id_)
            return Lease(id_, self._machine.leases.ttl_s(id_), UNKNOWN_S, self._keys_of(id_))
        except LeaseMissing:
            return None

    # --- nodes ----------------------------------------------------------------------------------

    async def group(self) -> GroupSeen:
        """As this node sees it: of others it knows who leads, and, if it leads itself, how much of
        its log each has.
        """
        standing = await self._node.standing()
        return GroupSeen(standing, seen_by(standing, self._node.status()))


def seen_by(standing: Standing, status: Status) -> Sequence[NodeSeen]:
    return [_node_seen(member, standing, status) for member in standing.members]


def _node_seen(member: Member, standing: Standing, status: Status) -> NodeSeen:
    if member.id == standing.member:
        return NodeSeen(
            member=member,
            role="learner" if member.is_learner else _role(status.kind),
            is_me=True,
            term=standing.term,
            kept=status.last_index,
            committed=standing.committed,
            applied=standing.applied,
        )
    if member.id == standing.leader:
        return NodeSeen(member=member, role="leader", is_me=False, term=standing.term)
    follower = next((one for one in status.followers if one.node == member.id), None)
    if follower is None or not follower.is_active:
        kept = follower.match if follower is not None else None
        return NodeSeen(member=member, role="unknown", is_me=False, kept=kept)
    role: Role = "learner" if member.is_learner else "follower"
    return NodeSeen(member=member, role=role, is_me=False, term=standing.term, kept=follower.match)


def _role(kind: str) -> Role:
    return "leader" if kind == "leader" else "follower" if kind == "follower" else "candidate"


def span_of(prefix: bytes) -> tuple[bytes, bytes]:
    """The range of all keys that begin so, but accounts.

    Raises:
        KeyReserved
    """
    if not prefix:
        return FIRST_KEY, FROM_HERE_ON
    check_open(prefix)
    return prefix, prefix_end(prefix)


def check_open(key: bytes) -> None:
    """
    Raises:
        KeyReserved; AskInvalid: it is empty.
    """
    if not key:
        raise AskInvalid("a key has at least one byte")
    if key.startswith(RESERVED):
        raise KeyReserved("keys that begin with a zero byte are accounts: they are not shown here")


def queue_of(key: bytes, lease: int) -> bytes:
    """The prefix of the queue that `key` is a place in; b"" if it is in none."""
    prefix, slash, last = key.rpartition(b"/")
    if not slash or not prefix or key.startswith(RESERVED):
        return b""
    parts = prefix.split(b"/")
    if key.startswith(SPACE):
        return prefix + b"/" if len(parts) == 5 and parts[3] in _KINDS else b""
    return prefix + b"/" if last == b"%x" % lease else b""


def _queue_seen(prefix: bytes, first: Item, count: int) -> QueueSeen:
    parts = prefix[:-1].split(b"/")
    if prefix.startswith(SPACE) and len(parts) == 5 and parts[3] in _KINDS:
        client, name = parts[2].decode(errors="replace"), name_of(parts[4])
        return QueueSeen(_KINDS[parts[3]], client, name, prefix, first, count)
    kind: Kind = "election" if first.value else "lock"
    return QueueSeen(kind, "", prefix[:-1].decode(errors="replace"), prefix, first, count)


def _shown(key: bytes) -> str:
    return repr(key[:100].decode(errors="backslashreplace"))


def _at(revision: int) -> str:
    return f" at revision {revision}" if revision else ""
