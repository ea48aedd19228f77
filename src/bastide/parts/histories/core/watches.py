"""What a watch of an etcd promises, and whether the streams of a run kept it.

`committed` is every change there ever was, by revision: what a watch from the first revision told
when all was quiet, or what a state machine applied. Against it are held

    stream     1 ─ 2 ─ 4 ─ 3 ─ 3 ─────── 7          committed   1 2 3 4 5 6 7
                           │   │   │
               not ordered ┘   │   └ a gap: 5 and 6 are missing
                    not unique ┘

    ordered       revisions rise, and nothing is older than what was asked for
    unique        no change is told twice
    atomic        the changes of one revision come in one response, or in its marked fragments
    complete      up to the newest revision that was told of, or `settled`, nothing is missing
    resumable     a watcher's next stream goes on where its last one ended
    true          what is told was committed, as told: no revision was used for two things
    told in time  a response's revision is not below that of its changes, and never goes back; a
                  progress notification is not ahead of the changes that were to come first

Costs: each committed change is looked at once for each stream that could have told of it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from bastide.parts.histories.contract import Change, Finding, Operation, Response, Watch

_Committed = Mapping[tuple[int, str], str | None]
_MISSING_SHOWN_MAX = 5


def check(watches: Sequence[Watch], committed: Sequence[Change]) -> Sequence[Finding]:
    """`watches` are in the order in which each watcher opened them."""
    found = [*_used_once(committed)]
    values = {(change.revision, change.key): change.value for change in committed}
    reached: dict[str, int] = {}
    for watch in watches:
        before = reached.get(watch.watcher, watch.since - 1)
        if watch.since > before + 1:
            told = f"{watch.watcher} had been told up to {before}, goes on from {watch.since}"
            found.append(Finding("watch gap", told))
        stream = _Stream(watch, values)
        found += stream.findings()
        reached[watch.watcher] = max(before, stream.reached)
    return found


def _used_once(committed: Sequence[Change]) -> Iterator[Finding]:
    values: dict[tuple[int, str], str | None] = {}
    for change in committed:
        if values.setdefault((change.revision, change.key), change.value) != change.value:
            yield Finding("revision reused", f"{change.revision} is two changes of {change.key}")


class _Stream:
    """`reached` is the revision up to which it told all that it had to."""

    def __init__(self, watch: Watch, committed: _Committed) -> None:
        self._watch = watch
        self._committed = committed
        self._told: set[tuple[int, str]] = set()
        self._latest = self._promised = self._header = 0
        self._whole = True
        self.reached = watch.since - 1

    def findings(self) -> Sequence[Finding]:
        found = [f for response in self._watch.responses for f in self._respond(response)]
        wanted = max(self._watch.settled, self._promised, self._latest - (not self._whole))
        self.reached = max(self.reached, wanted)
        return [*found, *self._missing(wanted)]

    def _respond(self, response: Response) -> Iterator[Finding]:
        if response.revision < self._header:
            yield self._find("watch time travel", f"{response.revision} behind {self._header}")
        self._header = response.revision
        if response.compacted is not None:
            # What is gone is told to be gone: to go on behind it is no gap.
            self.reached = max(self.reached, response.compacted - 1)
            if response.compacted <= max(self._latest + 1, self._watch.since):
                yield self._find("watch ended", f"{response.compacted} can still be watched")
        elif not response.changes:
            self._promised = max(self._promised, response.revision)
        elif self._whole and response.changes[0].revision == self._latest:
            yield self._find("watch not atomic", f"{self._latest} came in two responses")
        for change in response.changes:
            yield from self._change(change, response.revision)
        self._whole = not response.fragment

    def _change(self, change: Change, header: int) -> Iterator[Finding]:
        at, watch = (change.revision, change.key), self._watch
        if change.revision < self._latest:
            yield self._find("watch not ordered", f"{change.revision} behind {self._latest}")
        if at in self._told:
            yield self._find("watch not unique", f"{change.revision} of {change.key} twice")
        if change.revision > header:
            yield self._find("watch ahead", f"{change.revision} in a response of {header}")
        if change.revision <= self._promised:
            told = f"{change.revision} behind the progress notification {self._promised}"
            yield self._find("progress ahead", told)
        if change.revision < watch.since or not covers(watch, change.key):
            yield self._find("watch not asked for", f"{change.revision} of {change.key}")
        if at not in self._committed:
            yield self._find("watch phantom", f"{change.revision} of {change.key}")
        elif self._committed[at] != change.value:
            told = f"{change.revision} of {change.key} is {self._committed[at]!r}, told was"
            yield self._find("revision reused", f"{told} {change.value!r}")
        self._told.add(at)
        self._latest = max(self._latest, change.revision)

    def _missing(self, wanted: int) -> Iterator[Finding]:
        missing = [
            at
            for at in self._committed
            if self._watch.since <= at[0] <= wanted
            and at not in self._told
            and covers(self._watch, at[1])
        ]
        if missing:
            shown = ", ".join(f"{r} of {key}" for r, key in sorted(missing)[:_MISSING_SHOWN_MAX])
            yield self._find("watch gap", f"{len(missing)} missing up to {wanted}: {shown}")

    def _find(self, name: str, told: str) -> Finding:
        return Finding(name, f"{self._watch.watcher} from {self._watch.since}: {told}")


def covers(watch: Watch, key: str) -> bool:
    """Whether the watch is on this key."""
    if watch.end == "":
        return key == watch.start
    return key >= watch.start and (watch.end is None or key < watch.end)


# --- writes ---------------------------------------------------------------------------------------


def check_commits(history: Sequence[Operation], committed: Sequence[Change]) -> Sequence[Finding]:
    """Whether what was written (put, delete and txn, as `core.models.Keys` has them) is what was
    committed: no acknowledged write is lost, none is there that nobody made, and revisions are true
    to time. All writers are in the history.
    """
    values = {(change.revision, change.key): change.value for change in committed}
    found, explained = [], set()
    perhaps: set[tuple[str, object]] = set()
    for operation in history:
        if operation.outcome == "unknown":
            perhaps.update(_perhaps(operation))
        for revision, key, value in _writes(operation):
            explained.add((revision, key))
            if (revision, key) not in values:
                told = f"{revision} of {key} was acknowledged, and is not there"
                found.append(Finding("lost write", told, (operation.number,)))
            elif values[revision, key] != value:
                told = f"{revision} of {key}: {value!r} written, {values[revision, key]!r} is there"
                found.append(Finding("revision reused", told, (operation.number,)))
    for (revision, key), value in values.items():
        if (revision, key) not in explained and (key, value) not in perhaps:
            found.append(Finding("phantom write", f"{revision} of {key}: nobody wrote {value!r}"))
    return [*found, *_risen(history)]


def _risen(history: Sequence[Operation]) -> Iterator[Finding]:
    """A write that was invoked when another had returned is of a higher revision."""
    writes = [(o, w[0]) for o in history for w in _writes(o)[:1]]
    returned = sorted((o.returned or 0.0, revision, o.number) for o, revision in writes)
    at, highest, whose = 0, 0, -1
    for operation, revision in sorted(writes, key=lambda write: write[0].invoked):
        while returned[at][0] < operation.invoked:
            if returned[at][1] > highest:
                _, highest, whose = returned[at]
            at += 1
        if revision <= highest:
            told = f"{revision} was written when {highest} had returned"
            yield Finding("revision went back", told, (whose, operation.number))


def resolved(history: Sequence[Operation], committed: Sequence[Change]) -> Sequence[Operation]:
    """With puts of unknown outcome made certain, where nobody else puts the same value to the key:
    it was committed, and when it returned is when the history ended, or it never was. What is left
    unknown costs the search for an order most.
    """
    places: defaultdict[tuple[str, object], list[int]] = defaultdict(list)
    for change in committed:
        places[change.key, change.value].append(change.revision)
    writers: defaultdict[tuple[str, object], int] = defaultdict(int)
    for operation in history:
        for written in _perhaps(operation):
            writers[written] += 1
    end = max((o.returned or o.invoked for o in history), default=0.0)

    def resolve(operation: Operation) -> Operation:
        written = (operation.key, operation.argument)
        if (operation.kind, operation.outcome) != ("put", "unknown") or writers[written] > 1:
            return operation
        if not places[written]:
            return replace(operation, outcome="failed")
        return replace(operation, outcome="ok", returned=end, result=places[written][0])

    return [resolve(operation) for operation in history]


def _perhaps(operation: Operation) -> Sequence[tuple[str, object]]:
    """What it may have written: key and value."""
    match operation:
        case Operation(kind="put"):
            return ((operation.key, operation.argument),)
        case Operation(kind="delete"):
            return ((operation.key, None),)
        case Operation(kind="txn", argument=(_, tuple(then), tuple(orelse))):
            steps = [step for step in (*then, *orelse) if step[0] != "get"]
            return [(key, value[0] if value else None) for _, key, *value in steps]
    return ()


def _writes(operation: Operation) -> Sequence[tuple[int, str, object]]:
    """What its answer says that it wrote: revision, key and value."""
    match operation:
        case Operation(kind="put", outcome="ok", result=int(revision)):
            return ((revision, operation.key, operation.argument),)
        case Operation(kind="delete", outcome="ok", result=(int(revision), int(count))) if count:
            return ((revision, operation.key, None),)
        case Operation(
            kind="txn",
            outcome="ok",
            argument=(_, tuple(then), tuple(orelse)),
            result=(int(revision), succeeded, tuple(answers)),
        ):
            done = zip(then if succeeded else orelse, answers, strict=True)
            return [
                (revision, step[1], step[2] if step[0] == "put" else None)
                for step, answer in done
                if step[0] == "put" or (step[0] == "delete" and answer)
            ]
    return ()
