"""What single objects do, one call at a time: the law that a history is held against.

A model says what an object is at the start, and what an operation makes of a state: `step` gives
every state in which the object may be afterwards, none if that result can't come from that state.
An operation of unknown outcome has no result to hold against it: `step` gives what it would leave
if it happened.

    Register().step(3, read -> 3)         (3,)
    Register().step(3, read -> 4)         ()            not from here
    Register().step(3, write 5)           (5,)
    Keys().step(s, put, unknown)          (s',)         its revision isn't told: any fits

Two more questions, asked once for each operation, narrow the search. `observes`: does it change
nothing, whatever it is done to? Then it need not be tried in more than one place. `rank`: does its
result tell where it stands? Of those that have returned, the lower rank comes first.

A model `by_key` has an object for each key of the history, and each is checked by itself (a history
is linearizable if that of each object is: Herlihy and Wing, theorem 1).
"""

import operator
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import ClassVar, Protocol

from bastide.parts.histories.contract import Operation

State = Hashable


class Model(Protocol):
    by_key: ClassVar[bool]

    def start(self) -> State:
        """The state before the first operation."""

    def step(self, state: State, operation: Operation) -> Sequence[State]:
        """The states after it, none if its result can't come from `state`."""

    def observes(self, operation: Operation) -> bool:
        """Whether it leaves every state as it is."""

    def rank(self, operation: Operation) -> int:
        """Before all of a higher one; asked of what is ok."""

    def reached(self, state: State) -> int:
        """The lowest rank that can still come."""


class _Unranked:
    """No result tells where it stands."""

    def rank(self, operation: Operation) -> int:
        return 0

    def reached(self, state: State) -> int:
        return 0


class UnknownKind(ValueError):
    """The history has an operation that its model does not know: the test is wrong."""

    def __init__(self, model: Model, operation: Operation) -> None:
        super().__init__(f"{type(model).__name__} does not know {operation.kind!r}")


class Register(_Unranked):
    """`read` -> value; `write` value; `cas` (old, new) -> whether it was `old`."""

    by_key: ClassVar[bool] = True

    def __init__(self, first: State = None) -> None:
        self._first = first

    def start(self) -> State:
        return self._first

    def step(self, state: State, operation: Operation) -> Sequence[State]:
        match operation:
            case Operation(kind="read"):
                return _if(state, _fits(operation, state))
            case Operation(kind="write", argument=value):
                return (value,)
            case Operation(kind="cas", argument=(old, new)):
                return _if(new if state == old else state, _fits(operation, state == old))
        raise UnknownKind(self, operation)

    def observes(self, operation: Operation) -> bool:
        return operation.kind == "read" or (operation.kind == "cas" and operation.result is False)


class Counter(_Unranked):
    """`add` amount -> the sum behind it, or None if it isn't told; `read` -> the sum."""

    by_key: ClassVar[bool] = True

    def start(self) -> State:
        return 0

    def step(self, state: State, operation: Operation) -> Sequence[State]:
        assert isinstance(state, int)
        match operation:
            case Operation(kind="read"):
                return _if(state, _fits(operation, state))
            case Operation(kind="add", argument=int() as amount):
                told = operation.result is not None
                return _if(state + amount, not told or _fits(operation, state + amount))
        raise UnknownKind(self, operation)

    def observes(self, operation: Operation) -> bool:
        return operation.kind == "read"


class Set(_Unranked):
    """`add` element, `remove` element -> whether that changed anything, or None if it isn't told;
    `has` element -> whether; `read` -> its elements, in any order.
    """

    by_key: ClassVar[bool] = True

    def start(self) -> State:
        return frozenset()

    def step(self, state: State, operation: Operation) -> Sequence[State]:
        assert isinstance(state, frozenset)
        element = operation.argument
        match operation.kind:
            case "add":
                return self._changed(operation, element not in state, state | {element})
            case "remove":
                return self._changed(operation, element in state, state - {element})
            case "has":
                return _if(state, _fits(operation, element in state))
            case "read":
                result = operation.result
                whole = isinstance(result, tuple) and sorted(map(repr, result)) == sorted(
                    map(repr, state)
                )
                return _if(state, whole or operation.outcome == "unknown")
        raise UnknownKind(self, operation)

    def observes(self, operation: Operation) -> bool:
        unchanged = operation.outcome == "ok" and operation.result is False
        return operation.kind in ("has", "read") or unchanged

    def _changed(self, operation: Operation, changes: bool, then: State) -> Sequence[State]:
        return _if(then, operation.result is None or _fits(operation, changes))


