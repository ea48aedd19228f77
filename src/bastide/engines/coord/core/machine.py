"""The state that all nodes have: keys, leases, alarms. One command after the other changes it.

    entry --decode--> command --apply--> outcome
                                 |
                      checked against what stands now, all of it, before any of it is done

`apply` knows no clock, no chance and no node: the same commands give the same state and the same
outcomes everywhere. What does not depend on the state (sizes, a key changed twice: core/checks.py)
was refused before a command was proposed; what does depend on it is refused here, by a value.

A transaction is taken apart in three steps, as in etcd (etcdserver/apply.go): all compares, also
those of transactions within it, look at what was there before it; then what the branches so chosen
ask for is checked; then it is done, and its reads see its own writes.

The host's part: after each batch of entries it lets watches read on, then calls `sweep`. A layer
that answers a command which comes twice once (parts/raft/sessions) stands around `apply`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import msgspec

from bastide.base.errors import Refusal
from bastide.engines.coord.contract import (
    NO_LEASE,
    SPACE_BYTES_MAX,
    Compare,
    Delete,
    Deleted,
    Item,
    KeyMissing,
    Put,
    PutDone,
    Range,
    Result,
    SpaceOver,
    Txn,
    TxnDone,
)
from bastide.engines.coord.core.commands import (
    RETRY_AFTER_S,
    Announce,
    Command,
    Compact,
    Disarm,
    Done,
    Forget,
    Grant,
    Identify,
    Outcome,
    Raise,
    Revoke,
    SetSpace,
    refused,
)
from bastide.engines.coord.core.leases import Leases
from bastide.engines.coord.core.store import Store, put_cost

SPACE_ALARM = (0, "space")
"""Raised by a put that is refused for space. Of member 0: all members hold the same."""
SWEEP_CHANGES = 1_000
"""What the host sweeps at a time: about a millisecond."""
NOTHING = Item(b"", b"", 0, 0, 0)


class Machine:
    def __init__(self) -> None:
        self.store = Store()
        self.leases = Leases()
        self.alarms: set[tuple[int, str]] = set()
        self.space_bytes_max = SPACE_BYTES_MAX
        self.cluster = 0
        self.members: dict[int, Announce] = {}
        verbs: dict[type[Command], Callable[[Any], Outcome]] = {
            Put: self._put,
            Delete: self._delete,
            Txn: self._txn,
            Compact: self._compact,
            Grant: self._grant,
            Revoke: self._revoke,
            SetSpace: self._set_space,
            Raise: self._raise,
            Disarm: self._disarm,
            Identify: self._identify,
            Announce: self._announce,
            Forget: self._forget,
        }
        self._verbs = verbs

    def apply(self, command: Command) -> Outcome:
        """What comes of it; nothing is changed by what is refused."""
        try:
            return self._verbs[type(command)](command)
        except Refusal as error:
            return refused(error)

    def sweep(self) -> bool:
        """Forgets some of what was compacted; whether some is left. See Store.sweep."""
        return self.store.sweep(SWEEP_CHANGES)

    # --- keys -----------------------------------------------------------------------------------

    def _put(self, put: Put) -> PutDone:
        if put.lease or put.keep_value or put.keep_lease:
            self._check_kept([put])
        self._check_space(put_cost(put.key, put.value))
        previous = self._write(put)
        return PutDone(self.store.commit(), previous if put.previous else None)

    def _check_kept(self, puts: Sequence[Put]) -> None:
        """What `puts` say of what is there.

        Raises:
            KeyMissing, LeaseMissing, TooMany.
        """
        more: dict[int, int] = {}
        for put in puts:
            if (put.keep_value or put.keep_lease) and self.store.get(put.key) is None:
                raise KeyMissing(f"key {put.key[:100]!r} is not there: there is nothing to keep")
            if put.lease != NO_LEASE:
                self.leases.ttl_s(put.lease)
                more[put.lease] = more.get(put.lease, 0) + self._is_new_to(put)
        for lease, count in more.items():
            self.leases.check_room(lease, count)

    def _is_new_to(self, put: Put) -> bool:
        """Whether its lease has one key more by it."""
        before = self.store.get(put.key)
        return before is None or before.lease != put.lease

    def _check_space(self, more_bytes: int) -> None:
        if self.store.space_bytes + more_bytes > self.space_bytes_max:
            self.alarms.add(SPACE_ALARM)
            raise SpaceOver(
                f"{self.store.space_bytes} of {self.space_bytes_max} bytes are taken: "
                "compact, or delete and compact",
                retry_after_s=RETRY_AFTER_S,
            )

    def _write(self, put: Put) -> Item | None:
        """What was there before."""
        value, lease = put.value, put.lease
        if put.keep_value or put.keep_lease:
            before = self.store.get(put.key)
            assert before is not None
            value = before.value if put.keep_value else value
            lease = before.lease if put.keep_lease else lease
        previous = self.store.put(put.key, value, lease)
        old = previous.lease if previous is not None else NO_LEASE
        if old != lease:
            self.leases.move(put.key, old=old, new=lease)
        return previous

    def _delete(self, delete: Delete) -> Deleted:
        gone = self._erase(delete)
        return Deleted(len(gone), self.store.commit(), gone if delete.previous else ())

    def _erase(self, delete: Delete) -> list[Item]:
        return [self._erase_key(key) for key in self.store.keys_in(delete.first, delete.end)]

    def _erase_key(self, key: bytes) -> Item:
        before = self.store.delete(key)
        self.leases.move(key, old=before.lease, new=NO_LEASE)
        return before

    # --- transactions ---------------------------------------------------------------------------

    def _txn(self, txn: Txn) -> TxnDone:
        way = self._choose(txn)
        puts = list(way.puts())
        self._check_kept(puts)
        for ask in way.ranges():
            self.store.check(ask)
        if puts:
            self._check_space(sum(put_cost(put.key, put.value) for put in puts))
        done = self._go(way)
        self.store.commit()
        return done

    def read(self, txn: Txn) -> TxnDone:
        """Of a transaction that `is_read_only`; it need not be agreed on.

        Raises:
            RevisionAhead, RevisionCompacted, AskTooLarge.
        """
        way = self._choose(txn)
        for ask in way.ranges():
            self.store.check(ask)
        return self._go(way)

    def _choose(self, txn: Txn) -> "_Way":
        succeeded = all(map(self._holds, txn.compares))
        chosen = txn.then if succeeded else txn.otherwise
        return _Way(succeeded, [self._choose(op) if isinstance(op, Txn) else op for op in chosen])

    def _holds(self, compare: Compare) -> bool:
        if compare.end:
            keys = self.store.keys_in(compare.first, compare.end)
            items = [cast(Item, self.store.get(key)) for key in keys]
        else:
            item = self.store.get(compare.first)
            items = [] if item is None else [item]
        if not items:
            return compare.by != "value" and _meets(compare, NOTHING)
        return all(_meets(compare, item) for item in items)

    def _go(self, way: "_Way") -> TxnDone:
        results = [self._do(op) for op in way.ops]
        return TxnDone(way.succeeded, results, self.store.next_revision)

    def _do(self, op: "Range | Put | Delete | _Way") -> Result:
        match op:
            case Range():
                return self.store.range(op)
            case Put():
                previous = self._write(op)
                return PutDone(self.store.next_revision, previous if op.previous else None)
            case Delete():
                gone = self._erase(op)
                told = gone if op.previous else ()
                return Deleted(len(gone), self.store.next_revision, told)
            case _:
                return self._go(op)

    # --- all else -------------------------------------------------------------------------------

    def _compact(self, compact: Compact) -> Done:
        self.store.compact(compact.revision)
        return Done(self.store.revision)

    def _grant(self, grant: Grant) -> Done:
        self.leases.grant(grant.id, grant.ttl_s)
        return Done(self.store.revision)

    def _revoke(self, revoke: Revoke) -> Done:
        for key in self.leases.keys(revoke.id):
            self._erase_key(key)
        self.leases.remove(revoke.id)
        return Done(self.store.commit())

    def _set_space(self, space: SetSpace) -> Done:
        self.space_bytes_max = space.bytes_max
        return Done(self.store.revision)

    def _raise(self, alarm: Raise) -> Done:
        self.alarms.add((alarm.member, alarm.kind))
        return Done(self.store.revision)

    def _disarm(self, alarm: Disarm) -> Done:
        self.alarms.discard((alarm.member, alarm.kind))
        return Done(self.store.revision)

    def _identify(self, identity: Identify) -> Done:
        self.cluster = self.cluster or identity.cluster
        return Done(self.store.revision)

    def _announce(self, told: Announce) -> Done:
        known = self.members.get(told.member, Announce(told.member))
        self.members[told.member] = Announce(
            told.member,
            told.name or known.name,
            told.peer_address or known.peer_address,
            told.client_address or known.client_address,
        )
        return Done(self.store.revision)

    def _forget(self, gone: Forget) -> Done:
        self.members.pop(gone.member, None)
        return Done(self.store.revision)


class _Way(msgspec.Struct):
    """A transaction whose branches are chosen."""

    succeeded: bool
    ops: "list[Range | Put | Delete | _Way]"

    def puts(self) -> Iterator[Put]:
        for op in self.ops:
            if isinstance(op, Put):
                yield op
            elif isinstance(op, _Way):
                yield from op.puts()

    def ranges(self) -> Iterator[Range]:
        for op in self.ops:
            if isinstance(op, Range):
                yield op
            elif isinstance(op, _Way):
                yield from op.ranges()


def _meets(compare: Compare, item: Item) -> bool:
    found = getattr(item, compare.by)
    operand: Any = compare.operand
    match compare.relation:
        case "equal":
            return bool(found == operand)
        case "unequal":
            return bool(found != operand)
        case "greater":
            return bool(found > operand)
        case _:
            return bool(found < operand)


def is_read_only(txn: Txn) -> bool:
    """Whether no branch of it changes anything."""
    ops = (*txn.then, *txn.otherwise)
    return all(isinstance(op, Range) or (isinstance(op, Txn) and is_read_only(op)) for op in ops)
