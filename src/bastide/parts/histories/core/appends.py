"""Transactions that append to lists and read them: which could not have run one after the other.

Idea (Elle): a list tells its own past. If every element is appended once, a read of [1, 2, 3] says
that the three appends were done in this order, and by whom; and whoever read [1] was before the one
who appended 2. So transactions are ordered by what they saw, without trying any order:

    ww   appended, and the other appended behind it
    wr   appended, and the other read it as the last element
    rw   read, and the other appended what the reader did not yet see
    rt   had returned before the other was invoked           (asked for by `check_strict`)

    T1  read x -> []     append y 1          T1 ──rw──► T2      a cycle: neither was first.
    T2  read y -> []     append x 1          T1 ◄──rw── T2      It has two rw: write skew, G2

A cycle cannot be put in a row. Its name is that of the least it needs, in this order:

    G0          ww only: writes of two interleave
    G1c         ww and wr: each saw what the other did
    G-single    one rw: lost update, read skew
    G2          more than one rw: write skew

with "-realtime" behind it if the edges of time are needed. Beside cycles: G1a (read what was never
committed), G1b (read the middle of a transaction), incompatible orders, an element twice, and a
transaction that doesn't see its own appends.

Operations are of kind "txn", argument (("append", key, element) or ("read", key), ...); result the
same with the elements behind each read: ("read", key, (1, 2)). Elements are unique for each key.
What is of unknown outcome happened if it was seen by another.

Costs: about 150 us a transaction of three; Tarjan's components, then a search by breadth in each
for the shortest cycle. Differs from the source (Kingsbury and Alvaro, "Elle: inferring isolation
anomalies from experimental observations", VLDB 2020): only lists; one cycle is told,
the shortest of the gravest name.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from bastide.parts.histories.contract import Finding, Operation

_Label = Literal["ww", "wr", "rw", "rt"]
_List = tuple[object, ...]


class _Edge(NamedTuple):
    before: int
    after: int
    label: _Label
    why: str


def check(history: Sequence[Operation]) -> Sequence[Finding]:
    """Whether it is serializable, as far as was seen. Raises ValueError if an element is appended
    to a list more than once, or an operation is of another kind.
    """
    seen = _Seen(history)
    return [*seen.findings, *_cycle(seen.edges(), "")]


def check_strict(history: Sequence[Operation]) -> Sequence[Finding]:
    """And in an order that is true to time."""
    seen = _Seen(history)
    edges = seen.edges()
    cycle = _cycle(edges, "")
    if not cycle:
        happened = [o for o in history if o.number in seen.happened]
        cycle = _cycle([*edges, *_in_time(happened)], "-realtime")
    return [*seen.findings, *cycle]


class _Seen:
    """What the transactions saw: each list's order, and who took part."""

    def __init__(self, history: Sequence[Operation]) -> None:
        self.findings: list[Finding] = []
        self._history = {operation.number: operation for operation in history}
        self._writers: dict[tuple[str, object], int] = {}
        self._last: dict[tuple[int, str], object] = {}
        self._reads: list[tuple[int, str, _List]] = []
        self._orders: defaultdict[str, _List] = defaultdict(tuple)
        for operation in history:
            self._take_appends(operation)
        for operation in history:
            if operation.outcome == "ok":
                self._take_reads(operation)
        self._orders_agree()
        read = {(key, element) for key, order in self._orders.items() for element in order}
        seen = {self._writers.get(element) for element in read}
        self.happened = {o.number for o in history if o.outcome == "ok" or o.number in seen}
        self._unread: defaultdict[str, list[object]] = defaultdict(list)
        for (key, element), writer in self._writers.items():
            if (key, element) not in read and writer in self.happened:
                self._unread[key].append(element)
        for reader, key, elements in self._reads:
            self._judge(reader, key, elements)

    def edges(self) -> Sequence[_Edge]:
        edges = [*self._written()]
        for reader, key, elements in self._reads:
            if elements:
                why = f"{key}: {elements[-1]!r} was read"
                edges += self._edge(self._writer(key, elements[-1]), reader, "wr", why)
            for element in self._behind(key, elements):
                why = f"{key}: {element!r} was not read"
                edges += self._edge(reader, self._writer(key, element), "rw", why)
        return edges

    def _take_appends(self, operation: Operation) -> None:
        for kind, key, element in _steps(operation, operation.argument):
            if kind == "append":
                if (key, element) in self._writers:
                    raise ValueError(f"{element!r} is appended to {key} more than once")
                self._writers[key, element] = operation.number
                self._last[operation.number, key] = element

    def _take_reads(self, operation: Operation) -> None:
        """What each found of others, once for a key; and whether it found its own behind it."""
        own: defaultdict[str, _List] = defaultdict(tuple)
        found: dict[str, _List] = {}
        for kind, key, value in _steps(operation, operation.result):
            if kind == "append":
                own[key] += (value,)
                continue
            elements = tuple(value) if isinstance(value, tuple) else ()
            at = len(elements) - len(own[key])
            others, mine = elements[: max(0, at)], elements[max(0, at) :]
            if mine != own[key] or found.setdefault(key, others) != others:
                self._find(
                    "internal", f"{key}: read {elements!r} against its own", operation.number
                )
            if len(elements) > len(self._orders[key]):
                self._orders[key] = elements
        self._reads += ((operation.number, key, others) for key, others in found.items())

    def _orders_agree(self) -> None:
        for key, order in self._orders.items():
            if len(set(order)) < len(order):
                self._find("duplicate element", f"{key}: {order!r}")
        for reader, key, elements in self._reads:
            order = self._orders[key]
            if order[: len(elements)] != elements:
                message = f"{key}: read {elements!r}, and {order!r} was read"
                self._find("incompatible order", message, reader)

    def _judge(self, reader: int, key: str, elements: _List) -> None:
        for element in elements:
            writer = self._writers.get((key, element))
            if writer is None:
                self._find("phantom", f"{key}: {element!r} was never appended", reader)
            elif self._history[writer].outcome == "failed":
                self._find("G1a", f"{key}: {element!r} was read, and failed", writer, reader)
        writer = self._writers.get((key, elements[-1])) if elements else None
        if writer is not None and self._last[writer, key] != elements[-1]:
            self._find("G1b", f"{key}: {elements[-1]!r} is not its last", writer, reader)

    def _written(self) -> Iterator[_Edge]:
        for key, order in self._orders.items():
            for one, other in pairwise(order):
                why = f"{key}: {one!r} before {other!r}"
                yield from self._edge(self._writer(key, one), self._writer(key, other), "ww", why)
            for element in self._behind(key, order) if order else ():
                why = f"{key}: {order[-1]!r} before {element!r}"
                last = self._writer(key, order[-1])
                yield from self._edge(last, self._writer(key, element), "ww", why)

    def _behind(self, key: str, elements: _List) -> Collection[object]:
        """The element that came next; those that nobody read may all have."""
        order = self._orders[key]
        if len(elements) < len(order):
            return (order[len(elements)],)
        return self._unread[key]

    def _writer(self, key: str, element: object) -> int | None:
        return self._writers.get((key, element))

    def _edge(
        self, before: int | None, after: int | None, label: _Label, why: str
    ) -> Iterator[_Edge]:
        if before != after and before in self.happened and after in self.happened:
            assert before is not None
            assert after is not None
            yield _Edge(before, after, label, why)

    def _find(self, name: str, message: str, *operations: int) -> None:
        self.findings.append(Finding(name, message, operations))