class Queue(_Unranked):
    """First in, first out: `put` element; `take` -> the oldest, None if there is none. A state is
    as long as the queue: for long ones `core.queues` is quicker.
    """

    by_key: ClassVar[bool] = True

    def start(self) -> State:
        return ()

    def step(self, state: State, operation: Operation) -> Sequence[State]:
        assert isinstance(state, tuple)
        match operation.kind:
            case "put":
                return ((*state, operation.argument),)
            case "take":
                return _if(state[1:], _fits(operation, state[0] if state else None))
        raise UnknownKind(self, operation)

    def observes(self, operation: Operation) -> bool:
        return operation.kind == "take" and (operation.outcome, operation.result) == ("ok", None)


class Mutex(_Unranked):
    """`acquire` owner, `release` owner -> True, or False if it was not to be had, or not held by
    this owner.
    """

    by_key: ClassVar[bool] = True

    def start(self) -> State:
        return None

    def step(self, state: State, operation: Operation) -> Sequence[State]:
        owner = operation.argument
        match operation.kind:
            case "acquire":
                done, then = state is None, owner
            case "release":
                done, then = state == owner, None
            case _:
                raise UnknownKind(self, operation)
        return _if(then if done else state, _fits(operation, done))

    def observes(self, operation: Operation) -> bool:
        return operation.outcome == "ok" and operation.result is False


# --- revisioned keys ------------------------------------------------------------------------------
#
# What an etcd knows of a key is its entry: (value, created, modified, version). `revision` in a
# result is that of the store when it answered.
#
#     put value                   -> revision
#     get                         -> (revision, entry), (revision, None) if it isn't there
#     delete                      -> (revision, how many)
#     txn (compares, then, else)  -> (revision, succeeded, answers)
#
#     compare:  (target, key, relation, wanted)     target: value, version, created, modified
#                                                   relation: = != < >
#     then:     ("put", key, value)                 answers None
#               ("get", key)                        answers the entry, or None
#               ("delete", key)                     answers how many
#
# All writes of a transaction are of one revision. A value of a key that isn't there is None, its
# numbers are 0.

