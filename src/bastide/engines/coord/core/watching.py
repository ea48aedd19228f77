"""Watches: who is told which change, without anyone being waited for.

                      keys      "a" -> W1  W2
    a change of "ab"  prefixes  "a" -> W3,  "" -> W4       one look-up for each length in use
                      others    W5 from "aa" up to "ad"    tried one by one
                         |
                         '--> W3, W4, W5: pending

A watcher is **even** (it has been given all up to now, so that it need only be handed what comes)
or **behind** (it reads from history, at its own pace). What is pending for one that is even is
bounded: above PENDING_MAX nothing more is kept for it, it falls behind, and is fed from history
again. So a slow reader costs no more memory than a fast one; and if what it has not read is
compacted, it is told so and ends.

`advance` costs O(1) for each change, and for each watcher of it; a change of a key that nobody
watches costs a few look-ups, however many watch other keys. History is read by key where one key is
watched, else by revision, LOOKED_AT_MAX changes at a time.

All of a revision's changes are handed on together, and revisions in their order. As in etcd
(mvcc/watchable_store.go), but that etcd sends a slow watcher's rest from a victim list and may cut
a revision into fragments.
"""

from collections.abc import Iterator, Sequence

from bastide.engines.coord.contract import (
    WATCHES_MAX,
    Event,
    Events,
    Item,
    RevisionCompacted,
    TooMany,
    Watch,
)
from bastide.engines.coord.core.spans import is_within, prefix_of
from bastide.engines.coord.core.store import Store

PENDING_MAX = 1_000
"""Events for one watcher that is even; a revision that goes over it is still kept whole."""
LOOKED_AT_MAX = 2_000
RETRY_AFTER_S = 1.0


class Watcher:
    """One watch. `next_revision`: the first of which it was not given all."""

    def __init__(self, watch: Watch, next_revision: int) -> None:
        self.watch = watch
        self.next_revision = next_revision
        self.is_behind = False
        self.pending: list[Event] = []
        self.pending_up_to = 0  # of one that is behind: where it reads on after them

    @property
    def is_ready(self) -> bool:
        """Whether `take` has something to do."""
        return self.is_behind or bool(self.pending)

    def wants(self, item: Item) -> bool:
        """Of a change of its keys."""
        return self.watch.puts if item.version else self.watch.deletes


