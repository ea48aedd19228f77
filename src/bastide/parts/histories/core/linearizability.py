"""Linearizability: is there one order of all operations, true to time, that a single object obeys?

Idea (Wing and Gong): build the order from its front. Next can come only what was invoked before
anything still to be placed had returned. Try one; if the object could have answered so, go on from
its new state; when nothing fits, take the last one back.

    a   ├── write 1 ──┤                          order        state
    b        ├── read -> 1 ──┤                   write 1      1
    c              ├── write 2 ──────┤           read -> 1    1        c could come first, but then
    d                    ├ read -> 2 ┤           write 2      2        b finds no 1: taken back
                                                 read -> 2    2

Lowe: what follows depends only on which are placed and on the state. A pair that was entered once
is not entered again.

What is placed is mostly "all up to here, and a few beyond": a pair is kept as the length of that
front and the bits beyond it, so that it stays small however long the history is. Further:

- **What only observes is placed at once** if it fits, with no other tried: any order that has it
  later still holds with it here, since it changes nothing.
- **What is of unknown outcome** may come at any time after its invocation, or never. It is tried
  last, as few as can be, and only if it changes the state. Of several that do the same only the
  first to be invoked is tried, since they can be exchanged. And a pair isn't entered if it was with
  fewer of them used up: whoever can go on with less can go on with more.
- **What tells its own place** (a write its revision) is tried in no other.
- Those that must return first are tried first.

Costs: about 100 us an operation where the order is plain. In the worst case it is exponential in
how many overlap and in how many are of unknown outcome (the problem is NP-complete), hence the
budget and the third answer. Differs from Porcupine: it marks what it lifts out of a linked list of
events; here the bits are the list. From both: observers don't branch, and a call of unknown outcome
is not a call that goes on for ever.

Sources: Wing and Gong, "Testing and verifying concurrent objects", 1993. Lowe, "Testing for
linearizability", 2017. Horn and Kroening, "Faster linearizability checking via P-compositionality",
2015.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence

from bastide.parts.histories.contract import STEPS_MAX, Answer, Operation, Verdict, Witness
from bastide.parts.histories.core.models import Model, State


def check(history: Sequence[Operation], model: Model, *, steps_max: int = STEPS_MAX) -> Verdict:
    """`steps_max` bounds the operations tried for each key (5 to 100 us each)."""
    answers: set[Answer] = set()
    witnesses, steps = [], 0
    for key, operations in _parts(history, model).items():
        search = _Search(operations, model, steps_max)
        answer = search.run()
        answers.add(answer)
        steps += search.steps
        if answer != "ok":
            witnesses.append(search.witness(key))
    worst: Sequence[Answer] = ("violated", "undecided")
    return Verdict(next((a for a in worst if a in answers), "ok"), steps, tuple(witnesses))


def _parts(history: Sequence[Operation], model: Model) -> Mapping[str, Sequence[Operation]]:
    """What may have happened, of each object, as it was invoked."""
    parts: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in sorted(history, key=lambda o: o.invoked):
        if operation.outcome != "failed":
            parts[operation.key if model.by_key else ""].append(operation)
    return parts


# All of the `sure` before `front` are placed; those beyond it whose bit is set in `beyond`, counted
# from `front`; and those of `unsure` whose bit is set in `used`. They led to `state`.
_Place = tuple[int, int, int, State]
_Move = tuple[tuple[Operation, ...], _Place]


class _Search:
    def __init__(self, operations: Sequence[Operation], model: Model, steps_max: int) -> None:
        self._model = model
        self._sure = [o for o in operations if o.outcome == "ok"]
        self._unsure = [o for o in operations if o.outcome == "unknown" and not model.observes(o)]
        self._twins = [_twin(o) for o in self._unsure]
        self._ends = [_end(o) for o in self._sure]
        self._ranks = [model.rank(o) for o in self._sure]
        self._observers = [model.observes(o) for o in self._sure]
        self._steps_max = steps_max
        self._seen: dict[tuple[int, int, State], list[int]] = {}
        self._best: tuple[int, Sequence[Operation], _Place] = (-1, (), (0, 0, 0, model.start()))
        self.steps = 0

    def run(self) -> Answer:
        place: _Place = (0, 0, 0, self._model.start())
        path: list[tuple[Operation, ...]] = []
        trail = [(place, self._moves(place))]
        rising = True
        while trail:
            place, moves = trail[-1]
            if place[0] == len(self._sure):
                return "ok"
            move = None if self.steps > self._steps_max else next(moves, None)
            if move is not None:
                placed, then = move
                trail.append((then, self._moves(then)))
                path.append(placed)
                rising = True
                continue
            if rising:
                self._keep(path, place)
                rising = False
            if self.steps > self._steps_max:
                return "undecided"
            trail.pop()
            if path:
                path.pop()
        return "violated"

    def witness(self, key: str) -> Witness:
        _, placed, (front, beyond, _, state) = self._best
        bits, _ = self._open(front, beyond)
        stuck = tuple(self._sure[front + bit] for bit in bits)
        return Witness(key, tuple(placed), repr(state), stuck)

    def _keep(self, path: Sequence[Sequence[Operation]], place: _Place) -> None:
        count = place[0] + place[1].bit_count()
        if count > self._best[0]:
            self._best = (count, [o for placed in path for o in placed], place)

    def _is_new(self, place: _Place) -> bool:
        """Whether it leads further than what was entered: the same with more of unknown outcome
        used up does not.
        """
        front, beyond, used, state = place
        entered = self._seen.setdefault((front, beyond, state), [])
        if any(less & used == less for less in entered):
            return False
        entered.append(used)
        return True

    def _moves(self, place: _Place) -> Iterator[_Move]:
        """Each to a new place, by one that is sure, with as few of unknown outcome in front of it
        as can be.
        """
        bits, until = self._open(place[0], place[1])
        ready: Sequence[_Move] = [((), place)]
        while ready:
            waiting = []
            for before, at in ready:
                moves, observed = self._sure_moves(at, bits)
                for operation, then in moves:
                    if self._is_new(then):
                        yield (*before, operation), then
                if not observed:
                    waiting.append((before, at))
            ready = [
                move for before, at in waiting for move in self._unsure_moves(before, at, until)
            ]

    def _sure_moves(
        self, place: _Place, bits: Sequence[int]
    ) -> tuple[Sequence[tuple[Operation, _Place]], bool]:
        """And whether it is one that observes, which is then the only one."""
        front, beyond, used, state = place
        moves = []
        for bit in bits:
            operation = self._sure[front + bit]
            self.steps += 1
            for then in self._model.step(state, operation):
                move = (operation, (*_marked(front, beyond, bit), used, then))
                if then == state and self._observers[front + bit]:
                    return (move,), True
                moves.append(move)
        return moves, False

    def _unsure_moves(
        self, before: tuple[Operation, ...], place: _Place, until: float
    ) -> Iterator[_Move]:
        """What was invoked last comes first: most happens soon, or not at all."""
        front, beyond, used, state = place
        firsts: dict[Hashable, int] = {}
        latest: dict[Hashable, int] = {}
        for n, operation in enumerate(self._unsure):
            if operation.invoked > until:
                break
            if not used >> n & 1:
                firsts.setdefault(self._twins[n], n)
                latest[self._twins[n]] = n
        for n in (firsts[twin] for twin in sorted(latest, key=latest.__getitem__, reverse=True)):
            if self.steps > self._steps_max:
                return
            self.steps += 1
            for then in self._model.step(state, self._unsure[n]):
                after = (front, beyond, used | 1 << n, then)
                if then != state and self._is_new(after):
                    yield (*before, self._unsure[n]), after

    def _open(self, front: int, beyond: int) -> tuple[Sequence[int], float]:
        """The bits of those that may come next, the first to return in front; and its end."""
        sure, ends = self._sure, self._ends
        bits, until = [], float("inf")
        free = ~beyond
        while True:
            lowest = free & -free
            bit = lowest.bit_length() - 1
            at = front + bit
            if at >= len(sure) or sure[at].invoked > until:
                break
            bits.append(bit)
            until = min(until, ends[at])
            free ^= lowest
        lowest_rank = min((self._ranks[front + bit] for bit in bits), default=0)
        bits = [bit for bit in bits if self._ranks[front + bit] == lowest_rank]
        return sorted(bits, key=lambda bit: ends[front + bit]), until


def _marked(front: int, beyond: int, bit: int) -> tuple[int, int]:
    """With the bit set, and the front moved up to the first that isn't placed."""
    beyond |= 1 << bit
    full = (beyond ^ (beyond + 1)).bit_length() - 1
    return front + full, beyond >> full


def _twin(operation: Operation) -> Hashable:
    return (operation.kind, operation.key, repr(operation.argument))


def _end(operation: Operation) -> float:
    assert operation.returned is not None, "what is ok has returned"
    return operation.returned
