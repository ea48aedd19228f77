"""How long the oracles take over what clients of an etcd saw.

Clients put values of their own, read, delete and swap by revision, on KEYS keys. An operation works
at a moment of its own; its client asked some time before and was answered some time after, so that
at most as many overlap as there are clients. Of some the answer was lost: half of these worked.

    keys        each key by itself (core.models.Keys)
    store       all of them as one object (core.models.Store), no answer lost
    stale       `keys`, and one read in the middle answers with what was there before: refused
    lists       transactions of three, held against one another (core.appends.check_strict)
"""

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from pathlib import Path

from msgspec.structs import replace

from bastide.base.manifest import Bench
from bastide.base.rt import runtime
from bastide.parts.histories.contract import Answer, Operation
from bastide.parts.histories.core import appends, linearizability
from bastide.parts.histories.core.models import Keys, Model, Store

OPERATIONS = 10_000
KEYS = 20
CLIENTS = (8, 16)
LOST_PERCENTS = (0, 2)
LISTS = 5
LIST_STEPS = 3
LIST_TRANSACTIONS = 200
SEED = 1

_Entry = tuple[object, int, int, int]
_ABSENT: _Entry = (None, 0, 0, 0)


async def bench_orders(directory: Path, seconds: float) -> Mapping[str, float]:
    """Operations checked a second. Each figure is measured once, on one and the same history;
    `directory` and `seconds` are of no use here.
    """
    figures: dict[str, float] = {}
    for clients in CLIENTS:
        for lost in LOST_PERCENTS:
            history = _Etcd(clients, lost).history()
            figures[f"keys_{clients}_clients_{lost}_lost_per_s"] = _rate(history, Keys(), "ok")
        history = _Etcd(clients, 0).history()
        figures[f"store_{clients}_clients_per_s"] = _rate(history, Store(), "ok")
        stale = _with_a_stale_read(history)
        figures[f"stale_{clients}_clients_per_s"] = _rate(stale, Keys(), "violated")
    return figures


def _rate(history: Sequence[Operation], model: Model, answer: Answer) -> float:
    began_s = runtime.monotonic()
    found = linearizability.check(history, model).answer
    taken_s = runtime.monotonic() - began_s
    assert found == answer, f"{found}, and not {answer}"
    return len(history) / taken_s


class _Etcd:
    """A plain one, and clients who use it at once: each asks, waits up to a second until it works,
    up to another until it is answered, and asks again.
    """

    def __init__(self, clients: int, lost_percent: int) -> None:
        self._chance = runtime.Chance(SEED).random
        self._clients = clients
        self._lost_percent = lost_percent
        self._revision = 1
        self._entries: dict[str, _Entry] = {}

    def history(self) -> Sequence[Operation]:
        done: list[Operation] = []
        waiting = [self._asked(n, 0.0) for n in range(self._clients)]
        heapify(waiting)
        while len(done) < OPERATIONS:
            works, client, invoked = heappop(waiting)
            returned = works + self._chance.random()
            done.append(self._worked(len(done), client, invoked, returned))
            heappush(waiting, self._asked(client, returned + 1e-6))
        return done

    def _asked(self, client: int, invoked: float) -> tuple[float, int, float]:
        return (invoked + self._chance.random(), client, invoked)

    def _worked(self, number: int, client: int, invoked: float, returned: float) -> Operation:
        key, value = f"k{self._chance.randrange(KEYS)}", f"v{number}"
        kind = self._chance.choice(("put", "get", "get", "delete", "txn"))
        lost = self._chance.randrange(100) < self._lost_percent
        argument: object = value if kind == "put" else None
        if kind == "txn":
            modified = self._chance.choice((0, self._entries.get(key, _ABSENT)[2]))
            argument = ((("modified", key, "=", modified),), (("put", key, value),), ())
        worked = not lost or self._chance.random() < 0.5
        result = self._do(kind, key, value, argument) if worked else None
        return Operation(
            number=number,
            process=f"c{client}",
            kind=kind,
            key=key,
            argument=argument,
            invoked=invoked,
            returned=returned,
            outcome="unknown" if lost else "ok",
            result=None if lost else result,
        )

    def _do(self, kind: str, key: str, value: str, argument: object) -> object:
        entry = self._entries.get(key)
        match kind:
            case "get":
                return (self._revision, entry)
            case "put":
                return self._put(key, value)
            case "delete":
                self._revision += entry is not None
                self._entries.pop(key, None)
                return (self._revision, int(entry is not None))
        assert isinstance(argument, tuple)
        succeeded = argument[0][0][3] == (entry or _ABSENT)[2]
        if succeeded:
            self._put(key, value)
        return (self._revision, succeeded, (None,) if succeeded else ())

    def _put(self, key: str, value: str) -> int:
        self._revision += 1
        _, created, _, version = self._entries.get(key, _ABSENT)
        self._entries[key] = (value, created or self._revision, self._revision, version + 1)
        return self._revision


def _with_a_stale_read(history: Sequence[Operation]) -> Sequence[Operation]:
    """A read in the middle tells, under its revision, of a value that was there before."""
    told: dict[str, object] = {}
    for number, operation in enumerate(history):
        match operation:
            case Operation(kind="get", key=key, result=(revision, found)):
                if number > OPERATIONS // 2 and told.get(key) not in (None, found):
                    stale = replace(operation, result=(revision, told[key]))
                    return [*history[:number], stale, *history[number + 1 :]]
                told[key] = found
    raise AssertionError("no key is read twice")


async def bench_lists(directory: Path, seconds: float) -> Mapping[str, float]:
    """Transactions checked a second, measured once."""
    history = _lists()
    began_s = runtime.monotonic()
    found = appends.check_strict(history)
    taken_s = runtime.monotonic() - began_s
    assert not found
    return {"transactions_per_s": len(history) / taken_s}


def _lists() -> Sequence[Operation]:
    """Each works at a moment of its own, and overlaps the dozen before and behind it."""
    chance = runtime.Chance(SEED).random
    lists: dict[str, tuple[int, ...]] = {}
    history = []
    for number in range(OPERATIONS):
        asked: list[tuple[object, ...]] = []
        told: list[tuple[object, ...]] = []
        for step in range(LIST_STEPS):
            # A list is left for another at some length, as one would in a long test.
            key = f"k{number // LIST_TRANSACTIONS}-{chance.randrange(LISTS)}"
            found = lists.get(key, ())
            if chance.random() < 0.5:
                element = number * LIST_STEPS + step
                lists[key] = (*found, element)
                asked.append(("append", key, element))
                told.append(asked[-1])
            else:
                asked.append(("read", key))
                told.append(("read", key, found))
        history.append(
            Operation(
                number=number,
                process=f"c{number % CLIENTS[-1]}",
                kind="txn",
                argument=tuple(asked),
                invoked=number - chance.random() * CLIENTS[-1] / 2,
                returned=number + chance.random() * CLIENTS[-1] / 2,
                outcome="ok",
                result=tuple(told),
            )
        )
    return history


BENCHES = (
    Bench("orders", "10,000 operations on 20 keys of an etcd: is there an order", bench_orders),
    Bench("lists", "10,000 transactions on lists: is there a cycle", bench_lists),
)
