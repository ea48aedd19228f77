"""Transactions: the coordinators of all transactional ids, and the markers that they owe.

One event of an id after the other, each durable before the next (`core.transactions`). Who ends a
transaction is answered when its markers are written, so that its next one begins at once.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from bastide.base.errors import NotFound, Unavailable
from bastide.base.rt import runtime
from bastide.base.work import jittered
from bastide.engines.log.core.batches import marker
from bastide.engines.log.core.codes import Code
from bastide.engines.log.core.transactions import (
    NOBODY,
    Decision,
    Instance,
    Markers,
    Place,
    Transaction,
    check_id,
)
from bastide.engines.log.service.broker import Broker
from bastide.engines.log.service.groups import Groups
from bastide.engines.log.service.partition import Partition

COORDINATOR_EPOCH = 0
RETRY_S = 0.5
TRANSACTIONAL_IDS_MAX = 10_000
_log = logging.getLogger(__name__)

Event = Callable[[Transaction], Decision]


class Coordinator:
    """Of one id."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self.turn = asyncio.Lock()
        self.marking: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None


class Transactions:
    def __init__(self, broker: Broker, groups: Groups) -> None:
        self._broker = broker
        self._groups = groups
        self._journal = broker.journal
        self._loop = asyncio.get_running_loop()
        self._coordinators: dict[str, Coordinator] = {}
        self._tasks: set[asyncio.Task[Decision]] = set()
        for key, state in self._journal.items("transaction", bytes):
            restored = Transaction.restored(state, now_ms=self._now_ms())
            coordinator = self._coordinators[str(key[1])] = Coordinator(restored)
            self._set_timer(str(key[1]), coordinator)
            owed = restored.owed()
            if owed is not None:
                self._mark_soon(str(key[1]), coordinator, owed)
        broker.on_opened = self._abort_unknown

    def names(self) -> Sequence[str]:
        return sorted(self._coordinators)

    def transaction(self, name: str) -> Transaction | None:
        found = self._coordinators.get(name)
        return found.transaction if found else None

    async def init(self, name: str, *, timeout_ms: int, instance: Instance = NOBODY) -> Decision:
        if (code := check_id(name)) != Code.NONE:
            return Decision(code)
        if name not in self._coordinators:
            if len(self._coordinators) >= TRANSACTIONAL_IDS_MAX:
                return Decision(Code.CONCURRENT_TRANSACTIONS)
            self._coordinators[name] = Coordinator(Transaction())
        fresh_id = await self._broker.fresh_producer_id()
        return await self._run(
            name, lambda t: t.init(fresh_id=fresh_id, timeout_ms=timeout_ms, instance=instance)
        )

    async def add_partitions(self, name: str, instance: Instance, places: Sequence[Place]) -> Code:
        now_ms = self._now_ms()

        def event(transaction: Transaction) -> Decision:
            return transaction.add_partitions(instance, places, now_ms=now_ms)

        return (await self._run(name, event)).code

    async def add_group(self, name: str, instance: Instance, group: str) -> Code:
        now_ms = self._now_ms()

        def event(transaction: Transaction) -> Decision:
            return transaction.add_group(instance, group, now_ms=now_ms)

        return (await self._run(name, event)).code

    async def end(self, name: str, instance: Instance, *, commit: bool) -> Code:
        decision = await self._run(name, lambda t: t.end(instance, commit=commit))
        found = self._coordinators.get(name)
        if decision.markers is not None and found is not None and found.marking is not None:
            await asyncio.shield(found.marking)
        return decision.code

    def check_append(self, name: str, instance: Instance, place: Place) -> Code:
        found = self._coordinators.get(name)
        if found is None:
            return Code.INVALID_PRODUCER_ID_MAPPING
        return found.transaction.check_append(instance, place)

    def check_offsets(self, name: str, instance: Instance, group: str) -> Code:
        found = self._coordinators.get(name)
        if found is None:
            return Code.INVALID_PRODUCER_ID_MAPPING
        return found.transaction.check_offsets(instance, group)

    async def close(self) -> None:
        for coordinator in self._coordinators.values():
            if coordinator.timer is not None:
                coordinator.timer.cancel()
            if coordinator.marking is not None:
                coordinator.marking.cancel()
                await asyncio.gather(coordinator.marking, return_exceptions=True)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, name: str, event: Event) -> Decision:
        """One event, and its state durable.

        Raises:
            Unavailable: it has not happened.
        """
        coordinator = self._coordinators.get(name)
        if coordinator is None:
            return Decision(Code.INVALID_PRODUCER_ID_MAPPING)
        async with coordinator.turn:
            before = coordinator.transaction.state()
            decision = event(coordinator.transaction)
            if decision.state is not None:
                try:
                    await self._journal.kept(
                        self._journal.put(("transaction", name), decision.state)
                    )
                except BaseException:
                    restored = Transaction.restored(before, now_ms=self._now_ms())
                    coordinator.transaction = restored
                    raise
            self._set_timer(name, coordinator)
            if decision.markers is not None:
                self._mark_soon(name, coordinator, decision.markers)
        return decision

    def _mark_soon(self, name: str, coordinator: Coordinator, markers: Markers) -> None:
        coordinator.marking = asyncio.create_task(self._mark(name, markers))

    async def _mark(self, name: str, markers: Markers) -> None:
        """Until it is done: a transaction that is decided is never given up."""
        while True:
            try:
                await asyncio.gather(*(self._mark_one(markers, p) for p in markers.partitions))
                for group in markers.groups:
                    producer_id = markers.producer.producer_id
                    await self._groups.settle(group, producer_id, commit=markers.commit)
                await self._run(name, lambda t: t.marked(markers))
                return
            except Unavailable:
                _log.warning("markers of %s are late", name, exc_info=True)
            await asyncio.sleep(jittered(RETRY_S))

    async def _mark_one(self, markers: Markers, place: Place) -> None:
        try:
            partition = await self._broker.partition(*place)
        except NotFound:  # the topic was deleted
            return
        batch = marker(
            commit=markers.commit,
            producer_id=markers.producer.producer_id,
            producer_epoch=markers.producer.epoch,
            coordinator_epoch=COORDINATOR_EPOCH,
            now_ms=self._now_ms(),
        )
        await partition.synced(partition.append_marker(batch))

    def _abort_unknown(self, partition: Partition) -> None:
        """What no coordinator knows nobody would ever end, and nothing behind it could be read."""
        place = (partition.topic, partition.number)
        known = {
            one.transaction.producer.producer_id
            for one in self._coordinators.values()
            if place in one.transaction.partitions
        }
        for open_ in partition.producers.open():
            if open_.producer_id not in known:
                batch = marker(
                    commit=False,
                    producer_id=open_.producer_id,
                    producer_epoch=open_.producer_epoch,
                    coordinator_epoch=COORDINATOR_EPOCH,
                    now_ms=self._now_ms(),
                )
                partition.append_marker(batch)

    def _set_timer(self, name: str, coordinator: Coordinator) -> None:
        if coordinator.timer is not None:
            coordinator.timer.cancel()
            coordinator.timer = None
        due_ms = coordinator.transaction.due_ms
        if due_ms is not None:
            delay_s = max(0.0, (due_ms - self._now_ms()) / 1000)
            coordinator.timer = self._loop.call_later(delay_s, self._time_out, name)

    def _time_out(self, name: str) -> None:
        now_ms = self._now_ms()
        task = asyncio.create_task(self._run(name, lambda t: t.time_out(now_ms=now_ms)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _now_ms(self) -> int:
        """Of a clock that only goes forward."""
        return round(runtime.monotonic() * 1000)
