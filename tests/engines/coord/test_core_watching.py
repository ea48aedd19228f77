"""Watches against a plain list of all changes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.engines.coord.contract import (
    WATCHES_MAX,
    Delete,
    Put,
    RevisionCompacted,
    TooMany,
    Watch,
)
from bastide.engines.coord.core import watching
from bastide.engines.coord.core.commands import Compact
from bastide.engines.coord.core.machine import Machine
from bastide.engines.coord.core.spans import is_within
from bastide.engines.coord.core.watching import PENDING_MAX, Watching
from tests.engines.coord.core_kit import ALL, Model, commands, ends, keys

watches = st.builds(
    Watch,
    first=keys | st.just(ALL),
    end=ends,
    from_revision=st.integers(0, 12),
    previous=st.booleans(),
    puts=st.booleans(),
    deletes=st.booleans(),
)
steps = commands | watches | st.just("take") | st.just("sweep") | st.just("restart")


class Told:
    def __init__(self, watch, first):
        self.watch, self.first = watch, first
        self.events, self.up_to, self.is_over = [], first - 1, False

    def take(self, hub, watcher):
        """All that there is for it."""
        while watcher.is_ready and not self.is_over:
            try:
                events = hub.take(watcher)
            except RevisionCompacted:
                self.is_over = True
                return
            if events is not None:
                assert events.events, "nothing is told without a reason"
                assert events.events[0].item.changed > self.up_to, "whole revisions, in order"
                assert events.events[-1].item.changed <= events.revision
                self.up_to = events.revision
                self.events += events.events


@settings(max_examples=300)
@given(plan=st.lists(steps, max_size=40), pending_max=st.integers(1, 3), looked=st.integers(1, 4))
def test_each_watch_is_told_each_change_once_and_in_order(plan, pending_max, looked):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watching, "PENDING_MAX", pending_max)
        patch.setattr(watching, "LOOKED_AT_MAX", looked)
        play(plan)


def play(plan):
    machine, model = Machine(), Model()
    hub, all_told = Watching(machine.store), {}
    for step in plan:
        if isinstance(step, Watch):
            if 0 < step.from_revision < machine.store.compacted:
                with pytest.raises(RevisionCompacted):
                    hub.add(step)
            else:
                first = step.from_revision or machine.store.revision + 1
                all_told[hub.add(step)] = Told(step, first)
        elif step == "take":
            for watcher, told in all_told.items():
                told.take(hub, watcher)
        elif step == "sweep":
            machine.sweep()
        elif step == "restart":
            hub.restart(machine.store)
        else:
            machine.apply(step)
            model.run(step)
            hub.advance()
    for watcher, told in all_told.items():
        told.take(hub, watcher)
        assert shown(told.events) == expected(model, told)
        hub.remove(watcher)
    assert len(hub) == 0


def shown(events):
    return [event.item for event in events]


def expected(model, told):
    watch = told.watch
    return [
        item
        for revision in range(max(told.first, 2), model.revision + 1)
        for item in model.changes[revision]
        if is_within(item.key, watch.first, watch.end)
        and (watch.puts if item.version else watch.deletes)
        and (not told.is_over or revision <= told.up_to)
    ]


def test_what_was_there_before_is_told_unless_it_is_compacted():
    machine = Machine()
    for value in (b"1", b"2", b"3"):
        machine.apply(Put(b"k", value))
    hub = Watching(machine.store)
    watcher = hub.add(Watch(b"k", from_revision=2, previous=True))
    told = [event.previous and event.previous.value for event in hub.take(watcher).events]
    assert told == [None, b"1", b"2"]
    machine.apply(Compact(4))
    watcher = hub.add(Watch(b"k", from_revision=4, previous=True))
    machine.apply(Delete(b"k"))
    hub.advance()
    compacted, deleted = hub.take(watcher).events
    assert compacted.item.value == b"3"
    assert compacted.previous is None
    assert deleted.is_delete
    assert deleted.previous.value == b"3"


def test_a_slow_watcher_is_fed_from_history_and_not_buffered():
    machine = Machine()
    hub = Watching(machine.store)
    slow, quick = hub.add(Watch(b"k")), hub.add(Watch(b"k"))
    seen = []
    for _ in range(3 * PENDING_MAX):
        machine.apply(Put(b"k"))
        hub.advance()
        seen += hub.take(quick).events
        assert len(slow.pending) <= PENDING_MAX
    told = []
    while slow.is_ready:
        told += hub.take(slow).events
    assert told == seen
    assert len(told) == 3 * PENDING_MAX


def test_a_watcher_that_is_behind_a_compaction_ends():
    machine = Machine()
    hub = Watching(machine.store)
    slow = hub.add(Watch(b"k"))
    for _ in range(PENDING_MAX + 5):
        machine.apply(Put(b"k"))
        hub.advance()
    machine.apply(Compact(machine.store.revision))
    assert len(hub.take(slow).events) == PENDING_MAX
    with pytest.raises(RevisionCompacted) as found:
        hub.take(slow)
    assert found.value.oldest == machine.store.revision


def test_a_watcher_that_has_all_is_not_ended_by_a_compaction():
    machine = Machine()
    hub = Watching(machine.store)
    watcher = hub.add(Watch(b"quiet"))
    for _ in range(5):
        machine.apply(Put(b"loud"))
        hub.advance()
    machine.apply(Compact(machine.store.revision))
    machine.sweep()
    assert not watcher.is_ready
    assert hub.progress(watcher).revision == machine.store.revision
    machine.apply(Put(b"quiet"))
    hub.advance()
    assert hub.progress(watcher) is None
    assert len(hub.take(watcher).events) == 1


def test_a_watch_from_a_revision_to_come_waits_for_it():
    machine = Machine()
    hub = Watching(machine.store)
    watcher = hub.add(Watch(b"k", from_revision=4))
    for _ in range(4):
        machine.apply(Put(b"k"))
        hub.advance()
    assert [event.item.changed for event in hub.take(watcher).events] == [4, 5]


def test_a_change_looks_at_the_watchers_of_its_key_alone():
    """By what is asked of the index, not by the clock."""
    machine = Machine()
    hub = Watching(machine.store)
    for n in range(10_000):
        hub.add(Watch(b"key/%d" % n))
    prefix = hub.add(Watch(b"key/", b"key0"))
    assert len(list(hub._index.of(b"key/77"))) == 2
    assert list(hub._index.of(b"key/x")) == [prefix]
    machine.apply(Put(b"key/77"))
    assert len(hub.advance()) == 2


@pytest.mark.limit("coord.WATCHES_MAX")
def test_so_many_watches_and_no_more():
    hub = Watching(Machine().store)
    first = hub.add(Watch(b"0"))
    for n in range(1, WATCHES_MAX):
        hub.add(Watch(b"%d" % n))
    with pytest.raises(TooMany):
        hub.add(Watch(b"more"))
    hub.remove(first)
    hub.add(Watch(b"more"))