def _steps(operation: Operation, given: object) -> Sequence[tuple[str, str, object]]:
    if operation.kind != "txn" or not isinstance(given, tuple):
        raise ValueError(f"operation {operation.number} is no transaction of lists")
    return [(step[0], step[1], step[2] if len(step) > 2 else None) for step in given]


def _in_time(history: Sequence[Operation]) -> Iterator[_Edge]:
    """From each to those invoked when it had returned, without what follows from others: nobody
    who returned by then was himself invoked behind it.
    """
    events = [(o.invoked, 0, o) for o in history]
    events += [(o.returned, 1, o) for o in history if o.outcome == "ok" and o.returned is not None]
    returned: dict[int, Operation] = {}
    before: dict[int, Sequence[int]] = {}
    for _, ends, operation in sorted(events, key=lambda event: event[:2]):
        if not ends:
            before[operation.number] = tuple(returned)
            for earlier in returned:
                yield _Edge(earlier, operation.number, "rt", "had returned")
            continue
        for earlier in before[operation.number]:
            returned.pop(earlier, None)
        returned[operation.number] = operation


# --- cycles ---------------------------------------------------------------------------------------

# By name: what it must have once, and what else it may have.
_NAMES: Mapping[str, tuple[_Label, Sequence[_Label]]] = {
    "G0": ("ww", ("ww",)),
    "G1c": ("wr", ("ww", "wr")),
    "G-single": ("rw", ("ww", "wr")),
    "G2": ("rw", ("ww", "wr", "rw")),
}


