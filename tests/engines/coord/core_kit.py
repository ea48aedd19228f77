"""A plain model of the store, commands drawn by hypothesis, and a loop whose time is a hand's."""

import asyncio
import selectors
from collections.abc import Coroutine
from contextvars import copy_context

from hypothesis import strategies as st

from bastide.base.errors import Refusal
from bastide.base.rt.clock import ManualClock
from bastide.base.rt.runtime import Chance, Runtime, run_on
from bastide.engines.coord.contract import Compare, Delete, Item, Put, Range, Txn
from bastide.engines.coord.core.checks import check_txn
from bastide.engines.coord.core.commands import Compact, Grant, Revoke
from bastide.engines.coord.core.spans import is_within

ALL = b"\0"


class Model:
    """All states there were, each whole, by revision."""

    def __init__(self):
        self.states = {1: {}}
        self.changes = {}
        self.revision = 1
        self.compacted = 0
        self.leases = set()

    @property
    def now(self):
        return self.states[self.revision]

    def commit(self, state, changes):
        if changes:
            self.revision += 1
            self.states[self.revision] = state
            self.changes[self.revision] = changes

    def run(self, command):
        """Whether it is taken."""
        state, changes = dict(self.now), []
        match command:
            case Put() | Delete() | Txn():
                if not self.may(command):
                    return False
                self.do(command, state, changes)
            case Grant():
                if command.id in self.leases:
                    return False
                self.leases.add(command.id)
            case Revoke():
                if command.id not in self.leases:
                    return False
                for key in sorted(key for key, item in state.items() if item.lease == command.id):
                    self.do(Delete(key), state, changes)
                self.leases.discard(command.id)
            case Compact():
                if not self.compacted < command.revision <= self.revision:
                    return False
                self.compacted = command.revision
        self.commit(state, changes)
        return True

    def may(self, op):
        match op:
            case Put():
                kept = not (op.keep_value or op.keep_lease) or op.key in self.now
                return kept and (not op.lease or op.lease in self.leases)
            case Txn():
                return all(map(self.may, self.branch(op)))
            case Range():
                return op.revision == 0 or self.compacted <= op.revision <= self.revision
        return True

    def branch(self, txn):
        return txn.then if all(map(self.holds, txn.compares)) else txn.otherwise

    def holds(self, compare):
        items = [i for k, i in self.now.items() if is_within(k, compare.first, compare.end)]
        if not items:
            return compare.by != "value" and meets(compare, 0)
        return all(meets(compare, getattr(item, compare.by)) for item in items)

    def do(self, op, state, changes):
        revision = self.revision + 1
        match op:
            case Put():
                old = state.get(op.key)
                value = old.value if op.keep_value else op.value
                lease = old.lease if op.keep_lease else op.lease
                created, version = (old.created, old.version + 1) if old else (revision, 1)
                state[op.key] = Item(op.key, value, created, revision, version, lease)
                changes.append(state[op.key])
            case Delete():
                for key in sorted(key for key in state if is_within(key, op.first, op.end)):
                    del state[key]
                    changes.append(Item(key, b"", 0, revision, 0))
            case Txn():
                for one in self.branch(op):
                    self.do(one, state, changes)

    def range(self, ask):
        state = self.states[ask.revision or self.revision]
        items = [item for key, item in sorted(state.items()) if is_within(key, ask.first, ask.end)]
        count = len(items)
        items = [
            item
            for item in items
            if ask.changed_min <= item.changed <= (ask.changed_max or item.changed)
            and ask.created_min <= item.created <= (ask.created_max or item.created)
        ]
        items.sort(key=lambda item: getattr(item, ask.sort_by), reverse=ask.descending)
        more = bool(ask.limit) and len(items) > ask.limit
        return items[: ask.limit or None], count, more


def meets(compare, found):
    operand = compare.operand
    return {
        "equal": found == operand,
        "unequal": found != operand,
        "less": found < operand,
        "greater": found > operand,
    }[compare.relation]


# --- what is drawn --------------------------------------------------------------------------------

keys = st.sampled_from([b"a", b"aa", b"ab", b"b", b"b\xff", b"c", b"\xff", b"\xff\xff"])
ends = st.sampled_from([b"", b"", ALL, b"aa", b"b", b"c", b"\xff"])
lease_ids = st.integers(1, 3)
revisions = st.integers(1, 30)
puts = st.builds(
    Put,
    key=keys,
    value=st.binary(max_size=3),
    lease=st.one_of(st.just(0), st.just(0), lease_ids),
    previous=st.booleans(),
) | st.builds(Put, key=keys, keep_value=st.just(True), keep_lease=st.booleans())
deletes = st.builds(Delete, first=keys, end=ends, previous=st.booleans())
bounds = st.one_of(st.just(0), st.just(0), revisions)
ranges = st.builds(
    Range,
    first=keys,
    end=ends,
    limit=st.integers(0, 4),
    revision=st.one_of(st.just(0), revisions),
    sort_by=st.sampled_from(["key", "version", "created", "changed", "value"]),
    descending=st.booleans(),
    changed_min=bounds,
    changed_max=bounds,
    created_min=bounds,
    created_max=bounds,
)
relations = st.sampled_from(["equal", "greater", "less", "unequal"])
compares = st.builds(
    Compare,
    by=st.sampled_from(["version", "created", "changed", "lease"]),
    relation=relations,
    operand=st.integers(0, 5),
    first=keys,
    end=ends,
) | st.builds(
    Compare,
    by=st.just("value"),
    relation=relations,
    operand=st.binary(max_size=2),
    first=keys,
    end=ends,
)
ops = puts | deletes | st.builds(Range, first=keys, end=ends)


def branches(op):
    return st.lists(op, max_size=3)


def txns_of(op):
    return st.builds(
        Txn, compares=st.lists(compares, max_size=2), then=branches(op), otherwise=branches(op)
    )


def is_sound(txn):
    try:
        check_txn(txn)
    except Refusal:
        return False
    return True


txns = txns_of(ops | txns_of(ops)).filter(is_sound)
commands = st.one_of(
    puts,
    puts,
    deletes,
    txns,
    st.builds(Compact, revision=revisions),
    st.builds(Grant, id=lease_ids, ttl_s=st.integers(1, 60)),
    st.builds(Revoke, id=lease_ids),
)


# --- a loop for tests -----------------------------------------------------------------------------


class _Selector(selectors.DefaultSelector):
    """Where a loop would sleep, the clock is moved."""

    clock: ManualClock

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("all wait, and no timer is set: it would hang")
        if not ready and timeout > 0:
            self.clock.advance(timeout)
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock):
        selector = _Selector()
        selector.clock = clock
        super().__init__(selector)
        self._clock_of_test = clock
        self._clock_resolution = 1e-9

    def time(self):
        return self._clock_of_test.monotonic()


def run(main: Coroutine[None, None, None], *, seed: int = 1) -> None:
    """To its end, with a clock of its own, `runtime.current().clock`, that moves when all wait."""
    clock = ManualClock()

    def ran():
        run_on(Runtime(clock=clock, chance=Chance(seed)))
        with asyncio.Runner(loop_factory=lambda: _Loop(clock)) as runner:
            runner.run(main)

    copy_context().run(ran)
