"""Queues: nothing that was taken in is lost, nothing comes out that was not put in, in order.

Elements are unique, so each can be followed without trying orders:

    put 1 ok        take -> 1             well
    put 2 ok                              lost, if the queue was drained
    put 3 unknown   take -> 3             well: it happened
    put 4 failed    take -> 4             phantom
                    take -> 5             phantom
    put 6 ok        take -> 6, take -> 6  twice: wrong for exactly once only

Operations are `put` element and `take` -> element, None if there was none; `key` is what order is
kept in. A take of unknown outcome may have taken one: where each comes once it excuses one that is
missing. Where each comes until it is acknowledged, it excuses none.

Costs: sorting.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from bastide.parts.histories.contract import Finding, Operation

_SHOWN_MAX = 5


def check_at_least_once(history: Sequence[Operation]) -> Sequence[Finding]:
    """No loss and no phantom. The history ends when the queue was drained. Raises ValueError if an
    element is put twice.
    """
    queue = _Queue(history)
    return [*queue.lost(excused=0), *queue.phantoms()]


def check_exactly_once(history: Sequence[Operation]) -> Sequence[Finding]:
    """And none comes twice."""
    queue = _Queue(history)
    unknown = sum(o.kind == "take" and o.outcome == "unknown" for o in history)
    return [*queue.lost(excused=unknown), *queue.phantoms(), *queue.twice()]


def check_order(history: Sequence[Operation]) -> Sequence[Finding]:
    """Of one key: what was put when another had been is not out and back before that one is first
    asked for.
    """
    return [*_Queue(history).overtaken()]


class _Queue:
    def __init__(self, history: Sequence[Operation]) -> None:
        self._puts: dict[object, Operation] = {}
        self._takes: defaultdict[object, list[Operation]] = defaultdict(list)
        for operation in history:
            if operation.kind == "put":
                if operation.argument in self._puts:
                    raise ValueError(f"{operation.argument!r} is put twice")
                self._puts[operation.argument] = operation
            elif operation.outcome == "ok" and operation.result is not None:
                self._takes[operation.result].append(operation)

    def lost(self, *, excused: int) -> Iterator[Finding]:
        missing = [
            put
            for element, put in self._puts.items()
            if put.outcome == "ok" and element not in self._takes
        ]
        if len(missing) > excused:
            shown = ", ".join(repr(put.argument) for put in missing[:_SHOWN_MAX])
            told = f"{len(missing)} never came, {excused} of them excused: {shown}"
            yield Finding("lost", told, tuple(put.number for put in missing))

    def phantoms(self) -> Iterator[Finding]:
        for element, takes in self._takes.items():
            put, numbers = self._puts.get(element), tuple(take.number for take in takes)
            if put is None:
                yield Finding("phantom", f"{element!r} was never put", numbers)
            elif put.outcome == "failed":
                yield Finding("phantom", f"{element!r} had failed", (put.number, *numbers))
            elif min(_returned(take) for take in takes) < put.invoked:
                yield Finding("phantom", f"{element!r} came before its put", (put.number, *numbers))

    def twice(self) -> Iterator[Finding]:
        for element, takes in self._takes.items():
            if len(takes) > 1:
                told = f"{element!r} came {len(takes)} times"
                yield Finding("twice", told, tuple(take.number for take in takes))

    def overtaken(self) -> Iterator[Finding]:
        """Going through the first takes of a key backwards in time: the earliest put of those that
        were asked for only when this one was back.
        """
        for puts in self._by_key().values():
            taken = [(put, self._takes[put.argument][0]) for put in puts]
            behind = sorted(taken, key=lambda pair: pair[1].invoked)
            earliest: tuple[Operation, Operation] | None = None
            for put, take in sorted(taken, key=lambda pair: -_returned(pair[1])):
                while behind and behind[-1][1].invoked > _returned(take):
                    pair = behind.pop()
                    if earliest is None or _returned(pair[0]) < _returned(earliest[0]):
                        earliest = pair
                if earliest is not None and _returned(earliest[0]) < put.invoked:
                    first, numbers = earliest[0], (earliest[0].number, put.number, take.number)
                    told = f"{put.argument!r} came before {first.argument!r}, put before it"
                    yield Finding("overtaken", told, numbers)

    def _by_key(self) -> Mapping[str, Sequence[Operation]]:
        """What was surely put and came, by key."""
        found: defaultdict[str, list[Operation]] = defaultdict(list)
        for element, put in self._puts.items():
            if put.outcome == "ok" and element in self._takes:
                found[put.key].append(put)
        return found


def _returned(operation: Operation) -> float:
    assert operation.returned is not None, "what is ok has returned"
    return operation.returned