def _cycle(edges: Sequence[_Edge], suffix: str) -> Sequence[Finding]:
    """The shortest of the gravest name, or none."""
    loops = _loops(edges)
    within = [e for e in edges if e.before in loops and loops[e.before] == loops.get(e.after)]
    for name, (needed, allowed) in _NAMES.items():
        graph: defaultdict[int, list[_Edge]] = defaultdict(list)
        for edge in within:
            if edge.label in allowed or edge.label == "rt":
                graph[edge.before].append(edge)
        shortest: Sequence[_Edge] = ()
        for edge in within:
            if edge.label == needed:
                longest = len(shortest) - 2 if shortest else len(within)
                back = _path(graph, edge.after, edge.before, longest)
                shortest = [edge, *back] if back else shortest
        if shortest:
            return (_told(name + suffix, shortest),)
    return ()


def _told(name: str, cycle: Sequence[_Edge]) -> Finding:
    steps = ", ".join(f"{e.before} -{e.label}-> {e.after} ({e.why})" for e in cycle)
    return Finding(name, steps, tuple(edge.before for edge in cycle))


def _path(
    graph: Mapping[int, Sequence[_Edge]], start: int, end: int, longest: int
) -> Sequence[_Edge]:
    """The shortest, by breadth; none if it would have more edges than `longest`."""
    came: dict[int, _Edge | None] = {start: None}
    row = deque([(start, 0)])
    while row and end not in came:
        at, length = row.popleft()
        for edge in graph.get(at, ()) if length < longest else ():
            if edge.after not in came:
                came[edge.after] = edge
                row.append((edge.after, length + 1))
    path: list[_Edge] = []
    last = came.get(end)
    while last is not None:
        path.append(last)
        last = came[last.before]
    return path[::-1]


def _loops(edges: Sequence[_Edge]) -> Mapping[int, int]:
    """Of each transaction that is on a cycle, a number of all that it shares one with: Tarjan's
    components, without recursion.
    """
    graph: defaultdict[int, list[int]] = defaultdict(list)
    for edge in edges:
        graph[edge.before].append(edge.after)
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    found: dict[int, int] = {}
    done: set[int] = set()
    for root in list(graph):
        if root in order:
            continue
        order[root] = low[root] = len(order)
        stack.append(root)
        trail = [(root, iter(graph[root]))]
        while trail:
            node, following = trail[-1]
            for after in following:
                if after not in order:
                    order[after] = low[after] = len(order)
                    stack.append(after)
                    trail.append((after, iter(graph.get(after, ()))))
                    break
                if after not in done:
                    low[node] = min(low[node], order[after])
            else:
                trail.pop()
                if trail:
                    low[trail[-1][0]] = min(low[trail[-1][0]], low[node])
                if low[node] == order[node]:
                    _close(node, stack, done, found)
    return found


def _close(root: int, stack: list[int], done: set[int], found: dict[int, int]) -> None:
    """A component is whole: all on the stack down to its root."""
    members = [stack.pop()]
    while members[-1] != root:
        members.append(stack.pop())
    done.update(members)
    if len(members) > 1:
        found.update(dict.fromkeys(members, root))
