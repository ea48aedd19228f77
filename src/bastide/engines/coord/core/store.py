"""Keys with all that they were: one number for each change of the store, the revision.

    revision     2          3          4            5
    changes     [a=1 b=1]  [a=2]      [delete b]   [b=9]
                                 |
    a            1          2    |                              newest {a: 2, b: 9}
    b            1          .    |     gone         9           older  {a: [1], b: [1, gone]}
                                 '-- compacted: 3

A transaction makes one revision, whatever it changes; its changes stand in it in their order, and a
key changes in it at most once. A key's life begins with the put that creates it (`created`) and
ends with a delete, which is kept as a tombstone: an Item of version 0.

Three views of the same Items: by key the newest one and those before it, for reading at any
revision; and by revision what changed, for watches. Nothing that was written is ever altered, so
whoever reads at a revision in pieces (a snapshot, a hash) needs no copy, only that nothing is
thrown away before he ends: `held`.

**Compaction** to C forgets what was replaced at or before C, and tombstones before C; what changed
at C itself can still be told. It takes no time: from then on older revisions are refused, and the
room counts as free, by sums that were kept when it was filled (`_dead`). Forgetting itself is
`sweep`, in pieces, whenever its caller has time. So the count of bytes, by which puts are refused,
is the same on all nodes, whenever each of them sweeps.

Costs: put and get O(1), and finding the place of a new key; a range O(what it finds), counting
O(blocks of keys); a range at an older revision O(keys in it). Each put that is kept counts its key,
its value and ITEM_BYTES.

As in etcd (mvcc/kvstore_txn.go, key_index.go), with two differences: the count of a range does not
look at its keys, and a delete at the compacted revision is still told to watches.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from heapq import nlargest, nsmallest
from operator import attrgetter

from msgspec.structs import replace

from bastide.engines.coord.contract import (
    RANGE_ITEMS_MAX,
    AskTooLarge,
    Found,
    Item,
    Range,
    RevisionAhead,
    RevisionCompacted,
)
from bastide.engines.coord.core.sorted_keys import SortedKeys
from bastide.engines.coord.core.spans import end_of

FIRST_REVISION = 1
"""Of a store in which nothing was changed, as etcd has it."""
NOT_COMPACTED = 0
ITEM_BYTES = 300
"""What CPython takes for an Item, its numbers and its place, without key and value."""

BASE_KEYS = 500

Changes = Sequence[Item]


def cost_of(item: Item) -> int:
    """A tombstone counts nothing: the put before it is there as long, and a store that is full must
    come free by deletes and compaction.
    """
    return put_cost(item.key, item.value) if item.version else 0


def put_cost(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + ITEM_BYTES


class Store:
    """Changes are made by `put` and `delete`, and are one revision at `commit`; until then reads
    see them already, as reads within a transaction must.
    """

    def __init__(self) -> None:
        self.revision = FIRST_REVISION
        self.compacted = NOT_COMPACTED
        self.space_bytes = 0
        self._newest: dict[bytes, Item] = {}
        self._older: dict[bytes, list[Item]] = {}
        self._alive = SortedKeys()
        self._gone = SortedKeys()  # keys whose newest Item is a tombstone
        # What changed at `_log_first` + n, and what compaction to there makes free, all together.
        self._log: list[Changes] = []
        self._dead: list[int] = []
        self._log_first = first_logged(NOT_COMPACTED)
        self._dead_bytes = 0
        self._freed_bytes = 0
        self._open: list[Item] = []
        self._holds = 0

    def __len__(self) -> int:
        """Keys that are there."""
        return len(self._alive)

    @property
    def next_revision(self) -> int:
        """What `commit` will give."""
        return self.revision + bool(self._open)

    # --- changes --------------------------------------------------------------------------------

    def put(self, key: bytes, value: bytes, lease: int) -> Item | None:
        """What was there before."""
        revision = self.revision + 1
        before = self._newest.get(key)
        if before is None or before.version == 0:
            item = Item(key, value, revision, revision, 1, lease)
        else:
            item = Item(key, value, before.created, revision, before.version + 1, lease)
        self._change(item, before)
        return before if before is not None and before.version else None

    def delete(self, key: bytes) -> Item:
        """What was there before: it is there."""
        before = self._newest[key]
        assert before.version
        self._change(Item(key, b"", 0, self.revision + 1, 0), before)
        return before

    def _change(self, item: Item, before: Item | None) -> None:
        key = item.key
        if item.version == 0:
            self._alive.discard(key)
            self._gone.add(key)
        elif before is None:
            self._alive.add(key)
        elif before.version == 0:
            self._alive.add(key)
            self._gone.discard(key)
        if before is not None:
            self._replace(before, item.changed)
        self._newest[key] = item
        self._open.append(item)
        self.space_bytes += cost_of(item)

    def _replace(self, before: Item, revision: int) -> None:
        assert before.changed < revision, "a key changes once in a transaction"
        older = self._older.get(before.key)
        if older is None:
            self._older[before.key] = [before]
        else:
            older.append(before)
        self._dead_bytes += cost_of(before)

    def commit(self) -> int:
        """The store's revision, a new one if anything was changed."""
        if self._open:
            self.revision += 1
            self._log.append(self._open)
            self._dead.append(self._dead_bytes)
            self._open = []
        return self.revision

    # --- reads ----------------------------------------------------------------------------------

    def get(self, key: bytes) -> Item | None:
        """As it is now."""
        item = self._newest.get(key)
        return item if item is not None and item.version else None

    def at(self, key: bytes, revision: int) -> Item | None:
        """As it was at `revision`, which is not compacted."""
        item = self._last_by(key, revision)
        return item if item is not None and item.version else None

    def _last_by(self, key: bytes, revision: int) -> Item | None:
        """The last change of `key` at `revision` or before, a tombstone too."""
        item = self._newest.get(key)
        if item is None or item.changed <= revision:
            return item
        older = self._older.get(key, ())
        n = bisect_right(older, revision, key=_changed)
        return older[n - 1] if n else None

    def before(self, item: Item) -> Item | None:
        """What was there before the change `item`; None also if that is compacted."""
        if item.changed <= self.compacted:
            return None
        return self.at(item.key, item.changed - 1)

    def changes_at(self, revision: int) -> Changes:
        """In their order; `revision` is at or above `compacted` and not ahead."""
        return self._log[revision - self._log_first] if revision >= self._log_first else ()

    def changes_of(self, key: bytes, first: int) -> list[Item]:
        """Of one key, from revision `first` on, which is not below `compacted`."""
        newest = self._newest.get(key)
        if newest is None or newest.changed < first:
            return []
        older = self._older.get(key, [])
        return [*older[bisect_right(older, first - 1, key=_changed) :], newest]

    def check(self, ask: Range) -> None:
        """Whether `ask` can be read now.

        Raises:
            RevisionAhead, RevisionCompacted, AskTooLarge.
        """
        if ask.revision > self.revision:
            raise RevisionAhead(f"revision {ask.revision}; {self.revision} is the newest there is")
        if 0 < ask.revision < self.compacted:
            raise RevisionCompacted(ask.revision, self.compacted)
        if not ask.end or ask.count_only or 0 < ask.limit <= RANGE_ITEMS_MAX:
            return
        count = self._alive.count(ask.first, end_of(ask.end))
        if ask.revision > 0:
            count += self._gone.count(ask.first, end_of(ask.end))
        if count > RANGE_ITEMS_MAX:
            raise AskTooLarge(
                f"a range of {count} keys; at most {RANGE_ITEMS_MAX} are told at once: set a limit"
            )

    def range(self, ask: Range) -> Found:
        """After `check`."""
        now = self.next_revision
        is_now = not 0 < ask.revision < now
        if not ask.end:
            item = self.get(ask.first) if is_now else self.at(ask.first, ask.revision)
            found = [] if item is None else [item]
            return self._told(ask, found, len(found), now)
        end = end_of(ask.end)
        if not is_now:
            found = self._items_at(ask.first, end, ask.revision)
            return self._told(ask, found, len(found), now)
        count = self._alive.count(ask.first, end)
        if ask.count_only:
            return Found((), count, False, now)
        limit = ask.limit if _is_plain(ask) else 0
        keys = self._alive.slice(ask.first, end, limit)
        return self._told(ask, [self._newest[key] for key in keys], count, now)

    def _items_at(self, first: bytes, end: bytes | None, revision: int) -> list[Item]:
        keys = self._alive.slice(first, end) + self._gone.slice(first, end)
        return [item for key in sorted(keys) if (item := self.at(key, revision)) is not None]

    def _told(self, ask: Range, items: list[Item], count: int, now: int) -> Found:
        if ask.count_only:
            return Found((), count, False, now)
        more = False
        if not _is_plain(ask):
            items, more = _arranged(ask, items)
        elif ask.limit:
            items, more = items[: ask.limit], count > ask.limit
        if ask.keys_only:
            items = [replace(item, value=b"") for item in items]
        return Found(items, count, more, now)

    def keys_in(self, first: bytes, end: bytes) -> list[bytes]:
        """Those that are there now, in order."""
        if end:
            return self._alive.slice(first, end_of(end))
        return [first] if self.get(first) is not None else []

    # --- compaction -----------------------------------------------------------------------------

    def compact(self, revision: int) -> None:
        """
        Raises:
            RevisionCompacted, RevisionAhead.
        """
        if revision <= self.compacted:
            raise RevisionCompacted(revision, self.compacted)
        if revision > self.revision:
            raise RevisionAhead(f"revision {revision}; {self.revision} is the newest there is")
        self.compacted = revision
        if revision >= self._log_first:
            dead_bytes = self._dead[revision - self._log_first]
            self.space_bytes -= dead_bytes - self._freed_bytes
            self._freed_bytes = dead_bytes

    def sweep(self, changes_max: int) -> bool:
        """Forgets some of what was compacted, at least one revision's; whether some is left. Who
        reads from the log (watches) must have read up to `compacted`.
        """
        if self._holds:
            return False
        count = done = 0
        while done < changes_max and self._log_first + count < self.compacted:
            for item in self._log[count]:
                self._forget(item.key)
            done += len(self._log[count])
            count += 1
        del self._log[:count], self._dead[:count]
        self._log_first += count
        if self._log_first < self.compacted:
            return True
        for item in self.changes_at(self.compacted):
            self._forget(item.key)
        return False

    def _forget(self, key: bytes) -> None:
        newest = self._newest.get(key)
        if newest is None:
            return
        older = self._older.get(key)
        if older is not None:
            kept = self._kept(older, newest)
            if kept:
                self._older[key] = kept
            else:
                del self._older[key]
        if newest.version == 0 and newest.changed < self.compacted:
            del self._newest[key]
            self._gone.discard(key)

    def _kept(self, older: list[Item], newest: Item) -> list[Item]:
        if newest.changed <= self.compacted:
            return []
        n = bisect_right(older, self.compacted, key=_changed)
        first = max(n - 1, 0)
        if n and older[first].version == 0 and older[first].changed < self.compacted:
            first += 1
        return older[first:]

    # --- all of it ------------------------------------------------------------------------------

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the block nothing is forgotten."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    def base(self, compacted: int) -> Iterator[Item]:
        """What was there at `compacted` and had not changed at it, by key; the store may change
        meanwhile. Within `held`.
        """
        key = b""
        while keys := self._keys_behind(key, BASE_KEYS):
            key = keys[-1]
            for one in keys:
                item = self.at(one, compacted)
                if item is not None and item.changed < compacted:
                    yield item

    def _keys_behind(self, key: bytes, limit: int) -> list[bytes]:
        keys = self._alive.behind(key, limit) + self._gone.behind(key, limit)
        return sorted(keys)[:limit]

    def restore_base(self, items: Sequence[Item]) -> None:
        """Into a new store: what `base` gave, in any pieces. Then `restore_order`."""
        for item in items:
            self._newest[item.key] = item
            self._alive.add(item.key)
            self.space_bytes += cost_of(item)

    def restore_order(self, compacted: int) -> None:
        """The base is whole, and is of `compacted`. Then `restore_changes` of each revision."""
        self.compacted = compacted
        self._log_first = first_logged(compacted)
        self.revision = self._log_first - 1

    def restore_changes(self, changes: Changes) -> None:
        """All of the next revision, as `changes_at` gave them."""
        for item in changes:
            self._change(item, self._newest.get(item.key))
        self.commit()


def first_logged(compacted: int) -> int:
    """The first revision of which each change is kept."""
    return max(compacted, FIRST_REVISION + 1)


def _is_plain(ask: Range) -> bool:
    """Whether it asks for keys in their order, and for all of them."""
    return ask.sort_by == "key" and not ask.descending and not _has_bounds(ask)


def _has_bounds(ask: Range) -> bool:
    changed, created = ask.changed_min or ask.changed_max, ask.created_min or ask.created_max
    return bool(changed or created)


def _arranged(ask: Range, items: list[Item]) -> tuple[list[Item], bool]:
    """Those within the bounds, sorted and cut; whether there are more."""
    if _has_bounds(ask):
        items = [item for item in items if _is_in_bounds(ask, item)]
    more = 0 < ask.limit < len(items)
    key = attrgetter(ask.sort_by)
    if more:
        best = nlargest if ask.descending else nsmallest
        return best(ask.limit, items, key=key), True
    return sorted(items, key=key, reverse=ask.descending), False


def _is_in_bounds(ask: Range, item: Item) -> bool:
    return ask.changed_min <= item.changed <= (
        ask.changed_max or item.changed
    ) and ask.created_min <= item.created <= (ask.created_max or item.created)


_changed = attrgetter("changed")
