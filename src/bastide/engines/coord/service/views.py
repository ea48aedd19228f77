"""A client's keys: what it asks for is put below its prefix, and what it is told is taken out."""

from collections.abc import AsyncIterator, Sequence

from msgspec.structs import replace

from bastide.engines.coord.contract import (
    Compare,
    Delete,
    Deleted,
    Event,
    Events,
    Found,
    Item,
    Lease,
    Op,
    Put,
    PutDone,
    Range,
    Result,
    Txn,
    TxnDone,
    Watch,
)
from bastide.engines.coord.core.spans import FROM_HERE_ON, prefix_end


class View:
    """Pure: requests inward, answers outward."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix

    # --- inward ---------------------------------------------------------------------------------

    def range(self, ask: Range) -> Range:
        return replace(ask, first=self._prefix + ask.first, end=self._end(ask.end))

    def watch(self, ask: Watch) -> Watch:
        return replace(ask, first=self._prefix + ask.first, end=self._end(ask.end))

    def delete(self, ask: Delete) -> Delete:
        return replace(ask, first=self._prefix + ask.first, end=self._end(ask.end))

    def put(self, ask: Put) -> Put:
        return replace(ask, key=self._prefix + ask.key)

    def txn(self, ask: Txn) -> Txn:
        return Txn(
            [self._compare(compare) for compare in ask.compares],
            [self._op(op) for op in ask.then],
            [self._op(op) for op in ask.otherwise],
        )

    def _compare(self, ask: Compare) -> Compare:
        return replace(ask, first=self._prefix + ask.first, end=self._end(ask.end))

    def _op(self, op: Op) -> Op:
        match op:
            case Range():
                return self.range(op)
            case Put():
                return self.put(op)
            case Delete():
                return self.delete(op)
            case Txn():
                return self.txn(op)

    def _end(self, end: bytes) -> bytes:
        if not end:
            return b""
        return prefix_end(self._prefix) if end == FROM_HERE_ON else self._prefix + end

    # --- outward --------------------------------------------------------------------------------

    def found(self, found: Found) -> Found:
        return replace(found, items=self._items(found.items))

    def done(self, done: TxnDone) -> TxnDone:
        return replace(done, results=[self._result(result) for result in done.results])

    def _result(self, result: Result) -> Result:
        match result:
            case Found():
                return self.found(result)
            case PutDone():
                return replace(result, previous=self._previous(result.previous))
            case Deleted():
                return replace(result, previous=self._items(result.previous))
            case TxnDone():
                return self.done(result)

    def _items(self, items: Sequence[Item]) -> Sequence[Item]:
        return [self._item(item) for item in items]

    def _item(self, item: Item) -> Item:
        return replace(item, key=item.key[len(self._prefix) :])

    def _previous(self, item: Item | None) -> Item | None:
        return None if item is None else self._item(item)

    def events(self, events: Events) -> Events:
        told = [Event(self._item(e.item), self._previous(e.previous)) for e in events.events]
        return Events(told, events.revision)

    def lease(self, lease: Lease) -> Lease:
        """With the client's own keys: a lease may carry locks too, and others' keys."""
        own = [key for key in lease.keys if key.startswith(self._prefix)]
        return replace(lease, keys=[key[len(self._prefix) :] for key in own])


class ViewedEvents:
    """A watch's iterator, seen by the client."""

    def __init__(self, view: View, events: AsyncIterator[Events]) -> None:
        self._view = view
        self._events = events

    def __aiter__(self) -> "ViewedEvents":
        return self

    async def __anext__(self) -> Events:
        return self._view.events(await anext(self._events))
