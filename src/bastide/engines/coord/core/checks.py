"""What is refused whatever the store holds: each backend asks this before it does anything."""

from collections.abc import Sequence

from bastide.engines.coord.contract import (
    ASK_BYTES_MAX,
    KEY_BYTES_MAX,
    OPS_MAX,
    TTL_S_MAX,
    TTL_S_MIN,
    VALUE_BYTES_MAX,
    AskInvalid,
    AskTooLarge,
    Compare,
    Delete,
    Op,
    Put,
    Range,
    Txn,
    Watch,
)
from bastide.engines.coord.core.spans import is_within

LEASE_ID_MAX = (1 << 63) - 1


def check_key(key: bytes) -> None:
    """
    Raises:
        AskInvalid, AskTooLarge.
    """
    if not key:
        raise AskInvalid("an empty key")
    if len(key) > KEY_BYTES_MAX:
        raise AskTooLarge(f"a key of {len(key)} bytes; at most {KEY_BYTES_MAX} are taken")


def check_range(ask: Range | Delete | Compare | Watch) -> None:
    """Raises as check_key."""
    check_key(ask.first)
    if ask.end:
        check_key(ask.end)
    if isinstance(ask, Range) and ask.limit < 0:
        raise AskInvalid(f"a limit of {ask.limit}")


def check_put(put: Put) -> None:
    """Raises as check_key."""
    check_key(put.key)
    if len(put.value) > VALUE_BYTES_MAX:
        given = f"a value of {len(put.value)} bytes"
        raise AskTooLarge(f"{given}; at most {VALUE_BYTES_MAX} are taken")
    if put.keep_value and put.value:
        raise AskInvalid("a value is given, and the one that is there is to be kept")
    if put.keep_lease and put.lease:
        raise AskInvalid("a lease is given, and the one that is there is to be kept")


def check_grant(ttl_s: int, id_: int) -> None:
    """
    Raises:
        AskInvalid
    """
    if not TTL_S_MIN <= ttl_s <= TTL_S_MAX:
        raise AskInvalid(f"a lease of {ttl_s} s; {TTL_S_MIN} to {TTL_S_MAX} are taken")
    if not 0 <= id_ <= LEASE_ID_MAX:
        raise AskInvalid(f"a lease with the id {id_}; 0 to {LEASE_ID_MAX} are taken")


def check_txn(txn: Txn) -> None:
    """Its parts one by one, their number and size, and that whatever branches are taken no key is
    changed twice.

    Raises:
        AskInvalid, AskTooLarge.
    """
    for name, part in (("compares", txn.compares), ("then", txn.then), ("else", txn.otherwise)):
        if len(part) > OPS_MAX:
            raise AskTooLarge(f"{len(part)} {name} in a transaction; at most {OPS_MAX} are taken")
    if (count := _count_within(txn)) > OPS_MAX:
        raise AskTooLarge(f"transactions within one have {count} parts; {OPS_MAX} are taken")
    if (size := _check_parts(txn)) > ASK_BYTES_MAX:
        raise AskTooLarge(f"a transaction of {size} bytes; at most {ASK_BYTES_MAX} are taken")
    _changed([txn])


def _count_within(txn: Txn) -> int:
    """Of the branches of transactions in its branches, at any depth."""
    inner = [op for op in (*txn.then, *txn.otherwise) if isinstance(op, Txn)]
    own = sum(len(one.compares) + len(one.then) + len(one.otherwise) for one in inner)
    return own + sum(map(_count_within, inner)) if own <= OPS_MAX else own


def _check_parts(txn: Txn) -> int:
    """The bytes of all keys and values."""
    size = sum(_check_part(op) for op in (*txn.then, *txn.otherwise))
    for compare in txn.compares:
        check_range(compare)
        is_bytes = isinstance(compare.operand, bytes)
        if is_bytes != (compare.by == "value"):
            raise AskInvalid(f"{compare.by} is compared with {type(compare.operand).__name__}")
        size += len(compare.first) + len(compare.end)
        size += len(compare.operand) if isinstance(compare.operand, bytes) else 0
    return size


def _check_part(op: Op) -> int:
    match op:
        case Put():
            check_put(op)
            return len(op.key) + len(op.value)
        case Txn():
            return _check_parts(op)
        case _:
            check_range(op)
            return len(op.first) + len(op.end)


class _Changed:
    """Keys that are put, and ranges that are deleted, on ways through a transaction that can be
    gone together. Deleting twice is no harm: the second time nothing is there.
    """

    def __init__(self, puts: Sequence[bytes] = (), deletes: Sequence[Delete] = ()) -> None:
        self._puts = set(puts)
        self._deletes = list(deletes)

    def add(self, *others: "_Changed") -> None:
        """`others` are not gone together with one another.

        Raises:
            AskInvalid
        """
        for other in others:
            self._refuse_both(other)
        for other in others:
            self._puts |= other._puts
            self._deletes += other._deletes

    def _refuse_both(self, other: "_Changed") -> None:
        twice = self._puts & other._puts
        twice |= {key for key in self._puts if _is_deleted(key, other._deletes)}
        twice |= {key for key in other._puts if _is_deleted(key, self._deletes)}
        if twice:
            raise AskInvalid(f"key {min(twice)[:100]!r} is changed twice in one transaction")


def _changed(ops: Sequence[Op]) -> _Changed:
    changed = _Changed()
    for op in ops:
        match op:
            case Put():
                changed.add(_Changed(puts=[op.key]))
            case Delete():
                changed.add(_Changed(deletes=[op]))
            case Txn():
                changed.add(_changed(op.then), _changed(op.otherwise))
    return changed


def _is_deleted(key: bytes, deletes: Sequence[Delete]) -> bool:
    return any(is_within(key, delete.first, delete.end) for delete in deletes)