_ABSENT = (None, 0, 0, 0)
_UNTOLD = ...  # a number that no answer told; any may be found for it
_RELATIONS: Mapping[str, Callable[..., object]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_COLUMNS = ("value", "created", "modified", "version")
_Entry = tuple[object, ...]


class Store:
    """All keys of an etcd, whole: each write is of the revision behind the one before it. So every
    write must be in the history, also those that a lease's end makes. `first` is the revision at
    the start.
    """

    by_key: ClassVar[bool] = False

    def __init__(self, first: int = 1) -> None:
        self._first = first

    def start(self) -> State:
        return (self._first, ())

    def step(self, state: State, operation: Operation) -> Sequence[State]:
        assert isinstance(state, tuple)
        revision, entries = state
        states: list[State] = []
        for run in _runs(self, operation, dict(entries), revision + 1):
            told = revision + 1 if run.wrote else revision
            if operation.outcome == "unknown" or _alike(operation.result, run.answer(told)):
                states.append((told, tuple(sorted(run.entries.items()))) if run.wrote else state)
        return states

    def observes(self, operation: Operation) -> bool:
        return _only_reads(operation)

    def rank(self, operation: Operation) -> int:
        return _rank(operation)

    def reached(self, state: State) -> int:
        return _reached(state)


class Keys:
    """The keys of an etcd, each by itself: a write's revision is any above the key's last. So other
    keys may be written by whoever isn't recorded; a transaction may touch one key only. That the
    revisions of different keys agree is for `core.watches.check_commits` to say.

    A state is (floor, entry): no answer may be of a revision below the floor.
    """

    by_key: ClassVar[bool] = True

    def start(self) -> State:
        return (0, _ABSENT)

    def step(self, state: State, operation: Operation) -> Sequence[State]:
        assert isinstance(state, tuple)
        floor, entry = state
        entries = {} if entry == _ABSENT else {operation.key: entry}
        told = _revision(operation)
        states: list[State] = []
        for run in _runs(self, operation, entries, told):
            if operation.outcome == "ok":
                rises = isinstance(told, int) and told >= floor + run.wrote
                if not rises or not _alike(operation.result, run.answer(told)):
                    continue
            then = run.entries.get(operation.key, _ABSENT)
            states.append((floor + run.wrote if told is _UNTOLD else told, then))
        return states

    def observes(self, operation: Operation) -> bool:
        return _only_reads(operation)

    def rank(self, operation: Operation) -> int:
        return _rank(operation)

    def reached(self, state: State) -> int:
        return _reached(state)


def _runs(
    model: Model, operation: Operation, entries: Mapping[str, _Entry], revision: object
) -> Sequence["_Run"]:
    """The ways in which it may go: two if it compares with what no answer told."""
    match operation:
        case Operation(kind="put", argument=value):
            return (_Run("put", entries, revision).do([("put", operation.key, value)]),)
        case Operation(kind="get" | "delete" as kind):
            return (_Run(kind, entries, revision).do([(kind, operation.key)]),)
        case Operation(kind="txn", argument=(tuple(compares), tuple(then), tuple(orelse))):
            held = {_holds(compare, entries) for compare in compares}
            found = []
            if False not in held:
                found.append(_Run("then", entries, revision).do(then))
            if held & {False, None}:
                found.append(_Run("else", entries, revision).do(orelse))
            return found
    raise UnknownKind(model, operation)


class _Run:
    """One way: the entries behind it, whether it wrote, and what it answers."""

    def __init__(self, branch: str, entries: Mapping[str, _Entry], revision: object) -> None:
        self.entries = dict(entries)
        self.wrote = False
        self._branch = branch
        self._revision = revision
        self._answers: list[object] = []

    def do(self, asked: Sequence[object]) -> "_Run":
        self._answers += [self._do(each) for each in asked]
        return self

    def answer(self, revision: object) -> object:
        match self._branch:
            case "put":
                return revision
            case "get" | "delete":
                return (revision, self._answers[0])
        return (revision, self._branch == "then", tuple(self._answers))

    def _do(self, asked: object) -> object:
        match asked:
            case ("put", str(key), value):
                _, created, _, version = self.entries.get(key, _ABSENT)
                assert isinstance(version, int)
                created = created if version else self._revision
                self.entries[key] = (value, created, self._revision, version + 1)
                self.wrote = True
                return None
            case ("get", str(key)):
                return self.entries.get(key)
            case ("delete", str(key)):
                there = self.entries.pop(key, None) is not None
                self.wrote |= there
                return int(there)
        raise ValueError(f"a transaction has no {asked!r}")


def _holds(compare: object, entries: Mapping[str, _Entry]) -> bool | None:
    """None if it depends on a number that no answer told."""
    assert isinstance(compare, tuple)
    target, key, relation, wanted = compare
    found = entries.get(key, _ABSENT)[_COLUMNS.index(target)]
    if found is _UNTOLD:
        return None
    if found is None:  # a value that isn't there: etcd says no, whatever the relation
        return False
    return bool(_RELATIONS[relation](found, wanted))


def _alike(given: object, ours: object) -> bool:
    if ours is _UNTOLD:
        return isinstance(given, int)
    if isinstance(ours, tuple) and isinstance(given, tuple):
        return len(ours) == len(given) and all(map(_alike, given, ours))
    return given == ours


def _revision(operation: Operation) -> object:
    if operation.outcome == "unknown":
        return _UNTOLD
    match operation.result:
        case int(revision) | (int(revision), *_):
            return revision
    return None


def _only_reads(operation: Operation) -> bool:
    match operation:
        case Operation(kind="get"):
            return True
        case Operation(kind="txn", argument=(_, tuple(then), tuple(orelse))):
            return all(each[0] == "get" for each in (*then, *orelse))
    return operation.kind == "delete" and operation.outcome == "ok" and not _wrote(operation)


def _rank(operation: Operation) -> int:
    """By revision; the write that made it before those that only saw it."""
    revision = _revision(operation)
    return 2 * revision + (not _wrote(operation)) if isinstance(revision, int) else 0


def _reached(state: State) -> int:
    assert isinstance(state, tuple)
    return 2 * int(state[0]) + 1


def _wrote(operation: Operation) -> bool:
    """Whether its answer tells of a write."""
    match operation:
        case Operation(kind="put"):
            return True
        case Operation(kind="delete", result=(_, count)):
            return bool(count)
        case Operation(
            kind="txn",
            argument=(_, tuple(then), tuple(orelse)),
            result=(_, succeeded, tuple(answers)),
        ):
            asked = zip(then if succeeded else orelse, answers, strict=False)
            return any(a[0] == "put" or (a[0] == "delete" and answer) for a, answer in asked)
    return False


# --- for all --------------------------------------------------------------------------------------


def _fits(operation: Operation, result: object) -> bool:
    """Whether `result` is what was told, if anything was."""
    return operation.outcome == "unknown" or operation.result == result


def _if(state: State, fits: bool) -> Sequence[State]:
    return (state,) if fits else ()