class Watching:
    """All watches of one node's store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen = store.revision  # all up to here is pending or given
        self._index = _Index()

    def __len__(self) -> int:
        return len(self._index)

    def add(self, watch: Watch) -> Watcher:
        """Of a watch that was checked (core/checks.py).

        Raises:
            RevisionCompacted, TooMany.
        """
        if len(self._index) >= WATCHES_MAX:
            raise TooMany(f"{WATCHES_MAX} watches; no more", retry_after_s=RETRY_AFTER_S)
        first = watch.from_revision
        if 0 < first < self._store.compacted:
            raise RevisionCompacted(first, self._store.compacted)
        watcher = Watcher(watch, first if first > 0 else self._store.revision + 1)
        watcher.is_behind = watcher.next_revision <= self._seen
        self._index.add(watcher)
        return watcher

    def remove(self, watcher: Watcher) -> None:
        self._index.remove(watcher)

    def restart(self, store: Store) -> Sequence[Watcher]:
        """The store was replaced by a newer one (a snapshot's): all go on from there. Who is ready
        now.
        """
        for watcher in self._index:
            if not watcher.is_behind:
                self._fall_behind(watcher, self._seen)
        self._store = store
        self._seen = store.revision
        return [watcher for watcher in self._index if watcher.is_ready]

    def _fall_behind(self, watcher: Watcher, up_to: int) -> None:
        """It has been given, or will take, all up to there."""
        watcher.is_behind = True
        watcher.pending_up_to = up_to
        if not watcher.pending:
            watcher.next_revision = max(watcher.next_revision, up_to + 1)

    def advance(self) -> Sequence[Watcher]:
        """To be called after changes, before `sweep`. Who has something now, and had nothing."""
        woken: dict[Watcher, None] = {}
        while self._seen < self._store.revision:
            self._seen += 1
            for item in self._store.changes_at(self._seen):
                self._tell(item, woken)
        return list(woken)

    def _tell(self, item: Item, woken: dict[Watcher, None]) -> None:
        plain = Event(item)
        full: Event | None = None
        for watcher in self._index.of(item.key):
            if watcher.is_behind or watcher.next_revision > self._seen or not watcher.wants(item):
                continue
            if not watcher.pending:
                woken[watcher] = None
            elif len(watcher.pending) >= PENDING_MAX and watcher.pending_up_to < self._seen:
                self._fall_behind(watcher, self._seen - 1)
                continue
            if watcher.watch.previous:
                full = full or Event(item, self._store.before(item))
                watcher.pending.append(full)
            else:
                watcher.pending.append(plain)
            watcher.pending_up_to = self._seen

    def take(self, watcher: Watcher) -> Events | None:
        """What is next for it. None: nothing was found; if it still `is_ready`, ask again, after
        others have had their turn.

        Raises:
            RevisionCompacted: it has missed some, and ends.
        """
        if watcher.pending:
            return self._take_pending(watcher)
        if watcher.is_behind:
            return self._catch_up(watcher)
        return None

    def _take_pending(self, watcher: Watcher) -> Events:
        """Also of one that fell behind since: it reads on behind what is pending."""
        up_to = watcher.pending_up_to if watcher.is_behind else self._seen
        events = Events(watcher.pending, up_to)
        watcher.pending = []
        watcher.next_revision = max(watcher.next_revision, up_to + 1)
        return events

    def _catch_up(self, watcher: Watcher) -> Events | None:
        if watcher.next_revision < self._store.compacted:
            raise RevisionCompacted(watcher.next_revision, self._store.compacted)
        watch = watcher.watch
        if watch.end:
            items, up_to = self._by_revision(watcher)
        else:
            items, up_to = self._by_key(watcher)
        events = [
            Event(item, self._store.before(item) if watch.previous else None)
            for item in items
            if watcher.wants(item)
        ]
        watcher.next_revision = up_to + 1
        watcher.is_behind = up_to < self._seen
        return Events(events, up_to) if events else None

    def _by_key(self, watcher: Watcher) -> tuple[Sequence[Item], int]:
        changes = self._store.changes_of(watcher.watch.first, watcher.next_revision)
        told = [item for item in changes if item.changed <= self._seen]
        if len(told) > LOOKED_AT_MAX:
            return told[:LOOKED_AT_MAX], told[LOOKED_AT_MAX - 1].changed
        return told, self._seen

    def _by_revision(self, watcher: Watcher) -> tuple[Sequence[Item], int]:
        first, end = watcher.watch.first, watcher.watch.end
        found: list[Item] = []
        looked_at, up_to = 0, watcher.next_revision - 1
        while looked_at < LOOKED_AT_MAX and up_to < self._seen:
            up_to += 1
            changes = self._store.changes_at(up_to)
            looked_at += len(changes)
            found += [item for item in changes if is_within(item.key, first, end)]
        return found, up_to

    def progress(self, watcher: Watcher) -> Events | None:
        """How far it has been given all; None: it has yet to take something."""
        if watcher.is_ready or watcher.next_revision > self._seen + 1:
            return None
        return Events((), self._seen)


class _Index:
    """Watchers by their keys."""

    def __init__(self) -> None:
        self._all: dict[Watcher, None] = {}
        self._keys: dict[bytes, dict[Watcher, None]] = {}
        self._prefixes: dict[bytes, dict[Watcher, None]] = {}
        self._lengths: dict[int, int] = {}  # of the prefixes, and how many have it
        self._others: dict[Watcher, None] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Watcher]:
        return iter(self._all)

    def add(self, watcher: Watcher) -> None:
        self._all[watcher] = None
        first, end = watcher.watch.first, watcher.watch.end
        if not end:
            self._keys.setdefault(first, {})[watcher] = None
        elif (prefix := prefix_of(first, end)) is None:
            self._others[watcher] = None
        else:
            if prefix not in self._prefixes:
                self._prefixes[prefix] = {}
                self._lengths[len(prefix)] = self._lengths.get(len(prefix), 0) + 1
            self._prefixes[prefix][watcher] = None

    def remove(self, watcher: Watcher) -> None:
        del self._all[watcher]
        first, end = watcher.watch.first, watcher.watch.end
        if not end:
            self._leave(self._keys, first, watcher)
        elif (prefix := prefix_of(first, end)) is None:
            del self._others[watcher]
        elif self._leave(self._prefixes, prefix, watcher):
            self._lengths[len(prefix)] -= 1
            if not self._lengths[len(prefix)]:
                del self._lengths[len(prefix)]

    def _leave(self, alike: dict[bytes, dict[Watcher, None]], key: bytes, watcher: Watcher) -> bool:
        """Whether it was the last one there."""
        del alike[key][watcher]
        if alike[key]:
            return False
        del alike[key]
        return True

    def of(self, key: bytes) -> Iterator[Watcher]:
        yield from self._keys.get(key, ())
        for length in self._lengths:
            if length <= len(key):
                yield from self._prefixes.get(key[:length], ())
        for watcher in self._others:
            if is_within(key, watcher.watch.first, watcher.watch.end):
                yield watcher
